"""The frames of a shipped record as bytes: each array as closely as its `schema.Field` says, decoded when asked for.

An array over all frames [S, ...] becomes numbers on which an even error is the one that matters (FORMS).  Each frame
of these is foretold from the nearest frames already known, the last and the first first, then halves of halves; what
remains is rounded to a grid of twice the tolerance.  What is foretold from is what the reader will know, so that the
error never exceeds the tolerance.  Exact arrays are differences of whole numbers.  LZMA packs both.

The bytes may come from strangers: they are read to the sizes that the run allows and no further, and whatever they
say, nothing but ValueError is raised.  That no bit of them changed is the container's business.
"""

import json
import lzma
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..data import METRICS
from ..frames import schema
from ..frames.schema import Field, Frame, pack, unpack
from ..maths import fourier
from ..runs import Run

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 23, "lc": 0, "lp": 0, "pb": 0}]
MOST = 64 << 20  # bytes that one array may take
FRAMES, INDEX = 100_000, 1 << 20  # of a record, and bytes of the index
NEAR = 4  # known frames that foretell another
SMALLEST = 1e-8  # below this a magnitude counts as this
FLOOR, WEIGHT_FLOOR = 0.01, 0.1  # of a neuron's largest magnitude: smaller ones need not be told apart
LAST_FINER = 4  # times finer is the last frame of what is held against its own largest number


class CodedFrame(Mapping):
    """A frame of a Film: its arrays are decoded when they are first asked for."""

    __slots__ = ("_film", "_number")

    def __init__(self, film: "Film", number: int):
        self._film, self._number = film, number

    def __getitem__(self, name: str) -> np.ndarray:
        place = self._film.places[name].get(self._number)
        if place is None:
            raise KeyError(name)
        return self._film.stack(name)[place]

    def __contains__(self, name) -> bool:
        return self._number in self._film.places.get(name, ())

    def __iter__(self) -> Iterator[str]:
        return (name for name, place in self._film.places.items() if self._number in place)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Film(tuple):
    """All frames of a coded record, which are one piece of bytes, `blob`, and the `steps` that they are of.

    Raises ValueError where the bytes are not those of frames of this run.
    """

    blob: bytes
    steps: tuple[int, ...]
    _parts: dict
    _known: dict[str, np.ndarray]
    places: dict[str, dict[int, int]]  # which frames hold an array, and where in its stack each is

    def __new__(cls, blob: bytes, run: Run):
        length, start = int.from_bytes(blob[:4], "little"), 4
        steps, rows = _index(blob[4 : 4 + length], length)
        count = len(steps)
        film = super().__new__(cls, (CodedFrame.__new__(CodedFrame) for _ in steps))
        for number, frame in enumerate(film):
            frame.__init__(film, number)
        film.blob, film.steps, film.places, film._parts, film._known = blob, tuple(steps), {}, {}, {}
        known, size = schema.fields(run), schema.sizes(run)
        for name, shape, held, width in rows:
            if name not in known or not schema.fits(tuple(shape), known[name], size):
                raise ValueError(f"{name[:40]!r} of shape {shape!s:.40} is in no frame of this run")
            held = list(range(count)) if held is None else held
            if any(b <= a for a, b in zip([-1, *held], [*held, count], strict=True)) or not held:
                raise ValueError(f"{name[:40]!r} is in frames that are not there")
            begin = start + length
            film._parts[name] = known[name], (len(held), *shape), begin, begin + width
            film.places[name], start = {number: place for place, number in enumerate(held)}, start + width
        if len(blob) != start + length:
            raise ValueError("the coded frames are cut off, or too long")
        return film

    @property
    def sizes(self) -> dict[str, int]:
        """The bytes of each array."""
        return {name: end - begin for name, (_, _, begin, end) in self._parts.items()}

    def stack(self, name: str) -> np.ndarray:
        """An array over the frames that hold it, [S, ...]."""
        if name not in self._known:
            field, shape, begin, end = self._parts[name]
            stack = decode(self.blob[begin:end], name, field, shape)
            stack.flags.writeable = False
            self._known[name] = stack
        return self._known[name]


