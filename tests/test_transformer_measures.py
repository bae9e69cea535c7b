"""Measures of the transformer: planted logits and weights give the value in closed form; laws hold on noise."""

import numpy as np
import pytest
import torch
from conftest import EXACT, FLOAT32, HALF

from modadd import data
from modadd.frames import one_layer
from modadd.frames.schema import pack, unpack
from modadd.maths import fourier
from modadd.networks.transformer import model
from modadd.runs import Run, preset

P = 13
KEYS = {2: 3.0, 5: 1.5}
TABLE = preset("transformer", P, d_mlp=24, frac_train=0.4)
A, B = np.divmod(np.arange(P * P), P)
CHOSEN = np.isin(np.arange(1, (P - 1) // 2 + 1), [*KEYS])


def cosines(amplitudes: dict[int, float], p: int = P) -> np.ndarray:
    """logits sum_k a_k cos w_k (a + b - c) over all ordered pairs, [N, P]."""
    a, b = np.divmod(np.arange(p * p), p)
    turn = (a + b)[:, None] - np.arange(p)
    return sum(size * np.cos(2 * np.pi * k * turn / p) for k, size in amplitudes.items())


def loss(logits_NP, keep=slice(None)) -> float:
    """Mean cross-entropy over the pairs `keep`, by the definition."""
    a, b = np.divmod(np.arange(len(logits_NP)), logits_NP.shape[1])
    log_sum = np.log(np.exp(logits_NP).sum(1))
    return (log_sum - logits_NP[np.arange(len(logits_NP)), (a + b) % logits_NP.shape[1]])[keep].mean()


def difference_waves(rng) -> np.ndarray:
    """Logits that depend on a - b only, with no mean: nothing of them is in a sum direction or the constant."""
    table = rng.normal(size=(P, P))
    return (table - table.mean(0))[(A - B) % P]


def noise(*shape, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def directions(k: int, p: int = P) -> np.ndarray:
    """The two sum directions of frequency k as published, products of orthonormal modes, [2, N]."""
    cos, sin = fourier.basis(p)[2 * k - 1 : 2 * k + 1]
    plus = np.outer(cos, cos) - np.outer(sin, sin), np.outer(sin, cos) + np.outer(cos, sin)
    return np.stack([table.ravel() for table in plus]) / np.sqrt(2)


def test_gini_is_zero_for_equals_and_nearly_one_for_a_single_one():
    assert one_layer.gini(np.full(7, 0.3)) == pytest.approx(0, abs=EXACT)
    assert one_layer.gini([0, 0, 5, 0]) == pytest.approx(1 - 1 / 4, abs=EXACT)
    assert one_layer.gini([1, 3]) == pytest.approx(1 / 4, abs=EXACT)
    assert one_layer.gini(np.zeros(4)) == 0


def test_gini_ignores_the_scale_and_the_order():
    x = np.abs(noise(20))
    assert one_layer.gini(7 * x[::-1]) == pytest.approx(one_layer.gini(x), abs=EXACT)


def test_the_norms_of_an_embedding_of_pure_cosines_are_its_amplitudes():
    residues = np.arange(P)
    embed_PD = np.zeros((P, 5))
    embed_PD[:, 1] = 3 * np.cos(2 * np.pi * 2 * residues / P)
    embed_PD[:, 4] = 4 * np.sin(2 * np.pi * 2 * residues / P)
    embed_PD[:, 0] = 2 * np.cos(2 * np.pi * 6 * residues / P + 0.4)
    norms = one_layer.mode_norms(embed_PD.T)
    expected = np.sqrt(P / 2) * np.array([0, 5, 0, 0, 0, 2])
    np.testing.assert_allclose(one_layer.by_frequency(norms), expected, atol=1e-9)
    assert norms[3] == pytest.approx(3 * np.sqrt(P / 2))
    assert norms[4] == pytest.approx(4 * np.sqrt(P / 2))


def test_renaming_the_residues_by_a_shift_moves_no_norm_of_a_frequency():
    rows = noise(5, P)
    one, other = (one_layer.by_frequency(one_layer.mode_norms(r)) for r in (rows, np.roll(rows, 3, axis=1)))
    np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("rule", one_layer.RULES)
def test_key_frequencies_are_exactly_the_planted_ones(rule):
    norms = 0.02 * np.abs(noise(56))
    norms[[3, 10, 13, 25, 34]] = [1.0, 0.8, 0.9, 0.35, 0.6]
    assert (np.flatnonzero(one_layer.key_frequencies(norms, rule)) + 1).tolist() == [4, 11, 14, 26, 35]


def test_noise_has_no_key_frequencies_by_the_gap_and_nearly_all_by_the_share():
    norms = one_layer.by_frequency(one_layer.mode_norms(noise(64, 113)))
    assert not one_layer.key_frequencies(norms).any()
    assert one_layer.key_frequencies(norms, "share").all()
    assert not one_layer.key_frequencies(np.zeros(5)).any()


def test_a_single_frequency_is_key_even_where_there_are_few():
    assert one_layer.key_frequencies([0.0, 2.0, 0.0]).tolist() == [False, True, False]
    assert one_layer.key_frequencies([3.0]).tolist() == [True]


def test_planted_cosines_explain_all_and_are_found():
    by_sum = one_layer.by_sum_table(cosines(KEYS))
    a_K = one_layer.cosine_coefficients(by_sum)
    expected = np.where(CHOSEN, [KEYS.get(k, 0) for k in range(1, 7)], 0)
    np.testing.assert_allclose(a_K, expected, atol=1e-12)
    assert one_layer.trig_loss(by_sum, CHOSEN) == pytest.approx(loss(cosines(KEYS)), rel=EXACT)


def test_of_planted_cosines_the_restricted_loss_is_the_loss_and_the_excluded_loss_is_chance():
    logits, rng = cosines(KEYS), np.random.default_rng(1)
    by_sum, counts = one_layer.by_sum_table(logits), one_layer.counts_by_sum(TABLE)
    for value in one_layer.restricted_losses(by_sum, CHOSEN, counts).values():
        assert value == pytest.approx(loss(logits), rel=EXACT)
    parts = one_layer.sum_parts(by_sum)
    pairs = rng.random((P, P)) < 0.4
    without = np.stack([parts[CHOSEN].sum(0), parts[1], parts[3]])
    both, second, none = one_layer.excluded_losses(logits, pairs, without)
    assert both == pytest.approx(np.log(P), rel=EXACT)
    assert second == pytest.approx(loss(cosines({5: KEYS[5]})), rel=EXACT)
    assert none == pytest.approx(loss(logits), rel=EXACT)


def test_restricted_keeps_the_constant_and_drops_what_does_not_depend_on_the_sum():
    bias_P, extra = noise(P), difference_waves(np.random.default_rng(2))
    by_sum = one_layer.by_sum_table(cosines(KEYS) + bias_P + extra)
    counts = one_layer.counts_by_sum(TABLE)
    train = data.train_mask(TABLE).ravel()
    restricted = one_layer.restricted_losses(by_sum, CHOSEN, counts)
    for group, keep in {"all": slice(None), "train": train, "test": ~train}.items():
        assert restricted[group] == pytest.approx(loss(cosines(KEYS) + bias_P, keep), rel=EXACT), group
    np.testing.assert_allclose(one_layer.cosine_coefficients(by_sum)[[1, 4]], [3, 1.5], atol=1e-12)


def test_restricted_is_the_projection_on_the_published_directions():
    logits = noise(P * P, P)
    keep = np.concatenate([np.full((1, P * P), 1 / P), *(directions(k) for k in KEYS)])
    np.testing.assert_allclose(keep @ keep.T, np.eye(5), atol=1e-12)
    restricted = one_layer.restricted_losses(one_layer.by_sum_table(logits), CHOSEN, {"all": np.full(P, P)})
    assert restricted["all"] == pytest.approx(loss(keep.T @ (keep @ logits)), rel=1e-10)


@pytest.mark.parametrize("library", [np.asarray, torch.tensor])
def test_excluded_is_the_loss_of_what_the_published_directions_leave(library):
    logits, train = 4 * noise(P * P, P), data.train_mask(TABLE)
    parts = one_layer.sum_parts(one_layer.by_sum_table(logits))
    excluded = one_layer.excluded_losses(library(logits), train, np.concatenate([parts, parts[CHOSEN].sum(0)[None]]))
    for k in range(1, 7):
        gone = directions(k)
        left = logits - gone.T @ (gone @ logits)
        assert excluded[k - 1] == pytest.approx(loss(left, train.ravel()), rel=1e-10)
    gone = np.concatenate([directions(k) for k in KEYS])
    assert excluded[6] == pytest.approx(loss(logits - gone.T @ (gone @ logits), train.ravel()), rel=1e-10)


def test_very_sure_logits_lose_no_digit():
    logits = cosines({1: 90.0, 2: 80.0, 3: 70.0, 4: 60.0, 5: 50.0, 6: 40.0})
    parts = one_layer.sum_parts(one_layer.by_sum_table(logits))
    excluded = one_layer.excluded_losses(logits, np.ones((P, P), bool), parts[:1])
    assert excluded[0] == pytest.approx(loss(cosines({2: 80.0, 3: 70.0, 4: 60.0, 5: 50.0, 6: 40.0})), abs=1e-9)


def wave(k: int, phase: float, of: np.ndarray) -> np.ndarray:
    return np.cos(2 * np.pi * k * of / P + phase)


@pytest.mark.parametrize("library", [np.asarray, torch.tensor])
def test_a_neuron_of_one_frequency_has_share_one_and_of_two_a_half(library):
    neurons = np.stack([
        7 + wave(3, 0.1, A) + 2 * wave(3, 0.7, B) + 3 * wave(3, 1.0, A) * wave(3, 2.0, B),
        wave(1, 0.3, A) + wave(6, 0.2, B),
        np.full(P * P, 2.5),
        wave(4, 0.0, A) + wave(4, 0.0, B) + np.sqrt(2) * wave(2, 0.5, A) * wave(3, 0.2, B),
        np.zeros(P * P),
    ], axis=1)  # fmt: skip
    frequency, share = one_layer.neuron_shares(library(neurons), P)
    assert int(frequency[0]) == 3
    assert int(frequency[3]) == 4
    np.testing.assert_allclose(np.asarray(share), [1, 0.5, 0, 2 / 3, 0], atol=1e-9)


def test_the_purest_neurons_come_one_a_frequency_in_turn():
    frequency, share = np.array([2, 2, 5, 5, 1]), np.array([0.5, 0.9, 0.3, 0.95, 0.1])
    assert one_layer.purest(frequency, share).tolist() == [3, 1, 4, 0, 2]
    assert one_layer.purest(frequency, share, 2).tolist() == [3, 1]


def test_the_logits_of_planted_cosines_are_four_modes_a_frequency():
    lengths = one_layer.fourier_2d(cosines(KEYS) + 5.0, P)
    assert (lengths > 1e-9).sum() == 1 + 4 * len(KEYS)
    assert lengths[3, 3] == pytest.approx(lengths[4, 4])
    assert lengths[0, 0] == pytest.approx(5 * P * np.sqrt(P))
    np.testing.assert_allclose((lengths**2).sum(), ((cosines(KEYS) + 5.0) ** 2).sum())


def test_a_planted_circle_is_a_circle_in_the_order_of_the_multiples():
    turn = 2 * np.pi * 5 * np.arange(P) / P
    frame_2D = np.linalg.qr(noise(8, 2))[0].T
    embed = 1.5 * np.stack([np.cos(turn), np.sin(turn)], 1) @ frame_2D + noise(8)
    points, share = one_layer.circle(embed, 5)
    assert share == pytest.approx(1)
    np.testing.assert_allclose(np.hypot(*points.T), 1.5, rtol=1e-9)
    step = np.diff(np.unwrap(np.arctan2(points[:, 1], points[:, 0])))
    np.testing.assert_allclose(np.cos(step), np.cos(2 * np.pi * 5 / P), rtol=1e-9)
    assert one_layer.circle(embed, 4)[1] == pytest.approx(0, abs=1e-9)


def planted_weights(run: Run) -> dict[str, np.ndarray]:
    """Weights whose embedding and neuron-logit map hold the planted frequencies only."""
    weights = {name: 0.3 * value for name, value in model.initial_weights(run).items()}
    residues = 2 * np.pi * np.outer([*KEYS], np.arange(P)) / P
    modes = np.concatenate([np.cos(residues), np.sin(residues)])  # [4, P]
    weights["W_E"][:P] = (noise(run.d_model, 4, seed=3) @ modes).T
    weights["W_U"] = (noise(run.d_model, 4, seed=4) @ modes).astype(np.float32)
    return weights


@pytest.fixture(scope="module")
def planted():
    """(weights, forward pass over all pairs, its last frame)."""
    weights = {name: torch.tensor(np.float32(value)) for name, value in planted_weights(TABLE).items()}
    out = model.forward(TABLE, weights, A, B)
    return weights, out, one_layer.take_frame(TABLE, weights, out, final=True)


def test_a_frame_finds_the_planted_frequencies(planted):
    frame = planted[2]
    assert (np.flatnonzero(frame["keys"]) + 1).tolist() == [*KEYS]
    embed = one_layer.by_frequency(frame["embed_norms"])
    assert (embed > 0.01 * embed.max()).tolist() == CHOSEN.tolist()
    assert frame["circle_frequency"].tolist() == [*KEYS]
    assert frame["gini_map"] >= 1 - 2 / 6 - HALF


def test_the_numbers_of_a_frame_are_those_of_its_logits(planted):
    _, out, frame = planted
    logits, train = out["logits"].double().numpy(), data.train_mask(TABLE)
    centred = logits - logits.mean(1, keepdims=True)
    fit = cosines(dict(zip(KEYS, one_layer.cosine_coefficients(one_layer.by_sum_table(logits))[CHOSEN], strict=True)))
    assert frame["fve"] == pytest.approx(1 - ((centred - fit) ** 2).sum() / (centred**2).sum(), abs=FLOAT32)
    whole = ((logits - logits.mean()) ** 2).sum()
    assert frame["fve"] * frame["centred"] == pytest.approx(
        1 - ((logits - logits.mean() - fit) ** 2).sum() / whole, abs=FLOAT32
    )
    np.testing.assert_allclose(frame["fve_K"][CHOSEN].sum(), frame["fve"], rtol=HALF, atol=1e-7)
    np.testing.assert_array_equal(frame["correct"].ravel(), logits.argmax(1) == (A + B) % P)
    right = np.exp(logits)[np.arange(P * P), (A + B) % P] / np.exp(logits).sum(1)
    np.testing.assert_allclose(frame["probability"].ravel(), right, rtol=HALF)
    np.testing.assert_allclose(frame["by_sum"], one_layer.by_sum_table(logits), rtol=HALF, atol=HALF)
    gone = np.concatenate([directions(k) for k in KEYS])
    left = logits - gone.T @ (gone @ logits)
    assert frame["excluded_train"] == pytest.approx(loss(left, train.ravel()), rel=FLOAT32)
    assert frame["trig"] == pytest.approx(loss(fit), rel=FLOAT32)
    weights = planted[0].values()
    assert frame["squared_weights"] == pytest.approx(sum(float((w.double() ** 2).sum()) for w in weights), rel=FLOAT32)


def test_restricted_losses_follow_from_the_kept_table_for_any_frequencies(planted):
    frame, counts = planted[2], one_layer.counts_by_sum(TABLE)
    again = one_layer.restricted_losses(frame["by_sum"], frame["keys"], counts)
    for group in counts:
        assert again[group] == pytest.approx(float(frame[f"restricted_{group}"]), rel=4 * HALF)


def test_the_last_frame_keeps_neuron_maps_and_attention_in_the_order_a_then_b(planted):
    _, out, frame = planted
    neuron = int(frame["map_neuron"][0])
    assert frame["maps"][0][3, 9] == pytest.approx(float(out["neurons"][3 * P + 9, neuron]), rel=HALF)
    assert frame["attention"].shape == (4, 2, P, P)
    assert frame["attention"][1, 0][3, 9] == pytest.approx(float(out["attention"][3 * P + 9, 1, 0]), rel=HALF)
    assert frame["attention"][2, 1][3, 9] == pytest.approx(float(out["attention"][3 * P + 9, 2, 1]), rel=HALF)
    np.testing.assert_allclose(frame["logits_2d"], one_layer.fourier_2d(out["logits"].numpy(), P), rtol=1e-2, atol=1e-3)


def test_a_live_frame_equals_the_stored_one(planted):
    for name, value in planted[2].items():
        np.testing.assert_array_equal(unpack(name, pack(name, value)), value, err_msg=name)


def test_numpy_and_torch_give_the_same_frame(planted):
    weights, out, frame = planted
    other = one_layer.take_frame(
        TABLE, {n: w.numpy() for n, w in weights.items()}, {n: v.numpy() for n, v in out.items()}, final=True
    )
    assert other.keys() == frame.keys()
    for name, value in frame.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-2, atol=1e-3, err_msg=name)


def test_a_frame_of_a_silent_network_has_no_frequencies_and_does_not_fail():
    weights = {name: torch.zeros(shape) for name, shape in model.shapes(TABLE).items()}
    frame = one_layer.take_frame(TABLE, weights, model.forward(TABLE, weights, A, B), final=True)
    assert not frame["keys"].any()
    assert frame["restricted_test"] == pytest.approx(np.log(P))
    assert frame["excluded_train"] == pytest.approx(np.log(P))
    assert np.isnan(frame["fve_K"]).all()
    assert frame["silent"] == 1
