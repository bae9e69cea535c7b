"""The mechanism in small pieces, each a computation: from one cosine to the vote over the answers.

Numpy in float64, x^2 unless said otherwise.  Source: arXiv:2602.16849, sec. 4 (mechanism) and 5 (race).
"""

import numpy as np

from ..activations import ACTIVATIONS
from ..frames.schema import Frame
from ..maths import fourier, ideal, theory
from ..runs import Run

RIGHT, GHOSTS, OTHERS = KINDS = ("right answer x + y", "ghosts 2x and 2y", "other answers")
CIRCLE = 361  # points of a circle that stands for the continuous one
TINY = 1e-9  # what cancels to less has cancelled

PRODUCT_TEX = (
    r"\begin{aligned} h &= \cos(w_k x + \varphi) + \cos(w_k y + \varphi) \\"
    r"&= 2\cos\tfrac{w_k (x - y)}{2}\,\cos\!\left(\tfrac{w_k (x + y)}{2} + \varphi\right) \end{aligned}"
)
SQUARE_TEX = (
    r"\begin{aligned} h^2 = {} & 2\cos^2\tfrac{w_k (x - y)}{2} \\"
    r"& \cdot \left[1 + \cos(w_k (x + y) + 2\varphi)\right] \end{aligned}"
)


def hidden(frame: Frame, run: Run, x: int, y: int) -> np.ndarray:
    """How loud each neuron of an MLP is on one sum, [M]; the frame must hold weights."""
    theta_MP = frame["theta"].astype(float)
    return ACTIVATIONS[run.activation](theta_MP[:, x] + theta_MP[:, y])


def probabilities(frame: Frame, run: Run, x: int, y: int) -> np.ndarray:
    """Probability that the network gives to each answer to one sum, [P]."""
    votes_P = hidden(frame, run, x, y) @ frame["xi"].astype(float)
    odds_P = np.exp(votes_P - votes_P.max())
    return odds_P / odds_P.sum()


def kinds(p: int, x: int, y: int) -> list[str]:
    """Of each answer: the right one, a ghost, or another."""
    names = [OTHERS] * p
    names[2 * x % p] = names[2 * y % p] = GHOSTS
    names[(x + y) % p] = RIGHT
    return names


def doubled(activation: str, phi: float) -> tuple[float, float]:
    """(magnitude, phase) of the wave at twice the frequency in act(cos(angle + phi)), phase in (-pi, pi]."""
    angle = 2 * np.pi * np.arange(CIRCLE) / CIRCLE
    magnitude, phase = fourier.cosines(fourier.dft(ACTIVATIONS[activation](np.cos(angle + phi))[None]))
    return float(magnitude[0, 1]), float(phase[0, 1])


def inside(p: int, k: int, phi: float, x: int) -> np.ndarray:
    """What one neuron sums up before its activation for this x and every y, [P]."""
    w = 2 * np.pi * k / p
    return np.cos(w * x + phi) + np.cos(w * np.arange(p) + phi)


def one_neuron(p: int, k: int, phi: float, psi: float) -> tuple[np.ndarray, np.ndarray]:
    """(loudness [P] of one x^2 neuron by x + y, the mean over all pairs of that sum; its output weight [P])."""
    x, y = np.divmod(np.arange(p * p), p)
    w = 2 * np.pi * k / p
    loud_N = (np.cos(w * x + phi) + np.cos(w * y + phi)) ** 2
    return np.bincount((x + y) % p, loud_N) / p, np.cos(w * np.arange(p) + psi)


def right_alone(p: int, k: int, phi: float) -> int:
    """How many of the p^2 sums one x^2 neuron with psi = 2 phi gets right by itself."""
    # Its activation is never negative, so the answer with its largest output weight wins on every sum.
    favourite = int(np.cos(2 * np.pi * k / p * np.arange(p) + 2 * phi).argmax())
    x, y = np.divmod(np.arange(p * p), p)
    return int(((x + y) % p == favourite).sum())


