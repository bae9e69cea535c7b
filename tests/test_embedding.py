"""A trainable embedding: the first layer as a product, trained through its factors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import EXACT, FLOAT32, assert_same_training, every_pair, finish, plain_metrics

from modadd.runs import Run
from modadd.training.engine import engine
from modadd.training.loop import train

RUN = Run(p=7, d_mlp=11, d_model=5, init_scale=5.0, lr=1e-3, frac_train=0.7, epochs=120)


def test_gradients_reach_the_embedding_as_autograd_says():
    net = engine([Run(p=7, d_mlp=11, d_model=5, init_scale=5.0)], torch.device("cpu"))
    net._one_step(net.history_ETC[:, 0])  # the first learning rate is 0: the weights stay
    leaves = [t[0].double().requires_grad_() for t in (*net.factors, net.xi_EMP)]
    embed_PD, into_DM, xi_MP = leaves
    x, y = (torch.tensor(a) for a in every_pair(7))
    theta_PM = embed_PD @ into_DM
    table = torch.relu(theta_PM[x] + theta_PM[y]) @ xi_MP
    loss = F.cross_entropy(table.reshape(-1, 7), ((x + y) % 7).ravel())
    loss.backward()
    assert float(net.history_ETC[0, 0, 0]) == pytest.approx(loss.item(), rel=FLOAT32)
    for leaf, ours in zip(leaves, (*net.dfactors, net.dxi_EMP), strict=True):
        assert float((leaf.grad - ours[0]).norm() / leaf.grad.norm()) < FLOAT32


def test_a_frame_holds_the_effective_first_layer():
    record = finish(RUN)
    frame = record.frames[-1]
    assert frame["theta"].shape == (11, 7)
    state = record.state["w"]
    embed_PD, into_DM = state[:35].reshape(7, 5), state[35 : 35 + 55].reshape(5, 11)
    np.testing.assert_allclose(frame["theta"], (embed_PD @ into_DM).T, rtol=2e-3, atol=1e-3)
    _, correct = plain_metrics(frame["theta"], frame["xi"], "relu")
    share = record.history["train_accuracy"][-1], record.history["test_accuracy"][-1]
    trained = int(np.floor(0.7 * 49))
    assert correct.sum() == pytest.approx(share[0] * trained + share[1] * (49 - trained), abs=1 + EXACT)


def test_resuming_with_an_embedding_equals_never_stopping():
    (*_, half) = train(Run(**(vars(RUN) | {"epochs": 60})), device="cpu")
    assert_same_training(finish(RUN, half.checkpoint()), finish(RUN))


def test_an_embedding_learns():
    record = finish(Run(p=7, d_mlp=64, d_model=16, lr=1e-2, epochs=400))
    assert record.history["train_accuracy"][-1] == 1.0
    assert record.frames[-1]["ipr_in"] > record.frames[0]["ipr_in"]
