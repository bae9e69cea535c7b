"""The rules of the table of claims, on planted networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import finish

from modadd import data, preset
from modadd.analysis import claims, surgery
from modadd.frames.mlp import take_frame
from modadd.maths import ideal

P = 11
BY_NAME = {claim.name: claim for claim in claims.CLAIMS}


@pytest.fixture(scope="module")
def trained():
    return finish(preset("quad_random", P, d_mlp=60, epochs=200))


def planted(trained, theta_MP, xi_MP, activation="quad"):
    """The record of `trained` with a last frame taken of these weights."""
    run = replace(trained.run, activation=activation)
    theta, xi = (torch.as_tensor(np.asarray(w, np.float32)) for w in (theta_MP, xi_MP))
    logits = surgery.logits(surgery.Network(theta, xi, surgery.NAMES[activation]), *data.pairs(P))
    last = take_frame(theta, xi, torch.as_tensor(logits).log_softmax(-1), run, with_weights=True)
    return replace(trained, run=run, frames=(*trained.frames[:-1], last))


def verdicts(record, *names):
    return [BY_NAME[name].verdict(BY_NAME[name].measure(record)) for name in names]


MECHANISM = ("one-cosine", "both-layers", "phases-locked", "all-frequencies", "phases-even", "magnitudes-equal",
             "vote-shape", "vote-ratio")  # fmt: skip


def test_the_ideal_network_satisfies_every_claim_of_the_mechanism(trained):
    ideal_record = planted(trained, *ideal.ideal_network(P, 5))
    assert verdicts(ideal_record, *MECHANISM) == ["holds"] * len(MECHANISM)
    assert BY_NAME["vote-ratio"].measure(ideal_record) == pytest.approx(2, rel=1e-5)


def test_random_weights_satisfy_none_of_them(trained):
    random = np.random.default_rng(0).standard_normal((2, 300, P))
    said = dict(zip(MECHANISM, verdicts(planted(trained, *random), *MECHANISM), strict=True))
    assert [said[n] for n in ("one-cosine", "both-layers", "phases-locked", "vote-shape")] == ["fails"] * 4
    assert said["phases-even"] == "in part"  # random phases are just that: no worse than random


def test_unequal_magnitudes_are_named(trained):
    theta, xi = ideal.ideal_network(P, 5)
    sizes = np.tile([1.0, 2.0, 3.0, 4.0, 5.0], 5)[:, None]
    assert verdicts(planted(trained, theta * sizes, xi), "magnitudes-equal", "phases-locked") == ["fails", "holds"]


def test_opposed_phases_fail_to_lock(trained):
    theta, xi = ideal.ideal_network(P, 5)
    assert verdicts(planted(trained, theta, -xi), "phases-locked") == ["fails"]


def test_frequencies_that_are_left_out_are_noticed(trained):
    theta, xi = ideal.ideal_network(P, 5)
    few = planted(trained, theta[:10], xi[:10])
    assert verdicts(few, "all-frequencies") == ["fails"]
    assert BY_NAME["all-frequencies"].measure(few) == 0


def test_even_functions_keep_the_answer_and_odd_ones_lose_it(trained):
    record = planted(trained, *ideal.ideal_network(P, 9, 3.0), activation="relu")
    assert verdicts(record, "swap-even") == ["holds"]
    assert BY_NAME["swap-odd"].measure(record) < 2 / P


def test_silencing_half_of_the_frequencies_costs_loss(trained):
    assert BY_NAME["diversity"].measure(planted(trained, *ideal.ideal_network(P, 5))) > 10


def test_a_record_that_holds_little_is_judged_by_what_it_holds(trained):
    bare = [{n: a for n, a in f.items() if n not in ("theta", "xi", "theta_hat", "xi_hat")} for f in trained.frames]
    rows = {row["name"]: row for row in claims.judge(replace(trained, frames=tuple(bare)))}
    assert rows["one-cosine"]["verdict"] == rows["diversity"]["verdict"] == "cannot be measured"
    assert rows["diversity"]["measured"] == "the last frame holds no weights"
    assert rows["vote-shape"]["verdict"] in claims.VERDICTS[:3]
    rows = claims.judge(replace(trained, frames=(), frame_steps=()))
    assert {row["verdict"] for row in rows} == {"cannot be measured"}


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.96, "holds"), (0.95, "holds"), (0.7, "in part"), (0.5, "fails"), ("no weights", "cannot be measured")],
)
def test_a_verdict_reads_larger_is_better(value, verdict):
    assert BY_NAME["one-cosine"].verdict(value) == verdict


@pytest.mark.parametrize(("value", "verdict"), [(0.05, "holds"), (0.2, "in part"), (0.31, "fails")])
def test_a_verdict_reads_smaller_is_better(value, verdict):
    assert BY_NAME["magnitudes-equal"].verdict(value) == verdict


@pytest.mark.parametrize(("value", "verdict"), [(2.1, "holds"), (1.9, "holds"), (2.5, "in part"), (5.1, "fails")])
def test_a_verdict_reads_a_target(value, verdict):
    assert BY_NAME["vote-ratio"].verdict(value) == verdict


def test_a_stage_that_is_not_reached_fails_and_says_so(trained):
    run = preset("grokking", 23)
    history = {name: np.full(3, 0.2, np.float32) for name in trained.history}
    record = replace(trained, run=run, steps=np.arange(3), history=history)
    rows = {name: BY_NAME[name] for name in ("memorises", "generalises")}
    for claim in rows.values():
        assert claim.measure(record) == np.inf
        assert claim.verdict(claim.measure(record)) == "fails"
    judged = {row["name"]: row["measured"] for row in claims.judge(trained)}
    assert "memorises" not in judged  # it is not a claim about full data


def test_every_claim_is_named_once_and_worded(trained):
    assert len(BY_NAME) == len(claims.CLAIMS)
    assert all(claim.statement and claim.expected and claim.holds != claim.fails for claim in claims.CLAIMS)
