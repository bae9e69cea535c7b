"""When a network knows a pair for good, and which signals come before it knows what was held out.

Frames and rows lie steps apart, so that every moment is a span: it came after one step and by another.
"""

from typing import NamedTuple

import numpy as np

from .. import data
from ..records.record import Record
from .forces import norm_peak


class Known(NamedTuple):
    """Of each unordered pair, [N]: the first kept step from which its answer stays right, `by`, inf if it is wrong at
    the last one; and the kept step before, `after`, at which it was wrong, or 0 if it is right at every kept one."""

    after: np.ndarray
    by: np.ndarray
    last: int


def known(record: Record) -> Known | None:
    """When every pair is known for good; None for a record that keeps no answers."""
    step_S, right_SN = record.series("correct")
    if not len(step_S):
        return None
    wrong_SN = ~right_SN.astype(bool)
    from_N = np.where(wrong_SN.any(0), len(step_S) - wrong_SN[::-1].argmax(0), 0)  # frames up to the last wrong one
    return Known(step_S[np.maximum(from_N - 1, 0)], np.append(step_S, np.inf)[from_N], int(step_S[-1]))


def by_kind(found: Known, record: Record) -> list[dict]:
    """A row a kind of pair that exists: how many ordered `pairs`, how many `never` known for good, and the mean step
    over the others, between `after` and `by`, None where there are none."""
    kind_PP, p = data.kinds(record.run), record.run.p
    after_PP, by_PP = data.grid(found.after, p), data.grid(found.by, p)
    rows = []
    for number, name in enumerate(data.KINDS):
        if (mine := kind_PP == number).any():
            there = mine & np.isfinite(by_PP)
            after, by = (float(of[there].mean()) if there.any() else None for of in (after_PP, by_PP))
            rows.append({"kind": name, "pairs": int(mine.sum()), "after": after, "by": by,
                         "never": int(mine.sum() - there.sum())})  # fmt: skip
    return rows


Span = tuple[int, int]  # after this step, by this one


def crossing(steps, values, level: float, rising: bool = True) -> Span | None:
    """Where a curve first reaches a level: the last step before and the first at it; None if it never does."""
    steps, values = np.asarray(steps), np.asarray(values, float)
    steps, values = steps[np.isfinite(values)], values[np.isfinite(values)]
    there = np.flatnonzero(values >= level if rising else values <= level)
    return (int(steps[max(there[0] - 1, 0)]), int(steps[there[0]])) if len(there) else None


def half_way(steps, values) -> Span | None:
    """Where a curve first is half-way from its first value to its last; None if these are equal."""
    if not len(values) or not np.isfinite(values[[0, -1]]).all() or values[0] == values[-1]:
        return None
    return crossing(steps, values, (values[0] + values[-1]) / 2, rising=bool(values[-1] > values[0]))


def _peak(record: Record) -> Span | None:
    """The steps beside the largest norm; None if that is at an end of the record, and so no maximum."""
    row = int(np.searchsorted(record.steps, norm_peak(record)))
    inside = 0 < row < len(record.steps) - 1
    return (int(record.steps[row - 1]), int(record.steps[row + 1])) if inside else None


GOAL = "held-out accuracy at 50 %"


def signals(record: Record) -> dict[str, Span | None]:
    """When each signal comes, between which steps; None where it does not.  Half-way is from its first value to its
    last one in this record."""
    (at, ipr_in), (_, ipr_out), (turned, sin_D) = (
        record.series(name) for name in ("ipr_in", "ipr_out", "mean_abs_sin_D")
    )
    accuracy = {group: record.history[f"{group}_accuracy"] for group in ("train", "held_out")}
    return {
        "training accuracy at 50 %": crossing(record.steps, accuracy["train"], 0.5),
        "norm of the weights at its largest": _peak(record),
        "IPR, both layers, half-way": half_way(at, (ipr_in + ipr_out) / 2),
        "mean |sin D| half-way": half_way(turned, sin_D),
        GOAL: crossing(record.steps, accuracy["held_out"], 0.5),
    }


def leads(found: dict[str, Span | None]) -> dict[str, tuple[int, int] | None]:
    """By how many steps each signal comes before GOAL, at least and at most; negative where it follows."""
    goal = found[GOAL]
    return {
        name: (goal[0] - span[1], goal[1] - span[0]) if goal and span else None
        for name, span in found.items() if name != GOAL
    }  # fmt: skip
