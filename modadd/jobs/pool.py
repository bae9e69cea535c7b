"""Many runs into one cache: worker processes, one job each at a time, on any number of devices.

A worker is told its job through a pipe and reports through the same pipe.  Closing the pipe asks it to leave,
and so does the death of this process: either way it keeps a checkpoint first.  Nothing else is shared, so a
worker that is killed takes no lock and no queue with it.
"""

import contextlib
import logging
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import connection, get_context, resource_tracker
from pathlib import Path

import filelock
import numpy as np

from ..analysis import shipped
from ..records.record import Record
from ..records.store import Damaged, Store
from ..runs import Run
from ..training import cost
from ..training.forks import origin
from .lab import STATE_BYTES

P_TOGETHER = 31  # up to here one run leaves most of a GPU idle
MOST_TOGETHER = 64
CHECKPOINT_SECONDS = 60
LOOK_AGAIN_SECONDS = 2  # at a run that another process trains
LEAVE_SECONDS = 60  # a worker may take to finish its step and keep a checkpoint

Look = Callable[[str, int], None]
log = logging.getLogger(__name__)


def train_all(
    runs: Iterable[Run],
    cache: Path | str,
    devices: Sequence[str] = ("cpu",),
    workers: int = 1,
    look: Look | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    compact: bool = False,
    stop_after: float | None = None,
) -> dict[str, str]:
    """Train runs into the cache with `workers` processes a device; returns why by id of those that failed.

    Any device takes the next run, the longest first; on CUDA small runs that can share an engine are one job.
    With `compact` only what ships of a finished run is kept (`analysis.shipped`).  With `stop_after`, seconds, the
    runs go in the order given, and after that time all that are not done are left at a checkpoint.
    `look(run_id, step)` sees every run advance.  A run that another process trains is looked at again until it
    is finished or free.  If a worker dies its run is tried once more.  Ctrl-C and SIGTERM leave every run at a
    checkpoint and raise KeyboardInterrupt.
    """
    slots = [device for _ in range(workers) for device in devices]  # the first jobs go to different devices
    threads = share_of_cores(len(slots))
    ready, locked = deque(_jobs(list(runs), slots, in_order=stop_after is not None)), []
    end = np.inf if stop_after is None else time.monotonic() + stop_after
    deaths, failures, told = Counter(), {}, set()
    crew: dict[int, _Worker] = {}

    def again(job: list[Run], why: str, died: bool):
        if len(job) > 1:  # one of them may be to blame
            ready.extendleft([run] for run in reversed(job))
        elif died and not deaths[job[0].id]:
            deaths[job[0].id] += 1
            ready.appendleft(job)
        else:
            failures[job[0].id] = why

    def hear(worker: _Worker):
        kind, *what = worker.hear()
        if kind == "steps":
            for run_id, step in what[0].items() if look else ():
                look(run_id, step)
        elif kind == "died":
            again(worker.left(), f"its worker process died twice ({what[0]})", died=True)
        elif kind == "failed":
            again(worker.left(), what[0], died=False)
        elif kind == "over":
            then, others = time.monotonic() + LOOK_AGAIN_SECONDS, set(what[0])
            locked.extend((then, [run]) for run in worker.left() if run.id in others)
            for run_id in others - told:
                log.warning("%s is being trained by another process: waiting for it", run_id)
            told.update(others)

    with _terminable():
        try:
            while time.monotonic() < end and (ready or locked or any(worker.job for worker in crew.values())):
                while locked and locked[0][0] <= time.monotonic():
                    ready.append(locked.pop(0)[1])
                for i, device in enumerate(slots):
                    if ready and i not in crew:
                        crew[i] = _Worker(cache, device, threads, checkpoint_seconds, compact)
                    if ready and not crew[i].job:
                        crew[i].give(ready.popleft())
                listening = {worker.pipe: worker for worker in crew.values() if worker.job}
                if not listening:
                    time.sleep(0.1)
                for pipe in connection.wait(listening, timeout=0.5) if listening else ():
                    hear(listening[pipe])  # type: ignore[index]  # what waits is what was given
                crew = {i: worker for i, worker in crew.items() if not worker.gone}
        finally:
            _dismiss(crew.values())
    return failures


