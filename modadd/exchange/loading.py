"""`modadd.load(path)`: whatever lies there, as a Record."""

from pathlib import Path

from ..records.record import Record
from .files import files_at, path_of
from .importing import record, whole_run
from .reading import find

READING = ("p", "orientation", "last_step")  # how files are read; everything else is a setting of Run


def load(path: Path | str, **settings) -> Record:
    """The Record at a path: a bundle or a record.safetensors as it was written, or a checkpoint or a folder of them,
    measured as training would have.

    `settings` are those of Run that weights cannot tell (activation, frac_train, split, seed, ...), and, where files
    are ambiguous, how they are read: `p`, `orientation` and `last_step` as in `reading.find`.  Nothing in a file is
    ever run.  Raises ValueError with one sentence for what cannot be read or trusted.
    """
    files = files_at(path)
    if (whole := whole_run(files)) is not None:
        if settings:
            raise ValueError(f"{min(settings)} cannot be set for a whole run, which knows its settings: leave it out")
        return whole
    reading = {name: settings.pop(name) for name in READING if name in settings}
    return record(find(files, **reading), path_of(str(path)).resolve().name, **settings)
