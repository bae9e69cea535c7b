"""Charts on a page: drawn in place, with what to look for, and to take home as CSV, SVG, PNG or PDF."""

import io
import threading
from collections.abc import Callable

import altair as alt
import streamlit as st
from altair.utils import schemapi

from ..figures.style import Drawing
from . import reels

# A description and a tooltip made for every mark of every redraw cost more than the marks; charts have an alt
# text, and those with something to tell have tooltips of their own.
QUIET = {"mark": {"aria": False, "tooltip": None}, "axis": {"aria": False}, "legend": {"aria": False}}
# A film draws on canvases, which take new data in two thirds of the time of an SVG.
FILMED = {"usermeta": {"embedOptions": {"renderer": "canvas"}}}
# Every chart listens, so that the scripts of the frame find it.
LISTENS = {"name": "film", "value": 0, "on": [{"events": "window:film", "update": "0"}]}

Chart = alt.TopLevelMixin | Drawing


class _Drawing(threading.local):
    """The data of the chart that this session's thread is turning into a specification."""

    datasets: dict | None = None


_drawing = _Drawing()


def _by_name(data):
    # Data travel beside the specification as Arrow, so that an update swaps them in place.
    if _drawing.datasets is None:
        return alt.default_data_transformer(data)
    moment = data.column_names == ["step"] and len(data) == 1 and "now" not in _drawing.datasets
    name = "now" if moment else f"data{len(_drawing.datasets)}"
    _drawing.datasets[name] = data
    return {"name": name}


alt.data_transformers.register("by_name", _by_name)
alt.data_transformers.enable("by_name")
schemapi.disable_debug_mode()  # a schema check of every mark costs more than drawing it


def specification(chart: Chart) -> dict:
    """Vega-Lite, with the data as Arrow tables under `datasets`."""
    _drawing.datasets = {}
    try:
        spec = {"datasets": _drawing.datasets} | chart.to_dict(validate=False)
    finally:
        _drawing.datasets = None
    own = spec.get("config", {})
    return spec | {"config": QUIET | {part: QUIET.get(part, {}) | value if isinstance(value, dict) else value
                                      for part, value in own.items()}}  # fmt: skip


def frozen(chart: Chart) -> Drawing:
    """A chart that is made once for all moments; a table of one `step` alone is the moment, which `at` moves."""
    spec = specification(chart)
    return Drawing(spec, spec.pop("datasets"))


def draw(chart: Chart | Callable[[int], Chart], key: str, says: str, pick=None) -> dict:
    """Show a chart and return its specification; `key` keeps its place on the page between updates, `says` is its
    alt text; `pick` is called on a click.

    A chart that follows the player (`play`) is given as a function of the moment: the browser then draws it by itself
    while it plays and while one drags.  Such a chart keeps its specification at all moments, and only its tables
    change.  A chart over time takes part in hovering (hover.js) if its lines stand over a column `step`, with their
    names in `curve` and their values in `value`; the moment in view is a table `now` of one `step`.
    """
    if callable(chart):
        moment, film = reels.now()
        spec = _filmed(chart(moment))
        shown = film.shows(key, lambda at: _filmed(chart(at)), moment) if film else spec
    else:
        spec = shown = _listening(specification(chart))
    with st.container(key=f"chart-{key}"):
        st.vega_lite_chart(None, shown, key=key, width="stretch", alt=says, on_select=pick or "ignore")
    return spec


def _filmed(chart: Chart) -> dict:
    return _listening(specification(chart)) | FILMED


def _listening(spec: dict) -> dict:
    return spec | {"params": [*spec.get("params", []), LISTENS]}


def csv(log) -> bytes:
    """An Arrow table as CSV bytes."""
    from pyarrow import csv as arrow_csv

    buffer = io.BytesIO()
    arrow_csv.write_csv(log, buffer)
    return buffer.getvalue()


def show(
    title: str, look_for: str, chart: Chart | Callable[[int], Chart], key: str, rows, says: str, pick=None, file=None
):
    """A chart under its title, with what to look for in it; to take home as the table that `rows` makes (None: the
    longest of the chart) and as a picture, under the name of the run in view and `file`, or else `key`.  `pick` is
    called on a click."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{title}**", width="stretch")
        home = st.popover(
            "Save", type="tertiary", icon=":material/download:", key=f"save-{key}", on_change="rerun", width="content"
        )
    spec = draw(chart, key, says, pick)
    if look_for:
        st.caption(look_for)
    if home.open:
        with home:
            _take_home(spec, key, file or key, rows or (lambda: max(spec["datasets"].values(), key=len)))


def _take_home(spec: dict, key: str, file: str, rows):
    """Four files, each made when it is asked for."""
    from ..figures import export

    of = st.session_state.get("in-view") or f"p{st.session_state['p']:03d}"
    theme = st.context.theme.type or "light"
    files = {
        "csv": ("Data as CSV", "text/csv", lambda: csv(rows())),
        "svg": ("Chart as SVG", "image/svg+xml", lambda: export.svg(spec, theme)),
        "png": ("Chart as PNG", "image/png", lambda: export.png(spec, theme)),
        "pdf": ("Chart as PDF", "application/pdf", lambda: export.pdf(spec, theme)),
    }
    for kind, (label, mime, make) in files.items():
        st.download_button(
            label, make, f"{of}-{file}.{kind}", mime, key=f"{kind}-{key}", on_click="ignore", type="tertiary",
            width="stretch",
        )  # fmt: skip
