"""Loss, accuracy, sparsity and alignment over training."""

import numpy as np
import pyarrow as pa

from ..maths import measures
from ..records.record import Record, thin_rows
from . import style
from .chart import Chart
from .over_time import POINTS, Axis, over_time
from .style import COLOURS, HEIGHT, HUE, LAYERS, long

GROUPS = {"train": "train", "test": "test", "mirrored": "rare", "held out": "held_out"}
KINDS = {"common": "common", "rare": "rare", "held out": "held_out"}
LOSS = Axis("loss (nats)", "log")


def history_table(record: Record) -> pa.Table:
    """Every kept row of the history."""
    return pa.table({"step": record.steps, **record.history})


def frame_table(record: Record) -> pa.Table:
    """The means over neurons of every frame."""
    names = ("ipr_in", "ipr_out", "mean_abs_sin_D", "mean_cos_D")
    return pa.table({"step": record.series(names[0])[0], **{name: record.series(name)[1] for name in names}})


def kept(record: Record, what: str, groups: dict[str, str]) -> pa.Table:
    """Loss or accuracy of these groups by step, thinned to what a chart can draw, each where it was measured."""
    parts = []
    for name, group in groups.items():
        column = record.history[f"{group}_{what}"]
        seen = np.flatnonzero(np.isfinite(column))
        rows = seen[thin_rows([column[seen]], POINTS)]
        parts.append(long("step", record.steps[rows].astype(int), {name: column[rows]}))
    return pa.concat_tables(parts)


def stages(record: Record, ends=None) -> dict:
    """The ground of a curve of this record: its stages, given the ends of the first two; none where no pair is held
    out."""
    if record.run.frac_train == 1 or not len(record.steps):
        return {}
    ends = measures.stages(record) if ends is None else ends
    return {"stages": measures.spans(measures.STAGES, (*ends, None), int(record.steps[-1])), "names": measures.STAGES}


def losses(record: Record, step: int | None = None, log_steps: bool = True, ends=None, height: int = HEIGHT) -> Chart:
    """Mean cross-entropy in nats on the training, test and held-out pairs, on a log axis."""
    rows = kept(record, "loss", {name: GROUPS[name] for name in ("train", "test", "held out")})
    return Chart(
        over_time(rows, COLOURS, LOSS, step, log_steps, height=height, **stages(record, ends)), "Loss",
        "Mean cross-entropy in nats: guessing costs ln p."
        + (" Held-out pairs grow more surprising while the others are memorised." if "stages" in stages(record) else "")
        + style.at_the_edge(rows["value"]),
        "Loss of the training, test and held-out pairs by training step", lambda: history_table(record),
    )  # fmt: skip


def accuracies(
    record: Record, step: int | None = None, log_steps: bool = True, ends=None, height: int = HEIGHT
) -> Chart:
    """Share of right answers on the training, test, mirrored and held-out pairs."""
    groups = {name: group for name, group in GROUPS.items() if name != "mirrored" or record.run.model == "mlp"}
    rows = kept(record, "accuracy", groups)
    held_back = record.run.frac_train < 1
    return Chart(
        over_time(rows, COLOURS, Axis("accuracy", "share"), step, log_steps, height=height, **stages(record, ends)),
        "Accuracy",
        "Mirrored: test pairs whose mirror (y, x) is trained. Held out: neither order is." if held_back
        else f"Share of right answers; guessing gets {1 / record.run.p:.1%}.",
        "Accuracy of each group of pairs by training step", lambda: history_table(record),
    )  # fmt: skip


def order(record: Record, step: int | None = None, log_steps: bool = True, ends=None, height: int = HEIGHT) -> Chart:
    """Accuracy of common, rare and held-out pairs: the order in which they are learned."""
    rows, axis = kept(record, "accuracy", KINDS), Axis("accuracy", "share")
    reached = {name: measures.first_at_least(record.steps, record.history[f"{group}_accuracy"], measures.STAGE_ACCURACY)
               for name, group in KINDS.items()}  # fmt: skip
    told = ", ".join(f"{name} {'never' if at is None else f'at step {at:,}'}" for name, at in reached.items())
    return Chart(
        over_time(rows, COLOURS, axis, step, log_steps, height=height, **stages(record, ends)),
        "Accuracy by kind of pair", f"{measures.STAGE_ACCURACY:.0%} are right: {told}.",
        "Accuracy of common, rare and held-out pairs by training step", lambda: history_table(record),
    )  # fmt: skip


def iprs(record: Record, step: int | None = None, log_steps: bool = True, ends=None, height: int = HEIGHT) -> Chart:
    """Mean inverse participation ratio of both layers: 1 means one frequency per neuron."""
    at, ipr_in = record.series("ipr_in")
    rows = long("step", at, dict(zip(LAYERS, (ipr_in, record.series("ipr_out")[1]), strict=True)))
    return Chart(
        over_time(rows, LAYERS, Axis("IPR", "unit"), step, log_steps, height=height, **stages(record, ends)),
        "Sparsity",
        f"IPR, the mean over neurons: 1 is one frequency per neuron, {2 / (record.run.K + 1):.2f} is random.",
        "Inverse participation ratio of both layers by training step",
        lambda: frame_table(record),
    )


def misalignment(
    record: Record, step: int | None = None, log_steps: bool = True, ends=None, height: int = HEIGHT
) -> Chart:
    """Mean |sin D| over all neurons: 0 means psi = 2 phi (or its opposite) everywhere."""
    at, values = record.series("mean_abs_sin_D")
    axis = Axis("mean |sin D|", ends=(0.0, 0.7))
    hue = {"all neurons": HUE["indigo"]}
    drawn = over_time(
        long("step", at, {"all neurons": values}), hue, axis, step, log_steps, levels=(2 / np.pi,), height=height,
        **stages(record, ends),
    )  # fmt: skip
    return Chart(
        drawn, "Misalignment", "0 where ψ = 2φ in every neuron; dashed: 2/π, random phases.",
        "Mean absolute sine of D by training step", lambda: frame_table(record),
    )  # fmt: skip
