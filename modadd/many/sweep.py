"""A grid of runs: its cells, and who of them groks when.

A cell of the grid is an ordinary Run, trained and kept like any other; nothing is stored of a sweep itself, so
that whatever interrupts it, the cells that are there stay there.  Everything here reads Records.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import product
from types import NoneType
from typing import Literal, get_args, get_origin

import numpy as np

from ..records.record import Record
from ..records.store import Damaged, Store
from ..runs import EPOCHS_MAX, Run, preset

MOST = 400  # cells of a grid
WEIGHT_DECAYS, SEEDS = (0.5, 1.0, 2.0), (42, 123, 456)
SETTINGS = {setting.name: setting.type for setting in fields(Run)}
CURVES = {"test": "test accuracy", "held_out": "held-out accuracy"}


def value(name: str, text: str):
    """A value of a setting of Run, of its type, from text; ValueError with one sentence if it is none."""
    if name not in SETTINGS:
        raise ValueError(f"no setting is called {name[:40]!r}: choose among {', '.join(SETTINGS)}")
    kind = SETTINGS[name]
    kinds = (kind,) if get_origin(kind) is Literal or not get_args(kind) else get_args(kind)
    text = text.strip()
    if NoneType in kinds and text.lower() == "none":
        return None
    if bool in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        if number in kinds:
            try:
                return number(text)
            except ValueError:
                what = "a whole number" if number is int else "a number"
                raise ValueError(f"{name} must be {what}, got {text[:40]!r}") from None
    return text  # a name, which Run checks


def axis(text: str) -> tuple[str, tuple]:
    """(setting, values) of an axis written as "lr=1e-4,3e-4"."""
    name, equals, values = text.partition("=")
    if not equals:
        raise ValueError(f"an axis is written name=value,value, got {text[:40]!r}")
    name = name.strip().replace("-", "_")
    return name, tuple(value(name, part) for part in values.split(",") if part.strip())


def join(axes: Iterable[tuple[str, tuple]]) -> dict[str, tuple]:
    """Axes by setting, in their order; ValueError if one is named twice."""
    joined: dict[str, tuple] = {}
    for name, values in axes:
        if name in joined:
            raise ValueError(f"{name} is given twice: name each setting once")
        joined[name] = values
    return joined


@dataclass(frozen=True)
class Grid:
    """A preset at a modulus with some settings varied, each in every combination with the others.

    `axes` maps any setting of Run to its values; an axis of one value just sets it.  Raises ValueError with one
    sentence for what is no run, for an empty grid and for one of more than MOST cells.
    """

    preset: str = "grokking"
    p: int = 23
    axes: Mapping[str, tuple] = field(default_factory=lambda: {"weight_decay": WEIGHT_DECAYS, "seed": SEEDS})

    def __post_init__(self):
        for name, values in self.axes.items():
            if name not in SETTINGS:
                raise ValueError(f"no setting is called {name[:40]!r}: choose among {', '.join(SETTINGS)}")
            if not values:
                raise ValueError(f"the grid is empty: give at least one value of {name}")
        if self.asked > MOST:
            raise ValueError(f"the grid has {self.asked:,} cells, the most is {MOST}: take fewer values")
        _ = self.runs

    @property
    def asked(self) -> int:
        """Cells as asked for, the same run counted as often as it is named."""
        return math.prod(len(values) for values in self.axes.values())

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The cells, each once, the last axis fastest."""
        cells = (dict(zip(self.axes, values, strict=True)) for values in product(*self.axes.values()))
        runs = (preset(self.preset, **({"p": self.p} | cell)) for cell in cells)
        return tuple({run.id: run for run in runs}.values())

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """The settings that differ between cells, seeds apart: runs that differ in their seed alone repeat
        each other."""
        return tuple(n for n in self.axes if n != "seed" and len({getattr(run, n) for run in self.runs}) > 1)

    @property
    def title(self) -> str:
        """What the labels of the groups name."""
        return ", ".join(name.replace("_", " ") for name in self.varied) or "preset"

    def label(self, run: Run) -> str:
        """The group that a run is in."""
        return ", ".join(_short(getattr(run, name)) for name in self.varied) or self.preset

    @property
    def labels(self) -> list[str]:
        """The groups, in the order of the grid."""
        return list(dict.fromkeys(self.label(run) for run in self.runs))


def _short(one) -> str:
    return str(one).removesuffix(".0")


