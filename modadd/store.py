"""Records as bytes on disk: the user's own diskcache, and the read-only atlas beside it.

Nothing here pickles: diskcache is restricted to string keys and bytes, and a value is a checksum
followed by a zip of plain .npy arrays, which numpy opens with `allow_pickle=False`.
"""

import contextlib
import hashlib
import io
import os
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import diskcache
import filelock
import numpy as np

from .record import DETAILS, Record, read_card
from .runs import Run, twin

ROOT = Path(__file__).resolve().parents[1]
ATLAS = ROOT / "cache" / "atlas"
RUNS = ROOT / "cache" / "runs"
MAGIC = b"modadd1\n"
ATLAS_BYTES = 400_000  # of a record in the atlas at p = 23; see `atlas_limit`
ID = re.compile(r"p\d{3}-[a-z_]{1,40}-[0-9a-f]{10}")


def atlas_limit(p: int) -> int:
    """Bytes of a record in the atlas: generous where every page should work at once, and 40 MB in all."""
    return ATLAS_BYTES if p == 23 else 100_000 if p <= 31 else 75_000


def default_folder() -> Path:
    """The user's own cache: MODADD_CACHE if set, else cache/runs beside the program."""
    return Path(os.environ.get("MODADD_CACHE") or RUNS)


class Damaged(ValueError):
    """A stored record that cannot be trusted, named in one sentence."""


class BytesOnly(diskcache.Disk):
    """diskcache without its pickles: keys are strings, values are bytes, anything else is refused."""

    def put(self, key):
        if not isinstance(key, str):
            raise TypeError(f"keys are strings, got {type(key).__name__}")
        return key, True

    def get(self, key, raw):
        if not raw or not isinstance(key, str):
            raise Damaged("the cache index holds a foreign key")
        return key

    def store(self, value, read, key=diskcache.UNKNOWN):
        if type(value) is not bytes:
            raise TypeError(f"values are bytes, got {type(value).__name__}")
        return super().store(value, read, key=key)

    def fetch(self, mode, filename, value, read):
        if mode not in (diskcache.core.MODE_RAW, diskcache.core.MODE_BINARY):
            raise Damaged("the cache holds a row that is not plain bytes")
        return super().fetch(mode, filename, value, read)


def to_bytes(record: Record) -> bytes:
    """A record as MAGIC, the SHA-256 of the rest, and a zip of .npy arrays."""
    archive = write_archive(record.to_arrays())
    return MAGIC + hashlib.sha256(archive).digest() + archive


def from_bytes(blob: bytes) -> Record:
    """The record; raises Damaged if a byte of it changed, ValueError if it is of another schema."""
    head, archive = blob[: len(MAGIC) + 32], blob[len(MAGIC) + 32 :]
    if head != MAGIC + hashlib.sha256(archive).digest():
        raise Damaged("its checksum does not match its content")
    with np.load(io.BytesIO(archive), allow_pickle=False) as arrays:
        return Record.from_arrays(dict(arrays))


