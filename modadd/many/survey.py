"""What the atlas says as a whole: which runs it lacks, how a measure moves with p, and what composite p change.

Everything here takes the rows of `atlas.table`.
"""

from collections.abc import Iterable
from datetime import datetime

import numpy as np

from ..analysis import claims, lottery
from ..analysis.shipped import ORDERS
from ..runs import P_MAX, P_MIN, PRESETS, presets_at
from .atlas import RULES, shared


def verdicts(rows: Iterable[dict]) -> list[dict]:
    """One row a run and claim that speaks of it: run_id, p, preset, claim (its name), value, verdict."""
    by_name = {claim.name: claim for claim in claims.CLAIMS}

    def verdict(row: dict, name: str, value: float | None) -> str:
        waits = row.get("due") is not None and row["due"] > row["steps"]
        return by_name[name].verdict(value, claims.early(row), waits)

    return [
        {
            "run_id": row["run_id"],
            "p": row["p"],
            "preset": row["preset"],
            "claim": name,
            "value": value,
            "verdict": verdict(row, name, value),
        }
        for row in rows
        for name, value in row["claims"].items()
        if name in by_name
    ]


def in_words(judged: list[dict]) -> list[dict]:
    """One row a claim: its statement, and the moduli of each verdict that could be reached."""
    moduli: dict[tuple[str, str], list[int]] = {}
    for row in judged:
        moduli.setdefault((row["claim"], row["verdict"]), []).append(row["p"])
    return [
        {"claim": claim.statement}
        | {f"{verdict} at p": spans(moduli.get((claim.name, verdict), ())) for verdict in claims.VERDICTS[:4]}
        for claim in claims.CLAIMS
        if any(name == claim.name for name, _ in moduli)
    ]


def effects(judged: list[dict]) -> list[dict]:
    """One row a claim and preset: `runs` that can be judged, how many of them each verdict has, `not yet`, and the
    `median` of the measured number, with `low` and `high` that bound it with 95 % (bootstrap over runs)."""
    from scipy.stats import bootstrap

    groups: dict[tuple[str, str], list[dict]] = {}
    for row in judged:
        groups.setdefault((row["claim"], row["preset"]), []).append(row)
    table = []
    for claim in claims.CLAIMS:
        for name in PRESETS:
            mine = groups.get((claim.name, name), [])
            count = {verdict: sum(row["verdict"] == verdict for row in mine) for verdict in claims.VERDICTS[:4]}
            seen = [row["value"] for row in mine if row["verdict"] in claims.VERDICTS[:3] and np.isfinite(row["value"])]
            if not sum(count.values()):
                continue
            ends = (None, None)
            if len(set(seen)) > 1:
                ends = bootstrap((seen,), np.median, n_resamples=999, method="percentile", rng=0).confidence_interval
            table.append(
                {
                    "claim": claim.statement,
                    "preset": name,
                    "runs": sum(count.values()) - count[claims.NOT_YET],
                    **count,
                    "median": float(np.median(seen)) if seen else None,
                    "low": ends[0],
                    "high": ends[1],
                }
            )
    return table


def missing(rows: Iterable[dict]) -> dict[str, list[int]]:
    """The moduli at which nothing is known of a preset, by preset."""
    known = {(row["preset"], row["p"]) for row in rows}
    every = range(P_MIN, P_MAX + 1, 2)
    return {name: [p for p in every if name in presets_at(p) and (name, p) not in known] for name in PRESETS}


def spans(moduli: Iterable[int]) -> str:
    """Odd moduli in words: neighbours joined, "3–7, 21"; "none" for none."""
    moduli, parts = sorted(set(moduli)), []
    for p in moduli:
        if parts and parts[-1][1] == p - 2:
            parts[-1][1] = p
        else:
            parts.append([p, p])
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in parts) or "none"


def busy(rows: Iterable[dict]) -> dict[str, dict]:
    """By device: `runs`, `seconds` that the runs' own clocks add up to, and `wall`, the seconds during which at
    least one of them ran.  Where runs shared a machine, the first is larger than the second."""
    result = {}
    for row in rows:
        if row["seconds"] is None or row["finished"] is None:
            continue
        end = datetime.fromisoformat(row["finished"]).timestamp()
        result.setdefault(row["device"], []).append((end - row["seconds"], end))
    for device, times in result.items():
        wall, until = 0.0, -np.inf
        for start, end in sorted(times):
            wall += max(0.0, end - max(start, until))
            until = max(until, end)
        result[device] = {"runs": len(times), "seconds": sum(end - start for start, end in times), "wall": wall}
    return result


