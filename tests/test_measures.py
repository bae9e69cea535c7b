"""Numbers about a network, against networks whose numbers are known."""

import numpy as np
import pytest
import torch
from conftest import EXACT
from hypothesis import given
from hypothesis import strategies as st

from modadd.maths import fourier, measures
from modadd.networks.mlp.model import initial_weights
from modadd.runs import Run

P, M, K = 23, 13, 11


def planted(seed=0):
    """One cosine a neuron in both layers, with everything that was planted."""
    rng = np.random.default_rng(seed)
    frequency = rng.integers(1, K + 1, M)
    alpha, beta = rng.uniform(0.5, 2, (2, M))
    phi, psi = rng.uniform(-np.pi, np.pi, (2, M))
    j = np.arange(P)
    theta = alpha[:, None] * np.cos(2 * np.pi * frequency[:, None] * j / P + phi[:, None])
    xi = beta[:, None] * np.cos(2 * np.pi * frequency[:, None] * j / P + psi[:, None])
    return theta, xi, dict(frequency_M=frequency, alpha_M=alpha, phi_M=phi, beta_M=beta, psi_M=psi)


def test_a_planted_cosine_is_recovered():
    row = 1.7 * np.cos(2 * np.pi * 5 * np.arange(P) / P + 0.3)[None]
    neuron = measures.neurons(row, row)
    assert neuron["frequency_M"][0] == 5
    assert neuron["alpha_M"][0] == pytest.approx(1.7, abs=EXACT)
    assert neuron["phi_M"][0] == pytest.approx(0.3, abs=EXACT)


@pytest.mark.parametrize("array", [np.asarray, torch.tensor])
def test_a_planted_network_is_recovered(array):
    theta, xi, truth = planted()
    neuron = measures.neurons(array(theta), array(xi))
    for name, expected in truth.items():
        np.testing.assert_allclose(np.asarray(neuron[name]), expected, atol=EXACT, err_msg=name)
    misalignment = np.angle(np.exp(1j * (2 * truth["phi_M"] - truth["psi_M"])))
    np.testing.assert_allclose(np.asarray(neuron["D_M"]), misalignment, atol=EXACT)


def test_the_input_layer_decides_the_frequency():
    j = np.arange(P)
    theta = np.cos(2 * np.pi * 4 * j / P)[None] + 0.1 * np.cos(2 * np.pi * 9 * j / P + 1)
    xi = 0.1 * np.cos(2 * np.pi * 4 * j / P + 0.7)[None] + np.cos(2 * np.pi * 9 * j / P)
    neuron = measures.neurons(theta, xi)
    assert neuron["frequency_M"][0] == 4
    assert neuron["beta_M"][0] == pytest.approx(0.1, abs=EXACT)
    assert neuron["psi_M"][0] == pytest.approx(0.7, abs=EXACT)


@pytest.mark.parametrize("s", [1, 2, 10])
def test_shifting_the_input_rotates_the_phase_back(s):
    theta, xi, truth = planted()
    shifted = measures.neurons(np.roll(theta, s, axis=1), xi)  # the row w[j - s]
    turn = np.exp(-2j * np.pi * truth["frequency_M"] * s / P)
    np.testing.assert_allclose(np.exp(1j * shifted["phi_M"]), np.exp(1j * truth["phi_M"]) * turn, atol=EXACT)
    np.testing.assert_allclose(shifted["alpha_M"], truth["alpha_M"], atol=EXACT)


def test_a_constant_is_no_frequency():
    theta, xi, _ = planted()
    one, other = measures.neurons(theta, xi), measures.neurons(theta + 3, xi - 5)
    for name in ("frequency_M", "alpha_M", "phi_M", "beta_M", "psi_M"):
        np.testing.assert_allclose(one[name], other[name], atol=10 * EXACT)


# -- inverse participation ratio ----------------------------------------------------------------


def test_ipr_of_one_cosine_is_1():
    theta, xi, _ = planted()
    scalars = measures.scalars(measures.neurons(theta, xi))
    assert scalars["ipr_in"] == pytest.approx(1, abs=EXACT)
    assert scalars["ipr_out"] == pytest.approx(1, abs=EXACT)


@pytest.mark.parametrize("n", [1, 2, 5, K])
def test_ipr_of_n_equal_cosines_is_1_over_n(n):
    amplitude = np.zeros((1, K))
    amplitude[0, :n] = 0.3
    assert fourier.ipr(amplitude)[0] == pytest.approx(1 / n, abs=EXACT)


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20), st.floats(1e-3, 1e3))
def test_ipr_lies_between_1_over_k_and_1_and_ignores_scale(amplitude, scale):
    amplitude = np.array([amplitude])
    ipr = fourier.ipr(amplitude)[0]
    assert 1 / amplitude.size - EXACT <= ipr <= 1 + EXACT
    assert fourier.ipr(scale * amplitude)[0] == pytest.approx(ipr, rel=10 * EXACT)


def test_ipr_of_nothing_is_0():
    np.testing.assert_array_equal(fourier.ipr(np.zeros((2, K))), [0, 0])


@pytest.mark.parametrize(("p", "expected"), [(23, 0.1667), (53, 0.0741)])
def test_ipr_at_random_initialisation_is_2_over_k_plus_1(p, expected):
    # A power is exponential there, so the ratio of moments is exact; 5 standard errors of the mean.
    M = 20_000
    theta, xi = initial_weights(Run(p=p, d_mlp=M))
    assert expected == pytest.approx(2 / ((p - 1) / 2 + 1), abs=1e-4)
    for layer in (theta, xi):
        ipr = fourier.ipr(fourier.amplitudes(fourier.dft(layer)))
        assert ipr.mean() == pytest.approx(2 / ((p - 1) / 2 + 1), abs=5 * ipr.std() / np.sqrt(M))
        assert 5 * ipr.std() / np.sqrt(M) < 0.03 * expected


