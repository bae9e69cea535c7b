"""Two to six runs in one chart or beside each other: curves matched by step or by stage, and spectra."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pyarrow as pa

from ..many import seeds
from . import style
from .chart import Chart, drawing
from .many import HUES, axis_of
from .over_time import named_ends
from .style import DASHED, HEIGHT, legend, named, sentence, step_axis, table, tips

Curves = Sequence[tuple[str, np.ndarray, np.ndarray]]


def hues(labels: Sequence[str]) -> dict[str, str]:
    """A colour for each run, in their order; the first is not grey."""
    return {label: HUES[1:][i % len(HUES[1:])] for i, label in enumerate(labels)}


def curves_table(curves: Curves, moment: str = "step") -> pa.Table:
    """One row per run and kept point: the moment (a step, or a percent), run, value."""
    steps, values = (np.concatenate([curve[i] for curve in curves]) if curves else np.array([]) for i in (1, 2))
    runs = np.repeat([curve[0] for curve in curves], [len(curve[1]) for curve in curves]) if curves else []
    return table(**{moment: np.asarray(steps, float), "run": np.asarray(runs, str), "value": np.asarray(values, float)})


def curves(
    curves: Curves, name: str, colours: Mapping[str, str], at: float | None = None, stage: str | None = None,
    log_steps: bool = True, ends: tuple[tuple[float, float], ...] | None = None, title: str | None = None,
) -> Chart:  # fmt: skip
    """One of `seeds.CURVES` of several runs, by step or by percent of the way to the end of `stage`; a rule at the
    moment in view.  `ends`, of both axes, is for charts that stand side by side, each of one run, its `title`."""
    last = max((float(curve[1].max()) for curve in curves), default=0.0)
    rows = curves_table(curves)
    axis = axis_of(name, [value for *_, values in curves for value in values] if ends is None else ends[1])
    renamed = table(step=rows["step"], curve=np.asarray(rows["run"], str), value=rows["value"])
    tables = {
        "curves": rows, "now": table(step=[] if at is None else [min(float(at), last)]),
        "ends": named_ends(renamed, [curve[0] for curve in curves], axis, HEIGHT),
    }  # fmt: skip
    how = {"axis": axis, "colours": tuple(colours.items()), "stage": stage, "log_steps": log_steps}
    lacking = [label for label in colours if label not in {curve[0] for curve in curves}] if title is None else []
    return Chart(
        drawing(_curves, tables, **how, span=ends and ends[0], words=title is None),
        title or sentence(seeds.CURVES[name]),
        (f"Not measured: {'; '.join(lacking)}." if lacking else ""),
        f"{seeds.CURVES[name]} of {len(curves)} runs" + (f", {title}" if title else ""),
        rows,
    )


def _curves(axis, colours, stage, log_steps, span, words):
    x, y = step_axis(log_steps, span, f"step, in % of the {stage}" if stage else "training step"), axis.y()
    hue = _colour(colours, "stroke", False)
    lines = alt.Chart(named("curves")).mark_line(strokeWidth=1.8, clip=True)
    lines = lines.encode(x=x, y=y, color=hue, tooltip=tips(run="run", step="%" if stage else "step", value="value"))
    now = alt.Chart(named("now")).mark_rule(**DASHED).encode(x=x)
    if not words:
        return alt.layer(lines, now, height=HEIGHT)
    names = [name for name, _ in colours]
    ends = alt.Chart(named("ends")).mark_text(align="left", dx=6, fontWeight=600, limit=170).encode(
        x=x, y=axis.y("at"), text=alt.Text("curve:N"), color=style.hues(names, dict(colours)),
    )  # fmt: skip
    return alt.layer(lines, now, ends, height=HEIGHT).resolve_scale(color="independent")


def _colour(colours, symbol: str, shown: bool = True) -> alt.Color:
    names, range_ = zip(*colours, strict=True)
    key = legend(symbol, columns=2, labelLimit=190) if shown else None
    return alt.Color("run:N", scale=alt.Scale(domain=list(names), range=list(range_)), sort=list(names), legend=key)


def spectra_table(spectra: Mapping[str, np.ndarray]) -> pa.Table:
    """One row per run and frequency: run, k, part (k over the number of frequencies), share."""
    counts = [len(share_K) for share_K in spectra.values()]
    k = np.concatenate([np.arange(1, n + 1) for n in counts]) if counts else np.array([], int)
    return table(
        run=np.repeat(list(spectra), counts).astype(str), k=k, part=k / np.repeat(counts, counts) if counts else k,
        share=np.concatenate(list(spectra.values())).astype(float) if counts else k,
    )  # fmt: skip


def spectra(found: Mapping[str, tuple], colours: Mapping[str, str], layer: str) -> Chart | str:
    """The share of each frequency in the squared weights of a layer, a colour per run, of (shares, step) or None;
    over k, or over k / K where the runs have different numbers of frequencies.  A sentence where no run has any."""
    shares = {label: one[0] for label, one in found.items() if one}
    lacking = [label for label, one in found.items() if not one]
    if not shares:
        return f"None of these records holds the {layer} layer."
    alike = len({len(share_K) for share_K in shares.values()}) == 1
    steps = "; ".join(f"{label}: step {one[1]:,}" for label, one in found.items() if one)
    rows = spectra_table(shares)
    return Chart(
        drawing(_spectra, {"shares": rows}, colours=tuple(colours.items()), alike=alike), f"{layer.capitalize()} layer",
        f"{steps}." + (f" Not held: {'; '.join(lacking)}." if lacking else ""),
        f"Share of each frequency in the {layer} layer of {len(shares)} runs", rows,
    )  # fmt: skip


def _spectra(colours, alike):
    x = alt.X("k:Q", title="frequency k", axis=alt.Axis(tickMinStep=1, format="d")) if alike else alt.X(
        "part:Q", title="frequency k, in parts of (p − 1) / 2", axis=alt.Axis(format=".1f"))  # fmt: skip
    x = x.scale(alt.Scale(nice=False, zero=False, padding=8))
    tip = [alt.Tooltip("run:N"), alt.Tooltip("k:Q", title="frequency k"), alt.Tooltip("share:Q", format=".2%")]
    lines = alt.Chart(named("shares")).mark_line(
        point=alt.OverlayMarkDef(size=28, filled=True), strokeWidth=1.2, opacity=0.85
    )  # fmt: skip
    lines = lines.encode(
        x=x, y=alt.Y("share:Q", title="share of squared weights", axis=alt.Axis(format="%")),
        color=_colour(colours, "circle"), tooltip=tip,
    )  # fmt: skip
    return alt.layer(lines, height=HEIGHT)


def ends_of(curves: Curves) -> tuple[tuple[float, float], ...] | None:
    """(least, largest) moment and value of these runs; None where there is no span."""
    moments, values = (np.concatenate([curve[i] for curve in curves]) for i in (1, 2))
    values = values[np.isfinite(values)]
    ends = tuple((float(some.min()), float(some.max())) for some in (moments, values) if len(some))
    return ends if len(ends) == 2 and all(low < high for low, high in ends) else None
