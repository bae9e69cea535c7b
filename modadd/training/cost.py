"""What a run will cost, before it starts: time, memory and disk.

A step is matrix products at the machine's own speed, work on every hidden activation, and a fixed cost:

    seconds per step = flop / matmul + activations * each + fixed

The compiled step of a CPU has the work on activations inside its products, whose speed is then that of the whole step.
Nothing here is typed in: the speed of a matrix product is measured, and so are steps and frames of a small and
of a middling network, once per process.
"""

import contextlib
import os
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..frames.schema import SPECTRUM_NEURONS, TABLE_NEURONS, frame_steps, weight_stride
from ..runs import Run, examples, step_flop

TINY_P, MIDDLING_P = 3, {"cpu": 31, "cuda": 61}
EMBEDDING = 8  # width of the embedding of a network that is measured with one
FIXED_FLOP = 10**7  # what the fixed cost of a step on a CPU is worth, roughly
BUDGET_SECONDS = 0.1  # for each measurement
SMALL_FLOP = 10**8  # of a step, p = 31 and below


@dataclass(frozen=True)
class Cost:
    """seconds to the nominal end; bytes of memory at the peak and on disk."""

    seconds: float
    memory: int
    disk: int
    seconds_per_step: float


@dataclass(frozen=True)
class Speed:
    """Of a device, of a CPU with one thread: flop per second of the matrix products of a step, seconds for each
    hidden activation of a step, fixed seconds of a step, fixed seconds of a frame and for each weight in it, seconds to
    start a run, bytes per second of keeping a record."""

    matmul: float
    activation: float
    step: float
    frame: float
    weight: float
    start: float
    keep: float


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usual_threads(run: Run) -> int:
    """CPU threads that a run gets where it may have the machine for itself; on small products a second thread
    gains little and waits for the first, and a page wants a core of its own."""
    return 1 if step_flop(run) < SMALL_FLOP else cores()


def typical_end(run: Run) -> int:
    """Steps to the usual end: of the presets in the atlas, those with the plateau stop stood still after about
    24,000 steps at p = 23, 17,000 at 31, 11,000 at 53, and at the first look, 10,000, from 57 on."""
    if not run.plateau:
        return run.epochs
    return min(run.epochs, max(10_000, round(24_000 * 23 / run.p)))


def rank(run: Run) -> int:
    """Grows with the time that a run takes; to sort by, where nothing has been measured."""
    return typical_end(run) * (step_flop(run) + FIXED_FLOP)


def hidden(run: Run) -> int:
    """Hidden activations that a step computes."""
    if run.model == "mlp":
        return run.p * (run.p + 1) // 2 * run.d_mlp
    if run.model == "transformer":
        return examples(run) * (run.d_mlp + run.p)
    tokens = 2 if run.task == "addition" else 3
    return examples(run) * tokens * run.layers * (run.d_mlp + 8 * run.d_model)


def seconds_per_step(run: Run, speed: Speed) -> float:
    """The formula at the head of this module."""
    return step_flop(run) / speed.matmul + hidden(run) * speed.activation + speed.step


def estimate(run: Run, device: str = "auto", threads: int | None = None) -> Cost:
    """Cost of a run on a device, on the CPU with so many threads (`usual_threads` for None).

    A run with the plateau stop is priced to its usual end.  Raises ValueError for a device that is not here.
    """
    from ..networks.device import pick_device

    where = str(pick_device(device))
    speed = measured(where, run.precision, run.model, run.activation, bool(run.d_model))
    if where == "cpu":
        threads = threads or usual_threads(run)
        speed = replace(speed, matmul=speed.matmul * threads, activation=speed.activation / threads)
    steps, a_step = typical_end(run), seconds_per_step(run, speed)
    memory, disk = memory_and_disk(run)
    frames = len(frame_steps(steps)) * (speed.frame + run.weights * speed.weight)
    return Cost(speed.start + a_step * steps + frames + disk / speed.keep, memory, disk, a_step)


