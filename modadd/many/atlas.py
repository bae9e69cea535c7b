"""Every run of a preset, at every modulus, as one table.

A row comes from the card of a record.  A compact record's card holds what `shipped.measure` found in the whole one.
For others that takes seconds each, so it is kept in a file TABLE in the user's folder.  A kept row counts only for the
very record it was taken from: same id, same time of training, same size.
"""

import contextlib
import csv
import threading
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..analysis import claims, evidence_dynamics
from ..analysis.shipped import BETS, RULES, SCALARS, SLOW, measure
from ..records.store import SEEDS, Damaged, Store
from ..runs import PRESETS, PUBLISHED_STEPS, Run, preset, presets_at

TABLE = "table.csv"
HEADER = [
    "run",
    "finished",
    "bytes",
    *SCALARS,
    "bets",
    *(f"hits_{rule}" for rule in RULES),
    "due",
    *(f"claim:{claim.name}" for claim in claims.CLAIMS if claim.name not in (*SLOW, *BETS)),
]
Key = tuple[str, str, int]
_lock, _measured = threading.Lock(), {}


def shared(p: int) -> np.ndarray:
    """gcd(k, p) of every frequency, [K]; all 1 where p is prime."""
    return np.gcd(np.arange(1, (p - 1) // 2 + 1), p)


def standing(run: Run) -> tuple[int, str, int] | None:
    """(p, preset, seed) of a run that differs from its preset in seed and precision only, or is the first half of a
    single-frequency preset; else None."""
    name = run.preset
    plain = name in PRESETS and name in presets_at(run.p) and preset(name, run.p, seed=run.seed)
    if not plain:
        return None
    halves = (plain, replace(plain, epochs=PUBLISHED_STEPS)) if plain.init == "single-freq" else (plain,)
    return (run.p, name, run.seed) if replace(run, precision="fp32") in halves else None


def key_of(card: dict) -> Key:
    """What a record and its kept row have in common."""
    return card["run"].id, str(card["provenance"].get("finished")), card["bytes"]


def table(store: Store) -> tuple[list[dict], list[str]]:
    """(rows, damaged): one row a (p, preset, seed), by p and preset, and the names of what cannot be read.

    The longer run shadows the shorter one, then the user's own the atlas's, then float32 TF32.  A row holds the
    numbers of the card's summary, those of `shipped.measure` (claims under `claims`, without their prefix), and
    `finished`, `where`, `composite`, `plateau` (step of that stop), `gap_ratio` (stage II over stage I),
    `neurons`, `shared_neurons`, `shared_frequencies` (those with gcd(k, p) > 1) and `hit_RULE`.
    """
    there = store.cards_of_seeds() | store.cards()
    cards = [c for c in there.values() if c["provenance"].get("stop_reason") not in (None, "stopped")]
    cards = [card for card in cards if standing(card["run"])]
    held = {run_id[:4] for run_id, card in store.cards_of_atlas().items()}
    damaged = [f.name for f in sorted(store.atlas.glob("p*.npz")) if f.stem not in held] if store.atlas else []
    rows = {}
    for card in sorted(cards, key=lambda c: (c["run"].epochs, c["where"] == "cache", c["run"].precision == "fp32")):
        try:
            rows[standing(card["run"])] = _row(card, _look_up(store, card))
        except Damaged:
            damaged.append(card["run"].id)
    return [rows[place] for place in sorted(rows)], damaged


def outlines(store: Store, p: int) -> list[dict]:
    """The rows, as in `table`, of the other seeds that come along at p."""
    cards = [card for card in store.cards_of_seeds().values() if card["run"].p == p and standing(card["run"])]
    return [_row(card, card["measured"]) for card in cards if card["measured"]]


def _look_up(store: Store, card: dict) -> dict:
    """The kept row of a record; measured now, and kept from now on, if there is none."""
    if card["where"] == SEEDS:  # an outline has nothing else
        return card["measured"]
    if told := _told(card):
        return told
    key, mine = key_of(card), store.folder / TABLE
    for kept in (_measured, _kept(mine)):
        if key in kept:
            return kept[key]
    with _lock:
        if key not in _measured:
            record = store.mine(key[0]) if card["where"] == "cache" else store.get(key[0])
            if record is None:
                raise Damaged(f"the run {key[0]} is gone")
            _measured[key] = measure(record)
            with contextlib.suppress(OSError):  # a folder that cannot be written to costs time, not the page
                _write(mine, {k: row for k, row in _kept(mine).items() if k[0] != key[0]} | {key: _measured[key]})
    return _measured[key]


def _told(card: dict) -> dict | None:
    """What was measured before the record was made compact, if that is all that is measured today."""
    return card["measured"] if card["measured"].keys() >= {*SCALARS, "due"} else None


def _kept(file: Path) -> dict[Key, dict]:
    try:
        about = file.stat()
    except OSError:
        return {}
    return _read(file, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=8)
def _read(file: Path, mtime_ns: int, size: int) -> dict[Key, dict]:
    """The rows of a TABLE as of this time and size; none if it is no table of what is measured today."""
    try:
        with file.open(newline="") as opened:
            rows = csv.DictReader(opened)
            if rows.fieldnames != HEADER:
                return {}
            return {
                (row.pop("run"), row.pop("finished"), int(row.pop("bytes"))): {
                    name: float(value) for name, value in row.items() if value
                }
                for row in rows
            }
    except (OSError, KeyError, ValueError, TypeError):
        return {}


def _write(file: Path, rows: dict[Key, dict]) -> Path:
    temporary = file.with_suffix(".part")
    with temporary.open("w", newline="") as opened:
        out = csv.writer(opened, lineterminator="\n")
        out.writerow(HEADER)
        for key, row in sorted(rows.items()):
            out.writerow([*key, *("" if row.get(n) is None else f"{row[n]:.6g}" for n in HEADER[3:])])
    temporary.replace(file)
    return file


def _row(card: dict, measured: dict) -> dict:
    summary = {name: value for name, value in card["summary"].items() if name != "frequency_counts"}
    p, first, second = summary["p"], summary["stage1_end"], summary["stage2_end"]
    count_K, gcd_K = np.array(card["summary"]["frequency_counts"] or np.zeros((p - 1) // 2, int)), shared(p)
    n = measured.get("bets")
    hits = {rule: measured.get(f"hits_{rule}") for rule in RULES}
    judged = {
        claim.name: measured.get(f"claim:{claim.name}")
        for claim in claims.CLAIMS
        if claim.name not in (*SLOW, *BETS) and claim.applies(card["run"])
    }
    hit = {rule: told / n for rule, told in hits.items() if told is not None}
    return summary | {
        "finished": card["provenance"].get("finished"),
        "where": card["where"],
        "composite": bool((gcd_K > 1).any()),
        "plateau": summary["steps"] if summary["stop_reason"] == "plateau" else None,
        "gap_ratio": second / first if first and second else None,
        **{name: measured.get(name) for name in SCALARS},
        "counts_K": count_K,
        "neurons": int(count_K.sum()),
        "shared_neurons": int(count_K[gcd_K > 1].sum()),
        "shared_frequencies": float((gcd_K > 1).mean()),
        "bets": n,
        "due": measured.get("due"),
        **{f"hit_{rule}": hit.get(rule) for rule in RULES},
        "claims": judged | {name: _skill(hits[rule], n, len(count_K)) for name, rule in BETS.items() if rule in hit},
    }


def _skill(hits: float, n: float, K: int) -> float | None:
    told = evidence_dynamics.skill_of(hits, int(n), K)
    return None if isinstance(told, str) else told.value
