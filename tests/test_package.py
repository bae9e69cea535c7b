"""The house: public names, what an import costs, and which way imports point."""

import ast
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import modadd

HOUSE = Path(modadd.__file__).parent
# A folder imports from itself and from those above it; what lies at the top level belongs to everybody.
FOLDERS = (
    "maths", "networks", "frames", "records", "training", "analysis", "jobs", "many", "figures", "exchange", "ui",
)  # fmt: skip
NOUNS = ("activations", "runs", "data", "tasks")
MODULES = sorted(HOUSE.rglob("*.py"))


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
    script = "from modadd.training.loop import Update\nfrom modadd import train\nassert callable(train), train"
    subprocess.run([sys.executable, "-c", script], check=True, stderr=subprocess.DEVNULL)


def test_runs_records_and_updates_are_said_in_a_line(record):
    run = modadd.preset("addpow", 13, seed=7)
    assert eval(repr(run), {"Run": modadd.Run}) == run
    assert repr(modadd.Run(d_mlp=96)) == "Run(p=23, d_mlp=96)"
    said = (
        f"Record({record.run.id}, step {record.step:,} of {record.run.epochs:,}, {len(record.frames)} frames, epochs)"
    )
    assert repr(record) == said
    assert repr(record.at()) == f"Moment(step {record.frame_steps[-1]:,}, {len(record.frames[-1])} arrays)"
    *_, update = modadd.train(modadd.Run(p=5, d_mlp=8, epochs=1), device="cpu", every=60)
    assert repr(update) == f"Update({update.record.run.id}, step 1 of 1)"


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="module 'modadd' has no attribute 'trian'"):
        modadd.trian  # noqa: B018


def test_reading_records_never_waits_for_torch():
    script = "import sys\nfrom modadd import Run, Record, Store, Lab, preset\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_only_ui_knows_streamlit(file):
    knows = any(name.partition(".")[0] == "streamlit" for name in imports(file))
    assert not knows or file.parent.name == "ui"


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_nothing_in_the_house_imports_a_page_or_a_script(file):
    assert not {"pages", "scripts", "tests", "streamlit_app"} & {name.partition(".")[0] for name in imports(file)}


def modules_of(file):
    """The modules of the house that a file imports, as paths below it without .py; folders are not modules."""
    paths = {name.removeprefix("modadd.").replace(".", "/") for name in imports(file) if name.startswith("modadd.")}
    return {path for path in paths if (HOUSE / f"{path}.py").exists()}


def test_every_module_lies_in_a_folder_that_has_its_place():
    assert {file.relative_to(HOUSE).parts[0] for file in MODULES if file.parent != HOUSE} == set(FOLDERS)
    assert {path.stem for path in HOUSE.glob("*.py")} == {"__init__", *NOUNS}


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_imports_point_up_the_pipeline(file):
    folder, *below = file.relative_to(HOUSE).parts
    place = FOLDERS.index(folder) if below else -1
    homes = {path.partition("/")[0] for path in modules_of(file)} - set(NOUNS)
    assert not {home for home in homes if FOLDERS.index(home) > place}


def test_no_module_imports_itself_by_way_of_others():
    graph = {
        str(file.relative_to(HOUSE).with_suffix("")): modules_of(file) for file in MODULES if file.stem != "__init__"
    }
    TopologicalSorter(graph).prepare()  # CycleError names the circle


@pytest.mark.skipif(not shutil.which("cc"), reason="this machine has no C compiler")
@pytest.mark.skipif(not (HOUSE.parent / "modadd.egg-info").exists(), reason="this folder is not the installed one")
def test_the_installation_built_the_compiled_step():
    from modadd.networks.mlp import compiled

    assert compiled.builds()
