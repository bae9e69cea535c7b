"""Weights, Phases, Logits and Surgery, run in-process: atlas, empty cache, missing runs, imported and bad ids."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import FLOAT32, SMALL

from modadd import preset, ui
from modadd.analysis import lottery
from modadd.analysis import votes as asked
from modadd.figures import logits, neurons, phases
from modadd.figures import lottery as races
from modadd.maths import fourier
from modadd.records import rows
from pages import bar, charts, drawn, errors, move, player, press, said, wish

COARSE = 0.04  # spectra of compact records are within 3 % of each magnitude
CHARTS = {
    "pages/Weights.py": {"modes-input", "modes-output", "spectrum", "circle-input"},
    "pages/Phases.py": {"scatter", "alignment", "ring-1", "evenness", "violins", "counts"},
    "pages/Logits.py": {"row", "pair"},
    "pages/Surgery.py": {"grid-before", "grid-after", "swaps", "subsets", "ablation-phases"},
}


@pytest.mark.parametrize("page", CHARTS)
def test_a_page_draws_the_atlas(app, page):
    test = app(page, p="23")
    assert not test.exception
    assert not test.error
    assert drawn(test) >= CHARTS[page]


@pytest.mark.parametrize("page", CHARTS)
def test_an_empty_cache_is_an_offer_to_train(app, page):
    test = app(page, atlas=False)
    assert not test.exception
    assert not charts(test)
    assert any(button.label.startswith("Train this here") for button in test.button)


@pytest.mark.parametrize("page", CHARTS)
def test_a_modulus_without_a_record_is_an_offer_to_train(app, page):
    test = app(page, atlas=False, p="29")
    assert not test.exception
    assert any(button.label.startswith("Train this here (about") for button in test.button)


@pytest.mark.parametrize("page", CHARTS)
@pytest.mark.parametrize("p", [3, 97])
def test_a_compact_record_is_drawn_as_far_as_it_goes(app, page, p):
    if ui.lab().store.where(preset("standard", p).id) is None:
        pytest.skip(f"the atlas does not hold p = {p}")
    test = app(page, p=str(p))
    assert not test.exception
    assert not test.error
    assert charts(test)
    for step in player(test)["moments"][:1] + player(test)["moments"][3:4]:
        move(test, step)
        assert not test.exception


@pytest.mark.parametrize("page", CHARTS)
def test_a_run_id_that_is_not_here_is_one_sentence_and_the_page_goes_on(app, page):
    for bad in ("p023-standard-0000000000", "../../etc/passwd", "<script>", "x" * 5000):
        test = app(page, p="23", run=bad)
        assert not test.exception, bad
        (error,) = errors(test)
        assert "No run called" in error
        assert len(error) < 300
        assert drawn(test) >= CHARTS[page], bad


@pytest.mark.parametrize("page", CHARTS)
@pytest.mark.parametrize("name", ["grokking", "quad_single_freq"])
def test_any_run_opens_by_its_id_and_can_be_left(app, page, name, shipped):
    test = app(page, run=shipped.get(preset(name, 23).id).run.id)
    assert not test.exception
    assert not test.error
    assert test.session_state["p"] == 23
    assert drawn(test) >= CHARTS[page]
    assert bar(test)["run"] == test.query_params["run"]
    wish(test, run="standard")
    assert test.query_params["run"] == "standard"
    assert not test.exception
    assert bar(test)["run"] == "standard"


@pytest.mark.parametrize("page", CHARTS)
def test_a_custom_run_with_few_neurons_opens(app, page, record):
    ui.lab().store.put(record)
    test = app(page, p="7", run=SMALL.id)
    assert not test.exception
    assert not test.error
    assert drawn(test) >= CHARTS[page]


@pytest.mark.parametrize("page", CHARTS)
def test_a_record_without_weights_is_drawn_as_far_as_it_goes(app, page, record):
    frames = tuple({n: a for n, a in frame.items() if n not in ("theta", "xi")} for frame in record.frames)
    ui.lab().store.put(replace(record, frames=frames, state=None))
    test = app(page, p="7", run=SMALL.id)
    assert not test.exception
    assert not test.error
    assert charts(test)


@pytest.mark.parametrize("page", ["pages/Weights.py", "pages/Phases.py"])
def test_the_player_moves_the_charts(app, page):
    test = app(page, p="23")
    before = charts(test)
    move(test, 0)
    assert not test.exception
    after = charts(test)
    assert sum(a != b for a, b in zip(before, after, strict=False)) >= 8


def test_neurons_beyond_the_kept_spectra_are_shown_where_weights_are(app):
    test = app("pages/Weights.py", p="23")
    move(test, 0)
    test.text_input(key="typed_neurons").set_value("3, 100-104").run()
    assert not test.exception
    assert "layer at step 5,000" in said(test)  # of the neurons that only the last frame holds
    test.text_input(key="typed_neurons").set_value("every second").run()
    assert any("numbers and ranges" in text.value for text in test.error)
    test.text_input(key="typed_neurons").set_value("600").run()
    assert not test.exception
    assert any("None of these neurons" in text.value for text in test.info)
    test.number_input(key="inspected").set_value(511).run()
    assert not test.exception


def test_a_neuron_without_spectra_races_with_its_leader_only(app):
    test = app("pages/Phases.py", p="23")
    test.number_input(key="raced").set_value(400).run()
    assert not test.exception
    assert "knows only the frequency in the lead" in said(test)
    assert {"race-beta", "race-D"} <= drawn(test)


def test_any_pair_and_any_row_can_be_asked(app):
    test = app("pages/Logits.py", p="23")
    test.number_input(key="row-x-23").set_value(5)
    test.number_input(key=f"pair-x-{preset('standard', 23).id}").set_value(22)
    test.number_input(key=f"pair-y-{preset('standard', 23).id}").set_value(22).run()
    assert not test.exception
    assert any("22 + 22 = 21, says the network" in text.value for text in test.markdown)


def test_operations_add_up_and_are_undone(app):
    test = app("pages/Surgery.py", p="23")
    accuracy = lambda: next(m.value for m in test.metric if m.label == "accuracy, all sums")  # noqa: E731
    assert accuracy() == "100.0%"
    test.selectbox(key="operation").set_value("shuffle ψ alone").run()
    press(test, "Operate")
    assert not test.exception
    assert float(accuracy().rstrip("%")) < 20
    test.selectbox(key="operation").set_value("equalise magnitudes").run()
    press(test, "Operate")
    assert len(test.dataframe[0].value) == 3
    press(test, "Undo")
    assert len(test.dataframe[0].value) == 2
    press(test, "Start over")
    assert accuracy() == "100.0%"
    assert not test.exception


@pytest.mark.parametrize("text", ["", " ", "a", "1-", "-3", "1;2", "5-3"])
def test_what_is_no_list_of_neurons_is_none(text):
    assert rows.parse(text) is None


def test_a_list_of_neurons_is_read_and_bounded():
    assert rows.parse("0, 5, 17-19") == [0, 5, 17, 18, 19]
    assert len(rows.parse("0-999999")) == 60


@pytest.fixture(scope="module")
def standard(shipped):
    return shipped.get(preset("standard", 23).id)


def test_one_pair_votes_as_its_row_does_with_and_without_weights(standard):
    now = asked.moment(standard, standard.step)
    votes_P, votes_KP = now.pair(5, 9)
    np.testing.assert_allclose(votes_KP.sum(0), votes_P)
    np.testing.assert_allclose(now.row(5)[9], votes_P, atol=FLOAT32 * np.abs(votes_P).max())
    frames = tuple({name: array for name, array in frame.items() if name != "theta"} for frame in standard.frames)
    bare = asked.moment(replace(standard, frames=frames), standard.step)
    assert (bare.net, bare.step, bare.at) == (None, standard.step, standard.step)
    np.testing.assert_array_equal(bare.pair(0, 9)[0], now.row(0)[9])
    assert bare.pair(0, 9)[1] is None
    assert bare.fit_zero() == now.fit_zero()
    assert bare.fit_all() == now.fit_all()


def test_the_best_cosine_of_a_planted_one_is_itself():
    row = 1.7 * np.cos(2 * np.pi * 3 * np.arange(7) / 7 + 0.3)
    found = rows.best_cosine(fourier.dft(row[None])[0])
    assert found["k"] == 3
    assert found["magnitude"] == pytest.approx(1.7)
    assert found["phase"] == pytest.approx(0.3)
    assert found["r2"] == pytest.approx(1)
    assert rows.best_cosine(np.zeros(7))["r2"] is None


def test_the_leader_of_a_race_is_the_same_in_the_tables_and_in_the_spectra(standard):
    whole, leader = standard.race(7), lottery.leader_race(standard, 7)
    both = np.isin(leader["step_S"], whole["step_S"])
    leader = {name: column[both] for name, column in leader.items()}
    winner, at = whole["alpha_SK"].argmax(1), np.arange(len(whole["step_S"]))
    np.testing.assert_array_equal(leader["alpha_SK"].argmax(1), winner)
    np.testing.assert_allclose(leader["alpha_SK"].max(1), whole["alpha_SK"][at, winner], rtol=COARSE)
    np.testing.assert_allclose(leader["beta_SK"][at, winner], whole["beta_SK"][at, winner], rtol=2 * COARSE)
    assert len(races.race_table(leader, "alpha")) == len(at)
    assert lottery.leader_race(standard, 10_000) is None


@pytest.mark.parametrize("by", rows.SORTS)
def test_sorting_keeps_every_neuron(standard, by):
    frame = standard.at().frame
    chosen = rows.choose(frame, [9, 4, 70, 2])
    order = rows.order(rows.coefficients(frame, chosen), chosen, by)
    assert sorted(order) == [0, 1, 2, 3]
    if by == "neuron":
        assert chosen[order].tolist() == [2, 4, 9, 70]


def test_spectra_and_weights_tell_the_same(standard):
    held = standard.at().frame
    kept = {name: value for name, value in held.items() if name not in ("theta", "xi")}
    chosen = np.array([0, 3, 11])
    for layer in rows.LAYERS:
        one, other = (rows.coefficients(frame, chosen)[layer] for frame in (held, kept))
        np.testing.assert_allclose(one, other, rtol=COARSE, atol=1e-2)


def test_the_stack_and_the_table_of_votes_sum_to_the_bars(standard):
    from modadd.analysis import surgery

    votes = surgery.votes(surgery.network(standard.at().frame, standard.run), 3, 7)
    pair = logits.pair_table(votes.sum(0), 3, 7, 1.0)
    assert pair["kind"].to_pylist().count("right answer x + y") == 1
    assert pair["kind"].to_pylist().count("ghosts 2x and 2y") == 2
    by_answer = np.array(logits.split_table(votes)["value"]).reshape(11, 23).sum(0)
    np.testing.assert_allclose(by_answer, pair["value"], atol=1e-9)


def test_random_phases_are_as_uneven_as_expected():
    rng = np.random.default_rng(0)
    lengths = abs(np.exp(1j * rng.uniform(-np.pi, np.pi, (4000, 30))).mean(1))
    assert lengths.mean() == pytest.approx(phases.expected(30), rel=0.03)


def test_every_chart_is_made_without_streamlit(standard):
    frame, K = standard.at().frame, standard.run.K
    for chart in (
        neurons.phase_scatter(frame, K, 400, 3, pick=True),
        neurons.alignment(frame, 400),
        phases.ring(frame, K, 2, 4, 400),
        phases.evenness(frame, K, 400, 1),
        phases.violins(frame, 400),
        phases.counts(frame, 400),
    ):
        assert chart.drawing.spec["height"]
        assert "400" in chart.title + chart.caption + chart.alt
