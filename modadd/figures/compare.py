"""Two to six runs in one chart or beside each other: curves matched by step or by stage, and spectra."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pyarrow as pa

from .many import HUES, value_axis
from .style import COLOURS, HEIGHT, Drawing, drawing, named, step_axis, table, tips

SPECTRUM = 260
Curves = Sequence[tuple[str, np.ndarray, np.ndarray]]


def hues(labels: Sequence[str]) -> dict[str, str]:
    """A colour for each run, in their order; the first is not grey."""
    return {label: HUES[1:][i % len(HUES[1:])] for i, label in enumerate(labels)}


def curves_table(curves: Curves, moment: str = "step") -> pa.Table:
    """One row a run and kept point: the moment (a step, or a percent), run, value."""
    steps, values = (np.concatenate([curve[i] for curve in curves]) if curves else np.array([]) for i in (1, 2))
    runs = np.repeat([curve[0] for curve in curves], [len(curve[1]) for curve in curves]) if curves else []
    return table(**{moment: np.asarray(steps, float), "run": np.asarray(runs, str), "value": np.asarray(values, float)})


def curves(
    curves: Curves, name: str, colours: Mapping[str, str], at: float | None = None, stage: str | None = None,
    log_steps: bool = False, ends: tuple[tuple[float, float], ...] | None = None,
) -> Drawing:  # fmt: skip
    """One of `seeds.CURVES` of several runs, by step or by percent of the way to the end of `stage`; a rule at the
    moment in view.  `ends`, of both axes, is for charts that stand side by side, which need no legend."""
    last = max((float(curve[1].max()) for curve in curves), default=0.0)
    tables = {"curves": curves_table(curves), "now": table(step=[] if at is None else [min(float(at), last)])}
    return drawing(
        _curves, tables, name=name, colours=tuple(colours.items()), stage=stage, log_steps=log_steps, ends=ends,
    )  # fmt: skip


def _curves(name, colours, stage, log_steps, ends):
    x, y = step_axis(log_steps), value_axis(name)
    if stage:
        x = x.title(f"step, in % of the {stage}")
    if ends:
        x["scale"]["domain"] = list(ends[0])
        if not name.endswith("accuracy") and not name.startswith("ipr") and (ends[1][0] > 0 or "loss" not in name):
            y["scale"]["domain"] = list(ends[1])
    lines = (
        alt.Chart(named("curves"))
        .mark_line(strokeWidth=1.8, clip=True)
        .encode(
            x=x, y=y, color=_colour(colours, "stroke", not ends),
            tooltip=tips(run="run", step="%" if stage else "step", value="value"),
        )
    )  # fmt: skip
    now = alt.Chart(named("now")).mark_rule(strokeDash=[4, 3], color=COLOURS["others"]).encode(x=x)
    return alt.layer(lines, now, height=HEIGHT)


def _colour(colours, symbol: str, legend: bool = True) -> alt.Color:
    names, range_ = zip(*colours, strict=True)
    shown = alt.Legend(title=None, orient="top", symbolType=symbol, columns=2, labelLimit=190) if legend else None
    return alt.Color("run:N", scale=alt.Scale(domain=list(names), range=list(range_)), sort=list(names), legend=shown)


def spectra_table(spectra: Mapping[str, np.ndarray]) -> pa.Table:
    """One row a run and frequency: run, k, part (k over the number of frequencies), share."""
    counts = [len(share_K) for share_K in spectra.values()]
    k = np.concatenate([np.arange(1, n + 1) for n in counts]) if counts else np.array([], int)
    return table(
        run=np.repeat(list(spectra), counts).astype(str), k=k, part=k / np.repeat(counts, counts) if counts else k,
        share=np.concatenate(list(spectra.values())).astype(float) if counts else k,
    )  # fmt: skip


def spectra(spectra: Mapping[str, np.ndarray], colours: Mapping[str, str]) -> Drawing:
    """The share of each frequency in the squared weights of a layer, a colour a run; over k, or over k / K where the
    runs have different numbers of frequencies."""
    alike = len({len(share_K) for share_K in spectra.values()}) == 1
    return drawing(_spectra, {"shares": spectra_table(spectra)}, colours=tuple(colours.items()), alike=alike)


def _spectra(colours, alike):
    x = alt.X("k:Q", title="frequency k", axis=alt.Axis(tickMinStep=1, format="d")) if alike else alt.X(
        "part:Q", title="frequency k, in parts of (p − 1) / 2", axis=alt.Axis(format=".1f"))  # fmt: skip
    x = x.scale(alt.Scale(nice=False, zero=False, padding=8))
    tip = [alt.Tooltip("run:N"), alt.Tooltip("k:Q", title="frequency k"), alt.Tooltip("share:Q", format=".2%")]
    lines = (
        alt.Chart(named("shares"))
        .mark_line(point=alt.OverlayMarkDef(size=28, filled=True), strokeWidth=1.2, opacity=0.85)
        .encode(
            x=x, y=alt.Y("share:Q", title="share of squared weights", axis=alt.Axis(format="%")),
            color=_colour(colours, "circle"), tooltip=tip,
        )
    )  # fmt: skip
    return alt.layer(lines, height=SPECTRUM)


def ends_of(curves: Curves) -> tuple[tuple[float, float], ...] | None:
    """(least, largest) moment and value of these runs; None where there is no span."""
    moments, values = (np.concatenate([curve[i] for curve in curves]) for i in (1, 2))
    values = values[np.isfinite(values)]
    ends = tuple((float(some.min()), float(some.max())) for some in (moments, values) if len(some))
    return ends if len(ends) == 2 and all(low < high for low, high in ends) else None
