"""What passes between a cluster's nodes and the machine that owns the cache: plain files in one folder.

No node opens the cache: SQLite, which diskcache stands on, is not safe on a file system that several machines
mount.  A task writes its records as files, whole or not at all, and `cluster.collect` moves them into the cache.
"""

import contextlib
import json
import logging
import os
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..records.record import Record
from ..records.store import from_bytes, to_bytes
from ..runs import Run
from .lab import carry_out

TELL_SECONDS = 5  # between two reports of how far a run is
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """What a task last said of a run: updates made, their rate, why it ended, what went wrong."""

    step: int = 0
    steps_per_second: float | None = None
    stop_reason: str | None = None
    error: str | None = None


class Spool:
    """A folder that many machines share: of every run its record, as the bytes of the store, and a Progress.

    To `lab.carry_out` it is a store.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder).resolve()
        for part in (self.folder, *(self.folder / name for name in ("records", "progress", "arrays", "tasks"))):
            part.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)

    def record_file(self, run_id: str) -> Path:
        return self.folder / "records" / f"{run_id}.record"

    def write(self, file: Path, content: bytes):
        """The whole file or none of it: a reader never sees a part."""
        part = file.with_name(f"{file.name}.{os.getpid()}.part")
        part.write_bytes(content)
        part.replace(file)

    def put(self, record: Record):
        self.write(self.record_file(record.run.id), to_bytes(record))
        self.tell(record)

    def tell(self, record: Record):
        seen = record.provenance
        self.report(record.run.id, Progress(record.step, seen["steps_per_second"], seen["stop_reason"]))

    def report(self, run_id: str, progress: Progress):
        self.write(self.folder / "progress" / f"{run_id}.json", json.dumps(asdict(progress)).encode())

    def progress(self, run_id: str) -> Progress:
        with contextlib.suppress(FileNotFoundError):
            return Progress(**json.loads((self.folder / "progress" / f"{run_id}.json").read_text()))
        return Progress()

    def sibling(self, run: Run) -> Record | None:
        """The checkpoint that this run goes on from."""
        with contextlib.suppress(FileNotFoundError):
            record = from_bytes(self.record_file(run.id).read_bytes())
            return record if record.state is not None else None
        return None

    def finished(self, run_id: str) -> bool:
        return self.progress(run_id).stop_reason not in (None, "stopped")

    def lock(self, run_id: str) -> contextlib.AbstractContextManager:
        # A shared file system need not know locks; that no run is in two tasks is `submit`'s care.
        return contextlib.nullcontext()


@dataclass
class ArrayTask:
    """What one array task does: it trains its runs one after another.  Told to leave, it keeps a checkpoint
    and comes back as it was; what is finished by then is passed over."""

    runs: list[Run]
    folder: Path
    device: str
    threads: int
    patience: float  # seconds that a checkpoint may take

    def __call__(self):
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")  # stderr is the task's log
        logging.getLogger("submitit").propagate = False  # it speaks for itself
        self._leave, self._failed = False, []
        # Signals reach the main thread, also in the middle of a step; training in another one ends at an update.
        worker = threading.Thread(target=self._work, daemon=True)
        worker.start()
        self._worker = worker
        worker.join()
        if self._failed:
            raise RuntimeError(f"failed: {', '.join(self._failed)}")

    def checkpoint(self):
        """Called by submitit when the time is nearly up: what to run when the task comes back."""
        from submitit.helpers import DelayedSubmission

        self._leave = True
        if hasattr(self, "_worker"):
            self._worker.join(self.patience)
        return DelayedSubmission(replace(self))

    def _work(self):
        import torch

        torch.set_num_threads(self.threads)
        spool = Spool(self.folder)
        for run in self.runs:
            if self._leave:
                return
            if spool.progress(run.id).stop_reason is None:
                self._train(run, spool)

    def _train(self, run: Run, spool: Spool):
        told = time.monotonic()

        def look(update) -> bool:
            nonlocal told
            if time.monotonic() - told > TELL_SECONDS:
                spool.tell(update.record)
                told = time.monotonic()
            return self._leave

        log.info("%s trains from step %d", run.id, spool.progress(run.id).step)
        try:
            record = carry_out(run, spool, self.device, look)  # type: ignore[arg-type]  # a Spool has what it asks of a Store
            log.info("%s left at step %d: %s", run.id, record.step, record.provenance["stop_reason"] or "to go on")
        except Exception as error:  # one run must not take the others of its task along
            log.exception("%s failed", run.id)
            self._failed.append(run.id)
            spool.report(run.id, replace(spool.progress(run.id), error=f"{type(error).__name__}: {error}"))
