"""Networks in training on one device: weights, optimiser and history, advanced n steps at a time.

On the CPU many steps are one call of the compiled step, or a step is a Python loop over a few dozen tensor operations
where `compiled` has none for a run.  On CUDA the step is captured
once as a graph and replayed, with the kernels of `networks.mlp.kernels` where Triton is installed, and the history
stays in a device buffer, so the host only waits when somebody asks for numbers.  There one engine
can carry E members (seeds, rates, splits) that share p, width, activation and optimiser.
"""

from typing import Any

import numpy as np
import torch

from ..data import METRICS
from ..frames.mlp import take_frame
from ..frames.schema import Frame
from ..networks.device import precision
from ..networks.mlp import compiled, kernels
from ..networks.mlp.model import initial_factors, initial_weights
from ..networks.mlp.step import Step
from ..networks.optim import Optimizer
from ..records.record import State
from ..runs import Run
from .pre_ln_engine import PreLNEngine
from .transformer_engine import OneLayerEngine


class Engine:
    """One run on the CPU.  `step` updates are done; history row s holds the metrics of step s.

    `state` is what `Engine.state` returned.  Every method that names a member e takes 0 here.
    """

    on_device = False
    program = "torch"  # what computes a step, for the provenance

    def __init__(self, runs: list[Run], device: torch.device, states: list[State | None]):
        self.runs, self.run, self.device = runs, runs[0], device
        self.w_EL, self.g_EL = (torch.zeros(len(runs), self.run.weights, device=device) for _ in range(2))
        self.theta_EPM, self.xi_EMP, *self.factors = self._layers(self.w_EL)
        self.dtheta_EPM, self.dxi_EMP, *self.dfactors = self._layers(self.g_EL)
        self.history_ETC = torch.full((len(runs), self.run.epochs + 1, len(METRICS)), torch.nan, device=device)
        self._build()
        for e, (run, state) in enumerate(zip(runs, states, strict=True)):
            if state is None:
                self._initialise(e, run)
            else:
                self._restore(e, state)
                self.optimizer.step = int(state["step"])
        self.step = self.optimizer.step

    def _layers(self, flat_EL):
        """theta_EPM and xi_EMP in a flat buffer; with an embedding theta is apart, and its factors
        embed_EPD and into_EDM, theta = embed into, follow."""
        E, P, M, D = len(self.runs), self.run.p, self.run.d_mlp, self.run.d_model
        if not D:
            return flat_EL[:, : P * M].view(E, P, M), flat_EL[:, P * M :].view(E, M, P)
        embed_EL, into_EL, xi_EL = flat_EL.split([P * D, D * M, M * P], dim=1)
        theta_EPM = torch.empty(E, P, M, device=flat_EL.device)
        return theta_EPM, xi_EL.view(E, M, P), embed_EL.view(E, P, D), into_EL.view(E, D, M)

    def _compose(self):
        """The effective first layer, where it is a product."""
        if self.factors:
            torch.bmm(*self.factors, out=self.theta_EPM)

    def _pull_back(self):
        """The gradient at the effective first layer, taken on to its factors."""
        if self.factors:
            (embed_EPD, into_EDM), (dembed_EPD, dinto_EDM) = self.factors, self.dfactors
            torch.bmm(self.dtheta_EPM, into_EDM.transpose(1, 2), out=dembed_EPD)
            torch.bmm(embed_EPD.transpose(1, 2), self.dtheta_EPM, out=dinto_EDM)

    def _initialise(self, e: int, run: Run):
        if self.factors:
            for tensor, weights in zip((*self.factors, self.xi_EMP), initial_factors(run), strict=True):
                tensor[e].copy_(torch.from_numpy(weights))
            return
        theta_MP, xi_MP = initial_weights(run)
        self.theta_EPM[e].copy_(torch.from_numpy(theta_MP).T)
        self.xi_EMP[e].copy_(torch.from_numpy(xi_MP))

    def _build(self):
        if self.run.precision == "tf32":
            raise ValueError("precision tf32 needs a CUDA device: choose fp32")
        if len(self.runs) > 1:
            raise ValueError("only a CUDA device with Triton trains several runs at once")
        self.network = self._network()
        self.optimizer = Optimizer(self.run, self.w_EL[0], on_device=self.on_device)

    def _network(self):
        return Step(self.run, self.device)

    def _restore(self, e: int, state: State):
        self.w_EL[e].copy_(torch.from_numpy(state["w"]))
        for name, moment in self.optimizer.moments().items():
            moment.view_as(self.w_EL)[e].copy_(torch.from_numpy(state[name]))

    def _one_step(self, row_EC):
        self._compose()
        self.network.gradient(
            self.theta_EPM[0], self.xi_EMP[0], self.dtheta_EPM[0], self.dxi_EMP[0], out=row_EC[0, :-1]
        )
        self._pull_back()
        row_EC[0, -1] = torch.linalg.vector_norm(self.w_EL)
        self.optimizer.update(self.g_EL[0])

    def advance(self, n: int):
        """Do n updates, recording the metrics of the weights before each."""
        for step in range(self.step, self.step + n):
            self._one_step(self.history_ETC[:, step])
        self.step += n

    def record_here(self):
        """Write the history row of the present weights without moving them."""
        self._compose()
        row_EC = self.history_ETC[:, self.step]
        self.network.metrics(self.theta_EPM[0], self.xi_EMP[0], out=row_EC[0, :-1])
        row_EC[:, -1] = torch.linalg.vector_norm(self.w_EL, dim=1)

    def frame(self, e: int, with_weights: bool, final: bool = False) -> Frame:
        """What is measured of member e, as of the last `record_here`; see `record.take_frame`."""
        theta_MP, xi_MP = self.theta_EPM[e].T, self.xi_EMP[e]
        return take_frame(theta_MP, xi_MP, self._log_probabilities(e), self.runs[e], with_weights)

    def _log_probabilities(self, e: int) -> torch.Tensor:
        return self.network.log_probabilities_NP

    def rows(self, start: int, stop: int) -> np.ndarray:
        """History rows on the host, [E, stop - start, len(METRICS)] float32; waits for the device."""
        return self.history_ETC[:, start:stop].cpu().numpy().copy()

    def state(self, e: int) -> State:
        """A copy of everything the next update of member e depends on."""
        tensors = {"w": self.w_EL} | {n: m.view_as(self.w_EL) for n, m in self.optimizer.moments().items()}
        return {name: t[e].cpu().numpy().copy() for name, t in tensors.items()} | {"step": np.int64(self.step)}


