"""Operations on a trained network: what must change nothing, what must destroy the answer, and who voted."""

import numpy as np
import pytest
from conftest import EXACT, FLOAT32

from modadd import preset
from modadd.activations import ACTIVATIONS
from modadd.analysis import surgery, votes
from modadd.figures import surgery as figures
from modadd.maths import fourier, ideal, measures
from modadd.runs import Run

CODED = 0.03  # weights of compact records are within 3 % of each magnitude
SLIGHT = 1e-4  # votes in float32 summed in another order, relative to votes of order ten


@pytest.fixture(scope="module")
def trained(shipped):
    """The standard run of the atlas at p = 23 and its network."""
    run = preset("standard", 23)
    record = shipped.get(run.id)
    return run, surgery.network(record.at().frame, run), record


@pytest.fixture
def small():
    """A network of no structure, p = 7 and M = 11."""
    rng = np.random.default_rng(3)
    return surgery.Network(rng.normal(size=(11, 7)), rng.normal(size=(11, 7)), "relu")


NOTHING = [
    ("drop a frequency", 0),
    ("keep the strongest frequencies", 3),
    ("rotate φ by δ and ψ by 2δ", 0.0),
    ("rotate φ by δ and ψ by 2δ", 2 * np.pi),
    ("rotate ψ alone", 0.0),
    ("prune the smallest neurons", 0.0),
    ("prune the largest neurons", 0.0),
    ("swap the activation", "relu"),
]


@pytest.mark.parametrize("operation", NOTHING, ids=str)
def test_an_operation_that_removes_nothing_changes_nothing(small, operation):
    after = surgery.operate(small, [operation])
    np.testing.assert_allclose(after.theta_MP, small.theta_MP, atol=EXACT)
    np.testing.assert_allclose(after.xi_MP, small.xi_MP, atol=EXACT)
    assert after.activation == small.activation


def test_every_operation_leaves_its_network_alone_and_can_be_said(small):
    before = [w.copy() for w in small[:2]]
    for name in surgery.OPERATIONS:
        value = "quad" if name.startswith("swap") else 1
        assert surgery.describe((name, value))
        assert surgery.operate(small, [(name, value)]).theta_MP.shape == small.theta_MP.shape
    for w, was in zip(small[:2], before, strict=True):
        np.testing.assert_array_equal(w, was)


def test_undoing_is_leaving_out_the_last(small):
    two = [("drop a frequency", 2), ("shuffle ψ alone", 5)]
    once = surgery.operate(small, two[:1])
    np.testing.assert_array_equal(surgery.operate(once, two[1:]).xi_MP, surgery.operate(small, two).xi_MP)


def test_rotating_phi_by_d_and_psi_by_2d_keeps_every_misalignment(small):
    before = measures.neurons(small.theta_MP, small.xi_MP)
    after = measures.neurons(*surgery.rotate_together(small, 0.7)[:2])
    np.testing.assert_allclose(after["D_M"], before["D_M"], atol=1e2 * EXACT)
    np.testing.assert_allclose(after["alpha_M"], before["alpha_M"], atol=EXACT)
    np.testing.assert_allclose(fourier.wrap(after["phi_M"] - before["phi_M"] - 0.7), 0, atol=1e2 * EXACT)


@pytest.mark.parametrize(("p", "k"), [(7, [1, 2, 3]), (15, [1, 2, 4, 7])])
def test_a_turned_wave_keeps_its_shape_and_a_whole_turn_per_residue_is_a_shift(p, k):
    w = np.random.default_rng(5).normal(size=(len(k), p))
    k = np.array(k)
    for s in (1, 2, p - 1):
        np.testing.assert_allclose(
            surgery.rotate(w, k, 2 * np.pi * k * s / p), np.roll(w, -s, axis=1), atol=1e2 * EXACT
        )


def test_a_harmonic_turns_with_its_wave():
    k, delta = np.array([2, 3]), 0.4
    magnitude = np.zeros((2, 7))
    magnitude[[0, 0, 1, 1], [1, 5, 2, 5]] = 1  # k and 3k; k and 2k
    phase = np.zeros((2, 7))
    turned = fourier.cosines(fourier.dft(surgery.rotate(fourier.from_cosines(magnitude, phase), k, delta)))[1]
    np.testing.assert_allclose(turned[[0, 0, 1, 1], [1, 5, 2, 5]], delta * np.array([1, 3, 1, 2]), atol=1e2 * EXACT)


