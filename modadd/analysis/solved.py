"""When the general transformer counts as having solved its task."""

import numpy as np

from ..records.record import Record

SUSTAINED = 1_000  # steps that a perfect test accuracy must last to count as solved


def latest(record: Record, name: str) -> float | None:
    """The last value of a history column that was taken; None if none was."""
    column = np.asarray(record.history[name])
    column = column[np.isfinite(column)]
    return float(column[-1]) if len(column) else None


def solved_at(record: Record, sustained: int = SUSTAINED) -> int | None:
    """First step at which every test example that was looked at is answered rightly, and is at every look
    of the `sustained` steps after it; None if that never happened."""
    accuracy = np.asarray(record.history["test_accuracy"])
    looked = np.flatnonzero(np.isfinite(accuracy))
    step, perfect = np.asarray(record.steps)[looked], accuracy[looked] == 1
    failed = np.append(step[~perfect], np.iinfo(np.int64).max)
    for here in step[perfect]:
        if failed[np.searchsorted(failed, here)] > here + sustained:
            return int(here) if step[-1] >= here + sustained else None
    return None
