"""What the scripts share: flags that describe a run, progress on stderr, one JSON object on stdout."""

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass, fields

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .runs import Activation, Init, Optimizer, Precision, Run, Split, preset

stderr = Console(stderr=True)


@dataclass(kw_only=True)
class RunFlags:
    """A preset at a modulus, and any setting of it changed."""

    p: int = 23
    """Modulus: odd, 3 to 199."""
    preset: str = "standard"
    """standard, grokking, quad_random, quad_single_freq or relu_single_freq."""
    seed: int = 42
    precision: Precision = "fp32"
    epochs: int | None = None
    """Training steps; the preset's own number by default."""
    activation: Activation | None = None
    init: Init | None = None
    init_scale: float | None = None
    optimizer: Optimizer | None = None
    lr: float | None = None
    weight_decay: float | None = None
    frac_train: float | None = None
    split: Split | None = None
    d_mlp: int | None = None
    plateau: bool | None = None
    """Stop when losses and accuracies stand still."""

    def run(self) -> Run:
        """The run that these flags describe; ValueError with one sentence if it is not one."""
        settings = {f.name: getattr(self, f.name) for f in fields(Run)}
        return preset(self.preset, settings.pop("p"), **settings)


@contextmanager
def one_sentence():
    """Turn an error that a user can mend into one sentence on stderr and exit status 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        stderr.print(f"[bold red]error:[/] {str(error).rstrip('.')}.", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        stderr.print("stopped; the same command goes on from the last checkpoint")
        sys.exit(130)


def progress() -> Progress:
    """A progress bar on stderr with counts, speed and time left."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=stderr,
    )  # fmt: skip


def print_json(value):
    """One JSON object on stdout."""
    print(json.dumps(value, allow_nan=False))
