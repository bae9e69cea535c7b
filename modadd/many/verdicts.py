"""What a sweep says: statistics of its groups, three hypotheses on weight decay, and the summary of it all."""

import math

import numpy as np

from .. import data
from ..analysis import lottery
from ..runs import Run
from . import survival
from .sweep import CURVES, WEIGHT_DECAYS, Criterion, Grid, Outcome

VERDICTS = ("holds", "fails", "undecided")
NAMED = 5  # runs that a sentence names
ENDS = {"epochs": "ran to step", "plateau": "stood still and was stopped at step", "diverged": "diverged at step"}


def waits(group: list[Outcome]) -> tuple[np.ndarray, np.ndarray]:
    """(step, came) of these outcomes, as `survival` takes them."""
    return np.array([o.watched for o in group], int), np.array([o.grokked is not None for o in group], bool)


def groups(grid: Grid, results: list[Outcome]) -> list[dict]:
    """Statistics of the finished runs of each group.

    runs, finished, grokked; success_rate with Wilson's 95 % interval; median (Kaplan-Meier) with its bootstrap
    interval, None where not reached; mean, first and last step of grokking, in which a run that did not grok
    counts with the step at which it ended, so that with `at_least` mean and last are lower bounds; and mean,
    min and max of the final accuracies.  None where there is nothing to tell.
    """
    rows = []
    for label in grid.labels:
        mine = [o for o in results if grid.label(o.run) == label]
        over = [o for o in mine if o.status == "finished"]
        step_R, came_R = waits(over)
        rate = float(came_R.mean()) if over else None
        rows.append(
            {name: getattr(mine[0].run, name) for name in grid.varied}
            | {
                "label": label,
                "runs": len(mine),
                "finished": len(over),
                "grokked": int(came_R.sum()),
                "success_rate": rate,
                "success_interval": [float(end) for end in lottery.interval(came_R.sum(), len(over))] if over else None,
                "median": survival.median(step_R, came_R),
                "median_interval": survival.median_interval(step_R, came_R),
                "mean": float(step_R.mean()) if over else None,
                "first": int(step_R[came_R].min()) if came_R.any() else None,
                "last": int(step_R.max()) if over else None,
                "at_least": bool((~came_R).any()),
                "final": {group: _spread([o.accuracy[group] for o in over]) for group in ("train", *CURVES)},
            }
        )
    return rows


def _spread(values: list[float | None]) -> dict | None:
    there = [v for v in values if v is not None]
    return {"mean": sum(there) / len(there), "min": min(there), "max": max(there)} if there else None


RULE = (
    f"H1 holds if every run groks and fails as soon as one ends without; H2 and H3 hold if a one-sided permutation "
    f"test of Gehan's scores, in which runs that did not grok stay as censored, gives at most {survival.LEVEL:g}, and "
    f"fail if it does so in the other direction; anything else is undecided, also while cells are missing; runs that "
    f"differ in further settings are taken together"
)


def judge(results: list[Outcome]) -> list[dict]:
    """The three hypotheses: name, claim, verdict (one of VERDICTS) and because, a sentence with the numbers."""
    half, one, two = ([o for o in results if o.run.weight_decay == decay] for decay in WEIGHT_DECAYS)
    budget = max((o.run.epochs for o in one), default=None)
    claims = (
        ("H1", "Every run with weight decay 1 groks within the budget", _all_grok(one, budget)),
        ("H2", "Weight decay 2 groks earlier than 1", _earlier(2, two, 1, one)),
        ("H3", "Weight decay 0.5 groks later than 1, or not at all", _earlier(1, one, 0.5, half)),
    )
    return [
        {"name": name, "claim": claim, "verdict": verdict, "because": because[0].upper() + because[1:]}
        for name, claim, (verdict, because) in claims
    ]


def _all_grok(group: list[Outcome], budget: int | None) -> tuple[str, str]:
    if not group:
        return "undecided", "the grid has no run with weight decay 1"
    over = [o for o in group if o.status == "finished"]
    if not over:
        return "undecided", f"none of the {len(group)} runs with weight decay 1 is finished"
    failed = [o for o in over if o.grokked is None]
    says = f"{len(over) - len(failed)} of {len(over)} finished runs grok within {budget:,} steps"
    if failed:
        why = [f"seed {o.run.seed} {ENDS.get(o.stop_reason, o.stop_reason)} {o.step:,}" for o in failed]
        more = [f"and {len(why) - NAMED} more"] if len(why) > NAMED else []
        return "fails", f"{says}; the others do not: {', '.join(why[:NAMED] + more)}"
    if len(over) < len(group):
        return "undecided", f"{says}, {len(group) - len(over)} of {len(group)} are not finished"
    return "holds", f"{says}, the last at step {max(o.grokked for o in over):,}"


