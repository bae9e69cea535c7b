"""A lab that strangers can reach: what they may ask of it.

MODADD_HOSTED=1 turns the limits on; anything but nothing and 0 does, so that a slip of the pen does not open the
house.  Each field of Limits has a variable of its own, MODADD_HOSTED_P and so on, for other numbers.
"""

import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ..runs import Run, step_flop
from ..training.cost import memory_and_disk
from .lab import Job

_unpacking = threading.Lock()
MOST = 10**9  # of any limit
ELSEWHERE = "or train it on a machine of your own"


def hosted() -> bool:
    """Is this a server for strangers?  Then errors keep their details, and nothing is read from paths they name."""
    return os.environ.get("MODADD_HOSTED", "").strip() not in ("", "0")


@dataclass(frozen=True)
class Limits:
    """The most that one run, one visitor and all of them together may have; a visitor is a browser session.

    `upload` are the files of one visitor that are in memory, and `upload_all` those of all of them, in MB.
    `tflop` are the matrix products of a whole run, 10^12 multiplications and additions; `memory` is that of a run
    and `cache` what all stored runs take on disk before no further one is begun, both in MB.
    """

    p: int = 61
    steps: int = 50_000
    d_mlp: int = 4096
    tflop: int = 200
    memory: int = 2000
    cache: int = 4000
    queue: int = 4
    queue_all: int = 16
    upload: int = 60
    upload_all: int = 300


def turn() -> contextlib.AbstractContextManager:
    """Held while a foreign file is unpacked: on a server for strangers one at a time, whatever it unpacks to."""
    return _unpacking if hosted() else contextlib.nullcontext()


def limits() -> Limits:
    """The limits of this server; ValueError with one sentence where a variable is no whole number from 1 on."""
    chosen = {}
    for field in fields(Limits):
        name = f"MODADD_HOSTED_{field.name.upper()}"
        text = os.environ.get(name, "").strip()
        if not text:
            continue
        if not (text.isascii() and text.isdecimal() and len(text) <= 10 and 1 <= int(text) <= MOST):
            raise ValueError(f"{name} must be a whole number from 1 to {MOST:,}, got {text[:40]!r}")
        chosen[field.name] = int(text)
    return Limits(**chosen)


def check(run: Run, most: Limits):
    """ValueError with one sentence where a run is larger than a server allows."""
    memory, _ = memory_and_disk(run)
    asked = {
        "modulus p": (run.p, most.p),
        "number of training steps": (run.epochs, most.steps),
        "number of hidden neurons d_mlp": (run.d_mlp, most.d_mlp),
        "number of floating-point operations (in 10¹²)": (-(-step_flop(run) * run.epochs // 10**12), most.tflop),
        "memory of the run (in MB)": (-(-memory // 10**6), most.memory),
    }
    for what, (value, limit) in asked.items():
        if value > limit:
            raise ValueError(f"the {what} is {value:,} and this server allows {limit:,}: choose less, {ELSEWHERE}")


def admit(run: Run, active: Sequence[Job], visitor: str | None, folder: Path):
    """ValueError with one sentence where this visitor may not begin this run now.

    `active` are the jobs that wait or train, `folder` is where records are kept.  Where nobody is hosted, all may.
    """
    if not hosted():
        return
    most = limits()
    check(run, most)
    mine = sum(job.asked == visitor for job in active)
    if mine >= most.queue:
        raise ValueError(f"you have {mine} runs waiting or training and this server allows {most.queue}: wait for one")
    if len(active) >= most.queue_all:
        raise ValueError(f"{len(active)} runs are waiting or training, as many as this server takes: try again later")
    kept = sum(file.stat().st_size for file in folder.rglob("*.val"))
    if kept >= most.cache * 10**6:
        raise ValueError(
            f"stored runs take {kept // 10**6:,} MB and this server allows {most.cache:,}: delete some, {ELSEWHERE}"
        )


def refuse_upload(length: str | None, session: str, held: Mapping[str, int]) -> str | None:
    """Why a file of this length may not come in, in a sentence; None where it may.  `held` are the bytes of each
    session that are in memory."""
    if length is None or not (length.isascii() and length.isdecimal()):
        return "An upload must say how long it is."
    most, mine = limits(), held.get(session, 0) + int(length)
    if mine > most.upload * 10**6:
        return f"Your files take {mine / 1e6:,.0f} MB and this server allows {most.upload:,}: remove some."
    if sum(held.values()) + int(length) > most.upload_all * 10**6:
        return "Visitors have uploaded as much as this server takes: try again later."
    return None
