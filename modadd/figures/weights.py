"""What is inside the neurons: spectra of both layers, the best single cosine, the circle of residues."""

import altair as alt
import numpy as np
import pyarrow as pa

from ..maths import fourier
from ..records.rows import LAYERS
from .style import COLOURS, DIVERGING, Drawing, drawing, few, heatmap, named, ring_scale, table, tips

CELLS = 300  # above this many, coefficients are drawn as one image, which plays faster
ASPECT = 1.45  # half the side of the square that holds a ring of radius 1


def modes(coef: dict[str, np.ndarray], neurons: np.ndarray, layer: str, height: int = 460) -> Drawing:
    """Coefficients, a row a neuron; a click on a row selects its number `y`, under the name `row`."""
    names = fourier.mode_names(coef[layer].shape[1])
    return heatmap(
        coef[layer], "Fourier mode", "neuron", f"{layer} coefficient", x_names=names, y_names=neurons.tolist(),
        height=height, cells=CELLS,
    )  # fmt: skip


def modes_table(coef: dict[str, np.ndarray], neurons: np.ndarray, layer: str) -> pa.Table:
    """One row a neuron, one column a mode."""
    names = fourier.mode_names(coef[layer].shape[1])
    return table(neuron=neurons, **{name: coef[layer][:, i] for i, name in enumerate(names)})


def fit_table(found: dict) -> pa.Table:
    """The weights and their best cosine, a row a residue."""
    return table(j=np.arange(len(found["row"])), weight=found["row"], cosine=found["fit"])


def cosine_fit(found: dict, layer: str, height: int = 200) -> Drawing:
    """Dots: the weights. Dashed: their best single cosine, drawn between the residues too."""
    p = len(found["row"])
    fine = np.linspace(0, p - 1, 12 * p if p < 30 else 6 * p if p < 60 else 4 * p)
    curve = found["magnitude"] * np.cos(2 * np.pi * found["k"] * fine / p + found["phase"])
    tables = {"curve": table(j=fine, weight=curve), "dots": fit_table(found)}
    return drawing(_cosine_fit, tables, p=p, layer=layer, height=height)


def _cosine_fit(p, layer, height):
    x = alt.X("j:Q", title="residue j", scale=alt.Scale(domain=[-0.5, p - 0.5], nice=False), axis=alt.Axis(grid=False))
    y = alt.Y("weight:Q", title=f"{layer} weight", axis=alt.Axis(tickCount=4))
    line = alt.Chart(named("curve")).mark_line(strokeDash=[4, 3], strokeWidth=1.3, color=COLOURS["others"])
    dots = alt.Chart(named("dots")).mark_circle(size=34, opacity=1, color=COLOURS[layer])
    says = tips(j="residue j", weight="weight", cosine="single cosine")
    return alt.layer(line.encode(x=x, y=y), dots.encode(x=x, y=y, tooltip=says), height=height)


def spectrum_table(coef: dict[str, np.ndarray], place: int) -> pa.Table:
    """Magnitude of every cosine of one neuron in both layers."""
    both = [fourier.cosines(coef[layer][place : place + 1])[0][0] for layer in LAYERS]
    k = np.arange(1, len(both[0]) + 1)
    return table(
        k=np.tile(k, 2), layer=np.repeat([f"{layer} layer" for layer in LAYERS], len(k)), value=np.concatenate(both)
    )


