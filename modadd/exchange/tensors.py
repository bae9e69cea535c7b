"""A record as a safetensors file, and the look that is taken at one from elsewhere before it is believed to be one.

The tensors are those of `Record.to_arrays`: `steps` and `history/NAME`, `frame_steps` and `frames/NAME` (stacked;
`held/NAME` says in which frames where not in all), `state/NAME`.  The card (run, provenance, summary) is the one
metadatum, JSON.  A file of strangers may say anything, so every array is held against what its run says of it.
"""

import math
from collections.abc import Mapping

import numpy as np

from ..data import METRICS
from ..frames import schema
from ..records.record import Record, read_card
from ..runs import Run
from .checkpoint import metadata, shown

CARD = "modadd"  # the name of the metadatum
BYTES = 1 << 30  # of a file; frames keep 48 MB of weights, and the widest network's state takes 200 MB
TEXT, ENTRIES = 200, 40  # characters of an entry of the provenance, and entries
DTYPES = {"BOOL": "?", "U8": "u1", "I16": "i2", "I32": "i4", "I64": "i8", "F16": "f2", "F32": "f4"}


def to_safetensors(record: Record, coded: bool = False) -> bytes:
    """All of a record as the bytes of a safetensors file, which any language reads; the inverse of `from_safetensors`.

    Frames are as on disk: phases phi and psi as 16-bit fractions of pi / 32767, other arrays of reals as float16.
    With `coded` a compact record stays the few bytes that it is, `film` and `curves`, which `records.coding` reads.
    """
    import safetensors.numpy

    arrays = record.to_arrays() if coded else record.plain_arrays()
    card = bytes(arrays.pop("card")).decode()
    return safetensors.numpy.save({name: np.asarray(a, order="C") for name, a in arrays.items()}, {CARD: card})


def is_record(content: bytes) -> bool:
    """Are these the bytes of a safetensors file with a record's card, as far as its first bytes tell?"""
    try:
        return CARD in metadata(content)
    except ValueError:
        return False


def from_safetensors(content: bytes) -> Record:
    """The record in a safetensors file.  Raises ValueError with one sentence if it is none, or holds an array that
    its run cannot have."""
    import safetensors

    if len(content) > BYTES:
        raise ValueError(f"it is larger than {BYTES:,} bytes")
    try:
        card = metadata(content).get(CARD)
        tensors = safetensors.deserialize(content)  # checks every size against the file
    except ValueError as error:
        raise ValueError(f"it {error}") from None
    except safetensors.SafetensorError as error:
        raise ValueError(f"it cannot be read: {shown(error, 160)}") from None
    if card is None:
        raise ValueError("it holds tensors, but no record of this program")
    arrays = {}
    for name, tensor in tensors:
        if tensor["dtype"] not in DTYPES:
            raise ValueError(f"its array {shown(name)!r} is of {tensor['dtype']}, which a record does not use")
        arrays[name] = np.frombuffer(tensor["data"], DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
    arrays["card"] = np.frombuffer(str(card).encode(errors="replace"), np.uint8)
    check(arrays)
    return Record.from_arrays(arrays)


def check(arrays: Mapping[str, np.ndarray]):
    """ValueError with one sentence where these are not the arrays of a record of the run that their card names."""
    card = read_card(arrays["card"])
    run, seen = card["run"], card["provenance"]
    _check_provenance(seen)
    if "film" in arrays:  # a compact one: looked at as what it is decoded to
        if foreign := arrays.keys() - {"card", "film", "curves"}:
            raise ValueError(f"a compact record has no array called {shown(min(foreign))!r}")
        arrays = Record.from_arrays(arrays).plain_arrays()
    if seen["steps"] > run.epochs:
        raise ValueError(f"it is a run of {run.epochs:,} steps and says that it made {seen['steps']:,}")
    for name, most in (("steps", run.epochs + 1), ("frame_steps", run.epochs + 1)):
        at = arrays.get(name)
        if at is None or at.ndim != 1 or at.dtype.kind != "i" or not 1 <= len(at) <= most:
            raise ValueError(f"it needs {name}, whole numbers, of at least one moment")
        if (np.diff(at) <= 0).any() or at[0] < 0 or at[-1] > seen["steps"]:
            raise ValueError(f"its {name} must rise from 0 to at most {seen['steps']:,}, the steps that were made")
    _check_history(arrays)
    _check_frames(arrays, run)
    _check_state(arrays, run, seen["steps"])
    parts = ("history/", "frames/", "held/", "state/")
    if unknown := [n for n in arrays if n not in ("card", "steps", "frame_steps") and not n.startswith(parts)]:
        raise ValueError(f"a record has no array called {shown(min(unknown))!r}")


def _check_provenance(seen: dict):
    if len(seen) > ENTRIES:
        raise ValueError(f"its provenance has more than {ENTRIES} entries")
    machines = seen.get("machines", [])
    if len(machines) > ENTRIES:
        raise ValueError(f"its provenance names more than {ENTRIES} machines")
    told = [pair for one in machines for pair in list(one.items())[:ENTRIES]]
    for name, value in [*((n, v) for n, v in seen.items() if n != "machines"), *told]:
        plain = value is None or isinstance(value, str | int | float)
        if not plain or len(name) > TEXT or len(str(value)) > TEXT:
            raise ValueError(f"its provenance says of {shown(name)!r} neither a number nor a short word")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"its provenance says {value} of {shown(name)!r}")


