"""The compiled step: its gradients against autograd, its runs against the plain step's, and what it leaves behind."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import (
    FLOAT32,
    SMALL,
    SMALL_SGD,
    assert_same_arrays,
    assert_same_training,
    finish,
    plain_metrics,
    weights,
)
from test_step import autograd, some_weights

from modadd import data
from modadd.data import METRICS
from modadd.networks.mlp import compiled
from modadd.networks.optim import BETA1
from modadd.runs import Run, preset
from modadd.training.engine import engine

CPU = torch.device("cpu")
M = 37  # neurons that fill no whole number of vectors, whatever their length
FEW_STEPS = 1e-4  # float32 sums in two orders, and the few ReLUs that they switch, after some dozen steps
SPLITS = pytest.mark.parametrize(("split", "frac"), [("ordered", 0.6), ("unordered", 0.6), ("ordered", 1.0)])
pytestmark = pytest.mark.skipif(not compiled.builds(), reason="the installation found no C compiler")


@pytest.fixture(params=compiled.builds() or ["none"])
def build(request, monkeypatch):
    """Every build that this processor runs, in turn."""
    monkeypatch.setenv("MODADD_STEP", request.param)
    return request.param


def at(run, theta_PM, xi_MP):
    """The engine of a run at step 0 with these weights."""
    w = torch.cat([theta_PM.ravel(), xi_MP.ravel()]).float().numpy()
    net = engine([run], CPU, [{"w": w, "m": np.zeros_like(w), "v": np.zeros_like(w), "step": 0}])
    assert net.program.startswith("compiled")
    return net


def first_step(run, theta_PM, xi_MP):
    """(metrics by name, gradient at the flat weights) of the step at these weights."""
    net = at(run, theta_PM, xi_MP)
    net.advance(1)  # with a learning rate of 0
    return dict(zip(METRICS, net.rows(0, 1)[0, 0], strict=True)), net.state(0)["m"] / (1 - BETA1)


def few_steps(run, steps=40):
    """(history [steps, METRICS], state) of the first steps of a run."""
    net = engine([run], CPU)
    net.advance(steps)
    return net.rows(0, steps)[0], net.state(0)


def assert_gradient(run, theta, xi):
    theta, xi = theta.float().double(), xi.float().double()
    metrics, gradient = first_step(run, theta, xi)
    loss, *exact = autograd(run, theta, xi)
    assert metrics["train_loss"] == pytest.approx(loss.item(), rel=FLOAT32)
    exact = np.concatenate([g.numpy().ravel() for g in exact])
    np.testing.assert_allclose(gradient, exact, atol=FLOAT32 * np.abs(exact).max())


@pytest.mark.parametrize("p", [3, 5, 7, 15, 23, 31, 53])
@SPLITS
@pytest.mark.parametrize("act", compiled.ACTIVATIONS)
def test_the_gradient_is_autograds(build, act, split, frac, p):
    assert_gradient(Run(p=p, d_mlp=M, activation=act, split=split, frac_train=frac), *some_weights(p, M))


@pytest.mark.parametrize("p", range(3, 200, 14))
def test_the_gradient_is_autograds_at_every_size(p):
    assert_gradient(Run(p=p, d_mlp=M, frac_train=0.75), *some_weights(p, M))


@pytest.mark.parametrize("M", [1, 16, 33, 1100])
def test_the_gradient_is_autograds_at_every_width(build, M):
    assert_gradient(Run(p=7, d_mlp=M, frac_train=0.75), *some_weights(7, M))


@SPLITS
@pytest.mark.parametrize("act", compiled.ACTIVATIONS)
def test_metrics_of_every_group_are_means_over_its_ordered_pairs(build, act, split, frac):
    run = Run(p=7, d_mlp=M, activation=act, split=split, frac_train=frac)
    theta, xi = some_weights(7, M, torch.float32)
    measured, _ = first_step(run, theta, xi)
    loss, correct = plain_metrics(theta.T, xi, act)
    kind = data.kinds(run)
    for group, inside in {
        "train": kind <= data.RARE, "test": kind >= data.MIRRORED, "held_out": kind == data.HELD_OUT,
        "common": kind == data.COMMON, "rare": kind == data.RARE,
    }.items():  # fmt: skip
        for what, values in (("loss", loss), ("accuracy", correct)):
            expected = values[inside].mean() if inside.any() else np.nan
            assert measured[f"{group}_{what}"] == pytest.approx(expected, FLOAT32, nan_ok=True)
    assert measured["norm"] == pytest.approx(float(theta.square().sum() + xi.square().sum()) ** 0.5, FLOAT32)


def test_of_equal_logits_the_first_is_the_answer(build):
    measured, _ = first_step(Run(p=7, d_mlp=M), torch.zeros(7, M), torch.ones(M, 7))
    assert measured["train_accuracy"] == pytest.approx(1 / 7)


def test_a_loss_near_zero_is_not_rounded(build):
    trained = finish(preset("standard", 7, d_mlp=M, lr=1e-3, epochs=1500))
    theta, xi = (torch.tensor(w) for w in weights(trained))
    loss, _ = plain_metrics(theta, 4 * xi, "relu")
    assert 0 < loss.mean() < 1e-6  # where 1 + loss has no digits left in float32
    assert first_step(trained.run, theta.T, 4 * xi)[0]["train_loss"] == pytest.approx(loss.mean(), rel=1e-3)


def test_measuring_gives_the_log_probabilities_and_moves_nothing(build):
    theta, xi = some_weights(7, M, torch.float32)
    net = at(Run(p=7, d_mlp=M), theta, xi)
    before = net.state(0)
    net.record_here()
    x, y = data.pairs(7)
    exact = torch.log_softmax((theta.double()[x] + theta.double()[y]).relu() @ xi.double(), 1)
    np.testing.assert_allclose(net.frame(0, True)["probability"], exact[range(28), (x + y) % 7].exp(), atol=1e-3)
    assert_same_arrays(net.state(0), before)


@pytest.mark.parametrize(
    "run",
    [
        SMALL, SMALL_SGD, replace(SMALL, weight_decay=2.0, split="unordered"), preset("grokking", 23),
        preset("quad_random", 23), preset("relu_single_freq", 11), preset("standard", 53, d_mlp=512),
    ],
    ids=lambda run: f"{run.preset} {run.p}",
)  # fmt: skip
def test_its_steps_are_the_plain_steps(run, monkeypatch):
    rows, state = few_steps(run)
    monkeypatch.setenv("MODADD_STEP", "torch")
    plain_rows, plain_state = few_steps(run)
    np.testing.assert_allclose(rows, plain_rows, rtol=FEW_STEPS, atol=FEW_STEPS)
    assert state.keys() == plain_state.keys()
    apart = np.abs(state["w"] - plain_state["w"])
    assert np.median(apart) < FLOAT32 * np.abs(plain_state["w"]).max()


@pytest.mark.parametrize("run", [SMALL, SMALL_SGD, preset("standard", 23)], ids=["adamw", "sgd", "p = 23"])
def test_neither_calls_nor_threads_change_a_bit(build, run):
    rows, state = few_steps(run)
    net = engine([run], CPU)
    for n in (1, 2, 30, 7):
        net.record_here()
        net = engine([run], CPU, [net.state(0)])
        net.advance(n)
    torch.set_num_threads(3)
    threaded_rows, threaded = few_steps(run)
    torch.set_num_threads(1)
    assert_same_arrays(net.state(0), state)
    assert_same_arrays(threaded, state)
    np.testing.assert_array_equal(threaded_rows, rows)


@pytest.mark.parametrize("run", [SMALL, SMALL_SGD], ids=["adamw", "sgd"])
def test_a_run_may_go_on_with_the_other_step(run, monkeypatch):
    short, long = replace(run, epochs=40), replace(run, epochs=80)
    whole = finish(long)
    half = finish(short)
    monkeypatch.setenv("MODADD_STEP", "torch")
    other = finish(long, half)
    assert (half.provenance["step"], other.provenance["step"]) == (whole.provenance["step"], "torch")
    np.testing.assert_allclose(other.history["train_loss"], whole.history["train_loss"], rtol=FEW_STEPS)


def test_where_it_is_missing_the_plain_step_trains(monkeypatch):
    run = replace(SMALL, epochs=40)
    monkeypatch.setattr(compiled, "builds", dict)
    record = finish(run)
    monkeypatch.undo()
    assert record.provenance["step"] == "torch"
    monkeypatch.setenv("MODADD_STEP", "torch")
    assert_same_training(finish(run), record)


@pytest.mark.parametrize("change", [dict(activation="gelu"), dict(d_model=5)])
def test_what_it_does_not_cover_trains_with_the_plain_step(change):
    assert finish(replace(SMALL, epochs=5, **change)).provenance["step"] == "torch"


def test_the_provenance_names_the_build(build):
    assert finish(replace(SMALL, epochs=5)).provenance["step"] == f"compiled ({build})"


def test_tiny_numbers_are_still_numbers_afterwards():
    # In a process of its own, where no other library may have changed how the processor rounds.
    script = """
import numpy as np
from concurrent.futures import ThreadPoolExecutor
from modadd.networks.mlp import compiled
from modadd.training.loop import train
from modadd.runs import Run
def tiny(): assert np.float32(1e-38) * np.float32(0.1) > 0
*_, last = train(Run(p=7, d_mlp=11, epochs=20), device="cpu")
assert last.record.provenance["step"].startswith("compiled")
tiny()
ThreadPoolExecutor().submit(tiny).result()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
