"""What is inside the neurons: spectra of both layers, the best single cosine, the circle of residues."""

import altair as alt
import numpy as np
import pyarrow as pa

from ..maths import fourier
from ..records.rows import LAYERS
from . import style
from .chart import Chart, drawing
from .fields import counted, heatmap
from .fields import modes as mode_side
from .neurons import CELLS
from .style import (
    COLOURS,
    DIVERGING,
    few,
    hues,
    legend,
    named,
    ring_legend,
    ring_scale,
    square_axes,
    table,
    tips,
    unit_circle,
)

BOTH = tuple(style.LAYERS)


def modes(
    coef: dict[str, np.ndarray], neurons: np.ndarray, layer: str, step: int, top: float | None = None, height: int = 330
) -> Chart:
    """Coefficients, a row per neuron; a click on a row selects its number `row`, under the name `row`."""
    rows = coef[layer]
    held = float(fourier.ipr(fourier.amplitudes(rows)).mean())
    field = heatmap(
        rows, mode_side(rows.shape[1]), counted("neuron", neurons.tolist(), 20), f"{layer} coefficient", height=height,
        cells=CELLS, top=top,
    )  # fmt: skip
    return Chart(
        field, f"{layer.capitalize()} layer at step {step:,}",
        f"A row per neuron; mean IPR of these {held:.2f}." + " Click a row to inspect its neuron." * (layer == "input"),
        f"Fourier coefficients of {len(neurons)} neurons, {layer} layer, at step {step:,}",
        lambda: table(neuron=neurons, **dict(zip(fourier.mode_names(rows.shape[1]), rows.T, strict=True))),
    )  # fmt: skip


def fit_table(found: dict) -> pa.Table:
    """The weights and their best cosine, a row per residue j; `turn` is k j mod p."""
    j = np.arange(len(found["row"]))
    return table(j=j, turn=found["k"] * j % len(j), weight=found["row"], cosine=found["fit"])


def cosine_fit(found: dict, layer: str, neuron: int, step: int, height: int = 190) -> Chart:
    """Dots: the weights. Line: their best single cosine, which makes one turn in the order of k j mod p."""
    p, k = len(found["row"]), found["k"]
    fine = np.linspace(0, p, 121)
    curve = found["magnitude"] * np.cos(2 * np.pi * fine / p + found["phase"])
    tables = {"curve": table(turn=fine, weight=curve), "dots": fit_table(found)}
    r2 = "–" if found["r2"] is None else f"{found['r2']:.3f}"
    return Chart(
        drawing(_cosine_fit, tables, p=p, layer=layer, height=height),
        f"Neuron {neuron}, {layer}: k = {k}, R² = {r2}",
        f"Weight of residue j at {k}·j mod {p}, where frequency {k} makes one turn, at step {step:,}. Line: the cosine "
        "nearest to the weights, R² of their variance.",
        f"Weights of neuron {neuron}, {layer} layer, and their best cosine at step {step:,}", lambda: fit_table(found),
    )  # fmt: skip


def _cosine_fit(p, layer, height):
    x = alt.X("turn:Q", title="k·j mod p", axis=alt.Axis(grid=False, tickMinStep=1),
              scale=alt.Scale(domain=[-0.5, p], nice=False))  # fmt: skip
    y = alt.Y("weight:Q", title=f"{layer} weight", axis=alt.Axis(tickCount=4))
    line = alt.Chart(named("curve")).mark_line(strokeWidth=1.6, color=COLOURS["others"])
    dots = alt.Chart(named("dots")).mark_circle(size=34, opacity=1, color=COLOURS[layer])
    says = tips(j="residue j", weight="weight", cosine="single cosine")
    return alt.layer(line.encode(x=x, y=y), dots.encode(x=x, y=y, tooltip=says), height=height)


def spectrum_table(coef: dict[str, np.ndarray], place: int) -> pa.Table:
    """Magnitude of every cosine of one neuron in both layers."""
    both = [fourier.cosines(coef[layer][place : place + 1])[0][0] for layer in LAYERS]
    k = np.arange(1, len(both[0]) + 1)
    return table(k=np.tile(k, 2), layer=np.repeat(BOTH, len(k)), value=np.concatenate(both))


