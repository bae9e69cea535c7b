"""What the network answers: the table of all sums, and the votes for x = 0."""

import altair as alt
import numpy as np
import pyarrow as pa

from .. import data
from ..frames.schema import Frame
from ..runs import Run
from . import style
from .chart import Chart, Drawing, drawing
from .fields import OVERLAP, RECTANGLES, SIDE, axes, cells_of, counted, heatmap, image
from .style import COLOURS, QUIET, SEQUENTIAL, hues, named, table, tips

DOTS_UP_TO = 53  # largest p at which a mark fits into a cell


def cells(frame: Frame, run: Run) -> pa.Table:
    """Every ordered pair: its kind, whether its answer is right and with what probability."""
    x, y = np.divmod(np.arange(run.p**2), run.p)
    return table(
        x=x, y=y, kind=np.array(data.KINDS)[data.kinds(run)].ravel(),
        right=data.grid(frame["correct"], run.p).ravel(),
        probability=data.grid(frame["probability"], run.p).ravel().astype(np.float64),
    )  # fmt: skip


def kinds_of(run: Run) -> tuple[str, ...]:
    """The kinds of pairs that this run has."""
    return tuple(name for i, name in enumerate(data.KINDS) if (data.kinds(run) == i).any())


def wrong(correct_PP: np.ndarray, run: Run, side: int = SIDE, legend: bool = True) -> Drawing:
    """The pairs that are answered wrong, in the colours of their kinds; with no answer right, all kinds are seen."""
    kind, names = data.kinds(run), kinds_of(run)
    said = np.where(correct_PP, "right", np.array(data.KINDS)[kind])
    if len(names) == 1:  # every pair is trained: there are no kinds to tell apart
        said, names = np.where(correct_PP, "right", "wrong"), ("wrong",)
    means = tuple((name, COLOURS.get(name, COLOURS["common"])) for name in names) + (("right", QUIET[style.theme()]),)
    x, y = counted("y", run.p), counted("x", run.p)
    if correct_PP.size > RECTANGLES:
        place = {name: i for i, (name, _) in enumerate(means)}
        rgb = np.array([[int(hue[i : i + 2], 16) for i in (1, 3, 5)] for _, hue in means], np.uint8)
        of = np.vectorize(place.get, otypes=[int])(said)
        return image(rgb[of], x, y, side, means if legend else ())
    row, column = np.divmod(np.arange(run.p**2), run.p)
    shown = table(
        x=column, x2=column + OVERLAP, y=row, y2=row + OVERLAP, first=row, second=column, answer=said.ravel(),
        kind=np.array(data.KINDS)[kind].ravel(),
    )  # fmt: skip
    return drawing(_wrong, {"cells": shown}, x=x, y=y, means=means, side=side, shown=legend)


def _wrong(x, y, means, side, shown):
    key = style.legend("square", columns=3) if shown else None
    hue = hues([name for name, _ in means], dict(means), "answer", key)
    squares = alt.Chart(named("cells"), width=side, height=side).mark_rect(clip=True)
    says = tips(first="x", second="y", kind="pair", answer="answer")
    return squares.encode(**axes(x, y), x2=alt.X2("x2"), y2=alt.Y2("y2"), color=hue, tooltip=says)


def answers(frame: Frame, run: Run, step: int, side: int = SIDE) -> Chart:
    """Which of all ordered pairs are answered wrong at this step."""
    right, kind = data.grid(frame["correct"], run.p), data.kinds(run)
    count = {name: int((~right[kind == data.KINDS.index(name)]).sum()) for name in kinds_of(run)}
    told = ", ".join(f"{name} {n:,} of {(kind == data.KINDS.index(name)).sum():,}" for name, n in count.items())
    return Chart(
        wrong(right, run, side), f"Wrong answers at step {step:,}",
        f"x down, y across. Wrong: {told}.", f"Wrong answers to every pair of residues at step {step:,}",
        lambda: cells(frame, run),
    )  # fmt: skip


