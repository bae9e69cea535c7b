"""Initial weights and the plain forward pass."""

import numpy as np
import pytest
import torch
from conftest import EXACT, FLOAT32, plain_logits

from modadd.activations import trainable
from modadd.maths import fourier, measures
from modadd.networks.mlp.model import initial_weights
from modadd.runs import Run

RANDOM = Run(p=23, d_mlp=2000, init_scale=0.3)
SINGLE = Run(p=23, d_mlp=500, init="single-freq", init_scale=0.02)


def test_random_weights_have_the_stated_spread():
    # The relative error of a standard deviation over n draws is 1 / sqrt(2 n); five of them.
    for layer in initial_weights(RANDOM):
        assert layer.shape == (2000, 23)
        assert layer.std() == pytest.approx(0.3 / np.sqrt(23), rel=5 / np.sqrt(2 * layer.size))
        assert abs(layer.mean()) < 5 * layer.std() / np.sqrt(layer.size)


def test_the_two_layers_are_drawn_apart():
    theta, xi = initial_weights(RANDOM)
    assert abs(np.corrcoef(theta.ravel(), xi.ravel())[0, 1]) < 5 / np.sqrt(theta.size)


def test_a_single_frequency_neuron_is_one_cosine_in_both_layers():
    theta, xi = initial_weights(SINGLE)
    neuron = measures.neurons(theta, xi)
    for coef in (neuron["theta_hat_MP"], neuron["xi_hat_MP"]):
        np.testing.assert_allclose(fourier.ipr(fourier.amplitudes(coef)), 1, atol=FLOAT32)
        np.testing.assert_allclose(coef[:, 0], 0, atol=0.02 * FLOAT32 * np.sqrt(23))
    np.testing.assert_allclose(neuron["alpha_M"], 0.02, rtol=FLOAT32)
    # beta is read at the input's frequency: it is all of the output layer only if that is the same one.
    np.testing.assert_allclose(neuron["beta_M"], 0.02, rtol=FLOAT32)


@pytest.mark.parametrize("M", [500, 11, 5])
def test_single_frequencies_are_used_equally_often(M):
    run = Run(p=23, d_mlp=M, init="single-freq")
    counts = measures.frequency_counts(measures.neurons(*initial_weights(run))["frequency_M"], run.K)
    assert counts.sum() == M
    assert counts.max() - counts.min() <= 1


def test_equal_magnitudes_leave_the_phases_as_the_only_difference():
    run = Run(p=23, d_mlp=300, init="equal", init_scale=0.02)
    for w in initial_weights(run):
        magnitude, phase = fourier.cosines(fourier.dft(w))
        np.testing.assert_allclose(magnitude, 0.02, rtol=1e-5)
        assert np.abs(np.exp(1j * phase).mean()) < 5 / np.sqrt(phase.size)
    np.testing.assert_array_equal(initial_weights(run, 7)[0], initial_weights(run)[0][:7])


def test_single_frequencies_are_shuffled():
    frequency = measures.neurons(*initial_weights(SINGLE))["frequency_M"]
    assert (np.diff(frequency) % 11 != 1).sum() > 300


@pytest.mark.parametrize("run", [RANDOM, SINGLE])
def test_the_first_neurons_begin_as_they_do_among_all(run):
    for few, all_ in zip(initial_weights(run, 7), initial_weights(run), strict=True):
        np.testing.assert_array_equal(few, all_[:7])


def test_initial_phases_are_uniform_and_the_layers_independent():
    neuron = measures.neurons(*initial_weights(SINGLE))
    for angle in (neuron["phi_M"], neuron["psi_M"], neuron["D_M"]):
        assert abs(np.exp(1j * angle).mean()) < 3 / np.sqrt(500)


@pytest.mark.parametrize("run", [RANDOM, SINGLE], ids=["random", "single-freq"])
def test_a_seed_means_the_same_weights_and_another_others(run):
    one, again = initial_weights(run), initial_weights(run)
    other = initial_weights(Run(**{**vars(run), "seed": 1}))
    for a, b, c in zip(one, again, other, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b)
        assert (a != c).mean() > 0.9


@pytest.mark.parametrize("run", [RANDOM, SINGLE], ids=["random", "single-freq"])
def test_weights_leave_the_global_generators_alone(run):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    initial_weights(run)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize("act", trainable())
def test_swapping_x_and_y_changes_no_logit(act):
    theta, xi = initial_weights(Run(p=7, d_mlp=11, init_scale=1))
    table = plain_logits(theta, xi, act)
    assert torch.equal(table, table.transpose(0, 1))


@pytest.mark.parametrize("act", trainable())
def test_permuting_neurons_changes_no_logit(act):
    theta, xi = initial_weights(Run(p=7, d_mlp=11, init_scale=1))
    order = np.random.default_rng(0).permutation(11)
    one, other = plain_logits(theta, xi, act), plain_logits(theta[order], xi[order], act)
    np.testing.assert_allclose(one, other, atol=EXACT)


def test_the_plain_network_by_hand():
    # One neuron, p = 3: h = theta[1] + theta[2] = 2 - 5 = -3.
    theta, xi = np.array([[1.0, 2.0, -5.0]]), np.array([[1.0, 10.0, 100.0]])
    assert plain_logits(theta, xi, "relu")[1, 2].tolist() == [0, 0, 0]
    assert plain_logits(theta, xi, "quad")[1, 2].tolist() == [9, 90, 900]
    assert plain_logits(theta, xi, "identity")[1, 2].tolist() == [-3, -30, -300]
    assert plain_logits(theta, xi, "relu")[0, 1].tolist() == [3, 30, 300]
