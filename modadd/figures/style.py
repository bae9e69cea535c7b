"""One meaning a colour, on every page; and the few pieces every chart is made of.

Those that are drawn together are apart for the common kinds of colour blindness and hold against a white and a
dark ground alike; tests/test_colours.py measures both.
"""

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import altair as alt
import numpy as np
import pyarrow as pa

HUE = {
    "blue": "#2f7fc1", "orange": "#e07b1f", "green": "#12a17a", "violet": "#7d48c8", "rose": "#b0266b",
    "ochre": "#bfa24a", "pale": "#7fb4de", "brown": "#8a6426", "red": "#e02b2b", "grey": "#9aa3ad",
    "indigo": "#5b6ee1", "graphite": "#8a8f98",
}  # fmt: skip
SEVERAL = tuple(HUE[name] for name in ("blue", "orange", "green", "violet", "rose", "ochre", "pale", "brown"))
"""For things without a colour of their own, in the order in which they appear."""
COLOURS = {
    "train": HUE["blue"], "test": HUE["orange"], "held out": HUE["green"], "mirrored": HUE["brown"],
    "common": HUE["blue"], "rare": HUE["pale"],
    "input": HUE["violet"], "output": HUE["rose"], "winner": HUE["red"], "others": HUE["grey"],
}  # fmt: skip
DIVERGING = ("#2166ac", "#8fb8d8", "#f2f2f2", "#e8a187", "#b2182b")
# Once around: hue as in OKLab, and lighter from red to green, so that who cannot tell these sees light and dark;
# equal steps look equal to all cones and to those who lack one.
RING = (
    "#743356", "#7e383a", "#894923", "#956b13", "#929b4a", "#80b77e",
    "#63c5ae", "#47c3d3", "#3db1e8", "#528ae3", "#6653b0", "#6d397c",
)  # fmt: skip
SEQUENTIAL = ("#f4f1ea", "#f0c27a", "#e0803a", "#a83a4e", "#3d1d5c")
HEIGHT = 230
RECTANGLES = 2000  # above this many cells a heatmap is drawn as one image


named = alt.NamedData


@dataclass(frozen=True)
class Drawing:
    """A chart whose specification was made before, and the data of the moment by name."""

    spec: dict
    tables: dict[str, pa.Table]

    def to_dict(self, **_) -> dict:
        """What Altair's charts have under this name."""
        return self.spec | {"datasets": self.tables}

    def at(self, step: int) -> "Drawing":
        """The same at another step, or at the one it was made for if that comes before; or as it is without any."""
        if "now" not in self.tables:
            return self
        last = self.tables["now"]["step"][0].as_py()
        return Drawing(self.spec, self.tables | {"now": table(step=[min(step, last)])})

    def _repr_mimebundle_(self, *_, **__):
        """The chart in a notebook."""
        rows = {name: table.to_pylist() for name, table in self.tables.items()}
        return alt.renderers.get()(self.spec | {"datasets": rows})


def drawing(build: Callable[..., alt.TopLevelMixin], tables: dict[str, pa.Table], **options) -> Drawing:
    """The chart that `build(**options)` makes over the `named` tables.

    It is made once for each set of options: making it takes longer than all else that the server does for a
    chart, and a chart whose specification stays takes new data without being built again in the browser.
    """
    return Drawing(_specification(build, tuple(options.items())), tables)


@lru_cache(maxsize=512)
def _specification(build, options) -> dict:
    return build(**dict(options)).to_dict(validate=False)


def table(**columns) -> pa.Table:
    """Columns of equal length as an Arrow table, which Altair and Streamlit take as it is."""
    return pa.table({name: pa.array(np.ascontiguousarray(column)) for name, column in columns.items()})


def long(x_name: str, x, series: dict[str, np.ndarray]) -> pa.Table:
    """One row a point and curve, points that are NaN left out."""
    x = np.asarray(x)
    names = np.repeat(list(series), len(x)) if len(x) else np.array([], str)
    values = np.concatenate([np.asarray(v, np.float64) for v in series.values()]) if series else np.array([])
    real = np.isfinite(values)
    return table(**{x_name: np.tile(x, len(series))[real], "curve": names[real].astype(str), "value": values[real]})


def in_time(rows: pa.Table) -> pa.Table:
    """The rows in the order of their steps, so that those up to a step begin those up to a later one."""
    return rows.take(np.argsort(rows["step"].to_numpy(), kind="stable"))


def colour(names: list[str], title: str | None = None) -> alt.Color:
    """The fixed colours of these curves, with their legend on top."""
    return alt.Color(
        "curve:N",
        scale=alt.Scale(domain=names, range=[COLOURS[name.removesuffix(" layer")] for name in names]),
        legend=alt.Legend(title=title, orient="top", symbolType="stroke"),
    )


