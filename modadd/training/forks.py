"""Forks: a run that leaves another at some step and goes on with other settings.

A fork is a Run whose `parent` says where it left, "ID@STEP", so that it has an id, a record and a place
in the store like any other.  It begins as a record of its own: the parent's past, and the state to go on
from.  That state is the parent's checkpoint if it was taken at that step, else the parent is trained again
up to there, which on the same CPU gives the same bits.  "ID@STEP/weights" takes only the weights of a
stored frame along, as float16, and begins the optimiser anew.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..records.record import Record
from ..records.store import Store
from ..runs import Run

SETTINGS = (
    "lr", "weight_decay", "frac_train", "split", "optimizer", "activation", "precision", "epochs", "plateau", "batch",
)  # fmt: skip


def fork(parent: Run, step: int, weights_only: bool = False, **changes) -> Run:
    """The run that leaves `parent` at `step` with any of SETTINGS changed.

    Raises ValueError for another setting, or a step that leaves nothing to train.
    """
    if wrong := changes.keys() - set(SETTINGS):
        raise ValueError(f"a fork can change {', '.join(SETTINGS)}, not {', '.join(sorted(wrong))}")
    if any(changes.get(name, getattr(parent, name)) != getattr(parent, name) for name in ("frac_train", "split")):
        changes = changes | {"trained": ""}  # another split is drawn
    child = replace(parent, parent=f"{parent.id}@{step}{'/weights' if weights_only else ''}", **changes)
    if not 0 < step < child.epochs:
        raise ValueError(f"a fork leaves between steps 1 and {child.epochs - 1:,} of {child.epochs:,}, not at {step:,}")
    return child


def left_at(run: Run) -> tuple[str, int, bool] | None:
    """(parent's id, step, weights only) of a fork; None for a run that is none."""
    if not run.parent:
        return None
    place, _, weights = run.parent.partition("/")
    run_id, _, step = place.partition("@")
    return run_id, int(step), bool(weights)


def begin(run: Run, parent: Record) -> Record:
    """The record of the fork `run` at the step where it leaves `parent`: history and frames before it, and
    the state there.  `seconds` count from here on.

    Raises ValueError if the parent holds no state, or no weights, of that very step.
    """
    _, step, weights_only = left_at(run)
    state = _weights(run, parent, step) if weights_only else parent.state
    if state is None or int(state["step"]) != step:
        raise ValueError(f"{parent.run.id} holds no state of step {step:,}, where {run.id} leaves it")
    moments = {name: state.get(name, np.zeros_like(state["w"])) for name in ("m", "v") if run.optimizer == "adamw"}
    rest = {name: value for name, value in state.items() if name not in ("m", "v")}
    rows = parent.steps < step
    before = [i for i, at in enumerate(parent.frame_steps) if at < step]
    return Record(
        run, parent.steps[rows], {name: column[rows] for name, column in parent.history.items()},
        tuple(parent.frames[i] for i in before), tuple(parent.frame_steps[i] for i in before),
        parent.provenance | {"steps": step, "stop_reason": None, "seconds": 0.0}, rest | moments,
    )  # fmt: skip


def _weights(run: Run, parent: Record, step: int) -> dict[str, np.ndarray] | None:
    if run.model != "mlp" or run.d_model:
        raise ValueError(
            f"a frame of {parent.run.id} cannot be trained on from its weights alone: fork it from a state"
        )
    frame = dict(zip(parent.frame_steps, parent.frames, strict=True)).get(step)
    if frame is None or "theta" not in frame:
        return None
    w = np.concatenate([frame["theta"].T.ravel(), frame["xi"].ravel()]).astype(np.float32)
    return {"w": w, "step": np.asarray(step, np.int64)}


def places(record: Record) -> list[int]:
    """Steps at which the record holds the weights to fork from."""
    return [at for at, frame in zip(record.frame_steps, record.frames, strict=True) if "theta" in frame]


def check(run: Run, store: Store, afresh: bool = False):
    """ValueError with one sentence where a fork cannot begin: its parent is not here, or knows no weights to leave
    from."""
    if not run.parent or (not afresh and store.sibling(run) is not None):
        return
    run_id, step, weights_only = left_at(run)
    parent = store.get(run_id)
    if parent is None:
        raise ValueError(f"{run.id} leaves {run_id}, which is not here: train that first")
    if weights_only or (parent.state is not None and parent.step == step) or parent.run.origin:
        begin(run, parent)
    else:
        check(replace(parent.run, epochs=step, plateau=False), store)


def origin(run: Run, store: Store, device: str, look: Callable[..., bool]) -> Record:
    """The record to train the fork `run` on from.  If no state of that step is stored, the parent is trained
    up to there, seen by `look`; where that leaves off, what is returned is the unfinished parent, checkpointed.

    A parent in TF32 is trained again in float32 on a CPU, which knows nothing else.  Raises ValueError if the parent
    is not in the store.
    """
    from .loop import train

    run_id, step, weights_only = left_at(run)
    parent = store.get(run_id)
    if parent is None:
        raise ValueError(f"{run.id} leaves {run_id}, which is not here: train that first")
    if weights_only or (parent.state is not None and parent.step == step):
        return begin(run, parent)
    precision = "fp32" if device == "cpu" else parent.run.precision
    prefix = replace(parent.run, epochs=step, plateau=False, precision=precision)
    resume = store.sibling(prefix)
    if resume is None and prefix.parent:
        resume = origin(prefix, store, device, look)
        if resume.run != prefix:
            return resume
    for update in train(prefix, resume, device):
        if update.step == step:
            return begin(run, update.checkpoint())
        if look(update) or update.record.finished:
            break
    kept = update.checkpoint()
    if kept.finished:
        raise ValueError(f"{run_id} ended at step {kept.step:,}, before {run.id} leaves it")
    store.put(kept)
    return kept
