"""The activations: what lies between the two layers of a network, one entry each.

Everything that needs an activation reads it here: settings, steps, surgery, claims, charts and pages.  `register`
adds one of your own, which then trains on a CPU, and on CUDA in plain torch:

    activations.register("sine", lambda h, xp: xp.sin(h), lambda h, xp: xp.cos(h), label="sin x")
    train(preset("standard", 23, activation="sine"))
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import array_api_compat
import numpy as np

NAME = re.compile(r"[a-z][a-z0-9_]{0,19}", re.ASCII)
SLOPE_ERROR = 1e-3  # of a derivative, beside one plus its size, at nearly every point that is tried


@dataclass(frozen=True)
class Activation:
    """A function of one real number and its derivative, for arrays of numpy and tensors of torch alike.

    Both are called as `function(h, xp)`, with xp the namespace of h (numpy or torch).  One without a derivative
    can be put in the place of a trained one, and not be trained.
    """

    name: str
    label: str
    function: Callable
    derivative: Callable | None = None

    def __call__(self, h):
        """The activation of every element of h."""
        return self.function(h, array_api_compat.array_namespace(h))

    def slope(self, h):
        """The derivative at every element of h."""
        return self.derivative(h, array_api_compat.array_namespace(h))

    @property
    def parity(self) -> str:
        """`even`, `odd` or `neither`: what the swap test sorts activations by."""
        h = np.linspace(0, 3, 31)
        there, back = self(h), self(-h)
        return "even" if np.allclose(there, back) else "odd" if np.allclose(there, -back) else "neither"


def _erf(h):
    if hasattr(h, "erf"):
        return h.erf()
    from scipy.special import erf  # for this one activation only

    return erf(h)


def _bell(h, xp):
    return xp.exp(-h * h / 2) / (2 * np.pi) ** 0.5


ACTIVATIONS = {
    entry.name: entry
    for entry in (
        Activation("relu", "ReLU", lambda h, xp: xp.maximum(h, xp.zeros_like(h)), lambda h, xp: 1.0 * (h > 0)),
        Activation("quad", "x^2", lambda h, xp: h * h, lambda h, xp: 2 * h),
        Activation("gelu", "GELU", lambda h, xp: h * (1 + _erf(h / 2**0.5)) / 2,
                   lambda h, xp: (1 + _erf(h / 2**0.5)) / 2 + h * _bell(h, xp)),
        Activation("identity", "x", lambda h, xp: h, lambda h, xp: xp.ones_like(h)),
        Activation("abs", "|x|", lambda h, xp: abs(h)),
        Activation("x4", "x^4", lambda h, xp: h**4),
        Activation("x8", "x^8", lambda h, xp: h**8),
        Activation("softplus", "log(1 + e^2x)", lambda h, xp: xp.logaddexp(2 * h, xp.zeros_like(h))),
        Activation("exp", "e^x", lambda h, xp: xp.exp(h)),
        Activation("cube", "x^3", lambda h, xp: h**3),
    )
}  # fmt: skip
OURS = frozenset(ACTIVATIONS)


def trainable() -> list[str]:
    """Names of the activations that a run may have."""
    return [name for name, entry in ACTIVATIONS.items() if entry.derivative]


def trained(name: str) -> Activation:
    """The activation of a run; ValueError with one sentence for a name that no run may have."""
    if name not in trainable():
        raise ValueError(
            f"activation must be one of {', '.join(trainable())}, got {name!r:.80}: "
            "register another with modadd.activations.register"
        )
    return ACTIVATIONS[name]


def register(name: str, function: Callable, derivative: Callable, label: str = "") -> Activation:
    """Add an activation for as long as this process lives, or put another in the place of an earlier one of yours.

    `function` and `derivative` are called with an array h, of numpy or of torch, and its namespace xp, and return
    an array of the same shape; `label` is what charts call it.  The name is part of a run's identity: give a new
    function a new name.  Raises ValueError for a name that is taken or malformed, and for a derivative that is not
    the slope of the function.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"an activation is named by up to 20 of a-z, 0-9 and _, a letter first, got {name!r:.40}")
    if name in OURS:
        raise ValueError(f"the activation {name!r} exists already: choose another name")
    entry = Activation(name, label or name, function, derivative)
    h = np.linspace(-3.03, 3.05, 61)  # beside the places where a function may have a corner
    expected = (entry(h + 1e-6) - entry(h - 1e-6)) / 2e-6
    off = np.abs(entry.slope(h) - expected) > SLOPE_ERROR * (1 + np.abs(expected))
    if off.mean() > 0.1:
        raise ValueError(f"the derivative of {name!r} is not its slope, for one at h = {h[off][0]:.2f}: mend it")
    ACTIVATIONS[name] = entry
    return entry
