"""Which frequencies a network needs: planted ones, of which some matter and some do not, and trained ones."""

import numpy as np
import pytest
from conftest import FLOAT32

from modadd import data, preset
from modadd.analysis import causal, surgery
from modadd.figures import surgery as figures
from modadd.maths import fourier, ideal
from modadd.runs import Run

RUN = Run(p=13, d_mlp=30, activation="quad")
LOUD = np.array([1, 1, 1, 0, 0, 0], bool)  # of K = 6 frequencies: those that matter


@pytest.fixture(scope="module")
def planted():
    """The ideal network at p = 13 with three of its frequencies a hundredth as large in both layers: it matters whether
    it has the loud ones, and not whether it has the quiet ones."""
    theta_MP, xi_MP = ideal.ideal_network(13, 5)
    loud_M1 = LOUD[fourier.amplitudes(fourier.dft(theta_MP)).argmax(1)][:, None]
    size = np.where(loud_M1, 1.0, 0.01)
    net = surgery.Network(theta_MP * size, 20 * xi_MP * size, "quad")
    return net, causal.parts(net), causal.counts(net) > 0


def test_the_votes_of_the_frequencies_are_those_of_the_network(planted):
    net, parts_KNP, used_K = planted
    np.testing.assert_allclose(parts_KNP.sum(0), surgery.logits(net, *data.pairs(13)), atol=1e-3)
    whole = causal.ask(parts_KNP, used_K[None], RUN)
    outcome = surgery.outcome(net, RUN)
    assert whole.loss_S[0] == pytest.approx(outcome.loss["train"], rel=FLOAT32, abs=1e-7)
    assert whole.everywhere_S[0] == outcome.accuracy["all"]


def test_the_smallest_subset_is_made_of_what_matters(planted):
    _, parts_KNP, used_K = planted
    asked = causal.subsets(parts_KNP, used_K, RUN)
    found = causal.smallest(asked)
    assert len(asked.kept_SK) == 2**6
    assert found.any()
    assert not (found & ~LOUD).any()
    size, right = asked.kept_SK.sum(1), asked.accuracy_S == 1
    assert not right[size < found.sum()].any()
    assert right[(asked.kept_SK == LOUD).all(1)].all()
    assert asked.loss_S[(asked.kept_SK == ~LOUD).all(1)] == pytest.approx(np.log(13), rel=0.01)


def test_the_greedy_way_is_never_better_than_every_subset(planted, monkeypatch):
    _, parts_KNP, used_K = planted
    exact = causal.smallest(causal.subsets(parts_KNP, used_K, RUN))
    monkeypatch.setattr(causal, "EXACT", 2)
    chain = causal.subsets(parts_KNP, used_K, RUN)
    assert chain.kept_SK.sum(1).tolist() == list(range(7))
    assert (chain.kept_SK[:-1] <= chain.kept_SK[1:]).all()
    assert (chain.kept_SK[3] == LOUD).all()
    assert causal.smallest(chain).sum() >= exact.sum()


def test_without_the_keys_the_loss_is_chance_and_without_as_many_others_it_does_not_move(planted):
    net, parts_KNP, used_K = planted
    found = causal.control(parts_KNP, used_K, causal.rules(net)["gap"], RUN)
    assert found.draws == 1
    assert found.without == pytest.approx(np.log(13), rel=0.01)
    assert found.others == pytest.approx((found.whole,) * 3, abs=1e-3)
    swapped = causal.control(parts_KNP, used_K, ~LOUD, RUN)
    assert swapped.without == pytest.approx(found.whole, abs=1e-3)
    assert swapped.others[0] == pytest.approx(found.without)


def test_without_others_or_without_keys_there_is_no_control(planted):
    _, parts_KNP, used_K = planted
    every = causal.control(parts_KNP, used_K, used_K, RUN)
    assert (every.others, every.draws) == (None, 0)
    assert every.without == pytest.approx(np.log(13))
    none = causal.control(parts_KNP, used_K, ~used_K, RUN)
    assert none.without is none.others is None


def test_three_rules_find_what_each_of_them_looks_at(planted):
    """Quiet neurons have no norm and are neurons all the same."""
    sets = causal.rules(planted[0])
    assert (sets["norm"] == LOUD).all()
    assert (sets["gap"] == LOUD).all()
    assert sets["neurons"].all()
    assert causal.overlap(sets["norm"], sets["neurons"]) == 0.5
    assert causal.overlap(~sets["neurons"], ~sets["neurons"]) is None


@pytest.mark.parametrize("name", ["standard", "quad_random", "grokking"])
def test_trained_networks_need_some_of_their_frequencies_and_use_them_all(shipped, name):
    run = preset(name, 23)
    net = surgery.network(shipped.get(run.id).at(None, "theta").frame, run)
    asked = causal.subsets(causal.parts(net), causal.counts(net) > 0, run)
    found = causal.smallest(asked)
    assert 2 < found.sum() <= 6
    assert causal.rules(net)["norm"].all()
    chart = figures.subsets(asked)
    assert f"{found.sum()} suffice for every training pair: {figures.listed(found)}" in chart.caption
    assert "2,048 subsets" in chart.caption
    rows = chart.table().to_pylist()
    assert rows[found.sum()]["best subset"] == 1 > rows[found.sum() - 1]["best subset"]


def test_the_table_of_rules_tells_no_control_where_every_frequency_is_key(planted):
    net, parts_KNP, used_K = planted
    sets = causal.rules(net)
    controls = {name: causal.control(parts_KNP, used_K, key_K, RUN) for name, key_K in sets.items()}
    rows = {row["key frequencies by"]: row for row in figures.rules_table(sets, controls)}
    assert rows["norm"]["which"] == figures.listed(LOUD)
    assert rows["norm"]["without as many others"] == pytest.approx(rows["norm"]["loss"], abs=1e-3)
    assert rows["neurons"]["without as many others"] is None
    assert rows["neurons"]["overlap with norm"] == 0.5


def test_a_network_that_knows_nothing_has_no_sufficient_subset():
    rng = np.random.default_rng(1)
    net = surgery.Network(rng.normal(size=(30, 13)), rng.normal(size=(30, 13)), "quad")
    asked = causal.subsets(causal.parts(net), causal.counts(net) > 0, RUN)
    assert causal.smallest(asked) is None
    assert "No subset" in figures.subsets(asked).caption
