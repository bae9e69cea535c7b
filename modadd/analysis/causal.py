"""Which frequencies a two-layer network needs: every subset of them asked, and key frequencies against a control.

To keep a frequency is to keep, whole, the neurons whose largest wave of the input layer it is.  The votes of neurons
add up, so that those of each frequency are computed once and a subset is their sum.  A cut through the Fourier modes
of the weights (`surgery.keep_top`) is another one: it leaves all neurons, and takes their small waves.
"""

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch

from .. import data
from ..frames.one_layer import key_frequencies
from ..maths import fourier, measures
from ..runs import Run
from . import surgery

EXACT = 11  # frequencies, at most, of which every subset is asked
DRAWS = 200  # controls, at most
RULES = ("norm", "gap", "neurons")
SMALLEST = "smallest subset"


def counts(net: surgery.Network) -> np.ndarray:
    """Neurons of each frequency, [K]."""
    p = net.theta_MP.shape[1]
    return measures.frequency_counts(fourier.amplitudes(fourier.dft(net.theta_MP)).argmax(1) + 1, (p - 1) // 2)


def parts(net: surgery.Network) -> np.ndarray:
    """Logits of the neurons of each frequency for every unordered pair, float32 [K, N, P], in sum the network's."""
    frequency_M, p = fourier.amplitudes(fourier.dft(net.theta_MP)).argmax(1), net.theta_MP.shape[1]
    mine = (frequency_M == k for k in range((p - 1) // 2))
    return np.stack(
        [surgery.logits(surgery.Network(net.theta_MP[m], net.xi_MP[m], net.activation), *data.pairs(p)) for m in mine]
    )


class Asked(NamedTuple):
    """Subsets of frequencies, bool [S, K], and what the network answers with each alone: mean loss (nats) and accuracy
    over the ordered training pairs, and accuracy over all ordered pairs, [S]."""

    kept_SK: np.ndarray
    loss_S: np.ndarray
    accuracy_S: np.ndarray
    everywhere_S: np.ndarray


def ask(parts_KNP: np.ndarray, kept_SK: np.ndarray, run: Run) -> Asked:
    """The network with these subsets of its frequencies alone."""
    K, N, P = parts_KNP.shape
    label_N, weight_NG = torch.as_tensor(data.labels(P)), data.group_weights(run).astype(float)
    train_N, all_N = weight_NG[:, 0], weight_NG[:, :2].sum(1)
    part_KV = torch.as_tensor(parts_KNP).reshape(K, -1)
    found = []
    for kept in np.array_split(kept_SK, -(-4 * len(kept_SK) * N * P // surgery.BLOCK_BYTES)):
        votes_SNP = (torch.as_tensor(kept, dtype=torch.float32) @ part_KV).reshape(len(kept), N, P)
        right_SN = (votes_SNP.argmax(2) == label_N).numpy()
        price_SN = (votes_SNP.logsumexp(2) - votes_SNP[:, torch.arange(N), label_N]).double().numpy()
        means = ((price_SN, train_N), (right_SN, train_N), (right_SN, all_N))
        found.append([values_SN @ weight_N / weight_N.sum() for values_SN, weight_N in means])
    return Asked(np.asarray(kept_SK, bool), *(np.concatenate(column) for column in zip(*found, strict=True)))


def greedy(parts_KNP: np.ndarray, used_K: np.ndarray, run: Run) -> Asked:
    """From no frequency on, always the one more that leaves the least training loss: a subset of each size."""
    kept_K, steps = np.zeros(len(used_K), bool), [ask(parts_KNP, np.zeros((1, len(used_K)), bool), run)]
    while (open_ := np.flatnonzero(used_K & ~kept_K)).size:
        tried = ask(parts_KNP, kept_K | (np.arange(len(used_K)) == open_[:, None]), run)
        best = int(tried.loss_S.argmin())
        steps.append(Asked(*(column[best : best + 1] for column in tried)))
        kept_K = steps[-1].kept_SK[0]
    return Asked(*(np.concatenate(column) for column in zip(*steps, strict=True)))


def subsets(parts_KNP: np.ndarray, used_K: np.ndarray, run: Run) -> Asked:
    """Every subset of the frequencies in use, from the smallest on; where they are more than EXACT, the greedy ones."""
    if used_K.sum() > EXACT:
        return greedy(parts_KNP, used_K, run)
    kept_SK = np.zeros((2 ** int(used_K.sum()), len(used_K)), bool)
    kept_SK[:, used_K] = np.arange(len(kept_SK))[:, None] >> np.arange(used_K.sum()) & 1
    return ask(parts_KNP, kept_SK[np.argsort(kept_SK.sum(1), kind="stable")], run)


def smallest(asked: Asked) -> np.ndarray | None:
    """Of the smallest subsets that answer every training pair rightly, the one of least loss, bool [K]; None if no
    subset does."""
    enough = np.flatnonzero(asked.accuracy_S == 1)
    if not enough.size:
        return None
    size = asked.kept_SK.sum(1)
    enough = enough[size[enough] == size[enough].min()]
    return asked.kept_SK[enough[asked.loss_S[enough].argmin()]]


def rules(net: surgery.Network) -> dict[str, np.ndarray]:
    """Key frequencies by each of RULES, bool [K]: `norm`, above a tenth of the largest norm in both layers together;
    `gap`, above the widest gap of the sorted norms; `neurons`, with more than a tenth as many neurons as the largest
    group (`one_layer.key_frequencies`)."""
    norm_K = np.sqrt(surgery.power(net))
    found = [key_frequencies(norm_K, "share"), key_frequencies(norm_K, "gap"), key_frequencies(counts(net), "share")]
    return dict(zip(RULES, found, strict=True))


def overlap(one_K: np.ndarray, other_K: np.ndarray) -> float | None:
    """Frequencies in both sets over those in either; None if both are empty."""
    return float((one_K & other_K).sum() / either) if (either := (one_K | other_K).sum()) else None


class Control(NamedTuple):
    """Training loss (nats) as trained, without the key frequencies, and without as many others: mean, least and most
    over the `draws` choices of them; None where there is no key frequency, or there are fewer others than keys."""

    whole: float
    without: float | None
    others: tuple[float, float, float] | None
    draws: int


def control(parts_KNP: np.ndarray, used_K: np.ndarray, key_K: np.ndarray, run: Run, seed: int = 0) -> Control:
    """Take out the key frequencies, then as many others: every choice of them, or DRAWS drawn by this seed."""
    key_K, other = key_K & used_K, np.flatnonzero(used_K & ~key_K)
    m = int(key_K.sum())
    chosen = []
    if 0 < m <= len(other):
        rng = np.random.default_rng(seed)
        few = math.comb(len(other), m) <= DRAWS
        chosen = list(combinations(other, m)) if few else [rng.choice(other, m, replace=False) for _ in range(DRAWS)]
    kept_SK = np.stack([used_K, used_K & ~key_K, *(used_K & ~np.isin(np.arange(len(used_K)), one) for one in chosen)])
    whole, without, *others = ask(parts_KNP, kept_SK, run).loss_S.tolist()
    spread = (float(np.mean(others)), min(others), max(others)) if others else None
    return Control(whole, without if m else None, spread, len(others))
