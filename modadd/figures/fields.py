"""Tables of numbers as colours: heatmaps with square cells where both sides count the same, images, grounds."""

import base64
import io
import json
from typing import NamedTuple

import altair as alt
import numpy as np
import pyarrow as pa

from ..maths import fourier
from . import style
from .chart import Drawing, drawing
from .style import DIVERGING, SEQUENTIAL, named, ramp, table, tips

RECTANGLES = 2000  # above this many cells a heatmap is drawn as one image
SIDE = 330  # pixels of a square
NAMED = 12  # names along a side, at most
OVERLAP = 1.04  # of a cell and the next, or the ground shows between them


class Side(NamedTuple):
    """A side of a heatmap: its title, the name of each row or column, and the names that are written, by place."""

    title: str
    names: tuple
    written: tuple[tuple[float, str], ...]


def counted(title: str, names, most: int = NAMED) -> Side:
    """A side with every few of its names written; `names` may be how many there are, counted from 0."""
    names = tuple(range(names)) if isinstance(names, int) else tuple(names)
    every = -(-len(names) // most) if names else 1
    return Side(title, names, tuple((i + 0.5, str(names[i])) for i in range(0, len(names), every)))


def modes(p: int) -> Side:
    """The Fourier modes: each frequency written once, between its cosine and its sine."""
    every = -(-(p // 2) // NAMED)
    return Side("frequency k (cosine, sine)", tuple(fourier.mode_names(p)),
                tuple((2.0 * k, str(k)) for k in range(1, p // 2 + 1, every)))  # fmt: skip


def unnamed(title: str, names) -> Side:
    """A side whose names are told under the mouse only."""
    return Side(title, tuple(names), ())


def png_uri(rgb: np.ndarray) -> str:
    """An image [rows, columns, 3] as an address that holds it."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def picture(rgb: np.ndarray) -> pa.Table:
    """An image in the units of its cells, first row on top."""
    rows, columns = rgb.shape[:2]
    return table(uri=np.array([png_uri(rgb)]), x=[0], x2=[columns], y=[0], y2=[rows])


def image(rgb: np.ndarray, x: Side, y: Side, side: int = SIDE, names: tuple[tuple[str, str], ...] = ()) -> Drawing:
    """A square image on axes that count its cells; `names` are what its colours mean, for a legend."""
    tables = {"picture": picture(rgb), "names": table(name=np.array([name for name, _ in names], str))}
    return drawing(_image, tables, x=x, y=y, side=side, names=names)


def _image(x, y, side, names):
    pictures = alt.Chart(named("picture")).mark_image(smooth=False, aspect=False)
    pictures = pictures.encode(url=alt.Url("uri:N"), **axes(x, y), x2=alt.X2("x2"), y2=alt.Y2("y2"))
    layers = [pictures]
    if names:
        hue = style.hues([name for name, _ in names], dict(names), "name", style.legend("square"))
        layers.insert(0, alt.Chart(named("names")).mark_square(opacity=0).encode(color=hue))
    return alt.layer(*layers, width=side, height=side)


def axes(x: Side, y: Side) -> dict:
    """The axes of a heatmap, which count cells from 0, first row on top."""
    return {"x": alt.X("x:Q", title=x.title, scale=alt.Scale(domain=[0, len(x.names)], nice=False), axis=_axis(x)),
            "y": alt.Y("y:Q", title=y.title, scale=alt.Scale(domain=[len(y.names), 0], nice=False), axis=_axis(y)),
    }  # fmt: skip


def _axis(side: Side) -> alt.Axis:
    words = json.dumps({f"{place:g}": name for place, name in side.written})
    return alt.Axis(
        title=side.title, grid=False, values=[place for place, _ in side.written], labelOverlap="greedy",
        labelExpr=f"{words}[datum.value]", labels=bool(side.written), ticks=False, tickCount=len(side.written),
    )  # fmt: skip


def heatmap(
    matrix: np.ndarray, x: Side, y: Side, value: str, *, diverging: bool = True, top: float | None = None,
    height: int = SIDE, square: bool = False, cells: int = RECTANGLES, key: bool = True,
) -> Drawing:  # fmt: skip
    """A table as colours, first row on top; blue below zero and red above, or from little to much.  The last colour is
    of `top`, by default of the largest there is; charts that are compared share it.

    Up to `cells` cells are rectangles, each with its value under the mouse; more are one image, which tells the
    largest cell of a row.  `key` draws the scale of colours on top.  A click on a row selects its name `row`, under
    the name `row`.
    """
    size = np.abs(np.nan_to_num(matrix))
    top = top or float(size.max(initial=0.0)) or 1.0
    colours = (DIVERGING if diverging else SEQUENTIAL)[style.theme()]
    low = -top if diverging else 0.0
    tables = {"ends": table(value=[low, top])}
    how = {"x": x, "y": y, "value": value, "colours": colours, "height": height, "square": square, "key": key}
    if matrix.size <= cells:
        r, c = np.divmod(np.arange(matrix.size), len(x.names))
        column, row = (np.array(side.names)[at] for side, at in ((x, c), (y, r)))
        tables["cells"] = table(
            x=c, x2=c + OVERLAP, y=r, y2=r + OVERLAP, column=column, row=row, value=matrix.ravel().astype(float)
        )
        return drawing(cells_of, tables, **how)
    tables["picture"] = picture(ramp(np.nan_to_num((matrix - low) / (top - low)).clip(0, 1), colours))
    at, best = np.arange(len(matrix)), size.argmax(1)
    tables["bands"] = table(
        row=np.array(y.names), top=at, bottom=at + 1, best=np.array(x.names)[best], value=matrix[at, best].astype(float)
    )
    return drawing(_picture, tables, **how)


def cells_of(x, y, value, colours, height, square, key=True) -> alt.LayerChart:
    """The chart of a heatmap whose cells are rectangles."""
    colour, says = scale_of(value, colours, key=key), tips(column=x.title, row=y.title, value=value)
    cells = alt.Chart(named("cells"), name="cells").mark_rect(clip=True)
    cells = cells.encode(**axes(x, y), x2=alt.X2("x2"), y2=alt.Y2("y2"), color=colour, tooltip=says)
    return alt.layer(_ends(colour), cells.add_params(_row()), **_size(height, square))


def _picture(x, y, value, colours, height, square, key):
    pictures = alt.Chart(named("picture")).mark_image(smooth=False, aspect=False)
    says = tips(row=y.title, best=f"largest at {x.title}", value=value)
    bands = alt.Chart(named("bands"), name="bands").mark_rect(opacity=0)
    bands = bands.encode(y=alt.Y("top:Q"), y2=alt.Y2("bottom"), tooltip=says).add_params(_row())
    pictures = pictures.encode(url=alt.Url("uri:N"), **axes(x, y), x2=alt.X2("x2"), y2=alt.Y2("y2"))
    return alt.layer(_ends(scale_of(value, colours, key=key)), pictures, bands, **_size(height, square))


def _size(height, square) -> dict:
    return {"height": height} | ({"width": height} if square else {})


def _row() -> alt.Parameter:
    return alt.selection_point(name="row", fields=["row"], toggle=False)


def _ends(colour: alt.Color) -> alt.Chart:
    # Two values that nobody sees stretch the colours evenly to both sides, whatever the data of the moment.
    return alt.Chart(named("ends")).mark_rect(opacity=0).encode(color=colour)


def scale_of(
    title: str, colours: tuple[str, ...], kind: str = "linear", form: str = ".2~r", key: bool = True
) -> alt.Color:
    """Colours over the column `value`, from the least to the largest there is, with their legend on top."""
    legend = alt.Legend(
        type="gradient", orient="top", gradientLength=110, format=form, tickCount=3, titleOrient="left", titleLimit=190
    )
    scale = alt.Scale(type=kind, range=list(colours), interpolate="rgb", nice=False, zero=False)
    return alt.Color("value:Q", title=title, scale=scale, legend=legend if key else None)


def ground(values: np.ndarray, x: tuple[float, float], y: tuple[float, float], log: bool = False) -> dict:
    """The tables `picture` and `ends` of a field drawn as one image over these ranges, values [rows upwards, columns],
    for `on_ground`; the far end of the colours is large."""
    ends = [float(end) for end in (values[np.isfinite(values)].min(), values[np.isfinite(values)].max())]
    level, (low, high) = (np.log(values), np.log(ends)) if log else (values, ends)
    uri = png_uri(ramp(((level[::-1] - low) / ((high - low) or 1.0)).clip(0, 1), SEQUENTIAL[style.theme()]))
    shown = table(uri=np.array([uri]), x=[x[0]], x2=[x[1]], y=[y[1]], y2=[y[0]])
    return {"picture": shown, "ends": table(value=ends)}


def on_ground(axes: dict, colour: alt.Color) -> list[alt.Chart]:
    """The layers of such a field: the image, and what its legend is made from."""
    pictures = alt.Chart(named("picture")).mark_image(smooth=True, aspect=False, clip=True)
    return [_ends(colour), pictures.encode(url=alt.Url("uri:N"), **axes, x2=alt.X2("x2"), y2=alt.Y2("y2"))]