def share_of_cores(workers: int) -> int:
    """Threads of each of so many workers."""
    return max(1, cost.cores() // max(1, workers))


def _jobs(runs: list[Run], devices: Sequence[str], in_order: bool = False) -> list[list[Run]]:
    """What a worker does at a time, the longest first or in the order given."""
    together = [run for run in runs if run.p <= P_TOGETHER] if any(d.startswith("cuda") for d in devices) else []
    jobs = [[run] for run in runs if run not in together]
    if together:
        from ..training.loop import groups

        for group in groups(together):
            size = min(MOST_TOGETHER, -(-len(group) // len(devices)))
            jobs += [group[i : i + size] for i in range(0, len(group), size)]
    place = {run.id: i for i, run in enumerate(runs)}
    return sorted(jobs, key=lambda job: place[job[0].id] if in_order else -cost.rank(job[0]))


class _Worker:
    """The near end of a worker process."""

    def __init__(self, cache, device: str, threads: int, checkpoint_seconds: float, compact: bool):
        context = get_context("spawn")  # CUDA and OpenMP do not survive a fork
        self.pipe, far = context.Pipe()
        self.process = context.Process(
            target=_work, args=(far, str(cache), device, threads, checkpoint_seconds, compact), daemon=True
        )
        # Ctrl-C goes to the whole group of processes: the workers inherit that it is blocked and hear of it here.
        resource_tracker.ensure_running()  # starting it unblocks the signal
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        far.close()
        self.job: list[Run] | None = None
        self.device, self.gone = device, False

    def give(self, job: list[Run]):
        self.job = job
        with contextlib.suppress(OSError):  # a dead one is found out when it is listened to
            self.pipe.send(job)

    def hear(self) -> tuple:
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self.gone = True
            self.process.join(LEAVE_SECONDS)
            return ("died", f"exit code {self.process.exitcode}")
        self.gone = message[0] == "failed" and self.device != "cpu"
        return message

    def left(self) -> list[Run]:
        job, self.job = self.job, None
        return job


def _dismiss(crew: Iterable[_Worker]):
    for worker in crew:
        worker.pipe.close()
    deadline = time.monotonic() + LEAVE_SECONDS
    for worker in crew:
        worker.process.join(max(0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()


@contextlib.contextmanager
def _terminable():
    """SIGTERM, by which a scheduler announces the end, does what Ctrl-C does, unless it does something already."""
    first = threading.current_thread() is threading.main_thread()
    if not first or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _work(pipe: connection.Connection, cache: str, device: str, threads: int, checkpoint_seconds: float, compact: bool):
    """The life of a worker process."""
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    import torch

    with contextlib.suppress(EOFError, OSError):
        while not asked.is_set():
            job = pipe.recv()
            try:
                torch.set_num_threads(min(threads, cost.usual_threads(job[0])))
                store, locked = Store(cache), []
                try:
                    for group in [job] if _share(job, device) else [[run] for run in job]:

                        def look(steps: dict[str, int]) -> bool:
                            try:
                                pipe.send(("steps", steps))
                                return asked.is_set() or pipe.poll()
                            except OSError:  # nobody listens any more
                                return True

                        locked += carry_out_together(group, store, device, look, checkpoint_seconds, threads, compact)
                        if asked.is_set():
                            return
                finally:
                    store.close()
                pipe.send(("over", locked))
            except (EOFError, OSError):
                raise
            except Exception as error:
                pipe.send(("failed", f"{type(error).__name__}: {error}"))
                if device != "cpu":
                    return  # an error on a GPU may leave its context unusable


def _share(job: list[Run], device: str) -> bool:
    from ..networks.mlp import kernels

    return len(job) == 1 or (device.startswith("cuda") and kernels.available())


def carry_out_together(
    runs: list[Run],
    store: Store,
    device: str,
    look: Callable[[dict[str, int]], bool],
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    threads: int = 1,
    compact: bool = False,
) -> list[str]:
    """Train runs that can share an engine into a store; returns the ids of those that another process trains.

    Each goes on from the longest stored record of its trajectory, and a finished one is left alone.  Checkpoints
    are kept every `checkpoint_seconds`, but take at most a tenth of the time.  `look` sees the step of every run
    and returns True to leave off with a checkpoint.
    """
    from ..networks.device import pick_device
    from ..training.loop import lockstep  # torch loads with the first job

    locked, free = [], {}
    with contextlib.ExitStack() as locks, ThreadPoolExecutor(threads) as hands:
        for run in runs:
            try:
                locks.enter_context(store.lock(run.id))
            except filelock.Timeout:
                locked.append(run.id)
                continue
            there = resume = None
            with contextlib.suppress(Damaged):
                there = store.mine(run.id)
            if there is not None and there.finished:
                look({run.id: run.epochs})
                continue
            with contextlib.suppress(Damaged):
                resume = store.sibling(run)
            if resume is None and run.parent:
                resume = origin(run, store, device, lambda update, run=run: look({run.id: update.step}))
                if resume.run != run:  # left off on the way there
                    return locked
            # Members of an engine take their steps together.
            free.setdefault(resume.step if resume else 0, []).append((run, resume))
        for members in free.values():
            kept, saved, rest = set(), time.monotonic(), checkpoint_seconds
            where, every = pick_device(device), min(0.25, checkpoint_seconds)
            runs, resumes = [run for run, _ in members], [resume for _, resume in members]
            for updates in lockstep(runs, resumes, where, every, live=False):
                leave = look({update.record.run.id: update.step for update in updates})
                now = time.monotonic()
                due = [
                    update
                    for update in updates
                    if update.record.run.id not in kept and (update.record.finished or leave or now - saved >= rest)
                ]
                if not due:
                    continue
                keep = lambda record: store.put(shipped.small(record) if compact and record.finished else light(record))  # noqa: E731
                list(hands.map(keep, [update.checkpoint() for update in due]))
                kept |= {update.record.run.id for update in due if update.record.finished}
                saved = time.monotonic()
                rest = max(checkpoint_seconds, 9 * (saved - now))
                if leave:
                    return locked
            look({run.id: run.epochs for run, _ in members})
    return locked


def light(record: Record) -> Record:
    """A record as it is kept: a finished one without its optimiser's state, if that is large."""
    large = record.finished and sum(array.nbytes for array in record.state.values()) > STATE_BYTES
    return record.without_state() if large else record
