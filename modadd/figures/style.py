"""One meaning a colour, on every page; and the few pieces every chart is made of.

The hues are apart for the common kinds of colour blindness and hold against a white and a dark
ground alike.
"""

import base64
import io

import altair as alt
import numpy as np
import pyarrow as pa

COLOURS = {
    "train": "#2f7fc1", "test": "#e07b1f", "held out": "#12a17a", "mirrored": "#c99a00",
    "common": "#2f7fc1", "rare": "#7fb4de",
    "input": "#8a63c9", "output": "#c2417c", "winner": "#e02b2b", "others": "#9aa3ad",
}  # fmt: skip
DIVERGING = ("#2166ac", "#8fb8d8", "#f2f2f2", "#e8a187", "#b2182b")
SEQUENTIAL = ("#f4f1ea", "#f0c27a", "#e0803a", "#a83a4e", "#3d1d5c")
HEIGHT = 230
RECTANGLES = 6000  # above this many cells a heatmap is drawn as one image


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


def colour(names: list[str], title: str | None = None) -> alt.Color:
    """The fixed colours of these curves, with their legend on top."""
    return alt.Color(
        "curve:N",
        scale=alt.Scale(domain=names, range=[COLOURS[name.removesuffix(" layer")] for name in names]),
        legend=alt.Legend(title=title, orient="top", symbolType="stroke"),
    )


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
        "step:Q", title="training step", scale=scale, axis=alt.Axis(tickCount=6, format="~s", labelFlush=False)
    )


def ramp(values: np.ndarray, colours: tuple[str, ...]) -> np.ndarray:
    """Colours for values in [0, 1], uint8 [..., 3]."""
    anchors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours])
    at = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(values, at, anchors[:, i]) for i in range(3)], -1).round().astype(np.uint8)


def png_uri(rgb: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def image(rgb: np.ndarray, x_title: str, y_title: str, height: int) -> alt.Chart:
    """A picture [rows, columns, 3] on axes that count its cells from 0, first row on top."""
    rows, columns = rgb.shape[:2]
    axis = {"axis": alt.Axis(grid=False, tickCount=6)}
    return (
        alt.Chart(table(uri=np.array([png_uri(rgb)]), x=[0], x2=[columns], y=[0], y2=[rows]))
        .mark_image(smooth=False, aspect=False)
        .encode(
            url=alt.Url("uri:N"),
            x=alt.X("x:Q", title=x_title, scale=alt.Scale(domain=[0, columns], nice=False), **axis),
            x2=alt.X2("x2"),
            y=alt.Y("y:Q", title=y_title, scale=alt.Scale(domain=[rows, 0], nice=False), **axis),
            y2=alt.Y2("y2"),
        )
        .properties(height=height)
    )


def heatmap(
    matrix: np.ndarray, x_title: str, y_title: str, value: str, *,
    x_names: list | None = None, y_names: list | None = None, diverging: bool = True, height: int = 330,
) -> alt.Chart:  # fmt: skip
    """A table as colours, first row on top; blue below zero, red above, or dark for large."""
    rows, columns = matrix.shape
    finite = matrix[np.isfinite(matrix)]
    top = float(np.abs(finite).max()) if finite.size else 1.0
    top = top or 1.0
    low = -top if diverging else 0.0
    colours = DIVERGING if diverging else SEQUENTIAL
    if matrix.size > RECTANGLES:
        return image(ramp(np.nan_to_num((matrix - low) / (top - low)), colours), x_title, y_title, height)
    r, c = np.divmod(np.arange(matrix.size), columns)
    xs = np.array(x_names if x_names is not None else range(columns))
    ys = np.array(y_names if y_names is not None else range(rows))
    cells = table(x=xs[c], y=ys[r], value=np.asarray(matrix, np.float64).ravel())
    few = lambda names: list(names[:: max(1, len(names) // 24)])  # noqa: E731
    return (
        alt.Chart(cells)
        .mark_rect()
        .encode(
            x=alt.X("x:O", title=x_title, sort=xs.tolist(), axis=alt.Axis(values=few(xs.tolist()), labelOverlap=True)),
            y=alt.Y("y:O", title=y_title, sort=ys.tolist(), axis=alt.Axis(values=few(ys.tolist()), labelOverlap=True)),
            color=alt.Color(
                "value:Q",
                title=value,
                scale=alt.Scale(domain=[low, top], range=list(colours), interpolate="rgb"),
                legend=alt.Legend(orient="top", gradientLength=160, format=".2~g", tickCount=3),
            ),
            tooltip=tips(x=x_title, y=y_title, value=value),
        )
        .properties(height=height)
    )  # fmt: skip