def votes(p: int, phases: int, x: int, y: int) -> np.ndarray:
    """Votes of each frequency of the ideal network on one sum, [K, P], in units of a N (a = alpha^2 beta)."""
    theta_MP, xi_MP = ideal.ideal_network(p, phases)
    loud_M = (theta_MP[:, x] + theta_MP[:, y]) ** 2
    return (loud_M[:, None] * xi_MP).reshape(-1, phases, p).sum(1) / phases


def junk(p: int, most: int = 8) -> np.ndarray:
    """What 1 .. `most` evenly spread phases a frequency leave beside the vote: the largest error of any
    logit of any sum of frequency 1, in units of a N, [most]."""
    w, d = 2 * np.pi / p, np.arange(p)  # by symmetry the pairs (0, d) stand for all
    left = []
    for phases in range(1, most + 1):
        phi_M = ideal.even_phases(phases)
        loud_MN = (np.cos(phi_M)[:, None] + np.cos(w * d + phi_M[:, None])) ** 2
        voted_NP = loud_MN.T @ np.cos(w * d + 2 * phi_M[:, None]) / phases
        meant_NP = np.cos(w * d[:, None] / 2) ** 2 * np.cos(w * (d[:, None] - d))
        left.append(np.abs(voted_NP - meant_NP).max())
    return np.array(left)


def fewest_phases(p: int) -> int:
    """The smallest number of evenly spread phases that leaves nothing beside the vote."""
    return int(np.flatnonzero(junk(p) < TINY)[0]) + 1


def margins(p: int) -> np.ndarray:
    """The least lead of the right answer over the best wrong one, over all sums, with the frequencies
    1 .. n for n = 1 .. K, in units of a N, [K]."""
    k, d = np.arange(1, (p - 1) // 2 + 1)[:, None], np.arange(p)
    strength_KP, wave_KP = np.cos(np.pi * k * d / p) ** 2, np.cos(2 * np.pi * (k * d % p) / p)
    least, votes_PP = [], np.zeros((p, p))  # [x - y, j - (x + y)]
    for strength_P, wave_P in zip(strength_KP, wave_KP, strict=True):
        votes_PP += np.outer(strength_P, wave_P)
        least.append((votes_PP[:, 0] - votes_PP[:, 1:].max(1)).min())
    return np.array(least)


def second(p: int, x: int, y: int) -> list[int]:
    """The wrong answers that come closest to winning with all frequencies, ascending."""
    votes_P = votes(p, 3, x, y).sum(0)
    votes_P[(x + y) % p] = -np.inf
    return np.flatnonzero(votes_P > votes_P.max() - TINY).tolist()


def tickets(p: int, neurons: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(alpha, phi, beta, psi), each [M, K], of random weights as training starts from."""
    rng = np.random.default_rng(seed)
    (alpha, phi), (beta, psi) = (
        fourier.cosines(fourier.dft(0.1 * rng.standard_normal((neurons, p)) / np.sqrt(p))) for _ in range(2)
    )
    return alpha, phi, beta, psi


def hits(p: int, neurons: int, rules=("phase", "magnitude", "drive")) -> dict[str, float]:
    """Share of random x^2 neurons whose winner in the decoupled race each rule names beforehand."""
    start = tickets(p, neurons)
    winner_M = theory.race(p, *start)["winner_M"]
    return {rule: float((theory.predict_winner(rule, *start, p) == winner_M).mean()) for rule in rules}


def race(p: int, moments: int = 60) -> tuple[np.ndarray, np.ndarray, int]:
    """(flow time [T], alpha [K, T], winner from 1) of the first random neuron, up to the winner's arrival."""
    start = tickets(p, 1)
    found = theory.race(p, *start)
    time_T = np.linspace(0, float(found["time_MK"].min()), moments)
    return (
        time_T,
        theory.integrate("quad", np.stack([part_MK[0] for part_MK in start]), time_T, p)[0],
        int(found["winner_M"][0]),
    )
