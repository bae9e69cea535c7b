"""Records as bytes on disk: the user's own diskcache, and the read-only atlas beside it.

Nothing here pickles: diskcache is restricted to string keys and bytes, and a value is a checksum
followed by a zip of plain .npy arrays, which numpy opens with `allow_pickle=False`.
"""

import contextlib
import hashlib
import importlib.metadata
import io
import json
import logging
import os
import re
import sqlite3
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import diskcache
import filelock
import numpy as np

from ..frames.schema import is_weight
from ..runs import EPOCHS_MAX, Run, stand_ins
from .bin import Bin, run_of
from .index import Damaged, Index, Lying, Unkept, mended, why
from .record import Record, read_card

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = (ROOT / "pyproject.toml").exists()


def _installed_atlas() -> Path:
    """Where pip put the atlas: share/modadd/atlas of the environment."""
    files = importlib.metadata.files("modadd") or []
    there = (Path(str(file.locate())).resolve().parent for file in files if file.match("share/modadd/atlas/*.npz"))
    return next(there, ROOT / "no-atlas")


ATLAS = ROOT / "cache" / "atlas" if CHECKOUT else _installed_atlas()
RUNS = ROOT / "cache" / "runs" if CHECKOUT else Path.home() / ".cache" / "modadd" / "runs"
MAGIC = b"modadd1\n"
EXPANDED = 4 << 30  # bytes of all arrays of a record; the widest network with its state takes a third of it
log = logging.getLogger(__name__)
SEEDS = "seeds"  # folder in an atlas: outlines of the presets with other seeds
ID = re.compile(r"p\d{3}-[a-z0-9_]{1,40}-[0-9a-f]{10}", re.ASCII)


def default_folder() -> Path:
    """The user's own cache: MODADD_CACHE if set, else cache/runs of a checkout, or ~/.cache/modadd/runs."""
    return Path(os.environ.get("MODADD_CACHE") or RUNS)


def to_bytes(record: Record) -> bytes:
    """A record as MAGIC, the SHA-256 of the rest, and a zip of .npy arrays."""
    return sealed(write_archive(record.to_arrays()))


def sealed(archive: bytes) -> bytes:
    return MAGIC + hashlib.sha256(archive).digest() + archive


def unsealed(blob: bytes) -> bytes:
    """The archive in a record's bytes; raises Damaged if a byte of it changed."""
    head, archive = blob[: len(MAGIC) + 32], blob[len(MAGIC) + 32 :]
    if head != MAGIC + hashlib.sha256(archive).digest():
        raise Damaged("its checksum does not match its content")
    return archive


def from_bytes(blob: bytes, most: int = EXPANDED) -> Record:
    """The record; raises Damaged if a byte of it changed or its arrays take more than `most` bytes,
    ValueError if it is of another schema or no record at all."""
    archive = io.BytesIO(unsealed(blob))
    try:
        with zipfile.ZipFile(archive) as members:
            size = sum(member.file_size for member in members.infolist())
        if size > most:
            raise Damaged(f"its arrays would take {size / 1e6:,.0f} MB, the most is {most / 1e6:,.0f}")
        with np.load(archive, allow_pickle=False) as arrays:
            arrays = dict(arrays)
        # An array without content may claim any length, and loops would believe it.
        if hollow := [name for name, array in arrays.items() if not array.nbytes and max(array.shape) > EPOCHS_MAX]:
            raise Damaged(f"its array {hollow[0][:40]!r} is hollow")
        return Record.from_arrays(arrays)
    except ValueError:
        raise
    except MemoryError:
        raise Damaged("its arrays take more memory than there is now") from None
    except Exception as error:  # a foreign archive makes zipfile and numpy raise nearly anything
        raise Damaged(f"it is no archive of arrays ({type(error).__name__})") from None