def film(frames: Sequence[Frame], steps: Sequence[int], run: Run) -> Film:
    """Frames of these steps, coded as the schema says."""
    index, parts, known = [], [], schema.fields(run)
    for name in sorted({name for frame in frames for name in frame}):
        held = [i for i, frame in enumerate(frames) if name in frame]
        stack = np.stack([frames[i][name] for i in held])
        parts.append(encode(stack, name, known[name]))
        index.append([name, stack.shape[1:], held if len(held) < len(frames) else None, len(parts[-1])])
    head = deflated(json.dumps([list(map(int, steps)), index], separators=(",", ":")).encode())
    return Film(len(head).to_bytes(4, "little") + head + b"".join(parts), run)


def curves(steps_T: np.ndarray, history: Mapping[str, np.ndarray]) -> bytes:
    """The steps and the columns of a history, every bit of them."""
    table_CT = np.stack([steps_T.astype("<u4"), *(history[name].astype("<f4").view("<u4") for name in METRICS)])
    change_CT = np.diff(table_CT, axis=1, prepend=np.zeros_like(table_CT[:, :1]))
    return len(steps_T).to_bytes(4, "little") + deflated(_bytewise(change_CT, 4).tobytes())


def uncurved(blob: bytes) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The inverse of `curves`: int64 [T] and float32 [T] by name."""
    count, columns = int.from_bytes(blob[:4], "little"), 1 + len(METRICS)
    raw = np.frombuffer(inflated(blob[4:], 4 * count * columns), np.uint8)
    change_CT = np.ascontiguousarray(raw.reshape(4, -1).T).view("<u4").reshape(columns, count)
    table_CT = np.cumsum(change_CT, axis=1, dtype="<u4")
    return table_CT[0].astype(np.int64), dict(zip(METRICS, table_CT[1:].view("<f4"), strict=True))


def rounded(column: np.ndarray, bits: int = 7) -> np.ndarray:
    """A column to `bits` binary digits after the first, within 0.4 %; the last number that was measured as it is."""
    mantissa, exponent = np.frexp(column)
    few = np.ldexp(np.round(mantissa * 2 ** (bits + 1)) / 2 ** (bits + 1), exponent).astype(np.float32)
    last = np.flatnonzero(~np.isnan(column))[-1:]
    few[last] = column[last]
    return few


def _index(head: bytes, length: int) -> tuple[list[int], list[tuple[str, list[int], list[int] | None, int]]]:
    whole = lambda n: type(n) is int and 0 <= n < 1 << 31  # noqa: E731
    wholes = lambda many: isinstance(many, list) and len(many) <= FRAMES and all(map(whole, many))  # noqa: E731
    if not 0 < length == len(head):
        raise ValueError("the coded frames are cut off")
    try:
        steps, rows = json.loads(inflated(head, most=INDEX))
    except (ValueError, TypeError, RecursionError):
        raise ValueError("the coded frames have no index") from None
    sound = wholes(steps) and isinstance(rows, list) and all(
        isinstance(row, list) and len(row) == 4 and isinstance(row[0], str) and wholes(row[1])
        and (row[2] is None or wholes(row[2])) and whole(row[3]) for row in rows
    )  # fmt: skip
    if not sound or len({row[0] for row in rows}) < len(rows):
        raise ValueError("the index of the coded frames is none")
    return steps, rows


def encode(stack: np.ndarray, name: str, field: Field) -> bytes:
    """An array of all frames, [S, ...], as bytes."""
    form, size = field.coded.form, field.coded.size
    if form == "exact":
        return deflated(_planes(np.stack([pack(name, value) for value in stack])))
    forth, _ = FORMS[form]
    y_SN, tolerance_SN, side = forth(np.asarray(stack, np.float32), size)
    return len(side).to_bytes(4, "little") + side + _film(y_SN, tolerance_SN)


def decode(blob: bytes, name: str, field: Field, shape: tuple[int, ...]) -> np.ndarray:
    """The array of this shape, [S, ...]; ValueError if the bytes are none."""
    count = int(np.prod(shape, dtype=np.int64))
    if count * 4 > MOST:
        raise ValueError(f"{name!r} would take {count * 4 / 1e6:,.0f} MB")
    if field.coded.form == "exact":
        return unpack(name, _whole(blob, np.dtype(field.kind), shape))
    side, rest = blob[4 : 4 + int.from_bytes(blob[:4], "little")], blob[4 + int.from_bytes(blob[:4], "little") :]
    with np.errstate(all="ignore"):
        y_SN = _developed(rest, shape[0], count // max(1, shape[0]))
        if not np.isfinite(y_SN).all():
            raise ValueError(f"{name!r} holds something that is no number")
        return FORMS[field.coded.form][1](y_SN, shape, side).astype(np.float32, copy=False)


# -- numbers on which an even error is the one that matters: (stack, size) -> (y [S, N], tolerance [S or S, N], side
# -- information), and (y, shape, side) -> stack


def _flat(stack: np.ndarray) -> np.ndarray:
    return stack.reshape(len(stack), -1)


def _linear(stack, size):
    """Within `size` of the frame's largest number, the last frame LAST_FINER times closer."""
    y = _flat(stack)
    tolerance = size * np.abs(y).max(1, initial=SMALLEST)
    tolerance[-1] /= LAST_FINER
    return y, tolerance, b""


