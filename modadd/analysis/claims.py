"""Every claim of the paper as data: what it says, what to expect, how it is measured, and when it holds.

A measure reads a Record and gives a number, or a sentence why it cannot.  A verdict is one of
VERDICTS; "in part" lies between the bound at which a claim holds and the one at which it fails.
Source: arXiv:2602.16849; the bounds are this project's, stated beside each claim.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import data
from ..maths import fourier, ideal, measures, theory
from ..records.record import Record
from ..runs import Run
from . import lottery

VERDICTS = ("holds", "in part", "fails", "cannot be measured")
NEURON_BLOCK, PAIR_SAMPLE = 4096, 1500


@dataclass(frozen=True)
class Claim:
    """One row.  `holds` and `fails` bound the measured number, in either order, or its distance from `target`
    where there is one; `says` words it."""

    name: str
    statement: str
    expected: str
    measure: Callable[[Record], float | str]
    holds: float
    fails: float
    says: str
    page: str
    applies: Callable[[Run], bool] = lambda run: True
    target: float | None = None

    def verdict(self, value: float | str) -> str:
        """The verdict on a measured number, or on the sentence that stands for it."""
        if isinstance(value, str):
            return VERDICTS[3]
        if self.target is not None:
            value = abs(value - self.target)
        sign = 1 if self.holds >= self.fails else -1
        if sign * value >= sign * self.holds:
            return VERDICTS[0]
        return VERDICTS[1] if sign * value > sign * self.fails else VERDICTS[2]


def judge(record: Record) -> list[dict]:
    """Every claim that speaks of this run: name, statement, expected, value, measured, verdict, page."""
    rows = []
    for claim in CLAIMS:
        if not claim.applies(record.run):
            continue
        value = claim.measure(record) if record.frames else "no frame has been taken yet"
        if isinstance(value, float) and np.isnan(value):
            value = "the numbers that it needs are not defined here"
        text = value if isinstance(value, str) else "not reached" if np.isinf(value) else claim.says.format(value)
        rows.append({
            "name": claim.name, "statement": claim.statement, "expected": claim.expected,
            "value": None if isinstance(value, str) else float(value), "measured": text,
            "verdict": claim.verdict(value), "page": claim.page,
        })  # fmt: skip
    return rows


def energy_share(record: Record) -> float | str:
    """Median over neurons of the share of the input layer's energy that lies at its largest frequency."""
    frame = record.frames[-1]
    if "theta_hat" not in frame:
        return "the record holds no spectra"
    power = fourier.amplitudes(frame["theta_hat"].astype(float)) ** 2
    return float(np.median(power.max(-1) / np.maximum(power.sum(-1), theory.TINY**2)))


def same_frequency(record: Record) -> float | str:
    """Share of neurons whose largest frequency is the same in both layers."""
    frame = record.frames[-1]
    if "xi_hat" not in frame:
        return "the record holds no spectra"
    first, second = (fourier.amplitudes(frame[name]).argmax(-1) for name in ("theta_hat", "xi_hat"))
    return float(np.mean(first == second))


def misalignment(frame) -> np.ndarray:
    return np.abs(fourier.wrap(2 * frame["phi"].astype(float) - frame["psi"].astype(float)))


def aligned(record: Record) -> float:
    return float(np.mean(misalignment(record.frames[-1]) < 0.1))


def phase_evenness(record: Record) -> float | str:
    """|mean exp(i n phi)| over what random phases give, median over frequencies and n = 1 .. 4."""
    frame, K = record.frames[-1], record.run.K
    count_K = measures.frequency_counts(frame["frequency"], K)
    ratio = measures.coherence(frame["frequency"], frame["phi"].astype(float), K) * np.sqrt(count_K) / 0.886
    return float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else "no frequency has a neuron"


def magnitude_spread(record: Record) -> float | str:
    """Coefficient of variation of alpha inside a frequency, median over frequencies with 3 neurons or more."""
    frame = record.frames[-1]
    groups = [frame["alpha"][frame["frequency"] == k] for k in np.unique(frame["frequency"])]
    spread = [g.std() / g.mean() for g in groups if len(g) > 2]
    return float(np.median(spread)) if spread else "no frequency has three neurons"


def frequency_balance(record: Record) -> float:
    """Neurons of the rarest frequency over the even share."""
    count_K = record.frames[-1]["counts_K"]
    return float(count_K.min() / max(count_K.mean(), 1e-9))


