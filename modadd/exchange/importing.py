"""Networks trained elsewhere: checkpoint files, read into a Record like any other, and whole runs of this program.

Weights tell the modulus and the width.  What they cannot tell (activation, split, optimiser) somebody has to, and
which pairs were trained on stays unknown: train and test are a split of this program.
"""

import hashlib
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..frames.mlp import take_frame
from ..frames.schema import WEIGHT_BYTES
from ..records.record import Record
from ..runs import EPOCHS_MAX, Run
from . import bundle
from .checkpoint import FILE_BYTES, SUFFIXES, Orientation, read, shown

ALL_BYTES, FILES = 4_000_000_000, 1000
STEP = re.compile(r"(?:(?:step|epoch|checkpoint|ckpt|model)[_-]?)?(\d{1,7})", re.I | re.ASCII)


class File(NamedTuple):
    """A file by name; `read` gives its bytes."""

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Found:
    """What was understood: modulus, neurons, width of the embedding (0 for none), the files in the order of
    their steps, how their matrices are read, the SHA-256 of the file (of several: of their SHA-256 in that
    order), and what had to be assumed, in a sentence."""

    p: int
    d_mlp: int
    embedding: int
    moments: tuple[tuple[int, File], ...]
    orientation: Orientation
    sha256: str
    assumed: str | None

    @property
    def steps(self) -> list[int]:
        return [step for step, _ in self.moments]


def files_at(path: Path | str) -> list[File]:
    """The checkpoint at a path, or those in a folder.  Raises ValueError with one sentence where there is none,
    too many, or one that is a link out of its folder."""
    path = Path(path)
    if path.is_file():
        return [_file(path)]
    if not path.is_dir():
        raise ValueError(f"{shown(path)} is neither a file nor a folder: name a checkpoint or a folder of them")
    chosen = []
    for count, entry in enumerate(path.iterdir(), 1):
        if count > FILES:
            raise ValueError(
                f"{shown(path.resolve().name)} holds more than {FILES:,} entries: move the checkpoints to import"
            )
        if entry.suffix.lower() in SUFFIXES and not entry.name.startswith("."):
            if not entry.resolve().is_relative_to(path.resolve()):
                raise ValueError(f"{shown(entry.name)} is a link out of its folder: copy the file there")
            if entry.is_file():
                chosen.append(_file(entry))
    if not chosen:
        raise ValueError(f"{shown(path.resolve().name)} holds no checkpoint: a file ends with {', '.join(SUFFIXES)}")
    return chosen


def _file(path: Path) -> File:
    most = bundle.BYTES if path.suffix.lower() == bundle.SUFFIX else FILE_BYTES

    def read() -> bytes:
        with path.open("rb") as opened:
            return opened.read(most + 1)

    return File(path.name, read)


def whole_run(files: Sequence[File]) -> Record | None:
    """The record in these files if they are one run of this program, a bundle or a record.safetensors; None if they
    are checkpoints.  Raises ValueError with one sentence for a bundle that cannot be trusted, or is not alone."""
    packed = [file.name for file in files if file.name.lower().endswith(bundle.SUFFIX)]
    if packed and len(files) > 1:
        raise ValueError(f"{shown(packed[0])} is a whole run: give it alone")
    if len(files) != 1 or not bundle.is_bundle(files[0].name, content := files[0].read()):
        return None
    return bundle.read(content, files[0].name)