def _votes(stack, size):
    """As linear, and the largest of each row stays the largest."""
    y, tolerance, _ = _linear(stack, size)
    rough = _developed(_film(y, tolerance), *y.shape).reshape(stack.shape)
    best = stack.argmax(-1)
    place = np.flatnonzero(best != rough.argmax(-1)).astype("<u4")
    return y, tolerance, deflated(place.tobytes() + best.ravel()[place].astype("<u1").tobytes())


def _voted(y, shape, side):
    stack = y.reshape(shape)
    rows, raw = stack.reshape(-1, shape[-1]), inflated(side, most=5 * stack[..., 0].size)
    count = len(raw) // 5
    place, best = np.frombuffer(raw, "<u4", count), np.frombuffer(raw, "<u1", count, 4 * count)
    if len(raw) != 5 * count or (count and (place.max() >= len(rows) or best.max() >= shape[-1])):
        raise ValueError("the list of largest votes is none")
    rows[place, best] = np.nextafter(rows[place].max(-1), np.float32(np.inf))
    return stack


def _log(stack, size):
    """Within a factor of 1 + size, above SMALLEST."""
    return np.log(np.maximum(_flat(stack), SMALLEST)), np.log1p(size), b""


def _share(stack, size):
    """Within `size` of arcsin sqrt x, which tells 0.999 from 0.9999 as well as 0.5 from 0.51."""
    return np.arcsin(np.sqrt(_flat(stack).clip(0, 1))), size, b""


def _part(stack, size):
    """Within `size` of a number from 0 to 1, or no number, which counts as -1."""
    return np.where(np.isnan(flat := _flat(stack)), -1, flat), size, b""


def _angle(stack, size):
    """Within `size` radians around the circle."""
    return np.unwrap(_flat(stack), axis=0), size, b""


def _spectrum(stack, size, floor=FLOOR):
    """Coefficients [S, m, P] in `fourier.basis`: each magnitude within a share `size` of the root of the squares of
    itself and of FLOOR times the neuron's largest; phases closer than that."""
    largest_m = np.maximum(np.abs(stack).max((0, 2), initial=0), SMALLEST).astype("<f4")
    y = stack / (floor * largest_m[:, None])
    length = np.hypot(y[..., 1::2], y[..., 2::2])
    squeezed = np.arcsinh(length) / np.maximum(length, 1e-30)
    y[..., 0] = np.arcsinh(y[..., 0])
    y[..., 1::2] *= squeezed
    y[..., 2::2] *= squeezed
    # sinh takes two points s apart to points at most (exp s - 1) cosh of their length apart.
    return _flat(y), np.log1p(size) / np.sqrt(2), largest_m.tobytes()


