"""A sweep as tables: what its charts are drawn from and what one takes home."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from ..many.sweep import CURVES, Criterion, Grid, Outcome
from ..records.record import Record, thin_rows
from .style import table

KINDS = ("grokked", "censored: had not grokked when it ended")
ROWS = 2200  # of the curves of a chart in all; outside the page a chart takes 5,000


def curve(record: Record | None, criterion: Criterion, runs: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(steps, accuracies) of the criterion's curve, thinned to the share that one of so many runs has."""
    if record is None:
        return np.array([], int), np.array([])
    whole = record.history.get(f"{criterion.curve}_accuracy", np.array([]))
    known = np.flatnonzero(np.isfinite(whole))
    rows = known[thin_rows([whole[known]], int(np.clip(ROWS // runs, 4, 150)))] if len(known) else known
    return record.steps[rows], whole[rows].astype(float)


def results(grid: Grid, results: list[Outcome]) -> pa.Table:
    """One row per run: its settings, how it ended, its grok step (None: censored) and its last accuracies."""
    whole = lambda values: pa.array(list(values), pa.int64())  # noqa: E731
    return pa.table(
        {name: [getattr(o.run, name) for o in results] for name in grid.axes}
        | {
            "status": [o.status for o in results],
            "grok step": whole(o.grokked for o in results),
            "train pairs known at": whole(o.memorised for o in results),
            "last step": whole(o.step or None for o in results),
            "ended by": pa.array([o.stop_reason for o in results], pa.string()),
        }
        | {
            title: pa.array([o.accuracy.get(group) for o in results], pa.float64())
            for group, title in {"train": "train accuracy", **CURVES}.items()
        }
        | {"run": [o.run.id for o in results]}
    )


def curves(grid: Grid, records: Mapping[str, Record | None], criterion: Criterion) -> pa.Table:
    """The thinned curves of all runs, one row a point: run, group, seed, step, accuracy."""
    curves = [(run, *curve(records.get(run.id), criterion, len(grid.runs))) for run in grid.runs]
    length = [len(steps) for _, steps, _ in curves]
    return table(
        run=np.repeat([run.id for run, _, _ in curves], length),
        group=np.repeat([grid.label(run) for run, _, _ in curves], length),
        seed=np.repeat([run.seed for run, _, _ in curves], length),
        step=np.concatenate([steps for _, steps, _ in curves]),
        accuracy=np.concatenate([values for _, _, values in curves]),
    )


def ended(grid: Grid, results: list[Outcome]) -> pa.Table:
    """One row per finished run: group, seed, step of grokking or of its end, which of the two, last accuracies, and
    its place on the axis of the groups, the seeds of a group side by side."""
    over = [o for o in results if o.status == "finished"]
    seeds = list(dict.fromkeys(run.seed for run in grid.runs))
    side = np.array([(seeds.index(o.run.seed) + 1) / (len(seeds) + 1) - 0.5 for o in over], float)
    group = [grid.label(o.run) for o in over]
    last = {name: np.array([o.accuracy[name] for o in over], float) for name in CURVES}
    return table(
        group=np.array(group, str), seed=np.array([o.run.seed for o in over], int),
        step=np.array([max(1, o.watched) for o in over], int),
        kind=np.array([KINDS[o.grokked is None] for o in over], str),
        place=places(grid, group) + 0.7 * side, **last,
    )  # fmt: skip


def places(grid: Grid, group: list[str]) -> np.ndarray:
    labels = grid.labels
    return np.array([labels.index(label) + 0.5 for label in group], float)


def statistics(statistics: list[dict]) -> pa.Table:
    """One row per group, the ends of intervals in columns of their own."""
    whole = {"runs": "runs", "finished": "finished", "grokked": "grokked"}
    steps = {"median": "median step", "first": "first step", "last": "last step", "mean": "mean step"}
    flat = []
    for row in statistics:
        one = {"group": row["label"]} | {title: row[name] for name, title in whole.items()}
        one |= {"share that groks": row["success_rate"]} | _ends("share", row["success_interval"])
        one |= {title: row[name] for name, title in steps.items()} | _ends("median", row["median_interval"])
        one |= {"mean and last are lower bounds": row["at_least"]}
        for group, spread in row["final"].items():
            name = f"final {group.replace('_', '-')} accuracy"
            one |= {f"{name}, {part}": spread and spread[part] for part in ("mean", "min", "max")}
        flat.append(one)
    return pa.Table.from_pylist(flat)


def _ends(name: str, interval) -> dict[str, float | None]:
    return dict(zip((f"{name}, 95 % from", f"{name}, 95 % to"), interval or (None, None), strict=True))
