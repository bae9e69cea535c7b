"""The losses and accuracies that files note of their own training, held against ours."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from ..records.record import thin_rows

METRICS = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
CLOSE = {"loss": (0.03, 1e-3), "accuracy": (0.0, 0.011)}  # of its size, and in all: what two ways of counting differ by
ROWS = 20_000  # of a history that files tell

Curves = Mapping[str, np.ndarray]


class Compared(NamedTuple):
    """One number of the files beside ours."""

    step: int
    metric: str
    own: float
    ours: float

    @property
    def agrees(self) -> bool:
        return close(self.metric, self.own, self.ours)


def close(metric: str, own: float, ours: float) -> bool:
    share, least = CLOSE[metric.rpartition("_")[2]]
    return abs(own - ours) <= least + share * max(abs(own), abs(ours))


def compare(
    told: Mapping[int, Mapping[str, float]], curves: Curves, steps: np.ndarray, history: Curves
) -> list[Compared]:
    """What the files say of their own losses and accuracies, by step and as curves, beside ours where both are known.

    In a curve with a number a step one step before and after is as good: some note a loss before, some after the
    update.  Of a curve with other steps only the end is sure.
    """
    rows = []
    for i, step in enumerate(steps):
        for metric in METRICS:
            ours, own, curve = float(history[metric][i]), told.get(int(step), {}).get(metric), curves.get(metric)
            if own is None and curve is not None and _every_step(curve, steps):
                own = min(curve[max(0, step - 1) : step + 2], key=lambda value: abs(value - ours))
            elif own is None and curve is not None and i == len(steps) - 1:
                own = curve[-1]
            if own is not None and np.isfinite([own, ours]).all():
                rows.append(Compared(int(step), metric, _share(metric, float(own)), ours))
    return rows


def _every_step(curve: np.ndarray, steps: np.ndarray) -> bool:
    return len(curve) in (steps[-1], steps[-1] + 1)


def _share(metric: str, value: float) -> float:
    """Per cent as a share."""
    return value / 100 if metric.endswith("accuracy") and value > 1 else value


def verdict(
    rows: list[Compared], share: float, others: Callable[[], Mapping[str, Mapping[str, float]]], split_known: bool
) -> str | None:
    """How the files' numbers compare with ours, in a sentence, and the likely cause where they differ; None where
    the files tell none.  `share` of the pairs are trained; `others()` gives the metrics of the last network with
    other activations."""
    if not rows:
        return None
    last = [row for row in rows if row.step == rows[-1].step]
    off = [row for row in (*last, *rows) if not row.agrees]
    if not off:
        return f"The {len(rows)} losses and accuracies that the files note agree with ours."
    step, metric, own, ours = off[0]
    said = f"At step {step:,} the files note a {metric.replace('_', ' ')} of {own:.4g}, here it is {ours:.4g}: "
    for name, metrics in others().items() if off[0] in last else ():
        if all(close(row.metric, row.own, metrics[row.metric]) for row in last):
            return f"{said}with the activation {name} they agree."
    theirs, here = ({row.metric: value for row, value in zip(last, column, strict=True)}
                    for column in ([row.own for row in last], [row.ours for row in last]))  # fmt: skip
    both = "train_loss" in here and "test_loss" in here
    every = share * here["train_loss"] + (1 - share) * here["test_loss"] if both else None
    if both and all(close("loss", theirs[name], every) for name in ("train_loss", "test_loss")):
        return f"{said}theirs is our mean over all pairs, {every:.4g}."
    if both and not split_known and theirs["train_loss"] <= every <= theirs["test_loss"]:
        return f"{said}their split is likely another; give the file of their training pairs, too."
    return f"{said}another activation, {'' if split_known else 'another split, '}or another kind of loss is likely."


def joined(curves: Curves, steps: np.ndarray, history: Curves) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(steps, history) with the files' curves between our moments; what they do not tell is NaN there."""
    own = {metric: curve for metric, curve in curves.items() if metric in METRICS and _every_step(curve, steps)}
    if "train_loss" not in own or not all(np.isfinite(curve).all() for curve in own.values()):
        return steps, dict(history)
    length = min(map(len, own.values()))
    every = np.union1d(thin_rows([curve[:length] for curve in own.values()], ROWS), steps)
    known, joint = every < length, {}
    for metric, column in history.items():
        joint[metric] = np.full(len(every), np.nan, np.float32)
        if metric in own:
            joint[metric][known] = [_share(metric, value) for value in own[metric][every[known]]]
        joint[metric][np.searchsorted(every, steps)] = column
    return every, joint
