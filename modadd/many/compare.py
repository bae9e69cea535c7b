"""Several runs beside each other: which go together, what differs between them, and at which moments they match."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from .. import data
from ..maths import fourier, measures
from ..records import rows
from ..records.record import Record, thin_rows
from ..runs import Run, presets_at
from . import seeds

MOST = 6
MATCHES = {"step": "training step", "I": "end of stage I", "II": "end of stage II"}
RESULTS = {
    "step": "steps",
    "train loss": "train_loss",
    "test loss": "test_loss",
    "train accuracy": "train_accuracy",
    "test accuracy": "test_accuracy",
    "held-out accuracy": "held_out_accuracy",
    "IPR": "ipr",
    "mean |sin D|": "mean_abs_sin_D",
    "parameter norm": "param_norm",
    "stage I ends": "stage1_end",
    "stage II ends": "stage2_end",
    "seconds": "seconds",
    "device": "device",
}


def usual(known: Mapping[str, Run], name: str, p: int) -> str | None:
    """Of the runs that are here, the one that stands for a preset at p: its usual seed, trained longest."""
    there = [run for run in known.values() if run.p == p and run.preset == name]
    return min(there, key=lambda run: (run.seed != Run.seed, run.seed, -run.epochs)).id if there else None


def choices(known: Mapping[str, Run], p: int, first: Run | None = None) -> dict[str, list[str]]:
    """Ids of runs that are worth comparing, by what they show: at p, or like `first`.  At most MOST each; fewer than
    two where they are not here."""
    name = first.preset if first is not None else "standard"
    moduli = sorted({run.p for run in known.values() if run.preset == name})
    if len(moduli) > MOST:  # spread over all of them
        moduli = sorted({moduli[round(i * (len(moduli) - 1) / (MOST - 1))] for i in range(MOST)})
    like = first if first is not None else known.get(usual(known, name, p) or "")
    twins = [run for run in known.values() if like is not None and replace(run, seed=like.seed) == like]
    named = {
        f"Every preset at p = {p}": [usual(known, preset, p) for preset in presets_at(p)],
        f"{name} over p": [usual(known, name, modulus) for modulus in moduli],
        f"Every seed of {name}": [run.id for run in sorted(twins, key=lambda run: run.seed)],
        f"ReLU against quadratic at p = {p}": [usual(known, preset, p) for preset in ("standard", "quad_random")],
        f"MLP against transformer at p = {p}": _and_transformers(known, p),
    }
    return {title: [run_id for run_id in ids if run_id][:MOST] for title, ids in named.items()}


def _and_transformers(known: Mapping[str, Run], p: int) -> list[str | None]:
    others = [run_id for name in ("transformer", "addition") if (run_id := usual(known, name, p))]
    return [usual(known, "standard", p), usual(known, "grokking", p), *others] if others else []


def differing(runs: Sequence[Run]) -> list[str]:
    """Names of the settings that are not the same in all runs, in their order."""
    settings = [asdict(run) for run in runs]
    return [name for name in settings[0] if len({one[name] for one in settings}) > 1]


def labels(runs: Sequence[Run]) -> list[str]:
    """A name for each run, as short as tells them apart: modulus, preset, seed, then other settings."""
    parts = [[] for _ in runs]
    for form in (lambda run: f"p = {run.p}", lambda run: run.preset, lambda run: f"seed {run.seed}"):
        if len({form(run) for run in runs}) > 1:
            for part, run in zip(parts, runs, strict=True):
                part.append(form(run))
    found = []
    for run, mine in zip(runs, parts, strict=True):
        same = [other for other, part in zip(runs, parts, strict=True) if part == mine]
        more = [name for name in differing(same) if name not in ("p", "seed", "parent", "origin")]
        found.append(", ".join(mine + [f"{name} {getattr(run, name)}" for name in more[:2]]) or run.preset)
    return [f"{name} ({run.id[-4:]})" if found.count(name) > 1 else name for name, run in zip(found, runs, strict=True)]


def ends(records: Mapping[str, Record], match: str) -> dict[str, int | None]:
    """The step that each run is matched at: where that stage of it ends, or None; 100 where steps are matched, so
    that a percent of it is a step."""
    if match == "step":
        return dict.fromkeys(records, 100)
    return {label: measures.stages(record)[match == "II"] or None for label, record in records.items()}


def curves(records: Mapping[str, Record], name: str, end: Mapping[str, int], points: int = 240):
    """[(label, moments [T], values [T])] of one of `seeds.CURVES` for each run that has it, thinned; a moment is a
    step times 100 / end."""
    found = []
    for label, record in records.items():
        steps, values = seeds.curve(record, name)
        if len(steps):
            keep = thin_rows([values], points)
            found.append((label, steps[keep] * 100 / end[label], values[keep]))
    return found


def moments(records: Mapping[str, Record], end: Mapping[str, int]) -> list[int]:
    """Every moment at which one of these runs has a frame, in whole percent of its `end`."""
    return sorted({round(step * 100 / end[label]) for label, record in records.items() for step in record.frame_steps})


def spectrum(record: Record, step: int | None, layer: str) -> tuple[np.ndarray, int] | None:
    """The share of each frequency in the squared weights of the `input` or `output` layer, [K], and the step of the
    frame; None where the record does not hold it.

    Of an MLP over the neurons whose spectra are kept; of a transformer over W_E and over the map W_L from neurons to
    logits (arXiv:2301.05217, sec. 4); of a pre-ln over W_E alone.
    """
    if record.run.model == "mlp":
        if (found := rows.showing(record, step)) is None:
            return None
        at, frame = found
        held = len(frame["theta"]) if "theta" in frame else len(frame["theta_hat"])
        power_K = (fourier.amplitudes(rows.coefficients(frame, np.arange(held))[layer]) ** 2).sum(0)
    else:
        name = (
            {"input": "embed_norms", "output": "map_norms"}[layer]
            if record.run.model == "transformer"
            else ("embed_power" if layer == "input" else "")
        )
        if (found := record.at(step, name, "nearest")) is None:
            return None
        at, frame = found
        power_K = frame[name] if name == "embed_power" else fourier.amplitudes(frame[name].astype(float)) ** 2
    total = power_K.sum()
    return (power_K / total if total > 0 else power_K), at


def probability(record: Record, step: int | None) -> tuple[np.ndarray, int] | None:
    """The probability of the right answer to every pair, [P, P], and the step of the frame; None where it is not
    held."""
    if (found := record.at(step, "probability", "nearest")) is None:
        return None
    table = found.frame["probability"]
    return (data.grid(table, record.run.p) if table.ndim == 1 else table), found.step
