"""Curves over training: named at their ends, on a ground that tells the stages, with a rule at the step in view."""

from typing import NamedTuple

import altair as alt
import numpy as np
import pyarrow as pa

from . import style
from .chart import Drawing, drawing
from .style import DASHED, HEIGHT, log_axis, named, share_axis, step_axis, table, tips

POINTS = 300  # of a curve
APART = 15  # pixels between two names at the ends of curves
SHADES = ("#7d8794", "#5b6470", "#9aa3ad")  # of the stages: greys, for hues have meanings of their own
SHADE = (0.10, 0.22, 0.06)
NUMERALS = ("I", "II", "III")


class Axis(NamedTuple):
    """The axis of values: its title; `log`, `share` (in percent), `unit` (0 to 1) or `plain`; its ends, if fixed."""

    title: str
    kind: str = "plain"
    ends: tuple[float, float] | None = None

    def around(self, values) -> "Axis":
        """With its ends fixed around these values, so that names at the curves can be set apart."""
        values = np.asarray(values, float)
        values = values[np.isfinite(values)]
        if self.kind in ("share", "unit"):
            return self._replace(ends=(0.0, 1.04))
        if self.ends or not len(values):
            return self
        if self.kind == "log":
            return self._replace(ends=style.decades(values))
        low, high = float(values.min()), float(values.max())
        room = 0.06 * ((high - low) or abs(high) or 1.0)
        return self._replace(ends=(0.0 if 0 <= low < 0.5 * high else low - room, high + room))

    def place(self, values) -> np.ndarray:
        """Where values lie, from 0 at the lower end to 1 at the upper one."""
        low, high, values = *self.ends, np.asarray(values, float)
        if self.kind == "log":
            low, high, values = np.log(low), np.log(high), np.log(values.clip(style.LEAST))
        return (values - low) / (high - low)

    def value(self, place: np.ndarray) -> np.ndarray:
        """The inverse of `place`."""
        low, high = self.ends
        return low * (high / low) ** place if self.kind == "log" else low + (high - low) * place

    def y(self, field: str = "value") -> alt.Y:
        if self.kind in ("share", "unit"):
            return share_axis(self.title, field, self.kind == "share")
        if self.kind == "log":
            return log_axis(self.title, self.ends or (), field)
        scale = alt.Scale(nice=False, **({"domain": list(self.ends)} if self.ends else {}))
        return alt.Y(f"{field}:Q", title=self.title, scale=scale, axis=alt.Axis(format="~r", tickCount=5))


def over_time(
    rows: pa.Table, colours: dict[str, str], axis: Axis, step: int | None = None, log_steps: bool = True, *,
    stages: dict[str, tuple[int, int]] | None = None, names: tuple[str, ...] = (), levels: tuple[float, ...] = (),
    height: int = HEIGHT,
) -> Drawing:  # fmt: skip
    """The curves of `rows` (step, curve, value), each in its colour with its name at its end.

    `stages` are spans of steps by name, of the stages called `names`; `levels` are drawn dashed across.
    """
    there = [name for name in colours if name in set(rows["curve"].to_pylist())]
    axis = axis.around(np.concatenate([rows["value"].to_numpy(), np.array(levels, float)]))
    if axis.kind == "log":
        rows = rows.set_column(2, "value", pa.array(rows["value"].to_numpy().clip(style.LEAST)))
    last = int(np.max(rows["step"])) if len(rows) else 0
    tables = {
        "curves": rows, "ends": named_ends(rows, there, axis, height),
        "now": table(step=[] if step is None else [min(step, last)]), "levels": table(level=np.array(levels, float)),
        "bands": bands(stages or {}, names, log_steps),
    }  # fmt: skip
    how = {"names": tuple(there), "hues": tuple(colours[name] for name in there), "axis": axis}
    return drawing(_over_time, tables, **how, log_steps=log_steps, height=height, alone=last == 0 and step is None)


