"""What tests of pages share: opening one without a browser, and what is seen on it."""

import json
import re
from pathlib import Path
from unittest import mock

import pytest
import streamlit as st
from serving import ROOT
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest, app_test

from modadd import ui

HOME = "pages/Home.py"
PATIENCE = 120  # seconds for a page; a busy machine takes its time


class Pages(PagesManager):
    """The pages as the server of the lab has them (modadd/ui/early.py)."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        PagesManager.uses_pages_directory = False


@pytest.fixture
def app(tmp_path, monkeypatch):
    """app(page, atlas, **query) opens a page at this address as a new visitor, over a cache that begins empty.

    The page is a file (pages/Weights.py) or its stem.  `atlas` says whether the atlas is there, or names the folder
    of another one; it stays so for the pages opened after it.
    """
    monkeypatch.setenv("MODADD_CACHE", str(tmp_path / "runs"))
    monkeypatch.delenv("MODADD_HOSTED", raising=False)
    monkeypatch.setattr(app_test, "PagesManager", Pages)
    forget()

    def open_page(page: str = HOME, atlas: bool | Path | None = True, **query: str) -> AppTest:
        if atlas is not True:
            monkeypatch.setattr(ui.lab().store, "atlas", atlas or None)
        test = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=PATIENCE)
        if page != HOME:
            test.switch_page(page if page.endswith(".py") else f"pages/{page}.py")
        for name, value in query.items():
            test.query_params[name] = value
        return test.run()

    yield open_page
    ui.lab().close()
    forget()


def forget():
    """What the server keeps between visits, its lab among it."""
    st.cache_resource.clear()
    st.cache_data.clear()


def errors(test: AppTest) -> list[str]:
    return [error.value for error in test.error]


def said(test: AppTest) -> str:
    """The prose of a page."""
    return " ".join(text.value for text in (*test.markdown, *test.caption, *test.info, *test.error))


def charts(test: AppTest) -> list[bytes]:
    """Its charts, as they are sent to the browser."""
    return [chart.proto.SerializeToString() for chart in test.get("vega_lite_chart")]


def drawn(test: AppTest) -> set[str]:
    """The keys of its charts."""

    def keys(block):
        for child in getattr(block, "children", {}).values():
            yield from re.findall(r"-chart-(.+)$", getattr(getattr(child, "proto", None), "id", ""))
            yield from keys(child)

    return set(keys(test.main))


def press(test: AppTest, label: str) -> AppTest:
    """The page after a click on this button."""
    return next(button for button in test.button if button.label == label).click().run()


def _component(test: AppTest, name: str, key: str | None = None) -> dict | None:
    """What a component of the frame is given."""
    for element in test.get("bidi_component"):
        if element.proto.component_name == name:
            given = json.loads(element.proto.json)
            if key in (None, given.get("key")):
                return given
    return None


def bar(test: AppTest) -> dict:
    """The first row of the instrument bar."""
    return _component(test, "modadd_bar")


def player(test: AppTest, key: str = "step") -> dict:
    """The player of this key."""
    return _component(test, "modadd_player", key)


def wish(test: AppTest, **wishes) -> AppTest:
    """The page after p, run or axis was chosen in the bar."""
    seen = bar(test)
    offered = {run for _, runs in seen["runs"] for run, _ in runs}
    with mock.patch.object(st, "session_state", test.session_state):
        ui.bar.take(wishes | {"seq": seen["seq"] + 1}, offered)
    return test.run()


def tell(test: AppTest, key: str = "step", **news) -> AppTest:
    """The page after the browser has told this of the player."""
    seen = player(test, key)
    with mock.patch.object(st, "session_state", test.session_state):
        ui.clock.told(key, seen["moments"], {"seq": seen["seq"] + 1} | news)
    return test.run()


def move(test: AppTest, step: int, key: str = "step") -> AppTest:
    """The page after the player was moved there."""
    return tell(test, key, at=step)
