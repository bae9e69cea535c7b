"""What the claims are judged by: numbers of a record with their intervals, or a sentence why there is none.

A number over the whole layer or over all pairs comes from the frame.  Where an older frame lacks it, a sample that the
record keeps stands in, with its interval and under its own name; neurons begin alike, so that the first are a fair
sample.  Intervals bound 95 % and speak of neurons or pairs drawn anew, not of other seeds.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import data
from ..activations import ACTIVATIONS
from ..maths import fourier, harmonics, ideal, measures, theory
from ..records.record import Record
from ..runs import Run
from . import lottery

NEURON_BLOCK, PAIR_SAMPLE = 4096, 1500
BETTORS = 512  # neurons whose race is followed
SMALL = 0.99  # of ln p: the weights count as small while the loss is above it
EVEN = tuple(ACTIVATIONS[name] for name in ("abs", "quad", "x4"))
ODD = tuple(ACTIVATIONS[name] for name in ("identity", "cube"))


class Measured(NamedTuple):
    """A number, the interval that bounds it with 95 % where it is an estimate, and what it was measured on."""

    value: float
    low: float | None = None
    high: float | None = None
    of: str = ""


Evidence = Measured | str
Measure = Callable[[Record], Evidence]


def _share(hits: float, n: int, of: str) -> Measured:
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
        return _of_pairs(record.run, name, value)

    return measure


def _of_pairs(run: Run, name: str, value: float) -> Measured:
    n = int((data.group_weights(run)[:, data.GROUPS.index(name)] > 0).sum())
    told = _share(value * n, n, f"{n:,} unordered pairs")
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
        return _share(float(frame["same_frequency"]) * M, M, f"all {M:,} neurons")
    if "xi_hat" not in frame:
        return "not recorded"
    first, second = (fourier.amplitudes(frame[name]).argmax(-1) for name in ("theta_hat", "xi_hat"))
    return _share((first == second).sum(), len(first), _neurons(record, "theta_hat")[1])


def misalignment(frame) -> np.ndarray:
    """|D| of the neurons in the table of a frame, radians."""
    return np.abs(fourier.wrap(2 * frame["phi"].astype(float) - frame["psi"].astype(float)))


def aligned(record: Record) -> Evidence:
    """Share of neurons within measures.ALIGNED of psi = 2 phi."""
    frame, M = record.frames[-1], record.run.d_mlp
    if "aligned" in frame:
        return _share(float(frame["aligned"]) * M, M, f"all {M:,} neurons")
    there = misalignment(frame) < measures.ALIGNED
    return _share(there.sum(), len(there), _neurons(record, "phi")[1])


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


def _weights(record: Record):
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
        rate = _share(float(pick(rates)) * n, n, "")
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
    few, all_ = (answers(*part, record.run, act) for part in ([w[keep] for w in weights], weights))
    return Measured(ideal.cross_entropy(*few) / max(ideal.cross_entropy(*all_), theory.TINY))


def skill_of(hits: float, n: int, K: int) -> Evidence:
    """Winners foretold over chance: 0 for 1/K, 1 for all of them."""
    if K == 1:
        return "a single frequency has no race"
    rate = _share(hits, n, "")
    value, low, high = ((part - 1 / K) / (1 - 1 / K) for part in rate[:3])
    lift = [part * K for part in rate[:3]]
    return Measured(value, low, high, f"{rate.value:.1%} of {n:,} neurons, {lift[0]:.1f} times chance "
                    f"[{lift[1]:.1f}, {lift[2]:.1f}]")  # fmt: skip


def bets(rule: str) -> Measure:
    """How well a rule foretells the winners."""

    def measure(record: Record) -> Evidence:
        if (start := lottery.start(record)) is None:
            return "the record does not hold step 0"
        few = {name: table[:BETTORS] for name, table in start.items()}
        named = lottery.bets(few, record.run.p, record.run.activation, rules=(rule,))
        if rule not in named:
            return f"no flow is known for the activation {record.run.activation}"
        told = lottery.score(named[rule], record.frames[-1]["frequency"])
        return skill_of(float(told["hits"]), int(told["n"]), record.run.K)

    return measure


def phase_rule(record: Record) -> Evidence:
    """How well the smallest |D| at step 0 foretells the winners at the last frame whose loss is near ln p."""
    if (start := lottery.start(record)) is None:
        return "the record does not hold step 0"
    bet_M = lottery.bets(start, record.run.p, record.run.activation, rules=("phase",))["phase"]
    step_S, winner_SM = record.series("frequency")
    told = lottery.score(bet_M, winner_SM)
    at = max(0, int(np.searchsorted(step_S, _small_until(record), side="right")) - 1)
    found = skill_of(float(told["hits"][at]), int(told["n"]), record.run.K)
    if isinstance(found, str):
        return found
    return found._replace(of=f"{found.of}, at step {step_S[at]:,}; {told['rate'][-1]:.1%} at the end")


def _small_until(record: Record) -> int:
    """The step up to which the loss is near ln p, and the weights small."""
    left = np.flatnonzero(~(record.history["train_loss"] > SMALL * np.log(record.run.p)))
    return int(record.steps[left[0]]) if len(left) else record.step


def flow_error(pick: Callable) -> Measure:
    """The error of beta while the loss is near ln p, where the flow is the limit of training."""

    def measure(record: Record) -> Evidence:
        if why := lottery.no_flow(record.run):
            return why
        path = lottery.paths(record)
        if "z0" not in path:
            return "the record does not hold step 0"
        upto = _small_until(record)
        error_M = lottery.flow_errors(path, upto)["beta"]
        return Measured(float(pick(error_M)), of=f"{len(error_M):,} neurons to step {upto:,}")

    return measure


def lowest_ipr(upto: int | None = None, least: int = 0) -> Measure:
    """The lowest IPR of either layer at any frame up to a step, of a record that has at least so many."""

    def measure(record: Record) -> Evidence:
        if record.step < least:
            return f"the record ends at step {record.step:,}"
        seen = [f for at, f in zip(record.frame_steps, record.frames, strict=True) if upto is None or at <= upto]
        value = min(min(float(frame["ipr_in"]), float(frame["ipr_out"])) for frame in seen)
        return Measured(value, of=f"all neurons, to step {min(upto or record.step, record.step):,}")

    return measure


def leak(layer: str, r: int) -> Measure:
    """A harmonic over that of the flow's fixed point."""

    def measure(record: Record) -> Evidence:
        value = lottery.leaks(record.frames[-1], record.run).get((layer, r), np.nan)
        expected = harmonics.fixed_point(record.run.p).get((layer, r))
        if expected is None or np.isnan(value):
            return "at this p that harmonic is one of the others"
        return Measured(value / expected, of=f"{value:.3f} of the magnitude at k, {expected:.3f} in theory")

    return measure


