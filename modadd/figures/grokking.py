"""Memorise, generalise, clean up: sparsity and size, the forces on the weights, spectra at the ends of the stages, and
grokking over p.  arXiv:2602.16849, sec. 6, figs. 13-16."""

import altair as alt
import numpy as np
import pyarrow as pa

from .. import data
from ..analysis.forces import on_norm
from ..frames.schema import Frame
from ..records.record import Record, thin_rows
from ..records.rows import round_robin
from . import over_time, style
from .chart import Chart, drawing
from .curves import frame_table, stages
from .fields import heatmap, modes, unnamed
from .over_time import POINTS
from .style import COLOURS, DASHED, HEIGHT, HUE, long, named, share_axis, step_axis, table, tips

FORCES = {"loss gradient": HUE["brown"], "weight decay": HUE["blue"], "both": COLOURS["others"]}
ENDS = {"end of stage I": HUE["ochre"], "end of stage II": HUE["green"], "plateau stop": HUE["violet"]}
SIZES = {"IPR": HUE["indigo"], "parameter norm": HUE["graphite"]}


def at_step(record: Record, step: int) -> dict:
    """The kept row at or before `step`: its step, and the accuracy of each group or None."""
    row = max(0, int(np.searchsorted(record.steps, step, "right")) - 1)
    values = {group: float(record.history[f"{group}_accuracy"][row]) for group in data.GROUPS}
    return {"step": int(record.steps[row])} | {group: v if np.isfinite(v) else None for group, v in values.items()}


def sparsity(record: Record, step: int | None = None, log_steps: bool = True, ends=None) -> Chart:
    """Mean IPR of both layers together (left axis) and the norm of all weights (right axis, from 0 as well, so that a
    shrinking norm looks as small as it is)."""
    at, ipr_in = record.series("ipr_in")
    keep, norm = thin_rows([record.history["norm"]], POINTS), record.history["norm"]
    top, last = float(np.nanmax(norm)) * 1.05, int(record.steps[-1])
    tables = {
        "IPR": long("step", at, {"IPR": (ipr_in + record.series("ipr_out")[1]) / 2}),
        "norm": long("step", record.steps[keep], {"parameter norm": norm[keep]}),
        "now": table(step=[] if step is None else [min(step, last)]),
        "bands": over_time.bands(**{"stages": {}, "names": ()} | stages(record, ends), log_steps=log_steps),
    }
    high = int(np.nanargmax(norm))
    return Chart(
        drawing(_sparsity, tables, top=top, log_steps=log_steps), "Sparsity and size",
        f"IPR (left): 1 is one frequency per neuron. Norm of all weights (right, dashed): largest, {norm[high]:.3g}, "
        f"at step {record.steps[high]:,}; at the end {norm[-1]:.3g}.",
        "Inverse participation ratio and norm of all weights by training step", lambda: frame_table(record),
    )  # fmt: skip


def _sparsity(top, log_steps):
    x = step_axis(log_steps)
    color = style.hues(SIZES, SIZES, legend=style.legend())
    says = tips(curve="curve", step="step", value="value")
    ipr = alt.Chart(named("IPR")).mark_line(strokeWidth=1.9).encode(
        x=x, y=share_axis("IPR", percent=False), color=color, tooltip=says
    )  # fmt: skip
    norm = (
        alt.Chart(named("norm"))
        .mark_line(strokeWidth=1.9, strokeDash=[5, 3])
        .encode(
            x=x,
            color=color,
            tooltip=says,
            y=alt.Y(
                "value:Q",
                title="norm",
                scale=alt.Scale(domain=[0, top], nice=False),
                axis=alt.Axis(orient="right", grid=False),
            ),
        )
    )
    now = alt.Chart(named("now")).mark_rule(**DASHED).encode(x=x)
    both = alt.layer(ipr, norm).resolve_scale(y="independent")
    return alt.layer(*over_time.ground(log_steps), both, now, height=HEIGHT).resolve_scale(y="independent")


def forces(record: Record, step: int | None = None, log_steps: bool = True, ends=None) -> Chart:
    """The two forces on the squared norm and their sum, in squared weight a step, on a symmetric log axis."""
    pull = on_norm(record)
    size = max(float(np.abs(pull[name]).max(initial=0)) for name in FORCES) or 1.0
    tables = {
        "curves": long("step", pull["step"], {name: pull[name] for name in FORCES}),
        "now": table(step=[] if step is None else [min(step, int(record.steps[-1]))]),
        "bands": over_time.bands(**{"stages": {}, "names": ()} | stages(record, ends), log_steps=log_steps),
    }
    return Chart(
        drawing(_forces, tables, size=size, log_steps=log_steps), "What moves the norm",
        "Change of the squared norm of all weights per step, in squared weight, on a symmetric log axis.",
        "Change of the squared norm by weight decay and by the loss gradient", lambda: pa.table(pull),
    )  # fmt: skip


