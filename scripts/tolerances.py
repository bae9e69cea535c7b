"""What coding costs a record: the worst error of every array against the full record, trained on the spot.

    python scripts/tolerances.py --p 23 53 --presets standard grokking

Prints a Markdown table, a row an array: what its error is measured in, the tolerance, the worst error of each run, and
its bytes.
"""

from dataclasses import dataclass, field
from itertools import product

import cli
import numpy as np

from modadd.frames import schema
from modadd.records import coding
from modadd.records.record import Record
from modadd.runs import preset

SENSE = {
    "exact": "any bit", "votes": "of the frame's largest", "linear": "of the frame's largest", "log": "ln",
    "share": "arcsin √", "part": "itself", "angle": "rad", "spectrum": "of the magnitude",
    "weights": "of the magnitude",
}  # fmt: skip


@dataclass(kw_only=True)
class Flags:
    p: list[int] = field(default_factory=lambda: [23])
    """Moduli."""
    presets: list[str] = field(default_factory=lambda: ["standard", "grokking"])
    """Presets to train."""
    epochs: int | None = None
    """Training steps instead of the preset's own number."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


def errors(whole: Record, small: Record) -> dict[str, tuple[float, int]]:
    """(worst error, bytes) of every array of a compact record against the whole one."""
    at, fields, found = dict(zip(whole.frame_steps, whole.frames, strict=True)), schema.fields(whole.run), {}
    for name, size in small.frames.sizes.items():
        steps, again = small.series(name)
        few = slice(again.shape[1]) if again.ndim > 1 else ()  # a compact record may hold fewer neurons
        found[name] = coding.error(np.stack([at[step][name][few] for step in steps]), again, fields[name]), size
    return found


def main(flags: Flags):
    from modadd.training.loop import train

    columns, fields = {}, schema.FIELDS["mlp"]
    with cli.one_sentence():
        for p, name in product(flags.p, flags.presets):
            run = preset(name, p, epochs=flags.epochs)
            *_, last = train(run, device=flags.device, every=5)
            small = last.record.compact()
            columns[f"p = {p}, {name}"] = errors(last.record, small)
            size = len(small.frames.blob) + len(coding.curves(small.steps, small.history))
            cli.say([f"{run.id}: {len(small.frames)} of {len(last.record.frames)} frames, {size / 1e3:.0f} kB"])
    print(f"| array | error in | tolerance | {' | '.join(columns)} |")
    print("| --- | --- | ---: |" + " ---: |" * len(columns))
    for name in sorted({name for column in columns.values() for name in column}):
        form, size = fields[name].coded.form, fields[name].coded.size
        cells = [
            f"{column[name][0]:.2g}, {column[name][1]:,} B" if name in column else "–" for column in columns.values()
        ]
        print(f"| `{name}` | {SENSE[form]} | {size:g} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(cli.flags(Flags, __doc__))
