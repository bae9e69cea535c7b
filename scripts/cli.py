"""What the scripts share: flags that describe a run, progress on stderr, one JSON object on stdout."""

import json
import math
import os
import signal
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import stopping
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tyro.conf import arg

from modadd.records.store import Store
from modadd.runs import P_MAX, P_MIN, Precision, Run, Split, check_p, preset

stderr = Console(stderr=True, markup=False)
PUBLISHED = {"id": "identity"}  # values that differ by more than their capitals
CLOSED_PIPE = 128 + 13  # SIGPIPE, as shells count it


@dataclass(kw_only=True)
class PublishedFlags:
    """Flags of the published code that say what goes without saying here; any other value is refused."""

    embed_type: str | None = None
    """Published: one_hot; learned is --d-model."""
    fn_name: str | None = None
    """Published: add; other tasks are --preset addpow and add3."""
    batch_style: str | None = None
    """Published: full."""
    freq_num: int | None = None
    """Published: all (p - 1) / 2 frequencies."""
    stopping_thresh: float | None = None
    """Published: below 0, which never stops; --plateau does."""
    d_vocab: int | None = None
    """Published: p, and p + 1 for the transformer."""
    config: str | None = None
    """Published; refused: its settings are flags."""

    def check_published(self, run: Run):
        """ValueError with one sentence for a value that is not understood."""
        K, tokens = run.K, (run.p,) if run.model == "mlp" else (run.p, run.p + 1)
        learned = "a learned embedding needs its width: give --d-model"
        for name, fine, why in (
            ("config", False, "settings are not read from a file: give them as flags, or name one with --preset"),
            ("fn_name", self.fn_name in ("add", "addition"), "the networks learn to add: see --preset addpow and add3"),
            ("embed_type", self.embed_type == "one_hot" or (self.embed_type == "learned" and run.d_model),
             learned if self.embed_type == "learned" else "inputs are one_hot, or learned with --d-model"),
            ("batch_style", self.batch_style == "full", "every step sees all training pairs, which is full"),
            ("freq_num", self.freq_num == K, f"single-freq uses all {K} frequencies of p = {run.p} equally often"),
            ("stopping_thresh", (self.stopping_thresh or 0) < 0, "no loss ends a run: see --plateau and --epochs"),
            ("d_vocab", self.d_vocab in tokens, f"the tokens of p = {run.p} are {' or '.join(map(str, tokens))}"),
        ):  # fmt: skip
            if getattr(self, name) is not None and not fine:
                raise ValueError(f"--{name} {getattr(self, name)} is not understood: {why}")


@dataclass(kw_only=True)
class RunFlags(PublishedFlags):
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
        run = preset(self.preset, settings.pop("p"), **settings)
        self.check_published(run)
        return run


def flags(kind: type, description: str | None = None, line: Sequence[str] | None = None):
    """The command line, or this one, as the dataclass `kind`."""
    with suppress(AttributeError):  # a locale without our letters shows what it can
        sys.stdout.reconfigure(errors="replace")
    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
    line = joined(kind, sys.argv[1:] if line is None else line)
    return tyro.cli(kind, description=description, args=line, config=config)


def joined(kind: type, line: Sequence[str]) -> list[str]:
    """The words of a command line; the values of a list that is named more than once stand behind its first name."""
    lists = {name for name, hint in get_type_hints(kind).items()
             if {list, tuple} & {get_origin(part) for part in (hint, *get_args(hint))}}  # fmt: skip
    named: dict[str, list[str]] = {}
    group: list[str] = []
    groups = [group]
    for word in line:
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not word.startswith("--"):
            group.append(word)
        elif name in lists:
            if name not in named:
                groups.append(named.setdefault(name, [flag]))
            group = named[name]
            group += [value] if equals else []
        else:
            groups.append(group := [word])
    return [word for group in groups for word in group]


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
        stderr.print(printable(line), highlight=False, soft_wrap=True)


@contextmanager
def one_sentence(stopped: str = "stopped"):
    """Turn an error that a user can mend into one sentence on stderr and exit status 2, and Ctrl-C and SIGTERM into
    the sentence `stopped` and the status that shells give them.  A reader that goes away ends this in silence."""

    def terminate(number, _):
        raise stopping.Stop(number, stopped)

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, terminate) if main else None
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):  # what is still in them is for nobody
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(CLOSED_PIPE)
    except (ValueError, OSError) as error:
        stderr.print("error:", style="bold red", end=" ")
        stderr.print(f"{printable(error).rstrip('.')}.", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        stop = stop if isinstance(stop, stopping.Stop) else stopping.Stop(signal.SIGINT, stopped)
        say([f"{stop.said}."])
        sys.exit(128 + stop.number)
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


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
    """One JSON object on stdout; a number that is none is null."""
    print(json.dumps(_finite(value), allow_nan=False))


def _finite(value):
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