def _forces(size, log_steps):
    decade = 10.0 ** np.floor(np.log10(size))
    ticks = [sign * decade * part for part in (1, 0.1) for sign in (-1, 1)] + [0]
    y = alt.Y(
        "value:Q", title="change of ‖w‖² per step", axis=alt.Axis(format="~g", values=sorted(ticks)),
        scale=alt.Scale(type="symlog", constant=size / 20, domain=[-1.1 * size, 1.1 * size], nice=False),
    )  # fmt: skip
    lines = alt.Chart(named("curves")).mark_line(strokeWidth=1.9, clip=True)
    lines = lines.encode(
        x=step_axis(log_steps), y=y, color=style.hues(FORCES, FORCES, legend=style.legend()),
        tooltip=tips(curve="curve", step="step", value="value"),
    )  # fmt: skip
    now = alt.Chart(named("now")).mark_rule(**DASHED).encode(x=step_axis(log_steps))
    return alt.layer(*over_time.ground(log_steps), lines, now, height=HEIGHT)


def spectra(
    record: Record, step: int, frame: Frame, layer: str, top: float | None = None, name: str = "", height: int = 130
) -> Chart:
    """DFT rows of the neurons that show all frequencies at the end of the run, in the order they have then.  One of
    several moments has a `name`, and shares the scale of colours, up to `top`, with the others."""
    rows = frame["theta_hat" if layer == "input" else "xi_hat"]
    chosen = round_robin(record.frames[-1]["frequency"], len(rows))
    field = heatmap(
        rows[chosen],
        modes(rows.shape[1]),
        unnamed("", chosen.tolist()),
        f"{layer} weight",
        height=height,
        top=top,
        key=not name,
    )
    sparse = float(frame["ipr_in" if layer == "input" else "ipr_out"])
    return Chart(
        field, f"{name}, step {step:,}" if name else f"Step {step:,}", f"Mean IPR {sparse:.2f}.",
        f"Fourier spectra of the {layer} layer at step {step:,}",
        lambda: table(neuron=chosen, **dict(zip(modes(rows.shape[1]).names, rows[chosen].T, strict=True))),
    )  # fmt: skip


def is_prime(n: int) -> bool:
    """Whether n has no divisor but 1 and itself."""
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def over_p(summaries: list[dict]) -> pa.Table:
    """One row per run: p, what p is, both stage ends, the plateau stop, their ratio, held-out accuracy; None
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


PLOTS = {
    "Ends of the stages": ("training step", ("end of stage I", "end of stage II", "plateau stop"), True, None),
    "Gap ratio": ("stage II / stage I", ("gap ratio",), False, None),
    "Final held-out accuracy": ("held-out accuracy", ("held-out accuracy",), False, 1.0),
}


def against_p(rows: pa.Table, title: str) -> Chart:
    """One of PLOTS, columns of `over_p` against p: primes round, composites square; not reached open, at the top."""
    axis_title, columns, log, top = PLOTS[title]
    p, modulus = rows["p"].to_numpy(), np.array(rows["modulus"].to_pylist())
    values = np.concatenate([rows[name].to_numpy(zero_copy_only=False).astype(float) for name in columns])
    reached = np.isfinite(values)
    known = values[reached]
    high = top or (float(known.max()) * (1.6 if log else 1.1) if len(known) else 1.0)
    low = 0.0 if not log else (float(known.min()) / 1.6 if len(known) else high / 10)
    points = table(
        p=np.tile(p, len(columns)), modulus=np.tile(modulus, len(columns)), curve=np.repeat(columns, len(p)),
        value=np.where(reached, values, high), reached=np.where(reached, "reached", "not reached"),
    )  # fmt: skip
    how = {"columns": columns, "title": axis_title, "log": log, "share": top == 1, "ends": (low, high)}
    missed = int((~reached).sum())
    return Chart(
        drawing(_against_p, {"points": points}, **how), title,
        f"Against p, {len(rows)} runs" + (f"; {missed} not reached, open, at the top." if missed else "."),
        f"{', '.join(columns)} against p", rows,
    )  # fmt: skip


def _against_p(columns, title, log, share, ends):
    palette = {name: ENDS.get(name, HUE["indigo"]) for name in columns}
    key = style.legend("circle", columns=2) if len(columns) > 1 else None
    if share:
        y = share_axis(title)
    else:
        how = {"axis": style.powers()} if log else {"axis": alt.Axis(format="~s", tickCount=5)}
        y = alt.Y("value:Q", title=title, scale=alt.Scale(type="log" if log else "linear", domain=list(ends)), **how)
    base = alt.Chart(named("points")).encode(
        x=alt.X(
            "p:Q", title="modulus p", scale=alt.Scale(zero=False, padding=12), axis=alt.Axis(tickMinStep=2, format="d")
        ),
        y=y,
        color=style.hues(columns, palette, legend=key),
        shape=alt.Shape(
            "modulus:N", scale=alt.Scale(domain=["prime", "composite"], range=["circle", "square"]), legend=None
        ),
        tooltip=tips(p="p", modulus="modulus", curve="measure", value="value", reached="reached"),
    )
    full = base.mark_point(filled=True, size=55, opacity=0.9).transform_filter(alt.datum.reached == "reached")
    open_ = base.mark_point(filled=False, size=70, opacity=1).transform_filter(alt.datum.reached == "not reached")
    return alt.layer(full, open_, height=HEIGHT)
