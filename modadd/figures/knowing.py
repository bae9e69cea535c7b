"""When every pair is known for good, and the signals that come before."""

import altair as alt
import numpy as np
import pyarrow as pa

from .. import data
from ..analysis import knowing
from ..records.record import Record
from . import style
from .chart import Chart, drawing
from .fields import SIDE, axes, cells_of, counted, heatmap
from .grids import DOTS_UP_TO
from .style import SEQUENTIAL, named, table

VALUE = "log₁₀(1 + step)"


def settled(found: knowing.Known, record: Record, side: int = SIDE) -> Chart:
    """The step from which the answer to each ordered pair stays right; a cross where it does not until the end."""
    p = record.run.p
    by_PP, x, y = data.grid(found.by, p), counted("y", p), counted("x", p)
    never_PP = ~np.isfinite(by_PP)
    level_PP, top = np.log10(1 + np.minimum(by_PP, found.last)), float(np.log10(1 + found.last)) or 1.0
    drawn = heatmap(level_PP, x, y, VALUE, diverging=False, top=top, height=side, square=True)
    if p <= DOTS_UP_TO:
        tables = heatmap(level_PP, x, y, VALUE, diverging=False, top=top, cells=p * p).tables
        row, column = np.nonzero(never_PP)
        tables = tables | {"marks": table(x=column + 0.5, y=row + 0.5)}
        drawn = drawing(_crossed, tables, x=x, y=y, colours=SEQUENTIAL[style.theme()], side=side)
    span = (found.by - found.after)[np.isfinite(found.by)]
    told = f" Frames are steps apart: the median pair is known to within {np.median(span):,.0f} steps, the worst " \
           f"to within {span.max():,.0f}." if len(span) else ""  # fmt: skip
    return Chart(
        drawn, "The step from which a pair stays right",
        f"x down, y across, up to step {found.last:,}. {never_PP.sum():,} of {p * p:,} are wrong at the end"
        f"{', crossed' if never_PP.any() and p <= DOTS_UP_TO else ''}.{told}",
        "The step from which the answer to every pair of residues stays right", lambda: settled_table(found, record),
    )  # fmt: skip


def settled_table(found: knowing.Known, record: Record) -> pa.Table:
    """One row an ordered pair: its kind, and between which steps it came to be known, null if it did not."""
    p = record.run.p
    x, y = np.divmod(np.arange(p * p), p)
    by = data.grid(found.by, p).ravel()
    kind, after = np.array(data.KINDS)[data.kinds(record.run)].ravel(), data.grid(found.after, p).ravel()
    there = np.isfinite(by)
    by = pa.array(np.where(there, by, 0).astype(int), mask=~there)
    return table(x=x, y=y, kind=kind, after=after).append_column("by", by)


def _crossed(x, y, colours, side):
    marks = alt.Chart(named("marks")).mark_point(
        shape="cross", angle=45, filled=True, size=0.3 * (side / len(x.names)) ** 2, opacity=1
    ).encode(**axes(x, y), color=alt.value(style.COLOURS["others"]))  # fmt: skip
    return alt.layer(cells_of(x, y, VALUE, colours, side, True), marks, width=side, height=side)


def _span(span) -> str:
    return "not reached" if span is None else f"{span[0]:,.0f} to {span[1]:,.0f}".replace("-", "−")


def kinds_rows(found: knowing.Known, record: Record) -> list[dict]:
    """`by_kind` in words."""
    return [
        {"pairs": row["kind"], "how many": row["pairs"], "wrong at the end": row["never"],
         "mean step of the others, between": _span(None if row["by"] is None else (row["after"], row["by"]))}
        for row in knowing.by_kind(found, record)
    ]  # fmt: skip


def lead_rows(record: Record) -> list[dict]:
    """The signals in words, and how many steps each comes before the held-out pairs are answered."""
    found = knowing.signals(record)
    lead = knowing.leads(found)
    return [
        {"signal": name, "comes between steps": _span(span),
         "steps ahead": "" if name == knowing.GOAL else _span(lead[name])}
        for name, span in found.items()
    ]  # fmt: skip
