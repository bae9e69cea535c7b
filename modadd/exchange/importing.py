"""Networks that were trained elsewhere, as Records like any other; and whole runs of this program.

Weights tell the modulus and the widths.  What they cannot tell (activation, optimiser) somebody has to.
"""

import platform
import time
from collections.abc import Callable, Sequence

import numpy as np

from ..frames.schema import WEIGHT_BYTES
from ..records.record import Record
from . import bundle, own_losses
from .checkpoint import load, shown
from .files import File
from .reading import Found, left_out, network_of
from .unwrapping import unwrap


def whole_run(files: Sequence[File]) -> Record | None:
    """The record in these files if they are one run of this program, a bundle or a record.safetensors; None if they
    are checkpoints.  Raises ValueError with one sentence for a bundle that cannot be trusted."""
    if len(files) != 1 or not bundle.is_bundle(files[0].name, content := files[0].read()):
        return None
    return bundle.read(content, files[0].name)


def record(found: Found, name: str, look: Callable[[int], None] | None = None, **settings) -> Record:
    """The network as a Record: a frame and a history row at every step that was found, and the history that the files
    tell where it agrees.

    `settings` are those of Run that weights cannot tell.  `look` sees how many steps are measured.  Raises ValueError
    with one sentence for a bad setting.
    """
    import torch

    from . import measuring

    run = found.run(**settings)
    measure = (measuring.OneLayer if found.model == "transformer" else measuring.TwoLayers)(run)
    stride = max(1, -(-len(found.moments) * 2 * run.weights // WEIGHT_BYTES))
    rows, frames = [], []
    opened: tuple[File | None, tuple] = (None, ())
    for i, moment in enumerate(found.moments):
        if opened[0] is not moment.file:
            loaded = load(moment.file.name, moment.file.read())
            opened = moment.file, (unwrap(loaded), loaded.ordered)
        held, ordered = opened[1]
        network = network_of(held.states[moment.place], ordered, found.p, found.orientation)
        if network.sizes != found.network.sizes:
            raise ValueError(f"{shown(moment.file.name)} has changed while it was read: import it again")
        last = i == len(found.moments) - 1
        rows.append(measure.row(network, found.biased))
        with np.errstate(invalid="ignore"):  # a network of zeros has no spread of magnitudes
            frames.append(measure.frame(last or i % stride == 0, last))
        if look is not None:
            look(i + 1)
    steps, history = np.array(found.steps), dict(zip(measuring.METRICS, np.array(rows, np.float32).T, strict=True))
    compared = own_losses.compare({moment.step: moment.told for moment in found.moments}, found.curves, steps, history)
    verdict = own_losses.verdict(compared, run.frac_train, measure.others, bool(found.trained))
    if compared and all(row.agrees for row in compared):
        steps, history = own_losses.joined(found.curves, steps, history)
    return Record(
        run, steps, history, tuple(frames), tuple(found.steps),
        {
            "steps": found.steps[-1], "stop_reason": "epochs", "seconds": 0.0, "steps_per_second": None,
            "device": "imported", "threads": None, "together": 1,
            "torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "imported": shown(name), "sha256": found.sha256, "embedding": found.embedding, "assumed": found.assumed,
            "left_out": left_out(found), "own_losses": verdict,
        },
    )  # fmt: skip
