"""Every published figure of the transformers of a modulus, a folder each, named after the run.

A record need not keep all that a figure shows: what cannot be drawn of it is told with the reason, and only
what could be drawn and is not there is missing.  arXiv:2301.05217, figs. 1-7, for the one-layer transformer.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from ...records.record import Record
from ...records.store import Damaged, Store
from ...runs import Model, Run
from . import tasks, transformer
from .paper import save

PRESET_OF = {"transformer": "transformer", "pre-ln": "addition"}  # what to train where there is none


class Network(NamedTuple):
    """The files of one run: name -> does it lie there; those that its record cannot give, with the reason."""

    run_id: str
    there: dict[str, bool]
    written: int
    refused: dict[str, str]


def figures(run: Run) -> dict[str, Callable[[Record], Figure]]:
    """What is drawn of a run, by published name."""
    return transformer.FIGURES if run.model == "transformer" else tasks.figures(run)


def draw(record: Record, folder: Path, formats: Sequence[str], verify: bool) -> Network:
    """Every figure that the record allows; where only verified, those that are not there are tried and not kept."""
    folder = folder / record.run.id
    there, refused, written = {}, {}, 0
    for name, make in figures(record.run).items():
        files = [folder / f"{name}.{form}" for form in formats]
        lacking = [file for file in files if not file.exists() or not file.stat().st_size]
        if lacking or not verify:
            try:
                figure = make(record)
            except ValueError as error:
                refused[name] = str(error)
                continue
            for file in files if not verify else ():
                save(figure, file)
                written += 1
        there |= {f"{record.run.id}/{file.name}": not verify or file not in lacking for file in files}
    return Network(record.run.id, there, written, refused)


def every(
    p: int, shelf: Store, folder: Path, formats: Sequence[str], models: Sequence[Model], verify: bool
) -> tuple[list[Network], dict[str, str]]:
    """(a Network for every finished transformer that the store holds at p, {name: why there is none}).

    `models` are those that must be there; none named takes what is.
    """
    networks, absent = [], {}
    asked = [model for model in PRESET_OF if not models or model in models]
    cards = {i: card for i, card in shelf.cards().items() if card["run"].p == p and card["run"].model in asked}
    for run_id in sorted(cards):
        if cards[run_id]["provenance"].get("stop_reason") in (None, "stopped"):
            continue
        try:
            record = shelf.get(run_id)
        except Damaged as error:
            absent[f"{run_id}/"] = str(error)
            continue
        if record is not None and record.frames:
            networks.append(draw(record, folder, formats, verify))
    drawn = {cards[network.run_id]["run"].model for network in networks}
    for model in asked if models else ():
        if model not in drawn:
            how = f"scripts/train.py --p {p} --preset {PRESET_OF[model]}"
            absent[f"{model}/"] = f"no finished {model} at p = {p}; train one with {how}"
    return networks, absent