def find(
    files: Iterable[File], p: int | None = None, orientation: Orientation = "by shape", last_step: int | None = None
) -> Found:
    """Read every file once and say what they hold.

    A step comes from the number that is a file's name ("200.pth", "step_0000200.safetensors"), else from `epoch` or
    `step` in the file; one file without either is the last, at `last_step`.  Raises ValueError with one sentence.
    """
    networks: dict[tuple, str] = {}
    placed: dict[int | None, tuple[File, str]] = {}
    total = 0
    for count, file in enumerate(files, 1):
        data = file.read()
        total += len(data)
        if total > ALL_BYTES or count > FILES:
            raise ValueError(f"these are more than {FILES:,} files or {ALL_BYTES:,} bytes: import fewer checkpoints")
        theta, _, embedding, noted = read(file.name, data, p, orientation)
        networks.setdefault((theta.shape[1], theta.shape[0], embedding), file.name)
        if len(networks) > 1:
            raise ValueError(f"{' and '.join(map(shown, networks.values()))} are networks of different shapes")
        number = STEP.fullmatch(Path(file.name).stem)
        step = int(number[1]) if number else noted
        if step in placed:
            at = "without a step in the name" if step is None else f"of step {step:,}"
            raise ValueError(f"{shown(placed[step][0].name)} and {shown(file.name)} are both {at}: rename one")
        placed[step] = file, hashlib.sha256(data).hexdigest()
    if not networks:
        raise ValueError("no file was given: choose a checkpoint or several")
    assumed = None
    if None in placed:
        last, steps = placed.pop(None), sorted(placed)
        if last_step is None:
            last_step = 2 * steps[-1] - steps[-2] if steps[1:] else steps[-1] + 1 if steps else 1
            assumed = f"{shown(last[0].name)} does not say its step: counted as step {last_step:,}"
        if steps and last_step <= steps[-1]:
            raise ValueError(f"{shown(last[0].name)} is the last: its step must be above {steps[-1]}, got {last_step}")
        placed[last_step] = last
    order = sorted(placed)
    if not 0 <= order[0] <= order[-1] <= EPOCHS_MAX:
        raise ValueError(f"steps must lie between 0 and {EPOCHS_MAX:,}, got {order[-1 if order[0] >= 0 else 0]:,}")
    digests = [placed[step][1] for step in order]
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    ((P, M, embedding),) = networks
    return Found(P, M, embedding, tuple((step, placed[step][0]) for step in order), orientation, digest, assumed)


def told(found: Found) -> Iterator[str]:
    """What was understood, and what was not, in sentences."""
    steps, first = found.steps, "one step" if len(found.steps) == 1 else f"{len(found.steps):,} steps"
    span = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    through = f", through an embedding of width {found.embedding:,} that is multiplied in" if found.embedding else ""
    yield f"A network of p = {found.p} with {found.d_mlp:,} neurons{through}, at {first}: {span}."
    if found.assumed:
        yield f"{found.assumed}."
    yield (
        "Weights do not tell which pairs were trained on: train and test are this program's own split of the share "
        "and seed given."
    )


def record(found: Found, name: str, look: Callable[[int], None] | None = None, **settings) -> Record:
    """The network as a Record: a frame and a history row at every step that was found.

    `settings` are those of Run that weights cannot tell; train and test are the split that they describe here.
    `look` sees how many steps are measured.  Raises ValueError with one sentence for a bad setting.
    """
    import torch

    from ..data import METRICS
    from ..networks.mlp.step import Step

    run = Run(
        p=found.p, d_mlp=found.d_mlp, epochs=max(1, found.steps[-1]), origin=found.sha256[:16], **settings
    )  # fmt: skip
    network = Step(run)
    stride = max(1, -(-len(found.moments) * 4 * run.d_mlp * run.p // WEIGHT_BYTES))
    history_TC, frames = np.empty((len(found.moments), len(METRICS)), np.float32), []
    for i, (at, file) in enumerate(found.moments):
        theta, xi, *_ = read(file.name, file.read(), found.p, found.orientation)
        if theta.shape != (run.d_mlp, run.p):
            raise ValueError(f"{shown(file.name)} has changed while it was read: import it again")
        theta_PM, xi_MP = torch.from_numpy(theta).T.contiguous(), torch.from_numpy(xi)
        history_TC[i, :-1] = network.metrics(theta_PM, xi_MP).ravel().numpy()
        history_TC[i, -1] = torch.linalg.vector_norm(torch.cat([theta_PM.ravel(), xi_MP.ravel()]))
        held = at == found.steps[-1] or i % stride == 0
        frames.append(take_frame(theta_PM.T, xi_MP, network.log_probabilities_NP, run, held))
        if look is not None:
            look(i + 1)
    return Record(
        run, np.array(found.steps), {metric: history_TC[:, i] for i, metric in enumerate(METRICS)},
        tuple(frames), tuple(found.steps),
        {
            "steps": found.steps[-1], "stop_reason": "epochs", "seconds": 0.0, "steps_per_second": None,
            "device": "imported", "threads": None, "together": 1,
            "torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "imported": shown(name), "sha256": found.sha256, "embedding": found.embedding, "assumed": found.assumed,
        },
    )  # fmt: skip
