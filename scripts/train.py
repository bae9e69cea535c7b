"""Train one run into the cache.

    python scripts/train.py --p 23 --preset grokking --weight-decay 1 --json

A run that is already there is opened, not trained; an unfinished one goes on where it stopped.
"""

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from modadd import cli, store
from modadd.runs import Run


@dataclass(kw_only=True)
class Flags(cli.RunFlags):
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    dry_run: bool = False
    """Say what the run is and what it costs, and stop."""
    no_cache: bool = False
    """Neither read nor write the cache."""
    cache: Path = field(default_factory=store.default_folder)
    """Folder of the cache."""
    json: bool = False
    """Print the final numbers as one JSON object on stdout."""


def train_with_progress(run: Run, flags: Flags) -> dict:
    """The summary of the run, trained or found."""
    from modadd.lab import carry_out
    from modadd.training import train

    shelf = None if flags.no_cache else store.Store(flags.cache)
    there = shelf and shelf.get(run.id)
    if there is not None and there.finished:
        cli.stderr.print(f"{run.id} is already there: not trained again")
        return there.summary
    with cli.progress() as bar:
        task = bar.add_task(run.id, total=run.epochs, rate="")

        def look(update) -> bool:
            speed = update.record.provenance["steps_per_second"]
            bar.update(task, completed=update.step, rate=f"{speed:,.0f} steps/s")
            return False

        if shelf is not None:
            return carry_out(run, shelf, flags.device, look).summary
        for update in train(run, device=flags.device):
            look(update)
        return update.record.summary


def main(flags: Flags):
    with cli.one_sentence():
        from modadd import cost
        from modadd.engine import pick_device

        run = flags.run()
        price = cost.check_memory(run, str(pick_device(flags.device)))
        if flags.dry_run:
            summary = {"run_id": run.id, "seconds": price.seconds, "memory_bytes": price.memory,
                       "disk_bytes": price.disk}  # fmt: skip
        else:
            summary = train_with_progress(run, flags)
        if flags.json:
            cli.print_json(summary)
        else:
            for name, value in summary.items():
                cli.stderr.print(f"{name:>20}  {'-' if value is None else value}", highlight=False)


if __name__ == "__main__":
    main(tyro.cli(Flags, description=__doc__))
