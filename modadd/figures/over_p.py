"""Small multiples: every measure of the atlas against p, a colour per preset, and any one of them close up."""

from collections.abc import Callable
from dataclasses import dataclass

import altair as alt
import numpy as np
import pyarrow as pa
import pyarrow.compute

from ..maths import harmonics, measures
from ..runs import P_MAX, P_MIN, PRESETS
from . import style
from .chart import Chart, Drawing
from .style import COLOURS, DASHED, HUE, table

HUES = {
    "standard": "#3f8fd2", "grokking": "#d55e00", "quad_random": "#009e73",
    "quad_single_freq": "#c565a0", "relu_single_freq": HUE["ochre"],
}  # fmt: skip
X2 = tuple(name for name, settings in PRESETS.items() if settings["activation"] == "quad")
SMALL, TALL = 220, 360


@dataclass(frozen=True)
class Plot:
    """How a column of `atlas.table` is drawn over p: `level` is what it is compared with, dashed, one curve or
    several, [P] or [curves, P]; `least` the p from which it says something; `awaited` marks a step that may not have
    been reached."""

    name: str
    title: str
    axis: str
    says: str
    log: bool = False
    level: Callable[[np.ndarray], np.ndarray] | None = None
    presets: tuple[str, ...] = tuple(PRESETS)
    least: int = P_MIN
    awaited: bool = False
    form: str = "~r"

    @property
    def written(self) -> str:
        """The format of one of its values in a table."""
        return ",.0f" if self.awaited else ".2%" if self.form.endswith("%") else ".4g"


_flat = lambda *values: lambda p: np.repeat(np.array(values)[:, None], len(p), axis=1)  # noqa: E731
_LEAK = "Dashed: the fixed point of ReLU's flow. A harmonic that folds back on k is left out."


