"""Try every fault and attack that the tests know, and write what came of it into docs/faults.md.

    python scripts/faults.py                      # all of them: about half an hour
    python scripts/faults.py --told a.jsonl b.jsonl   # nothing is tried: the table from what `pytest --faults` wrote

The lines are those that `tried(...)` in a test tells once the test has passed; the exit status is 1 where a fault
that the tests know was not told.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cli

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# What was tried

Everything here is made by `make faults`: each line by tests that really do it, and pass. Where finished records were
there before, they are compared afterwards, array for array. A case is one kill, one damaged file, one hostile text, one
operation, one press, one visitor.

| fault or attack | cases | result | tried on |
| --- | ---: | --- | --- |
"""


@dataclass(kw_only=True)
class Flags:
    told: list[Path] = field(default_factory=list)
    """Files that `pytest --faults FILE` wrote; with these, nothing is tried again."""
    out: Path = ROOT / "docs" / "faults.md"
    """Where the table goes."""


def known() -> list[str]:
    """The faults that the tests try, in their order."""
    sys.path.insert(0, str(ROOT / "tests"))
    from test_faults import faults

    return faults()


def table(lines: Iterable[dict], order: list[str]) -> tuple[str, list[str]]:
    """(the page, the faults of `order` of which no line tells)."""
    told: dict[str, dict] = {}
    for line in lines:
        row = told.setdefault(line["fault"], {"cases": 0, "on": ""})
        row |= {"cases": row["cases"] + line["cases"], "result": line["result"], "on": max(row["on"], line["on"])}
    unknown = {"cases": 0, "result": "not tried this time", "on": ""}
    rows = [f"| {fault} | {(row := told.get(fault, unknown))['cases']:,} | {row['result']} | {row['on']} |\n"
            for fault in order]  # fmt: skip
    made = (
        f"\n{sum(told[f]['cases'] for f in order if f in told):,} cases. {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}.\n"
    )
    return HEAD + "".join(rows) + made, [fault for fault in order if fault not in told]


def main(flags: Flags):
    with tempfile.TemporaryDirectory() as folder:
        files, status = flags.told, 0
        if not files:
            files = [Path(folder) / "told"]
            command = [sys.executable, "-m", "pytest", "-m", "fault", "--faults", str(files[0])]
            status = subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        page, missing = table(lines, known())
        flags.out.write_text(page)
    for fault in missing:
        cli.say([f"not told: {fault}"])
    sys.exit(1 if status or missing else 0)


if __name__ == "__main__":
    with cli.one_sentence():
        main(cli.flags(Flags, __doc__.splitlines()[0]))
