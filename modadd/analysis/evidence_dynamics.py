"""What the claims on the lottery, the flow and grokking are judged by."""

from collections.abc import Callable

import numpy as np

from ..maths import harmonics, measures, theory
from ..records.record import Record
from . import lottery
from .evidence import Evidence, Measure, Measured, of_pairs, share

BETTORS = 512  # neurons whose race is followed
SMALL = 0.99  # of ln p: the weights count as small while the loss is above it


def skill_of(hits: float, n: int, K: int) -> Evidence:
    """Winners foretold over chance: 0 for 1/K, 1 for all of them."""
    if K == 1:
        return "a single frequency has no race"
    rate = share(hits, n, "")
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


def flow_error(pick: Callable, finest: float) -> Measure:
    """The error of beta while the loss is near ln p, where the flow is the limit of training; of a record that tells
    errors of `finest` apart."""

    def measure(record: Record) -> Evidence:
        if why := lottery.no_flow(record.run):
            return why
        if (rounding := lottery.rounding(record)["beta"]) > finest:
            return f"this record keeps β to {rounding:.1%}, and {finest:.1%} is asked for: train the run anew"
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
    return of_pairs(record.run, "held_out", value) if np.isfinite(value) else "no pair is held out in both orders"


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
