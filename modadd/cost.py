"""What a run will cost, before it starts: time, memory and disk."""

import os
import time
from dataclasses import dataclass
from functools import lru_cache

from .record import SPECTRUM_NEURONS, TABLE_NEURONS, frame_steps, weight_stride
from .runs import Run, step_flop

# Share of the machine's own matmul speed that a step reaches, and the fixed cost of its
# operations; measured with scripts/bench.py.
SHARE = {"cpu": 0.75, "cuda": 0.4}
OVERHEAD = {"cpu": 1.5e-4, "cuda": 6e-5}
TYPICAL_PLATEAU = 24_000  # steps at which grokking runs usually stand still


@dataclass(frozen=True)
class Cost:
    """seconds to the nominal end; bytes of memory at the peak and on disk."""

    seconds: float
    memory: int
    disk: int
    seconds_per_step: float


@lru_cache(maxsize=4)
def matmul_speed(device: str) -> float:
    """Flop per second of a float32 matrix product on this machine, measured once (about 0.1 s)."""
    import torch

    n = 8192 if device.startswith("cuda") else 1536
    a, b = (torch.rand(n, n, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        clock = time.perf_counter()
        c = a @ b
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - clock)
    del c
    return 2 * n**3 / best


def estimate(run: Run, device: str = "cpu") -> Cost:
    """Cost of a run on a device.  A run with the plateau stop is priced to its usual end."""
    kind = device.partition(":")[0]
    a_step = step_flop(run) / (SHARE[kind] * matmul_speed(device)) + OVERHEAD[kind]
    steps = min(run.epochs, TYPICAL_PLATEAU) if run.plateau else run.epochs
    P, M, N = run.p, run.d_mlp, run.p * (run.p + 1) // 2
    frames = len(frame_steps(run.epochs))
    frame = 16 * min(M, TABLE_NEURONS) + 8 * P * min(M, SPECTRUM_NEURONS) + 4 * P * P + 5 * N
    kept = -(-frames // weight_stride(run))
    weights = 2 * P * M
    state = 4 * weights * (5 if run.optimizer == "adamw" else 2)
    memory = state + 4 * N * (3 * P + 2 * min(M, 512)) + frames * frame + kept * 4 * weights + 44 * run.epochs
    # Measuring a frame needs both layers and their spectra in float64.
    memory += 8 * weights * 4
    disk = frames * frame // 2 + kept * 2 * weights + 44 * steps + 12 * weights
    return Cost(a_step * steps, memory, disk, a_step)


def check_memory(run: Run, device: str = "cpu") -> Cost:
    """The cost, or ValueError if the run needs more memory than the machine has free."""
    cost = estimate(run, device)
    free = free_memory(device)
    if cost.memory > 0.9 * free:
        raise ValueError(
            f"this run needs about {cost.memory / 2**30:.1f} GiB of memory and {device} has "
            f"{free / 2**30:.1f} GiB free: choose a smaller p or d_mlp"
        )
    return cost


def free_memory(device: str = "cpu") -> int:
    """Bytes free on the device."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 8 << 30
