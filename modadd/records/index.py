"""The index of a folder of records: diskcache without its pickles, and what to do when the folder fails.

A record is a file, and a row of the index names it.  Files are on the disk before their row is, so that a power cut
leaves a file without a row, which `Store.rebuild` finds, and never a row whose file is still to come.
"""

import contextlib
import functools
import glob
import os
import re
import shutil
import sqlite3
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any

import diskcache
import filelock

FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")  # what diskcache calls the files it makes
BUSY_SECONDS = 60  # to wait for other processes that write to the same folder


class Damaged(ValueError):
    """A stored record that cannot be trusted or reached, named in one sentence."""


class Unkept(OSError):
    """A record that could not be written, named in one sentence; `record` is the one that may go on."""

    record: Any = None


class Lying(bytes):
    """Bytes that lie on the disk already, in this file of the cache."""

    file = ""


class BytesOnly(diskcache.Disk):
    """diskcache without its pickles: keys are strings, values are bytes, anything else is refused.

    `beyond` is a further folder in which files are looked for and never written.
    """

    beyond: Path | None = None

    def put(self, key):
        if not isinstance(key, str):
            raise TypeError(f"keys are strings, got {type(key).__name__}")
        return key, True

    def get(self, key, raw):
        if not raw or not isinstance(key, str):
            raise Damaged("the cache index holds a foreign key")
        return key

    def store(self, value, read, key=diskcache.UNKNOWN):
        if type(value) is Lying:
            return len(value), diskcache.core.MODE_BINARY, value.file, None
        if type(value) is not bytes:
            raise TypeError(f"values are bytes, got {type(value).__name__}")
        return super().store(value, read, key=key)

    def _write(self, full_path, iterator, mode, encoding=None):
        try:
            size = super()._write(full_path, iterator, mode, encoding)
            with open(full_path, "rb") as written:
                os.fsync(written.fileno())
        except BaseException:  # half a file on a full disk keeps the next one out
            with contextlib.suppress(OSError):
                os.remove(full_path)
            raise
        return size

    def fetch(self, mode, filename, value, read):
        if mode not in (diskcache.core.MODE_RAW, diskcache.core.MODE_BINARY):
            raise Damaged("the cache holds a row that is not plain bytes")
        if filename is not None and not FILE.fullmatch(filename):
            raise Damaged("the cache index names a file that is not one of its own")
        try:
            return super().fetch(mode, filename, value, read)
        except FileNotFoundError:
            if self.beyond is None or filename is None:
                raise
            return (self.beyond / filename).open("rb")
        except OSError as error:  # diskcache would say that there is no such row, and it would be trained again
            raise Damaged(f"its file cannot be opened now ({why(error)})") from None

    def remove(self, file_path):
        if FILE.fullmatch(file_path):
            super().remove(file_path)


