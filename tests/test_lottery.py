"""Bets on winners, their scores, the flow beside training, and harmonics: on planted weights and small runs."""

from dataclasses import replace

import altair as alt
import numpy as np
import pytest
from conftest import EXACT, FLOAT32, HALF, finish
from scipy.stats import binomtest

from modadd import preset
from modadd.analysis import lottery
from modadd.figures import flow
from modadd.figures import lottery as figures
from modadd.figures import simulation as simulated
from modadd.maths import fourier, harmonics, simulation, theory
from modadd.runs import PUBLISHED_STEPS

P = 11


@pytest.fixture(scope="module")
def single():
    """A short single-frequency run under x^2, SGD at its small preset rate, so that steps are nearly a flow."""
    return finish(preset("quad_single_freq", P, d_mlp=20, epochs=600))


@pytest.fixture(scope="module")
def mixed():
    return finish(preset("quad_random", P, d_mlp=60, epochs=400, optimizer="sgd", lr=1.0))


def test_the_start_is_drawn_again_from_the_run(mixed):
    start = lottery.start(mixed)
    assert start["alpha"].shape == (60, 5)
    k = mixed.frames[0]["frequency"].astype(int) - 1
    for name in lottery.NAMES:
        np.testing.assert_allclose(start[name][np.arange(60), k], mixed.frames[0][name], rtol=2 * HALF, atol=1e-4)


def test_a_start_that_is_not_the_run_s_is_read_from_the_first_frame(mixed):
    other = replace(mixed, run=replace(mixed.run, seed=7))
    start = lottery.start(other)
    np.testing.assert_allclose(start["alpha"], lottery.start(mixed)["alpha"], rtol=0.01, atol=1e-5)
    without = [{n: a for n, a in f.items() if n != "theta_hat"} for f in other.frames]
    assert lottery.start(replace(other, frames=tuple(without))) is None
    assert lottery.start(replace(mixed, frames=mixed.frames[1:], frame_steps=mixed.frame_steps[1:])) is None


def test_a_compact_record_starts_where_the_whole_one_does(mixed):
    whole, small = lottery.start(mixed), lottery.start(mixed.compact())
    for name in lottery.NAMES:
        np.testing.assert_array_equal(small[name], whole[name])


def test_a_compact_record_strays_from_the_flow_by_its_rounding_alone(single):
    errors, small = (lottery.flow_errors(lottery.paths(record)) for record in (single, single.compact()))
    assert single.compact().coded
    for name, most in lottery.rounding(single.compact()).items():
        assert small[name].max() <= (1 + errors[name].max()) * (1 + most) - 1 + FLOAT32, name
        assert lottery.rounding(single)[name] < most / 10


def test_a_bet_that_is_always_right_scores_one_and_chance_scores_chance():
    winner_M = np.array([1, 2, 3, 4, 5] * 40)
    right = lottery.score(winner_M, winner_M)
    assert (right["hits"], right["n"], right["rate"], right["high"]) == (200, 200, 1.0, pytest.approx(1, rel=EXACT))
    assert 0.97 < right["low"] < 1
    blind = lottery.score(np.full(200, 2), winner_M)
    assert blind["low"] < blind["rate"] == 0.2 < blind["high"]


