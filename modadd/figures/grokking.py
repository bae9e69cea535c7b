"""Memorise, generalise, clean up: the curves of grokking with their stages, the order in which pairs
are learned, and the forces on the weights.  arXiv:2602.16849, sec. 6, figs. 13-16."""

import altair as alt
import numpy as np
import pyarrow as pa

from .. import data
from ..analysis.forces import on_norm
from ..frames.schema import Frame
from ..maths import measures
from ..maths.fourier import mode_names
from ..records.record import Record, thin_rows
from ..runs import Run
from . import curves, grids, stages
from .neurons import round_robin
from .style import (
    COLOURS,
    HEIGHT,
    HUE,
    SEQUENTIAL,
    Drawing,
    colour,
    drawing,
    heatmap,
    long,
    named,
    png_uri,
    ramp,
    step_axis,
    table,
    tips,
    with_step,
)

FORCES = {"loss gradient": HUE["brown"], "weight decay": HUE["blue"], "both": COLOURS["others"]}
ENDS = dict(zip(("end of stage I", "end of stage II", "plateau stop"), stages.SHADES, strict=True))
STACKED = {"top": {"direction": "vertical", "anchor": "start"}}
DOTS_UP_TO = 53  # largest p at which a mark fits into a cell of the probability grid


def history_table(record: Record) -> pa.Table:
    """Every kept row of the history."""
    return pa.table({"step": record.steps, **record.history})


def frame_table(record: Record) -> pa.Table:
    """The means over neurons of every frame."""
    names = ("ipr_in", "ipr_out", "mean_abs_sin_D", "mean_cos_D")
    return pa.table({"step": record.series(names[0])[0], **{name: record.series(name)[1] for name in names}})


def at_step(record: Record, step: int) -> dict:
    """The kept row at or before `step`: its step, and the accuracy of each group or None."""
    row = max(0, int(np.searchsorted(record.steps, step, "right")) - 1)
    values = {group: float(record.history[f"{group}_accuracy"][row]) for group in data.GROUPS}
    return {"step": int(record.steps[row])} | {group: v if np.isfinite(v) else None for group, v in values.items()}


def mean_probability(frame: Frame, run: Run) -> dict[str, float]:
    """Mean probability of the right answer over the pairs of each kind that exists."""
    values, kind = data.grid(frame["probability"], run.p), data.kinds(run)
    return {name: float(values[kind == i].mean()) for i, name in enumerate(data.KINDS) if (kind == i).any()}


def spans(record: Record, ends) -> dict[str, tuple[int, int]]:
    """First and last step of each of the three stages that was entered, given the ends of the first two."""
    return measures.spans(measures.STAGES, (*ends, None), int(record.steps[-1]))


def staged(chart: alt.LayerChart, record: Record, ends, log_steps: bool) -> alt.LayerChart:
    return stages.shaded(chart, spans(record, ends), measures.STAGES, log_steps)


def losses(record: Record, ends, step: int | None = None, log_steps: bool = False) -> alt.LayerChart:
    """Mean cross-entropy (nats, log axis) of training, test and held-out pairs."""
    return staged(curves.losses(record, step, log_steps), record, ends, log_steps)


def accuracies(record: Record, ends, step: int | None = None, log_steps: bool = False) -> alt.LayerChart:
    """Accuracy of training, test, mirrored and held-out pairs; mirrored pairs are rare ones read backwards."""
    groups = {"train": "train", "test": "test", "mirrored": "rare", "held out": "held_out"}
    return staged(_accuracy(record, groups, step, log_steps), record, ends, log_steps)


def order(record: Record, ends, step: int | None = None, log_steps: bool = True) -> alt.LayerChart:
    """Accuracy of common, rare and held-out pairs: the order in which they are learned."""
    groups = {"common": "common", "rare": "rare", "held out": "held_out"}
    return staged(_accuracy(record, groups, step, log_steps), record, ends, log_steps)


