"""Every page at small, composite, middling and large p, with the atlas alone: it opens, and it answers at once."""

import os
import time

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from test_pages import ROOT, errors

from modadd import ui

SERVER_SECONDS = 2.0  # of processor time that a page may take to answer, its libraries loaded
LIBRARIES_SECONDS = 6.0  # no page takes longer only because torch and scipy load
QUICK = (15, 101)
SLOW = (3, 5, 175)
MODULI = [*QUICK, *(pytest.param(p, marks=pytest.mark.slow) for p in SLOW)]
HOME, *_ = ui.PAGES


@pytest.fixture
def visit(tmp_path, monkeypatch):
    """Opens a page as a new visitor; returns it and the processor time that it took."""
    monkeypatch.setenv("MODADD_CACHE", str(tmp_path / "runs"))
    st.cache_resource.clear()
    st.cache_data.clear()

    def open_page(page: str, p: int) -> tuple[AppTest, float]:
        test = AppTest.from_file(str(ROOT / HOME), default_timeout=120)
        if page != HOME:
            test.switch_page(page)
        test.query_params["p"] = str(p)
        clock = time.process_time()
        test.run()
        return test, time.process_time() - clock

    yield open_page
    ui.lab().close()
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.mark.parametrize("p", MODULI)
@pytest.mark.parametrize("page", ui.PAGES)
def test_every_page_opens_at_once_at_every_size_of_p(visit, page, p):
    test, seconds = visit(page, p)
    if SERVER_SECONDS < seconds < LIBRARIES_SECONDS:  # they load once: the second visitor does not wait for them
        st.cache_resource.clear()
        st.cache_data.clear()
        test, seconds = visit(page, p)
    assert not test.exception, [error.message for error in test.exception]
    assert not errors(test)
    assert test.title
    assert seconds < SERVER_SECONDS, f"{page} at p = {p} took {seconds:.1f} s"


def test_every_page_is_listed_and_there():
    files = {f"pages/{name}" for name in os.listdir(ROOT / "pages") if name.endswith(".py")}
    assert files == {page for page in ui.PAGES if page != HOME}
