"""The general transformer and its tasks: the answers, the split, the network, its training and its measures."""

from dataclasses import replace
from math import gcd

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import EXACT, FLOAT32, HALF, assert_same_training, finish, last
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from modadd import data, tasks
from modadd.activations import trainable
from modadd.analysis import solved
from modadd.data import METRICS
from modadd.frames import pre_ln as measures
from modadd.networks.transformer import pre_ln
from modadd.networks.transformer.model import views
from modadd.records.store import from_bytes, to_bytes
from modadd.runs import Run, preset, step_flop
from modadd.training.loop import train
from modadd.training.pre_ln_engine import PreLNEngine

TASKS = ("addition", "addpow", "add3")
# Sizes differ pairwise, so that a swapped axis fails.
SMALL = Run(
    p=5, model="pre-ln", task="addpow", activation="gelu", d_model=6, d_mlp=11, heads=2, layers=2, batch=16, lr=1e-2,
    weight_decay=0.1, frac_train=0.6, epochs=130,
)  # fmt: skip


def of(task, **changes):
    return replace(SMALL, task=task, **changes)


def every(run):
    return tasks.tokens(run, np.arange(tasks.count(run)))


# Questions and answers


@pytest.mark.parametrize("task", TASKS)
def test_the_answers_are_those_of_plain_arithmetic(task):
    run = of(task, p=7)
    right = {"addition": lambda a, b: a + b, "addpow": lambda a, b, c: (a + b) ** c, "add3": lambda a, b, c: a + b + c}
    said = tasks.truth(run).ravel()
    for token, answer in zip(every(run).tolist(), said.tolist(), strict=True):
        assert answer == right[task](*token) % 7 == tasks.answer(run, token)
    np.testing.assert_array_equal(tasks.tokens(run, torch.arange(tasks.count(run))).numpy(), every(run))
    last_c = (tasks.maps(run) - 1,) if task != "addition" else ()
    assert tasks.truth(run)[-1, 2, 3] == right[task](2, 3, *last_c) % 7


def test_nothing_to_the_power_of_nothing_is_one():
    run = of("addpow")
    assert (tasks.truth(run)[0] == 1).all()
    assert tasks.truth(run)[1, 2, 3] == 0