def _vote(name: str) -> Callable[[Record], float | str]:
    """A number of the fit of the peaks: as the last frame holds it for all pairs; else to sampled pairs where weights
    are held, else to the pairs (0, y)."""

    def measure(record: Record) -> float | str:
        run, kept = record.run, ideal.kept_peaks(record.frames[-1])
        if kept is None:
            if (weights := _weights(record)) is not None and run.activation in TRAINED:
                x, y, _ = _pairs(run)
                kept = ideal.fit_peaks(_answers(*weights, run, TRAINED[run.activation])[0], run.p, x, y)
            elif "logits0" in record.frames[-1]:
                p = run.p
                kept = ideal.fit_peaks(record.frames[-1]["logits0"], p, np.zeros(p, int), np.arange(p))
            else:
                return "the last frame holds no logits"
        return "the logits are flat" if kept[name] is None else float(kept[name])

    return measure


def _weights(record: Record):
    """(theta, xi) of the last frame, or None if it does not hold them."""
    frame = record.frames[-1]
    return (frame["theta"], frame["xi"]) if "theta" in frame else None


def _pairs(run: Run):
    """x and y of up to PAIR_SAMPLE unordered pairs, the same ones for every claim, and their sums."""
    x, y = data.pairs(run.p)
    if len(x) > PAIR_SAMPLE:
        chosen = np.random.default_rng(0).permutation(len(x))[:PAIR_SAMPLE]
        x, y = x[chosen], y[chosen]
    return x, y, (x + y) % run.p