def _spread(y, shape, side, floor=FLOOR):
    if len(side) != 4 * shape[1]:
        raise ValueError("it does not say how large each neuron is")
    y = y.reshape(shape).clip(-50, 50)
    length = np.hypot(y[..., 1::2], y[..., 2::2])
    spread = np.sinh(length) / np.maximum(length, 1e-30)
    y[..., 0] = np.sinh(y[..., 0])
    y[..., 1::2] *= spread
    y[..., 2::2] *= spread
    return y * (floor * np.frombuffer(side, "<f4")[:, None])


FORMS = {
    "linear": (_linear, lambda y, shape, side: y.reshape(shape)),
    "votes": (_votes, _voted),
    "log": (_log, lambda y, shape, side: np.exp(y.reshape(shape).clip(-50, 50))),
    "share": (_share, lambda y, shape, side: np.sin(y.reshape(shape)) ** 2),
    "part": (_part, lambda y, shape, side: np.where(y < -0.5, np.nan, y).reshape(shape)),
    "angle": (_angle, lambda y, shape, side: fourier.wrap(y.reshape(shape))),
    "spectrum": (_spectrum, _spread),
    "weights": (
        lambda stack, size: _spectrum(fourier.dft(stack), size, WEIGHT_FLOOR),
        lambda y, shape, side: _spread(y, shape, side, WEIGHT_FLOOR) @ fourier.basis(shape[-1]),
    ),
}


def error(stack: np.ndarray, again: np.ndarray, field: Field) -> float:
    """How far coding moved an array at worst, in the sense of its form: what `field.coded.size` bounds."""
    form, floor = field.coded.form, FLOOR
    if form == "exact":
        return 0.0 if np.array_equal(stack, again, equal_nan=stack.dtype.kind == "f") else np.inf
    x, y = (_flat(np.asarray(a, float)) for a in (stack, again))
    if form in ("linear", "votes"):
        return float((np.abs(y - x).max(1) / np.maximum(np.abs(x).max(1), SMALLEST)).max())
    if form == "part":
        return float(np.abs(np.where(np.isnan(y), -1, y) - np.where(np.isnan(x), -1, x)).max())
    if form in ("log", "share"):
        x, y = (np.log(np.maximum(a, SMALLEST)) if form == "log" else np.arcsin(np.sqrt(a.clip(0, 1))) for a in (x, y))
    if form in ("log", "share", "angle"):
        return float(np.abs(fourier.wrap(y - x) if form == "angle" else y - x).max())
    x, y = (np.asarray(a, float) for a in (stack, again))
    if form == "weights":
        x, y, floor = fourier.dft(x), fourier.dft(y), WEIGHT_FLOOR
    largest_m1 = np.maximum(np.abs(x).max((0, 2)), SMALLEST)[:, None]
    size = lambda z: np.concatenate([np.abs(z[..., :1]), np.hypot(z[..., 1::2], z[..., 2::2])], -1)  # noqa: E731
    return float((size(y - x) / np.hypot(size(x), floor * largest_m1)).max())


# -- integers on a grid, each frame as others foretell it


