"""Train every preset of the given moduli into the cache; draw the figures and write the atlas from them.

    python scripts/precompute.py --p 23 29 --workers 2
    python scripts/precompute.py --all --devices cuda:0 cuda:1 --atlas cache/atlas
    python scripts/precompute.py --p 23 --figures results      # train, simulate, draw and verify
    python scripts/precompute.py --all --dry-run
    python scripts/precompute.py --all --verify --atlas cache/atlas
    python scripts/precompute.py --all --slurm --gpus 1        # and --status; see docs/cluster.md

What is there is kept, what was interrupted goes on from its checkpoint, the longest runs start first, and
several of these may share a cache.  The records that come along with the lab are compact and are not counted: what is
trained here holds every frame.  A failure is reported at the end while the rest is done; the exit status is then 1.
"""

import heapq
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import cli
from rich.table import Table

from modadd.analysis import shipped
from modadd.jobs import cluster, pool
from modadd.records import check, store
from modadd.runs import PRESETS, Run, preset, presets_at, stand_ins
from modadd.training import cost

P_EXACT = 71  # the largest modulus that `--precision auto` trains in float32 on a GPU


@dataclass(kw_only=True)
class Flags:
    p: list[int] = field(default_factory=list)
    """Moduli, odd from 3 to 199."""
    all: bool = False
    """Every odd modulus from 3 to 199."""
    presets: list[str] = field(default_factory=lambda: list(PRESETS))
    """Presets to train; grokking exists from p = 19 on."""
    seeds: list[int] = field(default_factory=lambda: [42])
    """Seeds to train; in an atlas the presets' own, 42, is a film, and others are outlines of a few kilobytes."""
    d_mlp: int | None = None
    """Hidden neurons; by default what each modulus asks for."""
    epochs: int | None = None
    """Training steps instead of the preset's own number."""
    precision: Literal["auto", "fp32", "tf32"] = "auto"
    """auto is fp32, but above p = 71 tf32 where the device is a GPU."""
    devices: list[str] = field(default_factory=lambda: ["auto"])
    """auto (every GPU, else the CPU), cpu, cuda, cuda:N; several share one queue of runs."""
    workers: int | None = None
    """Runs at a time on each device: 1 a GPU, and on the CPU 1 a core if memory allows, which share the cores."""
    checkpoint_seconds: float = pool.CHECKPOINT_SECONDS
    """What a run loses at most when it is killed."""
    cache: Path = field(default_factory=store.default_folder)
    """Folder of the cache."""
    atlas: Path | None = None
    """Also write one compact file a modulus into this folder; with --verify, check that folder, not the cache."""
    compact: bool = False
    """Keep only what an atlas holds of each finished run, instead of every frame."""
    stop_after: float | None = None
    """Minutes after which what is not done is left at a checkpoint; the runs then go by seed, then by p."""
    figures: Path | None = None
    """Also draw every published figure and table into this folder, of the first seed, and verify what was trained."""
    dry_run: bool = False
    """Say what the missing runs cost, by modulus, and stop."""
    verify: bool = False
    """Train nothing; read every wanted record again, list what is missing or damaged, exit 1 if anything is."""
    slurm: bool = False
    """Collect what a Slurm cluster has trained, and send it what is missing; see docs/cluster.md."""
    status: bool = False
    """Only collect it, and tell how the tasks on the cluster stand."""
    jobs: Path | None = None
    """Folder that the nodes of the cluster mount too; slurm in the cache by default."""
    partition: str | None = None
    """Partition of the cluster; its own default by default."""
    minutes: int = 60
    """Time of a task on the cluster; a run that takes longer is interrupted and goes on."""
    gpus: Literal[0, 1] = 0
    """GPUs of a task on the cluster."""
    cpus: int = 1
    """Cores of a task on the cluster."""
    json: bool = False
    """Print one JSON object on stdout."""


