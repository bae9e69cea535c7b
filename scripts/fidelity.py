"""Does TF32 train the same networks as float32?  Whole runs in both, side by side.

    python scripts/fidelity.py --p 23 53 97 --seeds 42 1 2

Needs a CUDA device.  Prints a Markdown table: per modulus and preset the largest difference over the
seeds, and where each seed's stages end.
"""

import json
import sys
from dataclasses import dataclass, field
from itertools import product

import cli

from modadd.runs import preset

KEPT = ("p", "preset", "seed", "precision", "steps", "train_loss", "ipr", "stage1_end", "stage2_end")


@dataclass(kw_only=True)
class Flags:
    p: list[int] = field(default_factory=lambda: [23, 53, 97])
    """Moduli."""
    presets: list[str] = field(default_factory=lambda: ["standard", "grokking"])
    """Presets to train."""
    seeds: list[int] = field(default_factory=lambda: [42, 1, 2])
    """Seeds, trained together."""
    json: bool = False
    """Print the rows as one JSON object instead."""


def rows(flags: Flags) -> list[dict]:
    """The final numbers of every run in both precisions."""
    from modadd.networks.device import pick_device
    from modadd.training.loop import train_many

    device = str(pick_device("cuda"))
    found = []
    for name, p, precision in product(flags.presets, flags.p, ("fp32", "tf32")):
        records = train_many([preset(name, p, seed=seed, precision=precision) for seed in flags.seeds], device)
        found += [{key: record.summary[key] for key in KEPT} for record in records]
        cli.stderr.print(f"{name} at p = {p} in {precision}: {len(records)} seeds trained")
    return found


def markdown(found: list[dict]) -> str:
    """The table of these rows."""
    lines = [
        "| p | preset | loss apart | IPR apart | stage I, fp32 | stage I, TF32 | stage II, fp32 | stage II, TF32 |",
        "| ---: | --- | ---: | ---: | --- | --- | --- | --- |",
    ]
    for p, name in dict.fromkeys((row["p"], row["preset"]) for row in found):
        exact, fast = (
            [row for row in found if (row["p"], row["preset"], row["precision"]) == (p, name, precision)]
            for precision in ("fp32", "tf32")
        )
        pairs = list(zip(exact, fast, strict=True))
        loss = max(abs(b["train_loss"] / a["train_loss"] - 1) for a, b in pairs)
        ipr = max(abs(a["ipr"] - b["ipr"]) for a, b in pairs)
        ends = [
            ", ".join("–" if row[f"stage{n}_end"] is None else f"{row[f'stage{n}_end']:,}" for row in group)
            for n in (1, 2) for group in (exact, fast)
        ]  # fmt: skip
        lines.append(f"| {p} | {name} | {loss:.1%} | {ipr:.4f} | {' | '.join(ends)} |")
    return "\n".join(lines)


def main(flags: Flags):
    with cli.one_sentence():
        found = rows(flags)
        print(json.dumps({"rows": found}) if flags.json else markdown(found))
    sys.exit(0)


if __name__ == "__main__":
    main(cli.flags(Flags, __doc__))