def _earlier(decay: float, group: list[Outcome], than: float, other: list[Outcome]) -> tuple[str, str]:
    """Does `group` grok earlier than `other`?"""
    for d, runs in ((decay, group), (than, other)):
        if not runs:
            return "undecided", f"the grid has no run with weight decay {d:g}"
        if missing := sum(o.status != "finished" for o in runs):
            return "undecided", f"{missing} of {len(runs)} runs with weight decay {d:g} are not finished"
    mine, theirs = waits(group), waits(other)
    for_, against = (survival.chance_of_sooner(*pair) for pair in ((mine, theirs), (theirs, mine)))
    medians = [f"{m:,.0f}" if (m := survival.median(*w)) is not None else "not reached" for w in (mine, theirs)]
    order = survival.sooner(mine, theirs)
    if not order.any() and not (mine[1].any() or theirs[1].any()):
        return "undecided", f"no run groks at {decay:g} or at {than:g}, so that there is nothing to compare"
    says = (
        f"median step {medians[0]} at {decay:g} and {medians[1]} at {than:g}; of {order.size} pairs of runs "
        f"{(order > 0).sum()} have the one with {decay:g} first and {(order < 0).sum()} the one with {than:g}"
    )
    if for_ is None:
        return "undecided", f"{says}; a single run tells nothing of the spread between seeds"
    # The clearest lead there can be is one way to deal out the runs among all.
    if (best := 1 / math.comb(len(group) + len(other), len(group))) > survival.LEVEL:
        return "undecided", f"{says}; so few runs cannot tell (the clearest outcome would have p = {best:.2g})"
    verdict = "holds" if for_ <= survival.LEVEL else "fails" if against <= survival.LEVEL else "undecided"
    return verdict, f"{says}; p = {for_:.2g} for this order, {against:.2g} for the other"


def mirrored_share(run: Run) -> float | None:
    """Share of the test pairs that the MLP answers without generalising; None without test pairs or for a network
    that tells (x, y) from (y, x)."""
    return data.mirrored_share(run) if run.model == "mlp" else None


def caution(results: list[Outcome], criterion: Criterion) -> str:
    """What to keep in mind about the test pairs, in a sentence or two."""
    shares = [share for o in results if (share := mirrored_share(o.run))]
    if all(o.run.frac_train == 1 for o in results):
        return "These runs train on every pair, so nothing is left to generalise to: set frac_train below 1."
    if any(o.run.model != "mlp" for o in results):
        return "A transformer can tell (x, y) from (y, x), so that no test pair comes for free with its mirror image."
    if not shares:
        return "No test pair has its mirror image among the training pairs."
    mean = sum(shares) / len(shares)
    if criterion.curve == "held_out":
        return f"Left out are the {mean:.0%} of the test pairs whose mirror image (y, x) is trained."
    return (
        f"Of the test pairs {mean:.0%} have their mirror image (y, x) among the training pairs and come for free, so "
        f"that test accuracy rises to about that share while the network still memorises; the held-out pairs, of "
        f"which neither order is trained, ask for more."
    )


def summary(grid: Grid, results: list[Outcome], criterion: Criterion) -> dict:
    """Everything a sweep says, ready for JSON, without a clock: the same runs give the same bytes."""
    cells = [
        {
            "run_id": o.run.id,
            **{name: getattr(o.run, name) for name in grid.axes},
            "group": grid.label(o.run),
            "status": o.status,
            "memorised_step": o.memorised,
            "grok_step": o.grokked,
            "censored_at": o.step if o.status == "finished" and o.grokked is None else None,
            "steps": o.step,
            "stop_reason": o.stop_reason,
            "history_thinned": o.thinned,
            "mirrored_share": mirrored_share(o.run),
            **{f"final_{group}_accuracy": o.accuracy.get(group) for group in ("train", *CURVES)},
        }
        for o in results
    ]
    return {
        "title": grid.title,
        "preset": grid.preset,
        "p": grid.p,
        "axes": {name: list(values) for name, values in grid.axes.items()},
        "runs": len(grid.runs),
        "finished": sum(o.status == "finished" for o in results),
        "chance_accuracy": 1 / grid.p,
        "caution": caution(results, criterion),
        "criterion": {
            "accuracy": criterion.accuracy,
            "sustained": criterion.sustained,
            "memorised": criterion.memorised,
            "curve": criterion.curve,
            "says": str(criterion),
        },
        "groups": groups(grid, results),
        "hypotheses": judge(results),
        "rule": RULE,
        "cells": cells,
    }
