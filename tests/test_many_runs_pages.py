"""Seeds and Forks: several runs on one page, and the statistics behind them."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import SMALL, finish

from modadd import preset, ui
from modadd.figures import many
from modadd.many import seeds, survival
from modadd.records.store import SEEDS, write_atlas
from modadd.training.forks import begin, fork
from pages import charts, drawn, errors, press, said


@pytest.fixture
def app(app, monkeypatch):
    """Opens a page without the atlas."""
    monkeypatch.setattr(ui.lab().store, "atlas", None)
    return app


@pytest.fixture(scope="module")
def three():
    """SMALL with three seeds."""
    return [finish(replace(SMALL, seed=seed)) for seed in (0, 1, 2)]


# -- statistics ---------------------------------------------------------------------------------


def test_the_band_of_one_run_is_the_run(three):
    middle = seeds.band(three[:1], "train_loss")
    np.testing.assert_array_equal(middle["median"], three[0].history["train_loss"][middle["step"]])
    np.testing.assert_array_equal(middle["low"], middle["high"])


def test_the_band_is_ordered_and_counts_its_runs(three):
    short = replace(three[2], steps=three[2].steps[:100], history={n: c[:100] for n, c in three[2].history.items()})
    middle = seeds.band([*three[:2], short], "test_accuracy")
    assert (middle["low"] <= middle["median"]).all()
    assert (middle["median"] <= middle["high"]).all()
    assert set(middle["runs"][middle["step"] < 100]) == {3}
    assert set(middle["runs"][middle["step"] >= 100]) == {2}


def test_a_thinned_run_counts_with_its_latest_row(three):
    small = three[0].compact()
    middle = seeds.band([small], "train_loss")
    assert np.isfinite(middle["median"]).all()
    assert middle["median"][-1] == three[0].history["train_loss"][-1]


def test_a_curve_that_was_never_measured_has_no_band(three):
    whole = finish(replace(SMALL, frac_train=1.0, epochs=5))
    assert not len(seeds.band([whole], "test_accuracy")["step"])


def test_a_stage_not_reached_is_censored_and_not_dropped(three):
    rows = seeds.ends(three, threshold=0.9)
    for row, name in zip(rows, ("train", "test"), strict=True):
        for step, record in zip(row["steps"], three, strict=True):
            reached = np.flatnonzero(record.history[f"{name}_accuracy"] >= 0.9)
            assert step == (reached[0] if len(reached) else None)
    never = seeds.ends(three, threshold=1.01)
    assert all(row["steps"] == [None] * 3 and row["median"] is None and row["interval"] is None for row in never)
    assert survival.median([10, 20, 30], [True, False, True]) == 30


def test_ends_are_drawn_with_what_was_not_reached(three):
    rows = many.stage_rows(["a", "b", "c"], seeds.ends(three, 1.01), [300, 300, 300])
    assert set(rows["reached"].to_pylist()) == {"not reached"}
    assert set(rows["step"].to_pylist()) == {300}
    assert "≥ 50%" in many.stage_ends(["a", "b", "c"], seeds.ends(three, 0.5), [300, 300, 300], 0.5).caption


@pytest.mark.parametrize(
    ("text", "numbers"), [("42, 1-4", [42, 1, 2, 3, 4]), ("7", [7]), ("3 3 2-3", [3, 2]), ("0-63", list(range(64)))]
)
def test_seeds_are_read_as_people_write_them(text, numbers):
    assert seeds.parse(text) == numbers


@pytest.mark.parametrize("text", ["", " , ", "x", "1-", "-3", "1.5", "0-64", "9-3", "1-99999999999", "4294967296", "²"])
def test_other_words_are_refused_in_a_sentence(text):
    with pytest.raises(ValueError, match="seed"):
        seeds.parse(text)


# -- Seeds --------------------------------------------------------------------------------------


def test_seeds_that_are_missing_are_offered_at_a_price(app):
    test = app("pages/Seeds.py", p="5", seeds="1-2")
    assert not test.exception
    assert not errors(test)
    assert "2 of 2 runs are still to be trained" in said(test)
    assert "Train 2 runs" in {button.label for button in test.button}
    assert not charts(test)


def test_seeds_that_come_along_open_with_bands(app, tmp_path, monkeypatch):
    store = ui.lab().store
    monkeypatch.setattr(store, "atlas", tmp_path / "atlas")
    done = finish(preset("standard", 5, epochs=60))
    runs = [preset("standard", 5, seed=seed) for seed in (1, 2)]
    ended = done.provenance | {"stop_reason": "epochs"}
    write_atlas(tmp_path / "atlas" / SEEDS, 5, [replace(done, run=run, provenance=ended).outline() for run in runs])
    test = app("pages/Seeds.py", p="5", seeds="1-2")
    assert not test.exception
    assert not errors(test)
    assert not any(button.label.startswith("Train ") for button in test.button)
    assert "2 seeds of these come along with the lab" in said(test)
    assert test.dataframe[0].value["run"].isna().all()
    assert {"seeds-train_accuracy", "seeds-ends"} <= drawn(test)


def test_seeds_are_trained_and_drawn(app):
    test = app("pages/Seeds.py", p="3", seeds="1-2")
    press(test, "Train 2 runs")
    assert not test.exception
    runs = [preset("standard", 3, seed=seed) for seed in (1, 2)]
    for run in runs:
        assert ui.lab().job(run.id).done.wait(60)
    test.run()
    assert not test.exception
    assert "still to be trained" not in said(test)
    assert {"seeds-train_accuracy", "seeds-ends"} <= drawn(test)
    assert len(test.dataframe[0].value) == 2


@pytest.mark.parametrize("bad", ["<script>", "1-999999999", "", "½"])
def test_seeds_that_are_none_are_one_sentence(app, bad):
    test = app("pages/Seeds.py", p="5", seeds=bad)
    assert not test.exception
    assert len(errors(test)) == 1


# -- Forks --------------------------------------------------------------------------------------


def parent_in(store, record):
    store.put(record)
    return record.run.id


def test_a_fork_is_made_and_drawn_beside_its_parent(app, record):
    store = ui.lab().store
    test = app("pages/Forks.py", run=parent_in(store, record))
    assert not test.exception
    assert "has no fork yet" in said(test)
    next(box for box in test.number_input if box.label == "Weight decay").set_value(2.0).run()
    press(test, "Fork")
    assert not test.exception
    child = fork(SMALL, SMALL.epochs // 2, weight_decay=2.0)
    assert ui.lab().job(child.id).done.wait(60)
    test.run()
    assert not test.exception
    assert not errors(test)
    assert {key.partition("-")[0] for key in drawn(test)} == {"forks"}
    assert test.dataframe[0].value["run"].tolist() == ["parent", "from 150: λ 2.0"]


def test_a_compact_parent_is_forked_from_its_weights(app, record):
    small = record.compact()
    test = app("pages/Forks.py", run=parent_in(ui.lab().store, small))
    take = next(box for box in test.selectbox if box.label == "Carry over")
    assert len(take.options) == 2
    assert not test.exception


def test_stored_forks_appear(app, record):
    store = ui.lab().store
    store.put(record)
    child = fork(SMALL, 300, epochs=400)
    store.put(begin(child, record))
    test = app("pages/Forks.py", run=SMALL.id)
    assert not test.exception
    assert "from 300: until 400" in test.dataframe[0].value["run"].tolist()


def test_a_fork_that_makes_no_sense_is_one_sentence(app, record):
    test = app("pages/Forks.py", run=parent_in(ui.lab().store, record))
    next(box for box in test.number_input if box.label == "Train until step").set_value(2).run()
    assert not test.exception
    assert len(errors(test)) == 1
    assert "Fork" not in {button.label for button in test.button}


def test_an_overlay_holds_every_run(three):
    records = {str(i): record for i, record in enumerate(three)}
    rows = many.curves_of(records, "train_loss")
    assert set(rows["curve"].to_pylist()) == {"0", "1", "2"}
    chart = many.overlay(records, "train_loss", [100])
    assert chart.drawing.tables["marks"]["step"].to_pylist() == [100]
