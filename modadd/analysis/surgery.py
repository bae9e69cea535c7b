"""A trained network on the table: operations that test what it needs, and who voted for what.

An operation takes a Network and gives a new one, so a list of them can be undone by leaving out
the last.  Numpy in float64 for Fourier space, torch in float32 for the votes.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from .. import data
from ..activations import ACTIVATIONS
from ..frames.schema import Frame
from ..maths import fourier, measures
from ..runs import Run

BLOCK_BYTES = 32 << 20  # of activations in memory at a time


class Network(NamedTuple):
    """Weights [M, P] of both layers, and the name of the activation between them."""

    theta_MP: np.ndarray
    xi_MP: np.ndarray
    activation: str


def network(frame: Frame, run: Run) -> Network:
    """The network of a frame that holds weights."""
    return Network(frame["theta"], frame["xi"], run.activation)


def logits(net: Network, x, y) -> np.ndarray:
    """f(x, y)[j] for residues x, y [n], float32 [n, P], a block of neurons at a time."""
    theta_PM, xi_MP = (torch.tensor(np.asarray(w, np.float32)) for w in (net.theta_MP.T, net.xi_MP))
    x, y = torch.as_tensor(np.array(x)), torch.as_tensor(np.array(y))
    result, block = torch.zeros(len(x), xi_MP.shape[1]), max(64, BLOCK_BYTES // (4 * len(x)))
    with torch.inference_mode():
        for start in range(0, len(xi_MP), block):
            some_PM = theta_PM[:, start : start + block].contiguous()
            result += ACTIVATIONS[net.activation](some_PM[x] + some_PM[y]) @ xi_MP[start : start + block]
    return result.numpy()


class Outcome(NamedTuple):
    """What a network makes of all sums: mean loss in nats and accuracy over the ordered pairs of each of
    `data.GROUPS` and of `all`, NaN where a group is empty; `correct` for each unordered pair."""

    loss: dict[str, float]
    accuracy: dict[str, float]
    correct: np.ndarray


def outcome(net: Network, run: Run) -> Outcome:
    """Ask the network every sum."""
    label_N = data.labels(run.p)
    votes_NP = torch.as_tensor(logits(net, *data.pairs(run.p))).double()
    price_N = torch.nn.functional.cross_entropy(votes_NP, torch.as_tensor(label_N), reduction="none").numpy()
    correct = (votes_NP.argmax(1).numpy() == label_N) & np.isfinite(price_N)
    weight_NG = data.group_weights(run)
    weights = {"all": weight_NG[:, :2].sum(1)} | {name: weight_NG[:, g] for g, name in enumerate(data.GROUPS)}

    def means(value_N):
        return {name: float(value_N @ w / w.sum()) if w.any() else float("nan") for name, w in weights.items()}

    return Outcome(means(price_N), means(correct), correct)


@lru_cache(maxsize=8)
def _orders(p: int) -> np.ndarray:
    """r with f = r k mod p, |r| least, for every frequency k (row) and f (column), [K, K]; 1 where f is no multiple
    of k and so a wave of its own."""
    K = (p - 1) // 2
    table_KK = np.ones((K, K), int)
    for r in range(K, 0, -1):
        for k in range(1, K + 1):
            if f := r * k % p:
                table_KK[k - 1, min(f, p - f) - 1] = r if f <= K else -r
    return table_KK


def rotate(w_MP: np.ndarray, k_M: np.ndarray, delta) -> np.ndarray:
    """Every row turned by delta [M] or scalar as a wave of its frequency k: the phase at r k moves by r delta, so that
    the wave keeps its shape; constants stay.  A turn by 2 pi k s / p shifts the row by s."""
    coef_MP = fourier.dft(w_MP)
    turn_M1 = np.broadcast_to(delta, len(w_MP))[:, None]
    mode_MK = coef_MP[:, 1::2] - 1j * coef_MP[:, 2::2]  # magnitude * exp(i phase)
    mode_MK = mode_MK * np.exp(1j * turn_M1 * _orders(w_MP.shape[1])[k_M - 1])
    coef_MP[:, 1::2], coef_MP[:, 2::2] = mode_MK.real, -mode_MK.imag
    return coef_MP @ fourier.basis(w_MP.shape[1])


def _keep(net: Network, kept_K) -> Network:
    mode_P = np.concatenate([[True], np.repeat(kept_K, 2)])
    back = fourier.basis(len(mode_P))
    return net._replace(
        theta_MP=(fourier.dft(net.theta_MP) * mode_P) @ back, xi_MP=(fourier.dft(net.xi_MP) * mode_P) @ back
    )


def project(net: Network, orders: tuple[int, ...]) -> Network:
    """Of every neuron only its wave at k in the output layer, and those at r k in the input layer, r in `orders`:
    (1,) leaves pure cosines."""
    p = net.theta_MP.shape[1]
    order_MK = np.abs(_orders(p)[fourier.amplitudes(fourier.dft(net.theta_MP)).argmax(1)])

    def only(w_MP, kept: tuple[int, ...]):
        kept_MP = np.pad(np.repeat(np.isin(order_MK, kept), 2, axis=1), ((0, 0), (1, 0)))
        return (fourier.dft(w_MP) * kept_MP) @ fourier.basis(p)

    return net._replace(theta_MP=only(net.theta_MP, orders), xi_MP=only(net.xi_MP, (1,)))


def power(net: Network) -> np.ndarray:
    """Share of each frequency in the squared weights of both layers, [K], in sum 1."""
    power_K = sum((fourier.amplitudes(fourier.dft(w)) ** 2).sum(0) for w in (net.theta_MP, net.xi_MP))
    return power_K / (power_K.sum() or 1)


def drop_frequency(net: Network, k: int) -> Network:
    """Frequency k (0 for none) taken out of both layers of every neuron."""
    return _keep(net, np.arange(1, (net.theta_MP.shape[1] - 1) // 2 + 1) != k)


def keep_top(net: Network, count: int) -> Network:
    """The `count` frequencies with the most power kept, all others taken out."""
    rank_K = np.argsort(np.argsort(-power(net), kind="stable"))
    return _keep(net, rank_K < count)


def _turn(net: Network, phi, psi) -> Network:
    """phi and psi [M] or scalars added to the phases of every neuron, whole waves turned."""
    k_M = fourier.amplitudes(fourier.dft(net.theta_MP)).argmax(1) + 1
    return net._replace(theta_MP=rotate(net.theta_MP, k_M, phi), xi_MP=rotate(net.xi_MP, k_M, psi))


def rotate_together(net: Network, delta: float) -> Network:
    """phi + delta and psi + 2 delta in every neuron: every misalignment D stays."""
    return _turn(net, delta, 2 * delta)


def rotate_output(net: Network, delta: float) -> Network:
    """psi + delta in every neuron: every misalignment D moves by -delta."""
    return _turn(net, 0.0, delta)


def shuffle_pairs(net: Network, seed: int = 0) -> Network:
    """Each neuron takes (phi, psi) of another one: D is passed around with them."""
    neuron = measures.neurons(net.theta_MP, net.xi_MP)
    to = np.random.default_rng(seed).permutation(len(net.xi_MP))
    phi, psi = neuron["phi_M"], neuron["psi_M"]
    return _turn(net, phi[to] - phi, psi[to] - psi)


def shuffle_output(net: Network, seed: int = 0) -> Network:
    """Each neuron takes psi of another one, and keeps its own phi: alignment is lost."""
    psi = measures.neurons(net.theta_MP, net.xi_MP)["psi_M"]
    return _turn(net, 0.0, psi[np.random.default_rng(seed).permutation(len(psi))] - psi)


def equalise(net: Network, _=None) -> Network:
    """Each neuron scaled so that alpha, and beta, of its frequency are the mean over all neurons."""
    neuron = measures.neurons(net.theta_MP, net.xi_MP)

    def same(w_MP, magnitude_M):
        alive = magnitude_M > 1e-9
        scale_M = np.where(alive, magnitude_M[alive].mean() / np.where(alive, magnitude_M, 1), 0) if alive.any() else 0
        return w_MP * np.broadcast_to(scale_M, len(w_MP))[:, None]

    return net._replace(theta_MP=same(net.theta_MP, neuron["alpha_M"]), xi_MP=same(net.xi_MP, neuron["beta_M"]))


def swap(net: Network, activation: str) -> Network:
    return net._replace(activation=activation)


def _prune(net: Network, share: float, sign: int) -> Network:
    size_M = np.linalg.norm(net.theta_MP, axis=1) * np.linalg.norm(net.xi_MP, axis=1)
    kept = np.ones((len(size_M), 1))
    kept[np.argsort(sign * size_M, kind="stable")[: round(share * len(size_M))]] = 0
    return net._replace(theta_MP=net.theta_MP * kept, xi_MP=net.xi_MP * kept)


def prune_smallest(net: Network, share: float) -> Network:
    """That share of the neurons silenced, least |theta| |xi| first."""
    return _prune(net, share, 1)


def prune_largest(net: Network, share: float) -> Network:
    """That share of the neurons silenced, greatest |theta| |xi| first."""
    return _prune(net, share, -1)


# name -> (operation, how a line of the list of operations reads)
OPERATIONS: dict[str, tuple[Callable[..., Network], str]] = {
    "drop a frequency": (drop_frequency, "drop frequency {}"),
    "keep the strongest frequencies": (keep_top, "keep the {} strongest frequencies"),
    "rotate φ by δ and ψ by 2δ": (rotate_together, "rotate φ by {:.2f} rad and ψ by twice that"),
    "rotate ψ alone": (rotate_output, "rotate ψ by {:.2f} rad"),
    "shuffle (φ, ψ) among neurons": (shuffle_pairs, "shuffle (φ, ψ) among neurons, seed {}"),
    "shuffle ψ alone": (shuffle_output, "shuffle ψ among neurons, seed {}"),
    "equalise magnitudes": (equalise, "equalise magnitudes"),
    "swap the activation": (swap, "swap the activation for {}"),
    "prune the smallest neurons": (prune_smallest, "prune the smallest {:.0%} of the neurons"),
    "prune the largest neurons": (prune_largest, "prune the largest {:.0%} of the neurons"),
}


def describe(operation: tuple) -> str:
    """An operation in words."""
    name, value = operation
    return OPERATIONS[name][1].format(ACTIVATIONS[value].label if OPERATIONS[name][0] is swap else value)


def operate(net: Network, operations) -> Network:
    """The network after these (name, value) of OPERATIONS, in order."""
    for name, value in operations:
        net = OPERATIONS[name][0](net, value)
    return net


def votes(net: Network, x: int, y: int) -> np.ndarray:
    """Logits of one pair split by the dominant frequency of the neurons, [K, P]; they sum to f(x, y)."""
    frequency_M = fourier.amplitudes(fourier.dft(net.theta_MP)).argmax(1)
    hidden_M = (
        ACTIVATIONS[net.activation](torch.as_tensor(net.theta_MP[:, x] + net.theta_MP[:, y])).numpy().astype(float)
    )
    table_KP = np.zeros(((net.theta_MP.shape[1] - 1) // 2, net.theta_MP.shape[1]))
    for k in np.unique(frequency_M):
        mine = frequency_M == k
        table_KP[k] = hidden_M[mine] @ net.xi_MP[mine]
    return table_KP


VOTE_TEX = {
    "quad": r"f^{(k)}_j = a N \cos^2\!\left(\tfrac{w_k (x - y)}{2}\right)\cos\left(w_k (x + y - j)\right)",
    "relu": r"f^{(k)}_j \propto \left|\cos\tfrac{w_k (x - y)}{2}\right| \cos\left(w_k (x + y - j)\right)",
}


def ideal_strength(p: int, x: int, y: int, activation: str = "quad") -> np.ndarray:
    """How loud each frequency votes on this pair where neurons are pure cosines, [K]: cos^2(w_k (x - y) / 2) for x^2,
    in units of a N, and pi / 4 |cos(w_k (x - y) / 2)|, of the same mean over pairs, for ReLU.

    The sum of these votes over k is `ideal.pure_vote`.  arXiv:2602.16849, sec. 4; ReLU derived for this project.
    """
    wave_K = np.cos(np.pi * np.arange(1, (p - 1) // 2 + 1) * (x - y) / p)
    return np.pi / 4 * np.abs(wave_K) if activation == "relu" else wave_K**2


def strength(votes_KP: np.ndarray, x: int, y: int) -> np.ndarray:
    """The part of each frequency's vote that is cos(w_k (x + y - j)), [K], in logits."""
    K, p = votes_KP.shape
    angle_KP = 2 * np.pi * (np.arange(1, K + 1)[:, None] * (x + y - np.arange(p)) % p) / p
    return 2 / p * (votes_KP * np.cos(angle_KP)).sum(1)