class CompiledEngine(Engine):
    """The same with the compiled step, which has weights and moments in an order of its own: those of the engine are
    copies, as of the last `record_here` or `state`."""

    def __init__(self, runs, device, states):
        super().__init__(runs, device, states)
        self.program = f"compiled ({self.network.build})"
        self.network.load(self._flat())

    def _network(self):
        return compiled.CompiledStep(self.run)

    def _flat(self) -> list[torch.Tensor]:
        return [self.w_EL[0], *self.optimizer.moments().values()]

    def advance(self, n):
        self.network.advance(self.step, n, self.history_ETC[0, self.step :])
        self.step += n

    def record_here(self):
        self.log_probabilities_NP = self.network.measure(self.step, self.history_ETC[0, self.step :])
        self.network.store(self._flat()[:1])

    def _log_probabilities(self, e):
        return self.log_probabilities_NP

    def state(self, e):
        self.network.store(self._flat())
        return super().state(e)


class CudaEngine(Engine):
    """The same on CUDA, captured as a graph; in plain torch where its kernels cannot be had."""

    on_device = True

    def __init__(self, runs, device, states):
        torch.cuda.set_device(device)
        super().__init__(runs, device, states)
        self.row_EC = torch.empty(len(runs), len(METRICS), device=device)
        self._capture()

    def _build(self):
        self.fused = kernels.available() and self.run.activation in kernels.ACTIVATIONS
        if self.fused:
            self.program = "triton"
            self.network = kernels.FusedStep(self.runs, self.device)
            self.optimizer = kernels.FusedOptimizer(self.runs, self.w_EL)
        else:
            super()._build()

    def _one_step(self, row_EC):
        if not self.fused:
            return super()._one_step(row_EC)
        self._compose()
        self.network.gradient(self.theta_EPM, self.xi_EMP, self.dtheta_EPM, self.dxi_EMP, out=row_EC[:, :-1])
        self._pull_back()
        self.optimizer.update(self.g_EL, row_EC[:, -1])

    def _recorded_step(self):
        where = self.optimizer.count.clone()
        self._one_step(self.row_EC)
        self.history_ETC.index_copy_(1, where, self.row_EC[:, None])

    def _capture(self):
        # Warming up runs real steps: put everything back afterwards.
        before = [self.state(e) for e in range(len(self.runs))]
        stream = torch.cuda.Stream()
        with precision(self.run), torch.cuda.stream(stream):
            for _ in range(2):
                self._recorded_step()
            stream.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
                self._recorded_step()
        torch.cuda.synchronize()
        for e, state in enumerate(before):
            self._restore(e, state)
        self.optimizer.step = self.step
        self.history_ETC.fill_(torch.nan)

    def advance(self, n):
        for _ in range(n):
            self.graph.replay()
        self.step += n

    def record_here(self):
        with precision(self.run):
            if not self.fused:
                return super().record_here()
            self._compose()
            row_EC = self.history_ETC[:, self.step]
            self.network.metrics(self.theta_EPM, self.xi_EMP, out=row_EC[:, :-1])
            row_EC[:, -1] = torch.linalg.vector_norm(self.w_EL, dim=1)

    def _log_probabilities(self, e):
        return self.network.g_NP[e] if self.fused else super()._log_probabilities(e)


def engine(runs: list[Run], device: torch.device, states: list[State | None] | None = None) -> Engine:
    """The engine for these runs on a device, each at step 0 or where its state was taken."""
    mlp = CudaEngine if device.type == "cuda" else CompiledEngine if compiled.covers(runs[0]) else Engine
    kind: Any = {"mlp": mlp, "transformer": OneLayerEngine, "pre-ln": PreLNEngine}[runs[0].model]
    return kind(runs, device, states or [None] * len(runs))