def few(count: int, most: int = 24) -> alt.Axis:
    """The axis of the whole numbers 1 .. count, with so many of them named that they do not touch."""
    return alt.Axis(labelAngle=0, values=list(range(1, count + 1, -(-count // most))))


def with_step(curves: alt.Chart, step: int | None, rows: pa.Table, height: int = HEIGHT) -> alt.Chart | alt.LayerChart:
    """The curves and a thin rule at the step in view, or at their end if they end before it."""
    if step is None or not len(rows):
        return curves.properties(height=height)
    at = table(step=np.array([min(step, int(np.max(rows["step"])))]))
    rule = alt.Chart(at).mark_rule(strokeDash=[4, 3], color=COLOURS["others"]).encode(x=alt.X("step:Q"))
    return alt.layer(curves, rule).properties(height=height)


def tips(**titles: str) -> list[alt.Tooltip]:
    """What hovering shows: a title for each column; reals with four digits."""
    # Channel objects, not shorthand strings: Altair resolves a string through its whole schema.
    real = {"value", "two_phi", "psi"}
    return [
        alt.Tooltip(f"{name}:Q", title=title, format=".4~g") if name in real else alt.Tooltip(f"{name}:N", title=title)
        for name, title in titles.items()
    ]


def step_axis(log: bool) -> alt.X:
    scale = alt.Scale(type="symlog", constant=10) if log else alt.Scale(nice=False)
    return alt.X(
        "step:Q", title="training step", scale=scale,
        axis=alt.Axis(
            tickCount=6, format="~s", labelExpr="datum.value ? datum.label : '0'", labelFlush=True,
            labelFlushOffset=-4,  # the page's font is wider than the one that the chart was laid out for
        ),
    )  # fmt: skip


def ramp(values: np.ndarray, colours: tuple[str, ...]) -> np.ndarray:
    """Colours for values in [0, 1], uint8 [..., 3]."""
    anchors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours])
    at = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(values, at, anchors[:, i]) for i in range(3)], -1).round().astype(np.uint8)


def ring(turn) -> np.ndarray:
    """The colour circle, once around as `turn` goes from 0 to 1, uint8 [..., 3]."""
    return ramp(np.asarray(turn, float) % 1, (*RING, RING[0]))


def ring_scale(first: int, count: int) -> alt.Scale:
    """The colour circle over `count` whole numbers from `first` on; the last is as far from the first as from the
    one before it."""
    turns = ring(np.linspace(0, 1 - 1 / count, 4 * len(RING)))
    range_ = ["#" + bytes(rgb.tolist()).hex() for rgb in turns]
    return alt.Scale(domain=[first, first + max(count - 1, 1)], range=range_, interpolate="rgb")


