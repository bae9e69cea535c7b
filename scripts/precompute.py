"""Train every preset of the given moduli into the cache, and make atlas files from them.

    python scripts/precompute.py --p 23 29 --workers 2
    python scripts/precompute.py --p 23 --atlas cache/atlas

What is there is kept, what was interrupted goes on from its checkpoint, the longest runs start
first, and a failure is reported at the end while the rest is done.
"""

import multiprocessing as mp
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from modadd import cli, store
from modadd.runs import P_MAX, P_MIN, PRESETS, Run, check_p, preset, presets_at


@dataclass(kw_only=True)
class Flags:
    p: list[int] = field(default_factory=list)
    """Moduli, odd from 3 to 199."""
    all: bool = False
    """Every odd modulus from 3 to 199."""
    presets: list[str] = field(default_factory=lambda: list(PRESETS))
    """Presets to train; grokking exists from p = 19 on."""
    seeds: list[int] = field(default_factory=lambda: [42])
    """Seeds to train."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    workers: int = 1
    """Runs at a time; each CPU worker gets an equal share of the cores."""
    cache: Path = field(default_factory=store.default_folder)
    """Folder of the cache."""
    atlas: Path | None = None
    """Also write one compact file a modulus into this folder."""
    dry_run: bool = False
    """List the missing runs and what they cost, and stop."""
    json: bool = False
    """Print one JSON object on stdout."""


def wanted(flags: Flags) -> list[Run]:
    """The runs that the flags name; ValueError with one sentence for a bad name or modulus."""
    moduli = list(range(P_MIN, P_MAX + 1, 2)) if flags.all else flags.p
    if not moduli:
        raise ValueError("no modulus given: name some with --p, or use --all")
    for name in flags.presets:
        if name not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
    return [
        preset(name, p, seed=seed)
        for p in map(check_p, moduli)
        for name in flags.presets if name in presets_at(p)
        for seed in flags.seeds
    ]  # fmt: skip


def train_one(run: Run, cache: Path, device: str, threads: int, steps) -> str:
    """Train a run in a worker process; `steps[id]` tells the parent how far it is."""
    import torch

    from modadd.lab import carry_out

    torch.set_num_threads(threads)

    def look(update) -> bool:
        steps[run.id] = update.step
        return False

    carry_out(run, store.Store(cache), device, look)
    return run.id


def train_all(runs: list[Run], flags: Flags) -> dict[str, str]:
    """Train runs in worker processes under one progress bar; returns the failures by run id."""
    failures: dict[str, str] = {}
    threads = max(1, (os.cpu_count() or 1) // flags.workers)
    context = mp.get_context("spawn")  # CUDA and OpenMP do not survive a fork
    with context.Manager() as manager, ProcessPoolExecutor(flags.workers, mp_context=context) as pool, \
            cli.progress() as bar:  # fmt: skip
        steps = manager.dict()
        task = bar.add_task("training", total=sum(run.epochs for run in runs), rate="")
        futures = {pool.submit(train_one, run, flags.cache, flags.device, threads, steps): run for run in runs}
        left, done = set(futures), 0
        while left:
            try:
                for future in as_completed(left, timeout=0.5):
                    run = futures[future]
                    left.discard(future)
                    done += 1
                    steps[run.id] = run.epochs  # a plateau ends a run early: its bar is full all the same
                    if error := future.exception():
                        failures[run.id] = f"{type(error).__name__}: {error}"
            except TimeoutError:
                pass
            bar.update(task, completed=sum(steps.values()), rate=f"{done} of {len(runs)} runs")
    return failures


def main(flags: Flags):
    with cli.one_sentence():
        from modadd import cost
        from modadd.engine import pick_device

        device = str(pick_device(flags.device))
        runs, shelf = wanted(flags), store.Store(flags.cache)
        cards = shelf.cards_of_cache()
        finished = {i for i, card in cards.items() if card["provenance"]["stop_reason"] not in (None, "stopped")}
        missing = [run for run in runs if run.id not in finished]
        prices = {run.id: cost.estimate(run, device) for run in missing}
        missing.sort(key=lambda run: -prices[run.id].seconds)
        report = {
            "wanted": len(runs), "missing": [run.id for run in missing],
            "seconds": sum(price.seconds for price in prices.values()) / flags.workers,
            "disk_bytes": sum(price.disk for price in prices.values()),
        }  # fmt: skip
        cli.stderr.print(
            f"{len(runs)} runs wanted, {len(missing)} to train: about {report['seconds']:,.0f} s "
            f"and {report['disk_bytes'] / 1e6:,.0f} MB on {device}"
        )
        failures = {}
        if not flags.dry_run:
            failures = train_all(missing, flags) if missing else {}
            if flags.atlas:
                for p in sorted({run.p for run in runs}):
                    there = [shelf.get(run.id) for run in runs if run.p == p]
                    file = store.write_atlas(
                        flags.atlas, p, [store.squeeze(record, store.atlas_limit(p)) for record in there if record]
                    )
                    cli.stderr.print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")
        for run_id, why in failures.items():
            cli.stderr.print(f"[red]{run_id} failed:[/] {why}", highlight=False)
        if flags.json:
            cli.print_json(report | {"failures": failures})
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main(tyro.cli(Flags, description=__doc__))
