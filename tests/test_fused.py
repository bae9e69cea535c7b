"""The kernels against the reference step in float64: on a CUDA device, and on a CPU by Triton's interpreter.

Skipped where there is neither the device nor Triton, which comes with the CUDA build of torch only.
"""

import importlib.util
import os

import numpy as np
import pytest
import torch

from modadd.activations import ACTIVATIONS
from modadd.data import METRICS, pairs
from modadd.networks.mlp import kernels
from modadd.networks.mlp.step import Step
from modadd.networks.optim import Optimizer
from modadd.runs import Run
from modadd.training.engine import engine
from modadd.training.loop import groups, train, train_many

TOLERANCE = {"fp32": 1e-5, "tf32": 2e-3}
CUDA = pytest.mark.skipif(not kernels.available(), reason="needs CUDA and Triton")
DEVICE = "cuda" if kernels.available() else "cpu"
if DEVICE == "cpu":
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported, which is not yet
KERNELS = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
# Every kernel and both ways of summing are in one of these.
PLANS = {
    "library": kernels.PLANS["fp32"][1][1], "small": kernels.PLANS["fp32"][0][1], "tf32": kernels.PLANS["tf32"][0][1],
    "halves": kernels.PLANS["tf32"][2][1],
}  # fmt: skip


def random_weights(run: Run):
    draw = torch.Generator().manual_seed(run.seed)
    shape = (run.p, run.d_mlp)
    return torch.randn(shape, generator=draw).double(), torch.randn(shape[::-1], generator=draw).double()


def relative(ours, exact) -> float:
    return float((ours.double().cpu() - exact).norm() / exact.norm())


@KERNELS
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("activation", kernels.ACTIVATIONS)
def test_every_plan_gives_the_reference_step(activation, plan):
    p = 37 if activation == "relu" else 5  # at 37 the answers lie in two tiles and the residues in five squares
    run = Run(p=p, d_mlp=40, activation=activation, frac_train=0.75)
    theta, xi = random_weights(run)
    exact = torch.empty_like(theta), torch.empty_like(xi)
    metrics = Step(run, dtype=torch.float64).gradient(theta, xi, *exact)
    step = kernels.FusedStep(run, DEVICE, PLANS[plan], "fp32")
    ours = [torch.full_like(w, torch.nan, dtype=torch.float32, device=DEVICE) for w in exact]
    got = step.gradient(theta.float().to(DEVICE), xi.float().to(DEVICE), *ours).view(2, -1).cpu()
    for gradient, value in zip(ours, exact, strict=True):
        assert relative(gradient, value) < TOLERANCE["fp32"]
    np.testing.assert_allclose(got, metrics, rtol=TOLERANCE["fp32"], atol=TOLERANCE["fp32"])
    assert (
        relative(step.forward(theta.float().to(DEVICE), xi.float().to(DEVICE)), reference_logits(run, theta, xi))
        < (TOLERANCE["fp32"])
    )


def reference_logits(run, theta_PM, xi_MP):
    x, y = (torch.as_tensor(index).long() for index in pairs(run.p))
    return ACTIVATIONS[run.activation](theta_PM[x] + theta_PM[y]) @ xi_MP


@KERNELS
def test_two_members_at_once_are_each_its_own_step():
    runs = [Run(p=5, d_mlp=40, seed=seed, frac_train=0.75) for seed in (1, 2)]
    both = [torch.stack(w).float().to(DEVICE) for w in zip(*map(random_weights, runs), strict=True)]
    together = [torch.full_like(w, torch.nan) for w in both]
    got = kernels.FusedStep(runs, DEVICE).gradient(*both, *together)
    for e, run in enumerate(runs):
        alone = [torch.full_like(w[e], torch.nan) for w in both]
        row = kernels.FusedStep(run, DEVICE).gradient(*(w[e].contiguous() for w in both), *alone)
        np.testing.assert_allclose(got[e].cpu(), row.cpu(), rtol=TOLERANCE["fp32"])
        for one, of_both in zip(alone, together, strict=True):
            assert relative(of_both[e], one.double().cpu()) < TOLERANCE["fp32"]


@KERNELS
def test_a_sure_answer_keeps_its_loss_next_to_a_large_logit():
    # The right answer leads by 10 on top of 4,096, where float32 knows steps of 1/2,048 only.
    run = Run(p=5, d_mlp=40, frac_train=0.75)
    step = kernels.FusedStep(run, DEVICE, PLANS["library"])
    step.logits.fill_(4086.0)
    step.logits[0, 0].scatter_(1, step.label.long()[:, None], 4096.0)
    loss = step.softmax().view(2, -1)[0].cpu()
    np.testing.assert_allclose(loss[torch.isfinite(loss)], np.log1p(4 * np.exp(-10)), rtol=1e-3)
    slope = step.g[0, :, : run.p].double().cpu()
    weight = -slope.gather(1, step.label.long().cpu()[:, None])
    assert (weight > 0).any()
    np.testing.assert_allclose(weight.sum(), 4 * np.exp(-10) / (1 + 4 * np.exp(-10)), rtol=1e-3)


