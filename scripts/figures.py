"""Draw every published figure and table of a modulus from its records, under its published name.

    python scripts/figures.py --p 23 --out results
    python scripts/figures.py --p 23 --out results --verify
    python scripts/figures.py --p 113 --models transformer --format pdf

Records come from the cache, else from the atlas; nothing is trained here.  Files of the MLP lie in the folder of
their modulus; each finished transformer of that modulus gets a folder in it, named after its run.  What cannot
be drawn is listed with the reason, and the exit status is 1.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import cli

from modadd.figures.print import published
from modadd.records import store
from modadd.runs import Model


@dataclass(kw_only=True)
class Flags:
    p: list[int] = field(default_factory=list)
    """Moduli, odd from 3 to 199."""
    all: bool = False
    """Every odd modulus from 3 to 199."""
    out: Path = Path("results")
    """Folder that gets one folder a modulus."""
    format: list[published.Format] = field(default_factory=lambda: ["png"])
    """Formats of the figures: png, pdf, svg."""
    models: list[Model] = field(default_factory=list)
    """Networks to draw: mlp, transformer, pre-ln (the other tasks).  By default the MLP and every transformer that
    is there; a network that is named must be there."""
    seed: int = 42
    """Seed of the MLP's runs; transformers are drawn with any seed."""
    verify: bool = False
    """Draw nothing; list what is missing in the folder, exit 1 if anything is."""
    atlas: Path = store.ATLAS
    """Folder of the atlas."""
    cache: Path = field(default_factory=store.default_folder)
    """Folder of the cache."""
    json: bool = False
    """Print one JSON object on stdout."""


def main(flags: Flags):
    with cli.one_sentence():
        shelf, results = store.Store(flags.cache, flags.atlas), []
        for p in cli.moduli(flags.p, flags.all):
            results.append(published.publish(p, shelf, flags.out, flags.format, flags.seed, flags.verify, flags.models))
            cli.say(published.told(results[-1]))
        if flags.json:
            cli.print_json({"moduli": results, "missing": sum(len(r["missing"]) for r in results)})
        if any(r["missing"] for r in results):
            sys.exit(1)


if __name__ == "__main__":
    main(cli.flags(Flags, __doc__))
