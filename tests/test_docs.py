"""What the documentation tells to type is known: scripts, flags, links and files; and its Python runs."""

import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tables
import tree
from serving import ROOT

from modadd import activations, ui

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
READ = [page for page in PAGES if page.name not in ("CHANGELOG.md", "faults.md")]


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of code in this language, "" for what is typed."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Every call of a script: in blocks, and in the line between backticks."""
    text = [line for block in blocks(page, "") for line in block.replace("\\\n", " ").splitlines()]
    text += re.findall(r"`([^`\n]*scripts/[^`\n]*)`", page.read_text())
    return [shlex.split(line.partition("scripts/")[2], comments=True) for line in text if "scripts/" in line]


@functools.cache
def told(script: str) -> str:
    """What a script says of itself."""
    asked = [sys.executable, f"scripts/{script}", "--help"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout


ASKED = {
    words[0]: sorted({flag.partition("=")[0] for page in READ for w in commands(page) if w[0] == words[0]
                      for flag in w[1:] if flag.startswith("--")})
    for page in READ for words in commands(page) if words[0].endswith(".py")
}  # fmt: skip


def test_something_is_documented():
    assert {"train.py", "precompute.py", "sweep.py", "figures.py", "import_run.py", "tables.py"} <= ASKED.keys()
    assert "--preset" in ASKED["train.py"]


@pytest.mark.parametrize("script", sorted(ASKED))
def test_every_documented_script_is_there(script):
    assert (ROOT / "scripts" / script).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(ASKED))
def test_every_documented_flag_is_known_to_its_script(script):
    known = set(re.findall(r"--[a-z][a-z-]*", told(script)))
    assert set(ASKED[script]) <= known


@pytest.mark.parametrize("script", ["tables.py"])
def test_the_flags_of_a_quick_script_are_known(script):
    assert set(ASKED[script]) <= set(re.findall(r"--[a-z][a-z-]*", told(script)))


@pytest.mark.parametrize("page", READ, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith(("http://", "https://", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("page", READ, ids=lambda page: page.name)
def test_every_make_target_is_there(page):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in re.findall(r"(?:^ *|`)make ([a-z-]+)", page.read_text(), re.MULTILINE):
        assert target in targets, target


def test_every_page_and_module_of_the_readme_is_there():
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"^    (\w[\w/]*(?:\.py|/)) ", text, re.MULTILINE):
        assert (ROOT / path).exists(), path
    for name, _ in ui.PAGES.values():
        assert f"\n| {name} |" in text, name


def test_the_tables_of_the_readme_are_those_of_the_atlas():
    text = (ROOT / "README.md").read_text()
    for table in tables.tables():
        assert table in text, "run python scripts/tables.py --write"
        assert tables.put(table, text) == text


def test_pictures_of_the_readme_stay_small():
    assert sum(picture.stat().st_size for picture in ROOT.glob("docs/**/*.png")) < 1_500_000


def test_the_python_of_the_readme_runs(capsys):
    for block in blocks(ROOT / "README.md", "python"):
        # What the reader runs in full is here run for a few steps.
        short = block.replace('preset("standard", 23)', 'preset("standard", 5, epochs=20)')
        assert short != block
        exec(short, {})
    assert capsys.readouterr().out


RESEARCH = blocks(ROOT / "docs" / "researcher.md", "python")


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A folder with somebody's checkpoints at p = 7, and with the cache; one's own activation is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs").mkdir()
    for seed, step in enumerate((0, 100)):
        theta_MP, xi_MP = np.random.default_rng(seed).normal(size=(2, 32, 7)).astype(np.float32)
        file = tmp_path / "theirs" / f"{step}.safetensors"
        file.write_bytes(safetensors.numpy.save({"theta": theta_MP, "xi": xi_MP}))
    yield tmp_path
    activations.ACTIVATIONS.pop("sine", None)


@pytest.mark.parametrize("block", RESEARCH, ids=[block.splitlines()[-1].strip()[:40] for block in RESEARCH])
def test_a_task_of_a_researcher_is_done_in_ten_lines(block, theirs, capsys):
    assert len(block.splitlines()) <= 10
    exec(block, {})
    assert capsys.readouterr().out or (theirs / "theirs.svg").stat().st_size > 1000


def test_the_list_of_files_is_that_of_the_files():
    assert tree.FILE.read_text() == tree.text(), "run python scripts/tree.py"


def test_the_list_of_files_has_every_folder():
    there = {file.parent.relative_to(ROOT).as_posix() for file in (ROOT / "modadd").rglob("*.py")}
    assert there | {"scripts"} == set(tree.FOLDERS)
