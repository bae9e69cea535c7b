"""The tables of the README: what the atlas measured, and how each claim of the paper fared at every modulus.

python scripts/tables.py                 # both, as Markdown
python scripts/tables.py --p 23 53       # the first at these moduli
python scripts/tables.py --write         # both into README.md, in the place of those that are there
"""

import math
import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cli

from modadd import data, preset
from modadd.analysis import claims, lottery
from modadd.many import atlas, replicas, survey
from modadd.records import store
from modadd.runs import Run

README = Path(__file__).resolve().parents[1] / "README.md"


@dataclass(kw_only=True)
class Flags:
    p: tuple[int, ...] = (23, 53, 97, 149, 199)
    """Moduli of the first table."""
    write: bool = False
    """Put the tables into README.md instead of printing them."""


def rounded(row: dict, name: str) -> str:
    """Two digits: another seed changes the second."""
    value = row[name]
    return f"{round(value, 1 - math.floor(math.log10(value))):,.0f}"


def of_pairs(row: dict, name: str) -> str:
    """An accuracy in whole per cent, with Wilson's 95 % interval over the unordered pairs."""
    run = preset(row["preset"], row["p"], seed=row["seed"])
    n = int((data.group_weights(run)[:, data.GROUPS.index(name.removesuffix("_accuracy"))] > 0).sum())
    low, high = lottery.interval(row[name] * n, n)
    return f"{row[name]:.0%} ({low:.0%} to {high:.0%})"


MEASURES = {
    "standard: IPR": ("standard", "ipr", ".2f"),
    "mean |sin D|": ("standard", "mean_abs_sin_D", ".2g"),
    "train loss": ("standard", "train_loss", ".1g"),
    "grokking: stage I ends": ("grokking", "stage1_end", rounded),
    "stage II ends": ("grokking", "stage2_end", rounded),
    "held-out accuracy": ("grokking", "held_out_accuracy", of_pairs),
    "IPR": ("grokking", "ipr", ".2f"),
}


def markdown(head: list[str], body: list[list[str]], numbers: bool) -> str:
    """A table as Markdown; columns of numbers are flush right."""
    rule = ["---:" if numbers else "---"] * len(head)
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, rule, *body)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def written(row: dict, name: str, form) -> str:
    """A cell of the first table."""
    if row.get(name) is None:
        return "–"
    tell = (lambda value: form({name: value}, name)) if form is rounded else (lambda value: format(value, form))
    if name in row["spread"]:
        tell = tell if form is not of_pairs else "{:.0%}".format
        low, high = row["spread"][name]
        return f"{tell(row[name])} ({tell(low)} to {tell(high)})"
    return of_pairs(row, name) if form is of_pairs else tell(row[name])


def measured(rows: list[dict], moduli: tuple[int, ...]) -> str:
    """One row a modulus; what was not reached is a dash.  A cell over several seeds is the median, with both ends."""
    found = {(row["p"], row["preset"]): row for row in replicas.medians(rows)}
    body = []
    for p in moduli:
        cells = [(found.get((p, which), {}), name, form) for which, name, form in MEASURES.values()]
        body.append([str(p), *(written(*cell) for cell in cells)])
    return markdown(["p", *MEASURES], body, True)


def judged(rows: list[dict]) -> str:
    """One row a claim: in how many runs of the presets' own seed that can be judged it holds, in part, or fails; in
    how many not yet; and, where there are several seeds, at how many moduli and presets all of them agree."""
    words = Counter((row["claim"], row["verdict"]) for row in survey.verdicts(r for r in rows if r["seed"] == Run.seed))
    groups, body = {}, []
    for row in survey.verdicts(rows):
        if row["verdict"] in claims.VERDICTS[:3]:
            groups.setdefault((row["claim"], row["p"], row["preset"]), []).append(row["verdict"])
    several = [(name, set(verdicts)) for (name, _, _), verdicts in groups.items() if len(verdicts) > 1]
    for claim in claims.CLAIMS:
        holds, partly, fails, later = (words[claim.name, verdict] for verdict in claims.VERDICTS[:4])
        if (total := holds + partly + fails) or later:
            body.append([claim.statement, *(f"{count} of {total}" for count in (holds, partly, fails)), str(later)])
            mine = [verdicts for name, verdicts in several if name == claim.name]
            body[-1] += [f"{sum(len(one) == 1 for one in mine)} of {len(mine)}" if mine else "–"] if several else []
    return markdown(["claim", *claims.VERDICTS[:4], *(["seeds agree"] if several else [])], body, False)


def tables(moduli: tuple[int, ...] = Flags.p) -> list[str]:
    """Both tables, of the atlas alone."""
    with tempfile.TemporaryDirectory() as empty:
        shelf = store.Store(empty)
        rows = atlas.table(shelf)[0]
        shelf.close()
    return [measured(rows, moduli), judged(rows)]


def put(table: str, text: str) -> str:
    """The text with this table in the place of the one that has the same first column, and begins so."""
    begin = re.escape(table.split(" | ")[0] + " | " + table.split(" | ")[1])
    return re.sub(rf"^{begin}.*\n(\|.*\n)*", lambda _: f"{table}\n", text, count=1, flags=re.MULTILINE)


def main(flags: Flags):
    made = tables(flags.p)
    if not flags.write:
        print("\n\n".join(made))
        return
    text = README.read_text()
    for table in made:
        text = put(table, text)
    README.write_text(text)


if __name__ == "__main__":
    with cli.one_sentence():
        main(cli.flags(Flags, __doc__))
