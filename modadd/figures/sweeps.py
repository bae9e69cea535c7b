"""A sweep in pictures: every run's curve, when each groks, what the settings do, and the grid filling in."""

import json
from collections.abc import Mapping

import altair as alt
import numpy as np

from ..many.sweep import CURVES, Criterion, Grid, Outcome
from ..records.record import Record
from . import sweep_tables
from .chart import Chart
from .style import COLOURS, DASHED, HEIGHT, HUE, ramp, share_axis, step_axis, table, tips

HUES = HUE["blue"], HUE["violet"], HUE["rose"], HUE["orange"]  # along these the groups are spread, in their order
STATES = {
    "grokked": HUE["green"], "ended without": HUE["ochre"], "training": HUE["blue"], "waiting": HUE["pale"],
    "interrupted": HUE["violet"], "failed": HUE["red"], "not begun": HUE["grey"],
}  # fmt: skip
INK = "#7a848f"  # words inside a chart, on a light and a dark ground
PERCENT = {
    "scale": alt.Scale(domain=[0, 1.04], nice=False),
    "axis": alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1]),
}


def palette(labels: list[str]) -> alt.Scale:
    """One colour per group, in order."""
    rgb = ramp(np.linspace(0, 1, len(labels)) if len(labels) > 1 else np.zeros(1), HUES)
    return alt.Scale(domain=labels, range=["#" + bytes(colour.tolist()).hex() for colour in rgb])


def _group_colour(grid: Grid, legend: bool = False) -> alt.Color:
    shown = alt.Legend(title=grid.title, orient="top", symbolType="circle", symbolOpacity=1) if legend else None
    return alt.Color("group:N", scale=palette(grid.labels), legend=shown)


def _named(channel, field: str, names: list, title: str | None, **axis):
    """An axis of one unit a name, from the left or from the top."""
    ends = [0, len(names)] if channel is alt.X else [len(names), 0]
    axis = {"grid": False, "ticks": False, "labelOverlap": True, "labelAngle": 0} | axis
    return channel(
        f"{field}:Q",
        title=title,
        scale=alt.Scale(domain=ends, nice=False),
        axis=alt.Axis(
            values=[i + 0.5 for i in range(len(names))],
            labelExpr=f"{json.dumps([str(name) for name in names])}[floor(datum.value)]",
            **axis,
        ),
    )


def overlay(
    grid: Grid, records: Mapping[str, Record | None], results: list[Outcome], criterion: Criterion, log: bool = True
) -> Chart:
    """The criterion's accuracy of every run over training, a dot where it groks; the levels of the criterion and of
    guessing."""
    x = step_axis(log)
    at = {
        "x": x, "color": _group_colour(grid, legend=True),
        "y": share_axis(CURVES[criterion.curve], "accuracy"),
        "tooltip": tips(group=grid.title, seed="seed", step="step") + [alt.Tooltip("accuracy:Q", format=".1%")],
    }  # fmt: skip
    lines = alt.Chart(sweep_tables.curves(grid, records, criterion)).mark_line(strokeWidth=1.4, opacity=0.85, clip=True)
    there = [o for o in results if o.grokked is not None and records.get(o.run.id) is not None]
    whole = [(records[o.run.id].steps, records[o.run.id].history[f"{criterion.curve}_accuracy"]) for o in there]
    high = [values[np.searchsorted(steps, o.grokked)] for o, (steps, values) in zip(there, whole, strict=True)]
    spots = table(
        group=np.array([grid.label(o.run) for o in there], str), seed=np.array([o.run.seed for o in there], int),
        step=np.array([o.grokked for o in there], int), accuracy=np.array(high, float),
    )  # fmt: skip
    dots = alt.Chart(spots).mark_circle(size=55, opacity=1, stroke="white", strokeWidth=0.8)
    chances = sorted({1 / run.p for run in grid.runs})[:3]
    names = [f"criterion, {criterion.accuracy:.0%}", *(f"chance, {c:.1%}" for c in chances)]
    levels = alt.Chart(table(accuracy=[criterion.accuracy, *chances], level=np.array(names))).encode(y="accuracy:Q")
    over = sum(o.status == "finished" for o in results)
    drawn = alt.layer(
        levels.mark_rule(**DASHED),
        levels.mark_text(align="left", baseline="bottom", dx=3, dy=-2, color=INK).encode(
            text="level:N", x=alt.value(0)
        ),
        lines.encode(detail="run:N", **at),
        dots.encode(**at),
    ).properties(height=HEIGHT + 60)
    return Chart(
        drawn, "Accuracy of every run",
        f"A dot where a run groks: {len(there)} of {over} finished runs. Look for curves of one colour that rise "
        "together and apart from the others.",
        "Accuracy of every run by training step", lambda: sweep_tables.curves(grid, records, criterion),
    )  # fmt: skip