@dataclass(frozen=True)
class Criterion:
    """When a run groks: at the first step from which on the accuracy of `curve` stays at `accuracy` or above for
    `sustained` steps, once the train accuracy has reached `memorised`."""

    accuracy: float = 0.9
    sustained: int = 500
    memorised: float = 0.99
    curve: Literal["test", "held_out"] = "test"

    def __post_init__(self):
        for name, high in (("accuracy", 1), ("memorised", 1), ("sustained", EPOCHS_MAX)):
            if not 0 <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be between 0 and {high:,}, got {getattr(self, name)}")

    def __str__(self):
        return (
            f"first step with {CURVES[self.curve]} >= {self.accuracy:g} sustained for {self.sustained:,} steps, "
            f"after train accuracy >= {self.memorised:g}"
        )

    def memorised_at(self, record: Record) -> int | None:
        """First step at which the training pairs are known; None if not reached."""
        known = np.flatnonzero(record.history["train_accuracy"] >= self.memorised)
        return int(record.steps[known[0]]) if len(known) else None

    def grokked_at(self, record: Record) -> int | None:
        """The step of grokking, one of the kept rows of the history; None if not reached, and also if the run
        ended before it was sustained."""
        start, curve = self.memorised_at(record), record.history.get(f"{self.curve}_accuracy", np.array([]))
        known = np.flatnonzero(np.isfinite(curve))  # a group without pairs holds NaN
        if start is None or not len(known):
            return None
        step_T, above_T = record.steps[known], curve[known] >= self.accuracy
        rows = np.flatnonzero(above_T & (step_T >= start))
        below = np.append(step_T[~above_T], step_T[-1] + 1)  # at the end of the record nothing more is known
        next_below = below[np.searchsorted(below, step_T[rows])] if len(rows) else rows
        lasting = rows[next_below - step_T[rows] > self.sustained]
        return int(step_T[lasting[0]]) if len(lasting) else None


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.  status: finished, begun or missing; `step` is where it ended, up to which a run
    that did not grok was watched; `accuracy` are the last ones of train, test and held_out, or None."""

    run: Run
    status: str = "missing"
    memorised: int | None = None
    grokked: int | None = None
    step: int = 0
    stop_reason: str | None = None
    thinned: bool = False
    accuracy: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def watched(self) -> int:
        """Step of grokking, or up to which it was watched for in vain."""
        return self.step if self.grokked is None else self.grokked


def stored(store: Store, runs: Iterable[Run]) -> dict[str, Record]:
    """What the cache, or else the atlas, holds of these runs, slim and by id; what is damaged counts as absent."""
    records = {}
    for run in runs:
        with contextlib.suppress(Damaged):
            if (record := store.get(run.id)) is not None:
                records[run.id] = slim(record)
    return records


def price(runs: Iterable[Run], device: str) -> tuple[float, int]:
    """(seconds one after the other, bytes on disk) of training these; ValueError if one does not fit into memory."""
    from ..training.cost import check_memory  # measuring the machine loads torch

    alike = Counter(replace(run, seed=0) for run in runs)  # a seed changes no price
    costs = [(count, check_memory(run, device)) for run, count in alike.items()]
    return sum(count * cost.seconds for count, cost in costs), sum(count * cost.disk for count, cost in costs)


def slim(record: Record) -> Record:
    """The accuracies of a record over training, and nothing else."""
    curves = {f"{group}_accuracy" for group in ("train", *CURVES)}
    history = {name: column for name, column in record.history.items() if name in curves}
    return replace(record, history=history, frames=(), frame_steps=(), state=None)


def outcome(run: Run, record: Record | None, criterion: Criterion) -> Outcome:
    """What a record says of a cell; None stands for a record that is not there."""
    if record is None or not len(record.steps):
        return Outcome(run)
    curves = {group: record.history.get(f"{group}_accuracy", np.array([])) for group in ("train", *CURVES)}
    known = {group: curve[np.isfinite(curve)] for group, curve in curves.items()}
    return Outcome(
        run,
        "finished" if record.finished else "begun",
        criterion.memorised_at(record),
        criterion.grokked_at(record),
        record.step,
        record.provenance["stop_reason"],
        len(record.steps) <= int(record.steps[-1]),
        {group: round(float(curve[-1]), 6) if len(curve) else None for group, curve in known.items()},
    )


def outcomes(grid: Grid, records: Mapping[str, Record | None], criterion: Criterion) -> list[Outcome]:
    """Of every cell; `records` are by run id."""
    return [outcome(run, records.get(run.id), criterion) for run in grid.runs]