def write_archive(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A zip that `numpy.load` reads: optimiser state as it is (noise), everything else deflated."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=5) as archive:
        for name, array in arrays.items():
            # A fixed date makes equal records equal bytes.
            member = zipfile.ZipInfo(f"{name}.npy")
            member.compress_type = zipfile.ZIP_STORED if "state/" in name else zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(
                    file, np.ascontiguousarray(array).reshape(np.shape(array)), allow_pickle=False
                )
    return buffer.getvalue()


class Store:
    """Where records live.  `get` looks among the user's runs first, then in the atlas."""

    def __init__(self, folder: Path | str = RUNS, atlas: Path | str | None = ATLAS):
        self.folder, self.atlas = Path(folder), Path(atlas) if atlas else None
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        try:
            self._cache = self._open()
            (sound,) = self._cache._sql("PRAGMA quick_check(1)").fetchone()
            if sound != "ok":
                self._cache.close()
                raise sqlite3.DatabaseError(sound)
        except sqlite3.OperationalError:
            raise  # busy, full or read-only: the index itself may be sound
        except sqlite3.DatabaseError:
            self._set_aside()
            self._cache = self._open()
            self.rebuild()

    def _open(self) -> diskcache.Cache:
        # Nothing is ever evicted, and every record is a file of its own, so that a lost index loses none.
        return diskcache.Cache(
            str(self.folder), disk=BytesOnly, disk_min_file_size=0, eviction_policy="none", cull_limit=0,
            size_limit=2**62, timeout=10,
        )  # fmt: skip

    def _set_aside(self):
        for file in self.folder.glob("cache.db*"):
            file.rename(file.with_name(f"damaged-{file.name}"))

    def rebuild(self) -> int:
        """Put every intact record file that the index lacks back into it; returns how many."""
        known, found = set(self._keys()), 0
        kept = {file for run_id in known if (file := self._file(run_id))}
        for file in sorted(self.folder.rglob("*.val")):  # listed first: what is put back is a new file
            if file in kept:
                continue
            with contextlib.suppress(ValueError, OSError):
                record = from_bytes(file.read_bytes())
                if record.run.id not in known:
                    self.put(record)
                    known.add(record.run.id)
                    found += 1
                file.unlink()
        return found

    def _keys(self) -> list[str]:
        # diskcache stops at the first row that it cannot read; ours go on without it.
        rows = self._cache._sql("SELECT key FROM Cache WHERE raw = 1 AND typeof(key) = 'text'").fetchall()
        return [key for (key,) in rows if ID.fullmatch(key)]

    def _look(self, run_id: str) -> tuple:
        """(open file, card) of a row of the index, or (None, None)."""
        try:
            file, card = self._cache.get(run_id, read=True, tag=True, retry=False)
        except (Damaged, ValueError, TypeError) as error:
            raise Damaged(f"the stored run {run_id} cannot be read: {error}; delete it or train it again") from None
        if isinstance(file, bytes):  # a foreign row: ours are all files
            raise Damaged(f"the stored run {run_id} is not a file; delete it or train it again")
        return file, card

    def _file(self, run_id: str) -> Path | None:
        with contextlib.suppress(Damaged):
            file, _ = self._look(run_id)
            if file is not None:
                with file:
                    return Path(file.name)
        return None

    def put(self, record: Record):
        """Keep a record under its run's id; replaces what was there in one transaction."""
        card = bytes(record.to_arrays()["card"]).decode()
        self._cache.set(record.run.id, to_bytes(record), tag=card, retry=False)

    def get(self, run_id: str) -> Record | None:
        """The record of this id, or None.  Raises Damaged if it is there but broken.

        Where the atlas holds a preset in TF32 only, that stands in for float32; its `run` says so.
        """
        if not ID.fullmatch(run_id):
            return None
        file, _ = self._look(run_id)
        if file is not None:
            try:
                with file:
                    return from_bytes(file.read())
            except ValueError as error:
                raise Damaged(f"the stored run {run_id} cannot be read: {error}; delete it or train it again") from None
        with self._atlas_file(run_id) as arrays:
            run_id = self._in_atlas(run_id, arrays)
            if run_id is None:
                return None
            return Record.from_arrays(
                {name.removeprefix(f"{run_id}/"): arrays[name] for name in arrays if name.startswith(f"{run_id}/")}
            )

    @contextlib.contextmanager
    def _atlas_file(self, run_id: str):
        file = self.atlas and self.atlas / f"{run_id[:4]}.npz"
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
        if not ID.fullmatch(run_id):
            return None
        if self._file(run_id) is not None:
            return "cache"
        with self._atlas_file(run_id) as arrays:
            return "atlas" if self._in_atlas(run_id, arrays) else None

    @staticmethod
    def _in_atlas(run_id: str, arrays) -> str | None:
        """The id under which an atlas file holds this run, if it does."""
        for name in (run_id, twin(run_id)) if arrays is not None else ():
            if f"{name}/card" in arrays:
                return name
        return None

    def version(self, run_id: str) -> str:
        """Changes whenever the stored record of this id does."""
        if ID.fullmatch(run_id):
            with contextlib.suppress(Damaged):
                file, _ = self._look(run_id)
                if file is not None:
                    with file:
                        return f"{file.name}-{os.fstat(file.fileno()).st_mtime_ns}"
                return self.where(run_id) or ""
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

    def cards_of_atlas(self) -> dict[str, dict]:
        """The same for the atlas."""
        cards = {}
        for file in sorted(self.atlas.glob("p*.npz")) if self.atlas else ():
            with contextlib.suppress(ValueError, zipfile.BadZipFile, EOFError, OSError, zlib.error), \
                    file.open("rb") as opened, zipfile.ZipFile(opened) as archive, \
                    np.load(opened, allow_pickle=False) as arrays:  # fmt: skip
                for name in arrays:
                    if name.endswith("/card"):
                        run_id = name.removesuffix("/card")
                        members = [m for m in archive.infolist() if m.filename.startswith(f"{run_id}/")]
                        size = sum(m.compress_size for m in members)
                        cards[run_id] = read_card(arrays[name]) | {"where": "atlas", "bytes": size}
        return cards

    def cards(self) -> dict[str, dict]:
        """Every record there is, by id; the user's own shadow the atlas's."""
        return self.cards_of_atlas() | self.cards_of_cache()

    def delete(self, run_id: str) -> bool:
        """Remove one of the user's own records; the atlas is read-only."""
        return self._cache.delete(run_id, retry=False)

    def lock(self, run_id: str) -> filelock.FileLock:
        """Held by whoever trains this run, in any process of this machine."""
        folder = self.folder / "locks"
        folder.mkdir(exist_ok=True, mode=0o700)
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
        self._cache.close()


def squeeze(record: Record, limit: int) -> Record:
    """The most detailed compact form of a record that takes at most `limit` bytes, or the least one."""
    for detail in DETAILS:
        small = record.compact(detail)
        if len(write_archive(small.to_arrays())) <= limit:
            break
    return small


def write_atlas(folder: Path, p: int, records: list[Record]) -> Path:
    """One file a modulus: the records under their ids, without state."""
    arrays = {
        f"{record.run.id}/{name}": array
        for record in records
        for name, array in record.without_state().to_arrays().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"p{p:03d}.npz"
    temporary = file.with_suffix(".part")
    temporary.write_bytes(write_archive(arrays))
    temporary.replace(file)
    return file
