"""The network that the theory says training tends to, what it votes, and what its diversity is worth.

Float64 throughout.  Source: arXiv:2602.16849, sec. 4, unless a docstring says otherwise.
"""

from itertools import combinations
from math import comb

import numpy as np
from array_api_compat import array_namespace

from ..runs import check_p
from .fourier import from_cosines


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


PEAKS = ("correct", "ghosts", "third", "fourth")
"""The answers at which a vote may peak: x + y; 2x and 2y; 3x - y and 3y - x; 4x - 2y and 4y - 2x."""

PEAKS_TEX = (
    r"\cos^2 v = \tfrac12\left(1 + \cos 2v\right), \qquad |\cos v| = \tfrac2\pi\left(1 + \tfrac23\cos 2v "
    r"- \tfrac2{15}\cos 4v + \tfrac2{35}\cos 6v - \dots\right), \qquad v = w_k (x - y) / 2"
)
PEAKS_IN_THEORY = {"quad": (1.0, 1 / 2, 0.0, 0.0), "relu": (1.0, 1 / 3, -1 / 15, 1 / 35)}
"""Heights over that of the right answer where every neuron is a pure cosine: half of each coefficient in PEAKS_TEX."""
FIVE_FROM = 11  # below, the answers of PEAKS coincide too often to be told apart


def fit_peaks(logits_NP, p: int, x_N, y_N, weight_N=None) -> dict[str, float | None]:
    """Least squares of logits at residues x, y on a constant and the PEAKS, row n counted `weight_N` times.

    A constant over j changes no probability, so every row is first centred on 0.  Returns `constant` and the
    coefficient of each of PEAKS, in logits; `ratio`, correct over ghosts; `r2`, and `r2_three` with constant, right
    answer and ghosts alone; and `margin`, the least lead of a right answer over the best wrong one.  None where a
    denominator is 0, and for `third` and `fourth` below p = FIVE_FROM.  numpy or torch in; derived for this project.
    """
    xp = array_namespace(logits_NP)
    where = {} if xp is np or isinstance(logits_NP, np.ndarray) else {"device": logits_NP.device}
    x_N, y_N = (np.asarray(residue, int) for residue in (x_N, y_N))
    w_N = np.ones(len(x_N)) if weight_N is None else np.asarray(weight_N, float)
    f_NP = xp.astype(logits_NP, xp.float64)
    f_NP = f_NP - xp.mean(f_NP, axis=-1, keepdims=True)
    total = float(xp.sum(f_NP**2, axis=-1) @ xp.asarray(w_N, **where))
    at_7N = np.stack([((1 + n) * x_N + (1 - n) * y_N) % p for n in (0, 1, -1, 2, -2, 3, -3)])
    value_N7 = xp.take_along_axis(f_NP, xp.asarray(at_7N.T.copy(), **where), axis=1)
    value_7N = np.asarray(value_N7.cpu() if where else value_N7).T
    row, column = xp.arange(len(x_N), **where), xp.asarray(at_7N[0].copy(), **where)
    f_NP[row, column] = -np.inf
    margin = float(np.min(value_7N[0] - np.asarray(xp.max(f_NP, axis=-1).cpu() if where else f_NP.max(-1))))

    # Columns of zeros and ones: the normal equations are exact enough, and need no table of N P rows.
    groups = ([0], [1, 2], [3, 4], [5, 6])
    meets = [[sum(float(w_N @ (at_7N[a] == at_7N[b])) for a in one for b in two) for two in groups] for one in groups]
    many = w_N.sum() * np.array([len(group) for group in groups])
    gram = np.block([[np.array([[w_N.sum() * p]]), many[None]], [many[:, None], np.array(meets)]])
    right = np.array([0, *(float(w_N @ value_7N[group].sum(0)) for group in groups)])

    def solve(columns: int) -> tuple[np.ndarray, float | None]:
        part = slice(columns)
        fit = np.linalg.lstsq(gram[part, part], right[part])[0]
        return fit, float(fit @ right[part] / total) if total else None

    (_, r2_three), (fit, r2) = solve(3), solve(5 if p >= FIVE_FROM else 3)
    found = dict.fromkeys(PEAKS) | dict(zip(("constant", *PEAKS), fit.tolist(), strict=False))
    ratio = found["correct"] / found["ghosts"] if found["ghosts"] and p > 3 else None  # at 3 they are all there is
    return found | {"ratio": ratio, "r2": r2, "r2_three": r2_three, "margin": margin}


