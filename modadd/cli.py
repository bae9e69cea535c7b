"""What the scripts share: flags that describe a run, progress on stderr, one JSON object on stdout."""

import json
import sys
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tyro.conf import arg

from .runs import P_MAX, P_MIN, Precision, Run, Split, check_p, preset

stderr = Console(stderr=True)
PUBLISHED = {"id": "identity"}  # values that differ by more than their capitals


@dataclass(kw_only=True)
class RunFlags:
    """A preset at a modulus, and any setting of it changed; the published names and values are understood too."""

    p: int = 23
    """Modulus: odd, 3 to 199."""
    preset: str = "standard"
    """standard, grokking, quad_random, quad_single_freq, relu_single_freq; transformer, addition, addpow, add3."""
    seed: int = 42
    precision: Precision = "fp32"
    epochs: Annotated[int | None, arg(aliases=["--num-epochs"])] = None
    """Training steps; the preset's own number by default."""
    activation: Annotated[str | None, arg(aliases=["--act-type"])] = None
    """relu, quad, gelu or identity; also ReLU, Quad, GeLU, Id."""
    init: Annotated[str | None, arg(aliases=["--init-type"])] = None
    """random or single-freq."""
    init_scale: float | None = None
    optimizer: str | None = None
    """adamw or sgd; also AdamW, SGD."""
    lr: float | None = None
    weight_decay: float | None = None
    frac_train: float | None = None
    split: Split | None = None
    d_mlp: int | None = None
    d_model: int | None = None
    """Width of a trainable embedding, or of a transformer."""
    layers: int | None = None
    heads: int | None = None
    batch: int | None = None
    """Examples a step of a transformer with layer norms."""
    plateau: bool | None = None
    """Stop when losses and accuracies stand still."""

    def run(self) -> Run:
        """The run that these flags describe; ValueError with one sentence if it is not one."""
        settings = {f.name: getattr(self, f.name) for f in fields(Run) if hasattr(self, f.name)}
        for name in ("activation", "init", "optimizer"):
            if settings[name] is not None:
                settings[name] = PUBLISHED.get(settings[name].lower(), settings[name].lower())
        return preset(self.preset, settings.pop("p"), **settings)


def flags(kind: type, description: str):
    """The command line as the dataclass `kind`."""
    return tyro.cli(kind, description=description, config=(tyro.conf.FlagCreatePairsOff,))


def moduli(named: list[int], everything: bool) -> list[int]:
    """The moduli that --p or --all name; ValueError with one sentence if there are none, or a bad one."""
    if not named and not everything:
        raise ValueError("no modulus given: name some with --p, or use --all")
    return list(range(P_MIN, P_MAX + 1, 2)) if everything else [check_p(p) for p in named]


def first(values: Iterable):
    """The first that is not None, or None."""
    return next((value for value in values if value is not None), None)


def count(n: int, what: str) -> str:
    """A number of things, as 1 run and 2 runs."""
    return f"{n:,} {what}{'s' * (n != 1)}"


def duration(seconds: float) -> str:
    """About how long, in words."""
    if seconds < 60:
        return "under a minute"
    return f"about {seconds / 60:,.0f} minutes" if seconds < 7200 else f"about {seconds / 3600:,.1f} hours"


def say(lines: Iterable[str]):
    """Plain lines on stderr."""
    for line in lines:
        stderr.print(line, highlight=False, soft_wrap=True, markup=False)


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


@contextmanager
def many(runs: list[Run]):
    """A progress bar for many runs; gives the `look(run_id, step)` that `pool.train_all` asks for."""
    length, steps = {run.id: run.epochs for run in runs}, {}
    with progress() as bar:
        task = bar.add_task("training", total=sum(length.values()), rate="")

        def look(run_id: str, step: int):
            steps[run_id] = step
            done = sum(steps[i] == length[i] for i in steps)
            bar.update(task, completed=sum(steps.values()), rate=f"{done} of {len(runs)} runs")

        yield look


def print_json(value):
    """One JSON object on stdout."""
    print(json.dumps(value, allow_nan=False))
