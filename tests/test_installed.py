"""The library as others install it: a wheel in a new environment, used from another folder; and what it declares."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from serving import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# triton comes with a CUDA build of torch, and is never required.
IMPLIED = {"triton"}
DISTRIBUTIONS = {"PIL": "pillow", "vl_convert": "vl-convert-python", "array_api_compat": "array-api-compat"}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[=<>!~\[; ]", line)[0].lower() for line in requirements}


def imported(*folders: str) -> set[str]:
    """Distributions that the files of these folders import."""
    found = set()
    for file in (file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module)
    first = {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names) - IMPLIED
    own = {file.stem for file in [*(ROOT / "scripts").glob("*.py"), *(ROOT / "tests").glob("*.py")]} | {"modadd"}
    return {DISTRIBUTIONS.get(name, name) for name in first - own}


LIBRARY = [f"modadd/{path.name}" for path in (ROOT / "modadd").iterdir() if path.is_dir() and path.name != "ui"]


def test_what_the_library_imports_is_what_it_declares():
    core, extra = names(PROJECT["dependencies"]), {k: names(v) for k, v in PROJECT["optional-dependencies"].items()}
    assert imported(*LIBRARY) == core | extra["cluster"] | extra["wandb"]
    assert imported("modadd/ui", "pages") - core == extra["app"]
    assert (
        imported("scripts") - core - names((ROOT / "requirements-dev.txt").read_text().splitlines()) == extra["scripts"]
    )


def test_what_is_pinned_covers_what_is_declared():
    pinned = names(line for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line)
    declared = names(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["scripts"])
    assert declared <= pinned
    assert importlib.metadata.version("streamlit")


USE = """
from modadd import Store, load, preset, train
import modadd
from modadd.exchange import bundle
from modadd.figures import curves, export
from modadd.records.store import ATLAS
assert "site-packages" in modadd.__file__, modadd.__file__
shipped = Store("runs").get(preset("standard", 5).id)
assert shipped is not None and shipped.finished
assert (ATLAS / "seeds" / "p005.npz").exists()
*_, last = train(preset("standard", 5, epochs=50), device="cpu")
shelf = Store("runs")
shelf.put(last.record)
assert load(bundle.save(last.record, "mine.zip", with_figures=False)).run == last.record.run
export.save(curves.losses(last.record) | curves.losses(shipped), "chart.svg")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The python of a new environment that holds the wheel, and of ours the dependencies alone."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    shutil.copytree(ROOT / "modadd", source / "modadd", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    (source / "cache" / "atlas" / "seeds").mkdir(parents=True)
    shutil.copy(ROOT / "cache" / "atlas" / "p005.npz", source / "cache" / "atlas" / "seeds")
    for name in ("cache/atlas/p005.npz", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    without_compiler = os.environ | {"CC": "false"}  # the compiled step is left out, and nothing else
    wheel = ["wheel", source, "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([*pip, *wheel], check=True, env=without_compiler, capture_output=True, timeout=240)
    venv.create(folder / "venv")
    python = folder / "venv" / "bin" / "python"
    install = ["--python", python, "install", "--no-deps", *folder.glob("*.whl")]
    subprocess.run([*pip, *install], check=True, capture_output=True, timeout=240)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    ours = Path(importlib.metadata.distribution("numpy").locate_file("")).resolve()
    (site / "dependencies.pth").write_text(f"{ours}\n")
    return python


def test_a_wheel_trains_keeps_draws_and_holds_the_atlas_outside_of_the_checkout(installed, tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(USE)
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MODADD_CACHE")}
    done = subprocess.run(
        [installed, script],
        cwd=tmp_path,
        env=clean | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "chart.svg").stat().st_size > 1000
