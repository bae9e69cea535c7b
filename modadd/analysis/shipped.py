"""What ships of a run: its coded record, or the outline of another seed, with what was measured of the whole one."""

import numpy as np

from ..maths import measures, theory
from ..records.record import Record
from ..runs import Run
from . import claims, evidence, lottery

RULES = tuple(theory.RULES_TEX)
SCALARS = (
    "vote_ratio", "vote_r2", "vote_r2_three", "vote_third", "vote_margin", "all_pairs", "margin_share", "cv_alpha",
    "cv_beta", "leak_in_3", "leak_in_5", "leak_out_2", "leak_out_3", "even_1", "even_2", "even_3", "even_4",
)  # fmt: skip
BETS = {"lottery-phase": "phase", "lottery-drive": "drive", "lottery-race": "race"}
SLOW = ("flow-quad", "flow-relu")  # claims that integrate every neuron's flow: seconds a run


def measure(record: Record) -> dict[str, float | None]:
    """What a card lacks, by name: the SCALARS of the last frame, of which the vote_* come from a fit to all pairs only
    if `all_pairs` is 1, and else to those with x = 0; `bets`, the neurons whose start and winner are held, and of
    those the hits of each rule; `due`, the step by which the flow expects 90 % aligned; and `claim:NAME`, the number
    that a claim is judged by.

    None where a number does not apply or is not held; inf where a step was not reached.
    """
    frame, run = record.frames[-1], record.run
    found = dict.fromkeys(SCALARS) | {name: frame.get(name) for name in ("cv_alpha", "cv_beta", "margin_share")}
    if not isinstance(told := evidence.peaks(record), str):
        fit, of = told
        found |= {f"vote_{name}": fit[name] for name in ("ratio", "r2", "r2_three", "margin")}
        found["vote_third"] = fit["third"] and fit["third"] / fit["correct"]
        found["all_pairs"] = float(of == "all ordered pairs")
    leaks = lottery.leaks(frame, run).items()
    found |= {f"leak_{layer.removesuffix('put')}_{r}": value for (layer, r), value in leaks}
    if "coherence" in frame:
        even = measures.evenness(frame["coherence"], frame["counts_K"])[0]
        found |= {f"even_{n}": value for n, value in zip(measures.ORDERS, even, strict=True)}
    if run.init == "random" and (start := lottery.start(record)) is not None:
        few = {name: table[: evidence.BETTORS] for name, table in start.items()}
        for rule, bet_M in lottery.bets(few, run.p, run.activation).items():
            told = lottery.score(bet_M, frame["frequency"])
            found |= {"bets": told["n"], f"hits_{rule}": told["hits"]}
    found["due"] = evidence.due(record)
    for claim in claims.CLAIMS:
        if claim.name not in (*SLOW, *BETS) and claim.applies(run):
            value = claims.measured(claim, record)
            found[f"claim:{claim.name}"] = None if isinstance(value, str) else value.value
    return {name: None if value is None or np.isnan(value) else float(f"{value:.6g}") for name, value in found.items()}


def small(record: Record) -> Record:
    """A finished run as it comes along with the lab: compact, or an outline where its seed is not the presets' own."""
    told = measure(record) if record.run.model == "mlp" and record.frames else None
    return record.compact(told) if record.run.seed == Run.seed else record.outline(told)