def named_ends(rows: pa.Table, names: list[str], axis: Axis, height: int) -> pa.Table:
    """The last point of each curve, and the height at which its name stands clear of the others."""
    steps, values, curves = (rows[name].to_numpy(zero_copy_only=False) for name in ("step", "value", "curve"))
    names = [name for name in names if (curves == name).any()]
    last = np.array([np.flatnonzero(curves == name)[np.argmax(steps[curves == name])] for name in names], int)
    if not len(last):
        return table(step=[], value=[], at=[], curve=np.array([], str))
    at = apart(axis.place(values[last]), APART / height)
    return table(step=steps[last], value=values[last], at=axis.value(at), curve=np.array(names))


def apart(places: np.ndarray, least: float) -> np.ndarray:
    """Places in 0 .. 1, moved as little as keeps their order and `least` between any two."""
    order = np.argsort(places, kind="stable")
    found = places[order].astype(float).clip(0, 1)
    for i in range(1, len(found)):
        found[i] = max(found[i], found[i - 1] + least)
    found[-1] = min(found[-1], 1.0)
    for i in range(len(found) - 2, -1, -1):
        found[i] = min(found[i], found[i + 1] - least)
    result = np.empty_like(found)
    result[order] = found
    return result


def bands(stages: dict[str, tuple[int, int]], names: tuple[str, ...], log_steps: bool) -> pa.Table:
    """One row per stage: its span, its middle on the axis, its number."""
    starts, stops = np.array([*stages.values()], int).reshape(-1, 2).T
    middle = np.expm1((np.log1p(starts) + np.log1p(stops)) / 2) if log_steps else (starts + stops) / 2
    number = [names.index(name) for name in stages]
    return table(
        stage=np.array([f"{NUMERALS[i]} {names[i]}" for i in number], str), step=starts, until=stops, middle=middle,
        numeral=np.array([NUMERALS[i] for i in number], str),
    )  # fmt: skip


def ground(log_steps: bool) -> list[alt.Chart]:
    """The layers of `bands`."""
    x, rows = step_axis(log_steps), alt.Chart(named("bands"))
    scale = {"domain": list(NUMERALS)}
    shade = rows.mark_rect().encode(
        x=x, x2=alt.X2("until"), tooltip=tips(stage="stage", step="from step", until="to step"),
        fill=alt.Fill("numeral:N", legend=None, scale=alt.Scale(**scale, range=list(SHADES))),
        fillOpacity=alt.FillOpacity("numeral:O", legend=None, scale=alt.Scale(**scale, range=list(SHADE))),
    )  # fmt: skip
    words = rows.mark_text(dy=-8, fontSize=12, color=style.COLOURS["others"]).encode(
        x=alt.X("middle:Q", title=x["title"], scale=x["scale"], axis=x["axis"]), y=alt.value(0),
        text=alt.Text("numeral:N"),
    )  # fmt: skip
    return [shade, words]


def _over_time(names, hues, axis, log_steps, height, alone):
    x, y = step_axis(log_steps), axis.y()
    colour = style.hues(names, dict(zip(names, hues, strict=True)))
    lines = alt.Chart(named("curves")).mark_line(strokeWidth=1.9, clip=True, point=alone)
    lines = lines.encode(x=x, y=y, color=colour, tooltip=tips(curve="curve", step="step", value="value"))
    ends = alt.Chart(named("ends")).mark_text(align="left", dx=6, fontWeight=600, limit=150)
    ends = ends.encode(x=x, y=axis.y("at"), text=alt.Text("curve:N"), color=colour)
    levels = alt.Chart(named("levels")).mark_rule(strokeDash=[2, 3], color=style.COLOURS["others"])
    now = alt.Chart(named("now")).mark_rule(**DASHED).encode(x=x)
    return alt.layer(*ground(log_steps), levels.encode(y=axis.y("level")), lines, now, ends, height=height)
