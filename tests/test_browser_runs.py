"""Deleting in a real browser: the run that is named goes, whatever arrives in its row."""

import pytest
import serving
from browser import in_a_browser
from conftest import assert_same_training, finish

from modadd.records.store import Store
from modadd.runs import Run

pytestmark = in_a_browser
FIRST, SECOND, THIRD = (Run(p=3, d_mlp=11, epochs=20, seed=seed) for seed in (0, 1, 2))  # in the order of the table
ROW, HEAD = 35, 35  # pixels of the table


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs", None)
    yield store
    store.close()


def test_the_run_that_is_named_is_deleted_and_comes_back(store, tmp_path, tab):
    for run in (SECOND, THIRD):
        store.put(finish(run))
    with serving.server(tmp_path / "runs", tmp_path / "log") as lab:
        tab.goto(f"{lab.url}/Runs")
        table = tab.get_by_test_id("stDataFrame").first
        table.locator("canvas").first.wait_for()
        table.click(position={"x": 15, "y": HEAD + 1.5 * ROW})
        button = tab.get_by_role("button", name=f"Delete {THIRD.id}")
        button.wait_for()
        store.put(finish(FIRST))  # and THIRD stands a row lower now
        button.click()
        tab.get_by_text(f"{THIRD.id} is in the bin").wait_for()
        assert store.get(THIRD.id) is None
        assert {FIRST.id, SECOND.id} <= store.cards().keys()
        tab.get_by_role("button", name="Undo").click()
        button.wait_for()  # it is chosen again
        assert_same_training(store.get(THIRD.id), finish(THIRD))
