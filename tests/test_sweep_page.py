"""The Sweeps page: price before training, the grid filling in, verdicts from planted records, hostile values."""

from functools import partial

import pytest
from conftest import finish
from streamlit.testing.v1 import AppTest
from test_sweep import CASES, DEFAULT, planted

from modadd import ui
from modadd.many.sweep import Grid
from pages import drawn, errors, said

PAGE = "pages/Sweeps.py"
TINY = {"p": "7", "decays": "0.5, 1", "seeds": "1, 2", "vary": "d_mlp = 11; frac_train = 0.7"}

HOSTILE = [
    {"decays": "<b>x</b>"}, {"decays": ""}, {"seeds": "1e9"}, {"seeds": "-1"}, {"seeds": ", ,"}, {"vary": "nope=3"},
    {"vary": "lr"}, {"vary": "epochs=5"}, {"vary": "lr=[a](http://b)"}, {"vary": "p=24"}, {"vary": "parent=../../x"},
    {"vary": "d_mlp=" + "9" * 100},
    {"decays": ",".join(map(str, range(60))), "seeds": ",".join(map(str, range(60)))},
]  # fmt: skip


@pytest.fixture
def app(app):
    """Opens this page without the atlas."""
    return partial(app, PAGE, atlas=False)


def plant(groks: dict):
    for run in DEFAULT.runs:
        if run.weight_decay in groks:
            ui.lab().store.put(planted(run, groks[run.weight_decay][DEFAULT.axes["seed"].index(run.seed)]))


def button(test: AppTest, label: str):
    return next((one for one in test.button if one.label.startswith(label)), None)


def tiny() -> Grid:
    axes = {"weight_decay": (0.5, 1.0), "d_mlp": (11,), "frac_train": (0.7,), "epochs": (300,), "seed": (1, 2)}
    return Grid("standard", 7, axes)


def test_an_empty_cache_shows_the_grid_and_its_price(app):
    test = app(p="23")
    assert not test.exception
    assert not errors(test)
    assert "9 of 9 runs are still to be trained: at most about" in said(test)
    assert "As soon as the first run is finished" in said(test)
    assert drawn(test) == {"sweep-matrix"}
    assert test.query_params["p"] in ("23", ["23"])


@pytest.mark.parametrize("case", ["all hold", "the other way round", "nobody groks", "the low one is missing"])
def test_verdicts_of_planted_records_are_shown(app, case):
    groks, expected = CASES[case]
    plant(groks)
    test = app(p="23")
    assert not test.exception
    assert not errors(test)
    assert {"sweep-matrix", "sweep-accuracy_curves", "sweep-grok_steps", "sweep-success_rate"} <= drawn(test)
    for name, verdict in zip(("H1", "H2", "H3"), expected.split(), strict=True):
        assert any(f"[{verdict}] **{name}:" in text.value for text in test.markdown)
    assert {"analysis_summary.json", "Report as HTML"} <= {one.proto.label for one in test.get("download_button")}


def test_the_criterion_decides(app):
    plant(CASES["all hold"][0])
    test = app(p="23")
    assert "0 of 3 finished runs" not in said(test)
    test.slider(key="sweep-accuracy").set_value(98).run()
    assert not test.exception
    assert "0 of 3 finished runs grok" in said(test)
    test.slider(key="sweep-accuracy").set_value(60)
    test.radio(key="sweep-curve").set_value("held_out").run()
    assert "held-out accuracy >= 0.6" in said(test)
    assert "3 of 3 finished runs grok" in said(test)


def test_train_watch_and_read(app):
    test = app(**TINY)
    test.number_input(key="sweep-steps-standard").set_value(300).run()
    button(test, "Train 4 runs").click().run()
    jobs = {job.run.id: job for job in ui.lab().jobs()}
    assert set(jobs) == {run.id for run in tiny().runs}
    for job in jobs.values():
        assert job.done.wait(60)
    test.run()
    assert not test.exception
    assert not errors(test)
    assert {"sweep-matrix", "sweep-accuracy_curves", "sweep-grok_steps", "sweep-success_rate"} <= drawn(test)
    assert button(test, "Train") is None
    assert button(test, "Stop") is None


