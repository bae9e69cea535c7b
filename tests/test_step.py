"""The closed-form step against autograd, and its symmetries."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import EXACT, FLOAT32, every_pair, plain_logits, plain_metrics

from modadd import data
from modadd.activations import ACTIVATIONS, trainable
from modadd.data import METRICS
from modadd.maths import fourier
from modadd.networks.mlp.model import logits
from modadd.networks.mlp.step import Step
from modadd.runs import Run

M = 11


def some_weights(p, M=M, dtype=torch.float64, seed=0):
    """(theta_PM, xi_MP) of order one, where no activation is near linear and no softmax saturates."""
    draw = torch.Generator().manual_seed(seed)
    theta, xi = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((p, M), (M, p)))
    return theta.to(dtype), (xi / 2).to(dtype)


def closed_form(run, theta, xi, **how):
    """(metrics, dtheta, dxi) of a step."""
    step = Step(run, dtype=theta.dtype, **how)
    dtheta, dxi = torch.full_like(theta, torch.nan), torch.full_like(xi, torch.nan)
    return step.gradient(theta, xi, dtheta, dxi).ravel(), dtheta, dxi


def autograd(run, theta, xi):
    """(loss, dtheta, dxi) over the trained ordered pairs, as one would first write it."""
    theta, xi = theta.clone().requires_grad_(), xi.clone().requires_grad_()
    x, y = np.nonzero(data.train_mask(run))
    f = logits(theta.T, xi, torch.tensor(x), torch.tensor(y), ACTIVATIONS[run.activation])
    loss = F.cross_entropy(f, torch.tensor((x + y) % run.p))
    loss.backward()
    return loss.detach(), theta.grad, xi.grad


@pytest.mark.parametrize("p", [3, 5, 7, 15, 23])
@pytest.mark.parametrize(("split", "frac"), [("ordered", 0.6), ("unordered", 0.6), ("ordered", 1.0)])
@pytest.mark.parametrize("act", trainable())
def test_the_closed_form_gradient_is_autograds(act, split, frac, p):
    run = Run(p=p, d_mlp=M, activation=act, split=split, frac_train=frac)
    theta, xi = some_weights(p)
    metrics, dtheta, dxi = closed_form(run, theta, xi)
    loss, dtheta_auto, dxi_auto = autograd(run, theta, xi)
    assert metrics[0] == pytest.approx(loss.item(), rel=EXACT)
    for ours, theirs in ((dtheta, dtheta_auto), (dxi, dxi_auto)):
        assert theirs.abs().max() > 1e-3
        np.testing.assert_allclose(ours, theirs, rtol=EXACT, atol=EXACT * theirs.abs().max().item())


@pytest.mark.parametrize("act", trainable())
def test_float32_is_the_same_step_rounded(act):
    run = Run(p=7, d_mlp=M, activation=act, frac_train=0.6)
    theta, xi = some_weights(7)
    exact, rounded = closed_form(run, theta, xi), closed_form(run, theta.float(), xi.float())
    for a, b in zip(exact, rounded, strict=True):
        assert b.dtype == torch.float32
        np.testing.assert_allclose(b, a, rtol=FLOAT32, atol=FLOAT32 * a.abs().max().item())


@pytest.mark.parametrize("act", trainable())
def test_at_the_kink_the_step_follows_autograd(act):
    run = Run(p=5, d_mlp=M, activation=act)
    theta, xi = torch.zeros(5, M, dtype=torch.float64), some_weights(5)[1]
    metrics, dtheta, dxi = closed_form(run, theta, xi)
    _, dtheta_auto, dxi_auto = autograd(run, theta, xi)
    assert metrics[0] == pytest.approx(np.log(5), rel=EXACT)
    np.testing.assert_allclose(dtheta, dtheta_auto, atol=EXACT)
    np.testing.assert_allclose(dxi, dxi_auto, atol=EXACT)


@pytest.mark.parametrize(("split", "frac"), [("ordered", 0.6), ("unordered", 0.6), ("ordered", 1.0)])
@pytest.mark.parametrize("act", trainable())
def test_metrics_of_every_group_are_means_over_its_ordered_pairs(act, split, frac):
    run = Run(p=7, d_mlp=M, activation=act, split=split, frac_train=frac)
    theta, xi = some_weights(7)
    measured = dict(zip(METRICS, Step(run, dtype=torch.float64).metrics(theta, xi).ravel().tolist(), strict=False))
    loss, correct = plain_metrics(theta.T, xi, act)
    kind = data.kinds(run)
    for group, inside in {
        "train": kind <= data.RARE, "test": kind >= data.MIRRORED, "held_out": kind == data.HELD_OUT,
        "common": kind == data.COMMON, "rare": kind == data.RARE,
    }.items():  # fmt: skip
        if inside.any():
            assert measured[f"{group}_loss"] == pytest.approx(loss[inside].mean(), rel=10 * EXACT)
            assert measured[f"{group}_accuracy"] == pytest.approx(correct[inside].mean(), rel=EXACT)
        else:
            assert np.isnan(measured[f"{group}_loss"])
            assert np.isnan(measured[f"{group}_accuracy"])


def test_metrics_have_one_name_a_column():
    assert METRICS[-1] == "norm"
    assert METRICS[:-1] == tuple(f"{g}_{what}" for what in ("loss", "accuracy") for g in data.GROUPS)


def test_measuring_leaves_the_log_probabilities_for_a_frame():
    run = Run(p=7, d_mlp=M)
    theta, xi = some_weights(7)
    step = Step(run, dtype=torch.float64)
    step.metrics(theta, xi)
    x, y = data.pairs(7)
    expected = torch.log_softmax(plain_logits(theta.T, xi, "relu")[x, y], -1)
    np.testing.assert_allclose(step.log_probabilities_NP, expected, atol=EXACT * 10)


def test_measuring_does_not_move_the_weights():
    for act in trainable():
        theta, xi = some_weights(7)
        closed_form(Run(p=7, d_mlp=M, activation=act), theta, xi)
        for now, before in zip((theta, xi), some_weights(7), strict=True):
            assert torch.equal(now, before)


# -- symmetries ---------------------------------------------------------------------------------


@pytest.mark.parametrize("act", trainable())
def test_one_logit_row_serves_both_orders(act):
    run = Run(p=7, d_mlp=M, activation=act)
    theta, xi = some_weights(7)
    f = Step(run, dtype=torch.float64).forward(theta, xi).T
    table = plain_logits(theta.T, xi, act)
    x, y = data.pairs(7)
    np.testing.assert_allclose(f, table[x, y], atol=10 * EXACT)
    np.testing.assert_allclose(f, table[y, x], atol=10 * EXACT)


@pytest.mark.parametrize("act", trainable())
def test_permuting_neurons_permutes_the_gradient(act):
    run = Run(p=7, d_mlp=M, activation=act, frac_train=0.6)
    theta, xi = some_weights(7)
    order = torch.tensor(np.random.default_rng(1).permutation(M))
    metrics, dtheta, dxi = closed_form(run, theta, xi)
    metrics_, dtheta_, dxi_ = closed_form(run, theta[:, order], xi[order])
    np.testing.assert_allclose(metrics_, metrics, atol=EXACT)
    np.testing.assert_allclose(dtheta_, dtheta[:, order], atol=EXACT)
    np.testing.assert_allclose(dxi_, dxi[order], atol=EXACT)


@pytest.mark.parametrize("unit", [2, 3, 6])
@pytest.mark.parametrize("act", trainable())
def test_multiplying_residues_by_a_unit_permutes_the_gradient(act, unit):
    # u x + u y = u (x + y): reading every residue as its multiple is the same problem.
    run = Run(p=7, d_mlp=M, activation=act)
    theta, xi = some_weights(7)
    times = torch.arange(7) * unit % 7
    metrics, dtheta, dxi = closed_form(run, theta, xi)
    metrics_, dtheta_, dxi_ = closed_form(run, theta[times], xi[:, times])
    np.testing.assert_allclose(metrics_, metrics, atol=EXACT)
    np.testing.assert_allclose(dtheta_, dtheta[times], atol=EXACT)
    np.testing.assert_allclose(dxi_, dxi[:, times], atol=EXACT)


@pytest.mark.parametrize("unit", [2, 7, 22])
@pytest.mark.parametrize("p", [15, 23])
def test_multiplying_residues_by_a_unit_permutes_frequencies(p, unit):
    theta = some_weights(p)[0].T.numpy()
    amplitude = fourier.amplitudes(fourier.dft(theta))
    amplitude_ = fourier.amplitudes(fourier.dft(theta[:, np.arange(p) * unit % p]))
    k = np.arange(1, (p - 1) // 2 + 1)
    image = np.minimum(k * unit % p, -k * unit % p)  # cos(w_k u x) is the cosine of k u, folded into 1 .. K
    assert sorted(image) == list(k)
    np.testing.assert_allclose(amplitude_[:, image - 1], amplitude, atol=10 * EXACT)


# -- blocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 3, 4, 10, 11, 1000])
@pytest.mark.parametrize("act", trainable())
def test_the_size_of_a_block_does_not_matter(act, block):
    run = Run(p=7, d_mlp=M, activation=act, frac_train=0.6)
    theta, xi = some_weights(7)
    whole, blocked = closed_form(run, theta, xi), closed_form(run, theta, xi, block=block)
    for a, b in zip(whole, blocked, strict=True):
        np.testing.assert_allclose(b, a, atol=EXACT)


def test_a_step_uses_no_array_of_all_pairs_and_neurons():
    step = Step(Run(p=23, d_mlp=5000))
    assert max(array.numel() for array in vars(step).values() if torch.is_tensor(array)) < step.N * 5000 / 4


@pytest.mark.parametrize("p", [3, 5, 7, 15, 23, 53])
def test_every_residue_lists_the_pairs_that_hold_it(p):
    # Each residue is in p + 1 places, for (j, j) holds it twice; one linear neuron shows each of them.
    run = Run(p=p, d_mlp=1, activation="identity")
    theta, xi = some_weights(p, M=1)
    _, dtheta, _ = closed_form(run, theta, xi)
    np.testing.assert_allclose(dtheta, autograd(run, theta, xi)[1], atol=EXACT)


def test_the_table_of_answers_is_the_addition_table():
    step = Step(Run(p=7, d_mlp=M))
    x, y = every_pair(7)
    np.testing.assert_array_equal(data.grid(step.label_N.numpy(), 7), (x + y) % 7)
    np.testing.assert_array_equal(step.right_PN.argmax(0), step.label_N)
