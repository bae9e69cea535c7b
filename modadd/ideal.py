"""The network that the theory says training tends to, what it votes, and what its diversity is worth.

Numpy in float64 throughout.  Source: arXiv:2602.16849, sec. 4, unless a docstring says otherwise.
"""

from itertools import combinations
from math import comb

import numpy as np

from .fourier import from_cosines
from .runs import check_p


def ideal_network(p: int, phases_per_frequency: int = 3, magnitude: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(theta_MP, xi_MP) of the solution for x^2: psi = 2 phi, phases spread evenly, M = K * phases_per_frequency.

    It gives the flawed indicator exactly, with scale magnitude^3 * phases_per_frequency / 2, unless
    there are 1, 2 or 4 phases a frequency: then exp(2i phi) or exp(4i phi) does not cancel.  Derived
    for this project.
    """
    K = (check_p(p) - 1) // 2
    magnitude_MK = magnitude * np.repeat(np.eye(K), phases_per_frequency, axis=0)
    phi_M1 = np.tile(even_phases(phases_per_frequency), K)[:, None]
    ones_MK = np.ones_like(magnitude_MK)
    return from_cosines(magnitude_MK, phi_M1 * ones_MK), from_cosines(magnitude_MK, 2 * phi_M1 * ones_MK)


def even_phases(n: int, span: float = 2 * np.pi) -> np.ndarray:
    """n phases from 0 in steps of span / n, [n]."""
    return np.arange(n) * span / n


FLAWED_INDICATOR_TEX = (
    r"\begin{aligned} f_j = \tfrac{aN}{2}\bigl[ & -1 + \tfrac{p}{2}\,\mathbf 1(j = x + y) \\"
    r"& + \tfrac{p}{4}\left(\mathbf 1(j = 2x) + \mathbf 1(j = 2y)\right)\bigr], \quad a = \alpha^2\beta"
    r"\end{aligned}"
)


def flawed_indicator(p: int, x, y, scale: float = 1.0) -> np.ndarray:
    """Logits [..., P] of the ideal network for residues x, y [...]; `scale` is a N / 2, with
    a = alpha^2 beta and N neurons a frequency.  arXiv:2602.16849, sec. 4."""
    correct, ghosts = _indicators(p, x, y)
    return scale * (-1 + p / 2 * correct + p / 4 * ghosts)


def _indicators(p: int, x, y) -> tuple[np.ndarray, np.ndarray]:
    x, y, j = np.asarray(x)[..., None], np.asarray(y)[..., None], np.arange(p)
    return ((x + y) % p == j) * 1.0, ((2 * x) % p == j) * 1.0 + ((2 * y) % p == j)


PROBABILITY_BOUND_TEX = r"P(\mathrm{correct}) \ge \frac{1}{1 + (p - 1)\,e^{-aNp/8}}"


def probability_bound(p: int, a, N):
    """Least probability of the right answer in the ideal network (a, N as above).  arXiv:2602.16849, sec. 4."""
    return 1 / (1 + (p - 1) * np.exp(-np.asarray(a) * N * p / 8))


def fit_flawed_indicator(logits, p: int, x, y) -> dict[str, float | None]:
    """Least squares of logits [n, P] at residues x, y [n] on (1, correct, ghosts); derived for this project.

    A constant over j changes no probability, so every row is first centred on 0, as the ideal
    rows are.  Returns `constant`, `correct`, `ghosts` (theory 2 : 1), `ratio` = correct / ghosts,
    `r2`, and `margin`, the least lead of the right answer over the best wrong one; all in logits,
    None where a denominator is 0.
    """
    logits = np.asarray(logits, float)
    logits = logits - logits.mean(-1, keepdims=True)
    correct, ghosts = _indicators(p, x, y)
    columns = np.stack([np.ones(logits.size), correct.ravel(), ghosts.ravel()], axis=1)
    # Three columns of zeros and ones: the normal equations are exact enough, and fast at any p.
    fit = np.linalg.lstsq(columns.T @ columns, columns.T @ logits.ravel())[0]
    total = np.sum((logits - logits.mean()) ** 2)
    margin = logits[correct > 0] - np.where(correct > 0, -np.inf, logits).max(-1).ravel()
    return {
        "constant": float(fit[0]), "correct": float(fit[1]), "ghosts": float(fit[2]),
        "ratio": float(fit[1] / fit[2]) if fit[2] else None,
        "r2": float(1 - np.sum((logits.ravel() - columns @ fit) ** 2) / total) if total else None,
        "margin": float(margin.min()),
    }  # fmt: skip


def cross_entropy(logits_NP: np.ndarray, label_N: np.ndarray) -> float:
    """Mean cross-entropy in nats, exact to relative rounding however small: ln(1 + sum exp(f_j - f_label))."""
    rows = np.arange(len(label_N))
    lead = logits_NP - logits_NP[rows, label_N][:, None]
    lead[rows, label_N] = -np.inf
    top = np.maximum(lead.max(1), 0)
    rest = np.exp(lead - top[:, None]).sum(1) + np.expm1(-top)
    return float(np.mean(top + np.log1p(rest)))


ABLATION_TEX = (
    r"f_j(x, y) = \sum_m \cos(w_m j + 2\varphi_m)\left(\cos(w_m x + \varphi_m) + \cos(w_m y + \varphi_m)\right)^2"
)


def ablation_logits(p: int, neurons_K, span: float = 2 * np.pi) -> np.ndarray:
    """What each frequency adds to the logits of all pairs, [K, P * P, P]: `neurons_K` neurons of
    amplitude 1 each, phases spread evenly over `span`.  arXiv:2602.16849, sec. 4."""
    j, table_KNP = np.arange(p), []
    for k, n in enumerate(neurons_K, start=1):
        phi_M1, angle_P = even_phases(n, span)[:, None], 2 * np.pi * k * j / p
        theta_MP, xi_MP = np.cos(angle_P + phi_M1), np.cos(angle_P + 2 * phi_M1)
        hidden_MN = ((theta_MP[:, :, None] + theta_MP[:, None, :]) ** 2).reshape(n, p * p)
        table_KNP.append(hidden_MN.T @ xi_MP)
    return np.stack(table_KNP)


def diversity_by_frequencies(
    p: int = 23, counts=None, neurons: int = 128, constant_width: bool = False, most: int = 500, seed: int = 0
) -> dict[int, float]:
    """{number of frequencies: mean loss in nats over all choices of that many, or over `most` random ones}.

    As published, each of the K frequencies has its share of the neurons and those not chosen fall
    silent; `constant_width` shares all neurons among the chosen instead.  The published 7.41e-15 at
    all 11 is 5.93e-15 plus the rounding of ln(sum exp f) - f.  arXiv:2602.16849, sec. 4.
    """
    K, rng, result = (_check_small(p) - 1) // 2, np.random.default_rng(seed), {}
    for count in counts or sorted({n for n in (1, 2, 4, 8, K) if n <= K}):
        share, extra = divmod(neurons, count if constant_width else K)
        few_KNP, many_KNP = (ablation_logits(p, [n] * K) for n in (share, share + 1))
        every = comb(K, count) <= most
        losses = []
        for choice in combinations(range(K), count) if every else (rng.choice(K, count, False) for _ in range(most)):
            place = range(count) if constant_width else choice
            parts = ((many_KNP if i < extra else few_KNP)[k] for i, k in zip(place, choice, strict=True))
            losses.append(_ablation_loss(p, sum(parts)))
        result[count] = float(np.mean(losses))
    return result


def diversity_by_phase_range(p: int = 23, spans=(0.4, 0.8, 1.2, 1.6, 2.0), neurons: int = 128) -> dict[float, float]:
    """{phase range in units of pi: loss in nats}, all K frequencies in use.  arXiv:2602.16849, sec. 4."""
    K = (_check_small(p) - 1) // 2
    share_K = neurons // K + (np.arange(K) < neurons % K)
    return {span: _ablation_loss(p, ablation_logits(p, share_K, span * np.pi).sum(0)) for span in spans}


def _ablation_loss(p: int, logits_NP) -> float:
    x, y = np.divmod(np.arange(p * p), p)
    return cross_entropy(logits_NP, (x + y) % p)


def _check_small(p: int) -> int:
    if check_p(p) > 61:
        raise ValueError(f"the diversity ablation tabulates p^4 / 2 logits and is offered up to p = 61, got {p}")
    return p
