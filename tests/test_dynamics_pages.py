"""The pages on the dynamics and the claims: with the atlas, with an empty cache, and on bad input."""

import time

import pytest

from modadd import preset, ui
from modadd.analysis import claims
from modadd.runs import presets_at
from pages import charts, errors, move, player, said, tell, wish

LOTTERY, FLOW, SIMULATION, CLAIMS = (
    f"pages/{name}.py" for name in ("Lottery", "Gradient_flow", "Simulation", "Claims")
)
PAGES = [LOTTERY, FLOW, SIMULATION, CLAIMS]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_draws_the_atlas(app, page):
    test = app(page, p="23")
    assert not test.exception
    assert not test.error
    assert test.title
    assert len(charts(test)) >= (0 if page == CLAIMS else 4)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("p", ["23", "29", "3"])
def test_every_page_runs_with_an_empty_cache(app, page, p):
    test = app(page, atlas=False, p=p)
    assert not test.exception
    assert not test.error
    assert test.title
    if page in (LOTTERY, FLOW):
        assert "has not been trained here" in said(test)
        assert any(button.label.startswith("Train this here") for button in test.button)


@pytest.mark.parametrize("page", [LOTTERY, FLOW, CLAIMS])
def test_a_run_id_that_does_not_exist_is_one_sentence_and_the_page_goes_on(app, page):
    for bad in ("p023-standard-0000000000", "../../etc/passwd", "<script>", "p999", "p0²3-x", "x" * 5000):
        test = app(page, p="23", run=bad)
        assert not test.exception, bad
        (error,) = errors(test)
        assert "No run called" in error
        assert len(error) < 600
        assert charts(test) or page == CLAIMS, bad


@pytest.mark.parametrize("page", [LOTTERY, FLOW, CLAIMS])
def test_a_run_in_the_url_overrides_the_preset(app, page):
    run = preset("relu_single_freq", 23)
    test = app(page, run=run.id)
    assert not test.exception
    assert not test.error
    shown = ui.find(run.id).record.run.id
    assert page == CLAIMS or any(f"Run {shown}" in text.value for text in test.caption)


@pytest.mark.parametrize("page", [LOTTERY, FLOW])
def test_moving_the_modulus_leaves_the_run_in_the_url(app, page):
    test = app(page, run=preset("standard", 23).id)
    wish(test, p=29)
    assert not test.exception
    assert not test.error
    assert "run" not in test.query_params
    assert test.query_params["p"] in ("29", ["29"])


@pytest.mark.parametrize("page", [LOTTERY, FLOW])
def test_the_player_moves_the_charts(app, page):
    test = app(page, p="23")
    before = charts(test)
    move(test, 1000)
    after = charts(test)
    assert not test.exception
    assert sum(a != b for a, b in zip(before, after, strict=True)) >= 3


@pytest.mark.parametrize("page", [LOTTERY, FLOW, CLAIMS])
def test_the_pages_follow_a_run_that_is_training(app, page):
    run = preset("quad_single_freq", 7, epochs=500_000)
    job = ui.lab().submit(run, "cpu")
    while job.record is None or len(job.record.frames) < 3:
        time.sleep(0.05)
    test = app(page, p="7", run=run.id)
    ui.lab().stop(run.id)
    job.done.wait(60)
    assert not test.exception
    assert not test.error
    assert page == CLAIMS or any("training now" in text.value for text in test.caption)


@pytest.mark.parametrize("name", ["standard", "grokking", "relu_single_freq"])
@pytest.mark.parametrize("page", [LOTTERY, FLOW])
def test_every_preset_of_the_atlas_is_drawn_and_what_does_not_apply_is_said(app, page, name):
    test = app(page, run=preset(name, 23).id)
    assert not test.exception
    assert not test.error
    if page == FLOW and name != "relu_single_freq":
        assert any("Only the training is drawn" in text.value for text in test.info)


def test_claims_are_judged_in_a_matrix_and_a_verdict_is_explained(app):
    test = app(CLAIMS, p="23")
    matrix = test.dataframe[0].value
    assert set(presets_at(23)) == {name.replace(" ", "_") for name in matrix.columns[1:]}
    verdicts = set(matrix.iloc[:, 1:].to_numpy().ravel())
    assert verdicts <= {*claims.VERDICTS, ""}
    assert {"holds", "in part", "fails"} <= verdicts
    told = said(test)
    assert all(f"badge[{verdict}]" in told for verdict in ("holds", "in part", "fails"))
    assert "Measured:" in told


def test_a_run_of_ones_own_is_judged_beside_the_presets(app, record):
    ui.lab().store.put(record)
    matrix = app(CLAIMS, run=record.run.id).dataframe[0].value
    assert matrix.columns[1] == "this run"


def test_the_simulation_plays_and_stops(app):
    test = app(SIMULATION, p="23")
    tell(test, "sim-case1", playing=True, at=0)
    assert not test.exception
    assert [player(test, key)["playing"] for key in ("sim-case1", "sim-own", "sim-race")] == [True, False, False]
    tell(test, "sim-case1", playing=False, at=0)
    assert not test.exception
    assert not player(test, "sim-case1")["playing"]
