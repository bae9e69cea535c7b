"""Where a network is trained, and with what precision its products are made."""

import contextlib
import re

import torch

from ..runs import Run


def pick_device(name: str = "auto") -> torch.device:
    """The device called `auto`, `cpu`, `cuda` or `cuda:N`; ValueError if this machine lacks it."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name):
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    if name != "cpu" and int(name.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r} is not on this machine: use cpu or auto")
    return torch.device("cuda:0" if name == "cuda" else name)


@contextlib.contextmanager
def precision(run: Run):
    """Products of float32 on CUDA as this run wants them: rounded to TF32 on the way, or not."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = run.precision == "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
