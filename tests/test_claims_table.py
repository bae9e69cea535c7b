"""The rules of the table of claims, on planted networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import finish

from modadd import data, preset
from modadd.analysis import claims, evidence_dynamics, surgery
from modadd.frames.mlp import take_frame
from modadd.maths import harmonics, ideal
from modadd.runs import Run
from pages import said as prose

P = 11
BY_NAME = {claim.name: claim for claim in claims.CLAIMS}


@pytest.fixture(scope="module")
def trained():
    return finish(preset("quad_random", P, d_mlp=60, epochs=200))


def planted(trained, theta_MP, xi_MP, activation="quad"):
    """The record of `trained` with a last frame taken of these weights."""
    run = replace(trained.run, activation=activation)
    theta, xi = (torch.as_tensor(np.asarray(w, np.float32)) for w in (theta_MP, xi_MP))
    logits = surgery.logits(surgery.Network(theta, xi, activation), *data.pairs(P))
    last = take_frame(theta, xi, torch.as_tensor(logits).log_softmax(-1), run, with_weights=True)
    return replace(trained, run=run, frames=(*trained.frames[:-1], last))


def value(record, name):
    return BY_NAME[name].measure(record).value


def verdicts(record, *names):
    return [BY_NAME[name].verdict(value(record, name)) for name in names]


MECHANISM = ("one-cosine", "both-layers", "phases-locked", "vote-locked", "all-frequencies", "phases-even",
             "magnitudes-equal", "vote-shape", "vote-five", "vote-ratio-quad", "margin")  # fmt: skip


def test_the_ideal_network_satisfies_every_claim_of_the_mechanism(trained):
    ideal_record = planted(trained, *ideal.ideal_network(P, 5))
    assert verdicts(ideal_record, *MECHANISM[:-1]) == ["holds"] * (len(MECHANISM) - 1)
    assert value(ideal_record, "vote-ratio-quad") == pytest.approx(2, rel=1e-5)
    assert value(ideal_record, "margin") == pytest.approx(0.5, rel=1e-5)


def test_random_weights_satisfy_none_of_them(trained):
    random = np.random.default_rng(0).standard_normal((2, 300, P))
    said = dict(zip(MECHANISM, verdicts(planted(trained, *random), *MECHANISM), strict=True))
    failed = ["both-layers", "phases-locked", "vote-locked", "vote-shape", "vote-five", "vote-ratio-quad", "margin"]
    assert [said[n] for n in failed] == ["fails"] * len(failed)
    found = BY_NAME["phases-even"].measure(planted(trained, *random))
    assert found.low < 1 < found.high  # random phases are just that


def test_equal_phases_are_worse_than_random(trained):
    theta, xi = ideal.ideal_network(P, 5)
    first = np.repeat(np.arange(0, len(theta), 5), 5)
    assert verdicts(planted(trained, theta[first], xi[first]), "phases-even") == ["fails"]


def test_a_neuron_of_many_frequencies_is_no_cosine(trained):
    theta, xi = ideal.ideal_network(P, 5)
    mixed = [sum(np.roll(w, 5 * k, axis=0) for k in range(5)) for w in (theta, xi)]
    assert verdicts(planted(trained, *mixed), "one-cosine") == ["fails"]


def test_unequal_magnitudes_are_named(trained):
    theta, xi = ideal.ideal_network(P, 5)
    sizes = np.tile([1.0, 2.0, 3.0, 4.0, 5.0], 5)[:, None]
    assert verdicts(planted(trained, theta * sizes, xi), "magnitudes-equal", "phases-locked") == ["fails", "holds"]


def test_opposed_phases_fail_to_lock(trained):
    theta, xi = ideal.ideal_network(P, 5)
    assert verdicts(planted(trained, theta, -xi), "phases-locked", "vote-locked") == ["fails", "fails"]


def test_a_small_neuron_out_of_line_costs_the_count_and_not_the_vote(trained):
    theta, xi = ideal.ideal_network(P, 5)
    sizes = np.tile([0.05, 0.05, 1.0, 1.0, 1.0], 5)[:, None]
    turned = np.where(sizes < 1, -1, 1)
    record = planted(trained, theta * sizes, xi * turned)
    assert verdicts(record, "phases-locked", "vote-locked") == ["in part", "holds"]


def test_frequencies_that_are_left_out_are_noticed(trained):
    theta, xi = ideal.ideal_network(P, 5)
    few = planted(trained, theta[:10], xi[:10])
    assert verdicts(few, "all-frequencies") == ["fails"]
    assert value(few, "all-frequencies") == 0


def test_ghosts_that_nothing_silences_are_found_out(trained):
    """Pure cosines with a third harmonic that is told but not there."""
    record = planted(trained, *ideal.ideal_network(P, 5))
    assert value(record, "silenced") == pytest.approx(0, abs=1e-4)
    lying = replace(record, frames=(*record.frames[:-1], record.frames[-1] | {"leak_in_3": np.float32(0.25)}))
    assert verdicts(lying, "silenced") == ["fails"]


def test_even_functions_keep_the_answer_and_odd_ones_lose_it(trained):
    record = planted(trained, *ideal.ideal_network(P, 9, 3.0), activation="relu")
    assert verdicts(record, "swap-even", "vote-ratio-relu") == ["holds", "holds"]
    assert value(record, "swap-odd") < 0.1
    halves = ideal.ideal_network(P, 9, 3.0)
    spoiled = planted(trained, halves[0], np.roll(halves[1], 1, axis=1), activation="relu")
    assert verdicts(spoiled, "swap-even") == ["fails"]


def test_silencing_half_of_the_frequencies_costs_loss(trained):
    assert value(planted(trained, *ideal.ideal_network(P, 5)), "diversity") > 10
    theta, xi = ideal.ideal_network(P, 5)
    assert verdicts(planted(trained, theta * 1e-3, xi), "diversity") == ["in part"]


def with_history(trained, run, **columns):
    """The record of `trained` as one of another run, with these columns of the history and step 0 to 2."""
    history = {name: np.asarray(columns.get(name, np.full(3, 0.2)), np.float32) for name in trained.history}
    return replace(trained, run=run, steps=np.arange(3), history=history)


def test_the_stages_fail_where_the_curves_say_so(trained):
    run = preset("grokking", 23)
    known = with_history(trained, run, train_accuracy=[0, 1, 1], held_out_accuracy=[0, 0.9, 0.2], norm=[1, 2, 2],
                         rare_accuracy=[0, 1, 1], common_accuracy=[0, 0, 1])  # fmt: skip
    assert verdicts(known, "blind", "held-out", "cleanup", "common-first") == ["fails"] * 4
    assert verdicts(known, "memorises") == ["holds"]


def test_a_harmonic_far_from_the_fixed_point_fails_above_it_and_waits_below(trained):
    run = preset("relu_single_freq", 23)
    for factor, said in ((0.3, "not yet"), (1.1, "holds"), (2.0, "fails")):
        leak = np.float32(factor * harmonics.fixed_point(23)["input", 3])
        frame = trained.frames[-1] | {"leak_in_3": leak}
        record = replace(trained, run=run, frames=(*trained.frames[:-1], frame))
        assert BY_NAME["leak-input-3"].verdict(value(record, "leak-input-3"), early=True) == said


def test_the_number_of_the_whole_record_lies_in_the_interval_of_what_is_left_of_it(trained):
    small = trained.compact({"claim:one-cosine": 0.9, "claim:vote-locked": -0.5})
    for name, told in (("one-cosine", 0.9), ("vote-locked", -0.5)):
        found, left = claims.measured(BY_NAME[name], small), BY_NAME[name].measure(small)
        assert found.value == told
        assert (found.low, found.high) == (min(left.low, told), max(left.high, told))


def test_a_frequency_that_does_not_stay_single_fails(trained):
    single = replace(trained, run=preset("quad_single_freq", P))
    assert verdicts(single, "stays-single") == ["fails"]  # it began from random weights
    assert BY_NAME["stays-single-long"].measure(single) == "the record ends at step 200"


def test_a_flow_that_is_not_that_of_the_training_fails():
    run = Run(
        p=P, d_mlp=20, activation="quad", init="single-freq", optimizer="sgd", lr=0.05, init_scale=0.1, epochs=300
    )
    record = finish(run)
    assert verdicts(record, "flow-quad") == ["holds"]
    frames = [f | {"beta": f["beta"] * (1 + 0.1 * (i > 0))} for i, f in enumerate(record.frames)]
    assert verdicts(replace(record, frames=tuple(frames)), "flow-quad") == ["fails"]
    assert BY_NAME["flow-quad"].measure(record.compact()).startswith("this record keeps β to 1.0%, and 0.5%")


def test_bets_that_name_the_wrong_frequency_are_no_better_than_chance(trained):
    bets = ("lottery-phase", "lottery-drive", "lottery-race")
    last = trained.frames[-1]
    wrong = last | {"frequency": (last["frequency"] % (P // 2) + 1).astype(np.uint8)}
    record = replace(trained, frames=(*trained.frames[:-1], wrong))
    assert verdicts(record, *bets) == ["fails"] * 3
    found = BY_NAME["lottery-race"].measure(trained)
    assert found.low < found.value < found.high
    assert "times chance [" in found.of


def test_the_phase_rule_holds_where_it_is_proved_and_winners_passed_around_refute_it():
    run = Run(p=P, d_mlp=60, activation="quad", init="equal", optimizer="sgd", lr=0.05, init_scale=0.05, epochs=200)
    record = finish(run)
    assert verdicts(record, "lottery-phase-proved") == ["holds"]
    assert "at the end" in BY_NAME["lottery-phase-proved"].measure(record).of
    frames = [
        f | {"frequency": np.roll(f["frequency"], 1) if i else f["frequency"]} for i, f in enumerate(record.frames)
    ]
    assert verdicts(replace(record, frames=tuple(frames)), "lottery-phase-proved") == ["fails"]
    assert "lottery-phase-proved" not in {
        row["name"] for row in claims.judge(replace(record, run=replace(run, lr=0.1, init="random")))
    }


def test_a_verdict_waits_for_a_run_that_has_not_learned(trained):
    rows = {row["name"]: row for row in claims.judge(trained)}
    assert trained.summary["train_loss"] > claims.LEARNT * np.log(P)
    assert rows["one-cosine"]["verdict"] == rows["certain"]["verdict"] == "not yet"
    stalled = replace(trained, provenance=trained.provenance | {"stop_reason": "plateau"})
    assert {row["name"]: row for row in claims.judge(stalled)}["certain"]["verdict"] == "fails"


def test_a_flow_that_expects_alignment_later_says_when(shipped):
    record = shipped.get(preset("quad_single_freq", 53).id)
    row = next(row for row in claims.judge(record) if row["name"] == "phases-locked")
    assert row["verdict"] == "not yet"
    assert "the flow expects 90 % aligned by step" in row["measured"]
    due = evidence_dynamics.due(record)
    assert f"{due:,}" in row["measured"]
    assert due > record.step


@pytest.mark.parametrize("name", ["both-layers", "phases-locked"])
def test_a_sample_is_named_and_bounds_what_the_layer_says(trained, name):
    record = planted(trained, *np.random.default_rng(1).standard_normal((2, 3000, P)))
    whole = BY_NAME[name].measure(record)
    kept = {"same_frequency", "aligned"}
    older = {n: a for n, a in record.frames[-1].items() if n not in kept}
    older |= {n: older[n][:256] for n in ("frequency", "alpha", "beta", "phi", "psi")}
    run = replace(record.run, d_mlp=3000)
    sample = BY_NAME[name].measure(replace(record, run=run, frames=(*record.frames[:-1], older)))
    assert sample.low < whole.value < sample.high
    assert "sample of" in sample.of
    assert "all" in whole.of


def test_a_record_that_holds_little_is_judged_by_what_it_holds(trained):
    bare = [{n: a for n, a in f.items() if n not in ("theta", "xi", "theta_hat", "xi_hat")} for f in trained.frames]
    rows = {row["name"]: row for row in claims.judge(replace(trained, frames=tuple(bare)))}
    assert rows["diversity"]["verdict"] == "cannot be measured"
    assert rows["diversity"]["measured"] == "the last frame holds no weights"
    assert rows["vote-shape"]["value"] is not None
    rows = claims.judge(replace(trained, frames=(), frame_steps=()))
    assert {row["verdict"] for row in rows} == {"cannot be measured"}


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.96, "holds"), (0.9, "holds"), (0.7, "in part"), (0.25, "fails"), (None, "cannot be measured")],
)
def test_a_verdict_reads_larger_is_better(value, verdict):
    assert BY_NAME["one-cosine"].verdict(value) == verdict


@pytest.mark.parametrize(("value", "verdict"), [(0.05, "holds"), (0.2, "in part"), (0.31, "fails")])
def test_a_verdict_reads_smaller_is_better(value, verdict):
    assert BY_NAME["magnitudes-equal"].verdict(value) == verdict


@pytest.mark.parametrize(("value", "verdict"), [(2.1, "holds"), (1.9, "holds"), (2.5, "in part"), (5.1, "fails")])
def test_a_verdict_reads_a_target(value, verdict):
    assert BY_NAME["vote-ratio-quad"].verdict(value) == verdict


def test_a_stage_that_is_not_reached_fails_and_says_so(trained):
    record = with_history(trained, preset("grokking", 23))
    for name in ("memorises", "generalises"):
        found = BY_NAME[name].measure(record)
        assert BY_NAME[name].verdict(found.value) == "fails"
        assert BY_NAME[name].verdict(found.value, early=True) == "not yet"
        assert BY_NAME[name].written(found) == "not reached"
    judged = {row["name"]: row["measured"] for row in claims.judge(trained)}
    assert "memorises" not in judged  # it is not a claim about full data


def test_every_claim_is_named_once_and_worded(trained):
    assert len(BY_NAME) == len(claims.CLAIMS)
    assert all(claim.statement and claim.expected and claim.holds != claim.fails for claim in claims.CLAIMS)


@pytest.mark.parametrize(("name", "p"), [("transformer", 113), ("addition", 97)])
def test_a_link_to_a_run_of_another_model_says_that_nothing_is_claimed_of_it(app, shipped, name, p):
    run = preset(name, p)
    assert claims.judge(shipped.get(run.id)) == []
    test = app("Claims", run=run.id, p=str(p))
    assert not test.exception
    assert f"{run.id} is a run of the {run.model} model, of which the paper claims nothing" in prose(test)