def _order(S: int) -> list[tuple[int, list[int]]]:
    """(frame, frames that foretell it) in the order of the code."""
    order, spans = [S - 1, 0][:S], [(0, S - 1)]
    for a, b in spans:
        if b - a > 1:
            order.append((a + b) // 2)
            spans += [(a, (a + b) // 2), ((a + b) // 2, b)]
    return [(f, sorted(order[:n], key=lambda g: (abs(g - f), g))[:NEAR]) for n, f in enumerate(order)]


def _film(y_SN: np.ndarray, tolerance) -> bytes:
    y_SN = np.asarray(y_SN, np.float32)
    S, N = y_SN.shape
    step_S = (2 * np.broadcast_to(tolerance, S)).astype(np.float32) * np.float32(1 - 1e-4)
    weight, q, known = np.zeros((S, NEAR), np.float16), np.zeros((S, N), np.int32), np.zeros((S, N), np.float32)
    for row, (f, near) in enumerate(_order(S)):
        if near:
            A = known[near].astype(np.float64)
            gram = A @ A.T
            ridge = (1e-6 * np.trace(gram) / len(near) + 1e-30) * np.eye(len(near))
            weight[row, : len(near)] = np.linalg.solve(gram + ridge, A @ y_SN[f]).clip(-8, 8)
        guess = _guess(weight[row], near, known)
        q[row] = np.rint((y_SN[f] - guess) / step_S[f])
        known[f] = guess + q[row] * step_S[f]
    if np.abs(q).max(initial=0) >= 1 << 15:
        raise ValueError("the tolerance is too small for these numbers")
    folded = ((q << 1) ^ (q >> 31)).astype("<u2")  # 0, -1, 1, -2, ... as 0, 1, 2, 3, ...
    width = 1 if folded.max(initial=0) < 256 else 2
    return bytes([width]) + deflated(step_S.tobytes() + weight.tobytes() + _bytewise(folded, 2)[:width].tobytes())


def _developed(blob: bytes, S: int, N: int) -> np.ndarray:
    """float32 [S, N]; the inverse of `_film`."""
    width = blob[0] if blob else 0
    if width not in (1, 2):
        raise ValueError("no coded array")
    head = (4 + 2 * NEAR) * S
    raw = inflated(blob[1:], head + S * N * width)
    step_S, weight = np.frombuffer(raw, "<f4", S), np.frombuffer(raw, "<f2", S * NEAR, 4 * S).reshape(S, NEAR)
    plane = np.frombuffer(raw, np.uint8, offset=head).reshape(width, S, N)
    folded = plane[0].astype(np.uint16) | (plane[1].astype(np.uint16) << 8 if width == 2 else 0)
    q = (folded >> 1).astype(np.int16) ^ -(folded & 1).astype(np.int16)
    known = np.zeros((S, N), np.float32)
    for row, (f, near) in enumerate(_order(S)):
        known[f] = _guess(weight[row], near, known) + q[row] * step_S[f]
    return known


def _guess(weight, near, known):
    guess = np.zeros(known.shape[1], np.float32)
    for w, g in zip(weight.astype(np.float32), near, strict=False):
        guess += w * known[g]
    return guess


# -- exact arrays, and bytes


def _bytewise(array: np.ndarray, size: int) -> np.ndarray:
    """All lowest bytes, then all next ones, ...: [size, n]."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(-1, size).T


def _planes(stack: np.ndarray) -> bytes:
    """What changes from frame to frame, bit by bit for flags and else byte by byte."""
    flat = np.ascontiguousarray(stack).reshape(len(stack), -1)
    if flat.dtype == bool:
        flat = np.packbits(flat, axis=1)
        return (flat ^ np.vstack([np.zeros_like(flat[:1]), flat[:-1]])).tobytes()
    size = flat.dtype.itemsize
    flat = flat.view(f"<u{size}")
    return _bytewise(np.diff(flat, axis=0, prepend=np.zeros_like(flat[:1])), size).tobytes()


def _whole(blob: bytes, kind: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `_planes`."""
    S, count = shape[0], int(np.prod(shape, dtype=np.int64))
    N = count // max(1, S)
    if kind.kind == "b":
        change = np.frombuffer(inflated(blob, S * -(-N // 8)), np.uint8).reshape(S, -1)
        bits = np.bitwise_xor.accumulate(change, axis=0)
        return np.unpackbits(bits, axis=1, count=N).astype(bool).reshape(shape)
    size = kind.itemsize
    plane = np.frombuffer(inflated(blob, count * size), np.uint8).reshape(size, count)
    change = np.ascontiguousarray(plane.T).view(f"<u{size}").reshape(S, N)
    return np.cumsum(change, axis=0, dtype=change.dtype).view(kind).reshape(shape)


def deflated(raw: bytes) -> bytes:
    return lzma.compress(raw, lzma.FORMAT_RAW, filters=FILTERS)


def inflated(blob: bytes, size: int | None = None, most: int = MOST) -> bytes:
    """Exactly `size` bytes, or at most `most`; else ValueError."""
    limit = most if size is None else size
    if not 0 <= limit <= MOST:
        raise ValueError("a coded array is too large")
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=FILTERS)
    try:
        raw = decoder.decompress(blob, max_length=limit + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"a coded array is damaged ({error})") from None
    if not decoder.eof or decoder.unused_data or len(raw) > limit or (size is not None and len(raw) != size):
        raise ValueError("a coded array is not of its size")
    return raw
