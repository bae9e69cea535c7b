"""A network of two layers among somebody's arrays: the names, transposes and conventions of the field.

    theta [M, P], xi [M, P]                                       as named in this program
    mlp.W_in [M, D], mlp.W_out [P, M], perhaps embed.W_E [D, P]   as published with arXiv:2602.16849
    fc1.weight [M, P], fc2.weight [P, M]; 0.weight, 2.weight      linear layers, by name, by number or by order

The first layer is theta = W_in W_E, and xi = W_out^T.  Some write these matrices transposed; their shapes say so, and
where they do not, somebody has to.  A bias b of the neurons becomes part of theta, b / 2 in every entry, since a sum
reads two of them; that of the answers is kept beside.  What is neither is refused by name.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import combinations, product
from typing import Literal, NamedTuple

import numpy as np

from ..runs import P_MAX, P_MIN
from .checkpoint import shown
from .layouts import Arrays, Network, told, weights

Orientation = Literal["by shape", "published", "transposed"]
TAIL = re.compile(r"(^|[._])(weights?|bias|kernel)$", re.I)
FIRST = re.compile(
    r"theta|into|w_?(in|x|a|input|hidden)|in(put)?(_?(layer|proj\w*|fc|lin\w*))?|hidden\w*|enc(oder)?\w*|up(_?proj)?|"
    r"c_fc|first\w*", re.I
)  # fmt: skip
LAST = re.compile(
    r"xi|w_?(out|u|output)|out(put)?(_?(layer|proj\w*|fc|lin\w*))?|dec(oder)?\w*|down(_?proj)?|c_proj|"
    r"(last|second|final)\w*|(lm_?)?head|read_?out|classifier|un_?emb\w*|logits?", re.I
)  # fmt: skip
EMBED = re.compile(r"w_?e|wte|((tok(en)?s?|input)_?)?emb(ed(ding)?s?)?(_\w+)?", re.I)
TWIN, TWINS = re.compile(r"_?(x|y|a|b|left|right)$", re.I), ({"x", "y"}, {"a", "b"}, {"left", "right"})
OURS = ("theta", "xi")


class Roles(NamedTuple):
    """The names of the layers, and of an embedding if there is one; `by_place`: their names did not say which."""

    first: str
    last: str
    embed: str | None
    by_place: bool


def read(arrays: Arrays, p: int | None, orientation: Orientation, ordered: bool) -> Network:
    """The network of two layers that these arrays are.  `ordered` says that they stand as they were defined.

    Raises ValueError with the rest of a sentence that begins with the file's name.
    """
    arrays, uses = _without_twin(arrays)
    roles = _roles(arrays, ordered)
    layers = {name: weights(name, arrays[name]) for name in roles[:3] if name}
    biases = _biases(arrays, layers, uses)
    W_in, W_out, W_E, P = _turned(layers, roles, p, orientation)
    for name, matrix, what in ((roles.first, W_in, "first layer"), (roles.last, W_out, "last layer"),
                               (roles.embed, W_E, "embedding")):  # fmt: skip
        if name:
            turned = ", transposed" * (not np.array_equal(matrix, layers[name]))
            placed = ", by its place in the file" * (roles.by_place and what != "embedding")
            equals = f", without that of token {P} (=)" * (P + 1 in (matrix.shape[0 if what == "last layer" else 1],))
            uses[name] = what + turned + placed + equals
    if roles.embed in biases:
        W_E = W_E + _fitting(biases[roles.embed], len(W_E), roles.embed)[:, None]
    theta_MP, xi_MP = _first_layer(W_in, W_E, P, roles)[:, :P], W_out.T[:, :P]
    if roles.first in biases:
        theta_MP = theta_MP + _fitting(biases[roles.first], len(theta_MP), roles.first)[:, None] / 2
    bias_P = _fitting(biases[roles.last], len(W_out), roles.last)[:P] if roles.last in biases else None
    kept = {"theta": np.ascontiguousarray(theta_MP), "xi": np.ascontiguousarray(xi_MP)}
    for name in kept:
        weights(f"a product {name}", kept[name])
    return Network(P, kept, bias_P, 0 if W_E is None else len(W_E), 0, uses)


def _without_twin(arrays: Arrays) -> tuple[dict, dict[str, str]]:
    """(the arrays, how some were used) without the second of two equal layers, one for each input."""
    for one, other in combinations(arrays, 2):
        inputs = {ending[1].lower() for name in (one, other) if (ending := TWIN.search(_last(name)))}
        if inputs in TWINS and TWIN.sub("", _last(one)) == TWIN.sub("", _last(other)) and not one.endswith("bias"):
            both = {name: weights(name, arrays[name]) for name in (one, other)}
            if not np.array_equal(both[one], both[other]):
                raise ValueError(f"holds {told(both)}: {two_first(*both.values())}")
            return {n: v for n, v in arrays.items() if n != other}, {other: f"equal to {shown(one)}"}
    return dict(arrays), {}


def two_first(one: np.ndarray, other: np.ndarray) -> str:
    """Why two layers, one for each input, cannot be kept, in words."""
    apart = f"which differ by up to {np.abs(one - other).max():.2g}" if one.shape == other.shape else "of two shapes"
    return f"two first layers, one for each input, {apart}; this program's network has one that both inputs share"


# -- names --------------------------------------------------------------------------------------


def _last(name: str) -> str:
    """The part of a name that tells the layer: fc1 of net.fc1.weight."""
    return TAIL.sub("", name).rpartition(".")[2]


def _is(pattern: re.Pattern, names: Iterable[str]) -> list[str]:
    return [name for name in names if pattern.fullmatch(_last(name))]


def _roles(arrays: Arrays, ordered: bool) -> Roles:
    """Which matrix is which layer.  ValueError where these are not two, or nothing says which comes first."""
    names = [name for name, value in arrays.items() if getattr(value, "ndim", 2) > 1]
    names += [name for name in _is(FIRST, arrays) + _is(LAST, arrays) if name not in names and name[-4:] != "bias"]
    embed = _is(EMBED, names)
    layers = [name for name in names if name not in embed]
    first, last = _is(FIRST, layers), _is(LAST, layers)
    if len(embed) == len(layers) == 1 and not first:
        return Roles(embed[0], layers[0], None, False)  # the embedding is the first layer
    if len(layers) < 2:
        raise ValueError(f"holds no network of two layers: {told({n: arrays[n] for n in names}) or 'no matrix'}")
    if len(layers) > 2 or len(embed) > 1:
        known = first[:1] + last[:1] + embed[:1]
        extra = [name for name in names if name not in known] if first and last else names
        raise ValueError(f"holds {told({n: arrays[n] for n in extra})}, which has no place in a network of two layers")
    by_place = False
    if len(first) == 1 or len(last) == 1:
        layers.sort(key=lambda name: (name in last) - (name in first))
    elif len({re.sub(r"\d+", "", TAIL.sub("", name)) for name in layers}) == 1:
        layers.sort(key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    elif ordered:
        by_place = True
    else:
        one, other = map(shown, layers)
        raise ValueError(f"does not say which of {one} and {other} is the first layer: name them W_in and W_out")
    first_layer, last_layer = layers
    return Roles(first_layer, last_layer, embed[0] if embed else None, by_place)


def _biases(arrays: Arrays, layers: Arrays, uses: dict[str, str]) -> dict[str, np.ndarray]:
    """The bias of each layer that has one; what else is left out, or refused by name."""
    biases = {}
    for name, value in arrays.items():
        if name in layers:
            continue
        owner = next((layer for layer in layers if _place(layer) == _place(name)), None)
        array = value if isinstance(value, np.ndarray) else np.zeros((1, 1))
        if array.ndim < 2 and array.dtype.kind in "iub":
            uses[name] = "left out: whole numbers are no weights"
        elif array.ndim == 1 and array.size and not array.any():
            uses[name] = "all zero"
        elif array.ndim == 1 and owner and owner not in biases:
            biases[owner] = weights(name, value, 1)
            uses[name] = f"bias of {shown(owner)}"
        else:
            raise ValueError(f"holds {told({name: value})}, which has no place in a network of two layers")
    return biases


def _place(name: str) -> str:
    """What a matrix and its bias have in common: in of mlp.W_in and mlp.b_in, fc1 of fc1.weight and fc1.bias."""
    before, _, last = TAIL.sub("", name.lower()).rpartition(".")
    return f"{before}.{re.sub(r'^(w(eights?)?|b(ias)?)_?(?=in|out|e$|u$|x$|[0-9])|_(w|weight|b|bias)$', '', last)}"


def _fitting(bias: np.ndarray, count: int, layer: str) -> np.ndarray:
    if len(bias) != count:
        raise ValueError(f"holds a bias of {len(bias):,} numbers for {shown(layer)}, which has {count:,}")
    return bias


# -- shapes -------------------------------------------------------------------------------------


def _turned(layers: Arrays, roles: Roles, p: int | None, orientation: Orientation):
    """(W_in, W_out, W_E or None, p), each [out, in] as published."""
    names = [name for name in roles[:3] if name]
    whole = told({name: layers[name] for name in names})
    free = {"published": (False,), "transposed": (True,), "by shape": (False, True)}[orientation]
    ways = [(name == "xi",) if name in OURS else free for name in names]
    usual = [(name.endswith("kernel"),) if _linear(name) else way for name, way in zip(names, ways, strict=True)]
    fits, odd = {}, {}
    for tried in (usual, ways) if orientation == "by shape" else (ways,):
        if not odd:
            fits = _fits(layers, names, tried, p) or fits
            odd = {sizes: found for sizes, found in fits.items() if sizes[0] in range(P_MIN, P_MAX + 1, 2)}
    if not fits:
        ours = ": both must be [neurons, p]" if roles[:2] == OURS else ""
        raise ValueError(f"holds {whole}, which do not fit together{ours}")
    if not odd:
        raise ValueError(f"holds {whole}: p must be odd and between {P_MIN} and {P_MAX}, got {next(iter(fits))[0]}")
    possible = {sizes: found for sizes, found in odd.items() if p in (None, sizes[0])}
    if not possible:
        raise ValueError(f"is a network of p = {' or '.join(dict.fromkeys(str(P) for P, *_ in odd))}, not {p}")
    (sizes, (matrices, *more)), *others = possible.items()
    if more or others:
        remedy = "name p" if others and not more else "say whether they are as published or transposed"
        raise ValueError(f"holds {whole}, which can be read in more than one way: {remedy}")
    return *matrices, *[None] * (3 - len(matrices)), sizes[0]


def _linear(name: str) -> bool:
    """Does a name tell how its matrix lies, as those of linear layers do?"""
    return name.endswith(("weight", "kernel")) and not EMBED.fullmatch(_last(name))


def _fits(layers: Mapping, names: list[str], turns: list[tuple[bool, ...]], p: int | None) -> dict[tuple, list]:
    """{(p, neurons, width, inputs): the readings with these sizes} of the ways to turn the matrices."""
    fits: dict[tuple, list] = {}
    # A symmetric matrix reads the same both ways.
    ways = [way[:1] if _symmetric(layers[name]) else way for name, way in zip(names, turns, strict=True)]
    for turned in product(*ways):
        W_in, W_out, *W_E = (layers[n].T if turn else layers[n] for n, turn in zip(names, turned, strict=True))
        (M, D), R = W_in.shape, W_out.shape[0]
        P = p if p == R - 1 else R  # its last answer is that of "="
        inputs = W_E[0].shape[1] if W_E else D
        width = W_E[0].shape[0] if W_E else D
        if W_out.shape[1] == M and D in (width, 2 * width) and inputs in ((P, P + 1) if W_E else (P, P + 1, 2 * P)):
            fits.setdefault((P, M, D, inputs), []).append((W_in, W_out, *W_E))
    return fits


def _first_layer(W_in: np.ndarray, W_E: np.ndarray | None, P: int, roles: Roles) -> np.ndarray:
    """theta, with a column for each token; ValueError for two layers side by side that are not equal."""
    width = len(W_E) if W_E is not None else W_in.shape[1] if W_in.shape[1] < 2 * P else P
    halves = [W_in[:, :width], W_in[:, width:]] if W_in.shape[1] == 2 * width else [W_in]
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused afterwards
        halves = [half @ W_E for half in halves] if W_E is not None else halves
    if len(halves) == 2 and not np.array_equal(halves[0], halves[1]):
        raise ValueError(f"holds {told({roles.first: W_in})} for both inputs side by side: {two_first(*halves)}")
    return halves[0]


def _symmetric(matrix: np.ndarray) -> bool:
    return matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, matrix.T)