def _fixed(layer: str, r: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda p: np.full(len(p), harmonics.fixed_point(harmonics.WIDEST)[layer, r])


PLOTS: dict[str, tuple[Plot, ...]] = {
    "Does it learn?": (
        Plot("train_loss", "Training loss", "loss (nats)",
             "Dashed: a blind guess, ln p. Below 1e-5 mind the rounding.",
             True, np.log, form=".0e"),
        Plot("train_accuracy", "Training accuracy", "training accuracy", "At the last step.", form=".1%"),
        Plot("held_out_accuracy", "Held-out accuracy", "held-out accuracy",
             "Pairs trained in neither order. Dashed: 95 %.", False, _flat(measures.STAGE_ACCURACY), ("grokking",),
             form=".0%"),
    ),
    "How long does it take?": (
        Plot("stage1_end", "End of stage I", "training step", "First step with 95 % of the training pairs right.",
             True, awaited=True),
        Plot("stage2_end", "End of stage II", "training step", "First step with 95 % of the test pairs right.",
             True, None, ("grokking",), awaited=True),
        Plot("gap_ratio", "Gap ratio", "stage II / stage I", "How many times as long generalisation takes.",
             False, None, ("grokking",)),
        Plot("plateau", "Plateau stop", "training step", "Flat where the rule stopped the run at its first look.",
             True, None, ("grokking",), awaited=True),
        Plot("seconds", "Training time", "seconds", "As the run's own clock had it; not on an idle machine.", True),
        Plot("param_norm", "Norm of the weights", "norm", "Of all weights, at the last step; wider networks at larger "
             "p have more of them.", True),
    ),
    "One frequency per neuron": (
        Plot("ipr", "IPR, both layers", "IPR", "1: one frequency. Dashed: random weights, 2/(K + 1).",
             False, lambda p: 4 / (p + 1)),
        Plot("ipr_in", "IPR, input layer", "IPR", "The scale of both layers together.", False, lambda p: 4 / (p + 1)),
        Plot("ipr_out", "IPR, output layer", "IPR", "The scale of both layers together.", False, lambda p: 4 / (p + 1)),
    ),
    "Phases lock, magnitudes agree": (
        Plot("mean_abs_sin_D", "Misalignment", "mean |sin D|", "Dashed: random phases, 2/π.", False, _flat(2 / np.pi)),
        Plot("mean_cos_D", "Alignment", "mean cos D", "1: ψ = 2φ in every neuron; 0: random.", False),
        Plot("cv_alpha", "Spread of α", "sd / mean of α", "Over all neurons; 0: all magnitudes equal.", False),
    ),
    "Phases spread": tuple(
        Plot(f"even_{n}", f"Evenness of {n}φ" if n > 1 else "Evenness of φ", f"N |mean exp({n}iφ)|²",
             "Dashed: random phases, 1. Over all neurons, mean over frequencies.", False, _flat(1.0), least=5)
        for n in (1, 2, 3, 4)
    ),
    "The vote": (
        Plot("vote_ratio", "Right answer over ghost", "ratio of fitted peaks", "Dashed: pure cosines, 2 for x² and 3 "
             "for ReLU. From p = 5 on.", True, _flat(2.0, 3.0), least=5),
        Plot("vote_third", "Peak at 3x − y", "over the right answer", "Dashed: pure cosines, 0 for x² and −1/15 for "
             "ReLU. From p = 11 on.", False, _flat(0.0, -1 / 15), least=11),
        Plot("vote_r2_three", "Fit of three peaks", "R²", "Right answer, ghosts and a constant: the flawed indicator."),
        Plot("vote_r2", "Fit of five peaks", "R²", "The same with the peaks at 3x − y, 3y − x and one further."),
        Plot("vote_margin", "Worst margin", "logits", "Least lead of a right answer over the best wrong one."),
        Plot("margin_share", "Share of the largest margin", "γ / γ*", "x² alone. Dashed: pure cosines, 1/2.",
             False, _flat(0.5), X2),
    ),
    "Harmonics": (
        Plot("leak_in_3", "3k in the input layer", "magnitude / that at k", _LEAK, True, _fixed("input", 3)),
        Plot("leak_in_5", "5k in the input layer", "magnitude / that at k", _LEAK, True, _fixed("input", 5)),
        Plot("leak_out_2", "2k in the output layer", "magnitude / that at k", _LEAK, True, _fixed("output", 2)),
        Plot("leak_out_3", "3k in the output layer", "magnitude / that at k", _LEAK, True, _fixed("output", 3)),
    ),
}  # fmt: skip
EVERY = {plot.name: plot for plots in PLOTS.values() for plot in plots}


def rows_of(rows: list[dict], plot: Plot) -> list[dict]:
    """The rows that a plot draws."""
    return [row for row in rows if row["preset"] in plot.presets and row["p"] >= plot.least]


def data(rows: list[dict], plot: Plot) -> pa.Table:
    """What a plot draws: p, preset, modulus (prime or composite), value or null, run and where it is; over several
    seeds the value is the median, and `low` and `high` are the least and the largest."""
    rows = rows_of(rows, plot)
    kind = ["composite" if row["composite"] else "prime" for row in rows]
    return pa.table({
        "p": pa.array([row["p"] for row in rows], pa.int64()),
        **{name: pa.array([row[name] for row in rows], pa.string()) for name in ("preset", "run_id", "where")},
        "modulus": pa.array(kind, pa.string()),
        "value": pa.array([row[plot.name] for row in rows], pa.float64()),
        **{name: pa.array([row.get("spread", {}).get(plot.name, (None, None))[end] for row in rows], pa.float64())
           for end, name in enumerate(("low", "high"))},
        "seeds": pa.array([row.get("seeds", 1) for row in rows], pa.int64()),
    })  # fmt: skip


def p_axis(column: str = "p") -> alt.X:
    """The same axis under every chart of the atlas."""
    axis = alt.Axis(values=[3, 50, 100, 150, 199], grid=False)
    return alt.X(f"{column}:Q", title="modulus p", scale=alt.Scale(domain=[0, P_MAX + 3], nice=False), axis=axis)


def hue(names: list[str], legend: bool = True) -> alt.Color:
    """The fixed colours of these presets, with their legend on top if wanted and if there are several."""
    shown = alt.Legend(
        orient="top", title=None, symbolType="circle", symbolOpacity=1, columns=3, symbolSize=60,
        columnPadding=8,
    )  # fmt: skip
    scale = alt.Scale(domain=names, range=[HUES[name] for name in names])
    return alt.Color("preset:N", scale=scale, legend=shown if legend and len(names) > 1 else None)


def key(presets: list[str]) -> Drawing:
    """The colours of the small multiples, once for all of them: a chart that is all legend."""
    names = [name for name in HUES if name in presets]
    nothing = alt.Chart(table(preset=np.array(names))).mark_circle(opacity=0).encode(color=hue(names))
    return Drawing.of(nothing.properties(height=1).configure_view(stroke=None))


def _domain(plot: Plot, value: np.ndarray, level: np.ndarray) -> list[float]:
    seen = np.concatenate([value[np.isfinite(value)], level.ravel()])
    seen = seen[seen > 0] if plot.log else seen
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.1, 1.0)
    if plot.log:
        return [low / 1.3, high * 1.5]
    if plot.name.startswith("ipr"):
        return [0.0, 1.02]
    room = 0.06 * (high - low) or 0.5
    return [low - room, high + room]