def stage(which: int) -> Measure:
    def measure(record: Record) -> Evidence:
        end = measures.stages(record)[which]
        return Measured(np.inf if end is None else float(end))

    return measure


def memorising_gap(record: Record) -> Evidence:
    """Held-out accuracy at the end of memorisation."""
    end = measures.stages(record)[0]
    if end is None:
        return "memorisation has not ended"
    value = float(record.history["held_out_accuracy"][np.searchsorted(record.steps, end)])
    return _of_pairs(record.run, "held_out", value) if np.isfinite(value) else "no pair is held out in both orders"


def rare_later(record: Record) -> Evidence:
    """Step at which half of the rare pairs are right over that of the common ones."""
    half = [measures.first_at_least(record.steps, record.history[f"{g}_accuracy"], 0.5) for g in ("rare", "common")]
    return "half of them was never right" if None in half else Measured(half[0] / max(half[1], 1))


def norm_falls(record: Record) -> Evidence:
    """Final parameter norm over its largest."""
    norm = record.history["norm"]
    return Measured(float(norm[-1] / np.nanmax(norm)))


def due(record: Record) -> int | None:
    """The step by which the flow expects 90 % of the neurons aligned; None where no flow applies, or never."""
    if lottery.no_flow(record.run) or (start := lottery.start(record)) is None:
        return None
    n = min(BETTORS, len(start["alpha"]))
    k_M1 = record.frames[0]["frequency"][:n, None].astype(int) - 1
    z0 = [np.take_along_axis(start[name][:n], k_M1, 1)[:, 0] for name in lottery.NAMES]
    return theory.alignment_step(record.run, np.stack(z0), measures.ALIGNED)