def pairs(run: Run, side: int = SIDE) -> Chart:
    """The pairs by their kind, as the seed drew them."""
    nothing = np.zeros((run.p, run.p), bool)
    return Chart(
        wrong(nothing, run, side),
        "The pairs",
        "Trained: common (both orders) and rare (this order only). Tested: mirrored (the other order is trained) and "
        "held out.",
        "Every pair of residues by its kind",
    )


def mean_probability(frame: Frame, run: Run) -> dict[str, float]:
    """Mean probability of the right answer over the pairs of each kind that exists."""
    values, kind = data.grid(frame["probability"], run.p), data.kinds(run)
    return {name: float(values[kind == i].mean()) for i, name in enumerate(data.KINDS) if (kind == i).any()}


def probability(frame: Frame, run: Run, step: int, side: int = SIDE) -> Chart:
    """Probability of the right answer of every ordered pair; a ring in every cell that is held out, where cells are
    large enough for one."""
    values, kind = data.grid(frame["probability"], run.p), data.kinds(run).ravel()
    told = ", ".join(f"{name} {value:.2f}" for name, value in mean_probability(frame, run).items())
    rings = run.p <= DOTS_UP_TO and (kind == data.HELD_OUT).any()
    return Chart(
        _probabilities(values, kind, run.p, side), f"Probability of the right answer at step {step:,}",
        f"Mean: {told}{' (ringed)' if rings else ''}.",
        f"Probability of the right answer to every pair of residues at step {step:,}", lambda: cells(frame, run),
    )  # fmt: skip


def _probabilities(values, kind, p, side) -> Drawing:
    x, y = counted("y", p), counted("x", p)
    if p > DOTS_UP_TO or not (kind == data.HELD_OUT).any():
        return heatmap(values, x, y, "probability", diverging=False, top=1.0, height=side, square=True)
    tables = heatmap(values, x, y, "probability", diverging=False, top=1.0, cells=p * p).tables
    row, column = np.divmod(np.flatnonzero(kind == data.HELD_OUT), p)
    tables = tables | {"marks": table(x=column + 0.5, y=row + 0.5)}
    return drawing(_ringed, tables, x=x, y=y, colours=SEQUENTIAL[style.theme()], side=side)


def _ringed(x, y, colours, side):
    rings = alt.Chart(named("marks")).mark_point(size=0.12 * (side / len(x.names)) ** 2, strokeWidth=1.4, opacity=1)
    rings = rings.encode(**axes(x, y), color=alt.value(COLOURS["held out"]))
    return alt.layer(cells_of(x, y, "probability", colours, side, True), rings, width=side, height=side)


def logits0(frame: Frame, step: int, side: int = SIDE, top: float | None = None) -> Chart:
    """Logits for x = 0, centred over the answers: the diagonal is right, j = 0 and j = 2y are ghosts."""
    votes = np.asarray(frame["logits0"], float)
    p, y = len(votes), np.arange(len(votes))
    ghost = np.zeros((p, p), bool)
    ghost[y, 0] = ghost[y, 2 * y % p] = True
    ghost[y, y] = False
    rest = ~ghost & ~np.eye(p, dtype=bool)
    right = int((votes.argmax(1) == y).sum())
    means = [
        f"{name} {votes[where].mean():+.3g}"
        for name, where in (("right", np.eye(p, dtype=bool)), ("ghosts j = 0 and j = 2y", ghost), ("others", rest))
        if where.any()
    ]
    drawn = heatmap(
        votes, counted("answer j", p), counted("y (with x = 0)", p), "logit", height=side, square=True, top=top
    )
    return Chart(
        drawn, f"Logits for x = 0 at step {step:,}",
        f"The diagonal, the right answer, is the largest in {right} of {p} rows. Mean logit: {', '.join(means)}.",
        f"Logits of all answers for every y with x = 0 at step {step:,}", lambda: votes_table(votes),
    )  # fmt: skip


def votes_table(votes_PP: np.ndarray) -> pa.Table:
    """One row per y and answer j, the logits centred over the answers."""
    y, j = np.divmod(np.arange(votes_PP.size), votes_PP.shape[1])
    votes = np.asarray(votes_PP, float)
    return table(y=y, j=j, logit=(votes - votes.mean(-1, keepdims=True)).ravel())
