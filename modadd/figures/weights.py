"""What is inside the neurons: spectra of both layers, the best single cosine, the circle of residues."""

import json
import re

import altair as alt
import numpy as np
import pyarrow as pa

from .. import fourier
from ..record import Frame, Record
from .neurons import SHOWN, round_robin
from .style import COLOURS, DIVERGING, heatmap, image, ramp, table, tips

LAYERS = ("input", "output")
SORTS = ("frequency", "magnitude", "IPR", "neuron")
CELLS = 1200  # above this many, coefficients are drawn as one image
ASPECT = 1.45  # half the side of the square that holds a ring of radius 1


def held(record: Record, step: int | None) -> tuple[Frame, int] | None:
    """The frame with weights nearest to `step` and the step it was taken at; None if none has weights."""
    frame = record.frame(step, holding="theta")
    return None if frame is None else (frame, step_of(record, frame))


def step_of(record: Record, frame: Frame) -> int:
    """The step at which a frame of this record was taken."""
    return next(at for at, other in zip(record.frame_steps, record.frames, strict=True) if other is frame)


def parse(text: str, most: int = 60) -> list[int] | None:
    """Numbers and ranges such as "0, 5, 17-25" as a list; None where it is empty or anything else."""
    spans = [re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", word) for word in re.split(r"[,\s]+", text.strip(", \n"))]
    if not all(spans):
        return None
    ends = [(int(span[1]), int(span[2] or span[1])) for span in spans]
    return [m for first, final in ends for m in range(first, min(final, first + most) + 1)][:most] or None


def frame_for(record: Record, step: int | None, wanted: list[int] | None) -> tuple[Frame, int]:
    """The frame that shows these neurons in full, and its step: the one in view if it can, else one with weights."""
    frame = record.frame(step, holding="theta_hat") or record.frame(step)
    if wanted and "theta" not in frame and max(wanted) >= len(frame["theta_hat"]):
        return held(record, step) or (frame, step_of(record, frame))
    return frame, step_of(record, frame)


def choose(frame: Frame, wanted: list[int] | None = None) -> np.ndarray:
    """The wanted neurons that the frame can show in full, or 20 of them, one a frequency in turn."""
    here = len(frame["theta"]) if "theta" in frame else len(frame["theta_hat"])
    if wanted is None:
        return round_robin(frame["frequency"], min(here, len(frame["frequency"])), SHOWN)
    return np.array([m for m in dict.fromkeys(wanted) if 0 <= m < here], int)


def coefficients(frame: Frame, neurons: np.ndarray) -> dict[str, np.ndarray]:
    """DFT rows of these neurons in both layers, [len(neurons), P] each."""
    if "theta" in frame:
        return {"input": fourier.dft(frame["theta"][neurons]), "output": fourier.dft(frame["xi"][neurons])}
    return {"input": frame["theta_hat"][neurons].astype(float), "output": frame["xi_hat"][neurons].astype(float)}


def order(coef: dict[str, np.ndarray], neurons: np.ndarray, by: str) -> np.ndarray:
    """Places of the neurons sorted by one of SORTS of their input layer; strongest and purest first."""
    amplitude = fourier.amplitudes(coef["input"])
    key = {"frequency": amplitude.argmax(1), "magnitude": -amplitude.max(1), "IPR": -fourier.ipr(amplitude)}
    return np.lexsort((neurons, key.get(by, neurons)))


def modes(
    coef: dict[str, np.ndarray], neurons: np.ndarray, layer: str, height: int = 380
) -> alt.Chart | alt.LayerChart:
    """Coefficients, a row a neuron; a click on a row selects its number `y`, under the name `row`."""
    matrix, names = coef[layer], fourier.mode_names(coef[layer].shape[1])
    click = alt.selection_point(name="row", fields=["y"], toggle=False)
    if matrix.size <= CELLS:
        value = f"{layer} coefficient"
        chart = heatmap(matrix, "Fourier mode", "neuron", value, x_names=names, y_names=neurons, height=height)
        return chart.properties(name="cells").add_params(click)
    top = np.abs(matrix).max() or 1.0
    picture = image(ramp((matrix / top + 1) / 2, DIVERGING), "Fourier mode", "neuron", height)
    rows = table(y=neurons, top=np.arange(len(neurons)), bottom=np.arange(1, len(neurons) + 1), strongest=[
        names[i] for i in np.abs(matrix).argmax(1)
    ])  # fmt: skip
    bands = (
        alt.Chart(rows)
        .mark_rect(opacity=0)
        .encode(
            y=alt.Y("top:Q", axis=_named("neuron", neurons, 24)),
            y2=alt.Y2("bottom"),
            tooltip=tips(y="neuron", strongest="strongest mode"),
        )
        .properties(name="bands")
        .add_params(click)
    )
    picture.encoding.x.axis, picture.encoding.y.axis = _named("Fourier mode", names, 24), _named("neuron", neurons, 24)
    return alt.layer(picture, bands).properties(height=height)


def _named(title: str, names, most: int) -> alt.Axis:
    """An axis that counts cells from 0, with every few of them called by its name."""
    every = -(-len(names) // most)
    words = json.dumps([str(name) for name in names])
    return alt.Axis(
        title=title, grid=False, values=[i + 0.5 for i in range(0, len(names), every)],
        labelExpr=f"{words}[floor(datum.value)]", labelOverlap=True, labelAngle=-90 if title == "Fourier mode" else 0,
    )  # fmt: skip


def modes_table(coef: dict[str, np.ndarray], neurons: np.ndarray, layer: str) -> pa.Table:
    """One row a neuron, one column a mode."""
    names = fourier.mode_names(coef[layer].shape[1])
    return table(neuron=neurons, **{name: coef[layer][:, i] for i, name in enumerate(names)})


def best_cosine(coef_P: np.ndarray) -> dict:
    """The single cosine nearest to a row: k, magnitude, phase, the row, the fit [P], and R^2 about the row's mean."""
    p = len(coef_P)
    magnitude, phase = (part[0] for part in fourier.cosines(coef_P[None]))
    k = int(magnitude.argmax()) + 1
    row = coef_P @ fourier.basis(p)
    fit = magnitude[k - 1] * np.cos(2 * np.pi * (k * np.arange(p) % p) / p + phase[k - 1])
    total = ((row - row.mean()) ** 2).sum()
    r2 = float(1 - ((row - fit) ** 2).sum() / total) if total > 0 else None
    return {
        "k": k,
        "magnitude": float(magnitude[k - 1]),
        "phase": float(phase[k - 1]),
        "row": row,
        "fit": fit,
        "r2": r2,
    }


def fit_table(found: dict) -> pa.Table:
    return table(j=np.arange(len(found["row"])), weight=found["row"], cosine=found["fit"])


def cosine_fit(found: dict, layer: str, height: int = 200) -> alt.LayerChart:
    """Dots: the weights. Dashed: their best single cosine, drawn between the residues too."""
    p = len(found["row"])
    fine = np.linspace(0, p - 1, 12 * p if p < 60 else 6 * p)
    curve = found["magnitude"] * np.cos(2 * np.pi * found["k"] * fine / p + found["phase"])
    x = alt.X("j:Q", title="residue j", scale=alt.Scale(domain=[-0.5, p - 0.5], nice=False), axis=alt.Axis(grid=False))
    y = alt.Y("weight:Q", title=f"{layer} weight", axis=alt.Axis(tickCount=4))
    line = alt.Chart(table(j=fine, weight=curve)).mark_line(
        strokeDash=[4, 3], strokeWidth=1.3, color=COLOURS["others"]
    ).encode(x=x, y=y)  # fmt: skip
    dots = (
        alt.Chart(fit_table(found))
        .mark_circle(size=34, opacity=1, color=COLOURS[layer])
        .encode(x=x, y=y, tooltip=tips(j="residue j", weight="weight", cosine="single cosine"))
    )
    return alt.layer(line, dots).properties(height=height)


def spectrum_table(coef: dict[str, np.ndarray], place: int) -> pa.Table:
    """Magnitude of every cosine of one neuron in both layers."""
    both = [fourier.cosines(coef[layer][place : place + 1])[0][0] for layer in LAYERS]
    k = np.arange(1, len(both[0]) + 1)
    return table(
        k=np.tile(k, 2), layer=np.repeat([f"{layer} layer" for layer in LAYERS], len(k)), value=np.concatenate(both)
    )


def spectrum(coef: dict[str, np.ndarray], place: int, height: int = 290) -> alt.Chart:
    """Bars side by side: the two layers of one neuron should peak at the same k."""
    names = [f"{layer} layer" for layer in LAYERS]
    rows = spectrum_table(coef, place)
    few = list(range(1, len(rows) // 2 + 1, max(1, len(rows) // 48)))
    return (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X("k:O", title="frequency k", axis=alt.Axis(labelAngle=0, values=few)),
            xOffset=alt.XOffset("layer:N", sort=names),
            y=alt.Y("value:Q", title="magnitude (weight units)"),
            color=alt.Color(
                "layer:N",
                scale=alt.Scale(domain=names, range=[COLOURS[layer] for layer in LAYERS]),
                legend=alt.Legend(orient="top", title=None),
            ),
            tooltip=tips(layer="layer", k="frequency k", value="magnitude"),
        )
        .properties(height=height)
    )


def square(side: float = ASPECT) -> tuple[alt.Scale, alt.Scale]:
    """Scales of x and y that keep a circle round however wide the chart is."""
    ends = [alt.ExprRef(f"{sign}{side} * max(1, width / height)") for sign in ("-", "")]
    tall = [alt.ExprRef(f"{sign}{side} * max(1, height / width)") for sign in ("-", "")]
    return tuple(alt.Scale(domainMin=a, domainMax=b, nice=False, zero=False) for a, b in (ends, tall))


def circle_table(row: np.ndarray, k: int) -> pa.Table:
    """Residues on the circle at 2 pi k j / p, pushed outward by positive weights and inward by negative ones."""
    p, j = len(row), np.arange(len(row))
    turn = k * j % p
    radius = 1 + 0.4 * row / (np.abs(row).max() or 1)
    return table(
        j=j, turn=turn, weight=row, size=np.abs(row), x=radius * np.cos(2 * np.pi * turn / p),
        y=radius * np.sin(2 * np.pi * turn / p),
    )  # fmt: skip


def circle(row: np.ndarray, k: int, layer: str, height: int = 370) -> alt.LayerChart:
    """The weights of one neuron on the circle, joined in the order of k j mod p."""
    x_scale, y_scale = square()
    bare = alt.Axis(labels=False, ticks=False, grid=False, domain=False)
    x = alt.X("x:Q", title=f"cos(2πkj/p), k = {k}", scale=x_scale, axis=bare)
    y = alt.Y("y:Q", title="sin(2πkj/p)", scale=y_scale, axis=bare)
    around = np.linspace(0, 2 * np.pi, 121)
    rest = alt.Chart(table(x=np.cos(around), y=np.sin(around), at=around)).mark_line(
        strokeWidth=1, strokeDash=[2, 3], color=COLOURS["others"]
    ).encode(x=x, y=y, order=alt.Order("at:Q"))  # fmt: skip
    rows = circle_table(row, k)
    closed = pa.concat_tables([rows.sort_by("turn"), rows.sort_by("turn").slice(0, 1)])
    closed = closed.append_column("at", pa.array(np.arange(len(closed))))
    web = alt.Chart(closed).mark_line(strokeWidth=0.8, color=COLOURS["others"]).encode(
        x=x, y=y, order=alt.Order("at:Q")
    )  # fmt: skip
    dots = (
        alt.Chart(rows)
        .mark_circle(opacity=1, stroke=DIVERGING[2], strokeWidth=0.5)
        .encode(
            x=x,
            y=y,
            size=alt.Size("size:Q", scale=alt.Scale(range=[15, 190], zero=True), legend=None),
            color=alt.Color(
                "turn:Q",
                scale=alt.Scale(scheme="sinebow", domain=[0, len(row)]),
                legend=alt.Legend(orient="top", title="k·j mod p", format="d", tickCount=4, gradientLength=120),
            ),
            tooltip=tips(j="residue j", turn="k·j mod p", weight=f"{layer} weight"),
        )
    )
    return alt.layer(rest, web, dots).properties(height=height)
