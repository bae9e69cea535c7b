"""What a checkpoint file that somebody else wrote holds, as plain arrays, numbers and text by name.

Understood are safetensors, the archives of torch (.pth, .pt, .ckpt, .bin) and of numpy (.npz).  What a file declares
is bounded before it is allocated, and nothing in it is ever called but what makes a tensor.
"""

import io
import json
import math
import pickletools
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.lib.format as npy

FILE_BYTES = 200_000_000
TENSORS, MEMBERS, PICKLE_BYTES, HEADER_BYTES = 20_000, 20_000, 8_000_000, 1_000_000
DEPTH, LEAVES = 12, 1_000_000  # dictionaries and lists within each other, and all that is in them
TORCH = (".pth", ".pt", ".ckpt", ".bin")
SUFFIXES = (".safetensors", *TORCH, ".npz")
DTYPES = {
    "F16": np.float16, "F32": np.float32, "F64": np.float64, "BF16": np.uint16, "BOOL": np.bool_, "U8": np.uint8,
    "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
}  # fmt: skip
# What torch writes into a .pth, and what its pickle needs to call to become tensors again.
MEMBER = re.compile(
    r"[^/]{1,200}/(data\.pkl|byteorder|version|\.format_version|\.storage_alignment|"
    r"\.data/serialization_id|data/\d{1,7})"
)
CALLS = re.compile(
    r"torch\._utils _rebuild_(tensor_v2|parameter)|torch [A-Za-z0-9]{1,12}Storage|collections OrderedDict|"
    r"torch (Size|device|b?float\d\d|u?int\d\d?|bool)|torch\.nn\.parameter Parameter"
)
LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # the number that begins a file of torch before 1.6


class Odd(NamedTuple):
    """Stands where a file holds something that is no plain array, and says what."""

    why: str


class Content(NamedTuple):
    """What a file holds: `tree` of dictionaries and lists with arrays, numbers, text and Odd as leaves.  `ordered`
    says whether its names stand in the order in which the network was defined."""

    tree: dict | list
    ordered: bool


def shown(name, most: int = 80) -> str:
    """A foreign name or an error about it, cut, and without what a terminal or a page could take for an order."""
    return re.sub(r"(?<!\w)/|/(?!\w)|[^\w .,:+@=/()-]", "?", str(name))[:most]


def load(name: str, data: bytes) -> Content:
    """What the bytes of a file hold.  Raises ValueError with one sentence that names the file."""
    name, suffix = shown(name), Path(name).suffix.lower()
    if len(data) > FILE_BYTES:
        raise ValueError(f"{name} is larger than {FILE_BYTES:,} bytes")
    if suffix not in SUFFIXES:
        raise ValueError(f"{name} is no checkpoint: its name must end with {', '.join(SUFFIXES)}")
    if suffix == ".safetensors":
        return Content(_safetensors(name, data), ordered=False)
    return Content(_npz(name, data) if suffix == ".npz" else _torch(name, data), ordered=True)


def float32(values: np.ndarray) -> np.ndarray:
    # A float64 beyond float32 is infinite, and refused as such.
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)


