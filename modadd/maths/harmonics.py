"""Where ReLU leaks while the weights are small: harmonics r k of a neuron's frequency k, in float64.

At small weights every answer is equally likely, so that gradient descent moves a neuron along a field of its own two
rows alone.  Derived for this project from arXiv:2602.16849, sec. 5, which says O(r^-2).
"""

from functools import lru_cache

import numpy as np

from . import fourier
from .theory import relu_rate

HARMONICS = {"input": (3, 5), "output": (2, 3)}
INCREMENT_TEX = r"\text{input: } \frac{3}{r^2 - 4}, \qquad \text{output: } \frac{3}{4 r^2 - 1}"
WIDEST = 61  # p of the fixed point at most: beyond, it moves by less than 1 % and takes long
STEPS, PACE = 250, 0.05  # of Euler's rule, in units of the time in which the neuron grows


def fold(r: int, k, p: int) -> np.ndarray:
    """The frequency in 0 .. K that r k is on Z_p."""
    rest = r * np.asarray(k, int) % p
    return np.minimum(rest, p - rest)


def increment(layer: str, r: int) -> float:
    """Magnitude at r k that the first step of descent adds to an aligned cosine, over that at k, in the limit of
    large p; for odd r in the input layer and any r in the output layer."""
    return 3 / (r * r - 4) if layer == "input" else 3 / (4 * r * r - 1)


def field(theta_MP, xi_MP) -> tuple[np.ndarray, np.ndarray]:
    """(d theta, d xi) of descent on the mean cross-entropy of all pairs at equal logits, ReLU, [M, P] each."""
    p = theta_MP.shape[1]
    x = np.arange(p)
    xi_MP = xi_MP - xi_MP.mean(1, keepdims=True)
    d_theta, d_xi = np.zeros_like(theta_MP), np.zeros_like(xi_MP)
    for y in range(p):
        h = theta_MP + theta_MP[:, y : y + 1]
        d_theta += 2 * xi_MP[:, (x + y) % p] * (h > 0)
        d_xi[:, (x + y) % p] += np.maximum(h, 0)
    return d_theta / p**2, (d_xi - d_xi.mean(1, keepdims=True)) / p**2


def ratios(theta_MP, xi_MP, k: int = 1) -> dict[tuple[str, int], float]:
    """Mean magnitude at each of HARMONICS over that at k; those that fold back on 0 or on k are left out."""
    p = theta_MP.shape[1]
    size = {"input": fourier.amplitudes(fourier.dft(theta_MP)), "output": fourier.amplitudes(fourier.dft(xi_MP))}
    return {
        (layer, r): float((size[layer][:, fold(r, k, p) - 1] / size[layer][:, k - 1]).mean())
        for layer, orders in HARMONICS.items()
        for r in orders
        if fold(r, k, p) not in (0, k)
    }


def cosines(p: int, phases: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Aligned pure cosines of k = 1 with phases spread at random, [phases, P] in each layer."""
    phi = np.random.default_rng(0).uniform(-np.pi, np.pi, phases)[:, None]
    angle = 2 * np.pi * np.arange(p) / p
    return np.cos(angle + phi), np.cos(angle + 2 * phi)


@lru_cache(maxsize=128)
def _grown(p: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of unit length in a shape that only grows, from aligned cosines of k = 1."""
    theta, xi = cosines(p)
    for _ in range(STEPS):
        d_theta, d_xi = field(theta, xi)
        rate = PACE / np.sqrt((d_theta**2 + d_xi**2).sum(1) / (theta**2 + xi**2).sum(1))[:, None]
        theta, xi = theta + rate * d_theta, xi + rate * d_xi
        size = np.sqrt((theta**2 + xi**2).sum(1))[:, None]
        theta, xi = theta / size, xi / size
    return theta, xi


def fixed_point(p: int) -> dict[tuple[str, int], float]:
    """(layer, r) -> magnitude at r k over that at k once a neuron only grows and no longer changes its shape: where
    ReLU neurons tend to while the loss is near ln p.  At min(p, WIDEST), for a frequency coprime to p."""
    return ratios(*_grown(min(p, WIDEST)))


def growth(p: int) -> float:
    """How fast a neuron of that shape grows, over what the flow of pure cosines says; at min(p, WIDEST)."""
    p = min(p, WIDEST)
    speed = np.sqrt(sum((part**2).sum(1) for part in field(*_grown(p)))).mean()
    return float(speed / relu_rate(p))


def coefficient(q: int, phases: int = 500) -> tuple[float, float]:
    """(mean, standard deviation over phases) of the rate at which an aligned cosine of a frequency of order q grows,
    over that of the flow, which is its limit at large q; q = p / gcd(k, p)."""
    theta, xi = cosines(q, phases)
    rate_M = 2 / q * (field(theta, xi)[0] * theta).sum(1) / relu_rate(q)
    return float(rate_M.mean()), float(rate_M.std())
