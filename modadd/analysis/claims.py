"""Every claim of the paper as data: what it says, what to expect, how it is measured, and when it holds.

A measure of `evidence` reads a Record and gives a number, or a sentence why it cannot.  A verdict is one of VERDICTS;
"in part" lies between the bound at which a claim holds and the one at which it fails, and "not yet" is said of a run
that has not trained far enough for the claim.  Source: arXiv:2602.16849; the bounds are this project's, stated beside
each claim.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..records.record import Record
from ..runs import PUBLISHED_STEPS, Run
from . import evidence
from . import evidence_dynamics as dynamics
from . import evidence_votes as voting
from .evidence import Evidence, Measure, Measured

VERDICTS = HOLDS, PARTLY, FAILS, NOT_YET, UNKNOWN = "holds", "in part", "fails", "not yet", "cannot be measured"
LEARNT = 0.1  # of ln p: a run whose loss is above has not trained far enough
END, ONCE, ALWAYS = "at the end of training", "once it is reached", "at any time"


@dataclass(frozen=True)
class Claim:
    """One row.  `holds` and `fails` bound the measured number, in either order, or its distance from `target`
    where there is one; `says` words it, with the number in the format `form`.

    `when` it can be judged: END asks for a trained run; ONCE may hold earlier, but fails only then; ALWAYS needs no
    training.  `grows`: what lies below its target may still be on its way.  `flows`: the flow says when it is due.
    """

    name: str
    statement: str
    expected: str
    measure: Measure
    holds: float
    fails: float
    says: str
    page: str
    applies: Callable[[Run], bool] = lambda run: True
    target: float | None = None
    form: str = ".3g"
    when: str = END
    grows: bool = False
    flows: bool = False

    def verdict(self, value: float | None, early: bool = False, waits: bool = False) -> str:
        """The verdict on a measured number, None for what could not be measured.  `early`: the run has not trained
        far enough; `waits`: the flow expects alignment later."""
        if value is None:
            return UNKNOWN
        off = value if self.target is None else abs(value - self.target)
        sign = 1 if self.holds >= self.fails else -1
        found = HOLDS if sign * off >= sign * self.holds else PARTLY if sign * off > sign * self.fails else FAILS
        if self.when == END and early:
            return NOT_YET
        short = early and (self.when == ONCE or (self.grows and value < self.target))
        return NOT_YET if found != HOLDS and (short or (self.flows and waits)) else found

    def written(self, found: Evidence) -> str:
        """What was measured in words, with its interval and what it was measured on."""
        if isinstance(found, str):
            return found
        if np.isinf(found.value):
            return "not reached"
        ends = f" [{found.low:{self.form}}, {found.high:{self.form}}]" if found.low is not None else ""
        return self.says.format(f"{found.value:{self.form}}{ends}") + (f"; {found.of}" if found.of else "")


def early(summary: Mapping) -> bool:
    """Has the run of this summary not trained far enough?  Its loss is above LEARNT ln p, and no plateau ended it."""
    loss = summary.get("train_loss")
    return loss is not None and summary["stop_reason"] != "plateau" and loss > LEARNT * np.log(summary["p"])


def judge(record: Record) -> list[dict]:
    """Every claim that speaks of this run: name, statement, expected, value, low, high (None where there is none),
    measured (in words), verdict, page."""
    mine = [claim for claim in CLAIMS if record.run.model == "mlp" and claim.applies(record.run)]
    due = dynamics.due(record) if any(claim.flows for claim in mine) and record.frames else None
    soon, rows = early(record.summary), []
    for claim in mine:
        found = measured(claim, record)
        number = found if isinstance(found, Measured) else Measured(None)
        waits = due is not None and due > record.step
        verdict, words = claim.verdict(number.value, soon, waits), claim.written(found)
        if verdict == NOT_YET and claim.flows and waits:
            words += f"; the flow expects 90 % aligned by step {due:,}" + ", had the loss stayed near ln p" * (not soon)
        rows.append({
            "name": claim.name, "statement": claim.statement, "expected": claim.expected, "value": number.value,
            "low": number.low, "high": number.high, "measured": words, "verdict": verdict, "page": claim.page,
        })  # fmt: skip
    return rows


def measured(claim: Claim, record: Record) -> Evidence:
    """The evidence for a claim, never NaN; of a compact record the number is that of the whole one, which the interval
    of what is left of it takes in."""
    found = claim.measure(record) if record.frames else "no frame has been taken yet"
    if (told := record.measured.get(f"claim:{claim.name}")) is not None:
        return found.around(told) if isinstance(found, Measured) else Measured(told, of="the whole record")
    undefined = isinstance(found, Measured) and np.isnan(found.value)
    return "the numbers that it needs are not defined here" if undefined else found


def _random(run: Run) -> bool:
    return run.init != "single-freq"


def _proved(run: Run) -> bool:
    """The phase rule is proved for equal magnitudes, x² and gradient descent."""
    return (run.init, run.activation, run.optimizer) == ("equal", "quad", "sgd")


def _of(activation: str, init: str | None = None) -> Callable[[Run], bool]:
    return lambda run: run.activation == activation and init in (None, run.init)


def _held_back(run: Run) -> bool:
    return run.frac_train < 1


PHASES, WEIGHTS, LOGITS, SURGERY, GROKKING, OVERVIEW, LOTTERY, FLOW = (
    f"pages/{name}.py"
    for name in ("Phases", "Weights", "Logits", "Surgery", "Grokking", "Overview", "Lottery", "Gradient_flow")
)
SKILL = "0 is chance, 1 all of them"

CLAIMS: tuple[Claim, ...] = (
    Claim("learns", "The network learns every sum it is shown", "train accuracy 100 %; fails below 95 %",
          evidence.accuracy("train"), 1.0, 0.95, "train accuracy {}", OVERVIEW, form=".1%", when=ONCE),
    Claim("certain", "A right answer is also a sure one", "the loss falls to a tenth of ln p",
          evidence.loss_left, LEARNT, 0.9, "train loss is {} of ln p", OVERVIEW, when=ONCE),
    Claim("one-cosine", "Each neuron is one cosine", "mean IPR of both layers 0.9; fails below a quarter",
          evidence.sparsity, 0.9, 0.25, "mean IPR {}", WEIGHTS),
    Claim("both-layers", "Both layers of a neuron hold the same frequency", "99 % of the neurons; fails below 90 %",
          evidence.same_frequency, 0.99, 0.9, "{} of the neurons", WEIGHTS, form=".1%"),
    Claim("phases-locked", "The output phase is twice the input phase",
          "90 % of the neurons within 0.1 rad; fails below half",
          evidence.aligned, 0.9, 0.5, "{} within 0.1 rad", PHASES, form=".1%", when=ONCE, flows=True),
    Claim("vote-locked", "Aligned neurons cast the vote", "vote-weighted mean of cos D 0.99; fails below 0.9",
          evidence.vote_aligned, 0.99, 0.9, "weighted cos D {}", PHASES, form=".4f", when=ONCE, flows=True),
    Claim("all-frequencies", "Every frequency is used, about equally", "the rarest has at least 0.7 of an even share",
          evidence.frequency_balance, 0.7, 0.0, "the rarest frequency has {} of an even share", PHASES, _random,
          form=".2f"),
    Claim("phases-even", "Inside a frequency the phases spread evenly",
          "N |mean exp(inφ)|² at most half of what random phases give, 1; fails from 1 on",
          evidence.phase_evenness, 0.5, 1.0, "{}, random phases 1", PHASES, _random, form=".2f"),
    Claim("magnitudes-equal", "Magnitudes are nearly identical",
          "coefficient of variation at most 0.1; fails above 0.3",
          evidence.magnitude_spread, 0.1, 0.3, "coefficient of variation {}", PHASES, form=".3f"),
    Claim("vote-shape", "The vote is a flawed indicator: right answer, two ghosts, flat elsewhere",
          "R² of these three 0.9; fails below half",
          voting.vote("r2_three"), 0.9, 0.5, "R² = {}", LOGITS, form=".3f"),
    Claim("vote-five", "With the peaks at 3x − y, 3y − x and one further the vote is explained",
          "R² of all five 0.95; fails below half",
          voting.vote("r2"), 0.95, 0.5, "R² = {}", LOGITS, form=".3f"),
    *(
        Claim(f"vote-ratio-{activation}",
              f"Under {name} the right answer beats a ghost {words} to one, as pure cosines do",
              f"ratio of the fitted peaks {ratio:g}, to 0.2; fails from 1 off",
              voting.vote("ratio"), 0.2, 1.0, "ratio {}", LOGITS, _of(activation), ratio, ".2f")
        for activation, name, words, ratio in (("quad", "x²", "two", 2.0), ("relu", "ReLU", "three", 3.0))
    ),
    Claim("silenced", "Under x² the third harmonic silences the ghosts",
          "peak at 3x − y over right answer is minus the harmonic 3k, to 0.03; fails from 0.1 off",
          voting.silencing, 0.03, 0.1, "off by {}", LOGITS, _of("quad", "random"), 0.0, ".3f"),
    Claim("margin", "The vote has a larger margin than pure cosines can have",
          "half of the maximal margin, what ideal cosines have; fails below a quarter",
          voting.margin, 0.5, 0.25, "{} of the maximal margin", LOGITS, _of("quad"), form=".3f"),
    Claim("swap-even", "Even activations may replace ReLU after training", f"|x|, x², x⁴ keep 0.95; {SKILL}",
          voting.skill_with(voting.EVEN, min), 0.95, 0.5, "the worst keeps {}", SURGERY, _of("relu"), form=".2f"),
    Claim("swap-odd", "Odd activations destroy the answer", f"x and x³ keep at most 0.05; {SKILL}",
          voting.skill_with(voting.ODD, max), 0.05, 0.5, "the best keeps {}", SURGERY, _of("relu"), form=".2f"),
    Claim("diversity", "Many frequencies make the vote sure: fewer cost loss",
          "with every second frequency silent the loss is ten times as large; fails if it is no larger",
          voting.silence_costs, 10.0, 1.0, "{} times the loss", SURGERY, form=".4g"),
    Claim("lottery-phase", "The best-aligned frequency wins the lottery (proved for equal magnitudes)",
          f"0.5; {SKILL}; fails below 0.1", dynamics.bets("phase"), 0.5, 0.1, "{}", LOTTERY, _random, form=".2f"),
    Claim("lottery-phase-proved", "Where it is proved (equal magnitudes, x², gradient descent, small weights) it wins",
          f"0.9; {SKILL}; fails below 0.5", dynamics.phase_rule, 0.9, 0.5, "{}", LOTTERY, _proved, form=".2f",
          when=ALWAYS),
    Claim("lottery-drive", "Alignment and magnitude together decide who wins", f"0.8; {SKILL}; fails below 0.4",
          dynamics.bets("drive"), 0.8, 0.4, "{}", LOTTERY, _random, form=".2f"),
    Claim("lottery-race", "Frequencies race independently, and the race names the winner",
          f"0.85, with a tuned finish line; {SKILL}; fails below 0.5",
          dynamics.bets("race"), 0.85, 0.5, "{}", LOTTERY, _random, form=".2f"),
    Claim("stays-single", f"Under x² a single frequency stays single, to step {PUBLISHED_STEPS:,}",
          "IPR 1 in both layers at every step; fails below 0.99", dynamics.lowest_ipr(PUBLISHED_STEPS), 0.9999, 0.99,
          "lowest IPR {}", FLOW, _of("quad", "single-freq"), form=".5f", when=ALWAYS),
    Claim("stays-single-long", f"Under x² it stays single for twice as long, to step {2 * PUBLISHED_STEPS:,}",
          "the same", dynamics.lowest_ipr(least=2 * PUBLISHED_STEPS), 0.9999, 0.99,
          "lowest IPR {}", FLOW, _of("quad", "single-freq"), form=".5f", when=ALWAYS),
    Claim("nearly-single", "Under ReLU a single frequency stays nearly single",
          "IPR at least 0.85 at every step, the flow's fixed point being 0.87; fails below half",
          dynamics.lowest_ipr(), 0.85, 0.5, "lowest IPR {}", FLOW, _of("relu", "single-freq"), form=".3f", when=ALWAYS),
    *(
        Claim(f"leak-{layer}-{r}", f"ReLU leaks into {r}k of the {layer} layer as the flow's fixed point says",
              "the ratio to it is 1, to a quarter; fails from three quarters off",
              dynamics.leak(layer, r), 0.25, 0.75, "{} of theory", FLOW, _of("relu", "single-freq"), 1.0, ".2f",
              ALWAYS, grows=True)
        for layer, r in (("input", 3), ("input", 5), ("output", 2), ("output", 3))
    ),
    Claim("flow-quad", "The flow of four numbers is the training of every neuron (x²)",
          "β within 0.5 % for the worst neuron while the loss is near ln p; fails from 5 %",
          dynamics.flow_error(np.max, 0.005), 0.005, 0.05, "worst neuron off by {}", FLOW, _of("quad", "single-freq"),
          form=".2%", when=ALWAYS),
    Claim("flow-relu", "The flow of four numbers is the training of a typical neuron (ReLU)",
          "β within 5 % for the median neuron while the loss is near ln p; fails from 20 %",
          dynamics.flow_error(np.median, 0.05), 0.05, 0.2, "median neuron off by {}", FLOW, _of("relu", "single-freq"),
          form=".2%", when=ALWAYS),
    Claim("memorises", "First it memorises: train accuracy passes 95 %", "at some step",
          dynamics.stage(0), 1e9, 1e10, "at step {}", GROKKING, _held_back, form=",.0f", when=ONCE),
    Claim("blind", "While memorising it knows nothing of the pairs held out in both orders", "below 10 %",
          dynamics.memorising_gap, 0.1, 0.5, "{} of them right when memorisation ends", GROKKING, _held_back,
          form=".1%", when=ALWAYS),
    Claim("common-first", "Common pairs are memorised before rare ones", "rare ones take over three times as long",
          dynamics.rare_later, 3.0, 1.0, "{} times as long", GROKKING, _held_back, form=".1f", when=ALWAYS),
    Claim("generalises", "Then it generalises: test accuracy passes 95 %", "at some step",
          dynamics.stage(1), 1e9, 1e10, "at step {}", GROKKING, _held_back, form=",.0f", when=ONCE),
    Claim("held-out", "In the end unseen sums are right", "held out in both orders: at least 95 %; fails below half",
          evidence.accuracy("held_out"), 0.95, 0.5, "{} of them right", GROKKING, _held_back, form=".1%"),
    Claim("cleanup", "Then weight decay cleans up: the norm falls", "to at most 0.9 of its largest",
          dynamics.norm_falls, 0.9, 0.99, "final norm is {} of its largest", GROKKING, _held_back, form=".2f"),
)  # fmt: skip