def _check_history(arrays: Mapping[str, np.ndarray]):
    found = {name.removeprefix("history/") for name in arrays if name.startswith("history/")}
    if found != set(METRICS):
        raise ValueError(f"its history must hold {len(METRICS)} metrics, not {shown(', '.join(sorted(found)) or '-')}")
    for name in METRICS:
        column = arrays[f"history/{name}"]
        if column.dtype != np.float32 or column.shape != arrays["steps"].shape:
            raise ValueError(f"its {name} must be float32, one number a step of the history")


def _check_frames(arrays: Mapping[str, np.ndarray], run: Run):
    size, fields, count = schema.sizes(run), schema.fields(run), len(arrays["frame_steps"])
    found = {name.removeprefix("frames/") for name in arrays if name.startswith("frames/")}
    if foreign := found - fields.keys():
        raise ValueError(f"a frame of this model has no array called {shown(min(foreign))!r}")
    if missing := [name for name, field in fields.items() if field.held == schema.EVERY and name not in found]:
        raise ValueError(f"its frames lack {missing[0]!r}")
    if foreign := {n.removeprefix("held/") for n in arrays if n.startswith("held/")} - found:
        raise ValueError(f"it says when {shown(min(foreign))!r} was held, and does not hold it")
    for name in found:
        stack, held, field = arrays[f"frames/{name}"], arrays.get(f"held/{name}"), fields[name]
        if held is not None:
            rises = held.ndim == 1 and held.dtype.kind == "i" and len(held) and (np.diff(held) > 0).all()
            if field.held == schema.EVERY:
                raise ValueError(f"{name!r} must be in every frame")
            if not rises or held[0] < 0 or held[-1] >= count:
                raise ValueError(f"it must say in which of its {count:,} frames {name!r} is, in their order")
        there = len(held) if held is not None else count
        stacked = stack.ndim and len(stack) == there and stack.dtype == np.dtype(field.kind)
        if not (stacked and schema.fits(stack.shape[1:], field, size)):
            raise ValueError(f"its {name!r} is {stack.dtype} {list(stack.shape)}, which does not fit p = {run.p}, "
                             f"{run.d_mlp:,} neurons and {there:,} frames")  # fmt: skip
        if field.kind in (schema.BYTE, schema.WHOLE) and field.bounds and stack.size:  # used as places
            low, high = schema.bounds(field, size)
            if stack.min() < low or stack.max() > high:
                raise ValueError(f"its {name!r} must lie between {low} and {high}")
    for one, *others in schema.TOGETHER:
        for other in others:
            if _outline(arrays, one) != _outline(arrays, other):
                raise ValueError(f"its {one!r} and {other!r} are not of the same frames and neurons")


def _outline(arrays: Mapping[str, np.ndarray], name: str) -> tuple | None:
    """Which frames hold an array, and of how many neurons or circles."""
    if f"frames/{name}" not in arrays:
        return None
    return arrays[f"frames/{name}"].shape[:2], arrays.get(f"held/{name}", np.array([])).tolist()


def _check_state(arrays: Mapping[str, np.ndarray], run: Run, steps: int):
    state = {name.removeprefix("state/"): a for name, a in arrays.items() if name.startswith("state/")}
    if not state:
        return
    names = {"w", "step"} | ({"m", "v"} if run.optimizer == "adamw" else set())
    if state.keys() != names:
        raise ValueError(f"to go on, a run of {run.optimizer} needs {', '.join(sorted(names))} and nothing else")
    if state["step"].shape != () or state["step"].dtype.kind != "i" or int(state["step"]) != steps:
        raise ValueError(f"its state is not that of step {steps:,}, where the record ends")
    for name in names - {"step"}:
        if state[name].dtype != np.float32 or state[name].shape != (run.weights,):
            raise ValueError(f"its state {name!r} must be the {run.weights:,} weights of this run in float32")
