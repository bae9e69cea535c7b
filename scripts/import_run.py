"""Import a network trained elsewhere into the cache: one checkpoint, a folder of them, or a run that was taken along.

    python scripts/import_run.py runs/mine.safetensors --activation relu --last-step 5000
    python scripts/import_run.py results/models/p23 --weight-decay 2 --json
    python scripts/import_run.py p023-standard-fd1222771d.zip

Files are .safetensors, .pth, .pt, .ckpt, .bin or .npz; in a folder 0.pth, 200.pth ... final.pth are the frames at
those steps, and train_data.pth is the split. A bundle (.zip) or a record (.safetensors) of the page Runs is a whole
run, which needs no flags.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

import cli
from tyro.conf import Positional, arg

from modadd.exchange import bundle, importing, reading
from modadd.exchange.files import File, files_at, path_of
from modadd.exchange.two_layers import Orientation
from modadd.records import store
from modadd.records.record import Record
from modadd.runs import Init, Optimizer, Run, Split


@dataclass(kw_only=True)
class Flags:
    path: Positional[str]
    """A checkpoint, a folder of them, or the .zip of a run."""
    p: int | None = None
    """Modulus; read from the shapes by default."""
    orientation: Orientation = "by shape"
    """Whether the matrices are as published or transposed, where neither names nor shapes tell."""
    last_step: int | None = None
    """Step of a file that does not say its own."""
    name: str | None = None
    """Name to remember it by; that of the path by default."""
    activation: Annotated[str, arg(aliases=["--act-type"])] = Run.activation
    """relu, quad, gelu or identity; also ReLU, Quad, GeLU, Id."""
    frac_train: float = Run.frac_train
    """Share of the pairs to count as trained on, where the files do not name them."""
    split: Split = Run.split
    seed: int = Run.seed
    """Seed of that split."""
    optimizer: Optimizer = Run.optimizer
    """This and the next are only remembered."""
    lr: float = Run.lr
    weight_decay: float = Run.weight_decay
    init: Init = Run.init
    init_scale: float = Run.init_scale
    cache: Path = field(default_factory=store.default_folder)
    """Folder of the cache."""
    json: bool = False
    """Print the numbers as one JSON object on stdout."""


def measured(files: list[File], flags: Flags) -> Record:
    """The record of checkpoints, every one of them measured, with an account of what was read."""
    found = reading.find(files, flags.p, flags.orientation, flags.last_step)
    cli.say(reading.told(found))
    cli.say(f"  {': '.join(filter(None, line))}" for line in reading.table(found))
    settings = {f.name: getattr(flags, f.name) for f in fields(Run) if f.name != "p" and hasattr(flags, f.name)}
    settings["activation"] = cli.PUBLISHED.get(flags.activation.lower(), flags.activation.lower())
    with cli.progress() as bar:
        task = bar.add_task("measuring", total=len(found.moments), rate="")
        record = importing.record(found, name_of(flags), lambda done: bar.update(task, completed=done), **settings)
    if record.provenance["own_losses"]:
        cli.say([record.provenance["own_losses"]])
    return record


def name_of(flags: Flags) -> str:
    return flags.name or path_of(flags.path).resolve().name


def main(flags: Flags):
    with cli.one_sentence():
        files = files_at(flags.path)
        record = importing.whole_run(files)
        shelf = cli.cache(flags.cache)
        if record is not None:
            record = bundle.keep(record, shelf, name_of(flags))
            cli.say([bundle.told(record)])
        else:
            shelf.put(record := measured(files, flags))
        shelf.close()
        if flags.json:
            cli.print_json(record.summary)
        else:
            cli.facts(record.summary)


if __name__ == "__main__":
    main(cli.flags(Flags, __doc__))
