"""What the frames of a transformer say over training: progress measures for one set of key frequencies,
and the phases of training, or None.

A frame knows the key frequencies of its own moment, and early in training there are none.  Progress is
told by the frequencies that the network ends with, so it is read off the tables that frames keep.

Source: arXiv:2301.05217, section 5.2; the boundaries, drawn there by eye, are made explicit here.
"""

import numpy as np

from .. import data
from ..frames import one_layer
from ..frames.schema import Frame
from ..maths.measures import spans as of_stages
from ..records.record import Record
from ..runs import Run

PHASES = ("memorisation", "circuit formation", "cleanup")
RISE, FALL, DONE = 2.0, 0.1, 0.01  # criteria of `phases`
GROUPS = ("train", "test", "all")


def final_keys(record: Record) -> np.ndarray:
    """The key frequencies of the last frame, bool [K]."""
    return np.asarray(record.frames[-1]["keys"], bool)


def progress(record: Record, keys_K) -> dict[str, np.ndarray]:
    """Progress measures with these key frequencies at every frame, [S] each: `step`; `restricted_train`,
    `restricted_test`, `restricted_all` and `trig` (NaN where a frame keeps no `by_sum`); `excluded`, the
    largest training loss with one of them excluded; `fve`; and `excluded_K`, [S, K], one excluded each.
    """
    keys_K, counts = np.asarray(keys_K, bool), one_layer.counts_by_sum(record.run)
    nothing = {f"restricted_{group}": np.nan for group in GROUPS} | {"trig": np.nan}
    rows = []
    for frame in record.frames:
        if "by_sum" not in frame:
            rows.append(nothing)
            continue
        restricted = one_layer.restricted_losses(frame["by_sum"], keys_K, counts)
        rows.append({f"restricted_{group}": restricted[group] for group in GROUPS})
        rows[-1]["trig"] = one_layer.trig_loss(frame["by_sum"], keys_K)
    excluded_SK = np.exp(record.series("log_excluded")[1].astype(float)).reshape(-1, record.run.K)
    one_SK = excluded_SK[:, keys_K]
    return {
        "step": np.array(record.frame_steps), **{name: np.array([row[name] for row in rows]) for name in nothing},
        "excluded": one_SK.max(1) if keys_K.any() else np.full(len(one_SK), np.nan),
        "fve": record.series("fve_K")[1].astype(float).reshape(-1, record.run.K)[:, keys_K].sum(1),
        "excluded_K": excluded_SK,
    }  # fmt: skip


def excluded_together(record: Record, keys_K) -> tuple[np.ndarray, np.ndarray]:
    """(steps, training loss without all these key frequencies) at the frames that keep weights; it runs the
    network over all pairs at each, about 0.2 s a frame at p = 113 on a CPU."""
    steps, losses = [], []
    for step, frame in zip(record.frame_steps, record.frames, strict=True):
        if "weights/W_E" in frame:
            logits = opened(record.run, frame)[1]["logits"]
            part = one_layer.sum_parts(one_layer.by_sum_table(logits))[np.asarray(keys_K, bool)].sum(0)
            losses.append(one_layer.excluded_losses(logits, data.train_mask(record.run), part[None])[0])
            steps.append(step)
    return np.array(steps, int), np.array(losses)


def opened(run: Run, frame: Frame) -> tuple[dict, dict]:
    """(the weights in a frame, `model.forward` of them over all ordered pairs (a, b), a the slow index), torch."""
    import torch

    from ..networks.transformer import model

    folder = "weights/"
    weights = {name.removeprefix(folder): torch.tensor(frame[name]) for name in frame if name.startswith(folder)}
    return weights, model.forward(run, weights, *np.divmod(np.arange(run.p**2), run.p))


def phases(
    record: Record, found: dict[str, np.ndarray], rise: float = RISE, fall: float = FALL, done: float = DONE
) -> tuple[int | None, int | None, int | None]:
    """Steps at which memorisation, circuit formation and cleanup end, from the `progress` of a record; None
    where the criterion is not met.

    Memorisation ends where the excluded loss turns up: at its minimum over training, if it then rises at least
    `rise`-fold.  Circuit formation ends where the restricted loss has turned down: at the first frame at which
    it is below `fall` ln p on the test pairs, so that the circuit alone gives the answers.  Cleanup ends with
    the first test loss below `done` ln p.
    """
    excluded, restricted, chance = found["excluded"], found["restricted_test"], np.log(record.run.p)
    turn, down = None, np.flatnonzero(restricted < fall * chance)
    if np.isfinite(excluded).any():
        lowest = int(np.nanargmin(excluded))
        turn = int(found["step"][lowest]) if np.nanmax(excluded[lowest:]) >= rise * excluded[lowest] else None
    over = np.flatnonzero(record.history["test_loss"] < done * chance)
    return (
        turn,
        int(found["step"][down[0]]) if len(down) else None,
        int(record.steps[over[0]]) if len(over) else None,
    )


def spans(record: Record, ends) -> dict[str, tuple[int, int]]:
    """First and last step of each phase that was entered, given the end of each."""
    return of_stages(PHASES, ends, record.step)
