"""What moves the norm of the weights: weight decay, and the step along the loss gradient."""

import numpy as np

from ..records.record import Record
from ..runs import WARMUP

FORCES = ("loss gradient", "weight decay", "both")
TEX = (
    r"\Delta\lVert w\rVert^2 = \underbrace{\left[(1 - \eta\lambda)^2 - 1\right]\lVert w\rVert^2}_{\text{decay}}"
    r" + \underbrace{\text{rest}}_{\text{gradient}}"
)


def on_norm(record: Record, buckets: int = 160) -> dict[str, np.ndarray]:
    """What weight decay and the loss gradient add to the squared norm, a step, between recorded rows.

    `step` [T] and `steps` [T], where an interval starts and how long it is; `weight decay`,
    `loss gradient` and `both` [T] in squared weight a step.  Decay multiplies the norm by 1 - lr wd in
    every step, so its part is exact where rows are a step apart and a trapezoid where they are
    further; the gradient's is the rest.  Derived for this project.
    """
    run, at = record.run, record.steps.astype(np.int64)
    square = record.history["norm"].astype(np.float64) ** 2
    rate = lambda s: (1 - run.lr * np.minimum(s / WARMUP, 1) * run.weight_decay) ** 2 - 1  # noqa: E731
    length, change = np.diff(at), np.diff(square)
    # The last update of an interval starts from weights one step before its end.
    last = np.where(length > 1, square[1:] * rate(at[1:] - 1), square[:-1] * rate(at[:-1]))
    decay = length * (square[:-1] * rate(at[:-1]) + last) / 2
    # Neighbouring rows in thin, roughly geometric and even buckets: the noise of a step averages out.
    edges = np.concatenate([np.geomspace(1, at[-1] + 1, buckets // 2) - 1, np.linspace(0, at[-1], buckets // 2)])
    first = np.unique(np.searchsorted(at[:-1], np.unique(edges.astype(np.int64))).clip(0, max(len(length) - 1, 0)))
    if not len(length):
        return {name: np.array([]) for name in ("step", "steps", *FORCES)}
    total = {name: np.add.reduceat(part, first) for name, part in (("length", length), ("d", decay), ("c", change))}
    d, c = total["d"] / total["length"], total["c"] / total["length"]
    return {"step": at[first], "steps": total["length"], "loss gradient": c - d, "weight decay": d, "both": c}


def norm_peak(record: Record) -> int:
    """The step at which the norm of the weights is largest: before it the gradient wins, after it decay."""
    return int(record.steps[int(np.nanargmax(record.history["norm"]))])
