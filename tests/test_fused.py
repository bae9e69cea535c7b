"""The CUDA kernels against the reference step in float64; skipped where there is no such device."""

import numpy as np
import pytest
import torch

from modadd import fused
from modadd.engine import engine
from modadd.model import ACTIVATIONS
from modadd.runs import Run
from modadd.step import METRICS, Step
from modadd.training import groups, train, train_many

pytestmark = pytest.mark.skipif(not fused.available(), reason="needs CUDA and Triton")
TOLERANCE = {"fp32": 1e-5, "tf32": 2e-3}


def random_weights(run: Run):
    draw = torch.Generator().manual_seed(run.seed)
    shape = (run.p, run.d_mlp)
    return torch.randn(shape, generator=draw).double(), torch.randn(shape[::-1], generator=draw).double()


def relative(ours, exact) -> float:
    return float((ours.double().cpu() - exact).norm() / exact.norm())


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
@pytest.mark.parametrize("split", ["ordered", "unordered"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("p", [3, 5, 7, 15, 23, 37, 53, 97])
def test_fused_gradients_equal_the_reference(p, activation, split, precision):
    run = Run(
        p=p, d_mlp=300 if p < 40 else 1100, activation=activation, split=split, frac_train=0.75, precision=precision
    )
    theta, xi = random_weights(run)
    reference = Step(run, dtype=torch.float64)
    exact = torch.empty_like(theta), torch.empty_like(xi)
    metrics = reference.gradient(theta, xi, *exact)
    step = fused.FusedStep(run)
    ours = torch.full_like(theta, torch.nan, dtype=torch.float32).cuda(), torch.full_like(xi, torch.nan).float().cuda()
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    got = step.gradient(theta.float().cuda(), xi.float().cuda(), *ours)
    torch.backends.cuda.matmul.allow_tf32 = False
    assert relative(ours[0], exact[0]) < TOLERANCE[precision]
    assert relative(ours[1], exact[1]) < TOLERANCE[precision]
    there = torch.isfinite(metrics[0])
    assert relative(got.view(2, -1)[0].cpu()[there], metrics[0][there]) < TOLERANCE[precision]


def test_two_runs_on_one_device_are_bit_identical():
    run = Run(p=13, epochs=300, precision="tf32")
    (*_, one), (*_, two) = train(run, device="cuda"), train(run, device="cuda")
    for name in METRICS:
        np.testing.assert_array_equal(one.record.history[name], two.record.history[name])


def test_a_resumed_run_equals_one_that_never_stopped():
    run = Run(p=13, epochs=400, frac_train=0.75, weight_decay=2.0)
    *_, whole = train(run, device="cuda")
    *_, half = train(Run(**(vars(run) | {"epochs": 200})), device="cuda")
    *_, rest = train(run, half.checkpoint(), device="cuda")
    for name in METRICS:
        np.testing.assert_array_equal(whole.record.history[name], rest.record.history[name])


def test_members_of_an_ensemble_equal_runs_of_their_own():
    runs = [Run(p=13, epochs=300, seed=s, frac_train=0.75, lr=1e-3 * (s + 1), weight_decay=s) for s in range(3)]
    assert len(groups(runs)) == 1
    for run, together in zip(runs, train_many(runs, "cuda"), strict=True):
        *_, alone = train(run, device="cuda")
        assert together.run == run
        for name in METRICS:
            np.testing.assert_array_equal(together.history[name], alone.record.history[name])


def test_plain_torch_in_a_graph_gives_the_same_training(monkeypatch):
    run = Run(p=13, epochs=200)
    *_, ours = train(run, device="cuda")
    monkeypatch.setattr(fused, "available", lambda: False)
    *_, plain = train(run, device="cuda")
    assert not hasattr(engine([run], torch.device("cuda:0")).network, "plan")
    np.testing.assert_allclose(ours.record.history["train_loss"], plain.record.history["train_loss"], rtol=1e-4)