def over_p(rows: list[dict], plot: Plot, seam: float | None = None, big: bool = False) -> Chart:
    """A measure against p, a colour per preset; dots and line: primes, open squares: composites, a triangle at
    the top: not reached.  `seam` is where the precision changes.  A click selects a run, under the name `run`."""
    points = data(rows, plot)
    names = [name for name in HUES if name in points["preset"].to_pylist()]
    grid = np.arange(plot.least, P_MAX + 1, 2)
    level = np.atleast_2d(plot.level(grid)) if plot.level else np.empty((0, len(grid)))
    value = points["value"].to_numpy(zero_copy_only=False).astype(float)
    real = np.isfinite(value) & ((value > 0) | (not plot.log))
    prime = np.array(points["modulus"].to_pylist()) == "prime"
    scale = alt.Scale(type="log" if plot.log else "linear", domain=_domain(plot, value, level), nice=False)
    count = 5 if big else 4
    axis = alt.Axis(format=plot.form, tickCount=count, labelOverlap=True)
    if plot.log and scale["domain"][1] > 30 * scale["domain"][0]:
        axis = style.powers(count)
    x, y, colour = p_axis(), alt.Y("value:Q", title=plot.axis, scale=scale, axis=axis), hue(names, legend=big)
    tips = [alt.Tooltip("value:Q", title=plot.title, format=".4~g")] + [
        alt.Tooltip(f"{name}:N", title=title)
        for name, title in {
            "p": "p",
            "modulus": "p is",
            "preset": "preset",
            "run_id": "run",
            "where": "in",
            "seeds": "seeds",
            "low": "least",
            "high": "largest",
        }.items()
    ]
    layers = []
    if len(level):
        curves = table(p=np.tile(grid, len(level)), value=level.ravel(), of=np.repeat(range(len(level)), len(grid)))
        dashes = alt.Chart(curves).mark_line(**DASHED, clip=True)
        layers.append(dashes.encode(x=x, y=y, detail=alt.Detail("of:N")))
    if seam is not None:
        rule = alt.Chart(table(p=[seam])).mark_rule(color=COLOURS["others"], opacity=0.5)
        layers.append(rule.encode(x=alt.X("p:Q")))
    spread = points.filter(pa.compute.and_(pa.array(real), pa.compute.is_valid(points["low"])))
    if spread.num_rows:
        bars = alt.Chart(spread).mark_rule(strokeWidth=2 if big else 1, opacity=0.35, clip=True)
        ends = {"y": alt.Y("low:Q", title=plot.axis, scale=scale, axis=axis), "y2": alt.Y2("high")}
        layers.append(bars.encode(x=x, color=colour, **ends))
    through = alt.Y("value:Q", aggregate="median", title=plot.axis, scale=scale, axis=axis)  # over seeds
    line = alt.Chart(points.filter(pa.array(real & prime))).mark_line(strokeWidth=1.2, opacity=0.7)
    layers.append(line.encode(x=x, y=through, color=colour))
    # One layer for both kinds: a composite's square is all outline.
    kinds = {"domain": ["prime", "composite"]}
    dots = alt.Chart(points.filter(pa.array(real)), name=f"dots-{plot.name}").encode(
        x=x, y=y, color=colour, tooltip=tips, fill=alt.Fill("preset:N", scale=colour["scale"], legend=None),
        fillOpacity=alt.FillOpacity("modulus:N", scale=alt.Scale(range=[1, 0], **kinds), legend=None),
        shape=alt.Shape("modulus:N", scale=alt.Scale(range=["circle", "square"], **kinds), legend=None),
    )  # fmt: skip
    dots.mark = alt.MarkDef("point", size=44 if big else 14, strokeWidth=1, opacity=1, clip=True, cursor="pointer")
    click = alt.selection_point(name="run", fields=["run_id"], toggle=False, nearest=big)
    layers.append(dots.add_params(click))
    if plot.awaited and not real.all():
        late = alt.Chart(points.filter(pa.array(~real))).encode(x=x, y=alt.value(5), color=colour, tooltip=tips[1:])
        layers.append(late.mark_point(shape="triangle-up", filled=True, size=60 if big else 36, opacity=1))
    told = f" Of {int(real.sum())} runs: {value[real].min():.3g} to {value[real].max():.3g}." if real.any() else ""
    only = f" ({plot.presets[0]})" * (len(plot.presets) == 1)
    return Chart(
        alt.layer(*layers, height=TALL if big else SMALL), plot.title, plot.says + only + told,
        f"{plot.title} against p, by preset", points,
    )  # fmt: skip
