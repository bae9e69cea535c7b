"""One meaning a colour, on every page; axes, legends and tables that every chart is made of.

Those that are drawn together are apart for the common kinds of colour blindness and hold against a white and a
dark ground alike; tests/test_colours.py measures both.
"""

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
LAYERS = {"input layer": COLOURS["input"], "output layer": COLOURS["output"]}
# From the ground outwards: pale in the middle on white, dark on a dark ground, where bright is high.
DIVERGING = {"light": ("#2166ac", "#8fb8d8", "#f2f2f2", "#e8a187", "#b2182b"),
             "dark": ("#8cc4f5", "#3f78b5", "#1c2430", "#b0524a", "#ffab94")}  # fmt: skip
SEQUENTIAL = {"light": ("#f4f1ea", "#f0c27a", "#e0803a", "#a83a4e", "#3d1d5c"),
              "dark": ("#171d26", "#4d2a66", "#a83a5e", "#e8863a", "#fbe9a6")}  # fmt: skip
QUIET = {"light": "#e9ecf0", "dark": "#262e3a"}
"""The ground of a cell that has nothing to say."""
# Once around: hue as in OKLab, and lighter from red to green, so that who cannot tell these sees light and dark;
# equal steps look equal to all cones and to those who lack one.
RING = (
    "#743356", "#7e383a", "#894923", "#956b13", "#929b4a", "#80b77e",
    "#63c5ae", "#47c3d3", "#3db1e8", "#528ae3", "#6653b0", "#6d397c",
)  # fmt: skip
HEIGHT = 220  # pixels of a plot, without its axes
LEAST = 1e-12  # a loss below this, exact zeros among them, is drawn at the edge of a log axis
DASHED = {"strokeDash": [4, 3], "color": COLOURS["others"]}

named = alt.NamedData


def theme() -> str:
    """The theme of the moment, `light` or `dark`; the pages put theirs in this place."""
    return "light"


def table(**columns) -> pa.Table:
    """Columns of equal length as an Arrow table, which Altair and Streamlit take as it is."""
    return pa.table({name: pa.array(np.ascontiguousarray(column)) for name, column in columns.items()})


def long(x_name: str, x, series: dict[str, np.ndarray]) -> pa.Table:
    """One row per point and curve, points that are NaN left out."""
    x = np.asarray(x)
    names = np.repeat(list(series), len(x)) if len(x) else np.array([], str)
    values = np.concatenate([np.asarray(v, np.float64) for v in series.values()]) if series else np.array([])
    real = np.isfinite(values)
    return table(**{x_name: np.tile(x, len(series))[real], "curve": names[real].astype(str), "value": values[real]})


def in_time(rows: pa.Table) -> pa.Table:
    """The rows in the order of their steps, so that those up to a step begin those up to a later one."""
    return rows.take(np.argsort(rows["step"].to_numpy(), kind="stable"))


def hues(names, colours: dict[str, str], field: str = "curve", legend: alt.Legend | None = None, **more) -> alt.Color:
    """A fixed colour for each of these names, with a legend only where one is given."""
    scale = alt.Scale(domain=list(names), range=[colours[name] for name in names])
    return alt.Color(f"{field}:N", scale=scale, legend=legend, sort=list(names), **more)


