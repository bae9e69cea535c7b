"""Import a network trained elsewhere into the cache: one checkpoint, or a folder of them.

    python scripts/import_run.py runs/mine.safetensors --activation relu --last-step 5000
    python scripts/import_run.py results/models/p23 --frac-train 0.75 --weight-decay 2 --json

Files are .safetensors or .pth; in a folder 0.pth, 200.pth ... final.pth are the frames at those steps.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from modadd import cli, importing, store
from modadd.checkpoint import Orientation
from modadd.runs import Init, Optimizer, Run, Split


@dataclass(kw_only=True)
class Flags:
    path: Positional[Path]
    """A .safetensors or .pth file, or a folder of them."""
    p: int | None = None
    """Modulus; read from the shapes by default."""
    orientation: Orientation = "by shape"
    """Whether the published matrices are as published or transposed, where their shapes fit both."""
    last_step: int | None = None
    """Step of a file that does not say its own."""
    name: str | None = None
    """Name to remember it by; that of the path by default."""
    activation: Annotated[str, arg(aliases=["--act-type"])] = Run.activation
    """relu, quad, gelu or identity; also ReLU, Quad, GeLU, Id."""
    frac_train: float = Run.frac_train
    """Share of the pairs to count as trained on."""
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


def main(flags: Flags):
    with cli.one_sentence():
        files = importing.files_at(flags.path)
        found = importing.find(files, flags.p, flags.orientation, flags.last_step)
        cli.say(importing.told(found))
        settings = {f.name: getattr(flags, f.name) for f in fields(Run) if f.name != "p" and hasattr(flags, f.name)}
        settings["activation"] = cli.PUBLISHED.get(flags.activation.lower(), flags.activation.lower())
        with cli.progress() as bar:
            task = bar.add_task("measuring", total=len(found.moments), rate="")
            record = importing.record(
                found,
                flags.name or flags.path.resolve().name,
                lambda done: bar.update(task, completed=done),
                **settings,
            )
        shelf = store.Store(flags.cache)
        shelf.put(record)
        shelf.close()
        if flags.json:
            cli.print_json(record.summary)
        else:
            for name, value in record.summary.items():
                cli.stderr.print(f"{name:>20}  {'-' if value is None else value}", highlight=False)


if __name__ == "__main__":
    main(cli.flags(Flags, __doc__))
