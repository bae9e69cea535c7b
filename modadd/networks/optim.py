"""AdamW and SGD over one flat buffer of weights, with the published learning-rate warm-up.

Betas (0.9, 0.98), eps 1e-8, decoupled weight decay; SGD has no momentum.  The learning rate of
step s is lr * min(s / 10, 1), so step 0 moves nothing.
"""

from typing import Any

import torch

from ..runs import WARMUP, Run

BETA1, BETA2, EPS = 0.9, 0.98, 1e-8


class Optimizer:
    """Updates `w` in place from `g`, both flat and of equal length.

    With `on_device=True` the step count lives in a tensor beside the weights, so that an update
    can be replayed from a CUDA graph.
    """

    def __init__(self, run: Run, w: torch.Tensor, on_device: bool = False):
        self.run, self.w, self.on_device = run, w, on_device
        self.adam = run.optimizer == "adamw"
        if self.adam:
            self.m, self.v, self.scratch = (torch.zeros_like(w) for _ in range(3))
        self.count: Any = torch.zeros(1, dtype=torch.int64, device=w.device) if on_device else 0

    @property
    def step(self) -> int:
        """Updates made so far."""
        return int(self.count)

    @step.setter
    def step(self, value: int):
        if self.on_device:
            self.count.fill_(value)
        else:
            self.count = value

    def moments(self) -> dict[str, torch.Tensor]:
        """What besides the weights decides the next update."""
        return {"m": self.m, "v": self.v} if self.adam else {}

    def update(self, g: torch.Tensor):
        run = self.run
        if self.on_device:
            s = self.count.to(self.w.dtype)
            lr = run.lr * torch.clamp(s / WARMUP, max=1)
            c1, c2 = 1 - BETA1 ** (s + 1), 1 - BETA2 ** (s + 1)
        else:
            lr = run.lr * min(self.count / WARMUP, 1)
            c1, c2 = 1 - BETA1 ** (self.count + 1), 1 - BETA2 ** (self.count + 1)
        if run.weight_decay:
            self.w.mul_(1 - lr * run.weight_decay)
        if self.adam:
            self.m.lerp_(g, 1 - BETA1)
            self.v.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
            torch.sqrt(self.v, out=self.scratch)
            self.scratch.div_(c2**0.5).add_(EPS)
            if self.on_device:
                self.w.sub_(torch.div(self.m, self.scratch, out=self.scratch).mul_(lr / c1))
            else:
                self.w.addcdiv_(self.m, self.scratch, value=-lr / c1)
        elif self.on_device:
            self.w.sub_(g * lr)
        else:
            self.w.add_(g, alpha=-lr)
        self.count += 1
