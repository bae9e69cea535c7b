"""The two layers of a network, read from the bytes of a checkpoint that somebody else wrote.

Two layouts are understood, as safetensors or as a .pth of torch:

    theta [M, P], xi [M, P]                                          as named in this program
    mlp.W_in [M, D], mlp.W_out [P, M], perhaps embed.W_E [D, P]      as published with arXiv:2602.16849

The published first layer is theta = W_in W_E, with D = P where there is no embedding, and xi = W_out^T.  Some write
these matrices transposed; their shapes say so, and where they do not, somebody has to.

What a file declares is bounded before it is allocated, and nothing in it is ever called but what makes a tensor.
"""

import io
import json
import pickletools
import re
import zipfile
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np

from ..runs import EPOCHS_MAX, P_MAX, P_MIN, WIDTH_MAX, Run, check_p

FILE_BYTES = 200_000_000
KEYS, MEMBERS, PICKLE_BYTES, HEADER_BYTES = 1000, 20_000, 4_000_000, 1_000_000
LARGEST = 65_504  # the largest float16, as which a frame keeps a weight
SUFFIXES = (".safetensors", ".pth", ".pt")
DTYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "BF16": np.uint16}
OURS, PUBLISHED, EMBEDDING = ("theta", "xi"), ("mlp.W_in", "mlp.W_out"), "embed.W_E"
# What torch writes into a .pth, and what its pickle needs to call to become tensors again.
MEMBER = re.compile(
    r"[^/]{1,200}/(data\.pkl|byteorder|version|\.format_version|\.storage_alignment|"
    r"\.data/serialization_id|data/\d{1,7})"
)
CALLS = re.compile(
    r"torch\._utils _rebuild_(tensor_v2|parameter)|torch [A-Za-z0-9]{1,12}Storage|collections OrderedDict|"
    r"torch (Size|device)|torch\.nn\.parameter Parameter"
)
Orientation = Literal["by shape", "published", "transposed"]


def shown(name, most: int = 80) -> str:
    """A foreign name or an error about it, cut, and without what a terminal or a page could take for an order."""
    return re.sub(r"[^\w .,:+@-]", "?", str(name))[:most]


def read(
    name: str, data: bytes, p: int | None = None, orientation: Orientation = "by shape"
) -> tuple[np.ndarray, np.ndarray, int, int | None]:
    """(theta_MP, xi_MP, width of the embedding or 0, step noted in the file or None) of a file's bytes, float32.

    Raises ValueError with one sentence that names the file.
    """
    name = shown(name)
    if len(data) > FILE_BYTES:
        raise ValueError(f"{name} is larger than {FILE_BYTES:,} bytes")
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{name} is no checkpoint: its name must end with {', '.join(SUFFIXES)}")
    tensors, step = (_safetensors if suffix == ".safetensors" else _pth)(name, data)
    if tensors.keys() >= set(OURS):
        theta, xi, embedding = tensors["theta"], tensors["xi"], 0
        if theta.shape != xi.shape:
            raise ValueError(f"{name}: theta {theta.shape} and xi {xi.shape} must both be [neurons, p]")
    elif tensors.keys() >= set(PUBLISHED):
        theta, xi, embedding = _published(name, [tensors[n] for n in (*PUBLISHED, EMBEDDING) if n in tensors],
                                          p, orientation)  # fmt: skip
    else:
        raise ValueError(f"{name} holds neither {' and '.join(OURS)} nor {' and '.join(PUBLISHED)}")
    if p not in (None, check_p(theta.shape[1])):
        raise ValueError(f"{name} is a network of p = {theta.shape[1]}, not {p}")
    Run(p=theta.shape[1], d_mlp=theta.shape[0])
    for layer in (theta, xi):
        if not np.abs(layer).max() <= LARGEST:  # nor NaN
            raise ValueError(f"{name} holds weights that are no number, or beyond {LARGEST:,}")
    return np.ascontiguousarray(theta), np.ascontiguousarray(xi), embedding, step


def _published(name: str, tensors: list[np.ndarray], p: int | None, orientation: Orientation):
    """(theta_MP, xi_MP, width of the embedding or 0) of W_in, W_out and perhaps W_E."""
    turns = {"published": (False,), "transposed": (True,), "by shape": (False, True)}[orientation]
    fits = {}
    # A symmetric matrix reads the same both ways.
    for turned in product(*((False,) if _symmetric(t) else turns for t in tensors)):
        W_in, W_out, *W_E = (t.T if turn else t for t, turn in zip(tensors, turned, strict=True))
        (M, D), P = W_in.shape, W_out.shape[0]
        if W_out.shape[1] == M and (W_E[0].shape[0] if W_E else P) == D and (not W_E or W_E[0].shape[1] == P):
            fits.setdefault((P, M, D), []).append((W_in, W_out, *W_E))
    told = ", ".join(f"{n} {t.shape}" for n, t in zip((*PUBLISHED, EMBEDDING), tensors, strict=False))
    if not fits:
        raise ValueError(f"{name}: {told} do not fit together")
    odd = {shape: found for shape, found in fits.items() if shape[0] in range(P_MIN, P_MAX + 1, 2)}
    if not odd:
        check_p(next(iter(fits))[0])
    possible = {shape: found for shape, found in odd.items() if p in (None, shape[0])}
    if not possible:
        raise ValueError(f"{name} is a network of p = {' or '.join(str(P) for P, *_ in odd)}, not {p}")
    (shape, (factors, *more)), *others = possible.items()
    if more or others:
        remedy = "name p" if others and not more else "say whether they are as published or transposed"
        raise ValueError(f"{name}: {told} can be read in more than one way: {remedy}")
    W_in, W_out, *W_E = factors
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused afterwards
        return W_in @ W_E[0] if W_E else W_in, W_out.T, shape[2] if W_E else 0


