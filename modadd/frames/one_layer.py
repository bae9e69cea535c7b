"""Numbers about a one-layer transformer, taken once a frame.

Everything is seen through the sum s = a + b.  Of all the directions in which a table over (a, b) can
vary, the sum directions of frequency k,

    (cos w_k a cos w_k b - sin w_k a sin w_k b) / sqrt 2     that is  cos w_k (a + b)
    (sin w_k a cos w_k b + cos w_k a sin w_k b) / sqrt 2     that is  sin w_k (a + b)

(products of the orthonormal modes of `fourier.basis`), are those that depend on s alone.  The part of
the logits in all of them and the constant is therefore their mean over the pairs of equal sum,
`by_sum` [P, P] in (s, answer c): a frame that keeps this small table can be asked for the restricted
loss and the variance explained by any set of frequencies, long after training.

Source: Nanda et al., "Progress measures for grokking via mechanistic interpretability",
arXiv:2301.05217, sections 4 and 5 and appendix A.  Works on numpy arrays and torch tensors alike.
"""

import numpy as np
from array_api_compat import array_namespace

from .. import data
from ..maths import fourier
from ..runs import Run
from .schema import CIRCLES, MAPS, Frame, pack, unpack

SINGLE = 0.85  # a neuron has one frequency above this share of its variance (appendix C.1)
GAP = 2.0  # key frequencies end where the sorted norms drop by this factor
SHARE = 0.1  # or, by the other rule, at this share of the largest norm
RULES = ("gap", "share")


def gini(x) -> float:
    """G = 1 - 2 sum_i (x_i / |x|_1) (n - i + 1/2) / n over x >= 0 in ascending order, i = 1 .. n:
    0 if all are equal, 1 - 1/n if one has everything (Hurley and Rickard 2009, eq. 15)."""
    x = np.sort(np.asarray(x, float))
    n, total = len(x), x.sum()
    return float(1 - 2 * (x * (n - np.arange(1, n + 1) + 0.5)).sum() / (n * total)) if total > 0 else 0.0


def mode_norms(rows_XP) -> np.ndarray:
    """Length over the rows of each Fourier mode, [P] in the order of `fourier.basis`: of W_E, one row a
    model dimension; of W_L = W_out W_U, one row a neuron."""
    xp = array_namespace(rows_XP)
    return _host(xp.linalg.vector_norm(fourier.dft(rows_XP), axis=0))


def by_frequency(norms_P) -> np.ndarray:
    """The length of cos k and sin k together, k = 1 .. K: [K] from [P].  Unlike that of each alone it does
    not depend on which residue is called 0."""
    return fourier.amplitudes(np.asarray(norms_P, float))


