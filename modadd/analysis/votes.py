"""How well the flawed indicator fits what a network votes.  arXiv:2602.16849, sec. 4."""

from typing import NamedTuple

import numpy as np

from .. import data
from ..frames.schema import Frame
from ..maths import ideal
from ..records.record import Record
from ..runs import Run
from . import surgery

AT_ONCE = 10**9  # multiplications: about a tenth of a second
PHASES = 9  # of each frequency of the ideal network: every sum that should cancel does


class Moment(NamedTuple):
    """What can be asked at a step: the frame with the votes for x = 0 and its step; the network of the nearest frame
    with weights and its step, or None and the step of the frame."""

    run: Run
    frame: Frame
    step: int
    net: surgery.Network | None
    at: int

    def row(self, x: int) -> np.ndarray:
        """The logits of all pairs (x, y), [P, P]; x must be 0 without weights."""
        P = self.run.p
        return self.frame["logits0"] if x == 0 else surgery.logits(self.net, np.full(P, x), np.arange(P))

    def pair(self, x: int, y: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The logits of one pair, [P], and by frequency, [K, P], which is None without weights; x must then be 0."""
        votes_KP = surgery.votes(self.net, x, y) if self.net else None
        return (self.frame["logits0"][y], None) if votes_KP is None else (votes_KP.sum(0), votes_KP)

    def fit_zero(self) -> dict[str, float | None]:
        """The peaks fitted to the pairs with x = 0."""
        return ideal.fit_zero(self.frame["logits0"]) | {"least": None}

    def fit_all(self) -> dict[str, float | None] | None:
        """What was fitted to all ordered pairs when the frame was taken; None where it does not hold it."""
        kept = ideal.kept_peaks(self.frame)
        least = float(self.frame["probability"].min()) if "probability" in self.frame else None
        share = float(self.frame["margin_share"]) if "margin_share" in self.frame else None
        return kept and {**kept, "least": least, "share": share}


def moment(record: Record, step: int) -> Moment:
    """What can be asked of a record with votes at this step."""
    (seen, frame), held = record.at(step, "logits0", "nearest"), record.at(step, "theta", "nearest")
    net, at = (surgery.network(held.frame, record.run), held.step) if held else (None, seen)
    return Moment(record.run, frame, seen, net, at)


def fit(votes_NP, p: int, x, y, weight=None) -> dict[str, float | None]:
    """The peaks fitted to the logits of these pairs, as `ideal.fit_peaks` does, and `least`, the probability of the
    least certain right answer."""
    votes_NP = np.asarray(votes_NP, float)
    lead_NP = votes_NP - votes_NP[np.arange(len(votes_NP)), (x + y) % p][:, None]
    found = ideal.fit_peaks(votes_NP, p, x, y, weight)
    return found | {"least": float(1 / np.exp(lead_NP).sum(1).max())}


def stride(M: int, p: int) -> int:
    """One pair in how many is asked of a network of M neurons, so that the answer comes at once: 1 up to p = 71."""
    return -(-(M * p * p * (p + 1) // 2) // AT_ONCE)


def fit_network(net: surgery.Network) -> dict[str, float | None]:
    """The same for all ordered pairs, or those of one unordered pair in `stride`, asked of a network."""
    M, p = net.theta_MP.shape
    x_N, y_N = (residue[:: stride(M, p)] for residue in data.pairs(p))
    return fit(surgery.logits(net, x_N, y_N), p, x_N, y_N, np.where(x_N == y_N, 1, 2))


PROJECTIONS = {"pure cosines: k alone": (1,), "input layer with 3k too": (1, 3)}


def projections(net: surgery.Network, run: Run) -> dict[str, dict[str, float | None]]:
    """`fit_network` of the network with only some waves of each neuron, and as trained; each with `loss`, the mean
    over all ordered pairs, and for x^2 `share`, its margin over the largest one."""
    kept = {name: surgery.project(net, orders) for name, orders in PROJECTIONS.items()} | {"as trained": net}
    table = {}
    for name, part in kept.items():
        fit = fit_network(part)
        share = ideal.margin_share(fit["margin"], *part[:2]) if part.activation == "quad" else None
        table[name] = fit | {"loss": surgery.outcome(part, run).loss["all"], "share": share}
    return table


def fit_ideal(p: int, activation: str) -> dict[str, float | None]:
    """The same for the network of the theory with any activation."""
    return fit_network(surgery.Network(*ideal.ideal_network(p, PHASES), activation))


def bound(p: int, found: dict) -> float | None:
    """The theory's lower bound on P(correct), with a N from the fitted peak (a N p / 4 in theory)."""
    return found["correct"] and float(ideal.probability_bound(p, 4 * found["correct"] / p, 1))
