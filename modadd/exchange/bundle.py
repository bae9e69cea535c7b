"""A run to take along, as one .zip, and such a .zip from elsewhere as a record again.

    README.txt           what this is, how to see it and how to train it again
    run.json             every setting
    record.safetensors   the whole record (`tensors`)
    log.csv              every metric at every kept step
    about.json           final numbers, provenance, and the versions and sources that wrote this
    figures/             those of the published pipeline that this record can give, as .svg and .png
    SHA256SUMS           of all of these, as `sha256sum -c` reads it

Nothing of a bundle is ever unpacked to disk, and of its members only the settings and the record are read.
"""

import hashlib
import io
import json
import platform
import re
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from functools import lru_cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock

from ..records.record import Record
from ..runs import P_GROK, Run, preset
from . import tensors
from .checkpoint import shown

SUFFIX = ".zip"
BYTES, EXPANDED, MEMBERS = 400_000_000, 1 << 30, 200  # of a bundle, of all that is in it, and how many files
SUMS, RECORD, SETTINGS, README = "SHA256SUMS", "record.safetensors", "run.json", "README.txt"
NAME = re.compile(r"README\.txt|run\.json|record\.safetensors|log\.csv|about\.json|figures/[a-z0-9_]{1,80}\.(svg|png)")
LINE = re.compile(r"([0-9a-f]{64})  (\S{1,100})")
PACKAGES = ("torch", "numpy", "scipy", "matplotlib", "safetensors", "streamlit", "altair")
HOMES = {"mlp": "Weights", "transformer": "Transformer", "pre-ln": "Tasks"}
DPI = 120  # of the PNG files
_pencil = threading.Lock()  # matplotlib draws one figure at a time


def command(run: Run) -> str | None:
    """The command line that trains this run from its first step; None for a fork, which needs its parent, and for an
    imported network."""
    if run.parent or run.origin:
        return None
    base = run.preset
    if base == "custom" or (base == "grokking" and run.p < P_GROK):
        base = {"mlp": "standard", "transformer": "transformer", "pre-ln": run.task}[run.model]
    usual = preset(base, run.p)
    named = {"p", "model", "task"}
    changed = {f.name: getattr(run, f.name) for f in fields(Run) if getattr(run, f.name) != getattr(usual, f.name)}
    flags = [f"--{name.replace('_', '-')} {value}" for name, value in changed.items() if name not in named]
    return " ".join(["python scripts/train.py --p", str(run.p), "--preset", base, *flags])


def view(run: Run, server: str = "http://localhost:8501") -> str:
    """The address of a run in the lab."""
    return f"{server.rstrip('/')}/{HOMES[run.model]}?run={run.id}&p={run.p}"


def figures(run: Run) -> dict[str, Callable[[Record], Any]]:
    """What is drawn of a run for print, by its published name: each makes a matplotlib figure of a record."""
    if run.model != "mlp":
        from ..figures.print import published_transformers

        return published_transformers.figures(run)
    from ..figures.print.published import FIGURES

    kinds = {"standard"} | ({"grokking"} if run.frac_train < 1 else set())
    if run.init != "single-freq":
        kinds |= {"quad_random"}
    elif run.activation in ("quad", "relu"):
        kinds |= {f"{run.activation}_single_freq"}
    items = {name: item for name, item in FIGURES.items() if len(item.presets) == 1 and item.presets[0] in kinds}
    items.pop("overview_phase_scatter", None)  # phase_relationship again
    return {name: partial(_make, item) for name, item in items.items()}


def _make(item, record: Record):
    return item.make(record, *item.more)


def draw(record: Record) -> tuple[dict[str, bytes], dict[str, str]]:
    """({file: its bytes}, {figure: why this record does not give it})."""
    made, absent = {}, {}
    for name, make in figures(record.run).items():
        with _pencil:
            try:
                figure = make(record)
            except ValueError as error:
                absent[name] = str(error)
                continue
            for form in ("svg", "png"):
                buffer = io.BytesIO()
                figure.savefig(buffer, format=form, dpi=DPI)
                made[f"figures/{name}.{form}"] = buffer.getvalue()
    return made, absent


