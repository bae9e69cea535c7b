"""Activations with their derivatives."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F


class Act(NamedTuple):
    """An activation and the gradient through it, in place where that saves memory.

    `apply_(h)` may overwrite h and returns act(h).  `back_(g, h, a)` may overwrite g and returns
    g * act'(h), given h as it was if `needs_input`, else only the output a.
    """

    apply_: Callable
    back_: Callable
    needs_input: bool


_aten = torch.ops.aten


ACTIVATIONS: dict[str, Act] = {
    "relu": Act(torch.relu_, lambda g, h, a: _aten.threshold_backward.grad_input(g, a, 0, grad_input=g), False),
    "quad": Act(torch.square, lambda g, h, a: g.mul_(h).mul_(2), True),
    "gelu": Act(F.gelu, lambda g, h, a: _aten.gelu_backward.grad_input(g, h, grad_input=g), True),
    "identity": Act(lambda h: h, lambda g, h, a: g, False),
}


# What a trained network may be asked to use instead (science of the swap test: even functions
# keep the answer, odd ones lose it).
SWAPS: dict[str, Callable] = {
    "ReLU": torch.relu,
    "GELU": F.gelu,
    "|x|": torch.abs,
    "x^2": torch.square,
    "x^4": lambda h: h**4,
    "x^8": lambda h: h**8,
    "log(1 + e^2x)": lambda h: F.softplus(2 * h),
    "e^x": torch.exp,
    "x": lambda h: h,
    "x^3": lambda h: h**3,
}


FUNCTIONS: dict[str, Callable] = {
    "relu": torch.relu, "quad": torch.square, "gelu": F.gelu, "identity": lambda h: h,
}  # fmt: skip
