"""Measures networks that were read from files, as training would have."""

from dataclasses import replace

import numpy as np
import torch

from ..activations import trainable, trained
from ..data import METRICS
from ..frames import mlp, one_layer
from ..frames.schema import Frame, weights_of
from ..networks.mlp.step import Step
from ..networks.transformer.model import forward
from ..networks.transformer.step import OneLayerStep
from ..runs import Run
from .layouts import Network

ON = 0.5  # in every entry of theta of the neuron that is always on: its input is 1


class TwoLayers:
    """Measures networks of two layers, one after the other."""

    def __init__(self, run: Run):
        self.run, self.step = run, Step(run)

    def row(self, network: Network, biased: bool) -> np.ndarray:
        """The history row of a network, which `frame` then speaks of."""
        theta_MP, xi_MP = (torch.from_numpy(network.weights[name]) for name in ("theta", "xi"))
        if biased:
            bias_P = np.zeros(self.run.p, np.float32) if network.bias_P is None else network.bias_P
            on = trained(self.run.activation)(torch.tensor(2 * ON))
            theta_MP = torch.cat((theta_MP, torch.full((1, self.run.p), ON)))
            xi_MP = torch.cat((xi_MP, torch.from_numpy(bias_P)[None] / on))
        self.theta_PM, self.xi_MP = theta_MP.T.contiguous(), xi_MP
        metrics = self.step.metrics(self.theta_PM, self.xi_MP).ravel()
        norm = torch.linalg.vector_norm(torch.cat([self.theta_PM.ravel(), self.xi_MP.ravel()]))
        return torch.cat((metrics, norm[None])).numpy()

    def frame(self, with_weights: bool, final: bool) -> Frame:
        return mlp.take_frame(self.theta_PM.T, self.xi_MP, self.step.log_probabilities_NP, self.run, with_weights)

    def others(self) -> dict[str, dict[str, float]]:
        """The metrics of the last network with each other activation."""
        runs = {name: replace(self.run, activation=name) for name in trainable() if name != self.run.activation}
        return {
            name: dict(zip(METRICS, Step(run).metrics(self.theta_PM, self.xi_MP).ravel().tolist(), strict=False))
            for name, run in runs.items()
        }


class OneLayer:
    """Measures transformers, one after the other."""

    def __init__(self, run: Run):
        self.run, self.step = run, OneLayerStep(run)

    def row(self, network: Network, biased: bool) -> np.ndarray:
        self.w = {name: torch.from_numpy(value) for name, value in network.weights.items()}
        row_C = torch.full((len(METRICS),), torch.nan)
        self.step.measure(self.w, row_C)
        row_C[-1] = torch.linalg.vector_norm(torch.cat([value.ravel() for value in self.w.values()]))
        return row_C.numpy()

    def frame(self, with_weights: bool, final: bool) -> Frame:
        a, b = np.divmod(np.arange(self.run.p**2), self.run.p)
        out = forward(self.run, self.w, a, b)
        weights = weights_of(self.w) if with_weights else {}
        return {**one_layer.take_frame(self.run, self.w, out, final), **weights}

    def others(self) -> dict[str, dict[str, float]]:
        return {}
