"""Train one run into the cache.

    python scripts/train.py --p 23 --preset grokking --weight-decay 1 --json
    python scripts/train.py --p 23 --act_type ReLU --optimizer AdamW --num_epochs 5000 --save_models true

A run that is already there is opened, not trained; an unfinished one goes on where it stopped.
"""

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import cli
import numpy as np
import stopping
from rich.table import Table

from modadd.records import store
from modadd.records.record import Record
from modadd.runs import Run


@dataclass(kw_only=True)
class Flags(cli.RunFlags):
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    dry_run: bool = False
    """Say what the run is and what it costs, and stop."""
    profile: bool = False
    """Say where the time of a step goes, and stop."""
    save_models: Literal["true", "false"] = "false"
    """Also write the float32 weights of every --save-every steps, and of the last; trains from the start."""
    save_every: int = 200
    """Steps between two weight files."""
    models: Path = Path("results/models")
    """Folder that gets one folder of weight files a run."""
    wandb: str | None = None
    """Also send history and measures to this project of Weights & Biases (optional; install '.[wandb]')."""
    no_wandb: bool = False
    """Send nothing, even if --wandb names a project."""
    no_cache: bool = False
    """Neither read nor write the cache."""
    cache: Path = field(default_factory=store.default_folder)
    """Folder of the cache."""
    json: bool = False
    """Print the final numbers as one JSON object on stdout."""


def train_with_progress(run: Run, flags: Flags) -> dict:
    """The summary of the run, trained or found."""
    from modadd.jobs.lab import carry_out
    from modadd.jobs.pool import light
    from modadd.training.loop import train

    shelf = None if flags.no_cache else cli.cache(flags.cache)
    saving = flags.save_models == "true"
    there = shelf and shelf.get(run.id)
    if there is not None and there.finished and there.run.epochs == run.epochs and not saving:
        cli.stderr.print(f"{run.id} is already there: not trained again")
        return there.summary
    with cli.progress() as bar, tracker(run, flags) as track, stopping.leaving() as asked:
        task = bar.add_task(run.id, total=run.epochs, rate="")

        def look(update) -> bool:
            speed = update.record.provenance["steps_per_second"]
            bar.update(task, completed=update.step, rate=f"{speed:,.0f} steps/s")
            if track:
                track(update)
            if asked and (saving or shelf is None):
                raise stopping.Stop(asked[0], f"stopped at step {update.step:,}; the same command begins anew")
            return bool(asked)

        if saving:
            record = train_saving(run, flags, look)
            if shelf is not None:
                shelf.put(light(record))
            return record.summary
        if shelf is None:
            for update in train(run, device=flags.device):
                look(update)
            return update.record.summary
        record = carry_out(run, shelf, flags.device, look)
        if not record.finished:
            raise stopping.Stop(asked[0], f"stopped at step {record.step:,}; the same command goes on from there")
        return record.summary


def tracker(run: Run, flags: Flags):
    """A context that gives a look for Weights & Biases, or None."""
    if flags.wandb is None or flags.no_wandb:
        return nullcontext()
    from modadd.training.tracking import tracked

    return tracked(flags.wandb, run)


def train_saving(run: Run, flags: Flags, look) -> Record:
    """Train a run in pieces of --save-every steps, which equals never stopping, with a weight file after each."""
    from modadd.training.loop import train

    if flags.save_every < 1:
        raise ValueError(f"save_every must be at least 1, got {flags.save_every}")
    if run.model != "mlp":
        raise ValueError(f"save_models is for the mlp, got {run.model}: the frames of its record hold weights")
    folder = flags.models / run.id
    folder.mkdir(parents=True, exist_ok=True)
    kept = None
    for end in sorted({1, *range(flags.save_every, run.epochs, flags.save_every), run.epochs}):
        for update in train(replace(run, epochs=end), kept, flags.device):
            look(update)
        kept = update.checkpoint()
        if end == 1:  # the learning rate of step 0 is 0: these are the initial weights
            save(folder / "step_0000000.npz", run, 0, kept)
        if end == run.epochs or end % flags.save_every == 0 or kept.provenance["stop_reason"] != "epochs":
            save(folder / f"step_{kept.step:07d}.npz", run, kept.step, kept)
        if kept.provenance["stop_reason"] != "epochs":
            break
    return replace(kept, run=run)


def save(file: Path, run: Run, step: int, record: Record):
    """The float32 weights theta [M, P] and xi [M, P], with the step and the settings as JSON; plain numpy, no pickle.
    An embedding's are embed [P, D] and into [D, M], whose product is theta transposed."""
    P, M, D, w = run.p, run.d_mlp, run.d_model, record.state["w"]
    first = {"theta": w[: P * M].reshape(P, M).T}
    if D:
        first = {"embed": w[: P * D].reshape(P, D), "into": w[P * D : P * D + D * M].reshape(D, M)}
    part = file.with_suffix(".part")
    with part.open("wb") as opened:
        np.savez(opened, step=step, run=run.to_json(), **first, xi=w[-M * P :].reshape(M, P))
    part.replace(file)


def show_profile(result: dict):
    cores = f", {result['threads']} threads" if result["threads"] else ""
    title = f"{result['run_id']} on {result['device']}{cores}: {result['ms_per_step']:.3f} ms a step"
    cli.say([title])
    table = Table("part", "ms", "share", box=None, header_style="")
    for part in result["parts"]:
        table.add_row(part["name"], f"{part['ms']:.4f}", f"{part['share']:.1%}")
    cli.stderr.print(table)


def main(flags: Flags):
    with cli.one_sentence():
        import torch

        from modadd.networks.device import pick_device
        from modadd.training import cost

        run, device = flags.run(), str(pick_device(flags.device))
        if device == "cpu":
            torch.set_num_threads(cost.usual_threads(run))
        price = cost.check_memory(run, device)
        if flags.profile:
            from modadd.training.profiling import profile

            summary = profile(run, device)
            show_profile(summary)
        elif flags.dry_run:
            summary = {"run_id": run.id, "seconds": price.seconds, "memory_bytes": price.memory,
                       "disk_bytes": price.disk}  # fmt: skip
            cli.say([f"{run.id}: {cli.duration(price.seconds)}, {price.memory / 1e6:,.0f} MB of memory and "
                     f"{price.disk / 1e6:,.0f} MB on disk on {device}"])  # fmt: skip
        else:
            summary = train_with_progress(run, flags)
        if flags.json:
            cli.print_json(summary)
        elif not flags.profile and not flags.dry_run:
            cli.facts(summary)


if __name__ == "__main__":
    main(cli.flags(Flags, __doc__))
