"""The frame around the pages: one navigation, which streamlit must leave to the entry script."""

import asyncio
import re
import subprocess
import sys
from dataclasses import replace
from unittest import mock

import pytest
from serving import ROOT
from streamlit.runtime.pages_manager import PagesManager

from modadd import preset, ui
from modadd.jobs.lab import Job
from pages import press


def test_the_server_leaves_the_folder_of_pages_to_the_navigation(monkeypatch):
    """Streamlit opens pages/ by itself unless told otherwise here: a new version of it may need another word."""
    monkeypatch.setattr(PagesManager, "uses_pages_directory", None)
    monkeypatch.setattr(ui.early, "load", lambda: None)

    async def start():
        async with ui.early.loading(None):
            return PagesManager(str(ROOT / "streamlit_app.py")).uses_pages_directory

    assert asyncio.run(start()) is False


def test_without_the_entry_script_streamlit_would_open_the_folder_by_itself(monkeypatch):
    monkeypatch.setattr(PagesManager, "uses_pages_directory", None)
    PagesManager(str(ROOT / "streamlit_app.py"))
    assert PagesManager.uses_pages_directory is True  # else the word in early.py is not needed any more


@pytest.mark.parametrize("page", ui.PAGES)
def test_every_page_is_in_one_group(page):
    name = page.removeprefix("pages/").removesuffix(".py")
    assert [name in entry for entries in ui.GROUPS.values() for entry in entries].count(True) == 1


def test_python_alone_says_the_right_command():
    done = subprocess.run([sys.executable, "streamlit_app.py"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "Start the lab with: streamlit run streamlit_app.py"
    assert "Traceback" not in done.stderr


def test_links_in_tables_stay_inside_the_lab_whatever_path_it_is_served_under():
    for file in (ROOT / "pages").glob("*.py"):
        assert not re.search(r'f"/\w', file.read_text()), file.name


def test_a_record_of_a_card_is_trained_anew_in_float32_where_there_is_none(app):
    """No dead end: what the atlas holds in TF32 without weights can be had here."""
    test = app("Surgery", p="97")
    label = next(one.label for one in test.button if one.label.startswith("Train this here (about"))
    with mock.patch.object(ui.lab(), "submit") as submitted:
        press(test, label)
    (run,), _ = submitted.call_args
    assert (run.p, run.precision) == (97, "fp32")
    assert not test.error


def test_the_time_left_knows_where_a_plateau_ends_a_run(record):
    run = preset("grokking", 23)
    told = record.provenance | {"steps_per_second": 100.0}
    job = Job(run, "cpu", "running", replace(record, run=run, provenance=told))
    assert record.step < job.end < run.epochs
    assert job.seconds_left == (job.end - record.step) / 100