def test_a_power_has_as_many_answers_as_the_group_says():
    run = preset("addpow", 97)
    assert tasks.maps(run) == 33
    assert tasks.distinct(run).tolist() == [1] + [96 // gcd(c, 96) + 1 for c in range(1, 33)]
    assert tasks.best_constant(run)[[0, 1, 32]].tolist() == [1, 1 / 97, 32 / 97]
    assert tasks.maps(preset("addpow", 23)) == 23  # an exponent is a token, and tokens are residues


# The split


@pytest.mark.parametrize("task", TASKS)
def test_the_split_is_even_seeded_and_of_the_right_size(task):
    run = of(task, p=13)
    train_maps = tasks.train_maps(run)
    assert train_maps.shape == (tasks.maps(run), 13, 13)
    assert train_maps.sum() == int(0.6 * tasks.count(run))
    np.testing.assert_array_equal(train_maps, tasks.train_maps(replace(run, d_model=8, d_mlp=3, lr=0.1, epochs=7)))
    assert (train_maps != tasks.train_maps(replace(run, seed=1))).any()
    if task == "addition":
        np.testing.assert_array_equal(train_maps[0], data.train_mask(run))
    else:  # no lattice: every map and every line of it has its share, within five standard deviations
        for axes, n in (((1, 2), 169), ((0, 1), 13 * len(train_maps)), ((0, 2), 13 * len(train_maps))):
            assert np.abs(train_maps.mean(axes) - 0.6).max() < 5 * np.sqrt(0.24 / n)


def test_of_a_held_out_question_no_reordering_is_trained():
    run = of("add3", frac_train=0.3)
    train_maps, held_out = tasks.train_maps(run), tasks.held_out_maps(run)
    for c, a, b in np.ndindex(train_maps.shape):
        orders = [train_maps[x] for x in ((c, a, b), (c, b, a), (a, b, c), (a, c, b), (b, a, c), (b, c, a))]
        assert held_out[c, a, b] == (not any(orders))
    run = of("addition")
    np.testing.assert_array_equal(tasks.held_out_maps(run)[0], data.kinds(run) == data.HELD_OUT)


def test_every_epoch_is_a_new_order_of_all_examples():
    orders = [pre_ln.shuffled(3000, (42, 2, epoch), "cpu").numpy() for epoch in range(3)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(3000))
        assert abs(np.corrcoef(order, np.arange(3000))[0, 1]) < 0.1
    assert (orders[0] == orders[1]).mean() < 0.01
    np.testing.assert_array_equal(orders[2], pre_ln.shuffled(3000, (42, 2, 2), "cpu"))


# The network


class Plain(nn.Module):
    """The same network from torch's own parts, every token through every layer."""

    def __init__(self, run):
        super().__init__()
        D, M, P = run.d_model, run.d_mlp, run.p
        self.heads, self.embed = run.heads, nn.Embedding(P, D)
        self.place = nn.Parameter(torch.empty(tasks.length(run), D))
        self.blocks = nn.ModuleList(
            nn.ModuleDict({
                "norm_1": nn.LayerNorm(D), "norm_2": nn.LayerNorm(D), "into": nn.Linear(D, M), "out": nn.Linear(M, D),
                **{name: nn.Linear(D, D, bias=False) for name in "qkvo"},
            })
            for _ in range(run.layers)
        )  # fmt: skip
        self.norm, self.unembed = nn.LayerNorm(D), nn.Linear(D, P, bias=False)

    def named(self):
        """Our name of each parameter: (name, layer or None, parameter, is it stored transposed)."""
        yield from (("W_E", None, self.embed.weight, False), ("W_pos", None, self.place, False))
        for y, block in enumerate(self.blocks):
            for i in (1, 2):
                yield f"gain_{i}", y, block[f"norm_{i}"].weight, False
                yield f"shift_{i}", y, block[f"norm_{i}"].bias, False
            yield from ((f"W_{name.upper()}", y, block[name].weight, True) for name in "qkvo")
            for name in ("in", "out"):
                layer = block["into" if name == "in" else "out"]
                yield from ((f"W_{name}", y, layer.weight, True), (f"b_{name}", y, layer.bias, False))
        yield from (("gain_3", None, self.norm.weight, False), ("shift_3", None, self.norm.bias, False))
        yield "W_U", None, self.unembed.weight, True

    def forward(self, token_BL):
        x = self.embed(token_BL) + self.place
        for block in self.blocks:
            norm = block["norm_1"](x)
            q, k, v = (block[n](norm).unflatten(2, (self.heads, -1)).transpose(1, 2) for n in "qkv")
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + block["o"](mixed.transpose(1, 2).flatten(2))
            x = x + block["out"](F.gelu(block["into"](block["norm_2"](x))))
        return self.unembed(self.norm(x[:, -1]))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("layers", [1, 3])
def test_the_network_is_the_plain_one_in_logits_and_gradients(task, layers):
    run = of(task, layers=layers)
    torch.manual_seed(0)
    w = {name: torch.randn(shape, dtype=torch.float64) for name, shape in pre_ln.shapes(run).items()}
    assert sum(value.numel() for value in w.values()) == run.weights
    plain = Plain(run).double()
    assert sum(value.numel() for value in plain.parameters()) == run.weights
    with torch.no_grad():
        for name, y, parameter, transposed in plain.named():
            value = w[name] if y is None else w[name][y]
            parameter.copy_(value.T if transposed else value)
    token_BL = torch.from_numpy(every(run))
    label_B = torch.from_numpy(tasks.truth(run).ravel().astype(int))
    leaves = {name: value.requires_grad_() for name, value in w.items()}
    ours, theirs = pre_ln.forward(run, leaves, token_BL), plain(token_BL)
    np.testing.assert_allclose(ours.detach(), theirs.detach(), atol=1e3 * EXACT)
    F.cross_entropy(ours, label_B).backward()
    F.cross_entropy(theirs, label_B).backward()
    for name, y, parameter, transposed in plain.named():
        gradient = leaves[name].grad if y is None else leaves[name].grad[y]
        expected = parameter.grad.T if transposed else parameter.grad
        np.testing.assert_allclose(gradient, expected, atol=1e3 * EXACT, err_msg=name)
    seen = measures.read(run, {name: value.detach().numpy() for name, value in w.items()}, every(run))
    np.testing.assert_allclose(seen["logits"], theirs.detach(), atol=1e3 * EXACT)
    assert seen["neurons"].shape == (layers, len(token_BL), 11)
    np.testing.assert_allclose(seen["attention"].sum(-1), 1)
    assert (np.triu(seen["attention"], 1) == 0).all()


@pytest.mark.parametrize("activation", trainable())
def test_training_and_reading_use_the_same_activation(activation):
    run = of("add3", activation=activation)
    w = pre_ln.initial_weights(run)
    as_torch = {name: torch.from_numpy(value) for name, value in w.items()}
    logits = pre_ln.forward(run, as_torch, torch.from_numpy(every(run)))
    np.testing.assert_allclose(measures.read(run, w, every(run))["logits"], logits, atol=100 * FLOAT32)


# Training


@pytest.fixture(scope="module")
def record(one_thread):
    return finish(SMALL)


def test_resuming_equals_never_stopping(record):
    half = finish(replace(SMALL, epochs=61))  # in the middle of an epoch of 4 batches
    assert_same_training(finish(SMALL, resume=half), record)


def test_metrics_are_logged_when_they_are_looked_at(record):
    looked = np.isfinite(record.history["test_accuracy"])
    assert {0, 100, SMALL.epochs} <= set(record.steps[looked].tolist())
    assert looked.mean() < 0.5
    assert np.isfinite(record.history["train_loss"]).all()
    assert np.isnan(record.history["rare_accuracy"]).all()


def test_the_last_row_counts_every_test_example(record):
    frame, test = record.frames[-1], ~tasks.train_maps(SMALL)
    right = frame["every_answer"] == tasks.truth(SMALL)
    assert record.history["test_accuracy"][-1] == pytest.approx(right[test].mean(), abs=FLOAT32)
    held_out = tasks.held_out_maps(SMALL)
    assert record.history["held_out_accuracy"][-1] == pytest.approx(right[held_out].mean(), abs=FLOAT32)
    np.testing.assert_array_equal(frame["asked"], test.sum((1, 2)))
    np.testing.assert_array_equal(frame["right"], (right & test).sum((1, 2)))
    np.testing.assert_array_equal(frame["answers"], frame["every_answer"][tasks.shown_maps(SMALL)])


def test_a_record_comes_back_from_its_bytes_and_opens(record):
    back = from_bytes(to_bytes(record))
    assert_same_training(back, record)
    w = measures.weights_of(back.frames[-1])
    exact = views(record.state["w"], pre_ln.shapes(SMALL))
    for name, value in w.items():
        np.testing.assert_allclose(value, exact[name], rtol=HALF, atol=1e-7)
    assert measures.weights_of({"answers": 0}) is None


def test_a_run_without_test_examples_trains():
    summary = finish(of("addition", frac_train=1.0, batch=0, epochs=20)).summary
    assert summary["test_accuracy"] is None
    assert summary["train_loss"] < np.log(5)


def test_a_gradient_is_never_longer_than_its_bound(monkeypatch):
    net = PreLNEngine([of("addition")], torch.device("cpu"), [None])
    seen = []
    monkeypatch.setattr(net.optimizer, "update", lambda g: seen.append(g.clone()))
    for length in (0.5, 40.0):
        net.g_L.fill_(length / net.g_L.numel() ** 0.5)
        net.update()
    assert [float(torch.linalg.vector_norm(g)) for g in seen] == pytest.approx([0.5, pre_ln.CLIP], rel=1e-4)


def test_the_learning_rate_warms_up_and_then_stays():
    net = PreLNEngine([of("addition", weight_decay=0.0)], torch.device("cpu"), [None])
    moved = {}
    for step in (0, 5, 10, 9000):
        net.optimizer.step = step
        net.optimizer.m.zero_(), net.optimizer.v.zero_()
        before = net.w_L.clone()
        net.g_L.fill_(1e-3)
        net.update()
        moved[step] = float((before - net.w_L).mean()) / (1 - 0.98 ** (step + 1)) ** 0.5 * (1 - 0.9 ** (step + 1))
    assert moved[0] == 0
    assert moved[10] == pytest.approx(2 * moved[5], rel=1e-3)
    assert moved[9000] == pytest.approx(moved[10], rel=1e-3)


def test_addition_is_learnt_from_a_part_of_the_pairs():
    run = Run(
        p=13, model="pre-ln", activation="gelu", d_model=48, layers=1, batch=64, lr=3e-3, weight_decay=3.0,
        frac_train=0.8, epochs=600,
    )  # fmt: skip
    best = np.nanmax(last(train(run, device="cpu")).record.history["test_accuracy"])
    assert best > 0.6  # seeds 0, 1, 2 and 42 reach 0.88 to 1; guessing: 0.08


@pytest.mark.parametrize("task", TASKS)
def test_the_stated_work_of_a_step_is_what_torch_counts(task):
    run = of(task, p=17, d_model=32, d_mlp=96, batch=0, frac_train=1.0)
    net = PreLNEngine([run], torch.device("cpu"), [None])
    with FlopCounterMode(display=False) as counter:
        net.advance(1)
    # The table of the first token comes on top, and looking up needs no gradient of what is looked up.
    assert step_flop(run) == pytest.approx(counter.get_total_flops(), rel=0.1)


@pytest.mark.parametrize("change", [dict(plateau=True), dict(split="unordered")])
def test_what_the_general_transformer_cannot_do_is_refused(change):
    with pytest.raises(ValueError, match="a pre-ln trains all its steps, and only addition has an unordered split"):
        replace(SMALL, **change)


# Measures


def test_planted_errors_are_where_they_were_planted():
    run = of("addpow", p=7)
    answer_SPP = tasks.truth(run)[tasks.shown_maps(run)].copy()
    answer_SPP[1, 2, 3] += 1
    example_N = np.array([0, 49, 50, 51, 49 * 6])
    frame = measures.take_frame(run, np.eye(7), answer_SPP, example_N, np.array([1, 1, 0, 1, 0]))
    assert frame["asked"].tolist() == [1, 3, 0, 0, 0, 0, 1]
    np.testing.assert_allclose(measures.by_map(frame), [1, 2 / 3, *4 * [np.nan], 0])
    wrong = frame["answers"] != tasks.truth(run)[tasks.shown_maps(run)]
    assert np.argwhere(wrong).tolist() == [[1, 2, 3]]
    counts = {c: measures.wrong(measures.answers_at(frame, run, c), run, c) for c in (0, 1)}
    assert [sum(bad for bad, _ in of_c.values()) for of_c in counts.values()] == [0, 1]
    assert all(sum(there for _, there in of_c.values()) == 49 for of_c in counts.values())
    assert measures.answers_at(frame, run, 4) is None


def test_a_circle_of_embeddings_is_found():
    a, p = np.arange(11), 11
    angle = 2 * np.pi * 3 * a / p
    embed = np.stack([np.cos(angle), np.sin(angle), 0 * a, 0 * a + 5], 1)
    assert measures.power_shares(embed).argmax() + 1 == 3
    assert measures.power_shares(embed).max() == pytest.approx(1)
    assert measures.circulant_share(embed) == pytest.approx(1)
    points, share = measures.components(embed)
    assert share[:2].sum() == pytest.approx(1)
    np.testing.assert_allclose(np.hypot(points[:, 0], points[:, 1]), 1)
    noise = np.random.default_rng(0).normal(size=(101, 40))
    assert measures.circulant_share(noise) < 5 / 101


def test_a_wave_is_named_whatever_its_size():
    a, p = np.arange(13), 13
    curves = np.stack([1e-3 * np.cos(2 * np.pi * 4 * a / p + 0.7), 9 + np.cos(2 * np.pi * a / p), 0 * a + 2.0], 1)
    wave = measures.waves(curves)
    assert wave["frequency"][:2].tolist() == [4, 1]
    np.testing.assert_allclose(wave["phase"][:2], [0.7, 0], atol=1e-9)
    np.testing.assert_allclose(wave["purity"], [1, 1, 0], atol=1e-9)
    assert measures.common_frequencies(curves) == [1, 4]
    late = np.cos(2 * np.pi * 4 * a / p + 3.0)[:, None]
    assert measures.apart(np.hstack([late, -late, late[::-1]]), 0, 1) == pytest.approx(np.pi)
    assert measures.apart(np.hstack([curves[:, :1], late]), 0, 1) == pytest.approx(2.3)
    assert measures.apart(np.hstack([-curves[:, :1], late]), 1, 0) == pytest.approx(np.pi - 2.3)
    np.testing.assert_allclose(measures.z_scored(curves).std(0), [1, 1, 0], atol=1e-9)


@pytest.mark.parametrize(
    ("perfect", "at"),
    [([0, 1, 1, 1], None), ([0, 1] + 10 * [1], 100), ([0, 1, 1, 0] + 11 * [1], 400), (12 * [0], None)],
)
def test_solved_means_perfect_for_long_enough(record, perfect, at):
    accuracy = np.full(2000, np.nan, np.float32)
    accuracy[: 100 * len(perfect) : 100] = np.array(perfect) * 0.5 + 0.5
    seen = replace(record, steps=np.arange(2000), history=dict.fromkeys(METRICS, accuracy))
    assert solved.solved_at(seen) == at
    assert solved.latest(seen, "test_accuracy") == accuracy[100 * (len(perfect) - 1)]


def test_a_compact_record_is_solved_where_the_whole_one_is(record):
    accuracy = np.ones(20_000, np.float32)
    accuracy[:100], accuracy[[5_000, 5_300, 5_600]] = 0.2, 0.999  # three dips, each of one look
    seen = replace(record, steps=np.arange(20_000), history=dict.fromkeys(METRICS, accuracy))
    small = seen.compact()
    assert len(small.steps) < 1000
    assert solved.solved_at(small, 4_950) == solved.solved_at(seen, 4_950) == 5_601
