"""The Grokking page: what it draws, what it says when something is missing, and the numbers behind it."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import SMALL, finish

from modadd import data, preset, ui
from modadd.analysis import forces
from modadd.figures import curves, grids, grokking
from modadd.maths import measures
from modadd.runs import WARMUP
from pages import charts, drawn, errors, player, said, wish

PAGE = "pages/Grokking.py"


@pytest.fixture
def app(app):
    """Opens this page."""
    return partial(app, PAGE)


@pytest.fixture(scope="module")
def grokked(shipped):
    """The record of the atlas at p = 23."""
    return shipped.get(preset("grokking", 23).id)


def test_the_atlas_is_drawn_with_its_stages(app):
    test = app(p="23")
    assert not test.exception
    assert not errors(test)
    assert {"grokking-accuracy", "grokking-probability", "grokking-forces"} <= drawn(test)
    assert f"{data.mirrored_share(preset('grokking', 23)):.1%}" in said(test)


def test_without_a_record_it_offers_to_train(app):
    test = app(False, p="23")
    assert not test.exception
    assert any(button.label.startswith("Train this here") for button in test.button)
    assert not charts(test)


def test_below_19_it_says_where_grokking_starts(app):
    test = app(p="13")
    assert not test.exception
    assert "from p = 19 on" in said(test)


def test_a_run_that_is_not_there_is_one_sentence_beside_the_preset(app):
    for bad in ("p023-grokking-0000000000", "../../etc/passwd", "<b>x</b>"):
        test = app(run=bad)
        assert not test.exception, bad
        (error,) = errors(test)
        assert "instead" in error
        assert "<b>" not in error.replace("\\<", "")
        assert "grokking-accuracy" in drawn(test), bad


def test_a_run_in_the_url_brings_its_modulus_and_the_slider_leaves_it(app):
    run = replace(SMALL, epochs=200)
    ui.lab().store.put(finish(run))
    test = app(run=run.id)
    assert not test.exception
    assert not errors(test)
    assert test.session_state["p"] == run.p
    assert charts(test)
    wish(test, p=23)
    assert not test.exception
    assert "run" not in test.query_params
    assert "grokking-accuracy" in drawn(test)


def test_a_run_on_all_pairs_has_nothing_to_generalise_to(app):
    test = app(run=preset("standard", 23).id)
    assert not test.exception
    assert "trains on every pair" in said(test)


def test_the_criterion_moves_the_boundary(app, grokked):
    test = app(p="23")
    test.slider(key="criterion").set_value(80).run()
    assert not test.exception
    for end, before in zip(measures.stages(grokked, 0.8), measures.stages(grokked), strict=True):
        assert end < before
        assert f"step {end:,}" in said(test)


def test_a_criterion_that_is_never_met_is_called_not_reached(app, grokked):
    assert np.nanmax(grokked.history["test_accuracy"]) < 1  # else choose another record for this test
    test = app(p="23")
    test.slider(key="criterion").set_value(100).run()
    assert not test.exception
    assert "not reached" in said(test)
    assert dict(player(test)["turns"])["Stage II ends"] is None


def test_the_player_marks_the_ends_of_the_stages(app, grokked):
    ends = measures.stages(grokked)
    assert dict(player(app(p="23"))["turns"]) == {"Stage I ends": ends[0], "Stage II ends": ends[1]}


def test_stages_cover_the_run_and_stop_at_what_was_not_reached(grokked):
    last = int(grokked.steps[-1])
    spans = lambda *ends: curves.stages(grokked, ends)["stages"]  # noqa: E731
    assert spans(10, 20) == {"memorisation": (0, 10), "generalisation": (10, 20), "cleanup": (20, last)}
    assert spans(10, None) == {"memorisation": (0, 10), "generalisation": (10, last)}
    assert spans(None, 20) == {"memorisation": (0, last)}
    assert spans(20, 10) == {"memorisation": (0, 20), "cleanup": (20, last)}


def test_held_out_accuracy_rises_only_after_memorisation(grokked):
    end = measures.stages(grokked)[0]
    early = grokked.steps <= end
    assert np.nanmax(grokked.history["held_out_accuracy"][early]) < 0.1


def test_the_plateau_is_the_mirrored_share(grokked):
    share = data.mirrored_share(grokked.run)
    h = grokked.history
    np.testing.assert_allclose(
        h["test_accuracy"], share * h["rare_accuracy"] + (1 - share) * h["held_out_accuracy"], atol=1e-6
    )


def test_the_probability_grid_is_the_right_way_round(grokked):
    run, frame = grokked.run, grokked.at(holding="probability").frame
    rows = grids.cells(frame, run).to_pydict()
    train = data.train_mask(run)
    for x, y, kind in zip(rows["x"], rows["y"], rows["kind"], strict=True):
        assert (kind in ("common", "rare")) == train[x, y]
        assert (kind in ("common", "mirrored")) == train[y, x]


def test_forces_of_decay_alone_leave_nothing_to_the_gradient():
    """A norm that only decays, by the rule of the optimiser, gives a gradient force of zero."""
    run = replace(preset("grokking", 23), epochs=50)
    record = finish(replace(SMALL, epochs=50))
    lr = run.lr * np.minimum(np.arange(50) / WARMUP, 1)
    norm = 3 * np.concatenate([[1], np.cumprod(1 - lr * run.weight_decay)])
    record = replace(record, run=run, steps=np.arange(51), history=record.history | {"norm": norm})
    pull = forces.on_norm(record)
    np.testing.assert_allclose(pull["loss gradient"], 0, atol=1e-12)
    assert (pull["weight decay"][pull["step"] >= WARMUP] < 0).all()
    thin = np.array([0, 1, 2, 5, 12, 20, 33, 50])
    thinned = replace(record, steps=thin, history=record.history | {"norm": norm[thin]})
    pull = forces.on_norm(thinned)
    assert np.abs(pull["loss gradient"]).max() < 0.05 * np.abs(pull["weight decay"]).max()
    assert pull["steps"].sum() == 50


def test_forces_add_up_to_the_change_of_the_norm(grokked):
    pull = forces.on_norm(grokked)
    norm = grokked.history["norm"].astype(float)
    assert np.sum(pull["both"] * pull["steps"]) == pytest.approx(norm[-1] ** 2 - norm[0] ** 2, rel=1e-9)
    np.testing.assert_allclose(pull["loss gradient"] + pull["weight decay"], pull["both"], atol=1e-12)


def test_over_p_keeps_what_was_not_reached_as_missing(grokked):
    one = grokked.summary
    rows = grokking.over_p([one, one | {"p": 25, "stage2_end": None, "stop_reason": "epochs"}]).to_pylist()
    assert rows[0]["gap ratio"] == pytest.approx(one["stage2_end"] / one["stage1_end"])
    assert rows[0]["modulus"] == "prime"
    assert rows[1]["modulus"] == "composite"
    assert rows[1]["gap ratio"] is None
    assert rows[1]["plateau stop"] is None
    chart = grokking.against_p(grokking.over_p([one, one | {"p": 25, "stage2_end": None}]), "Gap ratio")
    assert "1 not reached" in chart.caption


def test_large_moduli_are_drawn_as_pictures():
    run = preset("grokking", 101)
    n = 101 * 51
    frame = {"correct": np.ones(n, bool), "probability": np.linspace(0, 1, n, dtype=np.float32)}
    for chart in (grids.probability(frame, run, 3), grids.answers(frame, run, 3)):
        assert "picture" in chart.drawing.tables
        assert "step 3" in chart.title
