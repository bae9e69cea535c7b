"""The one-layer transformer among somebody's arrays, as published with arXiv:2301.05217 and in TransformerLens.

                   published     TransformerLens
    W_E            [D, V]        [V, D]             V = p + 1 tokens, "=" the last; D model width
    W_pos          [3, D]        [3, D]
    W_Q, W_K, W_V  [H, C, D]     [H, D, C]          H heads of width C
    W_O            [D, H C]      [H, C, D]
    W_in, b_in     [M, D], [M]   [D, M], [M]
    W_out, b_out   [D, M], [D]   [M, D], [D]
    W_U            [D, V]        [D, V]             here without the answer "="

Only the last position is read, which sees all three tokens: a causal mask changes nothing.
"""

import re

import numpy as np

from ..runs import Run
from .checkpoint import shown
from .layouts import Arrays, Network, told, weights

NAMES = ("W_E", "W_pos", "W_Q", "W_K", "W_V", "W_O", "W_in", "W_out", "W_U")
BIASES = ("b_in", "b_out")
ATTENTION = re.compile(r"w_[qkv]|in_proj_weight|[qkv]_proj", re.I)
LENGTH = 3  # tokens a, b and "="


def is_one(arrays: Arrays) -> bool:
    """Do these arrays hold attention?"""
    return any(ATTENTION.fullmatch(_last(name)) for name in arrays)


def _last(name: str) -> str:
    return name.removesuffix(".weight").rpartition(".")[2]


def read(arrays: Arrays) -> Network:
    """The transformer that these arrays are.  Raises ValueError with the rest of a sentence that begins with the
    file's name."""
    found, uses = {}, {}
    for name, value in arrays.items():
        part = _last(name)
        if part in found:
            raise ValueError(f"holds {told({name: value})}, a second {part}: this program's transformer has one layer")
        if part in NAMES or part in BIASES:
            found[part] = name
        else:
            uses[name] = _left_out(name, value)
    if missing := [name for name in NAMES if name not in found]:
        there = told({name: arrays[name] for part, name in found.items() if ATTENTION.fullmatch(part)})
        raise ValueError(f"holds attention ({there or 'by other names'}), but no {', '.join(missing)}")
    stacked = getattr(arrays[found["W_O"]], "ndim", 2) == 3
    dims = {"W_Q": 3, "W_K": 3, "W_V": 3, "W_O": 3 if stacked else 2} | dict.fromkeys(BIASES, 1)
    w = {part: weights(name, arrays[name], dims.get(part, 2)) for part, name in found.items()}
    uses |= {
        name: f"{part}, as {'TransformerLens keeps it' if stacked else 'published'}" for part, name in found.items()
    }
    if not stacked:
        H = len(w["W_Q"])
        if w["W_O"].shape[1] % H:
            raise ValueError(f"holds {told({found['W_O']: w['W_O']})}, which does not fit {H} heads")
        w |= {part: w[part].T for part in ("W_E", "W_in", "W_out")}
        w |= {part: w[part].transpose(0, 2, 1) for part in ("W_Q", "W_K", "W_V")}
        w["W_O"] = w["W_O"].T.reshape(H, -1, w["W_O"].shape[0])
    return _checked(w, found, uses)


def _checked(w: dict[str, np.ndarray], found: dict[str, str], uses: dict[str, str]) -> Network:
    """The network of these weights, in the order and the shapes of this program's own."""
    from ..networks.transformer.model import shapes

    (V, D), M, H = w["W_E"].shape, w["W_in"].shape[1], len(w["W_Q"])
    P = V - 1
    try:
        run = Run(p=P, model="transformer", d_model=D, d_mlp=M, heads=H)
    except ValueError as error:
        raise ValueError(f"holds {told({name: w[part] for part, name in found.items()}, 2)}: {error}") from None
    if w["W_U"].shape[1] == V:
        w["W_U"] = w["W_U"][:, :P]
        uses[found["W_U"]] += f", without its answer {P} (=)"
    if len(w["W_pos"]) > LENGTH:
        uses[found["W_pos"]] += f", of its {len(w['W_pos'])} positions the first {LENGTH}"
        w["W_pos"] = w["W_pos"][:LENGTH]
    for part, count in (("b_in", M), ("b_out", D)):
        w.setdefault(part, np.zeros(count, np.float32))
    kept = {part: np.ascontiguousarray(w[part]) for part in shapes(run)}
    for part, shape in shapes(run).items():
        if kept[part].shape != shape:
            raise ValueError(
                f"holds {shown(found.get(part, part))}, which as {part} would have to be {list(shape)} beside "
                f"{V:,} tokens, width {D:,}, {H} heads and {M:,} neurons, and is {list(kept[part].shape)}"
            )
    return Network(P, kept, None, 0, H, uses)


def _left_out(name: str, value) -> str:
    """Why an array changes nothing; ValueError if it does."""
    part, plain = _last(name), isinstance(value, np.ndarray)
    if part == "IGNORE":
        return "left out: what a masked score is set to"
    if part == "mask" and plain and value.ndim == 2 and min(value.shape) >= LENGTH:
        if not value[LENGTH - 1, :LENGTH].all():
            raise ValueError(f"holds {told({name: value})}, which hides tokens from the last position")
        return "left out: the last position, which alone is read, sees all tokens"
    if plain and value.size and value.dtype.kind in "fiu" and not value.any() and part.startswith("b"):
        return "left out: all zero"
    raise ValueError(f"holds {told({name: value})}, which this program's transformer does not have")
