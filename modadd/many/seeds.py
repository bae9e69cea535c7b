"""Several runs at once: median and band of every curve, and when their stages end.

Runs may be thinned, end at different steps, or still be growing: a run counts at every step up to its
last one, with the value of its latest kept row.
"""

from collections.abc import Sequence

import numpy as np

from ..maths import measures
from ..records.record import Record
from ..runs import BOUNDS
from . import survival

# Name of a column of the history, or of a scalar of the frames, and what it is called.
CURVES = {
    "test_accuracy": "test accuracy",
    "held_out_accuracy": "held-out accuracy",
    "train_accuracy": "train accuracy",
    "rare_accuracy": "mirrored accuracy",
    "train_loss": "train loss (nats)",
    "test_loss": "test loss (nats)",
    "ipr_in": "IPR of the input layer",
    "ipr_out": "IPR of the output layer",
    "mean_abs_sin_D": "mean |sin D|",
    "norm": "parameter norm",
}
POINTS = 240


def curve(record: Record, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(steps [T], values [T]) of one of CURVES where it was measured; empty if it never was."""
    steps, values = (record.steps, record.history[name]) if name in record.history else record.series(name)
    known = np.isfinite(np.asarray(values, float))
    return np.asarray(steps)[known], np.asarray(values, float)[known]


def band(records: Sequence[Record], name: str, share: float = 0.5) -> dict[str, np.ndarray]:
    """The middle `share` of the runs over training: step [T], median, low, high and runs (how many count), [T].

    Steps are half even, half geometric, up to the last step of the longest run.  Empty without a value.
    """
    known = [pair for pair in (curve(record, name) for record in records) if len(pair[0])]
    if not known:
        return {key: np.array([]) for key in ("step", "median", "low", "high", "runs")}
    last = max(int(steps[-1]) for steps, _ in known)
    even, early = np.linspace(0, last, POINTS // 2), np.geomspace(1, max(last, 1), POINTS // 2)
    step_T = np.unique(np.concatenate([even, early]).round().astype(int))
    value_RT = np.full((len(known), len(step_T)), np.nan)
    for values_T, (steps, values) in zip(value_RT, known, strict=True):
        there = (step_T >= steps[0]) & (step_T <= steps[-1])
        values_T[there] = values[np.searchsorted(steps, step_T[there], side="right") - 1]
    counted = np.isfinite(value_RT).any(0)
    step_T, value_RT = step_T[counted], value_RT[:, counted]
    low, median, high = np.nanquantile(value_RT, [(1 - share) / 2, 0.5, (1 + share) / 2], axis=0)
    return {"step": step_T, "median": median, "low": low, "high": high, "runs": np.isfinite(value_RT).sum(0)}


def ends(records: Sequence[Record], threshold: float = measures.STAGE_ACCURACY) -> list[dict]:
    """Of each stage that ends (memorisation, generalisation): `steps`, each run's step or None; `median` and
    `interval` as in `survival`, so that a run that did not get there counts as one that takes longer."""
    rows = []
    reached_RE = [measures.stages(record, threshold) for record in records]
    for e, stage in enumerate(measures.STAGES[:2]):
        steps = [reached_E[e] for reached_E in reached_RE]
        came = [step is not None for step in steps]
        watched = [record.step if step is None else step for record, step in zip(records, steps, strict=True)]
        rows.append(
            {
                "stage": stage,
                "steps": steps,
                "median": survival.median(watched, came),
                "interval": survival.median_interval(watched, came),
            }
        )
    return rows


def parse(text: str, most: int = 64) -> list[int]:
    """Seeds from words like "42, 1-4": whole numbers and ranges, each once, in order.

    Raises ValueError with a sentence for anything else, none at all, or more than `most`.
    """
    seeds: dict[int, None] = {}
    for word in text.replace(",", " ").split():
        low, dash, high = word.partition("-")
        ends = (low, high) if dash else (low, low)
        if not all(end.isdecimal() and len(end) <= 10 for end in ends):
            raise ValueError(f"seeds are whole numbers or ranges such as 1-4, got {word!r:.40}")
        first, last = map(int, ends)
        if last > BOUNDS["seed"][1]:
            raise ValueError(f"a seed is at most {BOUNDS['seed'][1]}, got {last}")
        if last - first >= most:
            raise ValueError(f"at most {most} seeds at once: {word} names {last - first + 1:,}")
        seeds |= dict.fromkeys(range(first, last + 1))
    if not seeds:
        raise ValueError("no seed given: name some, such as 42, 1-4")
    if len(seeds) > most:
        raise ValueError(f"at most {most} seeds at once, got {len(seeds)}")
    return list(seeds)
