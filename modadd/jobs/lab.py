"""Jobs in the background: one process-wide lab, one worker thread a device.

Pages hold a run id and read `job.record`, a Record that never changes; they never touch a thread.
Pausing and stopping are the same to the worker: it keeps a checkpoint and lets the generator go.
"""

import atexit
import contextlib
import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import filelock

from ..records.record import Record
from ..records.store import Damaged, Store, Unkept
from ..runs import Run, check_start
from ..training import forks
from ..training.cost import check_room, typical_end, usual_threads

CHECKPOINT_SECONDS = 20
STATE_BYTES = 64 << 20  # a larger optimiser state is not kept with a finished run
REMEMBERED, RECORDS = 100, 8  # jobs that are over, and of these records: the store has them, and memory is not endless
WAITING, KEPT = ("queued", "running"), ("finished", "paused", "stopped")
log = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """One run in the lab.  status: queued, running, paused, stopped, finished or failed."""

    run: Run
    device: str
    status: str = "queued"
    record: Record | None = None
    error: str | None = None
    wish: str | None = None
    owner: str | None = None  # who began it, and alone may end it
    asked: str | None = None  # who asked for it this time, and waits for a turn
    afresh: bool = False  # from its first step, whatever is stored
    turn: int = 0
    started: float = 0.0
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def active(self) -> bool:
        return self.status in WAITING

    @property
    def seconds_left(self) -> float | None:
        """Time to the usual end, from the speed so far."""
        speed = self.record.provenance["steps_per_second"] if self.record else None
        return (self.end - self.record.step) / speed if speed else None

    @property
    def end(self) -> int:
        """The step at which it probably ends: on its plateau, if it may stop there, until it has passed that."""
        usual = typical_end(self.run)
        return usual if self.record is None or self.record.step < usual else self.run.epochs


