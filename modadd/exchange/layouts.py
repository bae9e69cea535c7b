"""What a network read from somebody's arrays is, and what every layout asks of them."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..runs import WIDTH_MAX
from .checkpoint import Odd, float32, shown

LARGEST = 65_504  # the largest float16, as which a frame keeps a weight
OUTER = {"_orig_mod", "module", "_fsdp_wrapped_module", "_forward_module"}  # what torch puts around a layer
Arrays = Mapping[str, np.ndarray | Odd]


class Network(NamedTuple):
    """What was read: weights by name, float32 (theta [M, P] and xi [M, P], or those of `transformer.model`), a bias
    of the answers [P] or None, the width of an embedding that was multiplied in (else 0), the number of heads (else
    0), and how each array of the file was used."""

    p: int
    weights: dict[str, np.ndarray]
    bias_P: np.ndarray | None
    embedding: int
    heads: int
    uses: dict[str, str]

    @property
    def digest(self) -> str:
        """Equal for equal weights."""
        arrays = (*self.weights.values(), *([] if self.bias_P is None else [self.bias_P]))
        return hashlib.sha256(b"".join(value.tobytes() for value in arrays)).hexdigest()

    @property
    def sizes(self) -> tuple:
        """Equal for networks of one training."""
        return self.p, self.embedding, self.heads, *(value.shape for value in self.weights.values())


def bare(arrays: Arrays) -> dict[str, np.ndarray | Odd]:
    """The arrays under their names within the network, without what torch puts around it."""
    named = {}
    for key, value in arrays.items():
        name = ".".join(part for part in key.split(".") if part not in OUTER) or key
        if name in named:
            raise ValueError(f"holds {shown(name)} twice")
        named[name] = value
    return named


def told(arrays: Arrays, most: int = 4) -> str:
    """Names and shapes of some arrays, in words."""
    words = [f"{shown(name)} {list(value.shape) if isinstance(value, np.ndarray) else value.why}"
             for name, value in arrays.items()]  # fmt: skip
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def weights(name: str, value: np.ndarray | Odd, dims: int = 2) -> np.ndarray:
    """An array as the weights of a layer, float32; ValueError where it cannot be."""
    if isinstance(value, Odd):
        raise ValueError(f"holds {shown(name)}, {value.why}")
    if value.dtype.kind != "f" or value.dtype.itemsize > 8:
        raise ValueError(f"holds {shown(name)} of {value.dtype}; weights are float16, bfloat16, float32 or float64")
    if value.ndim != dims or not all(1 <= n <= WIDTH_MAX for n in value.shape):
        what = {1: "a row", 2: "a matrix", 3: "a stack of matrices"}[dims]
        raise ValueError(f"holds {shown(name)} {list(value.shape)}, which must be {what} of 1 to {WIDTH_MAX:,} a side")
    found = float32(value)
    if not np.abs(found).max() <= LARGEST:  # nor NaN
        raise ValueError(f"holds {shown(name)} with weights that are no number, or beyond {LARGEST:,}")
    return found
