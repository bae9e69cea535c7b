"""Several seeds of a run: medians, spreads, and laws over p."""

import numpy as np
import pytest

from modadd.analysis.shipped import RULES
from modadd.many import replicas


def row(p: int, seed: int, **values) -> dict:
    return {
        "p": p, "preset": "grokking", "seed": seed, "run_id": f"p{p}-{seed}", "where": "atlas", "composite": p % 3 == 0,
        "stage1_end": None, "ipr": None, "train_loss": 0.5, "counts_K": np.ones(3, int), "neurons": 3, "bets": 10,
        "claims": {}, **dict.fromkeys([f"hit_{rule}" for rule in RULES]), **values,
    }  # fmt: skip


def test_one_run_is_its_own_median():
    only = row(7, 42, ipr=0.5)
    (found,) = replicas.medians([only])
    assert found == only | {"seeds": 1, "spread": {}}


def test_several_seeds_are_one_row_under_the_presets_own():
    (found,) = replicas.medians([row(7, seed, ipr=value) for seed, value in ((1, 0.2), (42, 0.9), (2, 0.3))])
    assert (found["run_id"], found["seeds"], found["ipr"], found["spread"]["ipr"]) == ("p7-42", 3, 0.3, (0.2, 0.9))
    assert found["neurons"] == 9
    assert found["counts_K"].tolist() == [3, 3, 3]
    assert found["p"] == 7


@pytest.mark.parametrize(("ends", "middle"), [((100, None, 300), 300), ((None, None, 300), None), ((1, 2, 3), 2)])
def test_a_step_that_was_not_reached_counts_as_later(ends, middle):
    (found,) = replicas.medians([row(7, seed, stage1_end=end) for seed, end in enumerate(ends)])
    assert found["stage1_end"] == middle
    assert ("stage1_end" in found["spread"]) == (None not in ends)


def test_hits_are_those_of_all_neurons():
    (found,) = replicas.medians([row(7, 1, hit_race=0.5, bets=10), row(7, 2, hit_race=1.0, bets=30)])
    assert (found["hit_race"], found["bets"]) == (0.875, 40)


def test_an_exponent_is_found_within_its_error():
    draw = np.random.default_rng(0)
    rows = [row(p, s, stage1_end=3 * p**1.7 * draw.lognormal(0, 0.1)) for p in range(5, 99, 2) for s in range(3)]
    exponent, half = replicas.power(rows, "stage1_end", "grokking")
    assert abs(exponent - 1.7) < half < 0.1
    assert replicas.power(rows[:9], "stage1_end", "grokking") is None


def test_composites_are_set_apart_seed_by_seed():
    rows = [row(p, s, ipr=(1.1 + s / 100 if p % 3 == 0 else 1.0)) for p in range(5, 99, 2) for s in range(3)]
    found = replicas.apart(rows, "ipr", "grokking")
    assert (found["low"], found["median"], found["high"]) == pytest.approx((1.1, 1.11, 1.12))
    assert found["seeds"] == 3


def test_a_claim_is_told_over_seeds_in_the_form_of_its_number():
    seen = ((0.9, "fails"), (1.0, "holds"))
    judged = [{"claim": "learns", "preset": "standard", "value": v, "verdict": w} for v, w in seen]
    own = {"name": "learns", "value": 1.0, "verdict": "holds"}
    assert replicas.in_words(judged, own, "standard") == "median 100.0%, from 90.0% to 100.0%; holds in 2 of 3"
    assert replicas.in_words(judged, own, "grokking") == ""
    assert replicas.in_words([], own | {"value": None}, "standard") == ""