def test_stop_all_leaves_checkpoints_and_training_goes_on(app):
    test = app(**TINY)
    test.number_input(key="sweep-steps-standard").set_value(400_000).run()
    button(test, "Train 4 runs").click().run()
    jobs = ui.lab().jobs()
    while jobs[0].record is None:
        jobs[0].done.wait(0.05)
    button(test, "Stop all").click().run()
    assert not test.exception
    assert not any(job.active for job in ui.lab().jobs())
    step = ui.lab().store.get(jobs[0].run.id).step
    assert step > 0
    button(test, "Train 4 runs").click().run()
    again = ui.lab().job(jobs[0].run.id)
    while again.record is None or again.record.step <= step:
        assert not again.done.wait(0.05)


def test_a_failed_run_is_named_and_the_rest_goes_on(app, monkeypatch):
    from modadd.jobs import lab

    def fail(run, store, *rest, **how):
        if run.seed == 1:
            raise RuntimeError("no *such* luck")
        store.put(finish(run))
        return store.get(run.id)

    monkeypatch.setattr(lab, "carry_out", fail)
    test = app(**TINY)
    test.number_input(key="sweep-steps-standard").set_value(300).run()
    button(test, "Train 4 runs").click().run()
    for job in ui.lab().jobs():
        assert job.done.wait(60)
    test.run()
    assert not test.exception
    assert len(errors(test)) == 2
    assert all("no \\*such\\* luck" in text for text in errors(test))
    assert {"sweep-matrix", "sweep-accuracy_curves", "sweep-grok_steps", "sweep-success_rate"} <= drawn(test)


def test_the_price_of_a_large_grid_must_be_confirmed(app):
    test = app(p="7", decays="0.5, 1", seeds=",".join(map(str, range(20))), vary="d_mlp = 11; frac_train = 0.7")
    assert button(test, "Train 40 runs").disabled
    next(box for box in test.checkbox if box.label.startswith("Yes, train 40 runs")).check().run()
    assert not button(test, "Train 40 runs").disabled
    test.text_input(key="sweep-seeds").set_value("1, 2").run()
    assert not button(test, "Train 4 runs").disabled


def test_cells_named_twice_are_merged_with_a_sentence(app):
    test = app(p="23", decays="1, 1.0, 2", seeds="42, 42")
    assert "4 of the 6 cells name a run that is in the grid already" in said(test)
    assert "runs: 2" in said(test)


def test_a_hostile_grid_in_the_url_is_one_sentence(app):
    for query in HOSTILE:
        test = app(p="23", **query)
        assert not test.exception, query
        (error,) = errors(test)
        assert len(error) < 400
        assert "<b>" not in error.replace("\\<", "")
        assert "](http" not in error
    assert not ui.lab().jobs()


def test_runs_that_this_machine_cannot_train_are_refused_in_a_sentence(app, monkeypatch):
    monkeypatch.setattr(ui, "default_device", lambda: "cpu")
    test = app(**TINY | {"vary": "d_mlp = 11; frac_train = 0.7; precision = tf32"})
    assert not test.exception
    assert button(test, "Train") is None
    assert errors(test) == ["precision tf32 needs a CUDA device: choose fp32."]
    assert not ui.lab().jobs()


def test_a_damaged_cell_counts_as_missing(app):
    plant(CASES["all hold"][0])
    shelf, run = ui.lab().store, DEFAULT.runs[0]
    shelf._cache.set(run.id, b"rubbish", tag="{}")
    test = app(p="23")
    assert not test.exception
    assert "1 of 9 runs are still to be trained" in said(test)


def test_below_19_it_says_that_nothing_is_left_to_generalise_to(app):
    test = app(p="13")
    assert not test.exception
    assert "set frac_train below 1" in said(test)
