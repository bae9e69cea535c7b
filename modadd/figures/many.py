"""Several runs in one chart: a band over seeds, a parent beside its forks, and when stages end."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np

from ..many import seeds
from ..records.record import Record, thin_rows
from .style import COLOURS, HEIGHT, HUE, SEVERAL, long, step_axis, table, tips

# One run a hue where runs differ in kind; in the order of appearance.
HUES = (HUE["graphite"], *SEVERAL)
MIDDLE = HUE["indigo"]
POINTS = 240


def value_axis(name: str, field: str = "value") -> alt.Y:
    """The axis of one of `seeds.CURVES`, for the column `field`."""
    if name.endswith("accuracy"):
        how = {"scale": alt.Scale(domain=[0, 1]), "axis": alt.Axis(format="%")}
    elif name.endswith("loss"):
        how = {"scale": alt.Scale(type="log"), "axis": alt.Axis(format=".0e", tickCount=5)}
    else:
        how = {"scale": alt.Scale(domain=[0, 1]) if name.startswith("ipr") else alt.Scale(zero=False)}
    return alt.Y(f"{field}:Q", title=seeds.CURVES[name], **how)


def curves_of(records: Mapping[str, Record], name: str):
    """One row a run and kept point: step, curve (the run's label), value."""
    pieces = []
    for label, record in records.items():
        steps, values = seeds.curve(record, name)
        keep = thin_rows([values], POINTS)
        pieces.append(long("step", steps[keep], {label: values[keep]}))
    return pieces[0].from_batches([batch for piece in pieces for batch in piece.to_batches()], pieces[0].schema)


def band(records: Mapping[str, Record], name: str, log_steps: bool = False) -> alt.LayerChart:
    """Every run as a thin line, the middle half of them as a band, the median as a strong line."""
    middle = seeds.band(list(records.values()), name)
    x, y = step_axis(log_steps), value_axis(name)
    each = (
        alt.Chart(curves_of(records, name))
        .mark_line(strokeWidth=0.8, opacity=0.55, clip=True, color=COLOURS["others"])
        .encode(x=x, y=y, detail=alt.Detail("curve:N"), tooltip=tips(curve="seed", step="step", value="value"))
    )
    rows = table(step=middle["step"], value=middle["median"], low=middle["low"], high=middle["high"])
    area = (
        alt.Chart(rows)
        .mark_area(opacity=0.22, color=MIDDLE, clip=True)
        .encode(x=x, y=value_axis(name, "low"), y2=alt.Y2("high"))
    )
    median = (
        alt.Chart(rows)
        .mark_line(strokeWidth=2.4, color=MIDDLE, clip=True)
        .encode(x=x, y=y, tooltip=tips(step="step", value="median"))
    )
    return alt.layer(area, each, median).properties(height=HEIGHT)


def overlay(
    records: Mapping[str, Record], name: str, marks: Sequence[int] = (), log_steps: bool = False
) -> alt.LayerChart:
    """One curve of several runs, a hue a run; a rule at each of the steps `marks`, where forks leave."""
    labels = list(records)
    hues = [HUES[i % len(HUES)] for i in range(len(labels))]
    lines = (
        alt.Chart(curves_of(records, name))
        .mark_line(strokeWidth=1.8, clip=True)
        .encode(
            x=step_axis(log_steps), y=value_axis(name),
            color=alt.Color(
                "curve:N", scale=alt.Scale(domain=labels, range=hues), sort=labels,
                legend=alt.Legend(title=None, orient="top", symbolType="stroke", columns=1, labelLimit=420),
            ),
            tooltip=tips(curve="run", step="step", value="value"),
        )
    )  # fmt: skip
    if not marks:
        return lines.properties(height=HEIGHT + 60)
    rule = (
        alt.Chart(table(step=np.array(sorted(set(marks)))))
        .mark_rule(strokeDash=[4, 3], color=COLOURS["others"])
        .encode(x=alt.X("step:Q"), tooltip=tips(step="fork at step"))
    )
    return alt.layer(lines, rule).properties(height=HEIGHT + 60)


def stage_rows(names: Sequence[str], ends: list[dict], watched: Sequence[int]):
    """One row a run and stage: seed, stage, step (where it ended, or up to which it was watched), reached."""
    return table(
        seed=np.array([name for _ in ends for name in names]),
        stage=np.array([row["stage"] for row in ends for _ in names]),
        step=np.array(
            [last if step is None else step for row in ends for step, last in zip(row["steps"], watched, strict=True)]
        ),
        reached=np.array(["not reached" if step is None else "reached" for row in ends for step in row["steps"]]),
    )


def stage_ends(names: Sequence[str], ends: list[dict], watched: Sequence[int]) -> alt.LayerChart:
    """When each run's stages end: a dot a run, open at its last step where not reached; median and interval."""
    stages = [row["stage"] for row in ends]
    y = alt.Y("stage:N", title=None, sort=stages)
    log = {"title": "training step (log)", "scale": alt.Scale(type="log"), "axis": alt.Axis(format="~s", tickCount=6)}
    x = alt.X("step:Q", **log)
    dots = (
        alt.Chart(stage_rows(names, ends, watched))
        .mark_point(size=55, filled=False, strokeWidth=1.6)
        .encode(
            x=x, y=y, tooltip=tips(seed="seed", stage="end of", step="step", reached="reached"),
            fill=alt.Fill(
                "reached:N", scale=alt.Scale(domain=["reached", "not reached"], range=[MIDDLE, "transparent"]),
                legend=alt.Legend(title=None, orient="top"),
            ),
            stroke=alt.value(MIDDLE),
        )
    )  # fmt: skip
    known = [row for row in ends if row["median"] is not None and row["interval"] is not None]
    if not known:
        return alt.layer(dots).properties(height=210)
    longest = max(watched)
    interval = table(
        stage=np.array([row["stage"] for row in known]),
        step=np.array([row["median"] for row in known]),
        low=np.array([row["interval"][0] for row in known]),
        high=np.array([row["interval"][1] or longest for row in known], float),
    )
    bar = alt.Chart(interval).mark_rule(strokeWidth=5, opacity=0.35, color=COLOURS["winner"]).encode(
        x=alt.X("low:Q", **log), x2=alt.X2("high"), y=y, tooltip=tips(low="low end", high="high end")
    )  # fmt: skip
    tick = alt.Chart(interval).mark_tick(thickness=3, size=26, color=COLOURS["winner"]).encode(
        x=x, y=y, tooltip=tips(stage="end of", step="median")
    )  # fmt: skip
    return alt.layer(bar, dots, tick).properties(height=210)
