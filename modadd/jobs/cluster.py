"""Runs on a Slurm cluster: a job array that trains into a folder, its state, and its records back into the cache.

submitit pickles a task into that folder (mode 0700) and brings it back after a time-out; results never travel
that way.
"""

import contextlib
import io
import json
import math
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..records.record import Record
from ..records.store import Damaged, Store, from_bytes, to_bytes
from ..runs import Run
from ..training import cost
from .spool import ArrayTask, Progress, Spool

SIGNAL_SECONDS = 90  # before its time is up a task is told so; at most a quarter of its time,
# because Slurm, which looks every half minute, may say so a minute too early
REQUEUES_MAX = 1000  # times that a task may run out of time
ARRAY_MAX = 1000  # tasks of one array, just below what Slurm allows where nobody raised it
BASE_MEMORY = 4 << 30  # bytes of a process that has loaded torch, with room
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}


def submit(
    runs: Iterable[Run],
    store: Store,
    folder: Path | str,
    minutes: int = 60,
    partition: str | None = None,
    gpus: int = 0,
    cpus: int = 1,
    workers: int | None = None,
) -> dict[str, list[str]]:
    """Send runs to Slurm as a job array; returns the run ids of each task by its job id.

    A task has `minutes`, `cpus` cores and 0 or 1 GPU; at most `workers` tasks run at a time.  The longest run
    comes first and has a task for itself; runs share a task as long as it is estimated (on the CPU here) to take
    less than half of its time.  They go on from what the store holds of them.  Runs that a task in the queue
    holds already are passed over.  Raises ValueError for a fork, and if Slurm cannot be had or refuses.
    """
    if gpus not in (0, 1):
        raise ValueError(f"gpus must be 0 or 1, because a run trains on one GPU, got {gpus}")
    for name, value in (("minutes", minutes), ("cpus", cpus), ("workers", workers)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    runs = list(runs)
    if forks := [run.id for run in runs if run.parent]:
        raise ValueError(f"a fork begins in the cache, which no node opens: train {forks[0]} on this machine")
    collect(folder, store)
    taken = {run_id for task in status(folder) if task.active for run_id in task.runs}
    runs = [run for run in runs if run.id not in taken]
    if not runs:
        return {}
    spool = Spool(folder)
    executor = _executor(spool.folder / "tasks")
    memory = max(cost.memory_and_disk(run)[0] for run in runs) + BASE_MEMORY
    delay = min(SIGNAL_SECONDS, 60 * minutes // 4)
    executor.update_parameters(
        job_name="modadd",
        time=minutes,
        partition=partition,
        cpus_per_task=cpus,
        gpus_per_node=gpus or None,
        mem=f"{math.ceil(memory / 2**20)}M",
        signal_delay_s=delay,
        array_parallelism=workers or ARRAY_MAX,
        # A step does not inherit the cores of its job since Slurm 22.05.
        srun_args=[f"--cpus-per-task={cpus}"],
        additional_parameters={"requeue": True},
    )
    for run in runs:
        sibling = store.sibling(run)
        if sibling is not None:
            spool.write(spool.record_file(run.id), to_bytes(sibling))
        spool.report(run.id, Progress(sibling.step if sibling else 0))
    tasks = [
        ArrayTask(group, spool.folder, "cuda" if gpus else "cpu", cpus, delay * 2 / 3)
        for group in pack(runs, minutes * 60 / 2, cpus)
    ]
    sent = {}
    for start in range(0, len(tasks), ARRAY_MAX):
        part = tasks[start : start + ARRAY_MAX]
        jobs = _send(executor, part)
        array = [
            {
                "job": job.job_id,
                "runs": {run.id: run.epochs for run in task.runs},
                "out": job.paths.stdout.name,
                "err": job.paths.stderr.name,
            }
            for job, task in zip(jobs, part, strict=True)
        ]
        spool.write(
            spool.folder / "arrays" / f"{int(jobs[0].job_id.partition('_')[0]):09d}.json", json.dumps(array).encode()
        )
        sent |= {task["job"]: list(task["runs"]) for task in array}
    return sent


def pack(runs: Iterable[Run], seconds: float, cpus: int = 1) -> list[list[Run]]:
    """The runs in groups, the longest first; a group that holds several is estimated to take at most `seconds`."""
    groups, room = [], 0.0
    prices = [(cost.estimate(replace(run, precision="fp32"), "cpu", cpus).seconds, run) for run in runs]
    for price, run in sorted(prices, key=lambda pair: -pair[0]):
        if price > room:
            groups.append([])
            room = seconds
        groups[-1].append(run)
        room -= price
    return groups


def _executor(folder: Path):
    try:
        import submitit
    except ImportError:
        raise ValueError("submitit, which talks to Slurm, is not installed: pip install -e '.[cluster]'") from None
    if shutil.which("sbatch") is None:
        raise ValueError("there is no Slurm here (sbatch is not found): use a machine that submits to it")
    return submitit.SlurmExecutor(folder, max_num_timeout=REQUEUES_MAX)


def _send(executor, tasks: list[ArrayTask]) -> list:
    from submitit.core.utils import FailedJobError

    try:
        # What sbatch has to say is in the error too, and said once.
        with contextlib.redirect_stderr(io.StringIO()), executor.batch():
            return [executor.submit(task) for task in tasks]
    except FailedJobError as error:
        why = str(error).strip().splitlines()[0].removeprefix("sbatch: ").removeprefix("error: ")
        raise ValueError(f"Slurm refused the job: {why}") from None


@dataclass(frozen=True)
class Status:
    """A task of an array.  `state` is Slurm's word in small letters (pending, running, cancelled, ...),
    `finished` once all its runs are, or `gone` if Slurm knows it no longer.  `where` is its node, or why it
    waits.  `runs` maps run ids to (updates to make, Progress)."""

    job: str
    state: str
    active: bool
    where: str
    runs: dict[str, tuple[int, Progress]]
    out: Path
    err: Path

    def to_json(self) -> dict:
        runs = {run_id: {"epochs": epochs} | asdict(progress) for run_id, (epochs, progress) in self.runs.items()}
        return {
            "job": self.job,
            "state": self.state,
            "active": self.active,
            "where": self.where,
            "runs": runs,
            "out": str(self.out),
            "err": str(self.err),
        }


def status(folder: Path | str) -> list[Status]:
    """The tasks that were sent from this folder, in that order, each with the runs that were not sent again since."""
    if not (Path(folder) / "arrays").is_dir():
        return []
    spool = Spool(folder)
    arrays = sorted((spool.folder / "arrays").glob("*.json"))
    tasks = [task for file in arrays for task in json.loads(file.read_text())]
    queue = _queue([task["job"] for task in tasks]) if tasks else {}  # asked before their progress is read
    found, later = [], set()
    for task in reversed(tasks):
        runs = {
            run_id: (epochs, spool.progress(run_id)) for run_id, epochs in task["runs"].items() if run_id not in later
        }
        if not runs:
            continue
        later |= set(runs)
        state, where = queue.get(task["job"], ("GONE", ""))
        active = state not in ENDED | {"GONE"}
        if not active and all(progress.stop_reason is not None for _, progress in runs.values()):
            state = "FINISHED"
        logs = (spool.folder / "tasks" / task[name] for name in ("out", "err"))
        found.append(Status(task["job"], state.lower(), active, where, runs, *logs))
    return found[::-1]


def told(tasks: Iterable[Status]) -> Iterator[str]:
    """Lines that say how tasks stand: each with its runs and its log, and how many there are of each state."""
    counts = Counter()
    for task in tasks:
        counts[task.state] += 1
        yield f"{task.job}  {task.state}{f'  {task.where}' if task.active and task.where else ''}"
        for run_id, (epochs, progress) in task.runs.items():
            speed = progress.steps_per_second if task.active else None
            rate = f", {speed:,.{0 if speed >= 10 else 2}f} a second" if speed else ""
            end = next((f": {why}" for why in (progress.error, progress.stop_reason) if why), rate)
            yield f"    {run_id}  {progress.step:,} of {epochs:,} steps{end}"
        yield f"    log  {task.err}"
    yield ", ".join(f"{count} {state}" for state, count in counts.items()) or "nothing was sent from this folder"


def _queue(jobs: list[str]) -> dict[str, tuple[str, str]]:
    """(Slurm's word, node or reason) of each of these jobs that Slurm knows."""
    arrays = ",".join(sorted({job.partition("_")[0] for job in jobs}))
    # Accounting remembers for long, but not every cluster has it; the queue forgets within minutes.
    past = _ask("sacct", "-X", "-n", "-P", "-o", "JobID,State,NodeList", "-j", arrays, may_fail=True)
    now = _ask("squeue", "-h", "-r", "-t", "all", "-u", str(os.getuid()), "-o", "%i|%T|%R")
    rows = [line.split("|", 2) for line in (*past, *now) if line.count("|") >= 2]
    return {job: (state.split()[0], where.strip("()")) for job, state, where in rows if job in jobs}


def _ask(*command: str, may_fail: bool = False) -> list[str]:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        answer = None
    except subprocess.TimeoutExpired:
        raise ValueError(f"Slurm does not answer ({command[0]}): try again later") from None
    if answer is not None and answer.returncode == 0:
        return answer.stdout.splitlines()
    if may_fail:
        return []
    if answer is None:
        raise ValueError(f"there is no Slurm here ({command[0]} is not found): use a machine that submits to it")
    raise ValueError(f"Slurm does not answer ({command[0]}): {answer.stderr.strip()}")


def collect(folder: Path | str, store: Store) -> list[str]:
    """Move into the store the records of finished runs, and the checkpoints of tasks that are over; their ids.

    A record that is damaged is set aside, and its run counts as never trained.
    """
    tasks = status(folder)
    if not tasks:
        return []
    spool, moved = Spool(folder), []
    growing = {
        i for task in tasks if task.active for i, (_, progress) in task.runs.items() if progress.stop_reason is None
    }
    for file in sorted((spool.folder / "records").glob("*.record")):
        if file.stem in growing:
            continue
        try:
            record = from_bytes(file.read_bytes())
        except Damaged as error:
            file.replace(file.with_suffix(".damaged"))
            spool.report(file.stem, Progress(error=f"its record is damaged: {error}"))
            continue
        if record.run.id == file.stem and _rank(record) > _rank(_mine(store, file.stem)):
            store.put(record)
            moved.append(file.stem)
        file.unlink()
    return moved


def _mine(store: Store, run_id: str) -> Record | None:
    with contextlib.suppress(Damaged):
        return store.mine(run_id)
    return None


def _rank(record: Record | None) -> tuple[int, bool]:
    """Of two records of a run the greater is to be kept."""
    return (record.step, record.finished) if record else (-1, False)