def png_uri(rgb: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def image(rgb: np.ndarray, x_title: str, y_title: str, height: int) -> Drawing:
    """A picture [rows, columns, 3] on axes that count its cells from 0, first row on top."""
    rows, columns = rgb.shape[:2]
    shown = table(uri=np.array([png_uri(rgb)]), x=[0], x2=[columns], y=[0], y2=[rows])
    names = {"x_title": x_title, "y_title": y_title, "height": height}
    return drawing(_image, {"picture": shown}, rows=rows, columns=columns, **names)


def _image(rows, columns, x_title, y_title, height):
    axis = {"axis": alt.Axis(grid=False, tickCount=6)}
    return (
        alt.Chart(named("picture"), height=height)
        .mark_image(smooth=False, aspect=False)
        .encode(
            url=alt.Url("uri:N"),
            x=alt.X("x:Q", title=x_title, scale=alt.Scale(domain=[0, columns], nice=False), **axis),
            x2=alt.X2("x2"),
            y=alt.Y("y:Q", title=y_title, scale=alt.Scale(domain=[rows, 0], nice=False), **axis),
            y2=alt.Y2("y2"),
        )
    )


def heatmap(
    matrix: np.ndarray, x_title: str, y_title: str, value: str, *, x_names=None, y_names=None, diverging: bool = True,
    height: int = 330, cells: int = RECTANGLES, top: float | None = None,
) -> Drawing:  # fmt: skip
    """A table as colours, first row on top; blue below zero, red above, or dark for large.  The last colour is of
    `top`, by default of the largest there is.

    Up to `cells` cells are rectangles, each with its value under the mouse; more are one image, which tells the
    largest cell of a row.  A click on a row selects its name `y`, under the name `row`.
    """
    rows, columns = matrix.shape
    x_names, y_names = (list(range(n)) if names is None else list(names)
                        for n, names in ((columns, x_names), (rows, y_names)))  # fmt: skip
    size = np.abs(np.nan_to_num(matrix))
    top = top or float(size.max(initial=0.0)) or 1.0
    low, colours = (-top, DIVERGING) if diverging else (0.0, SEQUENTIAL)
    ends = table(value=[low, top])
    names = {"x_title": x_title, "y_title": y_title, "value": value, "colours": colours, "height": height}
    if matrix.size <= cells:
        r, c = np.divmod(np.arange(matrix.size), columns)
        x, y = (np.array(these)[at] for these, at in ((x_names, c), (y_names, r)))
        shown = table(x=x, y=y, value=np.asarray(matrix, np.float64).ravel())
        return drawing(_cells, {"cells": shown, "ends": ends}, x=tuple(x_names), y=tuple(y_names), **names)
    uri = png_uri(ramp(np.nan_to_num((matrix - low) / (top - low)), colours))
    shown = table(uri=np.array([uri]), x=[0], x2=[columns], y=[0], y2=[rows])
    at, best = np.arange(rows), size.argmax(1)
    bands = table(y=y_names, top=at, bottom=at + 1, best=np.array(x_names)[best], value=matrix[at, best].astype(float))
    return drawing(
        _picture, {"picture": shown, "bands": bands, "ends": ends}, x=tuple(x_names), y=tuple(y_names), **names
    )


def scale_of(title: str, colours: tuple[str, ...], kind: str = "linear", form: str = ".2~g") -> alt.Color:
    """Colours over the column `value`, from the least to the largest there is, with their legend on top."""
    legend = alt.Legend(type="gradient", orient="top", gradientLength=160, format=form, tickCount=3)
    scale = alt.Scale(type=kind, range=list(colours), interpolate="rgb", nice=False, zero=False)
    return alt.Color("value:Q", title=title, scale=scale, legend=legend)


def ground(values: np.ndarray, x: tuple[float, float], y: tuple[float, float], log: bool = False) -> dict:
    """The tables `picture` and `ends` of a field drawn as one image over these ranges, values [rows upwards, columns],
    for `on_ground`; dark is large."""
    ends = [float(end) for end in (values[np.isfinite(values)].min(), values[np.isfinite(values)].max())]
    level, (low, high) = (np.log(values), np.log(ends)) if log else (values, ends)
    uri = png_uri(ramp(((level[::-1] - low) / ((high - low) or 1.0)).clip(0, 1), SEQUENTIAL))
    picture = table(uri=np.array([uri]), x=[x[0]], x2=[x[1]], y=[y[1]], y2=[y[0]])
    return {"picture": picture, "ends": table(value=ends)}


def on_ground(axes: dict, colour: alt.Color) -> list[alt.Chart]:
    """The layers of such a field: the image, and what its legend is made from."""
    picture = alt.Chart(named("picture")).mark_image(smooth=True, aspect=False, clip=True)
    return [_ends(colour), picture.encode(url=alt.Url("uri:N"), **axes, x2=alt.X2("x2"), y2=alt.Y2("y2"))]


def _cells(x, y, x_title, y_title, value, colours, height):
    few = lambda names: alt.Axis(  # noqa: E731
        values=list(names[:: max(1, len(names) // 24)]), labelOverlap=True, labelAngle=_angle(names), labelFontSize=10
    )
    colour = scale_of(value, colours)
    squares = (
        alt.Chart(named("cells"), name="cells")
        .mark_rect()
        .encode(
            x=alt.X("x:O", title=x_title, sort=list(x), axis=few(x)),
            y=alt.Y("y:O", title=y_title, sort=list(y), axis=few(y)),
            color=colour,
            tooltip=tips(x=x_title, y=y_title, value=value),
        )
        .add_params(alt.selection_point(name="row", fields=["y"], toggle=False))
    )
    return alt.layer(_ends(colour), squares, height=height)


def _ends(colour: alt.Color) -> alt.Chart:
    # Two values that nobody sees stretch the colours evenly to both sides, whatever the data of the moment.
    return alt.Chart(named("ends")).mark_rect(opacity=0).encode(color=colour)


def _picture(x, y, x_title, y_title, value, colours, height):
    axes = {
        "x": alt.X("x:Q", scale=alt.Scale(domain=[0, len(x)], nice=False), axis=_counted(x_title, x)),
        "y": alt.Y("y:Q", scale=alt.Scale(domain=[len(y), 0], nice=False), axis=_counted(y_title, y)),
    }
    picture = alt.Chart(named("picture")).mark_image(smooth=False, aspect=False)
    bands = alt.Chart(named("bands"), name="bands").mark_rect(opacity=0)
    bands = bands.encode(
        y=alt.Y("top:Q"), y2=alt.Y2("bottom"), tooltip=tips(y=y_title, best=f"largest at {x_title}", value=value)
    ).add_params(alt.selection_point(name="row", fields=["y"], toggle=False))
    picture = picture.encode(url=alt.Url("uri:N"), **axes, x2=alt.X2("x2"), y2=alt.Y2("y2"))
    return alt.layer(_ends(scale_of(value, colours)), picture, bands, height=height)


def _counted(title: str, names) -> alt.Axis:
    """An axis that counts cells from 0, with every few of them called by its name."""
    every = -(-len(names) // 24)
    words = json.dumps([str(name) for name in names])
    return alt.Axis(
        title=title, grid=False, values=[i + 0.5 for i in range(0, len(names), every)],
        labelExpr=f"{words}[floor(datum.value)]", labelOverlap=True,
        labelAngle=_angle(names), labelFontSize=10,
    )  # fmt: skip


def _angle(names) -> int:
    return -90 if isinstance(names[0], str) else 0