class Lab:
    """Queue, workers and jobs.  Thread-safe.

    Visitors take turns: the second run of one waits for the first of every other that is there by then.

    `admit(run, active jobs)` names who asks for a run that is to be queued, or refuses it with a ValueError.  A run
    belongs to who began it, whoever lets it go on; one that is stored and that nobody here began is nobody's.
    """

    def __init__(self, store: Store, admit: Callable[[Run, list[Job]], str | None] = lambda run, active: None):
        self.store, self._admit = store, admit
        self._jobs: dict[str, Job] = {}
        self._queues: dict[str, list] = {}
        self._workers: list[threading.Thread] = []
        self._order = itertools.count()
        self._turn = 0  # of the run that began last
        self._changed = threading.Condition()
        self._closed = False
        atexit.register(self.close)

    def submit(
        self, run: Run, device: str = "auto", resume: Record | None = None, priority: int = 0, afresh: bool = False
    ) -> Job:
        """Queue a run (lower priority first); the same run is never queued twice.

        It goes on from `resume`, or else from the longest stored record of its trajectory; `afresh`, from its first
        step, and a finished record stays until the new one is stored.  Raises ValueError with one sentence where it
        may not.
        """
        if device != "cpu":  # which is always there, and torch loads with the first job
            from ..networks.device import pick_device

            device = str(pick_device(device))
        if run.precision == "tf32" and device == "cpu":
            raise ValueError("precision tf32 needs a CUDA device: choose fp32")
        with self._changed:
            if self._closed:
                raise RuntimeError("the lab is closed: it takes no more runs")
            job = self._jobs.get(run.id)
            if job is not None and job.active:
                return job
            asked, before = self.admit(run), self._jobs.get(run.id)
            stored = self.store.where(run.id) == "cache"
            owner = before.owner if before else None if stored else asked
            check_room(run, device)
            if resume is None or resume.state is None:
                forks.check(run, self.store, afresh)
            over = [job for job in self._jobs.values() if job.status in KEPT]
            for old in over[:-RECORDS]:
                old.record = None
            for old in over[:-REMEMBERED]:
                del self._jobs[old.run.id]
            self._jobs.pop(run.id, None)  # the newest job stands last
            turns = [job.turn + 1 for job in self._jobs.values() if job.active and job.asked == asked]
            turn = max([self._turn, *turns])
            job = self._jobs[run.id] = Job(
                run, device, record=resume, owner=owner, asked=asked, afresh=afresh, turn=turn
            )
            if device not in self._queues:
                self._queues[device] = []
                worker = threading.Thread(target=self._work, args=(device,), name=f"lab-{device}", daemon=True)
                self._workers.append(worker)
                worker.start()
            heapq.heappush(self._queues[device], (priority, turn, next(self._order), job))
            self._changed.notify_all()
        return job

    def admit(self, run: Run) -> str | None:
        """Who asks for this run, if it may be queued now; ValueError with one sentence if it would be refused."""
        check_start(run)
        return self._admit(run, [job for job in self.jobs() if job.active])

    def job(self, run_id: str) -> Job | None:
        return self._jobs.get(run_id)

    def jobs(self) -> list[Job]:
        """All jobs of this process, newest last."""
        return list(self._jobs.values())

    def waiting_before(self, job: Job) -> int:
        """How many jobs will run before this one on its device."""
        with self._changed:
            queue = sorted(entry for entry in self._queues.get(job.device, ()) if entry[-1].status == "queued")
            running = sum(other.status == "running" and other.device == job.device for other in self._jobs.values())
        ahead = itertools.takewhile(lambda entry: entry[-1] is not job, queue)
        return running + sum(1 for _ in ahead)

    def pause(self, run_id: str):
        self._wish(run_id, "paused")

    def stop(self, run_id: str):
        self._wish(run_id, "stopped")

    def resume(self, run_id: str) -> Job | None:
        """Queue a job that was paused, stopped or failed again, from where it is."""
        job = self._jobs.get(run_id)
        if job is None:
            return None
        there = job.record if job.record and job.record.state else None
        return self.submit(job.run, job.device, there, afresh=job.afresh)

    def delete(self, run_id: str, version: str | None = None) -> str | None:
        """Move a stored record into the store's bin; its name there.

        Raises ValueError with one sentence where it waits or trains, here or elsewhere, and where it is not the record
        of this `version` any more.
        """
        busy = ValueError(f"{run_id} is being trained: stop it first")
        if (job := self.job(run_id)) is not None and job.active:
            raise busy
        try:
            with self.store.lock(run_id):
                if version is not None and self.store.version(run_id) != version:
                    raise ValueError(f"{run_id} has changed since this page was drawn: look at it again")
                name = self.store.delete(run_id)
                self.forget(run_id)
        except filelock.Timeout:
            raise busy from None
        return name

    def forget(self, run_id: str):
        """Drop a job that is over, so that its record is looked up in the store."""
        with self._changed:
            if (job := self._jobs.get(run_id)) is not None and not job.active:
                del self._jobs[run_id]

    def close(self, seconds: float = 10):
        """Leave every run at a checkpoint and end the workers, waiting at most `seconds`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for job in self.jobs():
            self._wish(job.run.id, "stopped")
        for worker in self._workers:
            worker.join(seconds)

    def _wish(self, run_id: str, wish: str):
        with self._changed:
            job = self._jobs.get(run_id)
            if job is None:
                return
            if job.status == "queued":
                job.status = wish
                job.done.set()
            elif job.status == "running":
                job.wish = wish
            elif job.status == "paused" and wish == "stopped":
                job.status = wish

    def _work(self, device: str):
        while True:
            with self._changed:
                while not self._closed and not any(entry[-1].status == "queued" for entry in self._queues[device]):
                    self._queues[device].clear()
                    self._changed.wait()
                if self._closed:
                    return
                job = heapq.heappop(self._queues[device])[-1]
                if job.status != "queued":
                    continue
                job.status, job.started = "running", time.time()
                self._turn = max(self._turn, job.turn)
            try:
                job.status = self._train(job)
            except filelock.Timeout:
                job.error = f"{job.run.id} is being trained by another process that shares this cache"
                job.status = "failed"
            except Exception as error:  # a job must never take its worker along
                log.exception("job %s failed", job.run.id)
                job.error = told(error, device)
                job.status = "failed"
            finally:
                job.done.set()

    def _train(self, job: Job) -> str:
        import torch

        if job.device == "cpu":
            torch.set_num_threads(usual_threads(job.run))

        def look(update) -> bool:
            job.record = update.record
            return job.wish is not None

        try:
            job.record = carry_out(job.run, self.store, job.device, look, job.record, live=True, afresh=job.afresh)
        except Unkept as error:
            job.record = error.record  # the folder does not take it: memory does, until there is room
            raise
        if job.record.finished:
            return "finished"
        wish, job.wish = job.wish, None
        return wish


def told(error: Exception, device: str) -> str:
    """A failure in a sentence, with its remedy where one is known."""
    said = (str(error).splitlines() or [""])[0][:300]
    if type(error).__name__ == "OutOfMemoryError":
        return f"{device} has too little free memory for this run: free some of it, or train on the cpu"
    if "CUDA error" in said:
        return f"{device} failed ({said}): start the program again to use it, or train on the cpu"
    return str(error) if isinstance(error, Unkept) else f"{type(error).__name__}: {said}"


def carry_out(
    run: Run,
    store: Store,
    device: str = "auto",
    look: Callable[..., bool] = lambda update: False,
    resume: Record | None = None,
    live: bool = False,
    afresh: bool = False,
) -> Record:
    """Train a run into a store, from `resume` or else, unless `afresh`, from the longest stored record of its
    trajectory, with a checkpoint every CHECKPOINT_SECONDS.  A fork starts where it leaves its parent.

    `look(update)` sees every update and returns True to leave off; the record then holds the
    state to go on from.  Raises filelock.Timeout if another process trains this run, and Unkept with its record
    if the store does not take the last one; a checkpoint on the way may fail.
    """
    from ..training.loop import train  # torch loads with the first job, not with the page

    with store.lock(run.id):
        if resume is None or resume.state is None:
            with contextlib.suppress(Damaged):
                resume = None if afresh else store.sibling(run)
            if resume is None and run.parent:
                resume = forks.origin(run, store, device, look)
                if resume.run != run:  # left off on the way there
                    return resume
        saved = time.monotonic()
        for update in train(run, resume, device, live=live):
            leave = look(update)
            if update.record.finished:
                kept = update.checkpoint()
                kept = (
                    kept if sum(array.nbytes for array in kept.state.values()) <= STATE_BYTES else kept.without_state()
                )
                return keep(kept, store)
            if leave or time.monotonic() - saved > CHECKPOINT_SECONDS:
                kept = update.checkpoint()
                if leave:
                    return keep(kept, store)
                with contextlib.suppress(Unkept):
                    keep(kept, store)
                saved = time.monotonic()
    raise RuntimeError("training ended without a reason")


def keep(record: Record, store: Store) -> Record:
    """The record, once the store holds it; a finished one there gives way to nothing unfinished."""
    try:
        if not record.finished and store.finished(record.run.id):
            return record
        store.put(record)
    except Unkept as error:
        log.warning("%s", error)
        error.record = record
        raise
    return record
