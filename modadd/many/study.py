"""`modadd.sweep(grid)`: every run of a grid trained, and what they say together."""

from dataclasses import dataclass

from ..records.record import Record
from ..records.store import Store
from . import sweep as cells
from . import verdicts
from .sweep import Criterion, Grid


@dataclass(frozen=True)
class Sweep:
    """The records of a grid by run id, in its order, and when a run counts as having grokked."""

    grid: Grid
    records: dict[str, Record]
    criterion: Criterion

    def __repr__(self) -> str:
        return f"Sweep({self.grid.preset} at p = {self.grid.p}, {self.grid.title}, {len(self.records)} runs)"

    @property
    def summary(self) -> dict:
        """Everything the sweep says, with verdicts, ready for JSON; see `verdicts.summary`."""
        return verdicts.summary(self.grid, cells.outcomes(self.grid, self.records, self.criterion), self.criterion)

    @property
    def table(self) -> list[dict]:
        """A row a group of runs that differ in their seed alone: its settings, runs, grokked, median step, test."""
        names = ("runs", "grokked", "median")
        return [
            {name: row[name] for name in (*self.grid.varied, *names)}
            | {"test accuracy": (row["final"]["test"] or {}).get("mean")}
            for row in self.summary["groups"]
        ]


def sweep(
    grid: Grid, store: Store | None = None, device: str = "auto", workers: int = 1, criterion: Criterion | None = None
) -> Sweep:
    """Train the runs of a grid; with a `store`, what it or the atlas holds is taken, and the rest is put there.

    `workers` are processes on a CPU, as in `train_many`.  Raises ValueError where a run fits no device here.
    """
    from ..training.loop import train_many  # loads torch

    there = {run.id: store.get(run.id) for run in grid.runs} if store else {}
    done = {run_id: record for run_id, record in there.items() if record is not None and record.finished}
    for record in train_many([run for run in grid.runs if run.id not in done], device, workers):
        done[record.run.id] = record
        if store:
            store.put(record)
    return Sweep(grid, {run.id: done[run.id] for run in grid.runs}, criterion or Criterion())
