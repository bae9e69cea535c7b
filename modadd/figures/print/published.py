"""Every published figure and table of a modulus, from its records, under its published name.

One folder a modulus, with a folder in it for each transformer (`published_transformers`); a file is there
whole or not at all.  What cannot be drawn is listed with the reason.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ... import data
from ...maths import fourier, measures
from ...records import store
from ...records.record import Record
from ...runs import P_GROK, PRESETS, Model, preset, presets_at
from . import paper, published_transformers

Format = Literal["png", "pdf", "svg"]
RULE = f"first step with train (stage I) or test (stage II) accuracy >= {measures.STAGE_ACCURACY}"


def _plain(column) -> list:
    """Numbers with six digits for JSON, None where there is none."""
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in np.asarray(column, float).ravel()]


def _history(record: Record, *names: str) -> dict:
    return {"step": record.steps.tolist()} | {name: _plain(record.history[name]) for name in names}


def _stage_ends(record: Record) -> dict:
    return dict(zip(("stage1_end", "stage2_end"), measures.stages(record), strict=True)) | {"stage_rule": RULE}


def overview_table(*records: Record) -> dict:
    """Loss at the kept steps and IPR at the frames, of the standard and the grokking run."""
    return {record.run.preset: {
        "loss": _history(record, "train_loss", "test_loss", "held_out_loss"),
        "ipr": {"step": list(record.frame_steps), **{n: _plain(record.series(n)[1]) for n in ("ipr_in", "ipr_out")}},
    } for record in records}  # fmt: skip


def neuron_spectra(standard: Record) -> dict:
    """Magnitudes alpha_k and beta_k of the 20 shown neurons, k = 1 .. K, at the last step."""
    (rows, chosen), (out, _) = paper.dft_rows(standard, "input"), paper.dft_rows(standard, "output")
    alpha, beta = fourier.cosines(rows)[0], fourier.cosines(out)[0]
    frequency = standard.frames[-1]["frequency"]
    return {"step": standard.step, "frequencies": list(range(1, standard.run.K + 1)), "neurons": [
        {"neuron": int(m), "frequency": int(frequency[m]), "input": _plain(a), "output": _plain(b)}
        for m, a, b in zip(chosen, alpha, beta, strict=True)
    ]}  # fmt: skip


def logits_interactive(standard: Record) -> dict:
    """Logits of the p pairs (0, y), centred over the answers."""
    pairs = [{"a": 0, "b": y, "correct": y, "logits": _plain(row)}
             for y, row in enumerate(standard.frames[-1]["logits0"])]  # fmt: skip
    return {"step": standard.step, "pairs": pairs}


def grokk_table(grokking: Record, what: str) -> dict:
    """Loss or accuracy of every group at every kept step, and the ends of the stages."""
    return _history(grokking, *(f"{g}_{what}" for g in data.GROUPS)) | _stage_ends(grokking)


def grokk_epoch_data(grokking: Record) -> dict:
    """The accuracy grid of every frame: 1 where the answer to (x, y) is right, row x, column y."""
    steps, correct_SN = grokking.series("correct")
    grids = data.grid(correct_SN.astype(int), grokking.run.p).tolist()
    return {"steps": steps.tolist(), "grids": grids, "kinds": data.kinds(grokking.run).tolist(),
            "kind_names": data.KINDS, **_stage_ends(grokking)}  # fmt: skip


def metadata(p: int, **records: Record | None) -> dict:
    """Settings, provenance and final numbers of every run that is there."""
    return {"p": p, "stage_rule": RULE, "runs": {
        name: {"settings": asdict(r.run), "provenance": r.provenance, "summary": r.summary}
        for name, r in records.items() if r is not None
    }}  # fmt: skip


def training_log(p: int, **records: Record | None) -> dict:
    """Every metric at every kept step of every run that is there."""
    return {name: _history(r, *r.history) for name, r in records.items() if r is not None}


class Item(NamedTuple):
    """A published file: what draws it, from which presets, with which further arguments."""

    make: Callable
    presets: tuple[str, ...] = ()
    more: tuple = ()


STANDARD, GROKKING, LOTTERY = ("standard",), ("grokking",), ("quad_random",)
FIGURES: dict[str, Item] = {
    "overview_loss_ipr": Item(paper.overview_loss_ipr, ("standard", "grokking")),
    "overview_phase_scatter": Item(paper.phase_relationship, STANDARD),
    "full_training_para_origin": Item(paper.full_training_para_origin, STANDARD),
    "dft_heatmap_in": Item(paper.dft_heatmap, STANDARD, ("input",)),
    "dft_heatmap_out": Item(paper.dft_heatmap, STANDARD, ("output",)),
    "lineplot_in": Item(paper.lineplot, STANDARD, ("input",)),
    "lineplot_out": Item(paper.lineplot, STANDARD, ("output",)),
    "phase_distribution": Item(paper.phase_distribution, STANDARD),
    "phase_relationship": Item(paper.phase_relationship, STANDARD),
    "magnitude_distribution": Item(paper.magnitude_distribution, STANDARD),
    "output_logits": Item(paper.output_logits, STANDARD),
    "lottery_mech_magnitude": Item(paper.lottery, LOTTERY, ("magnitude",)),
    "lottery_mech_phase": Item(paper.lottery, LOTTERY, ("phase",)),
    "lottery_beta_contour": Item(paper.lottery_beta_contour),
    "grokk_loss": Item(paper.grokk_curves, GROKKING, ("loss",)),
    "grokk_acc": Item(paper.grokk_curves, GROKKING, ("accuracy",)),
    "grokk_abs_phase_diff": Item(paper.grokk_abs_phase_diff, GROKKING),
    "grokk_avg_ipr": Item(paper.grokk_avg_ipr, GROKKING),
    "grokk_memorization_accuracy": Item(paper.grokk_memorization_accuracy, GROKKING),
    "grokk_memorization_common_to_rare": Item(paper.grokk_memorization_common_to_rare, GROKKING),
    "grokk_decoded_weights_dynamic": Item(paper.grokk_decoded_weights_dynamic, GROKKING),
    "phase_align_quad": Item(paper.phase_align, ("quad_single_freq",)),
    "phase_align_relu": Item(paper.phase_align, ("relu_single_freq",)),
    "single_freq_quad": Item(paper.single_freq, ("quad_single_freq",), (True,)),
    "single_freq_relu": Item(paper.single_freq, ("relu_single_freq",), (False,)),
    "phase_align_approx1": Item(paper.phase_align_approx, (), (0,)),
    "phase_align_approx2": Item(paper.phase_align_approx, (), (1,)),
}
TABLES: dict[str, Item] = {
    "overview": Item(overview_table, ("standard", "grokking")),
    "neuron_spectra": Item(neuron_spectra, STANDARD),
    "logits_interactive": Item(logits_interactive, STANDARD),
    "grokk_loss": Item(grokk_table, GROKKING, ("loss",)),
    "grokk_acc": Item(grokk_table, GROKKING, ("accuracy",)),
    "grokk_epoch_data": Item(grokk_epoch_data, GROKKING),
}
WHOLE = tuple(PRESETS)
SUMMARIES = {"metadata": metadata, "training_log": training_log}  # of every run that is there, at least one


def wanted(p: int, formats: Sequence[Format]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """({file name: presets it needs}, [files that do not apply at this p])."""
    files = {f"{name}.{form}": item.presets for name, item in FIGURES.items() for form in formats}
    files |= {f"{name}.json": item.presets for name, item in TABLES.items()} | {
        f"{name}.json": () for name in SUMMARIES
    }
    files = {f"p{p:03d}_{name}": needs for name, needs in files.items()}
    skipped = [name for name, needs in files.items() if needs == GROKKING] if p < P_GROK else []
    there = set(presets_at(p))
    return {
        name: tuple(n for n in needs if n in there) for name, needs in files.items() if name not in skipped
    }, skipped


def load(p: int, shelf: store.Store, seed: int = 42) -> tuple[dict[str, Record], dict[str, str]]:
    """({preset: record}, {preset: why there is none})."""
    records, absent = {}, {}
    for name in presets_at(p):
        run = preset(name, p, seed=seed)
        try:
            record = shelf.get(run.id) or shelf.get(replace(run, precision="tf32").id)
        except store.Damaged as error:
            absent[name] = str(error)
            continue
        if record is None or not record.frames:
            how = f"scripts/precompute.py --p {p} --presets {name} --seeds {seed}"
            absent[name] = f"no record of {run.id}; train it with {how}"
        else:
            records[name] = record
    return records, absent


def draw(
    p: int, records: dict[str, Record], folder: Path, formats: Sequence[Format] = ("png",)
) -> tuple[int, dict[str, str]]:
    """Every figure and table that these records allow: (files written, {file: why a record is not enough})."""
    there, count, refused = set(presets_at(p)), 0, {}
    jobs: dict[str, tuple[Item, Sequence[str]]] = {name: (item, formats) for name, item in FIGURES.items()}
    jobs |= {f"{name} ": (item, ["json"]) for name, item in TABLES.items()}  # a figure may have the same name
    jobs |= {f"{name} ": (Item(make, WHOLE), ["json"]) for name, make in SUMMARIES.items()}
    for name, (item, forms) in jobs.items():
        needs = [n for n in item.presets if n in there]
        try:
            if item.presets is WHOLE:
                if not records:
                    continue
                made = item.make(p, **records)
            elif needs and all(n in records for n in needs):
                made = item.make(*(records[n] for n in needs), *item.more)
            elif not item.presets:
                made = item.make(p, *item.more)
            else:
                continue
        except ValueError as error:
            refused |= {f"p{p:03d}_{name.strip()}.{form}": str(error) for form in forms}
            continue
        for form in forms:
            paper.save(made, folder / f"p{p:03d}_{name.strip()}.{form}")
            count += 1
    return count, refused


def publish(
    p: int, shelf: store.Store, out: Path, formats: Sequence[Format] = ("png",), seed: int = 42,
    verify: bool = False, models: Sequence[Model] = (),
) -> dict:  # fmt: skip
    """Draw into `out/p_PPP` (unless only asked to verify) and say what is missing and why.

    `models` are the networks to draw, each of which must be there; by default the MLP and whatever else is there.
    """
    start, folder = time.perf_counter(), out / f"p_{p:03d}"
    expected, written, missing, skipped = 0, 0, {}, []
    if not models or "mlp" in models:
        records, absent = load(p, shelf, seed)
        written, refused = (0, {}) if verify else draw(p, records, folder, formats)
        files, skipped = wanted(p, formats)
        expected = len(files)
        for name, needs in files.items():
            if not (folder / name).exists() or not (folder / name).stat().st_size:
                because = [absent[n] for n in needs if n in absent] or ([refused[name]] if name in refused else [])
                if not records and not needs and name.endswith(".json"):
                    because = [f"no record at p = {p}"]
                missing[name] = "; ".join(because) or _not_drawn(p)
    networks, absent = published_transformers.every(p, shelf, folder, formats, models, verify)
    for network in networks:
        missing |= {name: _not_drawn(p) for name, there in network.there.items() if not there}
    missing |= absent
    return {
        "p": p, "folder": str(folder), "expected": expected + sum(len(n.there) for n in networks) + len(absent),
        "written": written + sum(n.written for n in networks), "missing": missing, "not_applicable": skipped,
        "not_kept": {n.run_id: n.refused for n in networks if n.refused},
        "seconds": round(time.perf_counter() - start, 2),
    }  # fmt: skip


def _not_drawn(p: int) -> str:
    return f"not drawn yet: run scripts/figures.py --p {p}"


def told(result: dict) -> Iterator[str]:
    """What `publish` returned, in words."""
    there = result["expected"] - len(result["missing"])
    yield f"{result['folder']}: {there} of {result['expected']} files, {result['seconds']} s"
    for why in dict.fromkeys(result["missing"].values()):
        names = [name for name, reason in result["missing"].items() if reason == why]
        yield f"  missing {', '.join(names)}: {why}"
    if result["not_applicable"]:
        yield f"  grokking starts at p = {P_GROK}: {len(result['not_applicable'])} files do not apply"
    for run_id, reasons in result["not_kept"].items():
        for why in dict.fromkeys(reasons.values()):
            names = [name for name, reason in reasons.items() if reason == why]
            yield f"  not drawn of {run_id}: {', '.join(names)}: {why}"
