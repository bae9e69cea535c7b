"""The two optimisers against torch's own."""

import numpy as np
import pytest
import torch
from conftest import EXACT

from modadd.networks.optim import Optimizer
from modadd.runs import Run

ADAM = dict(optimizer="adamw", lr=0.01)
DECAY = dict(optimizer="adamw", lr=0.01, weight_decay=2.0)
SGD = dict(optimizer="sgd", lr=0.1)
SGD_DECAY = dict(optimizer="sgd", lr=0.1, weight_decay=0.5)


def gradients(n):
    """Gradients of very unequal sizes, as late training has them."""
    rng = np.random.default_rng(0)
    return [torch.tensor(rng.normal(size=17) * 10.0 ** rng.uniform(-9, 1, 17)) for _ in range(n)]


def ours(how, n, on_device=False):
    w = torch.linspace(-1, 1, 17, dtype=torch.float64)
    optimizer = Optimizer(Run(p=7, d_mlp=11, **how), w, on_device)
    for g in gradients(n):
        optimizer.update(g.clone())
    assert optimizer.step == n
    return w


def torchs(how, n):
    """torch's AdamW or SGD with decoupled decay, stepped by its own warm-up scheduler."""
    w = torch.nn.Parameter(torch.linspace(-1, 1, 17, dtype=torch.float64))
    if how["optimizer"] == "adamw":
        decay = how.get("weight_decay", 0)
        optimizer = torch.optim.AdamW([w], lr=how["lr"], betas=(0.9, 0.98), eps=1e-8, weight_decay=decay)
    else:
        optimizer = torch.optim.SGD([w], lr=how["lr"])
    warm_up = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(step / 10, 1))
    for g in gradients(n):
        if how["optimizer"] == "sgd":
            with torch.no_grad():
                w.mul_(1 - optimizer.param_groups[0]["lr"] * how.get("weight_decay", 0))
        w.grad = g.clone()
        optimizer.step()
        warm_up.step()
    return w.detach()


@pytest.mark.parametrize("n", [1, 2, 11, 60])
@pytest.mark.parametrize("how", [ADAM, DECAY, SGD, SGD_DECAY], ids=["adamw", "adamw decay", "sgd", "sgd decay"])
def test_an_update_is_torchs_with_the_warm_up(how, n):
    np.testing.assert_allclose(ours(how, n), torchs(how, n), rtol=100 * EXACT, atol=EXACT)


@pytest.mark.parametrize("how", [ADAM, DECAY, SGD], ids=["adamw", "adamw decay", "sgd"])
def test_a_step_count_that_lives_in_a_tensor_gives_the_same_update(how):
    np.testing.assert_allclose(ours(how, 30, on_device=True), ours(how, 30), rtol=100 * EXACT, atol=EXACT)


@pytest.mark.parametrize("how", [ADAM, DECAY, SGD, SGD_DECAY], ids=["adamw", "adamw decay", "sgd", "sgd decay"])
def test_step_0_moves_nothing_and_step_1_does(how):
    start = torch.linspace(-1, 1, 17, dtype=torch.float64)
    assert torch.equal(ours(how, 1), start)
    assert not torch.equal(ours(how, 2), start)


@pytest.mark.parametrize("on_device", [False, True])
def test_the_step_count_can_be_set(on_device):
    optimizer = Optimizer(Run(p=7, d_mlp=11), torch.zeros(3), on_device)
    optimizer.step = 41
    optimizer.update(torch.ones(3))
    assert optimizer.step == 42


def test_moments_are_what_the_next_update_needs():
    assert set(Optimizer(Run(**ADAM), torch.zeros(3)).moments()) == {"m", "v"}
    assert Optimizer(Run(**SGD), torch.zeros(3)).moments() == {}
