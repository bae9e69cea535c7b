"""Loss, accuracy, sparsity and alignment over training."""

import altair as alt
import numpy as np

from ..records.record import Record, thin_rows
from .style import HUE, colour, long, step_axis, tips, with_step

POINTS = 300


def _alone(rows) -> bool:
    """Is there one moment only, of which a line would show nothing?"""
    return len(rows) > 0 and rows["step"][0] == rows["step"][-1]


def _lines(rows, names, y: alt.Y, step, log_steps) -> alt.LayerChart:
    lines = (
        alt.Chart(rows)
        .mark_line(strokeWidth=1.8, clip=True, point=_alone(rows))
        .encode(
            x=step_axis(log_steps), y=y, color=colour(names), tooltip=tips(curve="curve", step="step", value="value")
        )
    )
    return with_step(lines, step, rows)


def _history(record: Record, what: str, curves: dict[str, str]):
    columns = {name: record.history[f"{group}_{what}"] for name, group in curves.items()}
    columns = {name: column for name, column in columns.items() if np.isfinite(column).any()}
    rows = thin_rows(list(columns.values()), POINTS)
    return long("step", record.steps[rows], {name: column[rows] for name, column in columns.items()}), list(columns)


def losses(record: Record, step: int | None = None, log_steps: bool = False) -> alt.LayerChart:
    """Mean cross-entropy in nats on the training, test and held-out pairs, on a log axis."""
    rows, names = _history(record, "loss", {"train": "train", "test": "test", "held out": "held_out"})
    y = alt.Y("value:Q", title="loss (nats)", scale=alt.Scale(type="log"), axis=alt.Axis(format=".0e", tickCount=5))
    return _lines(rows, names, y, step, log_steps)


def accuracies(record: Record, step: int | None = None, log_steps: bool = False) -> alt.LayerChart:
    """Share of right answers on the training, test, mirrored and held-out pairs."""
    curves = {"train": "train", "test": "test", "held out": "held_out"}
    rows, names = _history(record, "accuracy", curves)
    y = alt.Y("value:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    return _lines(rows, names, y, step, log_steps)


def iprs(record: Record, step: int | None = None, log_steps: bool = False) -> alt.LayerChart:
    """Mean inverse participation ratio of both layers: 1 means one frequency a neuron."""
    names = ["input layer", "output layer"]
    at, ipr_in = record.series("ipr_in")
    rows = long("step", at, {names[0]: ipr_in, names[1]: record.series("ipr_out")[1]})
    y = alt.Y("value:Q", title="IPR", scale=alt.Scale(domain=[0, 1]))
    return _lines(rows, names, y, step, log_steps)


def misalignment(record: Record, step: int | None = None, log_steps: bool = False) -> alt.LayerChart:
    """Mean |sin D| over all neurons: 0 means psi = 2 phi (or its opposite) everywhere."""
    at, values = record.series("mean_abs_sin_D")
    rows = long("step", at, {"all neurons": values})
    y = alt.Y("value:Q", title="mean |sin D|", scale=alt.Scale(domain=[0, 0.7]))
    hue = HUE["indigo"]
    line = (
        alt.Chart(rows)
        .mark_line(strokeWidth=1.8, color=hue, clip=True, point={"color": hue} if _alone(rows) else False)
        .encode(x=step_axis(log_steps), y=y, tooltip=tips(step="step", value="value"))
    )
    return with_step(line, step, rows)
