"""Weights & Biases, for those who want it: `scripts/train.py --wandb PROJECT`.  Nothing else here knows of it."""

from contextlib import contextmanager
from dataclasses import asdict

import numpy as np

from ..runs import Run

EVERY = 10  # history rows; a row a step would take longer than the step


@contextmanager
def tracked(project: str, run: Run):
    """A `look(update)` that sends history and measures of a run to a project; the summary at the end.

    Raises ValueError if wandb is not installed.  WANDB_MODE=offline keeps everything on this machine.
    """
    try:
        import wandb
    except ImportError:
        raise ValueError("wandb is not installed: pip install -e '.[wandb]', or leave --wandb away") from None
    client = wandb.init(project=project, name=run.id, config=asdict(run) | {"run_id": run.id, "preset": run.preset})
    sent, record = -1, None

    def look(update):
        nonlocal sent, record
        record = update.record
        measures = dict(zip(record.frame_steps, record.frames, strict=True))
        for row, step in enumerate(record.steps.tolist()):
            if step <= sent or (step % EVERY and step not in measures and not record.finished):
                continue
            numbers = {name: column[row] for name, column in record.history.items()}
            numbers |= {name: value for name, value in measures.get(step, {}).items() if np.ndim(value) == 0}
            client.log({name: float(value) for name, value in numbers.items() if np.isfinite(value)}, step=step)
            sent = step

    try:
        yield look
        if record is not None:
            client.summary.update({name: value for name, value in record.summary.items() if value is not None})
    finally:
        client.finish(exit_code=0 if record is not None and record.finished else 1)
