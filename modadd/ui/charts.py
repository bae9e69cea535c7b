"""Charts on a page: drawn in place, with what to look for, and one menu to save them as CSV, SVG, PNG or PDF."""

import io
from collections.abc import Callable
from typing import Any

import streamlit as st

from ..figures import style
from ..figures.chart import Chart, Drawing, complete
from . import reels

style.theme = lambda: st.context.theme.type or "light"

# A description and a tooltip made for every mark of every redraw cost more than the marks; charts have an alt
# text, and those with something to tell have tooltips of their own.
QUIET = {"mark": {"aria": False, "tooltip": None}, "axis": {"aria": False}, "legend": {"aria": False}}
# A film draws on canvases, which take new data in two thirds of the time of an SVG.
FILMED = {"usermeta": {"embedOptions": {"renderer": "canvas"}}}
# Every chart listens, so that the scripts of the frame find it.
LISTENS = {"name": "film", "value": 0, "on": [{"events": "window:film", "update": "0"}]}
# The menu of a chart shows itself under the mouse and to the keyboard; a chart of fixed size shrinks with the screen.
CSS = """
[class*="st-key-figure-"] [class*="st-key-save-"] {opacity: 0; transition: opacity .15s}
[class*="st-key-figure-"] [class*="st-key-save-"] button {min-height: 1.5rem; padding: 0 .4rem}
[class*="st-key-figure-"]:is(:hover, :focus-within) [class*="st-key-save-"] {opacity: 1}
@media (hover: none) {[class*="st-key-figure-"] [class*="st-key-save-"] {opacity: 1}}
[class*="st-key-title-"] {flex-wrap: nowrap}
[class*="st-key-chart-"] [data-testid="stElementToolbar"] {display: none}
[class*="st-key-chart-"] :is(svg.marks, canvas.marks) {max-width: 100%; height: auto !important}
"""

Shown = Chart | Callable[[int], Chart] | str
"""A chart; or one that follows the player, as a function of the moment; or a sentence that says why there is none."""


def specification(chart) -> dict:
    """Vega-Lite of any chart, with the data as Arrow tables under `datasets`."""
    drawn = Drawing.of(chart.drawing if isinstance(chart, Chart) else chart)
    return {"datasets": drawn.tables, "padding": {"bottom": 6}} | complete(drawn.spec, QUIET)


def draw(chart: Shown, key: str, says: str = "", pick=None) -> Any:
    """Show a chart alone and return it; `key` keeps its place on the page between updates, `says` is its alternative
    text; `pick` is called on a click.


    A chart that follows the player is given as a function of the moment: the browser then draws it by itself while it
    plays and while one drags.  Such a chart keeps its specification at all moments, and only its tables change.  A
    chart over time takes part in hovering (hover.js) if its lines stand over a column `step`, with their names in
    `curve` and their values in `value`; the moment in view is a table `now` of one `step`.
    """
    now = chart
    if callable(chart):
        moment, film = reels.now()
        now = chart(moment)
        shown = _filmed(now)
        if film:
            shown = film.shows(key, lambda at: _filmed(chart(at)), moment)
    else:
        shown = _listening(specification(chart))
    says = says or getattr(now, "alt", "")
    width = "content" if {"width", "hconcat", "vconcat"} & shown.keys() else "stretch"
    with st.container(key=f"chart-{key}"):
        st.vega_lite_chart(None, shown, key=key, width=width, alt=says, on_select=pick or "ignore")
    return now


def _filmed(chart) -> dict:
    return _listening(specification(chart)) | FILMED


def _listening(spec: dict) -> dict:
    return spec | {"params": [*spec.get("params", []), LISTENS]}


def show(chart: Shown, key: str, pick=None, file: str | None = None):
    """A chart under its title, with its caption and a menu to save it, under the name of the run in view and `file`,
    or else `key`.  `pick` is called on a click."""
    if isinstance(chart, str):
        st.info(chart)
        return
    with st.container(key=f"figure-{key}", gap="xxsmall"):
        head = st.container(horizontal=True, vertical_alignment="center", key=f"title-{key}")
        now = draw(chart, key, "", pick)
        with head:
            st.markdown(f"**{now.title}**", width="stretch")
            _menu(now, key, file or key)
        if now.caption:
            st.caption(now.caption)


def row(
    *charts: tuple[str, Shown], widths: list[float] | None = None, abreast: int | None = None,
    picks: dict | None = None, files: dict[str, str] | None = None,
):  # fmt: skip
    """Charts beside each other, each with its key, or so many `abreast` in rows of equal columns; `picks` are what
    clicks call and `files` names of files, by key."""
    wide = abreast or len(charts)
    for start in range(0, len(charts), wide or 1):
        for column, (key, chart) in zip(st.columns(widths or wide), charts[start : start + wide], strict=False):
            with column:
                show(chart, key, (picks or {}).get(key), (files or {}).get(key))


def figure(name: str, charts: Callable[[], Drawing], key: str, level: str = "subheader"):
    """A heading for a figure of the paper that is drawn as several charts, and a menu to save them as one picture."""
    with st.container(horizontal=True, vertical_alignment="bottom", key=f"figure-{key}"):
        getattr(st, level)(name, width="stretch")
        _menu(charts, key, key, "Save the whole figure")


def _menu(chart, key: str, file: str, label: str = ""):
    """Four files, each made when it is asked for."""
    home = st.popover(
        label or "Save", type="tertiary", icon=":material/download:", key=f"save-{key}", on_change="rerun",
        width="content",
    )  # fmt: skip
    if not home.open:
        return
    from ..figures import export

    of = st.session_state.get("in-view") or f"p{st.session_state['p']:03d}"
    look = style.theme()
    whole = lambda: chart() if callable(chart) else chart  # noqa: E731
    files = {
        "svg": ("Chart as SVG", "image/svg+xml", lambda: export.svg(specification(whole()), look)),
        "png": ("Chart as PNG", "image/png", lambda: export.png(specification(whole()), look)),
        "pdf": ("Chart as PDF", "application/pdf", lambda: export.pdf(specification(whole()), look)),
    }
    if isinstance(chart, Chart):
        files = {"csv": ("Data as CSV", "text/csv", lambda: csv(chart.table()))} | files
    with home:
        for kind, (words, mime, make) in files.items():
            st.download_button(
                words, make, f"{of}-{file}.{kind}", mime, key=f"{kind}-{key}", on_click="ignore", type="tertiary",
                width="stretch",
            )  # fmt: skip


def csv(log) -> bytes:
    """An Arrow table as CSV bytes."""
    from pyarrow import csv as arrow_csv

    buffer = io.BytesIO()
    arrow_csv.write_csv(log, buffer)
    return buffer.getvalue()