def _answers(theta, xi, run: Run, act: Callable) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n, P] and labels over the sampled pairs, by blocks of neurons so that little memory is used."""
    x, y, label = _pairs(run)
    logits = np.zeros((len(x), run.p), np.float32)
    for m in range(0, len(theta), NEURON_BLOCK):
        block = theta[m : m + NEURON_BLOCK].T
        logits += act(block[x] + block[y]) @ xi[m : m + NEURON_BLOCK]
    return logits, label


def _accuracy_with(acts: tuple[Callable, ...], pick: Callable) -> Callable[[Record], float | str]:
    """Accuracy with each of these activations put in place of the trained one; `pick` is min or max."""

    def measure(record: Record) -> float | str:
        if (weights := _weights(record)) is None:
            return "the last frame holds no weights"
        answers = (_answers(*weights, record.run, act) for act in acts)
        rates = [float(np.mean(logits.argmax(-1) == label)) for logits, label in answers]
        return pick(rates)

    return measure


TRAINED = {"relu": lambda h: np.maximum(h, 0), "quad": np.square}
EVEN = (np.abs, np.square, lambda h: h**4)
ODD = (lambda h: h, lambda h: h**3)


def silence_costs(record: Record) -> float | str:
    """Loss with the neurons of every second frequency silent over the loss with all of them."""
    if (weights := _weights(record)) is None:
        return "the last frame holds no weights"
    if record.run.activation not in TRAINED or record.run.K < 2:
        return "it is measured for ReLU and x², with two frequencies or more"
    keep = fourier.amplitudes(fourier.dft(weights[0])).argmax(-1) % 2 == 0
    act = TRAINED[record.run.activation]
    few, all_ = (_answers(*part, record.run, act) for part in ([w[keep] for w in weights], weights))
    return ideal.cross_entropy(*few) / max(ideal.cross_entropy(*all_), theory.TINY)


def _hits(rule: str) -> Callable[[Record], float | str]:
    def measure(record: Record) -> float | str:
        if (start := lottery.start(record)) is None:
            return "the record does not hold step 0"
        few = {name: table[:512] for name, table in start.items()}
        bets = lottery.bets(few, record.run.p, record.run.activation, rules=(rule,))
        if rule not in bets:
            return f"no flow is known for the activation {record.run.activation}"
        return float(lottery.score(bets[rule], record.frames[-1]["frequency"])["rate"])

    return measure


def _flow_error(pick: Callable) -> Callable[[Record], float | str]:
    def measure(record: Record) -> float | str:
        if why := lottery.no_flow(record.run):
            return why
        path = lottery.paths(record)
        return float(pick(lottery.flow_errors(path)["beta"])) if "z0" in path else "the record does not hold step 0"

    return measure


def lowest_ipr(record: Record) -> float:
    return float(min(min(frame["ipr_in"], frame["ipr_out"]) for frame in record.frames))


def _leak(layer: str, n: int) -> Callable[[Record], float | str]:
    def measure(record: Record) -> float | str:
        if not {"leak_in_3", "theta_hat"} & record.frames[-1].keys():
            return "the record holds no spectra"
        return float(lottery.leakage(record)[layer, n][1][-1])

    return measure


def _last(name: str) -> Callable[[Record], float | str]:
    def measure(record: Record) -> float | str:
        value = record.summary[name]
        return f"there is no {name.replace('_', ' ')} here" if value is None else float(value)

    return measure


def loss_left(record: Record) -> float | str:
    """Final training loss over that of a blind guess, ln p."""
    loss = record.summary["train_loss"]
    return "the loss is not finite" if loss is None else loss / np.log(record.run.p)


def _stage(which: int) -> Callable[[Record], float]:
    def measure(record: Record) -> float:
        end = measures.stages(record)[which]
        return np.inf if end is None else float(end)

    return measure


def memorising_gap(record: Record) -> float | str:
    """Held-out accuracy at the end of memorisation."""
    end = measures.stages(record)[0]
    if end is None:
        return "memorisation has not ended"
    value = record.history["held_out_accuracy"][np.searchsorted(record.steps, end)]
    return float(value) if np.isfinite(value) else "no pair is held out in both orders"


def rare_later(record: Record) -> float | str:
    """Step at which half of the rare pairs are right over that of the common ones."""
    half = [measures.first_at_least(record.steps, record.history[f"{g}_accuracy"], 0.5) for g in ("rare", "common")]
    return "half of them was never right" if None in half else half[0] / max(half[1], 1)


def norm_falls(record: Record) -> float:
    """Final parameter norm over its largest."""
    norm = record.history["norm"]
    return float(norm[-1] / np.nanmax(norm))


def _random_init(run: Run) -> bool:
    return run.init == "random"


def _single(activation: str) -> Callable[[Run], bool]:
    return lambda run: run.init == "single-freq" and run.activation == activation


def _held_back(run: Run) -> bool:
    return run.frac_train < 1


PHASES, WEIGHTS, LOGITS, SURGERY, GROKKING = (
    f"pages/{name}.py" for name in ("Phases", "Weights", "Logits", "Surgery", "Grokking")
)
LOTTERY, FLOW = "pages/Lottery.py", "pages/Gradient_flow.py"

CLAIMS: tuple[Claim, ...] = (
    Claim("learns", "The network learns every sum it is shown", "train accuracy 100 %",
          _last("train_accuracy"), 1.0, 0.95, "train accuracy {:.1%}", "pages/Overview.py"),
    Claim("certain", "A right answer is also a sure one", "the loss falls far below ln p (to a tenth)",
          loss_left, 0.1, 0.9, "train loss is {:.3g} of ln p", "pages/Overview.py"),
    Claim("one-cosine", "Each neuron is one cosine", "one frequency holds 95 % of a neuron's energy; fails below half",
          energy_share, 0.95, 0.5, "{:.1%} of the energy of the median neuron", WEIGHTS),
    Claim("both-layers", "Both layers of a neuron hold the same frequency", "all neurons (at least 99 %)",
          same_frequency, 0.99, 0.9, "{:.1%} of the neurons", WEIGHTS),
    Claim("phases-locked", "The output phase is twice the input phase",
          "90 % of the neurons within 0.1 rad; fails below half",
          aligned, 0.9, 0.5, "{:.1%} of the neurons within 0.1 rad", PHASES),
    Claim("all-frequencies", "Every frequency is used, about equally", "the rarest has at least 0.7 of an even share",
          frequency_balance, 0.7, 0.0, "the rarest frequency has {:.2f} of an even share", PHASES, _random_init),
    Claim("phases-even", "Inside a frequency the phases spread evenly",
          "|mean exp(inφ)| at most half of what random phases give; fails above 1.5 times",
          phase_evenness, 0.5, 1.5, "{:.2f} of what random phases give (1 is no better than random)", PHASES),
    Claim("magnitudes-equal", "Inside a frequency the magnitudes are nearly identical",
          "coefficient of variation at most 0.1; fails above 0.3",
          magnitude_spread, 0.1, 0.3, "coefficient of variation {:.3f}", PHASES),
    Claim("vote-shape", "The vote is a flawed indicator: right answer, two ghosts, flat elsewhere",
          "it explains 90 % of the variance of the logits; fails below half",
          _vote("r2"), 0.9, 0.5, "R² = {:.3f}", LOGITS),
    Claim("vote-ratio", "The right answer beats a ghost two to one",
          "ratio of the fitted peaks 2, to 0.2; fails from 1 off",
          _vote("ratio"), 0.2, 1.0, "ratio {:.2f}", LOGITS, target=2.0),
    Claim("swap-even", "Even activations may replace ReLU after training", "|x|, x², x⁴ all keep 95 %",
          _accuracy_with(EVEN, min), 0.95, 0.5, "the worst of them gets {:.1%} right", SURGERY,
          lambda run: run.activation == "relu"),
    Claim("swap-odd", "Odd activations destroy the answer", "x and x³ near chance, below 10 %",
          _accuracy_with(ODD, max), 0.1, 0.5, "the best of them gets {:.1%} right", SURGERY,
          lambda run: run.activation == "relu"),
    Claim("diversity", "Many frequencies make the vote sure: fewer cost loss",
          "with every second frequency silent the loss is ten times as large; fails if it is no larger",
          silence_costs, 10.0, 1.0, "{:.4g} times the loss", SURGERY),
    Claim("lottery-phase", "The best-aligned frequency wins the lottery (proved for equal magnitudes)",
          "more than half of the neurons; fails below 20 %",
          _hits("phase"), 0.5, 0.2, "{:.1%} of the winners foretold", LOTTERY, _random_init),
    Claim("lottery-drive", "Alignment and magnitude together decide who wins", "at least 80 %; fails below 40 %",
          _hits("drive"), 0.8, 0.4, "{:.1%} of the winners foretold", LOTTERY, _random_init),
    Claim("lottery-race", "Frequencies race independently, and the race names the winner",
          "at least 85 %, with a tuned finish line; fails below half",
          _hits("race"), 0.85, 0.5, "{:.1%} of the winners foretold", LOTTERY, _random_init),
    Claim("stays-single", "Under x² a single frequency stays single", "IPR 1 in both layers at every step",
          lowest_ipr, 0.9999, 0.99, "lowest IPR {:.5f}", FLOW, _single("quad")),
    Claim("nearly-single", "Under ReLU a single frequency stays nearly single", "IPR at least 0.9 at every step",
          lowest_ipr, 0.9, 0.5, "lowest IPR {:.3f}", FLOW, _single("relu")),
    *(
        Claim(f"leak-{layer}-{n}", f"ReLU leaks into {n}k of the {layer} layer no more than 1/{square}",
              f"at most 1.25/{square}; fails above 3/{square}",
              _leak(layer, n), 1.25 / square, 3 / square, "{:.4f} of the magnitude at k", FLOW, _single("relu"))
        for layer, n, square in (("input", 3, 9), ("input", 5, 25), ("output", 2, 9), ("output", 3, 25))
    ),
    Claim("flow-quad", "The flow of four numbers is the training of every neuron (x²)",
          "β within 0.5 % for the worst neuron, at every frame",
          _flow_error(np.max), 0.005, 0.05, "worst neuron off by {:.2%}", FLOW, _single("quad")),
    Claim("flow-relu", "The flow of four numbers is the training of a typical neuron (ReLU)",
          "β within 5 % for the median neuron",
          _flow_error(np.median), 0.05, 0.2, "median neuron off by {:.2%}", FLOW, _single("relu")),
    Claim("memorises", "First it memorises: train accuracy passes 95 %", "at some step",
          _stage(0), 1e9, 1e10, "at step {:,.0f}", GROKKING, _held_back),
    Claim("blind", "While memorising it knows nothing of the pairs held out in both orders", "below 10 %",
          memorising_gap, 0.1, 0.5, "{:.1%} of them right when memorisation ends", GROKKING, _held_back),
    Claim("common-first", "Common pairs are memorised before rare ones", "rare ones take over three times as long",
          rare_later, 3.0, 1.0, "{:.1f} times as long", GROKKING, _held_back),
    Claim("generalises", "Then it generalises: test accuracy passes 95 %", "at some step",
          _stage(1), 1e9, 1e10, "at step {:,.0f}", GROKKING, _held_back),
    Claim("held-out", "In the end unseen sums are right", "held out in both orders: at least 95 %; fails below half",
          _last("held_out_accuracy"), 0.95, 0.5, "{:.1%} of them right", GROKKING, _held_back),
    Claim("cleanup", "Then weight decay cleans up: the norm falls", "to at most 0.9 of its largest",
          norm_falls, 0.9, 0.99, "final norm is {:.2f} of its largest", GROKKING, _held_back),
)  # fmt: skip
