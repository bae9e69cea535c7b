"""A figure: a drawing over named tables, what is said of it, and its numbers.

`one | other` stand beside each other and `one & other` below each other, in a notebook, on a page and in a file.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import altair as alt
import pyarrow as pa
from altair.utils import schemapi

WIDTH = 640  # pixels, where a chart is as wide as its place
SIZES = {"labelFontSize": 12, "titleFontSize": 13}
CONFIG = {
    "axis": SIZES | {"titleFontWeight": 400, "titlePadding": 6, "labelPadding": 5},
    "legend": SIZES | {"titleFontWeight": 400, "titlePadding": 6, "labelPadding": 4, "padding": 0, "offset": 6},
    "text": {"fontSize": 12},
}


@dataclass(frozen=True)
class Drawing:
    """A specification, and the tables that it names.  Its height is that of the plot, without axes and legends."""

    spec: dict
    tables: dict[str, pa.Table]

    @classmethod
    def of(cls, chart: "alt.TopLevelMixin | Drawing | Chart") -> "Drawing":
        """Any chart as a drawing; a table of one `step` alone becomes `now`, the moment in view."""
        if isinstance(chart, Chart):
            title = {"text": chart.title, "anchor": "start", "fontSize": 14}
            return replace(chart.drawing, spec=chart.drawing.spec | {"title": title})
        return chart if isinstance(chart, Drawing) else _freeze(chart)

    def to_dict(self, **_) -> dict:
        """What Altair's charts have under this name."""
        return self.spec | {"datasets": self.tables}

    def at(self, step: int | None) -> "Drawing":
        """The same at another step, or at the one it was made for if that comes before; as it is without any."""
        if "now" not in self.tables or step is None:
            return self
        last = self.tables["now"]["step"].to_pylist()
        return replace(self, tables=self.tables | {"now": pa.table({"step": [min([step, *last])]})})

    def __or__(self, other) -> "Drawing":
        return together("hconcat", self, other)

    def __and__(self, other) -> "Drawing":
        return together("vconcat", self, other)

    def _repr_mimebundle_(self, *_, **__):
        """The chart in a notebook."""
        rows = {name: table.to_pylist() for name, table in self.tables.items()}
        return alt.renderers.get()(complete(self.spec) | {"datasets": rows})


@dataclass(frozen=True)
class Chart:
    """What a figure returns: its drawing, with a title, a caption that tells what to look for, an alternative text
    for those who do not see it, and its numbers: a table, or a function that makes one when it is asked for."""

    drawing: Drawing
    title: str
    caption: str = ""
    alt: str = ""
    rows: pa.Table | Callable[[], pa.Table] | None = None

    def __post_init__(self):
        object.__setattr__(self, "drawing", Drawing.of(self.drawing))
        object.__setattr__(self, "alt", self.alt or self.title)

    def table(self) -> pa.Table:
        """The numbers of the chart, by default its longest table."""
        if self.rows is None:
            return max(self.drawing.tables.values(), key=len)
        return self.rows() if callable(self.rows) else self.rows

    def at(self, step: int | None) -> "Chart":
        """The same with another step in view."""
        return replace(self, drawing=self.drawing.at(step))

    def __or__(self, other) -> Drawing:
        return together("hconcat", self, other)

    def __and__(self, other) -> Drawing:
        return together("vconcat", self, other)

    def _repr_mimebundle_(self, *args, **how):
        return Drawing.of(self)._repr_mimebundle_(*args, **how)


def drawing(build: Callable[..., alt.TopLevelMixin], tables: dict[str, pa.Table], **options) -> Drawing:
    """The chart that `build(**options)` makes over the `named` tables.

    It is made once for each set of options: making it takes longer than all else that the server does for a
    chart, and a chart whose specification stays takes new data without being built again in the browser.
    """
    return Drawing(_specification(build, tuple(options.items())), tables)


@lru_cache(maxsize=512)
def _specification(build, options) -> dict:
    return build(**dict(options)).to_dict(validate=False)


def complete(spec: dict, more: dict | None = None) -> dict:
    """The specification with the sizes of type of all charts, and `more` settings, under its own."""
    config = dict(CONFIG)
    for part, own in [*(more or {}).items(), *spec.get("config", {}).items()]:
        config[part] = config.get(part, {}) | own if isinstance(own, dict) else own
    fixed = {"width", "hconcat", "vconcat"} & spec.keys()
    size = {"autosize": {"type": "pad" if fixed else "fit-x", "contains": "padding"}}
    return size | spec | {"config": config}


def together(way: str, *charts) -> Drawing:
    """Charts of any kind beside (`hconcat`) or below (`vconcat`) each other; each keeps its own scales."""
    parts, tables, config = [], {}, {}
    for number, one in enumerate(map(Drawing.of, charts)):
        names = {name: f"{number}.{name}" for name in one.tables}
        config |= one.spec.get("config", {})
        spec = {
            name: part for name, part in one.spec.items() if name not in ("config", "$schema", "usermeta", "autosize")
        }
        size = {} if {"hconcat", "vconcat"} & spec.keys() else {"width": WIDTH // 2}
        parts.append(size | _renamed(spec, names))
        tables |= {names[name]: table for name, table in one.tables.items()}
    apart = {"color": "independent", "fill": "independent", "shape": "independent", "size": "independent"}
    return Drawing({way: parts, "resolve": {"scale": apart}, "config": config}, tables)


def _renamed(part, names: dict[str, str]):
    """A part of a specification over tables of other names, without what only a page can use: clicks and names."""
    if isinstance(part, list):
        return [_renamed(each, names) for each in part]
    if not isinstance(part, dict):
        return part
    found = {key: _renamed(value, names) for key, value in part.items()}
    if set(part) == {"name"} and part["name"] in names:
        return {"name": names[part["name"]]}
    for key in ("params", "name") if "mark" in part or "layer" in part else ():
        found.pop(key, None)
    return found


class _Freezing(threading.local):
    """The tables of the chart that this thread is turning into a specification."""

    tables: dict[str, pa.Table] | None = None


_freezing = _Freezing()


def _by_name(data):
    # Data travel beside the specification as Arrow, so that an update swaps them in place.
    found = _freezing.tables
    if found is None:
        return alt.default_data_transformer(data)
    moment = data.column_names == ["step"] and len(data) == 1 and "now" not in found
    name = "now" if moment else f"data{len(found)}"
    found[name] = data
    return {"name": name}


alt.data_transformers.register("by_name", _by_name)
alt.data_transformers.enable("by_name")
schemapi.disable_debug_mode()  # a schema check of every mark costs more than drawing it


def _freeze(chart: alt.TopLevelMixin) -> Drawing:
    tables = _freezing.tables = {}
    try:
        return Drawing(chart.to_dict(validate=False), tables)
    finally:
        _freezing.tables = None