@lru_cache(maxsize=1)
def sources() -> str:
    """The SHA-256 of the program's own sources, in the order of their names: which program it was, without git."""
    digest, folder = hashlib.sha256(), Path(__file__).parents[1]
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def written_with() -> dict:
    """Versions of the program and its packages here, and where they ran."""
    from .. import __version__

    there = {name: metadata.version(name) for name in PACKAGES if _installed(name)}
    return {"modadd": __version__, "sources_sha256": sources(), "packages": there,
            "python": platform.python_version(), "platform": platform.platform()}  # fmt: skip


def _installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def write(record: Record, url: str | None = None, with_figures: bool = True) -> bytes:
    """A record as a bundle; `url` is the address of its view, that of a lab on this machine by default."""
    import pyarrow as pa
    from pyarrow import csv

    run, log = record.run, io.BytesIO()
    csv.write_csv(pa.table({"step": record.steps, **record.history}), log)
    drawn, absent = draw(record) if with_figures else ({}, {})
    about = {"summary": record.summary, "provenance": record.provenance, "written_with": written_with()}
    files = {
        README: readme(record, url or view(run), absent).encode(),
        SETTINGS: json.dumps(asdict(run), indent=1, sort_keys=True).encode(),
        RECORD: tensors.to_safetensors(record, coded=True),
        "log.csv": log.getvalue(),
        "about.json": json.dumps(about, indent=1).encode(),
    } | drawn
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=5) as archive:
        for name, content in (files | {SUMS: sums.encode()}).items():
            member = zipfile.ZipInfo(name)  # of no date: equal records make equal members
            member.external_attr = 0o644 << 16
            member.compress_type = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(member, content)
    return buffer.getvalue()


def save(record: Record, file: Path | str, **how) -> Path:
    """Write a bundle to a file; `how` as in `write`."""
    file = Path(file)
    part = file.with_name(f".{file.name}.part")  # whole or not at all
    part.write_bytes(write(record, **how))
    part.replace(file)
    return file


def load(file: Path | str) -> Record:
    """The record in a bundle on disk; the inverse of `save`.  Raises ValueError as `read`."""
    with Path(file).open("rb") as opened:
        return read(opened.read(BYTES + 1), Path(file).name)


def readme(record: Record, url: str, absent: Mapping[str, str]) -> str:
    """What a bundle says of itself."""
    run, now = record.run, record.summary
    again = command(run)
    if run.parent:
        again = f"It left {run.parent}: bring that run too, then fork it on the page Forks with these settings."
    elif run.origin:
        again = "It was read from checkpoints of another program, whose training is not known here."
    numbers = ("steps", "stop_reason", "train_loss", "test_loss", "train_accuracy", "test_accuracy", "ipr",
               "mean_abs_sin_D", "stage1_end", "stage2_end")  # fmt: skip
    told = "\n".join(f"    {name:<16} {'-' if now[name] is None else now[name]}" for name in numbers)
    missing = "".join(f"\nNot drawn: {name}: {why}." for name, why in absent.items())
    seen = record.provenance
    return f"""{run.id}

A network that learned addition modulo {run.p}, recorded by modadd, a laboratory of how networks learn that.
Trained for {record.step:,} steps on {seen["device"]} with torch {seen["torch"]}, until {seen["finished"]}.

{told}

See it: open the page Import of the lab and give it this file, or

    python scripts/import_run.py {run.id}{SUFFIX}

and then {url}

Train it again:

    {again}

On the same kind of processor with the same versions (about.json) this gives the same numbers.

In here: run.json, every setting; record.safetensors, everything that was measured; log.csv, every metric at every
kept step; about.json, final numbers and versions; figures, for print. `sha256sum -c {SUMS}` checks them all.
{missing}
"""


