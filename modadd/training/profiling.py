"""Where the time of a training step goes.

On the CPU the parts of the MLP's closed-form step are timed one by one, in turns, so that a slow spell of the
machine meets all of them, and the compiled step times its two sweeps itself; on CUDA, and for a transformer, torch's
profiler names kernels or operations.
"""

import os
import statistics
import time
from collections.abc import Callable

import torch

from ..networks.device import pick_device
from ..runs import Run, step_flop
from .engine import CompiledEngine, Engine, engine

STEPS, TURNS = 300, 15
NAMED = 12  # kernels or operations listed by name, the rest together


def profile(run: Run, device: str = "auto", steps: int = STEPS) -> dict:
    """Milliseconds of a step and of its parts, [{name, ms, share}], over a few hundred steps."""
    where = pick_device(device)
    net = engine([run], where)
    steps = min(steps, run.epochs - 2)
    if steps < TURNS:
        raise ValueError(f"epochs must be at least {TURNS + 2} to be profiled, got {run.epochs}")
    net.advance(1)
    if isinstance(net, CompiledEngine):
        total, parts = _by_sweep(net, steps)
    else:
        total, parts = (_in_turns if where.type == "cpu" and run.model == "mlp" else _by_torch)(net, steps)
    return {
        "run_id": run.id, "device": str(where), "threads": torch.get_num_threads() if where.type == "cpu" else None,
        "steps": steps, "ms_per_step": 1e3 * total, "gflops": step_flop(run) / total / 1e9,
        "parts": [{"name": name, "ms": 1e3 * t, "share": t / total} for name, t in parts.items()],
    }  # fmt: skip


def _in_turns(net: Engine, steps: int) -> tuple[float, dict[str, float]]:
    """(seconds of a step, seconds of its parts): medians over turns of the whole and of what is done in it."""
    network, theta, xi = net.network, net.theta_EPM[0], net.xi_EMP[0]
    dtheta, dxi = torch.empty_like(theta), torch.empty_like(xi)
    a, g = torch.rand(network.N, network.block), torch.rand(network.N, network.p)

    def output_gradient():
        for start in range(0, network.M, network.block):
            block = dxi[start : start + network.block]
            torch.mm(a[:, : len(block)].T, g, out=block)

    n, times = max(1, steps // TURNS), {}
    work: dict[str, Callable] = {
        "forward": lambda: network.forward(theta, xi),
        "metrics": lambda: network.metrics(theta, xi),
        "d xi": output_gradient,
        "gradient": lambda: network.gradient(theta, xi, dtheta, dxi),
        "optimiser": lambda: net.optimizer.update(net.g_EL[0]),
        "step": lambda: net.advance(1),
    }
    count = net.optimizer.count
    for _ in range(TURNS):
        for name, once in work.items():
            clock = time.perf_counter()
            for _ in range(n):
                once()
            times.setdefault(name, []).append((time.perf_counter() - clock) / n)
            if name == "optimiser":
                net.optimizer.step = count  # these updates were for the clock alone
    t = {name: statistics.median(column) for name, column in times.items()}
    parts = {
        "forward": t["forward"],
        "softmax and metrics": t["metrics"] - t["forward"],
        "d xi": t["d xi"],
        "d theta": t["gradient"] - t["metrics"] - t["d xi"],
        "optimiser": t["optimiser"],
    }
    return t["step"], parts | {"norm and history": t["step"] - sum(parts.values())}


def _by_sweep(net: CompiledEngine, steps: int) -> tuple[float, dict[str, float]]:
    """(seconds of a step, seconds of its two sweeps, as the compiled step saw them)."""
    seconds = net.network.seconds
    seconds.zero_()
    clock = time.perf_counter()
    net.advance(steps)
    total = (time.perf_counter() - clock) / steps
    forward, backward = (seconds / steps).tolist()
    parts = {"forward, softmax and metrics": forward, "backward and optimiser": backward}
    return total, parts | {"around the steps": total - forward - backward}


def _by_torch(net: Engine, steps: int) -> tuple[float, dict[str, float]]:
    """(seconds of a step by the clock, seconds of its kernels or operations by torch's profiler)."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # no word on starting and stopping
    from torch.profiler import ProfilerActivity

    cuda = net.device.type == "cuda"
    wait = torch.cuda.synchronize if cuda else lambda: None
    wait()
    clock = time.perf_counter()
    net.advance(steps // 2)
    wait()
    total = (time.perf_counter() - clock) / (steps // 2)
    few = max(1, steps - steps // 2)
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as seen:
        net.advance(few)
        wait()
    kernel = torch.autograd.DeviceType.CUDA
    own = {event.key: event.self_device_time_total if cuda else event.self_cpu_time_total
           for event in seen.key_averages() if not cuda or event.device_type == kernel}  # fmt: skip
    # The profiler slows what it watches: its times are shares of the clock's where they add up to more.
    second = max(1e6 * few, sum(own.values()) / total)
    ranked = sorted(own.items(), key=lambda item: -item[1])
    parts = {name: microseconds / second for name, microseconds in ranked[:NAMED] if microseconds > 0}
    parts["everything else"] = sum(microseconds for _, microseconds in ranked[NAMED:]) / second
    return total, parts | {"between these": max(0.0, total - sum(parts.values()))}