def fit_zero(logits0_PP) -> dict[str, float | None]:
    """`fit_peaks` of the pairs (0, y) with y > 0, from the logits of all (0, y): for records that hold no others.

    A ghost at 2x is lower where the pair (x, x) is held out.  Here 2x is 0 in every pair, so that this one pair would
    decide; the answer 0 therefore takes the votes of the other ghost, 2y, and there is no `margin`.
    """
    logits = np.array(logits0_PP[1:], float)
    p = logits.shape[1]
    y = np.arange(1, p)
    logits[:, 0] = logits[y - 1, 2 * y % p]
    return fit_peaks(logits, p, 0 * y, y) | {"margin": None}


def pure_vote(p: int, x, y, top: float, activation: str) -> np.ndarray:
    """Logits [..., P] of pure cosines of evenly spread phases whose peak at x + y is `top` above the floor, centred on
    0; `flawed_indicator` for x^2, and for activations without an entry in PEAKS_IN_THEORY too."""
    x, y, j = np.asarray(x)[..., None], np.asarray(y)[..., None], np.arange(p)
    vote = np.zeros(np.broadcast_shapes(x.shape, y.shape, j.shape))
    for n, height in enumerate(PEAKS_IN_THEORY.get(activation, PEAKS_IN_THEORY["quad"])):
        for side in {n, -n}:
            vote = vote + top * height * ((((1 + side) * x + (1 - side) * y) % p) == j)
    return vote - vote.mean(-1, keepdims=True)


def kept_peaks(frame) -> dict[str, float | None] | None:
    """What `fit_peaks` found over all ordered pairs when this frame was taken; None if the frame does not hold it."""
    if "peak_correct" not in frame:
        return None
    names = {name: f"peak_{name}" for name in PEAKS} | {"r2": "vote_r2", "r2_three": "vote_r2_three"}
    names["margin"] = "flawed_margin"
    kept = {name: float(frame[key]) if key in frame else None for name, key in names.items()}
    told = kept["ghosts"] and len(frame["counts_K"]) > 1
    return kept | {"ratio": kept["correct"] / kept["ghosts"] if told else None}


MARGIN_TEX = (
    r"\gamma = \frac{\min_{x,y,\,j \ne x + y}\, f_{x + y} - f_j}{3\sqrt3\,\sum_m \|\theta_m\|^2\,\|\xi_m\|}, \qquad "
    r"\gamma^\ast = \frac{\sqrt{2/27}}{\sqrt p\,(p - 1)}"
)


def margin_share(margin: float, theta_MP, xi_MP) -> float:
    """The margin of an x^2 network over the largest that any weights of the same norm have; NaN for no weights.

    The norm is (sum_m (2 |theta_m|^2 + |xi_m|^2)^(3/2))^(1/3), at the scales c_m theta_m, xi_m / c_m^2 that make it
    least and change no logit.  Maximum: Morwani et al., arXiv:2311.07568; they reach it with weights of
    their own for x and for y.
    """
    xp, p = array_namespace(theta_MP), theta_MP.shape[-1]
    theta, xi = (xp.astype(w, xp.float64) for w in (theta_MP, xi_MP))
    norm = 3 * 3**0.5 * float(xp.sum(xp.sum(theta**2, axis=-1) * xp.sum(xi**2, axis=-1) ** 0.5))
    return margin / norm / ((2 / 27) ** 0.5 / (p**0.5 * (p - 1))) if norm else float("nan")


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