def spectrum(coef: dict[str, np.ndarray], place: int, height: int = 290) -> Drawing:
    """Bars side by side: the two layers of one neuron should peak at the same k."""
    rows = spectrum_table(coef, place)
    return drawing(_spectrum, {"bars": rows}, K=len(rows) // 2, height=height)


def _spectrum(K, height):
    names = [f"{layer} layer" for layer in LAYERS]
    return (
        alt.Chart(named("bars"), height=height)
        .mark_bar()
        .encode(
            x=alt.X("k:O", title="frequency k", axis=few(K)),
            xOffset=alt.XOffset("layer:N", sort=names),
            y=alt.Y("value:Q", title="magnitude (weight units)"),
            color=alt.Color(
                "layer:N",
                scale=alt.Scale(domain=names, range=[COLOURS[layer] for layer in LAYERS]),
                legend=alt.Legend(orient="top", title=None),
            ),
            tooltip=tips(layer="layer", k="frequency k", value="magnitude"),
        )
    )


def square(side: float = ASPECT) -> tuple[alt.Scale, alt.Scale]:
    """Scales of x and y that keep a circle round however wide the chart is."""
    ends = [alt.ExprRef(f"{sign}{side} * max(1, width / height)") for sign in ("-", "")]
    tall = [alt.ExprRef(f"{sign}{side} * max(1, height / width)") for sign in ("-", "")]
    return tuple(alt.Scale(domainMin=a, domainMax=b, nice=False, zero=False) for a, b in (ends, tall))


def round_axes(x_title: str, y_title: str, side: float = ASPECT) -> dict:
    """Bare axes of a round chart, as keywords for `encode`."""
    bare = alt.Axis(labels=False, ticks=False, grid=False, domain=False)
    x_scale, y_scale = square(side)
    return {"x": alt.X("x:Q", title=x_title, scale=x_scale, axis=bare),
            "y": alt.Y("y:Q", title=y_title, scale=y_scale, axis=bare)}  # fmt: skip


def unit_circle() -> pa.Table:
    """Points of the unit circle in order."""
    around = np.linspace(0, 2 * np.pi, 91)
    return table(x=np.cos(around), y=np.sin(around), at=around)


def circle_table(row: np.ndarray, k: int) -> pa.Table:
    """Residues on the circle at 2 pi k j / p, pushed outward by positive weights and inward by negative ones."""
    p, j = len(row), np.arange(len(row))
    turn = k * j % p
    radius = 1 + 0.4 * row / (np.abs(row).max() or 1)
    return table(
        j=j, turn=turn, weight=row, size=np.abs(row), x=radius * np.cos(2 * np.pi * turn / p),
        y=radius * np.sin(2 * np.pi * turn / p),
    )  # fmt: skip


def circle(row: np.ndarray, k: int, layer: str, height: int = 370) -> Drawing:
    """The weights of one neuron on the circle, joined in the order of k j mod p."""
    rows = circle_table(row, k)
    ordered = rows.sort_by("turn")
    web = pa.concat_tables([ordered, ordered.slice(0, 1)]).select(["x", "y"])
    tables = {"rest": unit_circle(), "web": web.append_column("at", pa.array(np.arange(len(web)))), "dots": rows}
    return drawing(_circle, tables, p=len(row), layer=layer, height=height)


def _circle(p, layer, height):
    at = round_axes("cos(2πkj/p)", "sin(2πkj/p)")
    rest = alt.Chart(named("rest")).mark_line(strokeWidth=1, strokeDash=[2, 3], color=COLOURS["others"])
    web = alt.Chart(named("web")).mark_line(strokeWidth=0.8, color=COLOURS["others"])
    dots = alt.Chart(named("dots")).mark_circle(opacity=1, stroke=DIVERGING[2], strokeWidth=0.5)
    dots = dots.encode(
        **at,
        size=alt.Size("size:Q", scale=alt.Scale(range=[15, 190], zero=True), legend=None),
        color=alt.Color(
            "turn:Q",
            scale=ring_scale(0, p),
            legend=alt.Legend(orient="top", title="k·j mod p", format="d", tickCount=4, gradientLength=120),
        ),
        tooltip=tips(j="residue j", turn="k·j mod p", weight=f"{layer} weight"),
    )
    order = alt.Order("at:Q")
    return alt.layer(rest.encode(**at, order=order), web.encode(**at, order=order), dots, height=height)