def spectrum(coef: dict[str, np.ndarray], place: int, neuron: int, step: int, height: int = 220) -> Chart:
    """Bars side by side: the two layers of one neuron should peak at the same k."""
    rows = spectrum_table(coef, place)
    value = np.array(rows["value"]).reshape(2, -1)
    peak, share = value.argmax(1) + 1, value.max(1) ** 2 / (value**2).sum(1).clip(1e-30)
    same = f"Both layers peak at k = {peak[0]}" if peak[0] == peak[1] else (
        f"The input layer peaks at k = {peak[0]}, the output layer at {peak[1]}")  # fmt: skip
    return Chart(
        drawing(_spectrum, {"bars": rows}, K=value.shape[1], height=height),
        f"Spectrum of neuron {neuron} at step {step:,}",
        f"{same}, with {share[0]:.0%} and {share[1]:.0%} of the power of their rows.",
        f"Magnitude of every frequency in both layers of neuron {neuron} at step {step:,}", rows,
    )  # fmt: skip


def _spectrum(K, height):
    bars = alt.Chart(named("bars"), height=height).mark_bar()
    return bars.encode(
        x=alt.X("k:O", title="frequency k", axis=few(K)), xOffset=alt.XOffset("layer:N", sort=list(BOTH)),
        y=alt.Y("value:Q", title="magnitude (weight units)"),
        color=hues(BOTH, style.LAYERS, "layer", legend("square")),
        tooltip=tips(layer="layer", k="frequency k", value="magnitude"),
    )  # fmt: skip


def circle_table(row: np.ndarray, k: int) -> pa.Table:
    """Residues on the circle at 2 pi k j / p, pushed outward by positive weights and inward by negative ones."""
    p, j = len(row), np.arange(len(row))
    turn = k * j % p
    radius = 1 + 0.4 * row / (np.abs(row).max() or 1)
    return table(
        j=j, turn=turn, weight=row, size=np.abs(row), x=radius * np.cos(2 * np.pi * turn / p),
        y=radius * np.sin(2 * np.pi * turn / p),
    )  # fmt: skip


def circle(row: np.ndarray, k: int, layer: str, neuron: int, step: int, side: int = 330) -> Chart:
    """The weights of one neuron on the circle, joined in the order of k j mod p."""
    rows = circle_table(row, k)
    ordered = rows.sort_by("turn")
    web = pa.concat_tables([ordered, ordered.slice(0, 1)]).select(["x", "y"])
    tables = {"rest": unit_circle(), "web": web.append_column("at", pa.array(np.arange(len(web)))), "dots": rows}
    return Chart(
        drawing(_circle, tables, p=len(row), layer=layer, side=side),
        f"{layer.capitalize()} weights on the circle of residues, k = {k}",
        f"Step {step:,}. Residue j stands at angle 2πkj/p; a positive weight pushes it outward, a negative one inward. "
        "At the neuron's own k the dots form one smooth bulge; at any other they scatter.",
        f"{layer.capitalize()} weights of neuron {neuron} around the circle of residues at step {step:,}", rows,
    )  # fmt: skip


def _circle(p, layer, side):
    at = square_axes("", "", 1.45)
    rest = alt.Chart(named("rest")).mark_line(strokeWidth=1, strokeDash=[2, 3], color=COLOURS["others"])
    web = alt.Chart(named("web")).mark_line(strokeWidth=0.8, color=COLOURS["others"])
    dots = alt.Chart(named("dots")).mark_circle(opacity=1, stroke=DIVERGING["light"][2], strokeWidth=0.5)
    key = ring_legend("k·j mod p", 0, p)
    dots = dots.encode(
        **at,
        size=alt.Size("size:Q", scale=alt.Scale(range=[15, 190], zero=True), legend=None),
        color=alt.Color("turn:Q", scale=ring_scale(0, p), legend=key),
        tooltip=tips(j="residue j", turn="k·j mod p", weight=f"{layer} weight"),
    )
    order = alt.Order("at:Q")
    return alt.layer(
        rest.encode(**at, order=order), web.encode(**at, order=order), dots, height=side, width=side
    )  # fmt: skip