def distribution(grid: Grid, results: list[Outcome], statistics: list[dict]) -> Chart:
    """The step at which each run groks, by group; a triangle where one ended without; the Kaplan-Meier median with
    its bootstrap interval, which runs to the last step watched where its upper end was not reached."""
    spots = sweep_tables.ended(grid, results)
    steps = spots["step"].to_numpy() if len(spots) else np.array([1, grid.runs[0].epochs])
    x = alt.X(
        "step:Q", title="step of grokking", axis=alt.Axis(format="~s", tickCount=6, labelOverlap=True),
        scale=alt.Scale(type="log", domain=[float(steps.min() / 1.3), float(steps.max() * 1.15)], nice=False),
    )  # fmt: skip
    middle = [row for row in statistics if row["median"] is not None]
    ends = [row["median_interval"] or (row["median"], row["median"]) for row in middle]
    group = [row["label"] for row in middle]
    medians = table(
        group=np.array(group, str), place=sweep_tables.places(grid, group),
        step=np.array([row["median"] for row in middle], float),
        low=np.array([low for low, _ in ends], float), high=np.array([high or steps.max() for _, high in ends], float),
    )  # fmt: skip
    at = {"y": _named(alt.Y, "place", grid.labels, grid.title), "color": _group_colour(grid)}
    says = {"step": "median step", "low": "95 % interval from", "high": "to"}
    base = alt.Chart(medians).encode(
        **at, tooltip=[alt.Tooltip(f"{name}:Q", title=title, format=",.0f") for name, title in says.items()]
    )
    drawn = alt.layer(
        base.mark_rule(strokeWidth=12, opacity=0.25).encode(x=alt.X("low:Q", title=x["title"]), x2="high"),
        base.mark_tick(thickness=3, size=32, orient="vertical").encode(x=x),
        alt.Chart(spots)
        .mark_point(size=70, opacity=0.9, filled=True)
        .encode(x=x, **at, shape=_kind(legend=True), tooltip=tips(group=grid.title, seed="seed", step="step")),
    ).properties(height=46 * len(grid.labels))
    late = spots["kind"].to_pylist().count(sweep_tables.KINDS[1]) if len(spots) else 0
    return Chart(
        drawn, "When they grok",
        "A mark per run, and by group the Kaplan-Meier median (bar) with its 95 % bootstrap interval (band), coarse "
        f"for few runs. Triangles, {late} of {len(spots)} runs, ended without: they would have come later, if at all.",
        "Step of grokking of every run by group", lambda: sweep_tables.ended(grid, results),
    )  # fmt: skip


def _kind(legend: bool = False) -> alt.Shape:
    about = alt.Legend(title=None, orient="top", symbolFillColor=COLOURS["others"], labelLimit=320, columns=1)
    return alt.Shape(
        "kind:N",
        scale=alt.Scale(domain=sweep_tables.KINDS, range=["circle", "triangle-right"]),
        legend=about if legend else None,
    )


def success(grid: Grid, statistics: list[dict]) -> Chart:
    """Share of runs that grok, with Wilson's 95 % interval."""
    over = [row for row in statistics if row["finished"]]
    group = [row["label"] for row in over]
    share = table(
        group=np.array(group, str), place=sweep_tables.places(grid, group),
        share=np.array([row["success_rate"] for row in over], float),
        low=np.array([row["success_interval"][0] for row in over], float),
        high=np.array([row["success_interval"][1] for row in over], float),
    )  # fmt: skip
    says = {"share": "runs that grok", "low": "95 % interval from", "high": "to"}
    base = alt.Chart(share).encode(
        x=_named(alt.X, "place", grid.labels, grid.title), color=_group_colour(grid),
        tooltip=[alt.Tooltip(f"{name}:Q", title=title, format=".0%") for name, title in says.items()],
    )  # fmt: skip
    drawn = alt.layer(
        base.mark_rule(strokeWidth=8, opacity=0.3).encode(
            y=alt.Y("low:Q", title="runs that grok", **PERCENT), y2="high"
        ),
        base.mark_point(filled=True, size=80, opacity=1).encode(y=alt.Y("share:Q", **PERCENT)),
    ).properties(height=HEIGHT)
    wide = max((row["success_interval"][1] - row["success_interval"][0] for row in over), default=0.0)
    return Chart(
        drawn, "How many grok",
        f"Share of the finished runs, with Wilson's 95 % interval, up to {wide:.0%} wide here.",
        "Share of runs that grok by group", lambda: sweep_tables.statistics(statistics),
    )  # fmt: skip


