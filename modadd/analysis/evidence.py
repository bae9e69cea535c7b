"""What the claims are judged by: numbers of a record with their intervals, or a sentence why there is none.

A number over the whole layer or over all pairs comes from the frame.  Where an older frame lacks it, a sample that the
record keeps stands in, with its interval and under its own name; neurons begin alike, so that the first are a fair
sample.  Intervals bound 95 % and speak of neurons or pairs drawn anew, not of other seeds.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import data
from ..maths import fourier, measures
from ..records.record import Record
from ..runs import Run
from . import lottery


class Measured(NamedTuple):
    """A number, the interval that bounds it with 95 % where it is an estimate, and what it was measured on."""

    value: float
    low: float | None = None
    high: float | None = None
    of: str = ""

    def around(self, value: float) -> "Measured":
        """The same with this number, and its interval wide enough to hold it."""
        low, high = (end if end is None else pick(end, value) for pick, end in ((min, self.low), (max, self.high)))
        return self._replace(value=value, low=low, high=high)


Evidence = Measured | str
Measure = Callable[[Record], Evidence]


def share(hits: float, n: int, of: str) -> Measured:
    low, high = lottery.interval(hits, n)
    return Measured(float(hits / n), float(low), float(high), of)


def _mean(value_n, M: int, of: str, weight_n=None, exact: float | None = None) -> Measured:
    """A weighted mean; with `exact`, that mean over all M neurons, of which the values are a sample."""
    value_n, weight_n = np.asarray(value_n, float), np.ones(len(value_n)) if weight_n is None else weight_n
    mean = float(np.average(value_n, weights=weight_n))
    error = np.sqrt(np.sum((weight_n * (value_n - mean)) ** 2)) / np.sum(weight_n)
    if exact is not None:
        mean, error = exact, error * np.sqrt(len(value_n) / M)
    return Measured(mean, mean - lottery.Z95 * float(error), mean + lottery.Z95 * float(error), of)


def _neurons(record: Record, name: str) -> tuple[str, str]:
    """How the whole layer, and the sample that this array of the last frame holds, are called."""
    M, n = record.run.d_mlp, len(record.frames[-1][name])
    return f"all {M:,} neurons", f"all {M:,} neurons" if n == M else f"a sample of {n:,} of {M:,} neurons"


def loss_left(record: Record) -> Evidence:
    """Final training loss over that of a blind guess, ln p."""
    loss = record.summary["train_loss"]
    return "the loss is not finite" if loss is None else Measured(loss / np.log(record.run.p))


def accuracy(name: str) -> Measure:
    """The final accuracy on a group of pairs; mirror images give one answer, so that each unordered pair is one."""

    def measure(record: Record) -> Evidence:
        value = record.summary[f"{name}_accuracy"]
        if value is None:
            return f"there are no {name.replace('_', ' ')} pairs"
        return of_pairs(record.run, name, value)

    return measure


def of_pairs(run: Run, name: str, value: float) -> Measured:
    n = int((data.group_weights(run)[:, data.GROUPS.index(name)] > 0).sum())
    told = share(value * n, n, f"{n:,} unordered pairs")
    return told._replace(low=None, high=None) if name == "train" else told


def sparsity(record: Record) -> Evidence:
    """Mean IPR of both layers."""
    frame = record.frames[-1]
    exact = (float(frame["ipr_in"]) + float(frame["ipr_out"])) / 2
    if "theta_hat" not in frame:
        return Measured(exact, of=f"all {record.run.d_mlp:,} neurons")
    parts = (fourier.ipr(fourier.amplitudes(frame[name].astype(float))) for name in ("theta_hat", "xi_hat"))
    return _mean(sum(parts) / 2, record.run.d_mlp, _neurons(record, "theta_hat")[0], exact=exact)


def same_frequency(record: Record) -> Evidence:
    """Share of neurons whose largest frequency is the same in both layers."""
    frame, M = record.frames[-1], record.run.d_mlp
    if "same_frequency" in frame:
        return share(float(frame["same_frequency"]) * M, M, f"all {M:,} neurons")
    if "xi_hat" not in frame:
        return "not recorded"
    first, second = (fourier.amplitudes(frame[name]).argmax(-1) for name in ("theta_hat", "xi_hat"))
    return share((first == second).sum(), len(first), _neurons(record, "theta_hat")[1])


def misalignment(frame) -> np.ndarray:
    """|D| of the neurons in the table of a frame, radians."""
    return np.abs(fourier.wrap(2 * frame["phi"].astype(float) - frame["psi"].astype(float)))


def aligned(record: Record) -> Evidence:
    """Share of neurons within measures.ALIGNED of psi = 2 phi."""
    frame, M = record.frames[-1], record.run.d_mlp
    if "aligned" in frame:
        return share(float(frame["aligned"]) * M, M, f"all {M:,} neurons")
    there = misalignment(frame) < measures.ALIGNED
    return share(there.sum(), len(there), _neurons(record, "phi")[1])


def vote_aligned(record: Record) -> Evidence:
    """Mean cos D in which a neuron counts by the size of its vote."""
    frame, run = record.frames[-1], record.run
    alpha, beta = frame["alpha"].astype(float), frame["beta"].astype(float)
    vote = (alpha**2 if run.activation == "quad" else alpha) * beta
    if not vote.sum():
        return "no neuron votes"
    exact = float(frame["vote_cos_D"]) if "vote_cos_D" in frame else None
    whole, sample = _neurons(record, "phi")
    return _mean(np.cos(misalignment(frame)), run.d_mlp, sample if exact is None else whole, vote, exact)


def frequency_balance(record: Record) -> Evidence:
    """Neurons of the rarest frequency over the even share."""
    count_K = record.frames[-1]["counts_K"]
    return Measured(float(count_K.min() / max(count_K.mean(), 1e-9)), of=f"all {record.run.d_mlp:,} neurons")


def noise_orders(activation: str) -> list[int]:
    """The orders n of exp(i n phi) that the noise of a vote contains: even ones for x^2, 3 too for ReLU."""
    return [2, 4] if activation == "quad" else [2, 3, 4]


def phase_evenness(record: Record) -> Evidence:
    """N |mean exp(i n phi)|^2, mean over frequencies and over the orders of the noise."""
    frame, run = record.frames[-1], record.run
    if "coherence" not in frame:
        return "not recorded"
    at = [measures.ORDERS.index(n) for n in noise_orders(run.activation)]
    value, error = (part[at] for part in measures.evenness(frame["coherence"], frame["counts_K"]))
    if np.isnan(error).any():
        return "a single frequency has no spread"
    half = lottery.Z95 * float(np.sqrt((error**2).sum())) / len(at)
    mean = float(value.mean())
    return Measured(mean, mean - half, mean + half, f"orders {', '.join(map(str, noise_orders(run.activation)))}")


def magnitude_spread(record: Record) -> Evidence:
    """Coefficient of variation of alpha over all neurons."""
    frame, M = record.frames[-1], record.run.d_mlp
    if "cv_alpha" not in frame:
        return "not recorded"
    cv = float(frame["cv_alpha"])
    half = lottery.Z95 * cv * float(np.sqrt((0.5 + cv**2) / M))  # of a normal variable
    return Measured(cv, cv - half, cv + half, f"all {M:,} neurons")
