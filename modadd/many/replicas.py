"""What several seeds of a run say together: medians with their spread, and laws over p with seeds as the unit.

Everything here takes the rows of `atlas.table`.
"""

from collections.abc import Iterable
from statistics import median, median_low

import numpy as np

from ..analysis import claims
from ..analysis.lottery import Z95
from ..analysis.shipped import RULES
from ..runs import Run
from . import survey

AWAITED = ("stage1_end", "stage2_end", "plateau")  # a step that was not reached comes later than any
SUMMED = ("counts_K", "neurons", "shared_neurons", "bets")
SAME = ("p", "seed", "d_mlp", "composite", "shared_frequencies", "claims")
P_LAW = 11  # the smallest p of a power law: below, harmonics fall on one another


def medians(rows: Iterable[dict]) -> list[dict]:
    """One row a preset and modulus: that of the presets' own seed, or of the first there is, with the median over the
    seeds of every number, the sum of what is counted, and the rates of all neurons together.  `seeds` is how many
    there are, and `spread` the least and largest of each number, by name; of five seeds they bound the median
    with 94 %."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["p"], row["preset"]), []).append(row)
    return [_together(mine) for mine in groups.values()]


def _together(mine: list[dict]) -> dict:
    base = next((row for row in mine if row["seed"] == Run.seed), mine[0])
    if len(mine) == 1:
        return base | {"seeds": 1, "spread": {}}
    found, spread = {}, {}
    for name in base:
        seen = [row[name] for row in mine]
        if name in SUMMED:
            counted = [value for value in seen if value is not None]
            found[name] = sum(counted[1:], counted[0]) if counted else None
        elif name not in SAME and all(value is None or _number(value) for value in seen):
            found[name], spread[name] = _middle(seen, name in AWAITED)
    for rule in RULES:
        told = [(row["bets"], row[f"hit_{rule}"]) for row in mine if row[f"hit_{rule}"] is not None]
        total = sum(n for n, _ in told)
        found[f"hit_{rule}"] = sum(n * rate for n, rate in told) / total if total else None
    judged = {name for row in mine for name in row["claims"]}
    found["claims"] = {name: _middle([row["claims"].get(name) for row in mine], False)[0] for name in judged}
    return base | found | {"seeds": len(mine), "spread": {n: ends for n, ends in spread.items() if ends}}


def _number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _middle(seen: list[float | None], awaited: bool) -> tuple[float | None, tuple[float, float] | None]:
    """(median, (least, largest)); what is not known is left out, or counts as later than any."""
    known = [np.inf if value is None else value for value in seen if awaited or value is not None]
    if not known:
        return None, None
    middle = float(median_low(known) if np.inf in known else median(known))  # of few numbers quicker than NumPy's
    ends = (min(known), max(known))
    return (middle if np.isfinite(middle) else None), (ends if np.isfinite(ends).all() else None)


def in_words(judged: Iterable[dict], own: dict, preset: str) -> str:
    """What this run and the other seeds of its preset say of a claim together: `judged` as in `survey.verdicts`, `own`
    a row of `claims.judge`.  Empty without any."""
    claim = next(claim for claim in claims.CLAIMS if claim.name == own["name"])
    every = [own, *(row for row in judged if row["claim"] == own["name"] and row["preset"] == preset)]
    known = [row["value"] for row in every if row["value"] is not None and np.isfinite(row["value"])]
    if len(every) < 2 or not known:
        return ""
    low, middle, high = (f"{value:{claim.form}}" for value in np.quantile(known, [0, 0.5, 1]))
    holds = sum(row["verdict"] == claims.HOLDS for row in every)
    return f"median {middle}, from {low} to {high}; holds in {holds} of {len(every)}"


def power(rows: Iterable[dict], name: str, which: str) -> tuple[float, float] | None:
    """(exponent, half of its 95 % interval) of a measure as a power of p from P_LAW on, by least squares through the
    medians over seeds; None for fewer than six moduli."""
    p, value = survey.curve((row for row in medians(rows) if row["p"] >= P_LAW), name, which)
    keep = value > 0
    if keep.sum() < 6:
        return None
    x, y = np.log(p[keep]), np.log(value[keep])
    x = x - x.mean()
    slope = x @ y / (x @ x)
    error = np.sqrt(np.sum((y - y.mean() - slope * x) ** 2) / (len(x) - 2) / (x @ x))
    return float(slope), float(Z95 * error)


def apart(rows: Iterable[dict], name: str, which: str) -> dict | None:
    """`survey.apart` of composite from prime p, seed by seed: the `median` over the seeds, `low`, `high` and how many
    `seeds` there are; None where no seed tells it."""
    rows = list(rows)
    every = {
        seed: survey.apart([r for r in rows if r["seed"] == seed], name, which) for seed in {r["seed"] for r in rows}
    }
    known = [value for value in every.values() if value is not None]
    if not known:
        return None
    return {"median": float(np.median(known)), "low": min(known), "high": max(known), "seeds": len(known)}
