"""Every pair once, every ordered pair in its group."""

import numpy as np
import pytest
from conftest import every_pair

from modadd import data
from modadd.data import COMMON, HELD_OUT, MIRRORED, RARE
from modadd.runs import Run

SIZES = [3, 5, 7, 15, 23]


@pytest.mark.parametrize("p", SIZES)
def test_every_unordered_pair_is_met_exactly_once(p):
    x, y = data.pairs(p)
    assert len(x) == p * (p + 1) // 2
    assert {frozenset(pair) for pair in zip(x.tolist(), y.tolist(), strict=True)} == {
        frozenset((a, b)) for a in range(p) for b in range(p)
    }


@pytest.mark.parametrize("p", SIZES)
def test_pairs_are_laid_out_by_difference(p):
    x, y = data.pairs(p)
    for d in range((p + 1) // 2):
        np.testing.assert_array_equal(x[d * p : (d + 1) * p], np.arange(p))
        np.testing.assert_array_equal((y - x)[d * p : (d + 1) * p] % p, d)


@pytest.mark.parametrize("p", SIZES)
def test_labels_spread_over_the_grid_are_the_addition_table(p):
    x, y = every_pair(p)
    np.testing.assert_array_equal(data.grid(data.labels(p), p), (x + y) % p)


def test_a_grid_keeps_leading_axes_and_is_symmetric():
    p, N = 5, 15
    values = np.arange(2 * 3 * N).reshape(2, 3, N)
    table = data.grid(values, p)
    assert table.shape == (2, 3, p, p)
    np.testing.assert_array_equal(table, table.swapaxes(-1, -2))
    x, y = data.pairs(p)
    for n in range(N):
        np.testing.assert_array_equal(table[..., y[n], x[n]], values[..., n])


# -- splits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "frac", "trained"), [(23, 0.75, 396), (7, 0.7, 34), (5, 0.5, 12), (3, 1.0, 9)])
def test_an_ordered_split_trains_the_floor_of_its_share(p, frac, trained):
    assert data.train_mask(Run(p=p, frac_train=frac)).sum() == trained


@pytest.mark.parametrize("p", [5, 7, 23])
def test_an_unordered_split_keeps_both_orders_together(p):
    run = Run(p=p, frac_train=0.6, split="unordered")
    train = data.train_mask(run)
    np.testing.assert_array_equal(train, train.T)
    trained_pairs = (train & (every_pair(p)[0] <= every_pair(p)[1])).sum()
    assert trained_pairs == round(0.6 * p * (p + 1) / 2)
    assert set(np.unique(data.kinds(run))) == {COMMON, HELD_OUT}


def test_an_ordered_split_is_not_symmetric():
    train = data.train_mask(Run(p=23, frac_train=0.75))
    assert (train != train.T).any()


def test_a_split_does_not_depend_on_what_else_is_drawn():
    run = Run(p=7, d_mlp=11, frac_train=0.7)
    for change in (dict(d_mlp=13), dict(init="single-freq"), dict(activation="quad"), dict(epochs=3), dict(lr=0.1)):
        other = Run(**(dict(p=7, d_mlp=11, frac_train=0.7) | change))
        np.testing.assert_array_equal(data.train_mask(run), data.train_mask(other))


@pytest.mark.parametrize("split", ["ordered", "unordered"])
def test_another_seed_splits_otherwise(split):
    one, other = (data.train_mask(Run(p=23, frac_train=0.75, split=split, seed=seed)) for seed in (1, 2))
    assert (one != other).any()


@pytest.mark.parametrize("split", ["ordered", "unordered"])
def test_a_split_leaves_the_global_generators_alone(split):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    data._train_mask.cache_clear()
    data.train_mask(Run(p=7, frac_train=0.7, split=split))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# -- groups -------------------------------------------------------------------------------------


def test_kinds_follow_from_a_pair_and_its_mirror():
    run = Run(p=23, frac_train=0.75)
    train, kind = data.train_mask(run), data.kinds(run)
    for x in range(23):
        for y in range(23):
            expected = {
                (True, True): COMMON, (True, False): RARE, (False, True): MIRRORED, (False, False): HELD_OUT,
            }[train[x, y], train[y, x]]  # fmt: skip
            assert kind[x, y] == expected


def test_reading_pairs_backwards_turns_rare_into_mirrored_and_nothing_else():
    kind = data.kinds(Run(p=23, frac_train=0.75))
    np.testing.assert_array_equal(kind == RARE, (kind == MIRRORED).T)
    np.testing.assert_array_equal(kind == COMMON, (kind == COMMON).T)
    np.testing.assert_array_equal(kind == HELD_OUT, (kind == HELD_OUT).T)


def test_most_test_pairs_of_the_published_split_are_mirrored():
    # 133 test pairs at p = 23, of which 133 * 506/529 have a mirror, trained with probability 396/528: 95.4.
    kind = data.kinds(Run(p=23, frac_train=0.75))
    mirrored = [(data.kinds(Run(p=23, frac_train=0.75, seed=seed)) == MIRRORED).sum() for seed in range(100)]
    assert np.isin(kind, (MIRRORED, HELD_OUT)).sum() == 133
    assert np.mean(mirrored) == pytest.approx(133 * 506 / 529 * 396 / 528, abs=4 * np.std(mirrored) / 10)


@pytest.mark.parametrize("split", ["ordered", "unordered"])
@pytest.mark.parametrize("p", SIZES)
def test_group_weights_count_the_ordered_pairs_of_each_group(p, split):
    run = Run(p=p, frac_train=0.6, split=split)
    kind, (x, y) = data.kinds(run), data.pairs(p)
    members = {
        "train": (COMMON, RARE), "test": (MIRRORED, HELD_OUT), "held_out": (HELD_OUT,), "common": (COMMON,),
        "rare": (RARE,),
    }  # fmt: skip
    assert tuple(members) == data.GROUPS
    weight = data.group_weights(run)
    for column, inside in enumerate(members.values()):
        for n in range(len(x)):
            orders = {(x[n], y[n]), (y[n], x[n])}
            assert weight[n, column] == sum(kind[pair] in inside for pair in orders)


def test_full_training_leaves_nothing_to_test():
    weight = data.group_weights(Run(p=7))
    assert weight.sum(0).tolist() == [49, 0, 0, 49, 0]
