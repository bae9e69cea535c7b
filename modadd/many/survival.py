"""Waiting for something that may not come: medians, intervals and comparisons that keep the runs which did
not get there.

`step_R` is the step at which each run got there, or up to which it was watched in vain; `came_R` says which.
The latter are censored: all that is known is that it would have been later.
"""

import numpy as np

RESAMPLES, SEED = 1000, 0
LEVEL = 0.05


def median(step_R, came_R) -> float | None:
    """First step by which half of the runs got there, by the estimator of Kaplan and Meier, J. Am. Stat. Assoc.
    53 (1958); None if fewer did."""
    from scipy.stats import CensoredData, ecdf  # a second of import, which most pages do without

    step_R, came_R = np.asarray(step_R, float), np.asarray(came_R, bool)
    if not len(step_R):
        return None
    left = ecdf(CensoredData(uncensored=step_R[came_R], right=step_R[~came_R])).sf
    half = np.flatnonzero(left.probabilities <= 0.5)
    return float(left.quantiles[half[0]]) if len(half) else None


def median_interval(step_R, came_R) -> tuple[float, float | None] | None:
    """95 % bootstrap interval of `median` over the runs: (low, high), high None if it is not reached; None for
    fewer than two runs or if not even the low end is reached.

    With R runs at most as many different medians exist, so that few runs give a coarse interval.
    """
    from scipy.stats import bootstrap

    if len(step_R) < 2:
        return None
    beyond = float(np.max(step_R)) + 1  # stands for "not reached" among the resampled medians

    def resampled(step_R, came_R):
        value = median(step_R, came_R)
        return beyond if value is None else value

    seen = bootstrap(
        (np.asarray(step_R, float), np.asarray(came_R, float)),
        resampled,
        paired=True,
        vectorized=False,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=SEED,
    ).bootstrap_distribution
    # Not interpolated: between a step and "not reached" there is nothing.
    low, high = np.quantile(seen, [0.025, 0.975], method="inverted_cdf")
    return None if low == beyond else (float(low), None if high == beyond else float(high))


def sooner(one: tuple, other: tuple) -> np.ndarray:
    """1 where run i of `one` is known to have got there before run j of `other`, -1 where after, 0 where the
    two cannot be ordered; int [R, Q].  `one` and `other` are pairs (step, came)."""
    (s, came), (t, arrived) = ((np.asarray(step), np.asarray(there, bool)) for step, there in (one, other))
    before = came[:, None] & ((s[:, None] < t) | ((s[:, None] == t) & ~arrived))
    after = arrived & ((t < s[:, None]) | ((t == s[:, None]) & ~came[:, None]))
    return before.astype(int) - after


def chance_of_sooner(one: tuple, other: tuple) -> float | None:
    """How probable so clear a lead of `one` is if both get there alike (one-sided); None for a single run on
    either side.

    Permutation test of the scores of Gehan, Biometrika 52 (1965): exact up to 10,000 ways to deal out the runs,
    sampled above.
    """
    from scipy.stats import permutation_test

    R = len(one[0])
    if min(R, len(other[0])) < 2:
        return None
    everyone = tuple(np.concatenate(both) for both in zip(one, other, strict=True))
    score = sooner(everyone, everyone).sum(1).astype(float)
    test = permutation_test(
        (score[:R], score[R:]),
        lambda mine, rest, axis: mine.sum(axis=axis),
        vectorized=True,
        alternative="greater",
        rng=SEED,
    )
    return float(test.pvalue)
