"""Neurons in Fourier space: their phases, and the spectra of both layers."""

import altair as alt
import numpy as np

from ..frames.schema import Frame
from ..maths.fourier import wrap
from ..records.rows import SHOWN, round_robin
from .chart import Chart, drawing
from .fields import heatmap, modes, unnamed
from .style import COLOURS, DASHED, HEIGHT, named, ring_legend, ring_scale, table, tips

__all__ = ["SHOWN", "WINDOW", "alignment", "phase_scatter", "phases_table", "round_robin", "spectra"]

WINDOW = 0.1  # radians, 5.7°: a neuron within it counts as aligned
CELLS = 300  # above this many, coefficients are drawn as one image, which plays faster


def misalignment(frame: Frame) -> np.ndarray:
    """D = 2 phi - psi of the held neurons, in (-pi, pi]."""
    return wrap(2 * frame["phi"].astype(float) - frame["psi"])


def phases_table(frame: Frame):
    """One row per held neuron: frequency, phases and magnitudes."""
    names = ("frequency", "phi", "psi", "alpha", "beta")
    return table(neuron=np.arange(len(frame["phi"])), **{name: frame[name] for name in names})


def phase_scatter(
    frame: Frame, K: int, step: int, neuron: int | None = None, limit: int = 1024, side: int = 280, pick: bool = False
) -> Chart:
    """psi against 2 phi of every neuron, in units of pi, coloured by its frequency; with `pick`, a click on a dot
    selects its neuron, under the name `dot`."""
    turn = lambda angle: (angle % (2 * np.pi)) / np.pi  # noqa: E731
    shown = np.arange(min(len(frame["phi"]), limit))
    points = table(
        neuron=shown,
        frequency=frame["frequency"][shown].astype(np.int64),
        two_phi=turn(2 * frame["phi"][shown].astype(np.float64)),
        psi=turn(frame["psi"][shown].astype(np.float64)),
    )
    chosen = points.slice(neuron, 1) if neuron is not None else points.slice(0, 0)
    tables = {"line": table(two_phi=[0.0, 2.0], psi=[0.0, 2.0]), "dots": points, "chosen": chosen}
    cos = float(np.cos(misalignment(frame)).mean())
    return Chart(
        drawing(_phase_scatter, tables, K=K, side=side, pick=pick), f"ψ against 2φ at step {step:,}",
        f"A dot per neuron, {len(shown):,} shown; mean cos D = {cos:.3f} (0 at random). On the dashed line ψ = "
        "2φ; both "
        "axes wrap around at 2π." + " Click a dot to see the race inside its neuron." * pick,
        f"Output phase against twice the input phase of {len(shown)} neurons at step {step:,}",
        lambda: phases_table(frame),
    )  # fmt: skip


def _phase_scatter(K, side, pick):
    axis = {"scale": alt.Scale(domain=[0, 2], nice=False), "axis": alt.Axis(values=[0, 0.5, 1, 1.5, 2])}
    at = {"x": alt.X("two_phi:Q", title="2φ (units of π)", **axis),
          "y": alt.Y("psi:Q", title="ψ (units of π)", **axis)}  # fmt: skip
    key = ring_legend("frequency k", 1, K)
    dots = (
        alt.Chart(named("dots"), name="dots")
        .mark_circle(size=22, opacity=1)
        .encode(
            **at, color=alt.Color("frequency:Q", scale=ring_scale(1, K), legend=key if K > 1 else None),
            tooltip=tips(neuron="neuron", frequency="frequency k", two_phi="2φ / π", psi="ψ / π"),
        )
    )  # fmt: skip
    if pick:
        dots = dots.add_params(alt.selection_point(name="dot", fields=["neuron"], toggle=False))
    line = alt.Chart(named("line")).mark_line(**DASHED).encode(**at)
    mark = alt.Chart(named("chosen")).mark_point(size=160, color=COLOURS["winner"], strokeWidth=2.5).encode(**at)
    return alt.layer(line, dots, mark, height=side, width=side)


def alignment(frame: Frame, step: int, height: int = HEIGHT) -> Chart:
    """A histogram of D = 2 phi - psi, without the wrapping of the scatter: in colour the neurons within WINDOW."""
    D = misalignment(frame)
    n = int(np.pi / WINDOW)
    edges = np.array([-np.pi, *(WINDOW * np.arange(-n, n + 1)), np.pi])
    count, _ = np.histogram(D, edges)
    inside = (edges[:-1] >= -WINDOW - 1e-9) & (edges[1:] <= WINDOW + 1e-9)
    bars = table(
        low=edges[:-1] / np.pi, high=edges[1:] / np.pi, neurons=count,
        part=np.where(inside, "aligned", "not aligned"), zero=np.zeros(len(count), int),
    )  # fmt: skip
    share = float((np.abs(D) <= WINDOW).mean())
    return Chart(
        drawing(_alignment, {"bars": bars}, height=height),
        f"{share:.0%} of the neurons within ±{np.degrees(WINDOW):.1f}°",
        f"Histogram of D = 2φ − ψ at step {step:,}, {len(D):,} neurons; mean |sin D| = {np.abs(np.sin(D)).mean():.3f} "
        "(2/π at random). In colour: |D| below 0.1 rad.",
        f"Histogram of the misalignment D of {len(D)} neurons at step {step:,}",
    )  # fmt: skip


def _alignment(height):
    x = alt.X("low:Q", title="D = 2φ − ψ (units of π)", scale=alt.Scale(domain=[-1, 1], nice=False),
              axis=alt.Axis(values=[-1, -0.5, 0, 0.5, 1], grid=False))  # fmt: skip
    hue = alt.Color(
        "part:N", legend=None,
        scale=alt.Scale(domain=["aligned", "not aligned"], range=[COLOURS["held out"], COLOURS["others"]]),
    )  # fmt: skip
    y = alt.Y("neurons:Q", title="neurons", axis=alt.Axis(tickCount=5, tickMinStep=1, format="d"))
    return (
        alt.Chart(named("bars"), height=height)
        .mark_bar()
        .encode(
            x=x,
            x2=alt.X2("high"),
            y=y,
            y2=alt.Y2("zero"),
            color=hue,
            tooltip=tips(low="from D / π", high="to", neurons="neurons"),
        )
    )


def spectra(
    frame: Frame, layer: str, step: int, chosen: np.ndarray | None = None, top: float | None = None, height: int = 300
) -> Chart:
    """DFT rows of the `chosen` neurons, or of 20, of the `input` or `output` layer, sorted by frequency."""
    rows = frame["theta_hat" if layer == "input" else "xi_hat"]
    chosen = round_robin(frame["frequency"], len(rows)) if chosen is None else chosen
    field = heatmap(
        rows[chosen], modes(rows.shape[1]), unnamed("neuron", chosen.tolist()), f"{layer} weight", cells=CELLS, top=top,
        height=height,
    )  # fmt: skip
    sparse = float(frame["ipr_in" if layer == "input" else "ipr_out"])
    return Chart(
        field, f"{layer.capitalize()} layer at step {step:,}",
        f"A row per neuron, {len(chosen)} shown. Mean IPR of all neurons {sparse:.2f}: 1 is a single frequency, "
        f"{2 / (rows.shape[1] // 2 + 1):.2f} is random.",
        f"Fourier spectra of {len(chosen)} neurons, {layer} layer, at step {step:,}",
        lambda: table(neuron=chosen, **dict(zip(modes(rows.shape[1]).names, rows[chosen].T, strict=True))),
    )  # fmt: skip