def _symmetric(matrix: np.ndarray) -> bool:
    return matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, matrix.T)


def _matrix(name: str, key: str, shape: tuple[int, ...]):
    """Refuse what is no matrix of a possible size, before it is allocated."""
    if len(shape) != 2 or not all(1 <= n <= WIDTH_MAX for n in shape):
        raise ValueError(f"{name}: {key} must be a matrix of 1 to {WIDTH_MAX:,} rows and columns, got {list(shape)}")


def _safetensors(name: str, data: bytes) -> tuple[dict[str, np.ndarray], int | None]:
    """The matrices of a safetensors file that are of use here, and the step in its metadata."""
    import safetensors

    length = int.from_bytes(data[:8], "little")
    if len(data) < 10 or not 2 <= length <= min(HEADER_BYTES, len(data) - 8):
        raise ValueError(f"{name} is no safetensors file, or is cut off")
    try:
        header = json.loads(data[8 : 8 + length])
        kept = dict(safetensors.deserialize(data))  # checks every size against the file
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} cannot be read: {shown(error, 160)}") from None
    if len(kept) > KEYS:
        raise ValueError(f"{name} holds more than {KEYS:,} tensors")
    tensors = {}
    for key in {*OURS, *PUBLISHED, EMBEDDING} & kept.keys():
        shape, kind = tuple(kept[key]["shape"]), kept[key]["dtype"]
        _matrix(name, key, shape)
        if kind not in DTYPES:
            raise ValueError(f"{name}: {key} must be of float16, bfloat16, float32 or float64, got {kind}")
        values = np.frombuffer(kept[key]["data"], DTYPES[kind]).reshape(shape)
        if kind == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        tensors[key] = _float32(values)
    noted = header.get("__metadata__") or {}
    steps = [noted[key] for key in ("epoch", "step") if re.fullmatch(r"\d{1,7}", str(noted.get(key)), re.ASCII)]
    return tensors, int(steps[0]) if steps else None


def _pth(name: str, data: bytes) -> tuple[dict[str, np.ndarray], int | None]:
    """The matrices of a .pth that are of use here, and the step that it notes."""
    import torch

    _inspect(name, data)
    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # hostile bytes end in any kind of it
        raise ValueError(f"{name} cannot be read: {shown(str(error).partition('. ')[0], 160)}") from None
    model = loaded.get("model", loaded) if isinstance(loaded, dict) else None
    if not isinstance(model, dict) or len(model) > KEYS:
        raise ValueError(f"{name} must hold a dictionary of at most {KEYS:,} tensors, or one under the name model")
    tensors = {}
    for key in (*OURS, *PUBLISHED, EMBEDDING):
        if key not in model:
            continue
        value = model[key]
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized:
            raise ValueError(f"{name}: {key} must be a plain tensor")
        _matrix(name, key, tuple(value.shape))
        if value.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            raise ValueError(f"{name}: {key} must be of float16, bfloat16, float32 or float64, got {value.dtype}")
        if value.numel() * value.element_size() > len(data):
            raise ValueError(f"{name}: {key} declares {value.numel():,} numbers, more than the file holds")
        tensors[key] = _float32(value.detach().double().numpy())
    steps = [loaded[key] for key in ("epoch", "step") if type(loaded.get(key)) is int]
    return tensors, steps[0] if steps and 0 <= steps[0] <= EPOCHS_MAX else None


def _inspect(name: str, data: bytes):
    """Refuse a .pth that is no plain archive of torch, declares more than it holds, or wants to call anything."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            pickles = [member for member in members if member.filename.endswith("/data.pkl")]
            if len(members) > MEMBERS or sum(member.file_size for member in members) > len(data):
                raise ValueError("it declares more than it holds")
            if any(m.compress_type != zipfile.ZIP_STORED or not MEMBER.fullmatch(m.filename) for m in members):
                raise ValueError("it holds packed or foreign files")
            if len(pickles) != 1 or pickles[0].file_size > PICKLE_BYTES:
                raise ValueError(f"it needs one data.pkl of at most {PICKLE_BYTES:,} bytes")
            program = archive.read(pickles[0])
        for opcode, argument, _ in pickletools.genops(program):
            if opcode.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"):
                raise ValueError("its pickle does more than build tensors")
            if opcode.name == "GLOBAL" and not CALLS.fullmatch(argument):
                raise ValueError(f"loading it would call {shown(argument)}: save its state_dict alone")
    except Exception as error:  # hostile bytes end in any kind of it
        raise ValueError(f"{name} is refused: {shown(error, 160)}") from None


def _float32(values: np.ndarray) -> np.ndarray:
    # A float64 beyond float32 is infinite, and refused as such.
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)