@KERNELS
@pytest.mark.parametrize(
    "how", [dict(optimizer="adamw", weight_decay=2.0), dict(optimizer="sgd")], ids=["adamw", "sgd"]
)
def test_the_optimiser_is_the_reference_optimiser(how):
    run = Run(p=5, d_mlp=40, lr=1e-2, **how)
    draw = torch.Generator().manual_seed(0)
    w = torch.randn(run.weights, generator=draw)
    ours_w = w.clone().to(DEVICE)
    theirs, ours = Optimizer(run, w), kernels.FusedOptimizer(run, ours_w)
    for _ in range(15):
        g, norm, before = torch.randn(run.weights, generator=draw), torch.empty(1, device=DEVICE), w.norm()
        theirs.update(g)
        ours.update(g.to(DEVICE), norm)
        assert norm.item() == pytest.approx(before.item(), rel=TOLERANCE["fp32"])
    assert ours.step == theirs.step == 15
    assert relative(ours_w, w.double()) < TOLERANCE["fp32"]


# On a CUDA device


@CUDA
@pytest.mark.parametrize("precision", ["fp32", "tf32"])
@pytest.mark.parametrize("split", ["ordered", "unordered"])
@pytest.mark.parametrize("activation", kernels.ACTIVATIONS)
@pytest.mark.parametrize("p", [3, 5, 7, 15, 23, 37, 53, 97])
def test_fused_gradients_equal_the_reference(p, activation, split, precision):
    run = Run(
        p=p, d_mlp=300 if p < 40 else 1100, activation=activation, split=split, frac_train=0.75, precision=precision
    )
    theta, xi = random_weights(run)
    reference = Step(run, dtype=torch.float64)
    exact = torch.empty_like(theta), torch.empty_like(xi)
    metrics = reference.gradient(theta, xi, *exact)
    step = kernels.FusedStep(run)
    ours = torch.full_like(theta, torch.nan, dtype=torch.float32).cuda(), torch.full_like(xi, torch.nan).float().cuda()
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    got = step.gradient(theta.float().cuda(), xi.float().cuda(), *ours)
    torch.backends.cuda.matmul.allow_tf32 = False
    assert relative(ours[0], exact[0]) < TOLERANCE[precision]
    assert relative(ours[1], exact[1]) < TOLERANCE[precision]
    there = torch.isfinite(metrics[0])
    assert relative(got.view(2, -1)[0].cpu()[there], metrics[0][there]) < TOLERANCE[precision]


@CUDA
def test_two_runs_on_one_device_are_bit_identical():
    run = Run(p=13, epochs=300, precision="tf32")
    (*_, one), (*_, two) = train(run, device="cuda"), train(run, device="cuda")
    for name in METRICS:
        np.testing.assert_array_equal(one.record.history[name], two.record.history[name])


@CUDA
def test_a_resumed_run_equals_one_that_never_stopped():
    run = Run(p=13, epochs=400, frac_train=0.75, weight_decay=2.0)
    *_, whole = train(run, device="cuda")
    *_, half = train(Run(**(vars(run) | {"epochs": 200})), device="cuda")
    *_, rest = train(run, half.checkpoint(), device="cuda")
    for name in METRICS:
        np.testing.assert_array_equal(whole.record.history[name], rest.record.history[name])


@CUDA
def test_members_of_an_ensemble_equal_runs_of_their_own():
    runs = [Run(p=13, epochs=300, seed=s, frac_train=0.75, lr=1e-3 * (s + 1), weight_decay=s) for s in range(3)]
    assert len(groups(runs)) == 1
    for run, together in zip(runs, train_many(runs, "cuda"), strict=True):
        *_, alone = train(run, device="cuda")
        assert together.run == run
        for name in ("theta", "xi"):
            np.testing.assert_array_equal(together.at().frame[name], alone.record.at().frame[name])
        *exact, norm = METRICS  # the norm is summed in another order, and may be one unit in the last place apart
        for name in exact:
            np.testing.assert_array_equal(together.history[name], alone.record.history[name])
        np.testing.assert_allclose(together.history[norm], alone.record.history[norm], rtol=2e-7)


@CUDA
def test_plain_torch_in_a_graph_gives_the_same_training(monkeypatch):
    run = Run(p=13, epochs=200)
    *_, ours = train(run, device="cuda")
    monkeypatch.setattr(kernels, "available", lambda: False)
    *_, plain = train(run, device="cuda")
    assert not hasattr(engine([run], torch.device("cuda:0")).network, "plan")
    np.testing.assert_allclose(ours.record.history["train_loss"], plain.record.history["train_loss"], rtol=1e-4)