STEP = float(np.spacing(np.float32(16)))  # of a float32 from 16 to 32, the size of a sure answer's logit
COARSE = 1e-5  # nats; a smaller loss is few such steps a pair


def coarse(rows: Iterable[dict]) -> tuple[int, int]:
    """Runs that end with a training loss below COARSE; and how many of them end on a whole number of half a STEP,
    summed over the pairs, where chance would put one in ten: what is subtracted as float32 logits is rounded so."""
    low = [row for row in rows if row["train_loss"] is not None and 0 < row["train_loss"] < COARSE]
    pairs = np.array([np.floor(PRESETS[row["preset"]]["frac_train"] * row["p"] ** 2) for row in low])
    steps = np.array([row["train_loss"] for row in low]) * pairs / (STEP / 2)
    return len(low), int((np.abs(steps - steps.round()) < 0.05).sum())


def pooled(rows: Iterable[dict]) -> dict | None:
    """Neurons on frequencies that share a factor with p, over what even use gives, in all these runs together:
    `ratio`, with `low` and `high` that bound 95 % if every neuron drew by itself; None without such runs."""
    rows = [row for row in rows if row["composite"] and row["neurons"]]
    if not rows:
        return None
    share, neurons = (np.array([row[name] for row in rows]) for name in ("shared_frequencies", "neurons"))
    even = float(neurons @ share)
    ratio = sum(row["shared_neurons"] for row in rows) / even
    half = lottery.Z95 * float(np.sqrt(neurons @ (share * (1 - share)))) / even
    return {"ratio": ratio, "low": ratio - half, "high": ratio + half}


def best_rule(rows: Iterable[dict]) -> dict[str, dict]:
    """The `rule` that foretells most winners by preset, by the median over its runs of the `lift`, hits over chance
    1/K, with `low` and `high` that bound it with 95 % (bootstrap over p), and the median `rate`."""
    from scipy.stats import bootstrap

    rates: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for row in rows:
        for rule in RULES:
            if row[f"hit_{rule}"] is not None and len(row["counts_K"]) > 1:
                rates.setdefault((row["preset"], rule), []).append((row[f"hit_{rule}"], len(row["counts_K"])))
    best: dict[str, dict] = {}
    for (name, rule), seen in sorted(rates.items()):
        rate, K = np.array(seen, float).T
        lift = float(np.median(rate * K))
        if name not in best or lift > best[name]["lift"]:
            best[name] = {"rule": rule, "rate": float(np.median(rate)), "lift": lift, "low": lift, "high": lift}
            if len(rate) > 1:
                ends = bootstrap((rate * K,), np.median, n_resamples=999, method="percentile", rng=0)
                best[name] |= {"low": float(ends.confidence_interval.low), "high": float(ends.confidence_interval.high)}
    return best


def by_factor(rows: Iterable[dict], least: int = 10) -> list[dict]:
    """For each preset and g = gcd(k, p) over composite p: `ratio` of neurons on such frequencies to an even
    share, pooled over p, with `low` and `high`, and how many `frequencies` that is, `least` or more."""
    sums: dict[tuple, np.ndarray] = {}
    for row in rows:
        if row["composite"] and row["neurons"]:
            gcd_K, M, K = shared(row["p"]), row["neurons"], len(row["counts_K"])
            for g in np.unique(gcd_K):
                share = (gcd_K == g).mean()
                parts = np.array([row["counts_K"][gcd_K == g].sum(), M * share, M * share * (1 - share), K * share])
                sums[row["preset"], int(g)] = sums.get((row["preset"], int(g)), 0) + parts
    return [
        {
            "preset": name,
            "gcd": g,
            "ratio": hits / even,
            "frequencies": round(count),
            "low": hits / even - lottery.Z95 * np.sqrt(spread) / even,
            "high": hits / even + lottery.Z95 * np.sqrt(spread) / even,
        }
        for (name, g), (hits, even, spread, count) in sorted(sums.items())
        if round(count) >= least
    ]


def by_order(rows: Iterable[dict], least: int = 100) -> list[dict]:
    """For each preset and order q = p / gcd(k, p) of `atlas.ORDERS`: `ratio` of the mean |sin D| of neurons on such
    frequencies to that of the same run's neurons on coprime ones, pooled over composite p by neurons, with `low` and
    `high` that bound 95 % (bootstrap over runs), and of how many `neurons`, `least` or more."""
    from scipy.stats import bootstrap

    pooled = lambda ratio, count, axis=-1: (ratio * count).sum(axis) / count.sum(axis)  # noqa: E731
    rows, table = [row for row in rows if row["composite"] and row["off_coprime"]], []
    for name in PRESETS:
        for q, (first, last) in ORDERS.items():
            mine = [row for row in rows if row["preset"] == name and row[f"off_{q}"] is not None]
            ratio = np.array([row[f"off_{q}"] / row["off_coprime"] for row in mine])
            count = np.array([row[f"counted_{q}"] for row in mine])
            if len(mine) < 2 or count.sum() < least:
                continue
            ends = bootstrap((ratio, count), pooled, paired=True, n_resamples=999, method="percentile", rng=0)
            low, high = ends.confidence_interval
            said = str(first) if first == last else f"{first} to {last}" if last < 99 else f"from {first}"
            table.append(
                {
                    "preset": name,
                    "q": said,
                    "ratio": float(pooled(ratio, count)),
                    "low": float(low),
                    "high": float(high),
                    "neurons": int(count.sum()),
                }
            )
    return table


