"""The bin of a store: records that were deleted and can be had back, each a file as it was."""

import contextlib
import re
from pathlib import Path

MOST = 20  # records in it; the oldest makes room
NAME = re.compile(r"\d{8}\.(p\d{3}-[a-z0-9_]{1,40}-[0-9a-f]{10})", re.ASCII)


class Bin:
    """A folder of deleted records, called NUMBER.ID in the order in which they came."""

    def __init__(self, folder: Path):
        self.folder = folder

    def names(self) -> list[str]:
        """What lies in it, the last deleted first."""
        with contextlib.suppress(OSError):
            return sorted((file.name for file in self.folder.iterdir() if NAME.fullmatch(file.name)), reverse=True)
        return []

    def take(self, file: Path, run_id: str) -> str:
        """Move a record's file into the bin; its name there."""
        there = self.names()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{int(there[0][:8]) + 1 if there else 1:08d}.{run_id}"
        file.replace(self.folder / name)  # a move needs no room, and either happens or does not
        for old in there[MOST - 1 :]:
            self.drop(old)
        return name

    def read(self, name: str) -> bytes:
        """The bytes of a deleted record.  Raises ValueError with one sentence where it is not there any more."""
        try:
            return (self.folder / name).read_bytes() if NAME.fullmatch(name) else b""
        except OSError:
            raise ValueError(f"{run_of(name)} is not in the bin any more") from None

    def drop(self, name: str):
        """Remove one for good."""
        if NAME.fullmatch(name):
            (self.folder / name).unlink(missing_ok=True)


def run_of(name: str) -> str:
    """The id of the run that lies in the bin under this name."""
    return name.partition(".")[2]