def ring_legend(title: str, first: int, count: int, most: int = 5, length: int = 140) -> alt.Legend:
    """The legend of `ring_scale`: whole numbers, each once."""
    values = list(range(first, first + count, -(-count // most)))
    return alt.Legend(orient="top", title=title, titleOrient="left", format="d", values=values, gradientLength=length)


def legend(symbol: str = "stroke", **how) -> alt.Legend:
    """A legend on top of the plot."""
    return alt.Legend(**({"orient": "top", "title": None, "symbolType": symbol, "symbolOpacity": 1} | how))


def colour(names, title: str | None = None) -> alt.Color:
    """The fixed colours of these curves, with their legend on top."""
    return hues(names, {name: COLOURS[name] for name in names}, legend=legend(title=title))


def sentence(words: str) -> str:
    """Words as a title begins."""
    return words[:1].upper() + words[1:]


def few(count: int, most: int = 16, first: int = 1) -> alt.Axis:
    """The axis of `count` whole numbers from `first` on, with so many of them named that they do not touch."""
    return alt.Axis(labelAngle=0, values=list(range(first, count + first, -(-count // most))))


def tips(**titles: str) -> list[alt.Tooltip]:
    """What hovering shows: a title for each column; reals with four digits."""
    # Channel objects, not shorthand strings: Altair resolves a string through its whole schema.
    real = {"value", "two_phi", "psi"}
    return [
        alt.Tooltip(f"{name}:Q", title=title, format=".4~g") if name in real else alt.Tooltip(f"{name}:N", title=title)
        for name, title in titles.items()
    ]


def step_axis(log: bool, ends: tuple[int, int] | None = None, title: str = "training step") -> alt.X:
    """Training steps, logarithmic from step 1 on with 0 beside it, or linear."""
    scale = alt.Scale(type="symlog", constant=1, nice=False) if log else alt.Scale(nice=False)
    if ends:
        scale["domain"] = list(ends)
    how = {"values": [0, *(10**n for n in range(8))]} if log else {"tickCount": 6}
    return alt.X(
        "step:Q", title=title, scale=scale,
        axis=alt.Axis(
            labelExpr="format(datum.value, datum.value < 1000 ? 'd' : '~s')", labelFlush=True, labelOverlap="greedy",
            grid=False, labelFlushOffset=-4, **how,  # the page's font is wider than the one that it was laid out for
        ),
    )  # fmt: skip


DECADES = range(-20, 13)
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_POWERS = [f"10{str(n).translate(_RAISED)}" for n in DECADES]


def powers(count: int = 5, **how) -> alt.Axis:
    """The axis of a log scale: whole powers of ten, as 10⁰, and no grid between them."""
    label = f"{_POWERS}[round(log(datum.value) / LN10) + {-DECADES[0]}]"
    return alt.Axis(values=[10.0**n for n in DECADES], labelExpr=label, tickCount=count, **how)


def share_axis(title: str, field: str = "value", percent: bool = True) -> alt.Y:
    """From 0 to 1, as a percentage, with room so that 100 % is not the frame."""
    axis = alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format=".0%" if percent else ".2~f")
    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(domain=[0, 1.04], nice=False), axis=axis)


def log_axis(title: str, values=(), field: str = "value") -> alt.Y:
    """Powers of ten around these values; those below LEAST lie at the edge."""
    domain = decades(values)
    return alt.Y(
        f"{field}:Q", title=title, axis=powers(),
        scale=alt.Scale(type="log", nice=False, **({"domain": list(domain)} if domain else {})),
    )  # fmt: skip


def decades(values) -> tuple[float, float] | None:
    """The whole powers of ten around the positive ones of these values; None where there are none."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)].clip(LEAST)
    if not len(values):
        return None
    low, high = np.floor(np.log10(values.min()) + 1e-9), np.ceil(np.log10(values.max()) - 1e-9)
    return float(10**low), float(10 ** max(high, low + 1))


def at_the_edge(values) -> str:
    """A sentence where some of these losses lie below what a log axis shows, else nothing."""
    values = np.asarray(values, float)
    return f" Losses below {LEAST:.0e}, exact zeros among them, are drawn at the lower edge." if np.any(
        values[np.isfinite(values)] < LEAST) else ""  # fmt: skip


def square_axes(x_title: str, y_title: str, side: float) -> dict:
    """Axes of a round chart, bare but for their titles, as keywords for `encode`; its width must be its height."""
    how = {"scale": alt.Scale(domain=[-side, side], nice=False), "axis": None}
    named_ = {"axis": alt.Axis(labels=False, ticks=False, grid=False, domain=False)}
    return {"x": alt.X("x:Q", title=x_title, **(how | (named_ if x_title else {}))),
            "y": alt.Y("y:Q", title=y_title, **(how | (named_ if y_title else {})))}  # fmt: skip


def unit_circle() -> pa.Table:
    """Points of the unit circle in order."""
    around = np.linspace(0, 2 * np.pi, 91)
    return table(x=np.cos(around), y=np.sin(around), at=around)


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