def metadata(data: bytes) -> dict:
    """What stands beside the tensors of a safetensors file, from its first bytes.  Raises ValueError with the rest of a
    sentence that begins with the file's name."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 10 or not 2 <= length <= min(HEADER_BYTES, len(data) - 8):
        raise ValueError("is no safetensors file, or is cut off")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        raise ValueError("is no safetensors file: its header is no JSON") from None
    beside = header.get("__metadata__") if isinstance(header, dict) else None
    return beside if isinstance(beside, dict) else {}


def _safetensors(name: str, data: bytes) -> dict:
    """The tensors, and the metadata beside them."""
    import safetensors

    try:
        tree: dict[str, object] = {str(key): str(value) for key, value in metadata(data).items()}
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
    try:
        kept = dict(safetensors.deserialize(data))  # checks every size against the file
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} cannot be read: {shown(error, 160)}") from None
    if len(kept) > TENSORS:
        raise ValueError(f"{name} holds more than {TENSORS:,} tensors")
    for key, tensor in kept.items():
        if tensor["dtype"] not in DTYPES:
            tree[key] = Odd(f"of {tensor['dtype']}")
            continue
        values = np.frombuffer(tensor["data"], DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
        tree[key] = (values.astype(np.uint32) << 16).view(np.float32) if tensor["dtype"] == "BF16" else values
    return tree


def _npz(name: str, data: bytes) -> dict:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > TENSORS or sum(member.file_size for member in members) > FILE_BYTES:
                raise ValueError(f"it would unpack to more than {FILE_BYTES:,} bytes")
            for member in members:
                with archive.open(member) as opened:
                    head = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
                    shape, _, dtype = head[npy.read_magic(opened)](opened)
                if math.prod(shape) * dtype.itemsize > member.file_size:
                    raise ValueError(f"{shown(member.filename)} declares more numbers than it holds")
        with np.load(io.BytesIO(data), allow_pickle=False) as held:
            return {key: _plain(held[key]) for key in held.files}
    except Exception as error:  # hostile bytes end in any kind of it
        raise ValueError(f"{name} cannot be read: {shown(error, 160).rstrip('.')}") from None


def _plain(values: np.ndarray):
    if values.dtype.kind == "U" and not values.ndim:
        return values.item()
    return values if values.dtype.kind in "fiub" else Odd(f"of {values.dtype}")


def _torch(name: str, data: bytes):
    """What torch.save wrote, its tensors as arrays."""
    import torch

    _inspect(name, data)
    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # hostile bytes end in any kind of it
        raise ValueError(f"{name} cannot be read: {shown(str(error).partition('. ')[0], 160)}") from None

    leaves = 0

    def plain(value, depth: int = 0):
        nonlocal leaves
        leaves += 1
        if leaves > LEAVES:
            raise ValueError(f"{name} holds more than {LEAVES:,} numbers and names")
        if depth > DEPTH:
            return Odd("nested too deeply")
        if isinstance(value, dict):
            return {key: plain(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [plain(inner, depth + 1) for inner in value]
        if not isinstance(value, torch.Tensor):
            return value if isinstance(value, str | int | float | None) else Odd(f"a {type(value).__name__}")
        return array(value.detach())

    def array(tensor):
        if tensor.layout != torch.strided or tensor.is_quantized:
            return Odd("no plain tensor")
        if tensor.numel() * tensor.element_size() > len(data):
            return Odd(f"said to be of {tensor.numel():,} numbers, more than the file holds")
        try:
            return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor.resolve_neg()).numpy()
        except (TypeError, RuntimeError):  # a kind of number that numpy does not know
            return Odd(f"of {tensor.dtype}")

    return plain(loaded)


def _inspect(name: str, data: bytes):
    """Refuse a .pth that is no plain archive of torch, declares more than it holds, or wants to call anything."""
    if LEGACY in data[:16]:
        raise ValueError(
            f"{name} is refused: it is in the format of torch before 1.6; save it again, with "
            f'torch.save(torch.load("{name}", weights_only=True), "{name}")'
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            pickles = [member for member in members if member.filename.endswith("/data.pkl")]
            if len(members) > MEMBERS or sum(member.file_size for member in members) > len(data):
                raise ValueError("it declares more than it holds")
            if any("/code/" in member.filename for member in members):
                raise ValueError("it is a TorchScript program: save its state_dict() alone")
            if any(m.compress_type != zipfile.ZIP_STORED or not MEMBER.fullmatch(m.filename) for m in members):
                raise ValueError("it holds packed or foreign files")
            if len(pickles) != 1 or pickles[0].file_size > PICKLE_BYTES:
                raise ValueError(f"it needs one data.pkl of at most {PICKLE_BYTES:,} bytes")
            program = archive.read(pickles[0])
        for opcode, argument, _ in pickletools.genops(program):
            if opcode.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"):
                raise ValueError("its pickle does more than build tensors in protocol 2: save its state_dict() alone")
            if opcode.name == "GLOBAL" and not CALLS.fullmatch(argument):
                raise ValueError(f"loading it would call {shown(argument)}: save its state_dict() alone")
    except Exception as error:  # hostile bytes end in any kind of it
        raise ValueError(f"{name} is refused: {shown(error, 160)}") from None
