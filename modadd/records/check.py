"""Is a record whole, and are its numbers possible?  What `scripts/precompute.py --verify` asks of each."""

from collections.abc import Iterator

import numpy as np

from ..frames import schema
from .record import Record

ROUNDING = 1e-3  # room for what float16 on disk and float32 sums add to a number


def faults(record: Record) -> list[str]:
    """What is wrong with a record that claims to be finished, a sentence each; empty if nothing is."""
    return [*_ending(record), *_history(record), *_frames(record)]


def _ending(record: Record) -> Iterator[str]:
    run, step, reason = record.run, record.step, record.provenance.get("stop_reason")
    if not record.finished:
        yield f"it is not finished: step {step:,} of {run.epochs:,}"
    elif reason not in ("epochs", "plateau", "diverged"):
        yield f"it stopped for an unknown reason, {reason!r}"
    elif reason == "epochs" and step != run.epochs:
        yield f"it ended after {step:,} steps of {run.epochs:,}"
    elif reason == "plateau" and not run.plateau:
        yield "it stopped on a plateau, which this run does not look for"
    if not 0 <= step <= run.epochs:
        yield f"it has {step:,} steps of {run.epochs:,}"


def _history(record: Record) -> Iterator[str]:
    steps, lost = record.steps, record.provenance.get("stop_reason") == "diverged"
    if not len(steps):
        yield "it has no history"
        return
    if steps[0] != 0 or (np.diff(steps) <= 0).any():
        yield "the steps of its history do not ascend from 0"
    if steps[-1] != record.step:
        yield f"its history ends at step {steps[-1]:,}, its training at {record.step:,}"
    for name, column in record.history.items():
        if len(column) != len(steps):
            yield f"its {name} has {len(column):,} rows for {len(steps):,} steps"
            continue
        column = column[:-1] if lost else column
        there = np.isfinite(column)
        # A group without pairs has no numbers at all; a transformer measures its test pairs now and then.
        may_lack = name.partition("_")[0] != "train" and name != "norm"
        whole = there.all() or (may_lack and (not there.any() or record.run.model != "mlp"))
        if not whole:
            yield f"its {name} is no number at step {steps[int(np.argmin(there))]:,}"
        low, high = column[there].min(initial=np.inf), column[there].max(initial=-np.inf)
        if low < 0 or (name.endswith("accuracy") and high > 1 + ROUNDING):
            yield f"its {name} lies between {low:g} and {high:g}"


def _frames(record: Record) -> Iterator[str]:
    at, lost = list(record.frame_steps), record.provenance.get("stop_reason") == "diverged"
    if not at or len(at) != len(record.frames):
        yield f"it has {len(record.frames)} frames at {len(at)} steps"
        return
    if at[0] != 0 or (np.diff(at) <= 0).any():
        yield "its frames do not ascend from step 0"
    if at[-1] > record.step or (at[-1] < record.step and not lost):
        yield f"its last frame is of step {at[-1]:,}, its training ended at {record.step:,}"
    size, fields = schema.sizes(record.run), schema.fields(record.run)
    for step, frame in zip(at, record.frames, strict=True):
        for name in frame.keys() & fields.keys():
            if not (limits := schema.bounds(fields[name], size)) or not np.size(value := frame[name]):
                continue
            low, high = float(np.min(value)), float(np.max(value))
            if not np.isfinite([low, high]).all():
                yield f"its {name} at step {step:,} holds something that is no number"
            elif low < limits[0] - ROUNDING or high > limits[1] + ROUNDING:
                yield f"its {name} at step {step:,} lies between {low:g} and {high:g}"
        if "counts_K" in frame and frame["counts_K"].sum() != record.run.d_mlp:
            yield f"its neurons at step {step:,} are {frame['counts_K'].sum():,} of {record.run.d_mlp:,}"
