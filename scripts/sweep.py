"""Train a grid of runs and say who groks, when, and what that means for three hypotheses on weight decay.

    python scripts/sweep.py --p 23 --weight-decay 0.5 1 2 --seeds 42 123 456 --out results/sweep
    python scripts/sweep.py --p 31 --vary lr=1e-4,3e-4 frac_train=0.6 --dry-run

Every cell is an ordinary run of the cache: what is there is kept, and after an interruption of any kind the same
command goes on.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cli
from rich.table import Table

from modadd.jobs import pool
from modadd.many import sweep, verdicts
from modadd.records import store
from modadd.runs import P_GROK, Run

QUICK_STEPS = 2000


@dataclass(kw_only=True)
class Flags:
    p: int | None = None
    """Modulus: odd, 3 to 199; 23 by default."""
    preset: str = "grokking"
    """Settings of every run that are not varied."""
    weight_decay: list[float] | None = None
    """Weight decays, 0.5 1 2 by default; none after the flag keeps the preset's."""
    seeds: list[int] = field(default_factory=lambda: list(sweep.SEEDS))
    """Seeds, by which runs of equal settings repeat each other."""
    vary: list[str] = field(default_factory=list)
    """Further axes, any setting of a run, as name=value,value; one value just sets it."""
    epochs: int | None = None
    """Training steps; the preset's own number by default."""
    accuracy: float = 0.9
    """A run groks when accuracy reaches this ..."""
    sustained: int = 500
    """... and stays there for so many steps ..."""
    memorised: float = 0.99
    """... after the train accuracy has reached this."""
    curve: Literal["test", "held_out"] = "test"
    """Accuracy of which pairs; held_out leaves out test pairs whose mirror image is trained."""
    quick: bool = False
    """A small and short sweep to see that everything works: p = 19, 2,000 steps unless named."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    workers: int = 1
    """Runs at a time; each CPU worker gets an equal share of the cores."""
    cache: Path = field(default_factory=store.default_folder)
    """Folder of the cache."""
    out: Path | None = None
    """Folder for analysis_summary.json, the charts (SVG, PNG) and report.html."""
    dry_run: bool = False
    """Say how many runs there are, which are missing and what they cost, and stop."""
    json: bool = False
    """Print one JSON object on stdout: the summary, or with --dry-run the plan."""

    def axes(self):
        """(setting, values) of every axis, the seeds last."""
        further = [sweep.axis(text) for text in self.vary]
        varied = {name for name, _ in further}
        decays, epochs = self.weight_decay, self.epochs
        if decays is None and "weight_decay" not in varied:
            decays = sweep.WEIGHT_DECAYS
        if epochs is None and self.quick and "epochs" not in varied:
            epochs = QUICK_STEPS
        yield from [("weight_decay", tuple(decays))] if decays else []
        yield from further
        yield from [("epochs", (epochs,))] if epochs is not None else []
        yield from [("seed", tuple(self.seeds))] if "seed" not in varied else []

    def grid(self) -> sweep.Grid:
        """The grid that these flags describe; ValueError with one sentence if it is none."""
        p = self.p if self.p is not None else P_GROK if self.quick else sweep.Grid.p
        return sweep.Grid(self.preset, p, sweep.join(self.axes()))


def plan(grid: sweep.Grid, there: dict, device: str, workers: int) -> tuple[list[Run], dict]:
    """The runs that are not finished yet, and what there is and what is left to pay."""
    missing = [run for run in grid.runs if run.id not in there or not there[run.id].finished]
    seconds, disk = sweep.price(missing, device) if missing else (0.0, 0)
    return missing, {
        "runs": len(grid.runs), "merged": grid.asked - len(grid.runs), "finished": len(grid.runs) - len(missing),
        "begun": sum(run.id in there for run in missing), "missing": [run.id for run in missing],
        "seconds": seconds / workers, "disk_bytes": disk, "device": device,
    }  # fmt: skip


def train(missing: list[Run], flags: Flags, device: str) -> dict[str, str]:
    """Train what is missing under one progress bar; returns why by id of what failed."""
    step = dict.fromkeys((run.id for run in missing), 0)
    length = {run.id: run.epochs for run in missing}
    with cli.progress() as bar:
        task = bar.add_task("training", total=sum(length.values()), rate="")

        def look(run_id: str, at: int):
            step[run_id] = at
            done = sum(step[i] == length[i] for i in step)
            bar.update(task, completed=sum(step.values()), rate=f"{done} of {len(missing)} runs")

        return pool.train_all(missing, flags.cache, [device], flags.workers, look)


def write(out: Path, grid: sweep.Grid, records: dict, results: list, criterion: sweep.Criterion, summary: dict):
    """The summary, the charts and the report; each file is whole or not there."""
    from modadd.figures import sweep_report

    out.mkdir(parents=True, exist_ok=True)
    files = {"analysis_summary.json": json.dumps(summary, indent=1, allow_nan=False).encode()}
    charts = sweep_report.charts(grid, records, results, criterion, summary["groups"])
    drawn = {name: chart for name, chart in charts.items()} | {"combined": sweep_report.combined(charts)}
    for name, chart in drawn.items():
        files |= {f"{name}.{form}": sweep_report.picture(chart, form) for form in ("svg", "png")}
    files["report.html"] = sweep_report.html(grid, records, results, criterion).encode()
    for name, content in files.items():
        part = out / f"{name}.part"
        part.write_bytes(content)
        part.replace(out / name)


def tell(summary: dict):
    """The statistics and the verdicts, on stderr."""
    shown = lambda v, form=",.0f": "–" if v is None else format(v, form)  # noqa: E731
    table = Table(summary["title"], "runs", "grokked", "median step", "95 % interval", "first", "last", "final test")
    for row in summary["groups"]:
        ends = row["median_interval"]
        final = row["final"]["test"]
        table.add_row(
            row["label"], f"{row['finished']} of {row['runs']}", shown(row["success_rate"], ".0%"),
            shown(row["median"]), f"{shown(ends[0])} to {shown(ends[1])}" if ends else "–", shown(row["first"]),
            ("≥ " if row["at_least"] else "") + shown(row["last"]), shown(final and final["mean"], ".1%"),
        )  # fmt: skip
    cli.stderr.print(table)
    for one in summary["hypotheses"]:
        cli.say([f"{one['name']} {one['verdict']}: {one['claim']}. {one['because']}."])


def main(flags: Flags):
    failures = {}
    with cli.one_sentence("stopped; the same command goes on from the last checkpoints"):
        from modadd.networks.device import pick_device

        grid = flags.grid()
        criterion = sweep.Criterion(flags.accuracy, flags.sustained, flags.memorised, flags.curve)
        shelf = store.Store(flags.cache) if flags.dry_run else cli.cache(flags.cache)
        device = str(pick_device(flags.device))
        records = sweep.stored(shelf, grid.runs)
        missing, result = plan(grid, records, device, flags.workers)
        merged = f" ({result['merged']} named twice are one)" if result["merged"] else ""
        cli.stderr.print(
            f"{cli.count(result['runs'], 'run')}{merged}: {result['finished']} are there, {len(missing)} to train "
            f"({result['begun']} of them begun), about {result['seconds']:,.0f} s and "
            f"{result['disk_bytes'] / 1e6:,.0f} MB on {device}", highlight=False, soft_wrap=True,
        )  # fmt: skip
        if not flags.dry_run:
            failures = train(missing, flags, device) if missing else {}
            records |= sweep.stored(shelf, missing)
            results = sweep.outcomes(grid, records, criterion)
            result = verdicts.summary(grid, results, criterion)
            tell(result)
            cli.stderr.print(verdicts.caution(results, criterion), highlight=False, soft_wrap=True)
            if flags.quick:
                cli.say(["This sweep was a quick one: it shows that everything works, and is too short to decide."])
            if flags.out:
                write(flags.out, grid, records, results, criterion, result)
                cli.stderr.print(f"written to {flags.out}", highlight=False)
        for run_id, why in failures.items():
            cli.say([f"{run_id} failed: {why}"])
        if flags.json:
            cli.print_json(result | ({"failures": failures} if not flags.dry_run else {}))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main(cli.flags(Flags, __doc__))