def read(content: bytes, name: str = "the file") -> Record:
    """The record in a bundle, or in a record.safetensors alone, unchanged.

    Raises ValueError with one sentence that names the file: if it holds anything that `write` does not, more than
    it may, other bytes than its checksums say, or a record that cannot be (`tensors.check`).
    """
    name = shown(name)
    try:
        if tensors.is_record(content):
            return tensors.from_safetensors(content)
        files = _members(content)
        record = tensors.from_safetensors(files[RECORD])
        if json.loads(files[SETTINGS]) != asdict(record.run):
            raise ValueError(f"its {SETTINGS} and its record are not of the same run")
        return record
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no bundle of a run: {str(error).rstrip('.')}") from None


def is_bundle(name: str, content: bytes) -> bool:
    """Is this a file for `read`, rather than a checkpoint, by its name and its first bytes?"""
    return name.lower().endswith(SUFFIX) or (name.lower().endswith(".safetensors") and tensors.is_record(content))


def _members(content: bytes) -> dict[str, bytes]:
    """Every file of a bundle by name, each as its checksum says."""
    if len(content) > BYTES:
        raise ValueError(f"it is larger than {BYTES:,} bytes")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            _check_members(members)
            files = {member.filename: archive.read(member) for member in members}
    except ValueError:
        raise
    except Exception as error:  # a foreign archive makes zipfile raise nearly anything
        raise ValueError(f"it cannot be unpacked ({type(error).__name__})") from None
    lines = files.pop(SUMS).decode(errors="replace").splitlines()
    sums = {found[2]: found[1] for line in lines if (found := LINE.fullmatch(line))}
    if len(sums) != len(lines) or sums.keys() != files.keys():
        raise ValueError(f"its {SUMS} does not list its files")
    if wrong := [n for n in files if hashlib.sha256(files[n]).hexdigest() != sums[n]]:
        raise ValueError(f"the checksum of {wrong[0]} does not match its content")
    return files


def _check_members(members: list[zipfile.ZipInfo]):
    """Refuse what `write` does not write, before anything is unpacked."""
    names = [member.filename for member in members]
    if len(names) > MEMBERS or len(set(names)) < len(names):
        raise ValueError(f"it must hold at most {MEMBERS} files, each once")
    if foreign := [n for n in names if n != SUMS and not NAME.fullmatch(n)]:
        raise ValueError(f"it holds {shown(foreign[0])!r}, which is none of a bundle's files")
    if missing := {SUMS, RECORD, SETTINGS} - set(names):
        raise ValueError(f"it lacks {min(missing)}")
    size = sum(member.file_size for member in members)
    if size > EXPANDED:
        raise ValueError(f"it would unpack to {size / 1e6:,.0f} MB, the most is {EXPANDED / 1e6:,.0f}")
    packed = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if any(member.flag_bits & 1 or member.compress_type not in packed for member in members):
        raise ValueError("its files are encrypted, or packed in a way that a bundle is not")


def told(record: Record) -> str:
    """What a bundle holds, in a sentence."""
    run, seen = record.run, record.provenance
    kind = {"mlp": "", "transformer": " of a transformer", "pre-ln": f" of a transformer on {run.task}"}[run.model]
    return (
        f"{run.id}: a {run.preset} run{kind} at p = {run.p}, {record.step:,} steps, {shown(seen['finished'], 10)}, "
        f"with {len(record.frames):,} frames."
    )


def keep(record: Record, store, name: str) -> Record:
    """Put a record from elsewhere among the user's runs, its provenance saying from which file.

    Raises ValueError with one sentence where a run of this id is there already: it may be another one's numbers
    under the name of yours.
    """
    run_id = record.run.id
    try:
        with store.lock(run_id):
            if store.where(run_id) == "cache":
                raise ValueError(f"{run_id} is among your runs already: delete that one first to take this one")
            seen = record.provenance | {"bundle": shown(name)}
            kept = Record(record.run, record.steps, record.history, record.frames, record.frame_steps, seen,
                          record.state)  # fmt: skip
            store.put(kept)
            return kept
    except filelock.Timeout:
        raise ValueError(f"{run_id} is trained on this machine now: pause it first") from None
