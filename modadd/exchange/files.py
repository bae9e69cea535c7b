"""Checkpoints on this machine: the path that somebody types, and the files that lie there."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from .checkpoint import SUFFIXES, shown

FILES = 1000
MOST = 400_000_000  # bytes that are read of one; what it is says how many it may have


class File(NamedTuple):
    """A file by name; `read` gives its bytes."""

    name: str
    read: Callable[[], bytes]


def path_of(typed: Path | str) -> Path:
    """The path that somebody typed: with ~, within quotes or blanks, or as a file:// address."""
    text = str(typed).strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip()
    if text.lower().startswith("file://"):
        text = unquote(urlsplit(text).path)
    try:
        return Path(text).expanduser()
    except RuntimeError:  # of somebody who is not known here
        return Path(text)


def files_at(typed: Path | str) -> list[File]:
    """The file at a path as it was typed, or those in a folder, and one level down where it holds none itself.

    Raises ValueError with one sentence where there is no checkpoint, too much, or a link out of the folder.
    """
    path, said = path_of(typed), "".join(letter if letter.isprintable() else "?" for letter in str(typed))[:300]
    try:
        if path.is_file():
            return [_file(path)]
        if not path.is_dir():
            raise ValueError
    except ValueError:
        raise ValueError(f"{said} is neither a file nor a folder: name a checkpoint or a folder of them") from None
    count = FILES
    for within in (path.iterdir(), path.glob("*/*")):
        found = []
        for entry in within:
            count -= 1
            if count < 0:
                raise ValueError(f"{said} holds more than {FILES:,} entries: move the checkpoints to import")
            if not entry.name.startswith("."):
                if entry.suffix.lower() in SUFFIXES and not entry.resolve().is_relative_to(path.resolve()):
                    raise ValueError(f"{shown(entry.name)} is a link out of its folder: copy the file there")
                if entry.is_file():
                    found.append(_file(entry, entry.relative_to(path).as_posix()))
        if any(Path(file.name).suffix.lower() in SUFFIXES for file in found):
            return sorted(found)
    raise ValueError(f"{said} holds no checkpoint: a file ends with {', '.join(SUFFIXES)}")


def _file(path: Path, name: str | None = None) -> File:
    def read() -> bytes:
        with path.open("rb") as opened:
            return opened.read(MOST + 1)

    return File(name or path.name, read)