def test_turning_both_phases_of_a_trained_network_costs_next_to_nothing(shipped):
    """With the third harmonic turned by three times the angle; by once the angle it costs fourteen times the loss."""
    run = preset("quad_random", 23)
    net = surgery.network(shipped.get(run.id).at().frame, run)
    before, after = (surgery.outcome(n, run).loss["all"] for n in (net, surgery.rotate_together(net, 1.0)))
    assert before < after < 1.5 * before


@pytest.mark.parametrize(
    ("name", "pure", "third"), [("standard", 3.01, 6.46), ("quad_random", 2.00, 3.98), ("grokking", 3.01, 8.06)]
)
def test_trained_weights_as_pure_cosines_vote_as_in_theory_and_their_third_harmonic_silences_the_ghosts(
    shipped, name, pure, third
):
    run = preset(name, 23)
    found = list(votes.projections(surgery.network(shipped.get(run.id).at().frame, run), run).values())
    assert [row["ratio"] for row in found[:2]] == pytest.approx([pure, third], rel=0.01)
    assert found[2]["ratio"] > 1.5 * pure
    if name == "quad_random":
        assert found[0]["share"] < 0.5 < found[1]["share"] < found[2]["share"]
        assert found[2]["loss"] < found[1]["loss"] < found[0]["loss"] / 3


def test_a_frequency_votes_as_loud_as_the_activation_says():
    for activation in ("quad", "relu"):
        net = surgery.Network(*ideal.ideal_network(23, 31), activation)
        for x, y in ((3, 7), (4, 4), (0, 22)):
            loud = surgery.strength(surgery.votes(net, x, y), x, y)
            theory = surgery.ideal_strength(23, x, y, activation)
            np.testing.assert_allclose(loud / loud.sum(), theory / theory.sum(), atol=1e-3)


def test_rotating_psi_alone_moves_every_misalignment(small):
    before = measures.neurons(small.theta_MP, small.xi_MP)["D_M"]
    after = measures.neurons(*surgery.rotate_output(small, 0.4)[:2])["D_M"]
    np.testing.assert_allclose(fourier.wrap(before - after - 0.4), 0, atol=1e2 * EXACT)


def test_shuffling_pairs_passes_the_misalignments_around(small):
    before = measures.neurons(small.theta_MP, small.xi_MP)["D_M"]
    after = measures.neurons(*surgery.shuffle_pairs(small, 1)[:2])["D_M"]
    np.testing.assert_allclose(np.sort(after), np.sort(before), atol=1e2 * EXACT)
    assert not np.allclose(after, before)


def test_equalising_makes_all_magnitudes_the_mean(small):
    before, after = (measures.neurons(*net[:2]) for net in (small, surgery.equalise(small)))
    for name in ("alpha_M", "beta_M"):
        np.testing.assert_allclose(after[name], before[name].mean(), rtol=1e2 * EXACT)
    np.testing.assert_allclose(after["D_M"], before["D_M"], atol=1e2 * EXACT)


def test_equalising_leaves_silent_neurons_silent(small):
    pruned = surgery.prune_smallest(small, 0.5)
    silent = ~pruned.theta_MP.any(axis=1)
    assert silent.sum() == 6
    assert not surgery.equalise(pruned).theta_MP[silent].any()
    assert not surgery.equalise(surgery.prune_smallest(small, 1.0)).theta_MP.any()


def test_pruning_takes_the_smallest_or_the_largest(small):
    size = np.linalg.norm(small.theta_MP, axis=1) * np.linalg.norm(small.xi_MP, axis=1)
    least = surgery.prune_smallest(small, 0.3).theta_MP.any(axis=1)
    most = surgery.prune_largest(small, 0.3).theta_MP.any(axis=1)
    assert size[~least].max() <= size[least].min()
    assert size[~most].min() >= size[most].max()


def test_keeping_the_top_keeps_the_most_power(small):
    power = surgery.power(small)
    assert power.sum() == pytest.approx(1)
    kept = surgery.power(surgery.keep_top(small, 1))
    assert kept.argmax() == power.argmax()
    assert kept.max() == pytest.approx(1)


