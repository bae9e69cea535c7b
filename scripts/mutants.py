"""Change the program on purpose, one place at a time, and list the changes that no test notices.

    python scripts/mutants.py modadd/maths/measures.py --most 20
    python scripts/mutants.py --named                     # changes that were once not noticed

A change is made in a copy of the program, and the tests that name its module are run there.  A change that lives is
either a test that is missing or a change that changes nothing; which of the two, somebody has to say.
"""

import ast
import copy
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

import cli
from serving import ROOT
from tyro.conf import Positional, arg

CHOSEN = (
    "modadd/maths/measures.py", "modadd/maths/theory.py", "modadd/maths/fourier.py", "modadd/maths/ideal.py",
    "modadd/analysis/evidence.py", "modadd/analysis/claims.py", "modadd/analysis/lottery.py",
    "modadd/records/store.py", "modadd/records/index.py", "modadd/records/bin.py", "modadd/jobs/lab.py",
    "modadd/figures/curves.py", "modadd/figures/neurons.py", "modadd/figures/grokking.py", "modadd/figures/phases.py",
)  # fmt: skip
NAMED = ROOT / "tests" / "mutants.json"  # [{"file", "was", "is", "what", "tests"}]
OTHER = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
         ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.And: ast.Or,
         ast.Or: ast.And}  # fmt: skip


class Mutant(NamedTuple):
    """A change of a file: its new text, what was changed where, and the tests that should notice."""

    file: str
    text: str
    what: str
    tests: tuple[str, ...]


@dataclass
class Flags:
    modules: Positional[list[str]] = field(default_factory=lambda: list(CHOSEN))
    """Files to change; chosen ones by default."""
    most: Annotated[int, arg(aliases=["-n"])] = 15
    """Changes a file, drawn from all of them."""
    seed: int = 0
    """Of that draw."""
    named: bool = False
    """Only the changes of tests/mutants.json, which were once not noticed."""
    seconds: int = 300
    """A change under which the tests take longer is noticed."""
    json: bool = False
    """Print the survivors as JSON on stdout."""


def changed(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """(another node for this one, what it changes)."""
    other = copy.deepcopy(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OTHER:
        other.ops[0] = OTHER[type(node.ops[0])]()
        yield other, "another comparison"
    elif isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in OTHER:
        other.op = OTHER[type(node.op)]()
        yield other, "another operator"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield other.operand, "without its sign"
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float) and abs(node.value) < 10**6:
        other.value = node.value + 1 if type(node.value) is int else node.value * 1.2
        yield other, "another number"
    elif isinstance(node, ast.Dict) and len(node.keys) > 1 and all(isinstance(k, ast.Constant) for k in node.keys[:2]):
        other.values[:2] = other.values[1::-1]
        yield other, "two values exchanged under their names"
    elif isinstance(node, ast.IfExp):
        other.body, other.orelse = other.orelse, other.body
        yield other, "the other branch"


def mutants(file: str) -> list[Mutant]:
    """Every change of a file that this script knows."""
    text = (ROOT / file).read_text()
    lines, found, near = text.splitlines(keepends=True), [], tuple(related(file))
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    raw = text.encode()
    for node in ast.walk(ast.parse(text)):
        for other, what in changed(node):
            begin = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            new = raw[:begin] + b"(" + ast.unparse(other).encode() + b")" + raw[end:]
            try:
                ast.parse(new)
            except SyntaxError:  # within an f-string, or a name for an argument
                continue
            was = " ".join(ast.unparse(node).split())[:60]
            found.append(Mutant(file, new.decode(), f"{file}:{node.lineno} {what}: {was}", near))
    return found


def named() -> list[Mutant]:
    """The changes of tests/mutants.json; ValueError where the program has no such place any more."""
    found = []
    for row in json.loads(NAMED.read_text()):
        text = (ROOT / row["file"]).read_text()
        if text.count(row["was"]) != 1:
            raise ValueError(
                f"{row['file']} does not hold {row['was'][:60]!r} exactly once: say it anew in {NAMED.name}"
            )
        found.append(
            Mutant(
                row["file"], text.replace(row["was"], row["is"]), f"{row['file']}: {row['what']}", tuple(row["tests"])
            )
        )
    return found


def related(file: str) -> list[str]:
    """The quick tests that import a module, or else all of them."""
    name, found = file.removesuffix(".py").replace("/", "."), []
    for test in sorted((ROOT / "tests").glob("test_*.py")):
        for node in ast.walk(ast.parse(test.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{one}" for one in names)]
            if name in names and "browser" not in test.name:
                found.append(f"tests/{test.name}")
    return [*dict.fromkeys(found)] or ["tests"]


def tested(tests: tuple[str, ...], place: Path, seconds: int, *more: str) -> subprocess.CompletedProcess:
    """These tests, run in the copy."""
    path = f"{place}{os.pathsep}{place / 'scripts'}"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not slow and not browser", *more, *tests], cwd=place,
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True,
        timeout=seconds,
    )  # fmt: skip


def failing(tests: tuple[str, ...], place: Path) -> list[str]:
    """Tests that fail without any change, which say nothing here."""
    done = tested(tests, place, 3600, "-rfE")
    if done.returncode not in (0, 1):
        raise ValueError(f"{tests[0]} cannot be run: {done.stdout[-500:]}")
    return re.findall(r"^(?:FAILED|ERROR) (\S+::.*?)(?: - .*)?$", done.stdout, re.MULTILINE)


def lives(mutant: Mutant, place: Path, seconds: int, but: list[str]) -> bool:
    """Do the tests pass with this change?"""
    file = place / mutant.file
    before = file.read_text()
    file.write_text(mutant.text)
    try:
        return tested(mutant.tests, place, seconds, "-x", *(f"--deselect={test}" for test in but)).returncode == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        file.write_text(before)


def main(flags: Flags):
    with cli.one_sentence(), tempfile.TemporaryDirectory() as place:
        draw, tried = random.Random(flags.seed), named() if flags.named else []
        for file in () if flags.named else flags.modules:
            every = mutants(file)
            tried += draw.sample(every, min(flags.most, len(every)))
        copied = Path(place) / "program"
        shutil.copytree(ROOT, copied, ignore=shutil.ignore_patterns(".git", ".venv", "cache", "__pycache__"))
        (copied / "cache").symlink_to(ROOT / "cache")
        survivors, but = [], {}
        for tests in dict.fromkeys(mutant.tests for mutant in tried):
            but[tests] = failing(tests, copied)
            cli.say([f"{test} fails as it is, and is left out" for test in but[tests]])
        for number, mutant in enumerate(tried, 1):
            if alive := lives(mutant, copied, flags.seconds, but[mutant.tests]):
                survivors.append(mutant.what)
            cli.say([f"{number} of {len(tried)} {'LIVES' if alive else 'noticed'}: {mutant.what}"])
        cli.say([f"{len(tried) - len(survivors)} of {len(tried)} changes were noticed"])
        if flags.json:
            cli.print_json({"tried": len(tried), "survivors": survivors})


if __name__ == "__main__":
    main(cli.flags(Flags, __doc__))
