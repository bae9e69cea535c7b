"""The house: public names, what an import costs, and which way imports point."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import modadd

HOUSE = Path(modadd.__file__).parent
# Each may import those above it only.
ORDER = (
    "runs", "data", "fourier", "ideal", "theory", "model", "step", "optim", "compiled", "fused", "measures", "schema",
    "record", "surgery", "engine", "training", "lottery", "check", "checkpoint", "exchange", "bin", "index", "store",
    "forks", "cost", "lab", "hosting", "many.pool", "many.spool", "many.cluster", "many.survival", "many.seeds",
    "many.sweep", "many.verdicts", "claims", "atlas", "survey", "rows", "compare", "simulation", "votes", "forces",
    "lesson", "glossary", "cli", "profiling", "tracking", "published_transformers", "published", "bundle", "importing",
)  # fmt: skip


def imports(file):
    """Absolute names of everything that a file of the package imports, at any depth."""
    package = ["modadd", *file.relative_to(HOUSE).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, node.module] if node.module else base)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def test_every_public_name_can_be_had():
    assert {"Run", "PRESETS", "preset", "train", "Record", "Store", "Lab"} <= set(modadd.__all__) <= set(dir(modadd))
    for name in modadd.__all__:
        assert getattr(modadd, name) is not None


def test_the_training_loop_is_public_in_whatever_order_one_imports():
    script = "from modadd.training import Update\nfrom modadd import train\nassert callable(train), train"
    subprocess.run([sys.executable, "-c", script], check=True, stderr=subprocess.DEVNULL)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="module 'modadd' has no attribute 'trian'"):
        modadd.trian  # noqa: B018


def test_reading_records_never_waits_for_torch():
    script = "import sys\nfrom modadd import Run, Record, Store, Lab, preset\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("file", sorted(HOUSE.rglob("*.py")), ids=lambda file: str(file.relative_to(HOUSE)))
def test_only_ui_knows_streamlit(file):
    knows = any(name.partition(".")[0] == "streamlit" for name in imports(file))
    assert not knows or file.parent.name == "ui"


@pytest.mark.parametrize("file", sorted(HOUSE.rglob("*.py")), ids=lambda file: str(file.relative_to(HOUSE)))
def test_nothing_in_the_house_imports_a_page_or_a_script(file):
    assert not {"pages", "scripts", "tests", "streamlit_app"} & {name.partition(".")[0] for name in imports(file)}


def test_every_module_has_its_place():
    files = [*HOUSE.glob("*.py"), *HOUSE.glob("many/*.py")]
    names = {".".join(file.relative_to(HOUSE).with_suffix("").parts) for file in files if file.stem != "__init__"}
    assert set(ORDER) == names
    assert len(set(ORDER)) == len(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_imports_point_one_way(name):
    below = ORDER[ORDER.index(name) :]
    assert not {f"modadd.{other}" for other in below} & imports((HOUSE / name.replace(".", "/")).with_suffix(".py"))


def test_nothing_here_runs_pickles():
    for file in HOUSE.rglob("*.py"):
        assert not {"pickle", "cloudpickle", "dill", "joblib"} & imports(file), file
