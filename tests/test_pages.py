"""Every page, run in-process: with the atlas, with an empty cache, in mid-run, and on bad input."""

import time

import pytest

from modadd import preset, ui
from modadd.records import store as store_module
from pages import charts, drawn, errors, move, press

PAGES = ["pages/Home.py", "pages/Live.py", "pages/Overview.py", "pages/Runs.py"]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("atlas", [True, False])
def test_every_page_runs_with_and_without_the_atlas(app, page, atlas):
    test = app(page, atlas)
    assert not test.exception
    assert not errors(test)
    assert test.title


@pytest.mark.parametrize("page", PAGES)
def test_a_bad_modulus_in_the_url_is_named_and_replaced(app, page):
    for bad in ("24", "1", "201", "abc", "-7", "9" * 40, "<b>x</b>", "23.5", ""):
        test = app(page, p=bad)
        assert not test.exception, bad
        assert test.session_state["p"] == 23, bad
        if bad:
            assert any("p must be odd and between 3 and 199" in text for text in errors(test)), bad
            assert not any("<b>" in text.replace("\\<", "") for text in errors(test)), bad


def test_overview_draws_both_presets_of_the_atlas(app):
    test = app("pages/Overview.py", p="23")
    assert {f"{what}-{name}" for what in ("loss", "accuracy", "phases") for name in ("standard", "grokking")} <= drawn(
        test
    )
    assert any("generalisation ends" in text.value for text in test.caption)


def test_overview_offers_to_train_what_is_not_there(app):
    test = app("pages/Overview.py", atlas=False, p="29")
    assert any(button.label.startswith("Train this here (about") for button in test.button)


def test_what_is_not_there_is_trained_in_its_place(app):
    test = app("pages/Weights.py", atlas=False, p="7")
    label = next(button.label for button in test.button if button.label.startswith("Train this here (about"))
    press(test, label)
    assert not test.exception
    job = ui.lab().job(preset("standard", 7).id)
    assert any(f"{job.run.id} is training now" in text.value for text in test.caption)
    assert job.done.wait(60)
    assert charts(test.run())


def test_overview_explains_that_grokking_starts_at_19(app):
    test = app("pages/Overview.py", p="13")
    assert any("from p = 19 on" in text.value for text in test.caption)


def test_the_player_moves_every_chart_of_the_overview(app):
    test = app("pages/Overview.py", p="23")
    before = charts(test)
    move(test, 200)
    after = charts(test)
    assert not test.exception
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_live_opens_a_finished_run_of_the_atlas_at_once(app):
    run = preset("standard", 23)
    test = app("pages/Live.py", run=run.id)
    assert any("ran to its last step" in text.value for text in test.success)
    assert {"losses", "accuracies", "phases", "grid", "race-D"} <= drawn(test)


@pytest.mark.parametrize("bad", ["p023-standard-0000000000", "../../etc/passwd", "<script>", "p023", "x" * 5000])
def test_a_run_id_that_does_not_exist_is_one_sentence(app, bad):
    test = app("pages/Live.py", run=bad)
    assert not test.exception
    assert len(errors(test)) == 1
    assert "No run called" in errors(test)[0]
    assert len(errors(test)[0]) < 600


def test_live_trains_and_its_tick_follows(app):
    test = app("pages/Live.py", p="7")
    test.number_input(key="live-epochs-standard").set_value(300).run()
    press(test, "Train")
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
    test = app("pages/Live.py", run=run.id)
    assert {"losses", "accuracies", "phases", "grid", "race-D"} <= drawn(test)
    press(test, "Pause")
    job.done.wait(60)
    paused_at = job.record.step
    test.run()
    assert any(button.label == "Resume" for button in test.button)
    press(test, "Resume")
    assert not test.exception
    again = ui.lab().job(run.id)
    while again.record.step <= paused_at:
        time.sleep(0.05)
    assert again.status == "running"


def test_settings_that_are_no_run_are_one_sentence(app):
    test = app("pages/Live.py", p="7")
    test.selectbox(key="live-precision-standard").set_value("tf32").run()
    test.selectbox(key="live-device").set_value("cpu").run()
    press(test, "Train")
    assert not test.exception
    assert errors(test) == [f"{ui.plain('precision tf32 needs a CUDA device: choose fp32')}."]
    assert not ui.lab().jobs()


def test_live_opened_again_by_its_address_has_the_same_settings(app):
    test = app("pages/Live.py", p="7")
    test.number_input(key="live-seed-standard").set_value(7).run()
    test.number_input(key="live-lr-standard").set_value(0.01).run()
    test.selectbox(key="live-activation-standard").set_value("quad").run()
    address = {name: text if isinstance(text, str) else text[0] for name, text in test.query_params.items()}
    again = app("pages/Live.py", **address)
    assert not again.exception
    assert again.number_input(key="live-seed-standard").value == 7
    assert again.number_input(key="live-lr-standard").value == 0.01
    assert again.selectbox(key="live-activation-standard").value == "quad"
    assert again.number_input(key="live-weight_decay-standard").value == preset("standard", 7).weight_decay


def test_too_much_memory_is_refused_with_the_figure(app, monkeypatch):
    from modadd.training import cost

    monkeypatch.setattr(cost, "free_memory", lambda device="cpu": 10_000_000)
    test = app("pages/Live.py", p="97")
    assert any("GiB of memory" in text.value for text in test.caption)
    press(test, "Train")
    assert any(f"choose a smaller p or {ui.plain('d_mlp')}" in text for text in errors(test))
    assert not ui.lab().jobs()


def test_runs_lists_the_atlas_and_nothing_is_an_invitation(app):
    assert len(app("pages/Runs.py").dataframe) == 1
    assert any("Nothing has been trained here yet" in text.value for text in app("pages/Runs.py", atlas=False).info)


def test_a_damaged_record_is_named_and_the_page_goes_on(app):
    run = preset("standard", 23)
    shelf = ui.lab().store
    good = store_module.to_bytes(shelf.get(run.id))
    shelf._cache.set(run.id, good[:-100] + b"x" * 100, tag="{}")
    test = app("pages/Live.py", run=run.id)
    assert not test.exception
    assert any(run.id in text and "delete it or train it again" in text for text in errors(test))
