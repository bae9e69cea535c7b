"""Do the fast steps train the same networks as the exact ones?  Whole runs with both, side by side.

    python scripts/fidelity.py --p 23 53 97 --seeds 42 1 2
    python scripts/fidelity.py --p 23 --presets standard quad_random grokking --device cpu

On a CUDA device TF32 is held against float32, on a CPU the compiled step against torch's.  Prints a Markdown table: per
modulus and preset the largest difference over the seeds, and where each seed's stages end.
"""

import os
import sys
from dataclasses import dataclass, field
from itertools import product

import cli

from modadd.runs import preset

KEPT = ("p", "preset", "seed", "steps", "train_loss", "ipr", "stage1_end", "stage2_end")
STEPS = {"cuda": ("fp32", "TF32"), "cpu": ("torch", "compiled")}  # the exact one and the fast one


@dataclass(kw_only=True)
class Flags:
    p: list[int] = field(default_factory=lambda: [23, 53, 97])
    """Moduli."""
    presets: list[str] = field(default_factory=lambda: ["standard", "grokking"])
    """Presets to train."""
    seeds: list[int] = field(default_factory=lambda: [42, 1, 2])
    """Seeds, trained together."""
    device: str = "cuda"
    """cuda, cuda:N or cpu."""
    json: bool = False
    """Print the rows as one JSON object instead."""


def rows(flags: Flags) -> list[dict]:
    """The final numbers of every run with both steps."""
    from modadd.networks.device import pick_device
    from modadd.networks.mlp import compiled
    from modadd.training.cost import cores
    from modadd.training.loop import train_many

    where = pick_device(flags.device)
    if where.type == "cpu" and compiled.build() is None:
        raise ValueError("this installation has no compiled step: install modadd where there is a C compiler")
    fastest, found = compiled.build(), []
    for name, p, step in product(flags.presets, flags.p, STEPS[where.type]):
        os.environ["MODADD_STEP"] = "torch" if step == "torch" else fastest or ""  # for the processes that train
        precision = "tf32" if step == "TF32" else "fp32"
        runs = [preset(name, p, seed=seed, precision=precision) for seed in flags.seeds]
        records = train_many(runs, str(where), workers=cores())
        found += [{key: record.summary[key] for key in KEPT} | {"step": step} for record in records]
        cli.stderr.print(f"{name} at p = {p} with {step}: {len(records)} seeds trained")
    return found


def markdown(found: list[dict]) -> str:
    """The table of these rows."""
    names = tuple(dict.fromkeys(row["step"] for row in found))
    ends = [f"stage {n}, {name}" for n in ("I", "II") for name in names]
    lines = [
        f"| p | preset | loss apart | IPR apart | {' | '.join(ends)} |",
        "| ---: | --- | ---: | ---: | --- | --- | --- | --- |",
    ]
    for p, name in dict.fromkeys((row["p"], row["preset"]) for row in found):
        exact, fast = (
            [row for row in found if (row["p"], row["preset"], row["step"]) == (p, name, step)] for step in names
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
        if flags.json:
            cli.print_json({"rows": found})
        else:
            print(markdown(found))
    sys.exit(0)


if __name__ == "__main__":
    main(cli.flags(Flags, __doc__))