def write_archive(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A zip that `numpy.load` reads: weights (noise) and what is coded as they are, everything else deflated."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=5) as archive:
        for name, array in arrays.items():
            # A fixed date makes equal records equal bytes.
            member = zipfile.ZipInfo(f"{name}.npy")
            last = name.rpartition("/")[2]
            noise = "state/" in name or last in ("film", "curves") or is_weight(name.rpartition("frames/")[2])
            member.compress_type = zipfile.ZIP_STORED if noise else zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(
                    file, np.ascontiguousarray(array).reshape(np.shape(array)), allow_pickle=False
                )
    return buffer.getvalue()


class Store:
    """Where records live.  `get` looks among the user's runs first, then in the atlas."""

    def __init__(self, folder: Path | str = RUNS, atlas: Path | str | None = ATLAS):
        self.atlas = Path(atlas) if atlas else None
        self._index = Index(Path(folder))
        self.folder = self._index.folder
        _ = self._cache  # what the index lacks is put into it now

    @property
    def fault(self) -> str | None:
        """Why this folder keeps nothing new, in a sentence; None as it should be."""
        return self._index.fault

    @property
    def _cache(self) -> diskcache.Cache:
        """The index, on the folder as it is now."""
        cache = self._index.cache()
        if self._index.renewed:
            self._index.renewed = False
            self.rebuild()
        return cache

    def rebuild(self) -> int:
        """Enter every run that the index lacks, or of which it names a shorter or a damaged record, from its longest,
        then latest intact file; returns how many runs.

        Only files that a cache of this folder wrote are touched: one whose checksum is wrong is set aside, one that an
        intact record of the index has overtaken is removed.  What cannot be read now, or is of another version of the
        program, stays.  What was done is logged.
        """
        entered, aside, left = 0, 0, 0
        with self._index.writing():
            named, spare = self._index.named(), defaultdict(list)
            for file in sorted(self._index.strays()):
                try:
                    blob = file.read_bytes()
                    record = from_bytes(blob) if blob.startswith(MAGIC) else None
                except (ValueError, OSError, MemoryError):
                    record = None
                if record is not None:
                    spare[record.run.id].append((_rank(record.provenance), file, blob, record))
                elif self._index.fault is None and _damaged(file):
                    file.rename(file.with_suffix(".damaged"))
                    aside += 1
                else:
                    left += 1
            for run_id, copies in spare.items():
                rank, file, blob, record = max(copies, key=lambda copy: copy[:2])
                try:
                    if rank > self._standing(named.get(run_id)):
                        self._enter(record, blob, file)
                        copies.remove((rank, file, blob, record))
                        entered += 1
                    for _, old, _, _ in copies if self._index.fault is None else ():
                        old.unlink(missing_ok=True)
                except (OSError, sqlite3.OperationalError, diskcache.Timeout, MemoryError):
                    left += len(copies)  # no room for a row, or what the index names cannot be read now
        if entered or aside or left:
            log.warning("%s: runs entered into the index: %d; damaged files set aside: %d; files left as they are: %d",
                        self.folder, entered, aside, left)  # fmt: skip
        return entered

    def _enter(self, record: Record, blob: bytes, file: Path):
        """Name a file that is there in the index."""
        home = self._index.home if file.is_relative_to(self._index.home) else self.folder
        value = Lying(blob)
        value.file = file.relative_to(home).as_posix()
        self._index.cache().set(record.run.id, value, tag=bytes(record.to_arrays()["card"]).decode(), retry=False)

    @staticmethod
    def _standing(file: Path | None) -> tuple:
        """The rank of a record that the index names; of one that is lost or damaged, below all others.  Raises OSError
        or MemoryError where it cannot be read now."""
        if file is None:
            return (-1,)
        try:
            with np.load(io.BytesIO(unsealed(file.read_bytes())), allow_pickle=False) as arrays:
                return _rank(read_card(arrays["card"])["provenance"])
        except (FileNotFoundError, Damaged):
            return (-1,)
        except ValueError:  # of another version of the program
            raise OSError("it is of another version") from None

    @mended
    def _keys(self) -> list[str]:
        # diskcache stops at the first row that it cannot read; ours go on without it.
        rows = self._cache._sql("SELECT key FROM Cache WHERE raw = 1 AND typeof(key) = 'text'").fetchall()
        return [key for (key,) in rows if ID.fullmatch(key)]

    @mended
    def _look(self, run_id: str) -> tuple:
        """(open file, card) of a row of the index, or (None, None)."""
        try:
            file, card = self._cache.get(run_id, read=True, tag=True, retry=False)
        except (Damaged, ValueError, TypeError) as error:
            raise Damaged(f"the stored run {run_id} cannot be read: {error}; delete it or train it again") from None
        if isinstance(file, bytes):  # a foreign row: ours are all files
            raise Damaged(f"the stored run {run_id} is not a file; delete it or train it again")
        if file is not None and not isinstance(card, str):
            file.close()
            raise Damaged(f"the stored run {run_id} has no card; delete it or train it again")
        return file, card

    def _sort(self):
        """Put files right that were exchanged, so that each row names the run that it says."""
        with self._index.writing():
            for run_id, file in self._index.named().items():
                with contextlib.suppress(ValueError, OSError):
                    if self._index.fault is None and from_bytes(file.read_bytes()).run.id != run_id:
                        self._index.part(file)
            self.rebuild()

    def _file(self, run_id: str) -> Path | None:
        with contextlib.suppress(Damaged):
            file, _ = self._look(run_id)
            if file is not None:
                with file:
                    return Path(file.name)
        return None

    def put(self, record: Record):
        """Keep a record under its run's id; replaces what was there in one transaction.  Raises Unkept with one
        sentence where the folder does not take it; what was there stays."""
        arrays = record.to_arrays()
        card, archive = bytes(arrays["card"]).decode(), write_archive(arrays)
        blob = sealed(archive)
        try:
            try:
                self._keep(record.run.id, blob, card)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                self._index.renew()
                self._keep(record.run.id, blob, card)
        except (OSError, sqlite3.Error, diskcache.Timeout) as error:
            raise Unkept(f"{record.run.id} could not be kept in {self.folder} ({why(error)}): make room there, or name "
                         "another folder with MODADD_CACHE") from None  # fmt: skip

    def _keep(self, run_id: str, blob: bytes, card: str):
        cache = self._cache
        with self._index.writing():
            cache.set(run_id, blob, tag=card, retry=False)

    def mine(self, run_id: str) -> Record | None:
        """The user's own record of this id, or None.  Raises Damaged if it is there but broken."""
        for sorted_out in (False, True):
            file, _ = self._look(run_id)
            if file is None:
                return None
            try:
                with file:
                    record = from_bytes(file.read())
            except (ValueError, OSError) as error:
                said = error if isinstance(error, ValueError) else f"its file cannot be read now ({why(error)})"
                raise Damaged(f"the stored run {run_id} cannot be read: {said}; delete it or train it again") from None
            if record.run.id == run_id:
                return record
            if not sorted_out:
                self._sort()
        raise Damaged(f"the stored run {run_id} cannot be read: its file holds {record.run.id}; delete it or train it "
                      "again")  # fmt: skip

    def intact(self, run_id: str) -> bool:
        """Is the user's own record of this id there, and its checksum right?"""
        with contextlib.suppress(Damaged):
            file, _ = self._look(run_id)
            if file is not None:
                with file:
                    unsealed(file.read())
                    return True
        return False

    def finished(self, run_id: str) -> bool:
        """Is an intact record of the user's own there, whose training ended?"""
        with contextlib.suppress(ValueError):
            file, card = self._look(run_id)
            if file is not None:
                with file:
                    ended = read_card(card.encode())["provenance"]["stop_reason"] not in (None, "stopped")
                return ended and self.intact(run_id)
        return False

    def outlined(self, run: Run) -> Record | None:
        """The atlas's outline of a preset with another seed, in either precision, or None.  Raises Damaged if its file
        cannot be read."""
        names = dict.fromkeys([run.id, replace(run, precision="tf32").id])
        return next((record for name in names if (record := self.shipped(name, SEEDS)) is not None), None)

    def shipped(self, run_id: str, folder: str = "") -> Record | None:
        """The atlas's record of this id, or None.  Raises Damaged if its file cannot be read."""
        with self._atlas_file(run_id, folder) as arrays:
            if arrays is None or f"{run_id}/card" not in arrays:
                return None
            arrays = {key.removeprefix(f"{run_id}/"): arrays[key] for key in arrays if key.startswith(f"{run_id}/")}
            _check_sum(arrays, run_id)
            return Record.from_arrays(arrays)

    def get(self, run_id: str) -> Record | None:
        """The record of this id, or None.  Raises Damaged if it is there but broken.

        Where a preset is not held, what is nearest to it stands in (`runs.stand_ins`); its `run` says so.
        """
        for name in self._names(run_id):
            if (record := self.mine(name) or self.shipped(name)) is not None:
                return record
        return None

    @staticmethod
    def _names(run_id: str) -> list[str]:
        """The ids under which this run may be held, the best first."""
        return [run_id, *stand_ins(run_id)] if ID.fullmatch(run_id) else []

    @contextlib.contextmanager
    def _atlas_file(self, run_id: str, folder: str):
        file = self.atlas and ID.fullmatch(run_id) and self.atlas / folder / f"{run_id[:4]}.npz"
        if not file or not file.exists():
            yield None
            return
        try:
            # Opened here, because numpy leaves a file that is no zip open.
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
                yield arrays
        except (zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
            raise Damaged(f"the atlas file {file.name}, which holds {run_id}, cannot be read: {error}") from None

    def where(self, run_id: str) -> str | None:
        """`cache`, `atlas` or None."""
        for name in self._names(run_id):
            if self._file(name) is not None:
                return "cache"
            if self._in_atlas(name):
                return "atlas"
        return None

    def _in_atlas(self, run_id: str) -> bool:
        return self.atlas is not None and run_id in _cards_of(self.atlas / f"{run_id[:4]}.npz")

    def version(self, run_id: str) -> str:
        """Changes whenever the stored record of this id does."""
        with contextlib.suppress(Damaged):
            for name in self._names(run_id):
                file, _ = self._look(name)
                if file is not None:
                    with file:
                        return f"{file.name}-{os.fstat(file.fileno()).st_mtime_ns}"
                if self._in_atlas(name):
                    return "atlas"
        return ""

    def cards_of_cache(self) -> dict[str, dict]:
        """Run, provenance and summary of the user's own records, without reading their arrays."""
        cards = {}
        for run_id in self._keys():
            with contextlib.suppress(ValueError):
                file, card = self._look(run_id)
                if file is not None:
                    with file:
                        size = os.fstat(file.fileno()).st_size
                    cards[run_id] = read_card(card.encode()) | {"where": "cache", "bytes": size}
        return cards

    def cards_of_atlas(self, folder: str = "") -> dict[str, dict]:
        """The same for the atlas."""
        cards = {}
        for file in sorted((self.atlas / folder).glob("p*.npz")) if self.atlas else ():
            cards |= _cards_of(file)
        return {run_id: dict(card) for run_id, card in cards.items()}

    def cards_of_seeds(self) -> dict[str, dict]:
        """The same for the outlines of other seeds."""
        return {run_id: card | {"where": SEEDS} for run_id, card in self.cards_of_atlas(SEEDS).items()}

    def cards(self) -> dict[str, dict]:
        """Every record there is, by id; the user's own shadow the atlas's."""
        return self.cards_of_atlas() | self.cards_of_cache()

    @property
    def bin(self) -> Bin:
        """The records that were deleted last."""
        return Bin(self._index.home / "bin")

    @mended
    def delete(self, run_id: str) -> str | None:
        """Move one of the user's own records into the bin; its name there, or None where there was no file.

        The atlas is read-only.  Raises ValueError with one sentence where the file cannot be moved.
        """
        with self._index.writing():
            file, name = self._index.named().get(run_id), None
            if file is not None and file.exists():  # also where it cannot be opened now
                if self.fault is not None and not file.is_relative_to(self._index.home):
                    raise ValueError(f"{run_id} cannot be deleted: {self.fault}")
                try:
                    name = self.bin.take(file, run_id)
                except OSError as error:
                    raise ValueError(f"{run_id} cannot be deleted ({why(error)})") from None
            self._cache.delete(run_id, retry=False)
        return name

    def restore(self, name: str) -> str:
        """Put a record of the bin back; its id.  Raises ValueError with one sentence where it is gone or damaged, or
        its run is here again."""
        run_id = run_of(name)
        try:
            with self.lock(run_id):
                if self._file(run_id) is not None:
                    raise ValueError(f"{run_id} is among your runs again: delete that one first")
                record = from_bytes(self.bin.read(name))
                if record.run.id != run_id:
                    raise Damaged(f"the deleted {run_id} is in truth {record.run.id}")
                self.put(record)
                self.bin.drop(name)
        except filelock.Timeout:
            raise ValueError(f"{run_id} is being trained: stop it first") from None
        except Unkept as error:
            raise ValueError(str(error)) from None
        return run_id

    def lock(self, run_id: str) -> filelock.FileLock:
        """Held by whoever trains this run, in any process of this machine."""
        folder = self._index.locks()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return filelock.FileLock(folder / f"{run_id}.lock", timeout=0)

    def sibling(self, run: Run) -> Record | None:
        """The longest-trained record of the same trajectory that can go on as `run`.

        A run that stops on a plateau goes on from runs with that rule only: others may have
        trained past the point where it stops.
        """
        cards = [
            card
            for card in self.cards_of_cache().values()
            if card["run"].trajectory == run.trajectory
            and card["provenance"]["steps"] <= run.epochs
            and (card["run"].plateau or not run.plateau)
        ]
        for card in sorted(cards, key=lambda card: -card["provenance"]["steps"]):
            with contextlib.suppress(Damaged):
                if (record := self.get(card["run"].id)) is not None and record.state is not None:
                    return record
        return None

    def close(self):
        self._index.close()


def _damaged(file: Path) -> bool:
    """Is this proven to be a record of which bytes have changed or are missing?"""
    try:
        blob = file.read_bytes()
        unsealed(blob)
    except Damaged:
        return blob.startswith(MAGIC)
    except (OSError, MemoryError):
        pass
    return False


def _rank(provenance: dict) -> tuple:
    """Of two records of a run the one of the higher rank is kept: the longer training, then the later."""
    return provenance["steps"], provenance["finished"]


def _cards_of(file: Path) -> dict[str, dict]:
    """The cards in an atlas file, read once while it stays as it is; none if it cannot be read."""
    with contextlib.suppress(OSError):
        about = file.stat()
        return _cards_in(file, about.st_mtime_ns, about.st_size)
    return {}


@lru_cache(maxsize=256)
def _cards_in(file: Path, mtime_ns: int, size: int) -> dict[str, dict]:
    cards, sizes = {}, Counter()
    with contextlib.suppress(ValueError, zipfile.BadZipFile, EOFError, OSError, zlib.error), \
            zipfile.ZipFile(file) as archive:  # fmt: skip
        for member in archive.infolist():
            run_id, _, name = member.filename.partition("/")
            sizes[run_id] += member.compress_size
            if name == "card.npy":
                with archive.open(member) as opened:
                    cards[run_id] = read_card(np.lib.format.read_array(opened, allow_pickle=False))
    return {run_id: card | {"where": "atlas", "bytes": sizes[run_id]} for run_id, card in cards.items()}


def _sum(arrays: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of a record's arrays with their names, types and shapes, and of its card but for this sum."""
    digest, card = hashlib.sha256(), json.loads(bytes(arrays["card"]))
    card.pop("sha256", None)
    digest.update(json.dumps(card, sort_keys=True).encode())
    for name in sorted(arrays.keys() - {"card"}):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _check_sum(arrays: Mapping[str, np.ndarray], run_id: str):
    """Damaged where a record of the atlas is not what was written, array for array, or not of this run."""
    try:
        card = json.loads(bytes(arrays["card"]))
        told = card.get("sha256")
        if read_card(arrays["card"])["run"].id != run_id:
            raise Damaged("it is that of another run")
        if told is not None and told != _sum(arrays):
            raise Damaged("its checksum does not match its arrays")
    except (ValueError, AttributeError, RecursionError) as error:
        raise Damaged(f"the record {run_id} of the atlas cannot be read: {error}") from None


def write_atlas(folder: Path, p: int, records: list[Record]) -> Path:
    """One file a modulus: the records under their ids, without state."""
    arrays = {}
    for record in records:
        named = record.without_state().to_arrays()
        card = json.loads(bytes(named["card"])) | {"sha256": _sum(named)}
        named["card"] = np.frombuffer(json.dumps(card).encode(), np.uint8)
        arrays |= {f"{record.run.id}/{name}": array for name, array in named.items()}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"p{p:03d}.npz"
    temporary = file.with_suffix(".part")
    temporary.write_bytes(write_archive(arrays))
    temporary.replace(file)
    return file
