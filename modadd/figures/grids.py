"""What the network answers: the table of all sums, and the votes for x = 0."""

import altair as alt
import numpy as np

from .. import data
from ..frames.schema import Frame
from ..runs import Run
from .style import COLOURS, RECTANGLES, Drawing, drawing, heatmap, named, png_uri, table, tips

PALE = 0.22


def accuracy(frame: Frame, run: Run, height: int = 330, legend: bool | str = True) -> Drawing:
    """Every ordered pair (x, y): its kind by hue, full colour where the answer is right, pale where wrong.

    The legends, if any, stand one above the other where `legend` is "stacked".
    """
    right, kind = data.grid(frame["correct"], run.p), data.kinds(run)
    names = tuple(name for i, name in enumerate(data.KINDS) if (kind == i).any())
    if right.size > RECTANGLES:
        rgb = np.array([[int(COLOURS[name][i : i + 2], 16) for i in (1, 3, 5)] for name in data.KINDS])[kind]
        strength = np.where(right, 1, PALE)[..., None]
        uri = png_uri((rgb * strength + 255 * (1 - strength)).astype(np.uint8))
        picture = table(uri=np.array([uri]), x=[0], x2=[run.p], y=[0], y2=[run.p])
        tables = {"picture": picture, "kinds": table(kind=np.array(names))}
        return drawing(_picture, tables, names=names, p=run.p, height=height, legend=legend)
    x, y = np.divmod(np.arange(run.p**2), run.p)
    cells = table(
        x=x, y=y, kind=np.array(data.KINDS)[kind].ravel(), answer=np.where(right, "right", "wrong").ravel()
    )  # fmt: skip
    return drawing(_cells, {"cells": cells}, names=names, p=run.p, height=height, legend=legend)


def _hue(names, legend) -> alt.Color:
    return alt.Color(
        "kind:N",
        scale=alt.Scale(domain=list(names), range=[COLOURS[name] for name in names]),
        legend=alt.Legend(orient="top", title=None) if legend else None,
    )


def _stacked(chart, legend):
    if legend != "stacked":
        return chart
    above = {"top": {"direction": "vertical", "anchor": "start"}}
    return chart.configure_legend(layout=above, symbolBaseFillColor=COLOURS["others"])


def _picture(names, p, height, legend):
    axis = {"scale": alt.Scale(domain=[0, p], nice=False), "axis": alt.Axis(grid=False, tickCount=6)}
    down = axis | {"scale": alt.Scale(domain=[p, 0], nice=False)}
    picture = alt.Chart(named("picture"), height=height).mark_image(smooth=False, aspect=False)
    picture = picture.encode(
        url=alt.Url("uri:N"), x=alt.X("x:Q", title="y", **axis), x2=alt.X2("x2"), y=alt.Y("y:Q", title="x", **down),
        y2=alt.Y2("y2"),
    )  # fmt: skip
    unseen = alt.Chart(named("kinds")).mark_square(opacity=0).encode(color=_hue(names, legend))  # makes the legend
    return _stacked(alt.layer(unseen, picture, height=height), legend)


def _cells(names, p, height, legend):
    few = alt.Axis(values=list(range(0, p, max(1, p // 8))))
    chart = (
        alt.Chart(named("cells"), height=height)
        .mark_rect()
        .encode(
            x=alt.X("y:O", title="y", axis=few),
            y=alt.Y("x:O", title="x", axis=few),
            color=_hue(names, legend),
            opacity=alt.Opacity(
                "answer:O",
                scale=alt.Scale(domain=["right", "wrong"], range=[1, PALE]),
                legend=alt.Legend(orient="top", title=None, symbolFillColor=COLOURS["others"]) if legend else None,
            ),
            tooltip=tips(x="x", y="y", kind="pair", answer="answer"),
        )
    )
    return _stacked(chart, legend)


def logits0(frame: Frame, height: int = 330) -> Drawing:
    """Logits for x = 0, centred over the answers: the diagonal is right, j = 0 and j = 2y are ghosts."""
    return heatmap(frame["logits0"], "answer j", "y (with x = 0)", "logit", height=height)