def test_the_outcome_of_a_record_is_what_its_training_measured(trained):
    run, net, record = trained
    outcome = surgery.outcome(net, run)
    assert outcome.accuracy["all"] == outcome.accuracy["train"] == record.summary["train_accuracy"]
    assert outcome.loss["train"] == pytest.approx(record.summary["train_loss"], rel=CODED)
    assert np.isnan(outcome.accuracy["test"])
    np.testing.assert_array_equal(outcome.correct, record.at().frame["correct"])


def test_votes_by_frequency_sum_to_the_logits(trained):
    _, net, _ = trained
    for x, y in ((0, 0), (3, 7), (22, 5)):
        parts = surgery.votes(net, x, y)
        np.testing.assert_allclose(parts.sum(0), surgery.logits(net, [x], [y])[0], atol=SLIGHT)


def test_logits_do_not_depend_on_the_blocks(trained, monkeypatch):
    _, net, _ = trained
    x, y = np.divmod(np.arange(23 * 23), 23)
    whole = surgery.logits(net, x, y)
    monkeypatch.setattr(surgery, "BLOCK_BYTES", 1)
    np.testing.assert_allclose(surgery.logits(net, x, y), whole, atol=SLIGHT)


@pytest.mark.parametrize(("x", "y"), [(3, 7), (5, 5), (0, 1)])
def test_the_votes_of_the_ideal_network_are_as_loud_as_the_theory_says(x, y):
    net = surgery.Network(*ideal.ideal_network(23, 3), "quad")
    votes = surgery.votes(net, x, y)
    np.testing.assert_allclose(surgery.strength(votes, x, y), 3 * surgery.ideal_strength(23, x, y), atol=FLOAT32)
    centred = votes.sum(0) - votes.sum(0).mean()
    np.testing.assert_allclose(centred, ideal.flawed_indicator(23, x, y, 1.5), atol=FLOAT32)


def test_even_functions_keep_the_answer_and_odd_ones_lose_it(trained):
    run, net, _ = trained
    accuracy = {name: surgery.outcome(surgery.swap(net, name), run).accuracy["all"] for name in ACTIVATIONS}
    even = [accuracy[name] for name, act in ACTIVATIONS.items() if act.parity == "even"]
    odd = [accuracy[name] for name, act in ACTIVATIONS.items() if act.parity == "odd"]
    assert len(even) == 4
    assert min(even) > 0.98
    assert len(odd) == 2
    assert max(odd) < 2 / run.p


def test_what_keeps_alignment_keeps_the_answer_and_what_breaks_it_does_not(trained):
    run, net, _ = trained
    accuracy = lambda *operation: surgery.outcome(surgery.operate(net, [operation]), run).accuracy["all"]  # noqa: E731
    assert accuracy("rotate φ by δ and ψ by 2δ", 0.7) > 0.98
    assert accuracy("equalise magnitudes", None) > 0.98
    assert accuracy("drop a frequency", 3) > 0.98
    assert accuracy("rotate ψ alone", np.pi) < 0.05
    assert accuracy("shuffle ψ alone", 0) < 0.2
    assert accuracy("keep the strongest frequencies", 1) < 0.9


def test_groups_of_pairs_average_to_all():
    run = Run(p=7, d_mlp=11, frac_train=0.7)
    rng = np.random.default_rng(0)
    outcome = surgery.outcome(surgery.Network(rng.normal(size=(11, 7)), rng.normal(size=(11, 7)), "relu"), run)
    train = int(0.7 * 49)
    for part in (outcome.loss, outcome.accuracy):
        assert (train * part["train"] + (49 - train) * part["test"]) / 49 == pytest.approx(part["all"])


def test_the_published_ablations_are_met():
    few = ideal.diversity_by_frequencies(23)
    for count, loss in figures.PUBLISHED["frequencies"].items():
        assert few[count] == pytest.approx(loss, rel=0.01 if count < 11 else 0.3)
    spans = ideal.diversity_by_phase_range(23)
    for span, loss in figures.PUBLISHED["phases"].items():
        assert spans[span] == pytest.approx(loss, rel=0.01 if span < 2 else 0.3)