def devices(flags: Flags) -> list[str]:
    """The devices that the flags name; ValueError for one that is not here."""
    from modadd.networks.device import pick_device

    if flags.devices == ["auto"]:
        import torch

        return [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["cpu"]
    return list(dict.fromkeys(str(pick_device(name)) for name in flags.devices))


def wanted(flags: Flags, where: list[str]) -> list[Run]:
    """The runs that the flags name; ValueError with one sentence for a bad name or modulus."""
    for name in flags.presets:
        if name not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
    fast = flags.precision == "tf32" or (flags.precision == "auto" and "cpu" not in where)
    if flags.precision == "tf32" and "cpu" in where:
        raise ValueError("precision tf32 needs a CUDA device: choose fp32")
    return [
        preset(name, p, seed=seed, epochs=flags.epochs, d_mlp=flags.d_mlp,
               precision="tf32" if fast and (flags.precision == "tf32" or p > P_EXACT) else "fp32")
        for p in cli.moduli(flags.p, flags.all)
        for name in flags.presets if name in presets_at(p)
        for seed in flags.seeds
    ]  # fmt: skip


def names(run: Run, flags: Flags) -> list[str]:
    """The ids under which a record counts as this run: in either precision, if that was left open."""
    others = [replace(run, precision=name).id for name in ("fp32", "tf32")] if flags.precision == "auto" else []
    return list(dict.fromkeys([run.id, *others]))


def missing(runs: list[Run], flags: Flags, shelf: store.Store) -> list[Run]:
    """Those of the runs that are not finished in the cache, or whose bytes there are no longer what was written."""
    cards = shelf.cards_of_cache()
    ended = {i for i, card in cards.items() if card["provenance"]["stop_reason"] not in (None, "stopped")}
    return [run for run in runs if not any(i in ended and shelf.intact(i) for i in names(run, flags))]


def workers_of(runs: list[Run], flags: Flags, where: list[str]) -> int:
    """Runs at a time on each device."""
    if flags.workers is not None:
        return max(1, flags.workers)
    if "cpu" not in where or not runs:
        return 1
    fit = int(0.8 * cost.free_memory() / max(cost.memory_and_disk(run)[0] for run in runs))
    return max(1, min(cost.cores(), fit))


def prices(runs: list[Run], where: list[str], workers: int) -> tuple[dict[str, cost.Cost], float]:
    """({run id: its cost}, seconds until all are done)."""
    threads = pool.share_of_cores(workers * len(where))
    price = {run.id: cost.estimate(run, where[0], threads) for run in runs}
    free_at = [0.0] * (workers * len(where))
    for seconds in sorted((one.seconds for one in price.values()), reverse=True):
        heapq.heapreplace(free_at, free_at[0] + seconds)
    return price, max(free_at)


def bill(runs: list[Run], lacking: list[Run], price: dict[str, cost.Cost]) -> list[dict]:
    """Of each modulus: runs wanted and missing, seconds of all, memory of the largest, bytes on disk."""
    rows = []
    for p in sorted({run.p for run in runs}):
        own = [price[run.id] for run in lacking if run.p == p]
        rows.append({
            "p": p, "wanted": sum(run.p == p for run in runs), "missing": len(own),
            "seconds": sum(one.seconds for one in own), "memory_bytes": max((one.memory for one in own), default=0),
            "disk_bytes": sum(one.disk for one in own),
        })  # fmt: skip
    return rows


def show(rows: list[dict]):
    table = Table("p", "runs", "to train", "worker minutes", "memory, MB", "disk, MB", header_style="", box=None)
    for column in table.columns:
        column.justify = "right"
    for row in rows:
        table.add_row(
            str(row["p"]), str(row["wanted"]), str(row["missing"]), f"{row['seconds'] / 60:,.1f}",
            f"{row['memory_bytes'] / 1e6:,.0f}", f"{row['disk_bytes'] / 1e6:,.0f}",
        )  # fmt: skip
    cli.stderr.print(table)


def train(runs: list[Run], flags: Flags, where: list[str], workers: int) -> tuple[dict[str, str], list[str]]:
    """({run id: why it failed}, [ids that advanced here])."""
    length, advanced = {run.id: run.epochs for run in runs}, set()
    if flags.stop_after is not None:
        runs = sorted(runs, key=lambda run: (flags.seeds.index(run.seed), run.p))
    with cli.many(runs) as show_progress:

        def look(run_id: str, step: int):
            if step < length[run_id]:
                advanced.add(run_id)
            show_progress(run_id, step)

        failures = pool.train_all(
            runs, flags.cache, where, workers, look, flags.checkpoint_seconds, flags.compact,
            None if flags.stop_after is None else 60 * flags.stop_after,
        )  # fmt: skip
    return failures, sorted(advanced)


def write_atlas(runs: list[Run], flags: Flags, shelf: store.Store) -> Iterator[str]:
    """Put the wanted runs that are finished into the atlas's files, beside what these hold; says how large each is."""
    there = store.Store(flags.cache, flags.atlas)
    for folder, own in (("", True), (store.SEEDS, False)):
        held = there.cards_of_atlas(folder)
        for p in sorted({run.p for run in runs if (run.seed == Run.seed) == own}):
            records = {i: there.shipped(i, folder) for i, card in held.items() if card["run"].p == p}
            for run in runs:
                if run.p != p or (run.seed == Run.seed) != own:
                    continue
                record = cli.first(shelf.mine(i) for i in names(run, flags))
                if record is not None and record.finished:
                    for name in (*names(run, flags), *stand_ins(run.id)):
                        records.pop(name, None)
                    records[record.run.id] = record if record.coded else shipped.small(record)
            if records:
                file = store.write_atlas(flags.atlas / folder, p, [records[i] for i in sorted(records)])
                yield f"{file}: {cli.count(len(records), 'record')}, {file.stat().st_size / 1e6:.2f} MB"
    there.close()


def verify(runs: list[Run], flags: Flags) -> dict[str, str]:
    """{run id: what is wrong with its record, or that there is none}."""
    shelf, wrong = store.Store(flags.cache, flags.atlas), {}
    for run in runs:
        folder = "" if run.seed == Run.seed else store.SEEDS
        try:
            held = (shelf.shipped(name, folder) if flags.atlas else shelf.mine(name) for name in names(run, flags))
            record = cli.first(held)
            found = check.faults(record) if record else ["missing"]
        except ValueError as error:  # damaged, or of another schema
            found = [str(error)]
        if found:
            wrong[run.id] = "; ".join(found)
    return wrong


def draw(runs: list[Run], flags: Flags, shelf: store.Store) -> list[dict]:
    """Draw the published figures and tables of every wanted modulus and verify that each is there."""
    from modadd.figures.print import published  # and matplotlib

    results = []
    for p in sorted({run.p for run in runs}):
        results.append(published.publish(p, shelf, flags.figures, seed=flags.seeds[0]))
        cli.say(published.told(results[-1]))
    return results


def on_cluster(flags: Flags) -> dict:
    """Collect what is done on a cluster; then tell how its tasks stand, or send it what is missing."""
    if flags.devices != ["auto"] or flags.verify or flags.atlas or flags.figures:
        raise ValueError("--devices, --verify, --atlas and --figures are for this machine: give them without --slurm")
    shelf, folder = cli.cache(flags.cache), flags.jobs or flags.cache / "slurm"
    report = {"collected": cluster.collect(folder, shelf)}
    cli.say([f"{cli.count(len(report['collected']), 'record')} collected from {folder}"])
    if flags.status:
        tasks = cluster.status(folder)
        cli.say(cluster.told(tasks))
        return report | {"tasks": [task.to_json() for task in tasks]}
    runs = wanted(flags, ["cuda" if flags.gpus else "cpu"])
    lacking, sent = missing(runs, flags, shelf), {}
    if flags.dry_run:
        show(bill(runs, lacking, prices(lacking, ["cpu"], 1)[0]))
    else:
        sent = cluster.submit(
            lacking, shelf, folder, flags.minutes, flags.partition, flags.gpus, flags.cpus, flags.workers
        )
    now = sum(map(len, sent.values()))
    cli.say([f"{cli.count(len(runs), 'run')} wanted, {len(lacking)} to train, {now} sent to Slurm now",
             *(f"{job}  {', '.join(ids)}" for job, ids in sent.items())])  # fmt: skip
    return report | {"wanted": len(runs), "missing": [run.id for run in lacking], "sent": sent}


def main(flags: Flags):
    failures, files, report = {}, [], {}
    with cli.one_sentence("stopped; the same command goes on from the last checkpoints"):
        if flags.slurm or flags.status:
            report = on_cluster(flags)
            if flags.json:
                cli.print_json(report)
            return
        if flags.verify:
            runs = wanted(flags, [])
            failures = verify(runs, flags)
            report = {"wanted": len(runs)}
            cli.say([f"{len(runs) - len(failures)} of {len(runs)} records are whole"])
        else:
            where = devices(flags)
            runs = wanted(flags, where)
            shelf = store.Store(flags.cache) if flags.dry_run else cli.cache(flags.cache)
            lacking = missing(runs, flags, shelf)
            workers = workers_of(lacking, flags, where)
            price, seconds = prices(lacking, where, workers)
            rows = bill(runs, lacking, price)
            disk = sum(row["disk_bytes"] for row in rows)
            report = {"wanted": len(runs), "missing": [run.id for run in lacking], "devices": where,
                      "workers": workers, "seconds": seconds, "disk_bytes": disk, "moduli": rows}  # fmt: skip
            if flags.dry_run:
                show(rows)
            cli.say([f"{cli.count(len(runs), 'run')} wanted, {len(lacking)} to train: {cli.duration(seconds)} and "
                     f"{disk / 1e6:,.0f} MB with {cli.count(workers, 'worker')} on {', '.join(where)}"])  # fmt: skip
            if not flags.dry_run:
                if lacking:
                    failures, report["trained"] = train(lacking, flags, where, workers)
                if flags.atlas:
                    cli.say(write_atlas(runs, flags, shelf))
                if flags.figures:
                    failures |= verify(runs, replace(flags, atlas=None))
                    files = report["figures"] = draw(runs, flags, shelf)
        for run_id, why in failures.items():
            cli.say([f"{run_id}: {why}"])
        if flags.json:
            cli.print_json(report | {"failures": failures})
    sys.exit(1 if failures or any(one["missing"] for one in files) else 0)


if __name__ == "__main__":
    main(cli.flags(Flags, __doc__))