def finals(grid: Grid, results: list[Outcome]) -> Chart:
    """The last accuracy of every finished run on the test and on the held-out pairs."""
    pairs = {"test": "test pairs", "held_out": "held-out pairs"}
    squares = alt.Scale(domain=[*pairs.values()], range=["square", "diamond"])
    legend = alt.Legend(title=None, orient="top", symbolStrokeColor=COLOURS["others"])
    rows = sweep_tables.ended(grid, results)
    drawn = (
        alt.Chart(rows)
        .transform_fold([*pairs], ["on", "accuracy"])
        .transform_calculate(pairs="datum.on == 'test' ? 'test pairs' : 'held-out pairs'")
        .transform_filter("isValid(datum.accuracy) && isFinite(datum.accuracy)")
        .mark_point(size=55, opacity=0.9)
        .encode(
            x=_named(alt.X, "place", grid.labels, grid.title),
            y=alt.Y("accuracy:Q", title="final accuracy", **PERCENT),
            color=_group_colour(grid),
            shape=alt.Shape("pairs:N", scale=squares, legend=legend),
            tooltip=[*tips(group=grid.title, seed="seed", pairs="on"), alt.Tooltip("accuracy:Q", format=".1%")],
        )
        .properties(height=HEIGHT)
    )
    return Chart(
        drawn, "What they know at the end",
        "Last accuracy of every run. Of held-out pairs neither order was trained: look for how far they stay behind "
        "the test pairs.", "Final accuracy of every run by group", rows,
    )  # fmt: skip


def matrix(
    grid: Grid, records: Mapping[str, Record | None], states: Mapping[str, tuple[str, str]], criterion: Criterion
) -> Chart:
    """The grid as small curves of the criterion's accuracy, a row per group and a column per seed; the steps run
    logarithmically from 0 to the run's last.  `states` maps a run id to one of STATES and a few words."""
    labels, seeds = grid.labels, list(dict.fromkeys(run.seed for run in grid.runs))
    left = np.array([seeds.index(run.seed) for run in grid.runs]) + 0.03
    foot = sweep_tables.places(grid, [grid.label(run) for run in grid.runs]) + 0.46
    state, words = zip(*(states[run.id] for run in grid.runs), strict=True)
    tall, wide = 0.7, 0.94  # of a curve, in units of a cell; above it there is room for words
    boxes = table(
        x=left, x2=left + wide, y=foot, y2=foot - 0.92, level=foot - tall * criterion.accuracy, state=np.array(state),
        words=np.array(words), run=np.array([run.id for run in grid.runs]),
    )  # fmt: skip
    curves = [(run, *sweep_tables.curve(records.get(run.id), criterion, len(grid.runs))) for run in grid.runs]
    length = [len(steps) for _, steps, _ in curves]
    part = [np.log1p(steps) / np.log1p(run.epochs) for run, steps, _ in curves]
    lines = table(
        run=np.repeat([run.id for run in grid.runs], length), state=np.repeat(state, length),
        x=np.repeat(left, length) + wide * np.concatenate(part),
        y=np.repeat(foot, length) - tall * np.concatenate([values for _, _, values in curves]),
    )  # fmt: skip
    at = {"x": _named(alt.X, "x", seeds, "seed", orient="top"), "y": _named(alt.Y, "y", labels, grid.title)}
    there = [name for name in STATES if name in state]
    legend = alt.Legend(orient="bottom", title=None, symbolOpacity=1, symbolType="square")
    color = alt.Color(
        "state:N", scale=alt.Scale(domain=there, range=[STATES[name] for name in there]), legend=legend
    )  # fmt: skip
    base = alt.Chart(boxes).encode(tooltip=tips(run="run", state="state", words="how far"))
    level = base.mark_rule(strokeDash=[2, 3], color=COLOURS["others"], opacity=0.7)
    text = base.mark_text(align="left", baseline="top", dx=4, dy=4, color=INK)
    drawn = alt.layer(
        base.mark_rect(opacity=0.16).encode(**at, x2="x2", y2="y2", color=color),
        level.encode(x="x:Q", x2="x2", y="level:Q"),
        alt.Chart(lines).mark_line(strokeWidth=1.5).encode(**at, detail="run:N", color=color),
        text.encode(x="x:Q", y="y2:Q", text="words:N"),
    ).properties(height=int(np.clip(900 / len(labels), 44, 92)) * len(labels))
    return Chart(
        drawn, "The grid",
        f"A small curve per run, {CURVES[criterion.curve]} from 0 to 100 % over steps on a logarithmic axis; dotted: "
        "the level of the criterion. The number is the step of grokking.",
        "Small accuracy curves, a row per setting and a column per seed, coloured by how the run stands", boxes,
    )  # fmt: skip
