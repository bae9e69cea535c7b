"""`train(run)`: the only training loop.

Pausing is not asking for the next update; stopping is closing the generator; the page, the
scripts and the tests are short loops over it.
"""

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from .engine import engine, pick_device
from .record import Record, frame_steps, take_frame, weight_stride
from .runs import Run
from .step import METRICS

PLATEAU_FROM, PLATEAU_EVERY, PLATEAU_LOSS, PLATEAU_ACCURACY = 10_000, 1_000, 1e-3, 5e-3


@dataclass(frozen=True)
class Update:
    """A moment of training: `record` so far, and a way to keep it so that it can go on."""

    record: Record
    _state: Callable[[], dict]

    @property
    def step(self) -> int:
        return self.record.step

    def checkpoint(self) -> Record:
        """The record with the state of the optimiser; call it before asking for the next update."""
        return replace(self.record, state=self._state())


def train(run: Run, resume: Record | None = None, device: str = "auto", every: float = 0.25) -> Iterator[Update]:
    """Train `run` and yield an Update every `every` seconds and at the end.

    `resume` is a record with state of the same trajectory (the same run, or one that differs only
    in how long it trains); on the same CPU and thread count the result is bit-identical to never
    having stopped.  The record's stop_reason is `epochs`, `plateau` or `diverged` in the last
    update and None before.  Raises ValueError for a device or a record that does not fit.
    """
    if resume is not None and (resume.state is None or resume.run.trajectory != run.trajectory):
        raise ValueError(f"{resume.run.id} cannot go on as {run.id}: it holds no state, or other settings")
    device = pick_device(device)
    net = engine(run, device, resume and resume.state)
    schedule, stride = frame_steps(run.epochs), weight_stride(run)
    wanted = {step: i for i, step in enumerate(schedule)}
    history = np.full((run.epochs + 1, len(METRICS)), np.nan, np.float32)
    read = 0  # rows of the history that are on the host
    frames, at, seconds = [], [], 0.0
    if resume is not None:
        read = min(net.step, len(resume.steps))
        for i, name in enumerate(METRICS):
            history[:read, i] = resume.history[name][:read]
        kept = [i for i, step in enumerate(resume.frame_steps) if step < net.step or step in wanted]
        frames, at = [resume.frames[i] for i in kept], [resume.frame_steps[i] for i in kept]
        seconds = resume.provenance["seconds"]
    began, first, yielded = time.perf_counter() - seconds, net.step, time.perf_counter()
    chunk, reason = 16, None

    def snapshot() -> Record:
        done = time.perf_counter() - began
        return Record(
            run, np.arange(read), {name: history[:read, i] for i, name in enumerate(METRICS)},
            tuple(frames), tuple(at),
            {
                "steps": net.step, "stop_reason": reason, "seconds": round(done, 3),
                "steps_per_second": round((net.step - first) / max(done - seconds, 1e-9), 2),
                "device": _device_name(device), "threads": torch.get_num_threads() if device.type == "cpu" else None,
                "torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version(),
                "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            },
        )  # fmt: skip

    while True:
        if net.step == run.epochs:
            reason = "epochs"
        elif run.plateau and net.step >= PLATEAU_FROM and net.step % PLATEAU_EVERY == 0 and _flat(history, net.step):
            reason = "plateau"
        due = net.step in wanted and net.step not in at
        if due or reason:
            net.record_here()
            if net.step not in at:
                last = reason is not None
                frames.append(
                    take_frame(*net.weights(), net.network.g_NP, run, last or wanted[net.step] % stride == 0)
                )
                at.append(net.step)
        if reason:
            history[read : net.step + 1] = net.rows(read, net.step + 1)
            read = net.step + 1
            yield Update(snapshot(), net.state)
            return

        stop = min(net.step + chunk, _next(schedule, net.step), _next_multiple(net.step, PLATEAU_EVERY))
        clock = time.perf_counter()
        net.advance(stop - net.step)
        history[read:stop] = net.rows(read, stop)
        read = stop
        now = time.perf_counter()
        # Long enough that reading is free, short enough that a pause is felt at once.
        if stop % PLATEAU_EVERY and stop not in wanted:
            chunk = int(np.clip(chunk * min(every, 0.1) / (now - clock), 1, 4 * chunk))
        if not np.isfinite(history[stop - 1, METRICS.index("train_loss")]):
            reason = "diverged"
            yield Update(snapshot(), net.state)
            return
        if now - yielded >= every:
            yield Update(snapshot(), net.state)
            yielded = time.perf_counter()


def _next(schedule: list[int], step: int) -> int:
    return schedule[np.searchsorted(schedule, step, side="right")]


def _next_multiple(step: int, of: int) -> int:
    return (step // of + 1) * of


def _flat(history: np.ndarray, step: int) -> bool:
    """Did both losses and both accuracies stand still over the last PLATEAU_EVERY steps?"""
    moved = np.abs(history[step - 1] - history[step - PLATEAU_EVERY])
    limit = {"loss": PLATEAU_LOSS, "accuracy": PLATEAU_ACCURACY}
    return all(
        not moved[METRICS.index(f"{group}_{what}")] >= limit[what] for group in ("train", "test") for what in limit
    )


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()})"
