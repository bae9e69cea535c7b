"""What is taken home in a real browser opens as what it says it is, and a bundle given to a lab is the run again."""

import io
import json
import zipfile
from pathlib import Path

import pyarrow.csv
import pytest
from browser import in_a_browser
from conftest import assert_same_training
from PIL import Image

from modadd import preset
from modadd.exchange import bundle, tensors

RUN = preset("standard", 5)
pytestmark = in_a_browser


@pytest.fixture(scope="module")
def record(shipped):
    """The atlas's record of RUN."""
    return shipped.get(RUN.id)


def saved(tab, label: str) -> tuple[str, bytes]:
    """(name, bytes) of the file behind a button."""
    with tab.expect_download(timeout=120_000) as waiting:
        tab.get_by_role("button", name=label).click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_a_chart_and_a_run_are_taken_home_and_the_bundle_opens_as_the_run(server, tab, record, tmp_path):
    tab.goto(f"{server}/Weights?p=5")
    tab.locator(".st-key-chart-spectrum .marks").wait_for()
    tab.locator(".st-key-save-spectrum").get_by_role("button", name="Save").click()
    chart = {name.rpartition(".")[2]: (name, content) for name, content in (
        saved(tab, label) for label in ("Data as CSV", "Chart as SVG", "Chart as PNG", "Chart as PDF")
    )}  # fmt: skip
    assert {name for name, _ in chart.values()} == {
        f"{record.run.id}-spectrum.{form}" for form in ("csv", "svg", "png", "pdf")
    }
    assert len(pyarrow.csv.read_csv(io.BytesIO(chart["csv"][1]))) >= 2 * RUN.K
    assert chart["svg"][1].startswith(b"<svg")
    with Image.open(io.BytesIO(chart["png"][1])) as image:
        assert min(image.size) > 300
    assert chart["pdf"][1].startswith(b"%PDF-")
    assert b"%%EOF" in chart["pdf"][1][-20:]

    tab.goto(f"{server}/Live?run={RUN.id}")
    tab.get_by_text("Export", exact=True).click()
    name, content = saved(tab, "Record as safetensors")
    assert name == f"{RUN.id}.safetensors"
    # Of a compact record the file for any language holds every array in its plain form, rounded to its type on disk.
    assert_same_training(*map(tensors.from_safetensors, (content, tensors.to_safetensors(record))))
    log = pyarrow.csv.read_csv(io.BytesIO(saved(tab, "Log as CSV")[1]))
    assert log["step"].to_pylist() == record.steps.tolist()
    settings = json.loads(saved(tab, "Settings and numbers as JSON")[1])
    assert settings["summary"]["run_id"] == RUN.id
    name, content = saved(tab, "Bundle as .zip")
    assert_same_training(bundle.read(content), record)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert f"{server}/Weights?run={RUN.id}&p=5" in archive.read("README.txt").decode()
        assert len([member for member in archive.namelist() if member.endswith(".svg")]) > 5

    file = tmp_path / name
    file.write_bytes(content)
    tab.goto(f"{server}/Import")
    tab.locator("input[type=file]").set_input_files(file)
    tab.get_by_text("Its checksums are right").wait_for()
    tab.get_by_role("button", name="Import", exact=True).click()
    tab.get_by_text(f"is here as {RUN.id}").wait_for()
    tab.get_by_role("main").or_(tab.get_by_test_id("stMain")).first.get_by_role("link", name="Weights").click()
    tab.get_by_text(f"brought here as {name}").wait_for()
    tab.locator(".st-key-chart-spectrum .marks").wait_for()