# -- alignment and diversity --------------------------------------------------------------------


def test_alignment_is_measured_from_the_misalignment():
    theta, _, truth = planted()
    j = np.arange(P)
    for D in (0.0, 0.4, np.pi):
        psi = 2 * truth["phi_M"] - D
        xi = np.cos(2 * np.pi * truth["frequency_M"][:, None] * j / P + psi[:, None])
        scalars = measures.scalars(measures.neurons(theta, xi))
        assert scalars["mean_cos_D"] == pytest.approx(np.cos(D), abs=EXACT)
        assert scalars["mean_abs_sin_D"] == pytest.approx(abs(np.sin(D)), abs=10 * EXACT)


def test_both_signs_of_misalignment_count_as_distance():
    neuron = measures.neurons(*planted()[:2]) | {"D_M": np.array([0.5, -0.5])}
    assert measures.scalars(neuron)["mean_abs_sin_D"] == pytest.approx(np.sin(0.5), abs=EXACT)


def test_every_neuron_is_counted_once():
    counts = measures.frequency_counts(np.array([1, 3, 3, 5]), 5)
    assert counts.tolist() == [1, 0, 2, 0, 1]
    assert len(measures.frequency_counts(np.array([1]), 9)) == 9


def test_evenly_spread_phases_cancel():
    # Five evenly spaced phases cancel in every order but the multiples of five.
    phi = 0.2 + 2 * np.pi * np.arange(5) / 5
    coherence = measures.coherence(np.full(5, 2), phi, K=3, orders=(1, 2, 3, 4, 5))
    np.testing.assert_allclose(coherence[:, 1], [0, 0, 0, 0, 1], atol=EXACT)


def test_equal_phases_do_not_cancel_and_absent_frequencies_are_nan():
    coherence = measures.coherence(np.array([1, 1, 3]), np.array([0.7, 0.7, -2.0]), K=3)
    assert coherence.shape == (4, 3)
    np.testing.assert_allclose(coherence[:, [0, 2]], 1, atol=EXACT)
    assert np.isnan(coherence[:, 1]).all()


@pytest.mark.parametrize("n", [1, 3, 50])
def test_random_phases_read_one_at_any_number_of_neurons(n):
    rng, K = np.random.default_rng(3), 99
    frequency = np.repeat(np.arange(1, K + 1), n)
    counts = measures.frequency_counts(frequency, K)
    coherence = measures.coherence(frequency, rng.uniform(-np.pi, np.pi, n * K), K)
    value, error = measures.evenness(coherence, counts)
    assert (np.abs(value - 1) <= 4 * error + EXACT).all()
    assert (error <= 1.5 / np.sqrt(K)).all()


def test_evenness_has_no_error_from_one_frequency_and_no_value_from_none():
    value, error = measures.evenness(np.array([[0.5, np.nan]]), [4, 0])
    assert value == 1
    assert np.isnan(error)
    assert np.isnan(measures.evenness(np.array([[np.nan]]), [0])[0])


def test_statistics_of_the_layer_count_a_neuron_by_its_vote():
    theta = fourier.from_cosines(np.array([[0, 3.0], [0, 1.0]]), np.zeros((2, 2)))
    xi = fourier.from_cosines(np.array([[0, 1.0], [1.0, 0.5]]), np.array([[0, 0.05], [0, np.pi]]))
    seen = measures.layer(measures.neurons(theta, xi), "quad")
    assert seen["same_frequency"] == seen["aligned"] == 0.5
    assert seen["vote_cos_D"] == pytest.approx((9 * np.cos(0.05) - 0.5) / 9.5, rel=EXACT)
    assert seen["cv_alpha"] == pytest.approx(0.5, rel=EXACT)
    by_k = measures.misalignment(np.array([2, 2, 1]), np.array([np.pi / 2, 0, np.pi]), 3)
    np.testing.assert_allclose(by_k, [0, 0.5, np.nan], atol=EXACT)


# -- stages -------------------------------------------------------------------------------------


class Seen:
    """The two fields of a record that stages look at."""

    def __init__(self, train, test):
        self.steps = np.arange(len(train)) * 10
        self.history = {"train_accuracy": np.array(train), "test_accuracy": np.array(test)}


def test_a_stage_ends_at_the_first_step_on_or_above_the_threshold():
    assert measures.stages(Seen([0.1, 0.94, 0.95, 0.9, 1.0], [0.0, 0.0, 0.7, 0.949, 1.0])) == (20, 40)


def test_a_stage_that_never_ends_is_none():
    assert measures.stages(Seen([0.1, 0.96], [0.1, 0.949])) == (10, None)
    assert measures.stages(Seen([0.1, 0.2], [0.1, 0.2])) == (None, None)


def test_a_stage_without_pairs_is_none():
    assert measures.stages(Seen([0.1, 1.0], [np.nan, np.nan])) == (10, None)


def test_the_threshold_is_the_users():
    seen = Seen([0.1, 0.5, 0.9], [0.1, 0.2, 0.6])
    assert measures.stages(seen, threshold=0.5) == (10, 20)
    assert measures.stages(seen, threshold=1.0) == (None, None)