def _accuracy(record, groups, step, log_steps):
    columns = {name: record.history[f"{group}_accuracy"] for name, group in groups.items()}
    columns = {name: column for name, column in columns.items() if np.isfinite(column).any()}
    keep = thin_rows([*columns.values()], curves.POINTS)
    rows = long("step", record.steps[keep], {name: column[keep] for name, column in columns.items()})
    y = alt.Y("value:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    return _lines(rows, step_axis(log_steps), y, colour([*columns]), step)


def _lines(rows, x, y, color, step):
    lines = alt.Chart(rows).mark_line(strokeWidth=1.8, clip=True)
    return with_step(
        lines.encode(x=x, y=y, color=color, tooltip=tips(curve="curve", step="step", value="value")), step, rows
    )


def alignment(record: Record, ends, step: int | None = None, log_steps: bool = False) -> alt.LayerChart:
    """Mean |sin D| over all neurons."""
    return staged(curves.misalignment(record, step, log_steps), record, ends, log_steps)


def sparsity(record: Record, ends, step: int | None = None, log_steps: bool = False) -> alt.LayerChart:
    """Mean IPR of both layers together (left axis) and the norm of all weights (right axis)."""
    at, ipr_in = record.series("ipr_in")
    keep = thin_rows([record.history["norm"]], curves.POINTS)
    names = {"IPR": HUE["indigo"], "parameter norm": HUE["graphite"]}
    # The right axis runs from 0 as well, so that a shrinking norm looks as small as it is.
    axes = {
        "IPR": (long("step", at, {"IPR": (ipr_in + record.series("ipr_out")[1]) / 2}), [0, 1], [], "left"),
        "parameter norm": (
            long("step", record.steps[keep], {"parameter norm": record.history["norm"][keep]}),
            [0, float(np.nanmax(record.history["norm"])) * 1.05], [5, 3], "right",
        ),
    }  # fmt: skip
    color = alt.Color(
        "curve:N",
        scale=alt.Scale(domain=[*names], range=[*names.values()]),
        legend=alt.Legend(title=None, orient="top", symbolType="stroke"),
    )
    layers = [
        alt.Chart(rows)
        .mark_line(strokeWidth=1.8, clip=True, strokeDash=dash or [1, 0])
        .encode(
            x=step_axis(log_steps), color=color, tooltip=tips(curve="curve", step="step", value="value"),
            y=alt.Y("value:Q", title=name, scale=alt.Scale(domain=domain), axis=alt.Axis(orient=side)),
        )
        for name, (rows, domain, dash, side) in axes.items()
    ]  # fmt: skip
    both = alt.layer(*layers).resolve_scale(y="independent")
    return staged(with_step(both, step, axes["IPR"][0]).resolve_scale(y="independent"), record, ends, log_steps)


def forces_table(record: Record) -> pa.Table:
    """`on_norm` as a table."""
    return pa.table(on_norm(record))


def forces(record: Record, ends, step: int | None = None, log_steps: bool = False) -> alt.LayerChart:
    """The two forces on the squared norm and their sum, in squared weight a step, on a symmetric log axis."""
    pull = on_norm(record)
    rows = long("step", pull["step"], {name: pull[name] for name in FORCES})
    size = max(float(np.abs(pull[name]).max(initial=0)) for name in FORCES) or 1.0
    decade = 10.0 ** np.floor(np.log10(size))
    ticks = [sign * decade * part for part in (1, 0.1) for sign in (-1, 1)] + [0]
    y = alt.Y(
        "value:Q", title="change of ‖w‖² a step", axis=alt.Axis(format="~g", values=sorted(ticks)),
        scale=alt.Scale(type="symlog", constant=size / 20, domain=[-1.1 * size, 1.1 * size], nice=False),
    )  # fmt: skip
    color = alt.Color(
        "curve:N",
        scale=alt.Scale(domain=[*FORCES], range=[*FORCES.values()]),
        legend=alt.Legend(title=None, orient="top", symbolType="stroke"),
    )
    return staged(_lines(rows, step_axis(log_steps), y, color, step), record, ends, log_steps)


def cells(frame: Frame, run: Run) -> pa.Table:
    """Every ordered pair: its kind, whether its answer is right and with what probability."""
    x, y = np.divmod(np.arange(run.p**2), run.p)
    return table(
        x=x, y=y, kind=np.array(data.KINDS)[data.kinds(run)].ravel(),
        right=data.grid(frame["correct"], run.p).ravel(),
        probability=data.grid(frame["probability"], run.p).ravel().astype(np.float64),
    )  # fmt: skip


def probability(frame: Frame, run: Run, height: int = 400) -> Drawing:
    """Probability of the right answer of every ordered pair; a dot of its kind's colour in every cell that
    is not common, where cells are large enough for a dot."""
    values, kind = data.grid(frame["probability"], run.p), data.kinds(run).ravel()
    if run.p > DOTS_UP_TO:
        uri = png_uri(ramp(values.clip(0, 1), SEQUENTIAL))
        picture = table(uri=np.array([uri]), x=[0], x2=[run.p], y=[0], y2=[run.p])
        return drawing(_picture, {"picture": picture}, p=run.p, height=height)
    rows = cells(frame, run)
    names = tuple(name for i, name in enumerate(data.KINDS) if i and (kind == i).any())
    return drawing(_cells, {"cells": rows, "marks": rows.filter(kind > 0)}, p=run.p, names=names, height=height)


def _picture(p, height):
    axis, end = alt.Axis(grid=False, tickCount=6), {"nice": False}
    x = alt.X("x:Q", title="y", scale=alt.Scale(domain=[0, p], **end), axis=axis)
    y = alt.Y("y:Q", title="x", scale=alt.Scale(domain=[p, 0], **end), axis=axis)
    picture = alt.Chart(named("picture"), height=height).mark_image(smooth=False, aspect=False)
    return picture.encode(url=alt.Url("uri:N"), x=x, x2=alt.X2("x2"), y=y, y2=alt.Y2("y2"))


def _cells(p, names, height):
    few = alt.Axis(values=list(range(0, p, max(1, p // 8))))
    at = {"x": alt.X("y:O", title="y", axis=few), "y": alt.Y("x:O", title="x", axis=few)}
    shown = tips(x="x", y="y", kind="pair") + [alt.Tooltip("probability:Q", title="probability", format=".4~g")]
    legend = {"orient": "top", "title": "probability of the right answer", "format": "%", "gradientLength": 160}
    ground = (
        alt.Chart(named("cells"))
        .mark_rect()
        .encode(
            **at, tooltip=shown,
            color=alt.Color(
                "probability:Q", scale=alt.Scale(domain=[0, 1], range=list(SEQUENTIAL), interpolate="rgb"),
                legend=alt.Legend(**legend),
            ),
        )
    )  # fmt: skip
    marks = (
        alt.Chart(named("marks"))
        .mark_circle(size=max(7, 5000 / p**1.5), opacity=1, stroke="white", strokeWidth=0.6)
        .encode(
            **at, tooltip=shown,
            fill=alt.Fill(
                "kind:N", scale=alt.Scale(domain=list(names), range=[COLOURS[name] for name in names]),
                legend=alt.Legend(orient="top", title=None),
            ),
        )
    )  # fmt: skip
    return (
        alt.layer(ground, marks)
        .properties(height=height)
        .configure_legend(layout=STACKED, symbolBaseFillColor=COLOURS["others"])
    )


def panel(frame: Frame | None, run: Run, height: int = 250) -> Drawing:
    """A small accuracy grid without a legend; with None, the kinds of the pairs alone."""
    frame = frame or {"correct": np.ones(run.p * (run.p + 1) // 2, bool)}
    return grids.accuracy(frame, run, height, legend=False)


def answers(frame: Frame, run: Run, height: int = 400) -> Drawing:
    """The accuracy grid, its two legends one above the other."""
    return grids.accuracy(frame, run, height, legend="stacked")


def spectra(record: Record, frame: Frame, layer: str, height: int = 320) -> alt.Chart:
    """DFT rows of the neurons that show all frequencies at the end of the run, in the order they have then."""
    rows = frame["theta_hat" if layer == "input" else "xi_hat"]
    chosen = round_robin(record.frames[-1]["frequency"], len(rows))
    return heatmap(
        rows[chosen], "Fourier mode", "neuron", f"{layer} weight",
        x_names=mode_names(rows.shape[1]), y_names=chosen, height=height,
    )  # fmt: skip


def is_prime(n: int) -> bool:
    """Whether n has no divisor but 1 and itself."""
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def over_p(summaries: list[dict]) -> pa.Table:
    """One row a run: p, what p is, both stage ends, the plateau stop, their ratio, held-out accuracy; None
    where not reached."""
    ratio = lambda s: s["stage2_end"] / s["stage1_end"] if s["stage2_end"] and s["stage1_end"] else None  # noqa: E731
    stop = lambda s: s["steps"] if s["stop_reason"] == "plateau" else None  # noqa: E731
    rows = sorted(summaries, key=lambda s: (s["p"], s["seed"]))
    return pa.table({
        "run": [s["run_id"] for s in rows], "p": [s["p"] for s in rows], "seed": [s["seed"] for s in rows],
        "modulus": ["prime" if is_prime(s["p"]) else "composite" for s in rows],
        "end of stage I": pa.array([s["stage1_end"] for s in rows], pa.int64()),
        "end of stage II": pa.array([s["stage2_end"] for s in rows], pa.int64()),
        "plateau stop": pa.array([stop(s) for s in rows], pa.int64()),
        "gap ratio": pa.array([ratio(s) for s in rows], pa.float64()),
        "held-out accuracy": pa.array([s["held_out_accuracy"] for s in rows], pa.float64()),
    })  # fmt: skip


def against_p(rows: pa.Table, columns: list[str], title: str, log: bool = False, top: float | None = None) -> alt.Chart:
    """Columns of `over_p` against p: primes round, composites square; not reached open, at the top."""
    p, modulus = rows["p"].to_numpy(), np.array(rows["modulus"].to_pylist())
    values = [rows[name].to_numpy(zero_copy_only=False).astype(float) for name in columns]
    known = np.concatenate(values)[np.isfinite(np.concatenate(values))]
    high = top or (float(known.max()) * (1.6 if log else 1.1) if len(known) else 1.0)
    low = 0.0 if not log else (float(known.min()) / 1.6 if len(known) else high / 10)
    points = table(
        p=np.tile(p, len(columns)), modulus=np.tile(modulus, len(columns)), curve=np.repeat(columns, len(p)),
        value=np.concatenate([np.where(np.isfinite(v), v, high) for v in values]),
        reached=np.where(np.isfinite(np.concatenate(values)), "reached", "not reached"),
    )  # fmt: skip
    axis = alt.Axis(tickMinStep=2, format="d")
    palette = [ENDS.get(name, HUE["indigo"]) for name in columns]
    many = len(columns) > 1  # only then is there room for, and need of, legends
    legend = alt.Legend(orient="top", title=None, symbolType="circle", columns=2) if many else None
    base = alt.Chart(points).encode(
        x=alt.X("p:Q", title="modulus p", scale=alt.Scale(zero=False, padding=12), axis=axis),
        y=alt.Y(
            "value:Q", title=title, scale=alt.Scale(type="log" if log else "linear", domain=[low, high]),
            axis=alt.Axis(format="%" if top == 1 else "~s", tickCount=5, grid=not log),
        ),
        color=alt.Color("curve:N", scale=alt.Scale(domain=columns, range=palette), legend=legend),
        shape=alt.Shape(
            "modulus:N", scale=alt.Scale(domain=["prime", "composite"], range=["circle", "square"]),
            legend=alt.Legend(orient="top", title=None) if many else None,
        ),
        tooltip=tips(p="p", modulus="modulus", curve="measure", value="value", reached="reached"),
    )  # fmt: skip
    full = base.mark_point(filled=True, size=55, opacity=0.9).transform_filter(alt.datum.reached == "reached")
    open_ = base.mark_point(filled=False, size=70, opacity=1).transform_filter(alt.datum.reached == "not reached")
    return (
        alt.layer(full, open_)
        .properties(height=HEIGHT + 110 * many)
        .configure_legend(
            layout=STACKED,
            symbolSize=60,
            symbolBaseFillColor=COLOURS["others"],
            symbolBaseStrokeColor=COLOURS["others"],
        )
    )