def memory_and_disk(run: Run) -> tuple[int, int]:
    """(bytes of memory at the peak, bytes on disk)."""
    P, M, N = run.p, run.d_mlp, run.p * (run.p + 1) // 2
    frames, weights = len(frame_steps(run.epochs)), run.weights
    frame = 16 * min(M, TABLE_NEURONS) + 8 * P * min(M, SPECTRUM_NEURONS) + 4 * P * P + 5 * N
    kept = -(-frames // weight_stride(run))
    state = 4 * weights * (5 if run.optimizer == "adamw" else 2)
    work = N * (3 * P + 2 * min(M, 512)) if run.model == "mlp" else 3 * hidden(run)
    # Measuring a frame needs both layers and their spectra in float64.
    memory = state + 4 * work + frames * frame + kept * 4 * weights + 44 * run.epochs + 8 * weights * 4
    disk = frames * frame // 2 + kept * 2 * weights + 44 * typical_end(run) + 12 * weights
    return memory, disk


def check_memory(run: Run, device: str = "auto") -> Cost:
    """The cost, or ValueError if the run needs more memory than the machine has free."""
    from ..networks.device import pick_device

    where = str(pick_device(device))
    check_room(run, where)
    return estimate(run, where)


def check_room(run: Run, where: str):
    """ValueError if the run needs more memory than this device has free; measures nothing else."""
    need, free = memory_and_disk(run)[0], free_memory(where)
    if need > 0.9 * free:
        raise ValueError(
            f"this run needs about {need / 2**30:.1f} GiB of memory and {where} has "
            f"{free / 2**30:.1f} GiB free: choose a smaller p or d_mlp"
        )


def free_memory(device: str = "cpu") -> int:
    """Bytes free on the device."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    with contextlib.suppress(OSError, StopIteration):  # what only caches files counts as free
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:")))
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 8 << 30


# -- measuring this machine -------------------------------------------------------------------------


@lru_cache(maxsize=16)
def measured(
    device: str, precision: str = "fp32", model: str = "mlp", activation: str = "relu", embedded: bool = False
) -> Speed:
    """The speed of a device; takes about a second, once per process."""
    # The number of threads belongs to the thread that sets it: a run in training keeps its own.
    with ThreadPoolExecutor(1) as apart:
        return apart.submit(_measure, device, precision, model, activation, embedded).result()


def _measure(device: str, precision: str, model: str, activation: str, embedded: bool) -> Speed:
    import torch

    from ..networks.mlp import compiled
    from ..runs import TRANSFORMERS, preset

    before = torch.get_num_threads()  # of threads yet to come
    torch.set_num_threads(1)
    speed = matmul_speed(device, precision)
    base = "standard" if model == "mlp" else next(n for n, s in TRANSFORMERS.items() if s["model"] == model)
    kind = device.partition(":")[0]
    changes = {"precision": precision, "activation": activation, "epochs": 100_000}
    if model == "mlp" and embedded:
        changes["d_model"] = EMBEDDING
    tiny, middling = (preset(base, p, **changes) for p in (TINY_P, MIDDLING_P[kind]))
    start, step, frame = _watch(tiny, device)
    _, a_step, a_frame = _watch(middling, device)
    if kind == "cpu" and compiled.covers(middling):
        speed = step_flop(middling) / max(a_step - step, 1e-9)
    left = a_step - step - step_flop(middling) / speed
    torch.set_num_threads(before)
    if kind == "cuda":
        torch.cuda.empty_cache()  # the runs want it
    sample = np.random.default_rng(0).standard_normal(1 << 16).astype(np.float16).tobytes()
    return Speed(
        matmul=speed, activation=max(0.0, left / hidden(middling)), step=step,
        frame=frame, weight=max(0.0, (a_frame - frame) / middling.weights), start=start,
        keep=len(sample) / _best(lambda: zlib.compress(sample, 5)),
    )  # fmt: skip


def matmul_speed(device: str, precision: str = "fp32") -> float:
    """Flop per second of a large matrix product with the present threads."""
    import torch

    n = 8192 if device.startswith("cuda") else 512  # CPU: short enough to finish in a slice of a shared core
    a, b, c = (torch.rand(n, n, device=device) for _ in range(3))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    try:
        return 2 * n**3 / _best(lambda: torch.mm(a, b, out=c), device)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _watch(run: Run, device: str) -> tuple[float, float, float]:
    """(seconds to start, per step, per frame) of a run."""
    import torch

    from .engine import engine

    engine([run], torch.device(device))  # compiles what is compiled once
    clock = _clock(device)
    began = clock()
    net = engine([run], torch.device(device))
    start = clock() - began
    # Many of what is fast together, for a call takes its time too.
    many = 32 if device.startswith("cuda") else 1 if net.program == "torch" else 8
    step = _best(lambda: net.advance(many), device) / many
    net.record_here()
    return start, step, _best(lambda: net.frame(0, with_weights=True), device)


def _clock(device: str) -> Callable[[], float]:
    """Seconds; on a CPU those of this thread, which is not charged for what others do with the machine."""
    return time.perf_counter if device.startswith("cuda") else time.thread_time


def _best(work: Callable, device: str = "cpu") -> float:
    """Seconds that the work takes at its fastest, after a first time that does not count."""
    import torch

    wait = (lambda: torch.cuda.synchronize(device)) if device.startswith("cuda") else lambda: None
    clock = _clock(device)
    times, began = [], clock()
    while len(times) < 4 or clock() - began < BUDGET_SECONDS:
        wait()
        before = clock()
        work()
        wait()
        times.append(clock() - before)
    return min(times[1:])