class Index:
    """The diskcache of a folder: opened, checked, and opened anew when it breaks or its folder is removed.

    Where the folder cannot be written, `fault` says so in a sentence; its records can be read all the same, and new
    ones go to a folder that is removed when the program ends.  `renewed` is True when files may be there that the
    index does not know.  Raises sqlite3.OperationalError where others keep the index busy.
    """

    def __init__(self, folder: Path):
        # diskcache reads ~ and $NAME in a folder's name; then everybody should.
        self.folder = self.home = Path(os.path.expandvars(folder.expanduser()))
        self.fault: str | None = None
        self._change, self._here = threading.RLock(), threading.local()
        self._begin()

    def cache(self) -> diskcache.Cache:
        """The diskcache, on the folder as it is now."""
        if self._changed():
            with self._change:
                if self._changed():  # removed while this program runs, or set aside by another one
                    self._cache.close()
                    self._begin()
        if getattr(self._here, "cache", None) is not self._cache:
            self._here.cache, self._here.closing = self._cache, _Closing(self._cache)
        return self._cache

    def renew(self):
        """Set a broken index aside and begin a new one."""
        with self.writing(), self._change:
            if not self._changed() and not self._sound():  # or another process was faster
                self._cache.close()
                self._set_aside()
            self._begin()

    def writing(self) -> filelock.FileLock:
        """Held by who writes a file and its row: what others see between the two is not a leftover."""
        self.locks().mkdir(exist_ok=True, mode=self.home.stat().st_mode & 0o777)
        return self._writing

    def locks(self) -> Path:
        return self.home / "locks"

    def files(self) -> set[Path]:
        """Every file that a cache of this folder wrote, by its name, whether the index knows it or not."""
        return {
            home / name
            for home in {self.home, self.folder}
            for name in glob.iglob("??/??/*.val", root_dir=home)
            if FILE.fullmatch(name)
        }

    def named(self) -> dict[str, Path]:
        """The file that each row names, there or not."""
        rows = self._cache._sql("SELECT key, filename FROM Cache WHERE typeof(filename) = 'text'").fetchall()
        homes = dict.fromkeys((self.home, self.folder))
        places = {
            key: [home / name for home in homes] for key, name in rows if isinstance(key, str) and FILE.fullmatch(name)
        }
        return {key: next(filter(Path.exists, files), files[0]) for key, files in places.items()}

    def strays(self) -> set[Path]:
        """Files that no row names."""
        return self.files() - set(self.named().values())

    def part(self, file: Path) -> Path:
        """Take a file from the row that names it; where it lies now."""
        _, place = self._cache.disk.filename()
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        return file.rename(place)

    def close(self):
        self._cache.close()

    def _begin(self):
        try:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)  # a folder that is given stays as it is
            # One a folder: the lock of a folder that is gone excludes nobody.
            self._writing = filelock.FileLock(self.locks() / "index.lock", timeout=BUSY_SECONDS, poll_interval=0.01)
            self._cache = self._open()
            self._number = self._inode()
            if self._sound():
                self.renewed = bool(self.strays())
            else:
                self.renew()
        except (OSError, sqlite3.OperationalError) as error:
            if self.fault or "locked" in str(error):
                raise
            self._retreat(error)

    def _open(self) -> diskcache.Cache:
        try:
            return self._connect()
        except sqlite3.OperationalError:
            raise  # busy, full or read-only: the index itself may be sound
        except sqlite3.DatabaseError:
            with self.writing():
                try:
                    return self._connect()  # another process was faster
                except sqlite3.OperationalError:
                    raise
                except sqlite3.DatabaseError:
                    self._set_aside()
                return self._connect()

    def _connect(self) -> diskcache.Cache:
        # Nothing is ever evicted, and every record is a file of its own, so that a lost index loses none.
        return diskcache.Cache(
            str(self.home), disk=BytesOnly, disk_min_file_size=0, eviction_policy="none", cull_limit=0,
            size_limit=2**62, timeout=10,
        )  # fmt: skip

    def _set_aside(self):
        for file in self.home.glob("cache.db*"):
            file.rename(file.with_name(f"damaged-{file.name}"))

    def _sound(self) -> bool:
        try:
            return self._cache._sql("PRAGMA quick_check(1)").fetchone() == ("ok",)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            return False

    def _retreat(self, error: Exception):
        self.fault = (
            f"the folder of runs, {self.folder}, cannot be written ({why(error)}): what is trained now is kept only "
            "until this program ends"
        )
        self.home = Path(tempfile.mkdtemp(prefix="modadd-"))
        self._removed = weakref.finalize(self, shutil.rmtree, self.home, ignore_errors=True)
        with contextlib.suppress(OSError):
            for file in self.folder.glob("cache.db*"):
                shutil.copyfile(file, self.home / file.name)  # not its mode, which may forbid to write
        self._begin()
        self._cache.disk.beyond = self.folder

    def _inode(self) -> int | None:
        with contextlib.suppress(OSError):
            return (self.home / "cache.db").stat().st_ino
        return None

    def _changed(self) -> bool:
        return self._inode() != self._number


class _Closing:
    """Closes a thread's connection when the thread ends; by itself it would wait for the garbage collector, and every
    look of every page is a thread."""

    def __init__(self, cache: diskcache.Cache):
        self._connection = cache._con

    def __del__(self):
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()


def why(error: BaseException) -> str:
    """What went wrong, in a few words."""
    return getattr(error, "strerror", None) or str(error).splitlines()[0][:200] if str(error) else "it is busy"


def mended(method):
    """A question to the index, asked again of a new one where it turns out to be broken."""

    @functools.wraps(method)
    def asked(self, *args):
        try:
            return method(self, *args)
        except (sqlite3.OperationalError, diskcache.Timeout) as error:
            raise Damaged(f"the index of {self.folder} does not answer now ({why(error)}): try again") from None
        except sqlite3.DatabaseError:
            self._index.renew()
            return method(self, *args)

    return asked
