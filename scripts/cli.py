"""What the scripts share: flags that describe a run, progress on stderr, one JSON object on stdout."""

import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tyro.conf import arg

from modadd.records.store import Store
from modadd.runs import P_MAX, P_MIN, Precision, Run, Split, check_p, preset

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
    """Of the initial weights and of the split."""
    precision: Precision = "fp32"
    """Of the matrix products; tf32 is for CUDA devices."""
    epochs: Annotated[int | None, arg(aliases=["--num-epochs"])] = None
    """Training steps; the preset's own number by default."""
    activation: Annotated[str | None, arg(aliases=["--act-type"])] = None
    """relu, quad, gelu or identity; also ReLU, Quad, GeLU, Id."""
    init: Annotated[str | None, arg(aliases=["--init-type"])] = None
    """random, single-freq or equal."""
    init_scale: float | None = None
    """Size of the initial weights."""
    optimizer: str | None = None
    """adamw or sgd; also AdamW, SGD."""
    lr: float | None = None
    """Learning rate."""
    weight_decay: float | None = None
    """Decoupled weight decay of AdamW."""
    frac_train: float | None = None
    """Share of the pairs that is trained on."""
    split: Split | None = None
    """How the pairs to train on are drawn."""
    d_mlp: int | None = None
    """Hidden neurons; by default what the modulus asks for."""
    d_model: int | None = None
    """Width of a trainable embedding, or of a transformer."""
    layers: int | None = None
    """Layers of a transformer with layer norms."""
    heads: int | None = None
    """Heads of attention in each of them."""
    batch: int | None = None
    """Examples a step of a transformer with layer norms."""
    plateau: tyro.conf.FlagConversionOff[bool | None] = None
    """Stop when losses and accuracies stand still."""

    def run(self) -> Run:
        """The run that these flags describe; ValueError with one sentence if it is not one."""
        settings = {f.name: getattr(self, f.name) for f in fields(Run) if hasattr(self, f.name)}
        for name in ("activation", "init", "optimizer"):
            if settings[name] is not None:
                settings[name] = PUBLISHED.get(settings[name].lower(), settings[name].lower())
        return preset(self.preset, settings.pop("p"), **settings)


def flags(kind: type, description: str | None = None, line: list[str] | None = None):
    """The command line, or this one, as the dataclass `kind`."""
    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
    return tyro.cli(kind, description=description, args=line, config=config)


def moduli(named: list[int], everything: bool) -> list[int]:
    """The moduli that --p or --all name; ValueError with one sentence if there are none, or a bad one."""
    if not named and not everything:
        raise ValueError("no modulus given: name some with --p, or use --all")
    return list(range(P_MIN, P_MAX + 1, 2)) if everything else [check_p(p) for p in named]


def cache(folder: Path) -> Store:
    """The cache that a script is going to write; ValueError where what it trains would be lost with it."""
    shelf = Store(folder)
    if shelf.fault:
        raise ValueError(f"{shelf.fault}; name another folder with --cache")
    return shelf


def first(values: Iterable):
    """The first that is not None, or None."""
    return next((value for value in values if value is not None), None)


def count(n: int, what: str) -> str:
    """A number of things, as 1 run and 2 runs."""
    return f"{n:,} {what}{'s' * (n != 1)}"


def duration(seconds: float) -> str:
    """About how long, in words."""
    if seconds < 100:
        return f"about {count(max(1, round(seconds)), 'second')}"
    return f"about {seconds / 60:,.0f} minutes" if seconds < 7200 else f"about {seconds / 3600:,.1f} hours"


def printable(text: object) -> str:
    """Text that may come from a foreign file, without what a terminal would obey, such as escape sequences."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in str(text))


def say(lines: Iterable[str]):
    """Plain lines on stderr."""
    for line in lines:
        stderr.print(printable(line), highlight=False, soft_wrap=True, markup=False)


@contextmanager
def one_sentence():
    """Turn an error that a user can mend into one sentence on stderr and exit status 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        said = escape(printable(error).rstrip("."))  # a remedy may hold brackets
        stderr.print(f"[bold red]error:[/] {said}.", highlight=False, soft_wrap=True)
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


def facts(values: Mapping[str, object]):
    """A name and its value a line on stderr; what is absent is a dash."""
    for name, value in values.items():
        shown = "-" if value is None else f"{value:,.5g}" if isinstance(value, float) else value
        stderr.print(f"{name:>20}  {printable(shown)}", highlight=False, markup=False)


def print_json(value):
    """One JSON object on stdout."""
    print(json.dumps(value, allow_nan=False))