def test_scores_take_every_frame_at_once():
    winner_SM = np.array([[1, 1, 2], [1, 2, 2]])
    assert lottery.score(np.array([1, 2, 2]), winner_SM)["hits"].tolist() == [2, 3]


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (3, 10), (90, 512), (512, 512)])
def test_the_interval_is_wilson_s(hits, n):
    expected = binomtest(hits, n).proportion_ci(0.95, "wilson")
    assert lottery.interval(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_confusion_counts_each_neuron_once():
    count = lottery.confusion(np.array([1, 1, 3]), np.array([1, 2, 3], np.uint8), 3)
    assert count.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_an_activation_without_a_flow_has_no_race(mixed):
    start = lottery.start(mixed)
    assert list(lottery.bets(start, P, "gelu")) == ["phase", "magnitude", "drive"]
    assert set(lottery.bets(start, P, "quad")) == set(theory.RULES_TEX)


def test_the_leader_is_settled_where_it_last_took_over():
    alpha_SK = np.array([[2, 1], [1, 2], [2, 1], [1, 2], [1, 3]])
    assert lottery.settled(alpha_SK) == 3
    assert lottery.settled(alpha_SK[3:]) == 0


def test_the_flow_follows_training_and_its_errors_start_at_rounding(single):
    path = lottery.paths(single)
    assert path["z0"].shape == (4, 20)
    first = lottery.flow_errors(path, 0)
    assert max(first["alpha"].max(), first["beta"].max()) < HALF
    assert lottery.flow_errors(path)["beta"].max() < 0.005
    np.testing.assert_allclose(np.abs(path["D_SM"][0]), np.abs(fourier.wrap(path["D_SM"][0])), rtol=FLOAT32)


def test_where_no_flow_applies_the_paths_are_still_there(mixed):
    assert "z0" not in lottery.paths(mixed)
    assert "all frequencies at once" in lottery.no_flow(mixed.run)
    assert "adamw" in lottery.no_flow(preset("standard", 23))
    assert "gelu" in lottery.no_flow(replace(mixed.run, activation="gelu"))
    assert "held back" in lottery.no_flow(preset("quad_single_freq", 23, frac_train=0.5))
    assert lottery.no_flow(preset("relu_single_freq", 23)) is None


def test_multiples_of_a_frequency_fold_into_the_real_ones():
    assert harmonics.fold(3, [1, 4, 8], 23).tolist() == [3, 11, 1]
    assert harmonics.fold(3, [3], 9).tolist() == [0]


def test_a_harmonic_that_folds_back_is_taken_out_of_older_frames_too():
    """Where 3 divides p, older frames counted 5k = -k with 1; where 5 does, 5k = 0 never counted."""
    run = preset("relu_single_freq", 15, d_mlp=70)
    counts = np.full(7, 10)
    told = lottery.leaks({"leak_in_5": np.float32((40 * 0.1 + 10 * 1) / 50), "counts_K": counts}, run)
    assert told == {("input", 5): pytest.approx(0.1)}
    now = {"leak_in_5": np.float32(0.1), "counts_K": counts, "same_frequency": np.float32(1)}
    assert lottery.leaks(now, run) == {("input", 5): pytest.approx(0.1)}
    alone = lottery.leaks({"leak_out_2": np.float32(1), "counts_K": np.array([5])}, preset("quad_random", 3, d_mlp=5))
    assert np.isnan(alone["output", 2])


def test_the_first_increment_of_an_aligned_neuron_is_that_of_the_formula():
    got = harmonics.ratios(*harmonics.field(*harmonics.cosines(199)))
    assert got == pytest.approx({place: harmonics.increment(*place) for place in got}, abs=1e-4)
    assert len(got) == 4


def test_the_fixed_point_no_longer_changes_its_shape_and_leaves_out_what_folds_back():
    known = harmonics.fixed_point(23)
    assert known == pytest.approx(harmonics.fixed_point(53), abs=0.005)
    assert all(0.04 < value < 0.3 for value in known.values())
    assert ("input", 5) not in harmonics.fixed_point(3)
    assert ("input", 5) not in harmonics.fixed_point(5)


@pytest.mark.parametrize(("q", "mean", "spread"), [(3, 0.045, 0.188), (5, 0.017, 0.051), (23, 0.001, 0.002)])
def test_the_flow_of_relu_is_the_limit_of_frequencies_of_many_values(q, mean, spread):
    found = harmonics.coefficient(q)
    assert found == pytest.approx((1 + mean, spread), abs=0.02)


def test_a_neuron_with_harmonics_grows_faster_than_pure_cosines():
    assert harmonics.growth(23) == pytest.approx(harmonics.growth(53), rel=0.01)
    assert 1.2 < harmonics.growth(23) < 1.35


def test_every_figure_is_a_specification_without_streamlit(single, mixed):
    path, leak = lottery.paths(single), lottery.leakage(single)
    start, last = lottery.start(mixed), mixed.frames[-1]["frequency"]
    race, scores = mixed.race(0), {"race": lottery.score(last, mixed.series("frequency")[1])}
    case = simulation.pair("relu", P, 0.02, 1.0, 0.02, 0.5, 500)
    charts = [
        *(flow.trajectories(path, 3, what, 100) for what in ("phases", "magnitudes")),
        flow.errors(path, lottery.rounding(single), 3, 100),
        flow.leakage(leak, {("input", 3): 0.2}, 100),
        flow.portrait(path, 100, lottery.basin(single.run, path)),
        flow.aligned(path["step_S"], path["alpha_SM"][:, 0], np.array([3.0, 1e4, np.inf]), 900, 0.1),
        *(figures.race(race, what, 100, 0, True, True) for what in ("alpha", "beta", "D")),
        figures.hit_rates(figures.hits_table(mixed.series("frequency")[0], scores), 0.2, 100),
        figures.confusion(lottery.confusion(last, last, 5), "race", 100),
        figures.turning(race, 100, 0),
        figures.strip(last, 5, 0),
        figures.bets({"race": lottery.score(last, last)}, 0.2, len(last), 100),
        figures.contour(P, figures.placed(start, last)),
        *(simulated.curves(case, what, 50) for what in ("phases", "magnitudes")),
        simulated.phasors(case, 50),
    ]
    for chart in charts:
        spec = chart.drawing.spec
        assert chart.table().num_rows
        assert chart.caption.endswith(".")
        kind = alt.LayerChart if "layer" in spec else alt.Chart
        kind.from_dict(spec, validate=True)


def test_a_pair_ends_before_its_weights_are_large():
    case = simulation.pair("quad", 3, 0.02, 0.0, 0.02, 0.0, 20_000)
    assert case["step_S"][-1] < 20_000
    assert max(case["alpha_S"].max(), case["beta_S"].max()) <= 1


@pytest.mark.parametrize("activation", ["quad", "relu"])
def test_the_simulated_race_is_won_by_the_one_it_is_bet_on(activation):
    for seed in range(5):
        race = simulation.random_race(activation, P, 0.1, seed)
        bet = lottery.bets(race["start"], P, activation, theory.FINISH)["race"][0]
        assert race["alpha_SK"][-1].argmax() + 1 == bet


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4, 5])  # none of those on which lottery.FINISH was chosen
@pytest.mark.parametrize(
    ("name", "changes", "least"),
    [("quad_random", {"optimizer": "sgd", "lr": 1.0, "epochs": 6000}, 0.85), ("standard", {}, 0.55)],
)
def test_the_race_foretells_the_winners_of_training(name, changes, least, seed):
    record = finish(preset(name, 23, seed=seed, **changes))
    start, winner_M = lottery.start(record), record.frames[-1]["frequency"]
    bets = lottery.bets(start, 23, record.run.activation)
    rate = {rule: lottery.score(bet, winner_M)["rate"] for rule, bet in bets.items()}
    assert rate["race"] >= least
    assert 1 / 11 < rate["phase"] < min(rate["magnitude"], rate["drive"]) < rate["race"]


@pytest.mark.slow
def test_the_flow_is_the_training_of_every_neuron():
    path = lottery.paths(finish(preset("quad_single_freq", 23, epochs=PUBLISHED_STEPS)))
    assert lottery.flow_errors(path)["beta"].max() < 0.005  # 0.27 %
    path = lottery.paths(finish(preset("relu_single_freq", 23, epochs=PUBLISHED_STEPS)))
    assert np.median(lottery.flow_errors(path)["beta"]) < 0.05  # 3.4 %
