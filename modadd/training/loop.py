"""`train(run)` and `train_many(runs)`: the only training loop.

Pausing is not asking for the next update; stopping is closing the generator; the page, the
scripts and the tests are short loops over it.
"""

import math
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np
import torch

from ..data import METRICS
from ..frames.schema import Frame, frame_steps, weight_stride
from ..networks.device import pick_device
from ..networks.mlp import kernels
from ..records.record import Record
from ..runs import Run, check_start
from .engine import Engine, engine

MACHINES = 20  # the last ones that a run went on at
PLATEAU_FROM, PLATEAU_EVERY, PLATEAU_LOSS, PLATEAU_ACCURACY = 10_000, 1_000, 1e-3, 5e-3
CALL_SECONDS = 0.1  # that the engine computes at a time, about
TRAIN_LOSS = METRICS.index("train_loss")


@dataclass(frozen=True)
class Update:
    """A moment of training: `record` so far, and a way to keep it so that it can go on."""

    record: Record
    _kept: Callable[[], Record]
    _state: Callable[[], dict]

    def __repr__(self) -> str:
        return f"Update({self.record.run.id}, step {self.step:,} of {self.record.run.epochs:,})"

    @property
    def step(self) -> int:
        return self.record.step

    def checkpoint(self) -> Record:
        """The record with the state of the optimiser; call it before asking for the next update."""
        return replace(self._kept(), state=self._state())


def train(
    run: Run, resume: Record | None = None, device: str = "auto", every: float = 0.25, live: bool = False
) -> Iterator[Update]:
    """Train `run` and yield an Update after the first steps, then every `every` seconds, and at the end.

    `resume` is a record with state of the same trajectory (the same run, or one that differs only
    in how long it trains); on the same CPU and thread count the result is bit-identical to never
    having stopped.  The record's stop_reason is `epochs`, `plateau` or `diverged` in the last
    update and None before.  With `live`, the record of an update ends with a frame of the very step
    it was taken at, as long as measuring it costs at most a tenth of the time; such frames are not
    kept.  Raises ValueError for a device or a record that does not fit.
    """
    for (update,) in lockstep([run], [resume], pick_device(device), every, live):
        yield update


def train_many(
    runs: list[Run], device: str = "auto", workers: int = 1, look: Callable[[list[Update]], None] | None = None
) -> list[Record]:
    """Train many runs, each to the Record that it gives alone, in the order of `runs`.

    On a CUDA device with Triton, runs that differ only in seed, rates, split or initial weights share one
    engine and advance together; `look` sees the updates of each group.  On a CPU they are spread
    over `workers` processes of one thread each; a script of yours then needs `if __name__ == "__main__":`, as
    multiprocessing asks of every script that starts processes.
    """
    where = pick_device(device)
    if where.type == "cpu" and workers <= 1:
        return [_last(run) for run in runs]
    if where.type == "cpu":
        # A fork would inherit the threads of OpenMP half-alive.
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            return list(pool.map(_train_alone, runs))
    records: dict[str, Record] = {}
    for group in groups(runs) if kernels.available() else [[run] for run in runs]:
        for updates in lockstep(group, [None] * len(group), where, every=0.5, live=False):
            if look is not None:
                look(updates)
        records |= {update.record.run.id: update.record for update in updates}
    return [records[run.id] for run in runs]


def groups(runs: list[Run]) -> list[list[Run]]:
    """The runs that can share an engine, together."""
    together: dict[tuple, list[Run]] = {}
    for run in runs:
        key = (run.p, run.d_mlp, run.activation, run.optimizer, run.precision, run.epochs, run.d_model)
        shared = run.model == "mlp" and run.activation in kernels.ACTIVATIONS
        together.setdefault(key if shared else (run.id,), []).append(run)
    return list(together.values())


def _train_alone(run: Run) -> Record:
    torch.set_num_threads(1)
    return _last(run)


