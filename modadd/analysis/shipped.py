"""What ships of a run: its coded record, or the outline of another seed, with what was measured of the whole one."""

import numpy as np

from ..maths import measures, theory
from ..records.record import Record
from ..runs import Run
from . import claims, evidence_dynamics, evidence_votes, lottery

# Frequencies by the order q = p / gcd(k, p), the number of values that their wave takes, where it is below p.
ORDERS = {"q3": (3, 3), "q5": (5, 5), "q7": (7, 7), "q9": (9, 9), "q11": (11, 15), "q17": (17, 99)}
RULES = tuple(theory.RULES_TEX)
SCALARS = (
    "vote_ratio", "vote_r2", "vote_r2_three", "vote_third", "vote_margin", "all_pairs", "margin_share", "cv_alpha",
    "cv_beta", "leak_in_3", "leak_in_5", "leak_out_2", "leak_out_3", "even_1", "even_2", "even_3", "even_4",
    "off_coprime", *(f"{what}_{q}" for q in ORDERS for what in ("off", "counted")),
)  # fmt: skip
BETS = {"lottery-phase": "phase", "lottery-drive": "drive", "lottery-race": "race"}
# Claims that integrate every neuron's flow, seconds a run; and one of a start that no preset has.
SLOW = ("flow-quad", "flow-relu", "lottery-phase-proved")


def misaligned(record: Record) -> dict[str, float]:
    """Mean |sin D| of the neurons on frequencies coprime to p, `off_coprime`; and where p is composite, for each of
    ORDERS, `off_q` and `counted_q`, the neurons that it is of: of the layer, or of the sample that is held."""
    frame, run = record.frames[-1], record.run
    if "abs_sin_D_K" in frame:
        off_K, count_K = frame["abs_sin_D_K"].astype(float), frame["counts_K"]
    else:
        k_m, D_m = frame["frequency"].astype(int), 2 * frame["phi"].astype(float) - frame["psi"]
        off_K, count_K = measures.misalignment(k_m, D_m, run.K), measures.frequency_counts(k_m, run.K)
    q_K, found = run.p // np.gcd(np.arange(1, run.K + 1), run.p), {}
    mean = lambda there_K: float(np.average(off_K[there_K], weights=count_K[there_K]))  # noqa: E731
    held_K = count_K > 0
    if (coprime_K := held_K & (q_K == run.p)).any():
        found["off_coprime"] = mean(coprime_K)
    for name, (low, high) in ORDERS.items():
        if (there_K := held_K & (q_K >= low) & (q_K <= high) & (q_K < run.p)).any():
            found |= {f"off_{name}": mean(there_K), f"counted_{name}": float(count_K[there_K].sum())}
    return found


def measure(record: Record) -> dict[str, float | None]:
    """What a card lacks, by name: the SCALARS of the last frame, of which the vote_* come from a fit to all pairs only
    if `all_pairs` is 1, and else to those with x = 0; what `misaligned` finds; `bets`, the neurons whose start and
    winner are held, and of those the hits of each rule; `due`, the step by which the flow expects 90 % aligned; and
    `claim:NAME`, the number that a claim is judged by.

    None where a number does not apply or is not held; inf where a step was not reached.
    """
    frame, run = record.frames[-1], record.run
    found = dict.fromkeys(SCALARS) | {name: frame.get(name) for name in ("cv_alpha", "cv_beta", "margin_share")}
    found["vote_margin"] = frame.get("flawed_margin")
    if not isinstance(told := evidence_votes.peaks(record), str):
        fit, of = told
        found |= {f"vote_{name}": fit[name] for name in ("ratio", "r2", "r2_three")}
        found["vote_third"] = fit["third"] and fit["third"] / fit["correct"]
        found["all_pairs"] = float(of == "all ordered pairs")
    leaks = lottery.leaks(frame, run).items()
    found |= {f"leak_{layer.removesuffix('put')}_{r}": value for (layer, r), value in leaks}
    found |= misaligned(record)
    if "coherence" in frame:
        even = measures.evenness(frame["coherence"], frame["counts_K"])[0]
        found |= {f"even_{n}": value for n, value in zip(measures.ORDERS, even, strict=True)}
    if run.init == "random" and (start := lottery.start(record)) is not None:
        few = {name: table[: evidence_dynamics.BETTORS] for name, table in start.items()}
        for rule, bet_M in lottery.bets(few, run.p, run.activation).items():
            scored = lottery.score(bet_M, frame["frequency"])
            found |= {"bets": scored["n"], f"hits_{rule}": scored["hits"]}
    found["due"] = evidence_dynamics.due(record)
    for claim in claims.CLAIMS:
        if claim.name not in (*SLOW, *BETS) and claim.applies(run):
            value = claims.measured(claim, record)
            found[f"claim:{claim.name}"] = None if isinstance(value, str) else value.value
    return {name: None if value is None or np.isnan(value) else float(f"{value:.6g}") for name, value in found.items()}


def small(record: Record) -> Record:
    """A finished run as it comes along with the lab: compact, or an outline where its seed is not the presets' own."""
    told = measure(record) if record.run.model == "mlp" and record.frames else None
    return record.compact(told) if record.run.seed == Run.seed else record.outline(told)
