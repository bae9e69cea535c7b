"""A network in training on one device: weights, optimiser and history, advanced n steps at a time.

On the CPU a step is a Python loop over a few dozen tensor operations; on CUDA the same operations
are captured once as a graph and replayed, and the history stays in a device buffer, so the host
only waits when somebody asks for numbers.
"""

import contextlib

import numpy as np
import torch

from .model import initial_weights
from .optim import Optimizer
from .runs import Run
from .step import METRICS, Step


def pick_device(name: str = "auto") -> torch.device:
    """The device called `auto`, `cpu`, `cuda` or `cuda:N`; ValueError if this machine lacks it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name) if name == "cpu" or name.partition(":")[0] == "cuda" else None
    if device is None:
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"device {name!r} is not on this machine: use cpu or auto")
    return device


class Engine:
    """One run on the CPU.  `step` updates are done; history row s holds the metrics of step s."""

    def __init__(self, run: Run, device: torch.device, state: dict[str, np.ndarray] | None = None):
        self.run, self.device = run, device
        if run.precision == "tf32" and device.type != "cuda":
            raise ValueError("precision tf32 needs a CUDA device: choose fp32")
        P, M = run.p, run.d_mlp
        self.w, self.g = (torch.zeros(2 * P * M, device=device) for _ in range(2))
        (self.theta_PM, self.xi_MP), (self.dtheta_PM, self.dxi_MP) = (
            (flat[: P * M].view(P, M), flat[P * M :].view(M, P)) for flat in (self.w, self.g)
        )
        self.optimizer = Optimizer(run, self.w, on_device=device.type == "cuda")
        self.network = Step(run, device)
        self.history = torch.full((run.epochs + 1, len(METRICS)), torch.nan, device=device)
        if state is None:
            theta_MP, xi_MP = initial_weights(run)
            self.theta_PM.copy_(torch.from_numpy(theta_MP).T)
            self.xi_MP.copy_(torch.from_numpy(xi_MP))
        else:
            self.w.copy_(torch.from_numpy(state["w"]))
            for name, moment in self.optimizer.moments().items():
                moment.copy_(torch.from_numpy(state[name]))
            self.optimizer.step = int(state["step"])
        self.step = self.optimizer.step

    def _one_step(self, row):
        self.network.gradient(self.theta_PM, self.xi_MP, self.dtheta_PM, self.dxi_MP, out=row[:-1])
        row[-1] = torch.linalg.vector_norm(self.w)
        self.optimizer.update(self.g)

    def advance(self, n: int):
        """Do n updates, recording the metrics of the weights before each."""
        for row in self.history[self.step : self.step + n]:
            self._one_step(row)
        self.step += n

    def record_here(self):
        """Write the history row of the present weights without moving them."""
        row = self.history[self.step]
        self.network.metrics(self.theta_PM, self.xi_MP, out=row[:-1])
        row[-1] = torch.linalg.vector_norm(self.w)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """History rows on the host, [stop - start, len(METRICS)] float32; waits for the device."""
        return self.history[start:stop].cpu().numpy().copy()

    def weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(theta_MP, xi_MP) on the device, views of the live weights."""
        return self.theta_PM.T, self.xi_MP

    def state(self) -> dict[str, np.ndarray]:
        """A copy of everything the next update depends on."""
        tensors = {"w": self.w, **self.optimizer.moments()}
        return {name: tensor.cpu().numpy().copy() for name, tensor in tensors.items()} | {"step": np.int64(self.step)}


class CudaEngine(Engine):
    """The same, with the step captured as a CUDA graph and replayed."""

    def __init__(self, run, device, state=None):
        torch.cuda.set_device(device)
        super().__init__(run, device, state)
        self.row = torch.empty(len(METRICS), device=device)
        self._capture()

    @contextlib.contextmanager
    def _precision(self):
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = self.run.precision == "tf32"
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before

    def _recorded_step(self):
        where = self.optimizer.count.clone()
        self._one_step(self.row)
        self.history.index_copy_(0, where, self.row[None])

    def _capture(self):
        # Warming up and capturing run real steps: put everything back afterwards.
        before = self.state()
        stream = torch.cuda.Stream()
        with self._precision(), torch.cuda.stream(stream):
            for _ in range(2):
                self._recorded_step()
            stream.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
                self._recorded_step()
        torch.cuda.synchronize()
        self.w.copy_(torch.from_numpy(before["w"]))
        for name, moment in self.optimizer.moments().items():
            moment.copy_(torch.from_numpy(before[name]))
        self.optimizer.step = self.step
        self.history.fill_(torch.nan)

    def advance(self, n):
        for _ in range(n):
            self.graph.replay()
        self.step += n

    def record_here(self):
        with self._precision():
            super().record_here()


def engine(run: Run, device: torch.device, state: dict[str, np.ndarray] | None = None) -> Engine:
    """The engine for a device, at step 0 or where `state` was taken."""
    return (CudaEngine if device.type == "cuda" else Engine)(run, device, state)