def _last(run: Run) -> Record:
    *_, last = train(run, device="cpu", every=60)
    return last.record


def _machines(provenance: dict) -> list[dict]:
    """Where and with what a record was trained, from its first step on, each part with the step that it begins at."""
    told = {name: provenance.get(name) for name in ("device", "threads", "step", "torch", "numpy", "python")}
    return provenance.get("machines") or [{"from": 0} | told]


class _Member:
    """What is gathered of member e of an engine: history, frames, and why it ended."""

    def __init__(self, e: int, run: Run, resume: Record | None, net: Engine):
        self.e, self.run, self.net = e, run, net
        self.history = np.full((run.epochs + 1, len(METRICS)), np.nan, np.float32)
        self.read, self.frames, self.at = 0, [], []  # `read` rows of the history are on the host
        self.reason: str | None = None
        self.end: int | None = None
        self.before = 0.0
        self.machines: list = []
        self.stride = weight_stride(run)
        if resume is not None:
            self.read, known = net.step, resume.steps < net.step
            for i, name in enumerate(METRICS):
                self.history[resume.steps[known], i] = resume.history[name][known]
            # The frame of this very step is taken again: as the last of its run it held more.
            kept = [i for i, step in enumerate(resume.frame_steps) if step < net.step]
            self.frames, self.at = [resume.frames[i] for i in kept], [resume.frame_steps[i] for i in kept]
            self.before, self.machines = resume.provenance["seconds"], _machines(resume.provenance)
        self.began, self.first = time.perf_counter(), net.step

    def frame(self, with_weights: bool):
        """A frame of the present weights, which `Engine.record_here` has just looked at."""
        return self.net.frame(self.e, with_weights, final=self.reason is not None)

    def keep_frame(self, number: int | None):
        """Keep a frame of this step, the `number`-th of the schedule or the last, which keeps its weights."""
        if (number is not None or self.reason) and self.net.step not in self.at:
            self.frames.append(self.frame(self.reason is not None or number % self.stride == 0))
            self.at.append(self.net.step)

    def ended(self) -> str | None:
        """Why the run is over at the present step, if it is."""
        step = self.net.step
        if step == self.run.epochs:
            return "epochs"
        due = self.run.plateau and step >= PLATEAU_FROM and step % PLATEAU_EVERY == 0
        return "plateau" if due and _flat(self.history, step) else None

    def snapshot(self, extra=()) -> Record:
        now, step = time.perf_counter() - self.began, self.end if self.end is not None else self.net.step
        device, cuda = self.net.device, self.net.device.type == "cuda"
        here = {
            "device": torch.cuda.get_device_name(device) if cuda else f"cpu ({platform.machine()})",
            "threads": None if cuda else torch.get_num_threads(),
            "step": self.net.program, "torch": torch.__version__, "numpy": np.__version__,
            "python": platform.python_version(),
        }  # fmt: skip
        machines = self.machines
        if not machines or {name: machines[-1].get(name) for name in here} != here:
            machines = [*machines, {"from": self.first} | here]
        return Record(
            self.run, np.arange(self.read), {name: self.history[: self.read, i] for i, name in enumerate(METRICS)},
            (*self.frames, *extra), (*self.at, *[step for _ in extra]),
            {
                "steps": step, "stop_reason": self.reason, "seconds": round(self.before + now, 3),
                "steps_per_second": round((step - self.first) / max(now, 1e-9), 2),
                **here, "together": len(self.net.runs), "machines": machines[-MACHINES:],
                "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            },
        )  # fmt: skip


def lockstep(runs, resumes, device, every: float, live: bool) -> Iterator[list[Update]]:
    """Train runs of one group together; yields one Update a run, in their order."""
    for run, resume in zip(runs, resumes, strict=True):
        if resume is None:
            check_start(run)
        if resume is not None and (
            resume.state is None or resume.run.trajectory != run.trajectory or resume.step > run.epochs
        ):
            raise ValueError(
                f"{resume.run.id} cannot go on as {run.id}: it holds no state, or other settings, or is past its end"
            )
    net = engine(runs, device, [resume and resume.state for resume in resumes])
    members = [_Member(e, run, resume, net) for e, (run, resume) in enumerate(zip(runs, resumes, strict=True))]
    schedule = frame_steps(runs[0].epochs)
    number = {step: i for i, step in enumerate(schedule)}
    finals: dict[int, Update] = {}
    chunk, look_again, yielded = 16, 0.0, -math.inf  # the first look comes with the first steps

    def update(member: _Member, extra=()) -> Update:
        return Update(member.snapshot(extra), member.snapshot, lambda: net.state(member.e))

    def finish(member: _Member, reason: str, here_EC=None, at: int | None = None):
        # Fixed here and now: other members of the group may go on.
        member.reason, member.end = reason, net.step if at is None else at
        if here_EC is not None:
            member.history[net.step] = here_EC[member.e]
            member.read = net.step + 1
        if reason != "diverged":
            member.keep_frame(number.get(net.step))
        final, state = member.snapshot(), net.state(member.e)
        finals[member.e] = Update(final, lambda: final, lambda: state)

    def updates(extra=()) -> list[Update]:
        return [finals.get(member.e) or update(member, extra) for member in members]

    while True:
        running = [member for member in members if member.e not in finals]
        over = {member.e: reason for member in running if (reason := member.ended())}
        if over or net.step in number:
            net.record_here()
            here_EC = net.rows(net.step, net.step + 1)[:, 0]
            for member in running:
                if not np.isfinite(here_EC[member.e, TRAIN_LOSS]):
                    finish(member, "diverged", here_EC)
                elif member.e in over:
                    finish(member, over[member.e], here_EC)
                else:
                    member.keep_frame(number.get(net.step))
        running = [member for member in running if member.e not in finals]
        if not running:
            yield updates()
            return

        start = net.step
        stop = min(start + chunk, schedule[np.searchsorted(schedule, start, side="right")])
        stop = min(stop, (start // PLATEAU_EVERY + 1) * PLATEAU_EVERY)
        clock = time.perf_counter()
        net.advance(stop - start)
        rows_ETC = net.rows(start, stop)
        now = time.perf_counter()
        # Long enough that reading is free, short enough that a pause is felt at once.
        if now - clock > CALL_SECONDS or (stop % PLATEAU_EVERY and stop not in number):
            pace = (now - clock) / (stop - start)
            chunk = int(np.clip(min(every, CALL_SECONDS) / pace, 1, 4 * chunk))
        for member in running:
            member.history[start:stop] = rows_ETC[member.e]
            member.read = stop
            if lost := np.flatnonzero(~np.isfinite(rows_ETC[member.e, :, TRAIN_LOSS])).tolist():
                # It ends with the first loss that is no number, however many steps ran on from there.
                member.read = start + lost[0] + 1
                finish(member, "diverged", at=start + lost[0])
        if len(finals) == len(members):
            yield updates()
            return
        if now - yielded >= every:
            extra: tuple[Frame, ...] = ()
            if live and now >= look_again and net.step not in number:
                net.record_here()
                extra = (members[0].frame(with_weights=False),)
                look_again = now + 10 * (time.perf_counter() - now)
            yield updates(extra)
            yielded = time.perf_counter()


def _flat(history: np.ndarray, step: int) -> bool:
    """Did both losses and both accuracies stand still over the last PLATEAU_EVERY steps?"""
    if np.isnan(history[step - PLATEAU_EVERY, TRAIN_LOSS]):
        return False  # a fork that does not know its parent's past
    moved = np.abs(history[step - 1] - history[step - PLATEAU_EVERY])
    limit = {"loss": PLATEAU_LOSS, "accuracy": PLATEAU_ACCURACY}
    return all(
        not moved[METRICS.index(f"{group}_{what}")] >= limit[what] for group in ("train", "test") for what in limit
    )
