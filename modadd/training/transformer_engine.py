"""A transformer in training on one device; what `training` asks of any engine.

Its weights are named views of one flat buffer.  The training pairs are measured at every step; the
test pairs, which cost several steps' worth, only at `looks`, and stand as NaN in between.  On CUDA
the step and the look are captured as one graph each and replayed.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch

from ..data import METRICS
from ..frames.one_layer import take_frame
from ..frames.schema import Frame, frame_steps, weights_of
from ..networks.device import precision
from ..networks.optim import Optimizer
from ..networks.transformer import model
from ..networks.transformer.step import OneLayerStep
from ..records.record import State
from ..runs import Run

LOOK_EARLY, LOOK_LATE, EARLY = 10, 50, 1_000  # test pairs every 10 steps below 1,000, every 50 after
PLATEAU_EVERY = 1_000  # the plateau stop compares rows s - 1,000 and s - 1 at every such s


class Network(Protocol):
    """What an engine trains.  `w` and `g` are weights and gradient by name, `row_C` a history row."""

    def gradient(self, w: dict, g: dict, row_C: torch.Tensor):
        """Fill g, and of row_C the columns that the training pairs decide; nothing may wait for the device."""

    def evaluate(self, w: dict, row_C: torch.Tensor):
        """Fill the columns of row_C that the test pairs decide."""

    def measure(self, w: dict, row_C: torch.Tensor):
        """Fill all columns of row_C but the norm, without a gradient."""


class TransformerEngine:
    """One run.  `step` updates are done; history row s holds the metrics of step s.

    A subclass names the arrays of the flat buffer (`shapes`), where they start (`initial_weights`),
    its `Network`, and what is measured of it (`frame`).  Methods that name a member e take 0.
    """

    program = "torch"

    def __init__(self, runs: list[Run], device: torch.device, states: list[State | None]):
        if len(runs) > 1:
            raise ValueError("a transformer is trained alone, not in a group")
        self.runs, self.run, self.device = runs, runs[0], device
        self.on_device = device.type == "cuda"
        if self.on_device:
            torch.cuda.set_device(device)
        elif self.run.precision == "tf32":
            raise ValueError("precision tf32 needs a CUDA device: choose fp32")
        self.w_L, self.g_L = (torch.zeros(self.run.weights, device=device) for _ in range(2))
        self.w, self.g = (model.views(flat_L, self.shapes()) for flat_L in (self.w_L, self.g_L))
        # Two rows more than there are steps, for the warm-up of a run that is at its end.
        self.history_TC = torch.full((self.run.epochs + 3, len(METRICS)), torch.nan, device=device)
        self.row_C = torch.full((len(METRICS),), torch.nan, device=device)
        self.row_1 = torch.zeros(1, dtype=torch.int64, device=device)  # the row that the next step writes
        self.looks = looks(self.run)
        self.network = self.build()
        self.optimizer = Optimizer(self.run, self.w_L, on_device=self.on_device)
        (state,) = states
        if state is None:
            for name, value in self.initial_weights().items():
                self.w[name].copy_(torch.from_numpy(value))
        else:
            self._restore(state)
        self.step = self.optimizer.step
        if self.on_device:
            self._capture()

    # What a subclass says.

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        raise NotImplementedError

    def initial_weights(self) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def build(self) -> Network:
        raise NotImplementedError

    def frame(self, e: int, with_weights: bool, final: bool = False) -> Frame:
        raise NotImplementedError

    def before_step(self, step: int):
        """Called on the host before each update, outside the graph: the place to put the next batch where
        the network reads it."""

    def update(self):
        """Turn the gradient into new weights."""
        self.optimizer.update(self.g_L)

    # What every transformer shares.

    def _one_step(self):
        self.network.gradient(self.w, self.g, self.row_C)
        self.row_C[-1] = torch.linalg.vector_norm(self.w_L)
        self.history_TC.index_copy_(0, self.row_1, self.row_C[None])
        self.row_1 += 1
        self.row_C.fill_(torch.nan)
        self.update()

    def _look(self):
        self.row_C.fill_(torch.nan)
        self.network.evaluate(self.w, self.row_C)

    def advance(self, n: int):
        """Do n updates, recording the metrics of the weights before each."""
        one_step, look = (
            (self.step_graph.replay, self.look_graph.replay) if self.on_device else (self._one_step, self._look)
        )
        for step in range(self.step, self.step + n):
            if step in self.looks:
                look()
            self.before_step(step)
            one_step()
        self.step += n

    def record_here(self):
        """Write the history row of the present weights without moving them."""
        with precision(self.run):
            row_C = self.history_TC[self.step]
            self.network.measure(self.w, row_C)
            row_C[-1] = torch.linalg.vector_norm(self.w_L)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """History rows on the host, [1, stop - start, len(METRICS)] float32; waits for the device."""
        return self.history_TC[None, start:stop].cpu().numpy().copy()

    def state(self, e: int) -> State:
        """A copy of everything the next update depends on."""
        tensors = {"w": self.w_L} | self.optimizer.moments()
        return {name: t.cpu().numpy().copy() for name, t in tensors.items()} | {"step": np.int64(self.optimizer.step)}

    def _restore(self, state: State):
        self.w_L.copy_(torch.from_numpy(state["w"]))
        for name, moment in self.optimizer.moments().items():
            moment.copy_(torch.from_numpy(state[name]))
        self.optimizer.step = int(state["step"])
        self.row_1.fill_(self.optimizer.step)

    def _capture(self):
        # Warming up runs real steps: put everything back afterwards.
        before = self.state(0)
        self.before_step(self.step)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        graphs = []
        with precision(self.run), torch.cuda.stream(stream):
            for work in (self._look, self._one_step):
                for _ in range(2):
                    work()
                stream.synchronize()
                graphs.append(torch.cuda.CUDAGraph())
                with torch.cuda.graph(graphs[-1], stream=stream, capture_error_mode="thread_local"):
                    work()
        torch.cuda.synchronize()
        self.look_graph, self.step_graph = graphs
        self._restore(before)
        self.row_C.fill_(torch.nan)
        self.history_TC.fill_(torch.nan)


class OneLayerEngine(TransformerEngine):
    """The one-layer transformer of arXiv:2301.05217."""

    def shapes(self):
        return model.shapes(self.run)

    def initial_weights(self):
        return model.initial_weights(self.run)

    def build(self):
        return OneLayerStep(self.run, self.device)

    def frame(self, e, with_weights, final=False):
        with precision(self.run):
            a, b = np.divmod(np.arange(self.run.p**2), self.run.p)
            out = model.forward(self.run, self.w, a, b)
        return take_frame(self.run, self.w, out, final) | (weights_of(self.w) if with_weights else {})


def looks(run: Run) -> frozenset[int]:
    """The steps at which the test pairs are measured: early ones, late ones, those of frames, and those
    that the plateau stop compares."""
    early, late = range(0, min(EARLY, run.epochs), LOOK_EARLY), range(0, run.epochs, LOOK_LATE)
    compared = range(PLATEAU_EVERY - 1, run.epochs, PLATEAU_EVERY) if run.plateau else ()
    return frozenset({*early, *late, *compared, *frame_steps(run.epochs)})