def curve(rows: Iterable[dict], name: str, which: str) -> tuple[np.ndarray, np.ndarray]:
    """(p, value) of a measure where a preset has it, in order of p."""
    points = sorted((row["p"], row[name]) for row in rows if row["preset"] == which and row[name] is not None)
    p, value = np.array(points, float).reshape(-1, 2).T
    return p, value


def drift(p: np.ndarray, value: np.ndarray, ends: int = 5) -> dict | None:
    """How a curve over p moves: medians of its `ends` first and last points, and the rank correlation with p
    (1: always up, -1: always down); None for fewer than two times `ends` points."""
    if len(p) < 2 * ends:
        return None
    _, rank, count = np.unique(value, return_inverse=True, return_counts=True)
    middle = (np.cumsum(count) - (count - 1) / 2)[rank]  # ties share a rank
    rho = float(np.corrcoef(np.argsort(np.argsort(p)), middle)[0, 1]) if len(count) > 1 else 0.0
    return {"first": float(np.median(value[:ends])), "last": float(np.median(value[-ends:])), "rho": rho}


def apart(rows: Iterable[dict], name: str, which: str) -> float | None:
    """Median over composite p of a measure over what the line through the primes is there; None for too few."""
    ratio = against_primes(rows, name, which)
    return float(np.median(ratio)) if len(ratio) else None


def apart_within(rows: Iterable[dict], name: str, which: str) -> tuple[float, float, float] | None:
    """The same with the ends of its 95 % interval (bootstrap over the composite p); None for fewer than ten."""
    from scipy.stats import bootstrap

    ratio = against_primes(rows, name, which)
    if len(ratio) < 10:
        return None
    ends = bootstrap((ratio,), np.median, n_resamples=999, method="percentile", rng=0).confidence_interval
    return float(np.median(ratio)), float(ends.low), float(ends.high)


def against_primes(rows: Iterable[dict], name: str, which: str) -> np.ndarray:
    """A measure at each composite p over the line through its neighbouring primes; empty where that is 0."""
    rows = list(rows)
    x, y = curve((row for row in rows if not row["composite"]), name, which)
    p, value = curve((row for row in rows if row["composite"]), name, which)
    inside = (p > min(x, default=0)) & (p < max(x, default=0))
    prime = np.interp(p[inside], x, y) if inside.any() else np.array([])
    return value[inside] / prime if len(prime) and (prime != 0).all() else np.array([])


def seam(p: np.ndarray, value: np.ndarray, at: float, reach: int = 18) -> dict | None:
    """The jump of a curve at p = `at`, beside a parabola through the points within `reach` of it: `jump` in the
    units of the values and `errors`, the same in standard errors; None with fewer than four points to a side."""
    near = np.abs(p - at) < reach
    x, y = p[near] - at, value[near]
    if min((x < 0).sum(), (x > 0).sum()) < 4:
        return None
    columns = np.stack([np.ones_like(x), x, x**2, x > 0], 1)
    fit = np.linalg.lstsq(columns, y)[0]
    noise = np.sum((y - columns @ fit) ** 2) / (len(x) - 4)
    error = np.sqrt(noise * np.linalg.inv(columns.T @ columns)[3, 3])
    return {"jump": float(fit[3]), "errors": float(fit[3] / error) if error else 0.0}


def trends(rows: list[dict], titles: dict[str, str], at: float | None) -> list[dict]:
    """One row a measure and preset, those that follow p most closely first: `first`, `last` and `rho` of `drift`,
    `apart`, and `jump` and `errors` of the `seam` at p = `at`."""
    table = []
    for name, title in titles.items():
        for which in PRESETS:
            p, value = curve(rows, name, which)
            if moved := drift(p, value):
                step = (at and seam(p, value, at)) or {"jump": None, "errors": None}
                table.append({"measure": title, "preset": which, **moved, "apart": apart(rows, name, which), **step})
    return sorted(table, key=lambda row: -abs(row["rho"]))