def key_frequencies(norms_K, rule: str = "gap", gap: float = GAP, share: float = SHARE) -> np.ndarray:
    """Which frequencies the network uses, bool [K], from the norms of W_L without the constant.

    `gap`: those above the widest gap (the largest ratio of neighbours) among the sorted norms, with at
    most half of the frequencies above it; none if no gap is as wide as `gap`.  `share`: those above this
    share of the largest; before training that is nearly all of them.
    """
    norms = np.asarray(norms_K, float)
    if rule == "share":
        return norms > share * norms.max()
    order = np.sort(norms)[::-1]
    half = max(1, len(order) // 2)
    following = np.append(order[1:], 0)[:half]
    ratio = np.divide(order[:half], following, out=np.full(half, np.inf), where=following > 0)
    cut = int(ratio.argmax())
    return norms >= order[cut] if ratio[cut] >= gap and order[cut] > 0 else np.zeros(len(norms), bool)


def by_sum_table(logits_NP):
    """Mean logits over the p pairs of each sum, float64 [P, P] in (s, c), from all ordered pairs (a, b), a the
    slow index."""
    xp, p = array_namespace(logits_NP), logits_NP.shape[1]
    s, a = np.divmod(np.arange(p * p), p)
    rows = logits_NP[xp.asarray(a * p + (s - a) % p, device=logits_NP.device)]
    return _host(xp.mean(xp.reshape(rows, (p, p, p)), axis=1, dtype=xp.float64))


def counts_by_sum(run: Run) -> dict[str, np.ndarray]:
    """How many ordered pairs of each sum are in `all`, `train` and `test`, [P] each."""
    p = run.p
    train = np.bincount(_sums(data.train_mask(run)), minlength=p)
    return {"all": np.full(p, p), "train": train, "test": p - train}


def _sums(pairs_PP: np.ndarray) -> np.ndarray:
    a, b = np.nonzero(pairs_PP)
    return (a + b) % len(pairs_PP)


def sum_parts(by_sum_PP) -> np.ndarray:
    """The part of the logits in the two sum directions of each frequency, [K, P, P] in (k, s, c)."""
    basis = fourier.basis(len(by_sum_PP))
    coef_PP = basis @ np.asarray(by_sum_PP, float)
    pairs = lambda table: table[1:].reshape(-1, 2, len(table))  # noqa: E731
    return pairs(basis).transpose(0, 2, 1) @ pairs(coef_PP)


def restricted_losses(by_sum_PP, keys_K, counts: dict[str, np.ndarray]) -> dict[str, float]:
    """Loss with nothing kept of the logits but the constant and the sum directions of the key frequencies
    (section 5.1), on each group of `counts_by_sum`; NaN for an empty group."""
    basis = fourier.basis(len(by_sum_PP))[np.repeat(np.append(True, keys_K), 2)[1:].astype(bool)]
    kept = basis.T @ (basis @ np.asarray(by_sum_PP, float))
    loss_P = _log_sum_exp(kept) - np.diagonal(kept)
    return {name: float(n @ loss_P / n.sum()) if n.sum() else float("nan") for name, n in counts.items()}


def excluded_losses(logits_NP, pairs_PP: np.ndarray, parts_QPP: np.ndarray) -> np.ndarray:
    """Loss on the ordered pairs of the mask `pairs_PP` with nothing taken from the logits but a part that
    depends on the sum, [Q] for Q such parts [Q, P, P] (section 5.1, there on the training pairs)."""
    # exp(logit - part) is a product, so that one pass of exponentials over the pairs serves every part. The
    # pairs of a sum lie side by side, filled up to equal numbers with pairs of weight 0.
    xp, p = array_namespace(logits_NP), len(pairs_PP)
    here = {"device": logits_NP.device}
    sum_n, pair_n = _sums(pairs_PP), np.flatnonzero(pairs_PP)
    by_sum = np.argsort(sum_n, kind="stable")
    count_S = np.bincount(sum_n, minlength=p)
    place_n = np.arange(len(by_sum)) - np.repeat(np.cumsum(count_S) - count_S, count_S)
    pair_SW, weight_SW = np.zeros((p, count_S.max()), int), np.zeros((p, count_S.max()))
    pair_SW[sum_n[by_sum], place_n], weight_SW[sum_n[by_sum], place_n] = pair_n[by_sum], 1 / len(pair_n)

    logits_SWP = xp.astype(logits_NP[xp.asarray(pair_SW, **here)], xp.float64)
    top_SW1, s = xp.max(logits_SWP, axis=-1, keepdims=True), np.arange(p)
    part_SPQ = xp.permute_dims(xp.asarray(parts_QPP, dtype=xp.float64, **here), (1, 2, 0))
    low_S1Q = xp.min(part_SPQ, axis=1, keepdims=True)
    sum_SWQ = xp.matmul(xp.exp(logits_SWP - top_SW1), xp.exp(low_S1Q - part_SPQ))
    gap_SWQ = xp.log(sum_SWQ) + (top_SW1 - logits_SWP[s, :, s][..., None]) + (part_SPQ[s, s][:, None] - low_S1Q)
    return _host(xp.sum(gap_SWQ * xp.asarray(weight_SW[..., None], **here), axis=(0, 1)))


def cosine_coefficients(by_sum_PP) -> np.ndarray:
    """a_k, k = 1 .. K, of the least-squares fit logit(a, b, c) = sum_k a_k cos w_k (a + b - c); the cosines
    are orthogonal, so that leaving some out changes no other."""
    by_sum = np.asarray(by_sum_PP, float)
    p, s = len(by_sum), np.arange(len(by_sum))
    mean_P = np.array([by_sum[s, (s - d) % p].mean() for d in range(p)])  # over all s - c = d
    return 2 / p * np.sqrt(p / 2) * fourier.dft(mean_P[None])[0, 1::2]


def trig_loss(by_sum_PP, keys_K) -> float:
    """Trig-only ablation: the loss with logits sum_k a_k cos w_k (a + b - c) over the key frequencies, the
    network's own a_k and nothing else.  It is the same for every pair."""
    a_K = np.where(keys_K, cosine_coefficients(by_sum_PP), 0)
    logits_P = np.sqrt(len(by_sum_PP) / 2) * a_K @ fourier.basis(len(by_sum_PP))[1::2]
    return float(_log_sum_exp(logits_P[None])[0] - logits_P[0])


def neuron_shares(neurons_NM, p: int):
    """(frequency [M], counted from 1; share [M]) of the one frequency that explains most of the variance of
    each neuron over (a, b): the squared length in the eight directions {1, cos k, sin k} x {1, cos k, sin k}
    without the constant, over the variance.  A neuron that never changes has share 0 (appendix C.1).
    """
    xp = array_namespace(neurons_NM)
    M, K = neurons_NM.shape[1], (p - 1) // 2
    basis = xp.asarray(fourier.basis(p).copy(), device=neurons_NM.device, dtype=neurons_NM.dtype)
    moved_NM = neurons_NM - xp.mean(neurons_NM, axis=0)
    total_M, scale_M = xp.sum(moved_NM**2, axis=0), xp.sum(neurons_NM**2, axis=0)
    over_a = xp.reshape(xp.matmul(basis, xp.reshape(moved_NM, (p, p * M))), (p, p, M))  # modes of a, values of b
    pairs = lambda rows: rows[1::2] ** 2 + rows[2::2] ** 2  # noqa: E731
    power_KM = pairs(xp.sum(over_a, axis=1)) / p + pairs(xp.matmul(basis, over_a[0]))
    for i in (1, 2):
        of_a_KPM = over_a[i::2]
        for j in (1, 2):
            power_KM = power_KM + xp.reshape(xp.matmul(basis[j::2][:, None, :], of_a_KPM), (K, M)) ** 2
    moves = total_M > 1e-10 * scale_M  # more than rounding
    share_M = xp.max(power_KM, axis=0) / xp.where(moves, total_M, xp.ones_like(total_M))
    return xp.argmax(power_KM, axis=0) + 1, xp.where(moves, share_M, xp.zeros_like(share_M))


def fourier_2d(table_NX, p: int) -> np.ndarray:
    """Length over X of each product of modes of a table over the ordered pairs, [P, P] in (mode of a, mode of b)."""
    xp = array_namespace(table_NX)
    basis = xp.asarray(fourier.basis(p).copy(), device=table_NX.device)
    values = xp.reshape(xp.astype(table_NX, xp.float64), (p, p, -1))
    over_a = xp.reshape(xp.matmul(basis, xp.reshape(values, (p, -1))), values.shape)
    return _host(xp.linalg.vector_norm(xp.matmul(basis, over_a), axis=-1))


def circle(embed_PD, k: int) -> tuple[np.ndarray, float]:
    """The embeddings of the residues on the plane of frequency k, [P, 2], and that plane's share of their
    variance.  The plane is spanned by the directions in which cos w_k a and sin w_k a are written,
    sum_a cos(w_k a) W_E[a] and sum_a sin(w_k a) W_E[a], made orthonormal in the nearest way; a network
    that writes both with equal strength and at right angles, and nothing else there, shows a circle.
    """
    embed = np.asarray(embed_PD, float)
    embed = embed - embed.mean(0)
    modes_2P = fourier.basis(len(embed))[2 * k - 1 : 2 * k + 1]
    u, strength, v = np.linalg.svd(modes_2P @ embed, full_matrices=False)
    total = (embed**2).sum()
    if strength[0] ** 2 <= 1e-12 * total:  # nothing of this frequency is written
        return np.zeros((len(embed), 2)), 0.0
    points = embed @ (u @ v).T
    return points, float((points**2).sum() / total)


def purest(frequency_M, share_M, count: int = MAPS) -> np.ndarray:
    """Up to `count` neurons of the largest share, one a frequency in turn."""
    order = np.argsort(-np.asarray(share_M, float), kind="stable")
    frequency, turn = np.asarray(frequency_M)[order], np.zeros(len(order), int)
    for k in np.unique(frequency):
        turn[frequency == k] = np.arange((frequency == k).sum())
    return order[np.lexsort((np.arange(len(order)), turn))[:count]]


def take_frame(run: Run, weights, out, final: bool = False) -> Frame:
    """Measure a transformer on whatever device its tensors are.  `weights` as in `model.shapes`; `out` is
    `model.forward` over all ordered pairs (a, b), a the slow index.

    Every frame: embed_norms and map_norms [P] (`mode_norms` of W_E over the residues and of W_L),
    gini_embed, gini_map (of the norms by frequency), keys [K] (`key_frequencies` of W_L), by_sum [P, P];
    restricted_all, restricted_train, restricted_test; excluded_train without all key frequencies and
    log_excluded [K], the logarithm of the same without one frequency each; trig (the same for every
    pair); fve_K [K], the share of the variance of the logits over pairs and answers, centred over the
    answers of each pair, in cos w_k (a + b - c); fve, its sum over the key frequencies; centred [], the
    share of all variance (about one mean of all logits) that this centring leaves, so that fve * centred is
    the figure without it; neuron_frequency and neuron_share [M]; single, the share of all neurons above
    SINGLE, and silent, of those that never change; squared_weights, the sum over all weights; correct and
    probability of the right answer, [P, P] in (a, b).  The last frame adds map_neuron and maps [<= MAPS, P, P]
    in (neuron, a, b), attention [H, 2, P, P] from "=" to a and to b, logits_2d [P, P] (`fourier_2d`),
    circle_frequency, circle_share and circles [<= CIRCLES, P, 2] (`circle`) of the key frequencies of largest norm
    in W_E.
    """
    p, logits_NP, neurons_NM = run.p, out["logits"], out["neurons"]
    xp = array_namespace(logits_NP)
    embed_PD, map_MP = weights["W_E"][:p], weights["W_out"] @ weights["W_U"]
    norms = {"embed_norms": mode_norms(embed_PD.T), "map_norms": mode_norms(map_MP)}
    keys = key_frequencies(by_frequency(norms["map_norms"]))

    by_sum = by_sum_table(logits_NP)
    parts, a_K = sum_parts(by_sum), cosine_coefficients(by_sum)
    excluded = excluded_losses(logits_NP, data.train_mask(run), np.concatenate([parts, parts[keys].sum(0)[None]]))
    restricted = restricted_losses(by_sum, keys, counts_by_sum(run))

    wide_NP = xp.astype(logits_NP, xp.float64)
    row_mean_N = xp.mean(wide_NP, axis=1)
    power = float(xp.linalg.vector_norm(wide_NP)) ** 2 / p**3
    within, whole = power - float(xp.mean(row_mean_N**2)), power - float(xp.mean(row_mean_N)) ** 2
    fve_K = a_K**2 / 2 / within if within > 0 else np.full(run.K, np.nan)
    label_N = np.add.outer(np.arange(p), np.arange(p)).ravel() % p
    top_N1 = xp.max(wide_NP, axis=1, keepdims=True)
    total_N = xp.sum(xp.exp(wide_NP - top_N1), axis=1)
    right_N = wide_NP[np.arange(p * p), label_N]
    probability_N = xp.exp(right_N - top_N1[:, 0]) / total_N
    correct_N = _host(xp.argmax(logits_NP, axis=1)) == label_N

    frequency_M, share_M = (_host(values) for values in neuron_shares(neurons_NM, p))
    numbers = {
        "gini_embed": gini(by_frequency(norms["embed_norms"])), "gini_map": gini(by_frequency(norms["map_norms"])),
        **{f"restricted_{group}": loss for group, loss in restricted.items()},
        "excluded_train": excluded[-1], "trig": trig_loss(by_sum, keys), "fve": fve_K[keys].sum(),
        "centred": within / whole if within > 0 else float("nan"),
        "single": (share_M > SINGLE).mean(), "silent": (share_M == 0).mean(),
        "squared_weights": sum(float(xp.sum(xp.astype(w, xp.float64) ** 2)) for w in weights.values()),
    }  # fmt: skip
    frame = {name: np.float32(value) for name, value in numbers.items()} | norms | {
        "keys": keys, "by_sum": by_sum, "log_excluded": np.log(np.maximum(excluded[:-1], 1e-12)), "fve_K": fve_K,
        "neuron_frequency": frequency_M.astype(np.uint8), "neuron_share": share_M,
        "correct": correct_N.reshape(p, p), "probability": _host(probability_N).reshape(p, p),
    }  # fmt: skip
    if final:
        chosen = purest(frequency_M, share_M)
        strongest = np.argsort(-np.where(keys, by_frequency(norms["embed_norms"]), 0), kind="stable")
        shown = np.sort(strongest[: min(CIRCLES, keys.sum())]) + 1
        circles = [circle(_host(embed_PD), k) for k in shown]
        attention = _host(out["attention"]).reshape(p, p, -1, 3)
        frame |= {
            "map_neuron": chosen.astype(np.int32), "maps": _host(neurons_NM)[:, chosen].T.reshape(-1, p, p),
            "attention": attention[..., :2].transpose(2, 3, 0, 1), "logits_2d": fourier_2d(logits_NP, p),
            "circle_frequency": shown.astype(np.uint8), "circle_share": np.array([share for _, share in circles]),
            "circles": np.array([points for points, _ in circles]).reshape(len(shown), p, 2),
        }  # fmt: skip
    return {name: unpack(name, pack(name, value)) for name, value in frame.items()}


def _host(array) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else array.detach().cpu().numpy()


def _log_sum_exp(x):
    top = x.max(-1, keepdims=True)
    return np.log(np.exp(x - top).sum(-1)) + top[..., 0]
