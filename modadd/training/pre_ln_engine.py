"""The general transformer in training on one device."""

from typing import Any

import numpy as np
import torch

from .. import tasks
from ..frames.pre_ln import take_frame
from ..frames.schema import Frame, frame_steps, weights_of
from ..networks.device import precision
from ..networks.transformer.pre_ln import CLIP, LOOK_EVERY, Examples, PreLN, initial_weights, shapes
from ..tasks import EPS
from .transformer_engine import TransformerEngine


class PreLNEngine(TransformerEngine):
    """The general transformer in training."""

    def shapes(self):
        return shapes(self.run)

    def initial_weights(self):
        return initial_weights(self.run)

    def build(self):
        self.looks = frozenset({*range(0, self.run.epochs, LOOK_EVERY), *frame_steps(self.run.epochs)})
        self.examples = Examples(self.run, self.device)
        return PreLN(self.run, self.examples)

    def before_step(self, step):
        self.examples.place(step)

    def update(self):
        # A batch that the network gets badly wrong must not throw it off.
        self.g_L.mul_((CLIP / (torch.linalg.vector_norm(self.g_L) + EPS)).clamp(max=1))
        super().update()

    def record_here(self):
        self.examples.place(self.step)
        self.network.whole = self.step == self.run.epochs
        super().record_here()

    def frame(self, e, with_weights, final=False) -> Frame:
        run, host = self.run, lambda tensor: tensor.cpu().numpy()
        network: Any = self.network
        shown_S = np.arange(tasks.maps(run)) if final else tasks.shown_maps(run)
        pair_PP = torch.arange(run.p**2, device=self.device)
        wanted = (torch.from_numpy(shown_S).to(self.device)[:, None] * run.p**2 + pair_PP).flatten()
        with precision(run):
            answer_SPP = host(network.answers(self.w, wanted)[1]).reshape(-1, run.p, run.p)
        taken = take_frame(
            run, host(self.w["W_E"]), answer_SPP[tasks.shown_maps(run)] if final else answer_SPP,
            host(network.looked_N), host(network.right_N), answer_SPP if final else None,
        )  # fmt: skip
        return {**taken, **(weights_of(self.w) if with_weights else {})}
