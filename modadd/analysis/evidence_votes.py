"""What the claims on the vote and on surgery are judged by."""

from collections.abc import Callable

import numpy as np

from .. import data
from ..activations import ACTIVATIONS
from ..maths import fourier, ideal, theory
from ..records.record import Record
from ..runs import Run
from . import lottery
from .evidence import Evidence, Measure, Measured, share

NEURON_BLOCK, PAIR_SAMPLE = 4096, 1500
EVEN = tuple(ACTIVATIONS[name] for name in ("abs", "quad", "x4"))
ODD = tuple(ACTIVATIONS[name] for name in ("identity", "cube"))


def peaks(record: Record) -> tuple[dict, str] | str:
    """(what `ideal.fit_peaks` finds in the last vote, the pairs that it was fitted to)."""
    frame, run = record.frames[-1], record.run
    if kept := ideal.kept_peaks(frame):
        return kept, "all ordered pairs"
    if (weights := _weights(record)) is not None:
        x, y, _ = pairs(run)
        logits = answers(*weights, run, ACTIVATIONS[run.activation])[0]
        every = "all ordered pairs" if len(x) == run.p * (run.p + 1) // 2 else f"{len(x):,} pairs"
        return ideal.fit_peaks(logits, run.p, x, y, np.where(x == y, 1, 2)), every
    if "logits0" in frame:
        return ideal.fit_zero(frame["logits0"]), "the pairs with x = 0"
    return "the last frame holds no logits"


def vote(name: str) -> Measure:
    """A number of that fit."""

    def measure(record: Record) -> Evidence:
        if isinstance(found := peaks(record), str):
            return found
        fit, of = found
        return "the fit is empty" if fit[name] is None else Measured(float(fit[name]), of=of)

    return measure


def silencing(record: Record) -> Evidence:
    """The peak at 3x - y over that of the right answer, plus the third harmonic that should make it: 0 in theory."""
    if isinstance(found := peaks(record), str):
        return found
    fit, of = found
    leak = lottery.leaks(record.frames[-1], record.run).get(("input", 3), np.nan)
    if fit["third"] is None or not fit["correct"] or np.isnan(leak):
        return "at this p the peak at 3x − y is one of the others"
    third = fit["third"] / fit["correct"]
    return Measured(third + leak, of=f"{third:.3f} and {leak:.3f}, {of}")


def margin(record: Record) -> Evidence:
    """The margin over the largest that weights of this norm have; x^2 only."""
    frame = record.frames[-1]
    if "margin_share" in frame:
        return Measured(float(frame["margin_share"]), of="all pairs")
    if (weights := _weights(record)) is None or "flawed_margin" not in frame:
        return "not recorded"
    return Measured(ideal.margin_share(float(frame["flawed_margin"]), *weights), of="all pairs")


def _weights(record: Record) -> tuple[np.ndarray, np.ndarray] | None:
    """(theta, xi) of the last frame, or None if it does not hold them."""
    frame = record.frames[-1]
    return (frame["theta"], frame["xi"]) if "theta" in frame else None


def pairs(run: Run):
    """x and y of up to PAIR_SAMPLE unordered pairs, the same ones for every claim, and their sums."""
    x, y = data.pairs(run.p)
    if len(x) > PAIR_SAMPLE:
        chosen = np.random.default_rng(0).permutation(len(x))[:PAIR_SAMPLE]
        x, y = x[chosen], y[chosen]
    return x, y, (x + y) % run.p


def answers(theta, xi, run: Run, act: Callable) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n, P] and labels over these pairs, by blocks of neurons so that little memory is used."""
    x, y, label = pairs(run)
    logits = np.zeros((len(x), run.p), np.float32)
    for m in range(0, len(theta), NEURON_BLOCK):
        block = theta[m : m + NEURON_BLOCK].T
        logits += act(block[x] + block[y]) @ xi[m : m + NEURON_BLOCK]
    return logits, label


def skill_with(acts: tuple[Callable, ...], pick: Callable) -> Measure:
    """Accuracy over chance, 0 for 1/p and 1 for every answer right, with each of these activations in place of the
    trained one; `pick` is min or max."""

    def measure(record: Record) -> Evidence:
        if (weights := _weights(record)) is None:
            return "the last frame holds no weights"
        p = record.run.p
        told = (answers(*weights, record.run, act) for act in acts)
        rates = [np.mean(logits.argmax(-1) == label) for logits, label in told]
        n = len(pairs(record.run)[0])
        rate = share(float(pick(rates)) * n, n, "")
        value, low, high = ((part - 1 / p) / (1 - 1 / p) for part in rate[:3])
        return Measured(value, low, high, f"{rate.value:.1%} right, chance {1 / p:.1%}, {n:,} pairs")

    return measure


def silence_costs(record: Record) -> Evidence:
    """Loss with the neurons of every second frequency silent over the loss with all of them."""
    if (weights := _weights(record)) is None:
        return "the last frame holds no weights"
    if record.run.activation not in theory.FLOWS or record.run.K < 2:
        return "it is measured for ReLU and x², with two frequencies or more"
    keep = fourier.amplitudes(fourier.dft(weights[0])).argmax(-1) % 2 == 0
    act = ACTIVATIONS[record.run.activation]
    theta_MP, xi_MP = weights
    few, all_ = answers(theta_MP[keep], xi_MP[keep], record.run, act), answers(theta_MP, xi_MP, record.run, act)
    return Measured(ideal.cross_entropy(*few) / max(ideal.cross_entropy(*all_), theory.TINY))
