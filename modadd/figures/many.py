"""Several runs in one chart: a band over seeds, a parent beside its forks, and when stages end."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np

from ..many import seeds
from ..records.record import Record, thin_rows
from .chart import Chart, drawing
from .over_time import Axis
from .style import COLOURS, DASHED, HEIGHT, HUE, SEVERAL, hues, legend, long, named, sentence, step_axis, table, tips

# One run a hue where runs differ in kind; in the order of appearance.
HUES = (HUE["graphite"], *SEVERAL)
MIDDLE = HUE["indigo"]
POINTS = 240


def axis_of(name: str, values) -> Axis:
    """The axis of one of `seeds.CURVES`, around these values."""
    kind = "share" if name.endswith("accuracy") else "log" if name.endswith("loss") else (
        "unit" if name.startswith("ipr") else "plain")  # fmt: skip
    return Axis(seeds.CURVES[name], kind).around(values)


def curves_of(records: Mapping[str, Record], name: str):
    """One row per run and kept point: step, curve (the run's label), value."""
    pieces = []
    for label, record in records.items():
        steps, values = seeds.curve(record, name)
        keep = thin_rows([values], POINTS)
        pieces.append(long("step", steps[keep], {label: values[keep]}))
    return pieces[0].from_batches([batch for piece in pieces for batch in piece.to_batches()], pieces[0].schema)


def band(records: Mapping[str, Record], name: str, log_steps: bool = True) -> Chart | str:
    """Every run as a thin line, the middle half of them as a band, the median as a strong line; a sentence where this
    was not measured."""
    middle = seeds.band(list(records.values()), name)
    if not len(middle["step"]):
        return f"No {seeds.CURVES[name]} was measured in these runs."
    each = curves_of(records, name)
    axis = axis_of(name, each["value"].to_numpy())
    rows = table(step=middle["step"], value=middle["median"], low=middle["low"], high=middle["high"])
    told = "One seed alone cannot tell luck from law: train the others for a band."
    if len(records) > 1:
        last = middle["high"][-1] - middle["low"][-1]
        told = f"Thin: each of {len(records)} seeds. Strong: median; shaded: middle half, {last:.2g} wide at the end."
    return Chart(
        drawing(_band, {"each": each, "middle": rows}, axis=axis, log_steps=log_steps),
        sentence(seeds.CURVES[name]),
        told,
        f"Median and middle half of {seeds.CURVES[name]} over {len(records)} seeds by step",
        lambda: table(**middle),
    )


def _band(axis, log_steps):
    x, y, middle = step_axis(log_steps), axis.y(), alt.Chart(named("middle"))
    each = alt.Chart(named("each")).mark_line(strokeWidth=0.8, opacity=0.55, clip=True, color=COLOURS["others"])
    each = each.encode(x=x, y=y, detail=alt.Detail("curve:N"), tooltip=tips(curve="seed", step="step", value="value"))
    area = middle.mark_area(opacity=0.22, color=MIDDLE, clip=True).encode(x=x, y=axis.y("low"), y2=alt.Y2("high"))
    median = middle.mark_line(strokeWidth=2.4, color=MIDDLE, clip=True)
    return alt.layer(area, each, median.encode(x=x, y=y, tooltip=tips(step="step", value="median")), height=HEIGHT)


def overlay(records: Mapping[str, Record], name: str, marks: Sequence[int] = (), log_steps: bool = True) -> Chart:
    """One curve of several runs, a hue per run; a rule at each of the steps `marks`, where forks leave."""
    rows = curves_of(records, name)
    palette = {label: HUES[i % len(HUES)] for i, label in enumerate(records)}
    tables = {"curves": rows, "marks": table(step=np.array(sorted(set(marks)), int))}
    how = {"axis": axis_of(name, rows["value"].to_numpy()), "palette": tuple(palette.items()), "log_steps": log_steps}
    ends = "; ".join(
        f"{label}: {seeds.curve(record, name)[1][-1]:.4g}"
        for label, record in records.items()
        if len(seeds.curve(record, name)[1])
    )
    return Chart(
        drawing(_overlay, tables, **how),
        sentence(seeds.CURVES[name]),
        f"At the end {ends}." + " A dashed rule where a fork leaves." * bool(marks),
        f"{seeds.CURVES[name]} of {len(records)} runs by step",
        rows,
    )


def _overlay(axis, palette, log_steps):
    x, palette = step_axis(log_steps), dict(palette)
    lines = alt.Chart(named("curves")).mark_line(strokeWidth=1.8, clip=True).encode(
        x=x, y=axis.y(), color=hues(palette, palette, legend=legend(columns=1, labelLimit=420)),
        tooltip=tips(curve="run", step="step", value="value"),
    )  # fmt: skip
    rule = alt.Chart(named("marks")).mark_rule(**DASHED).encode(x=x, tooltip=tips(step="fork at step"))
    return alt.layer(lines, rule, height=HEIGHT)


def stage_rows(names: Sequence[str], ends: list[dict], watched: Sequence[int]):
    """One row per run and stage: seed, stage, step (where it ended, or up to which it was watched), reached."""
    return table(
        seed=np.array([name for _ in ends for name in names]),
        stage=np.array([row["stage"] for row in ends for _ in names]),
        step=np.array(
            [last if step is None else step for row in ends for step, last in zip(row["steps"], watched, strict=True)]
        ),
        reached=np.array(["not reached" if step is None else "reached" for row in ends for step in row["steps"]]),
    )


def stage_ends(names: Sequence[str], ends: list[dict], watched: Sequence[int], threshold: float) -> Chart:
    """When each run's stages end: a dot per run, open at its last step where not reached; median and interval."""
    known = [row for row in ends if row["median"] is not None and row["interval"] is not None]
    rows = stage_rows(names, ends, watched)
    interval = table(
        stage=np.array([row["stage"] for row in known], str), step=np.array([row["median"] for row in known], float),
        low=np.array([row["interval"][0] for row in known], float),
        high=np.array([row["interval"][1] or max(watched) for row in known], float),
    )  # fmt: skip
    missed = rows["reached"].to_pylist().count("not reached")
    return Chart(
        drawing(_stage_ends, {"dots": rows, "interval": interval}, stages=tuple(row["stage"] for row in ends)),
        "End of each stage",
        f"First step with accuracy ≥ {threshold:.0%} (memorisation: train, generalisation: test). A dot per seed"
        + (f", {missed} open: not reached" if missed else "") + "; red: median and 95 % bootstrap interval.",
        "End of each stage for every seed", rows,
    )  # fmt: skip


def _stage_ends(stages):
    y = alt.Y("stage:N", title=None, sort=list(stages))
    log = {
        "title": "training step (log)",
        "scale": alt.Scale(type="log"),
        "axis": alt.Axis(format="~s", tickCount=6, grid=False),
    }
    x = alt.X("step:Q", **log)
    reached = alt.Scale(domain=["reached", "not reached"], range=[MIDDLE, "transparent"])
    dots = alt.Chart(named("dots")).mark_point(size=55, filled=False, strokeWidth=1.6).encode(
        x=x, y=y, tooltip=tips(seed="seed", stage="end of", step="step", reached="reached"),
        fill=alt.Fill("reached:N", scale=reached, legend=legend("circle")), stroke=alt.value(MIDDLE),
    )  # fmt: skip
    between = alt.Chart(named("interval"))
    bar = between.mark_rule(strokeWidth=5, opacity=0.35, color=COLOURS["winner"]).encode(
        x=alt.X("low:Q", **log), x2=alt.X2("high"), y=y, tooltip=tips(low="low end", high="high end")
    )  # fmt: skip
    tick = between.mark_tick(thickness=3, size=26, color=COLOURS["winner"]).encode(
        x=x, y=y, tooltip=tips(stage="end of", step="median")
    )  # fmt: skip
    return alt.layer(bar, dots, tick, height=70 * len(stages))
