"""The step of `step.py` and the update of `optim.py` for a processor, compiled from native/step.c.

The libraries are there if the installation found a C compiler.  Many steps are one call, and the interpreter is free
meanwhile.  Metrics, gradients and updates are those of the plain step, in float32 and summed in another order; where a
probability is near 1 the loss keeps the digits that the plain step rounds away.  The environment variable MODADD_STEP
names a build to use instead of the fastest, or `torch` for the plain step.
"""

import ctypes
import os
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
import torch.nn.functional as F

from ...data import GROUPS, METRICS, group_weights
from ...runs import Run, step_flop

ACTIVATIONS, OPTIMIZERS = ("relu", "quad", "identity"), ("sgd", "adamw")  # in the order of the enums of step.c
BUILDS = ("avx512", "avx2", "any")  # the fastest first
SMALL_FLOP = 5 * 10**7  # of a step: p = 27 and below


class _Net(ctypes.Structure):
    _fields_ = (
        [(name, ctypes.c_long) for name in ("p", "blocks", "activation", "optimizer")]
        + [(name, ctypes.c_double) for name in ("lr", "weight_decay")]
        + [(name, ctypes.c_void_p) for name in ("count", "total", "theta", "xi", "theta_m", "xi_m", "theta_v", "xi_v")]
    )


@lru_cache(maxsize=1)
def builds() -> dict[str, ctypes.CDLL]:
    """The builds that are here and that this processor runs, the fastest first."""
    found = {}
    for name in BUILDS:
        file = Path(__file__).with_name("native") / f"{name}{EXTENSION_SUFFIXES[0]}"
        if not file.exists():
            continue
        library = ctypes.CDLL(str(file))
        # A library of another version of the source is as good as none.
        if ctypes.c_long.in_dll(library, "net_size").value == ctypes.sizeof(_Net) and library.supported():
            library.advance.argtypes = [ctypes.c_void_p, *3 * [ctypes.c_long], *3 * [ctypes.c_void_p]]
            found[name] = library
    return found


def build() -> str | None:
    """The build in use: the one that MODADD_STEP names, or the fastest; None for the plain step."""
    name = os.environ.get("MODADD_STEP") or next(iter(builds()), None)
    return name if name in builds() else None


def covers(run: Run) -> bool:
    """Can this run train with the compiled step on this machine, and does it gain by it?"""
    if run.model != "mlp" or run.d_model or run.activation not in ACTIVATIONS:
        return False
    # Torch knows the vectors of this processor, of which `any` knows few: that one only saves its many calls.
    return build() is not None and (build() != "any" or step_flop(run) < SMALL_FLOP)


class CompiledStep:
    """Weights and moments of one run, in blocks of neurons, and the steps that move them."""

    def __init__(self, run: Run):
        self.run, self.build = run, build()
        self._library = builds()[self.build]
        P, M = run.p, run.d_mlp
        self.width = ctypes.c_long.in_dll(self._library, "block").value
        self.blocks = -(-M // self.width)
        # Weights, and the two moments of AdamW; neurons that fill up the last block are 0 and stay 0.
        kinds = 3 if run.optimizer == "adamw" else 1
        self.theta_IBPW, self.xi_IBPW = (torch.zeros(kinds, self.blocks, P, self.width) for _ in range(2))
        counts_NG = torch.from_numpy(group_weights(run))
        self.total_G = counts_NG.sum(0).double()
        # The pairs by x, not by difference.
        self.count_NG = counts_NG.float().unflatten(0, (-1, P)).transpose(0, 1).contiguous()
        self.seconds = torch.zeros(2, dtype=torch.float64)  # spent in sweeps forward and backward

        layers = [[x_BPW.data_ptr() for x_BPW in x_IBPW] for x_IBPW in (self.theta_IBPW, self.xi_IBPW)]
        pointers = [pointer for both in zip(*layers, strict=True) for pointer in both]
        self._net = _Net(
            P,
            self.blocks,
            ACTIVATIONS.index(run.activation),
            OPTIMIZERS.index(run.optimizer),
            run.lr,
            run.weight_decay,
            self.count_NG.data_ptr(),
            self.total_G.data_ptr(),
            *pointers,
        )

    def load(self, flat: list[torch.Tensor]):
        """Take weights, and moments, from flat buffers of theta_PM and xi_MP."""
        P, M, B, W = self.run.p, self.run.d_mlp, self.blocks, self.width
        for theta_BPW, xi_BPW, x_L in zip(self.theta_IBPW, self.xi_IBPW, flat, strict=True):
            theta_PM, xi_MP = x_L[: P * M].view(P, M), x_L[P * M :].view(M, P)
            theta_BPW.copy_(F.pad(theta_PM, (0, B * W - M)).view(P, B, W).transpose(0, 1))
            xi_BPW.copy_(F.pad(xi_MP, (0, 0, 0, B * W - M)).view(B, W, P).transpose(1, 2))

    def store(self, flat: list[torch.Tensor]):
        """The inverse of `load`, for as many buffers as are given."""
        P, M = self.run.p, self.run.d_mlp
        for theta_BPW, xi_BPW, x_L in zip(self.theta_IBPW, self.xi_IBPW, flat, strict=False):
            x_L[: P * M].view(P, M).copy_(theta_BPW.transpose(0, 1).reshape(P, -1)[:, :M])
            x_L[P * M :].view(M, P).copy_(xi_BPW.transpose(1, 2).reshape(-1, P)[:M])

    def advance(
        self, first: int, steps: int, history_TC: torch.Tensor, log_probabilities_NP: torch.Tensor | None = None
    ):
        """So many updates from step `first` on; row i of the history takes METRICS of step first + i before its update.

        With `log_probabilities_NP` one more row follows, and they are those of the weights at the end.
        """
        rows = steps + (log_probabilities_NP is not None)
        assert history_TC.is_contiguous()
        assert history_TC.shape[0] >= rows
        assert history_TC.shape[1] == len(METRICS) == 2 * len(GROUPS) + 1
        address = None if log_probabilities_NP is None else log_probabilities_NP.data_ptr()
        if self._library.advance(
            ctypes.byref(self._net),
            first,
            steps,
            torch.get_num_threads(),
            history_TC.data_ptr(),
            address,
            self.seconds.data_ptr(),
        ):
            raise MemoryError(f"no memory for a step at p = {self.run.p}: choose a smaller p or d_mlp")

    def measure(self, step: int, history_TC: torch.Tensor) -> torch.Tensor:
        """Metrics of the present weights into the first row, and their log-probabilities [N, P], pairs as in `data`."""
        P = self.run.p
        log_probabilities_NP = torch.empty(P * (P + 1) // 2, P)
        self.advance(step, 0, history_TC, log_probabilities_NP)
        return log_probabilities_NP
