"""The frame around the pages: one navigation, which streamlit must leave to the entry script."""

import asyncio
import subprocess
import sys

import pytest
from serving import ROOT
from streamlit.runtime.pages_manager import PagesManager

from modadd import ui


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
