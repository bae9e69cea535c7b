"""Every page, run in-process: with the atlas, with an empty cache, in mid-run, and on bad input."""

import time
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from modadd import preset, ui
from modadd import store as store_module

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["streamlit_app.py", "pages/1_Live.py", "pages/2_Overview.py", "pages/3_Runs.py"]


@pytest.fixture
def app(tmp_path, monkeypatch):
    """Opens a page over an empty cache, with or without the atlas."""
    monkeypatch.setenv("MODADD_CACHE", str(tmp_path / "runs"))
    st.cache_resource.clear()

    def open_page(page: str, atlas: bool = True, **query) -> AppTest:
        if not atlas:
            lab = ui.lab()
            monkeypatch.setattr(lab.store, "atlas", None)
        test = AppTest.from_file(str(ROOT / PAGES[0]), default_timeout=60)
        if page != PAGES[0]:
            test.switch_page(page)
        for name, value in query.items():
            test.query_params[name] = value
        return test.run()

    yield open_page
    ui.lab().close()
    st.cache_resource.clear()


def errors(test: AppTest) -> list[str]:
    return [element.value for element in test.error]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("atlas", [True, False])
def test_every_page_runs_with_and_without_the_atlas(app, page, atlas):
    test = app(page, atlas)
    assert not test.exception
    assert not errors(test)
    assert test.title


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("bad", ["24", "1", "201", "abc", "-7", "9" * 40, "<b>x</b>", "23.5", ""])
def test_a_bad_modulus_in_the_url_is_named_and_replaced(app, page, bad):
    test = app(page, p=bad)
    assert not test.exception
    assert test.session_state["p"] == 23
    if bad:
        assert any("p must be odd and between 3 and 199" in text for text in errors(test))
        assert not any("<b>" in text.replace("\\<", "") for text in errors(test))


def test_overview_draws_both_presets_of_the_atlas(app):
    test = app("pages/2_Overview.py", p="23")
    assert len(test.get("vega_lite_chart")) == 12
    assert any("generalisation ends" in text.value for text in test.markdown)


def test_overview_offers_to_train_what_is_not_there(app):
    test = app("pages/2_Overview.py", atlas=False, p="29")
    assert any("It would take about" in text.value for text in test.info)
    assert {"Train it"} <= {button.label for button in test.button}


def test_overview_explains_that_grokking_starts_at_19(app):
    test = app("pages/2_Overview.py", p="13")
    assert any("from p = 19 on" in text.value for text in test.info)


def test_the_player_moves_every_chart_of_the_overview(app):
    test = app("pages/2_Overview.py", p="23")
    before = [chart.proto.SerializeToString() for chart in test.get("vega_lite_chart")]
    test.select_slider(key="step").set_value(200).run()
    after = [chart.proto.SerializeToString() for chart in test.get("vega_lite_chart")]
    assert not test.exception
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_live_opens_a_finished_run_of_the_atlas_at_once(app):
    run = preset("standard", 23)
    test = app("pages/1_Live.py", run=run.id)
    assert any("ran to its last step" in text.value for text in test.success)
    assert len(test.get("vega_lite_chart")) == 8


@pytest.mark.parametrize("bad", ["p023-standard-0000000000", "../../etc/passwd", "<script>", "p023", "x" * 5000])
def test_a_run_id_that_does_not_exist_is_one_sentence(app, bad):
    test = app("pages/1_Live.py", run=bad)
    assert not test.exception
    assert len(errors(test)) == 1
    assert "is here: choose its settings on the left and press Train" in errors(test)[0]
    assert len(errors(test)[0]) < 600


def test_live_trains_and_its_tick_follows(app):
    test = app("pages/1_Live.py", p="7")
    test.number_input(key="epochs-standard").set_value(300).run()
    next(button for button in test.button if button.label == "Train").click().run()
    run = preset("standard", 7, epochs=300)
    assert test.query_params["run"] in (run.id, [run.id])
    ui.lab().job(run.id).done.wait(60)
    test.run()
    assert not test.exception
    assert any("ran to its last step at step 300" in text.value for text in test.success)
    more = next(button for button in test.button if button.label.startswith("Continue"))
    more.click().run()
    assert not test.exception


def test_pause_and_resume_from_the_page(app):
    run = preset("standard", 7, epochs=200_000)
    job = ui.lab().submit(run, "cpu")
    while job.record is None:
        time.sleep(0.05)
    test = app("pages/1_Live.py", run=run.id)
    assert len(test.get("vega_lite_chart")) == 8
    next(button for button in test.button if button.label == "Pause").click().run()
    job.done.wait(60)
    paused_at = job.record.step
    test.run()
    assert any(button.label == "Resume" for button in test.button)
    next(button for button in test.button if button.label == "Resume").click().run()
    assert not test.exception
    again = ui.lab().job(run.id)
    while again.record.step <= paused_at:
        time.sleep(0.05)
    assert again.status == "running"


def test_settings_that_are_no_run_are_one_sentence(app):
    test = app("pages/1_Live.py", p="7")
    test.selectbox(key="precision-standard").set_value("tf32").run()
    test.selectbox(key="device").set_value("cpu").run()
    next(button for button in test.button if button.label == "Train").click().run()
    assert not test.exception
    assert errors(test) == [f"{ui.plain('precision tf32 needs a CUDA device: choose fp32')}."]
    assert not ui.lab().jobs()


def test_too_much_memory_is_refused_with_the_figure(app, monkeypatch):
    from modadd import cost

    monkeypatch.setattr(cost, "free_memory", lambda device="cpu": 10_000_000)
    test = app("pages/1_Live.py", p="97")
    assert any("GiB of memory" in text.value for text in test.sidebar.caption)
    next(button for button in test.button if button.label == "Train").click().run()
    assert any(f"choose a smaller p or {ui.plain('d_mlp')}" in text for text in errors(test))
    assert not ui.lab().jobs()


def test_runs_lists_the_atlas_and_nothing_is_an_invitation(app):
    assert len(app("pages/3_Runs.py").dataframe) == 1
    assert any("Nothing has been trained here yet" in text.value for text in app("pages/3_Runs.py", atlas=False).info)


def test_a_damaged_record_is_named_and_the_page_goes_on(app):
    run = preset("standard", 23)
    shelf = ui.lab().store
    good = store_module.to_bytes(shelf.get(run.id))
    shelf._cache.set(run.id, good[:-100] + b"x" * 100, tag="{}")
    test = app("pages/1_Live.py", run=run.id)
    assert not test.exception
    assert any(run.id in text and "delete it or train it again" in text for text in errors(test))
