"""What the network answers: the table of all sums, and the votes for x = 0."""

import altair as alt
import numpy as np

from .. import data
from ..record import Frame
from ..runs import Run
from .style import COLOURS, RECTANGLES, Drawing, heatmap, image, table, tips

PALE = 0.22


def accuracy(frame: Frame, run: Run, height: int = 330, legend: bool = True) -> alt.Chart | alt.LayerChart:
    """Every ordered pair (x, y): its kind by hue, full colour where the answer is right, pale where wrong."""
    right, kind = data.grid(frame["correct"], run.p), data.kinds(run)
    names = [name for i, name in enumerate(data.KINDS) if (kind == i).any()]
    hue = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=names, range=[COLOURS[name] for name in names]),
        legend=alt.Legend(orient="top", title=None) if legend else None,
    )
    if right.size > RECTANGLES:
        rgb = np.array([[int(COLOURS[name][i : i + 2], 16) for i in (1, 3, 5)] for name in data.KINDS])[kind]
        strength = np.where(right, 1, PALE)[..., None]
        picture = image((rgb * strength + 255 * (1 - strength)).astype(np.uint8), "y", "x", height)
        unseen = alt.Chart(table(kind=names)).mark_square(opacity=0).encode(color=hue)  # makes the legend
        return alt.layer(unseen, picture, height=height) if legend else picture
    x, y = np.divmod(np.arange(run.p**2), run.p)
    cells = table(
        x=x, y=y, kind=np.array(data.KINDS)[kind].ravel(), answer=np.where(right, "right", "wrong").ravel()
    )  # fmt: skip
    few = alt.Axis(values=list(range(0, run.p, max(1, run.p // 8))))
    return (
        alt.Chart(cells, height=height)
        .mark_rect()
        .encode(
            x=alt.X("y:O", title="y", axis=few),
            y=alt.Y("x:O", title="x", axis=few),
            color=hue,
            opacity=alt.Opacity(
                "answer:O",
                scale=alt.Scale(domain=["right", "wrong"], range=[1, PALE]),
                legend=alt.Legend(orient="top", title=None, symbolFillColor=COLOURS["others"]) if legend else None,
            ),
            tooltip=tips(x="x", y="y", kind="pair", answer="answer"),
        )
    )


def logits0(frame: Frame, height: int = 330) -> Drawing:
    """Logits for x = 0, centred over the answers: the diagonal is right, j = 0 and j = 2y are ghosts."""
    return heatmap(frame["logits0"], "answer j", "y (with x = 0)", "logit", height=height)
