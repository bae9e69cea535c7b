"""What the network votes: any row of sums, any one sum, and which frequency voted for what."""

import altair as alt
import numpy as np
import pyarrow as pa

from ..analysis.surgery import ideal_strength, strength
from ..maths.ideal import pure_vote
from . import fields, style
from .chart import Chart, drawing
from .fields import SIDE, counted, heatmap, scale_of
from .grids import votes_table
from .style import COLOURS, DIVERGING, SEVERAL, few, hues, legend, named, table, tips

KINDS = {"right answer x + y": "held out", "ghosts 2x and 2y": "test", "other answers": "others"}
GROUPS = 6  # frequencies with a colour of their own


def centred(votes: np.ndarray) -> np.ndarray:
    """Minus the mean over the answers, which changes no probability."""
    votes = np.asarray(votes, float)
    return votes - votes.mean(-1, keepdims=True)


def row(votes_PP: np.ndarray, x: int, step: int, side: int = SIDE) -> Chart:
    """Centred logits of all pairs (x, y) for one x."""
    votes = centred(votes_PP)
    p, y = len(votes), np.arange(len(votes))
    right, ghosts = votes[y, (x + y) % p], np.concatenate([votes[y, 2 * x % p], votes[y, 2 * y % p]])
    won = int((votes.argmax(1) == (x + y) % p).sum())
    field = heatmap(votes, counted("answer j", p), counted(f"y (with x = {x})", p), "logit", height=side, square=True)
    return Chart(
        field, f"Logits for x = {x} at step {step:,}",
        f"The diagonal j = y + {x}, the right answer, wins {won} of {p} rows; mean logit {right.mean():+.3g}. On the "
        f"ghosts, the column j = {2 * x % p} and the steeper line j = 2y: {ghosts.mean():+.3g}. Rows are centred on 0.",
        f"Logits of all answers for every y with x = {x} at step {step:,}", lambda: votes_table(votes_PP),
    )  # fmt: skip


def kinds(p: int, x: int, y: int) -> np.ndarray:
    """Of each answer: the right one, a ghost, or another."""
    name = list(KINDS)
    kind = np.full(p, name[2], dtype=object)
    kind[[2 * x % p, 2 * y % p]] = name[1]
    kind[(x + y) % p] = name[0]
    return kind.astype(str)


def pair_table(votes_P: np.ndarray, x: int, y: int, scale: float, activation: str = "quad") -> pa.Table:
    """The logits of one pair, beside those of pure cosines at this scale (2 / p of the peak at x + y)."""
    p = len(votes_P)
    theory = pure_vote(p, x, y, scale * p / 2, activation)
    return table(j=np.arange(p), kind=kinds(p, x, y), value=centred(votes_P), theory=theory)


def _answers(p: int) -> alt.X:
    return alt.X("j:O", title="answer j", axis=few(p, first=0))


def _theory(p: int) -> alt.Chart:
    tick = alt.Chart(named("theory")).mark_point(shape="diamond", size=42 if p < 60 else 18, strokeWidth=1.5)
    return tick.encode(
        x=_answers(p),
        y=alt.Y("theory:Q"),
        color=alt.value(COLOURS["winner"]),
        tooltip=tips(j="answer j", theory="pure cosines"),
    )


def pair(rows: pa.Table, x: int, y: int, step: int, height: int = 240) -> Chart:
    """Bars over the answers; diamonds: the theory."""
    p, value = len(rows), np.array(rows["value"])
    answer, true = int(value.argmax()), (x + y) % p
    verdict = "right" if answer == true else f"wrong: it is {true}"
    ghosts = " and ".join(f"j = {j}: {value[j]:+.3g}" for j in dict.fromkeys((2 * x % p, 2 * y % p)))
    return Chart(
        drawing(_pair, {"bars": rows, "theory": rows.select(["j", "theory"])}, p=p, height=height),
        f"{x} + {y} = {answer}, says the network at step {step:,} ({verdict})",
        f"Logit at j = {true}: {value[true]:+.3g}; at the ghosts {ghosts}. Diamonds: pure cosines, scaled so that its "
        "peak equals the fitted one over all pairs; its ghosts are then a prediction, and what they stand above the "
        "bars is what the third harmonic silenced.",
        f"Logits of all answers to {x} + {y} at step {step:,}", rows,
    )  # fmt: skip


def _pair(p, height):
    bars = (
        alt.Chart(named("bars"))
        .mark_bar()
        .encode(
            x=_answers(p),
            y=alt.Y("value:Q", title="logit, centred"),
            color=hues(
                KINDS, {kind: COLOURS[of] for kind, of in KINDS.items()}, "kind", legend("square", labelLimit=200)
            ),
            tooltip=tips(j="answer j", kind="this answer is", value="logit", theory="pure cosines"),
        )
    )
    return alt.layer(bars, _theory(p), height=height)


def split_table(votes_KP: np.ndarray) -> pa.Table:
    """Who voted for what: a row per frequency and answer, each frequency centred over the answers."""
    k, j = np.divmod(np.arange(votes_KP.size), votes_KP.shape[1])
    return table(k=k + 1, j=j, value=centred(votes_KP).ravel())


def split(votes_KP: np.ndarray, x: int, y: int, step: int, height: int = 300) -> Chart:
    """The vote of each frequency for each answer, and above them their sum."""
    votes = centred(votes_KP)
    K, p = votes.shape
    true, total = (x + y) % p, votes.sum(0)
    for_it = int((votes[:, true] > 0).sum())
    sides: dict = {"x": counted("answer j", p), "y": counted("frequency k", range(1, K + 1))}
    field = heatmap(votes, sides["x"], sides["y"], value="vote (logits)", cells=K * p if K * p <= 1200 else 0)
    high = max(3.0, 0.35 * K)  # of the bars, in rows
    scaled = -0.4 - high * (0.5 + 0.5 * total / (np.abs(total).max() or 1))
    tables = field.tables | {"sum": table(
        x=np.arange(p) + 0.1, x2=np.arange(p) + 0.9, y=np.full(p, -0.4 - 0.5 * high), y2=scaled, value=total,
        j=np.arange(p), kind=kinds(p, x, y),
    )}  # fmt: skip
    how = {**sides, "colours": DIVERGING[style.theme()], "rows": "cells" in field.tables, "high": high}
    return Chart(
        drawing(_split, tables, **how, height=height), f"Every frequency, every answer, at step {step:,}",
        f"A row per frequency, their sum on top. {for_it} of {K} frequencies vote for the right answer, j = {true}; in "
        f"the sum it {'leads' if total.argmax() == true else 'does not lead'}. The stripes of row k repeat every p/k.",
        f"Votes of each frequency for each answer to {x} + {y} at step {step:,}, and their sum",
        lambda: split_table(votes_KP),
    )  # fmt: skip


def _split(x, y, colours, rows, high, height):
    axes = fields.axes(x, y)
    axes["y"]["scale"]["domain"] = [len(y.names), -0.4 - 1.05 * high]
    colour = scale_of("vote (logits)", colours)
    if rows:
        says = tips(column=x.title, row=y.title, value="vote")
        field = (
            alt.Chart(named("cells")).mark_rect(clip=True).encode(**axes, x2="x2", y2="y2", color=colour, tooltip=says)
        )
    else:
        field = alt.Chart(named("picture")).mark_image(smooth=False, aspect=False)
        field = field.encode(url=alt.Url("uri:N"), **axes, x2=alt.X2("x2"), y2=alt.Y2("y2"))
    ends = alt.Chart(named("ends")).mark_rect(opacity=0).encode(color=colour)
    bars = alt.Chart(named("sum")).mark_rect().encode(
        **axes, x2="x2", y2="y2", tooltip=tips(j="answer j", kind="this answer is", value="sum of the votes"),
        fill=hues(KINDS, {kind: COLOURS[of] for kind, of in KINDS.items()}, "kind"),
    )  # fmt: skip
    return alt.layer(ends, field, bars, height=height).resolve_scale(color="independent", fill="independent")


def stack(votes_KP: np.ndarray, rows: pa.Table, x: int, y: int, step: int, height: int = 240) -> Chart:
    """The logits of x + y as a stack of votes: the frequencies that the theory says are loudest by name, the same
    ones at every step, and the rest together."""
    votes = centred(votes_KP)
    K, p = votes.shape
    loud = np.sort(np.argsort(-ideal_strength(p, x, y), kind="stable")[: min(GROUPS, K)])
    parts = {f"k = {k + 1}": votes[k] for k in loud}
    if len(loud) < K:
        parts["all others"] = np.delete(votes, loud, axis=0).sum(0)
    cells = table(
        j=np.tile(np.arange(p), len(parts)), curve=np.repeat(list(parts), p), value=np.concatenate(list(parts.values()))
    )
    tables = {"parts": cells, "theory": rows.select(["j", "theory"])}
    true = (x + y) % p
    named_share = sum(parts[f"k = {k + 1}"][true] for k in loud) / (votes[:, true].sum() or 1)
    return Chart(
        drawing(_stack, tables, p=p, parts=tuple(parts), height=height),
        f"The votes on {x} + {y}, stacked by frequency",
        f"At step {step:,}. The {len(loud)} frequencies that the theory says are loudest give {named_share:.0%} of the "
        f"logit of the right answer, j = {true}. Diamonds: pure cosines.",
        f"Votes of the frequencies for each answer to {x} + {y}, stacked",
        lambda: split_table(votes_KP),
    )


def _stack(p, parts, height):
    palette = (*SEVERAL[: len(parts) - ("all others" in parts)], COLOURS["others"])[: len(parts)]
    bars = (
        alt.Chart(named("parts"))
        .mark_bar()
        .encode(
            x=_answers(p),
            y=alt.Y("value:Q", title="votes (logits, centred)", stack="zero"),
            color=style.hues(parts, dict(zip(parts, palette, strict=True)), legend=legend("square", columns=4)),
            tooltip=tips(j="answer j", curve="frequency", value="vote"),
        )
    )
    return alt.layer(bars, _theory(p), height=height)


def loudness_table(votes_KP: np.ndarray, x: int, y: int, scale: float, activation: str = "quad") -> pa.Table:
    """How loudly each frequency votes for x + y, measured and by the theory (a N = 2 scale)."""
    K, p = votes_KP.shape
    theory = 2 * scale * ideal_strength(p, x, y, activation)
    return table(k=np.arange(1, K + 1), value=strength(votes_KP, x, y), theory=theory)


def loudness(
    votes_KP: np.ndarray, x: int, y: int, scale: float, step: int, activation: str = "quad", height: int = 240
) -> Chart:
    """Bars: measured. Line: the theory."""
    rows = loudness_table(votes_KP, x, y, scale, activation)
    measured, theory = (np.array(rows[name], float) for name in ("value", "theory"))
    silent = theory < 0.05 * theory.max(initial=0)
    loud = np.abs(measured[silent]).max(initial=0) / (np.abs(measured).max(initial=0) or 1)
    told = (
        f"Where it is near 0, the loudest bar has {loud:.0%} of the largest: a loud one would refute the prefactor."
        if (silent.any())
        else "It is far from 0 at every frequency of this sum."
    )
    return Chart(
        drawing(_loudness, {"rows": rows}, K=len(rows), height=height), f"How loud each frequency is on {x} + {y}",
        f"At step {step:,}. Bars: the part of its vote that is cos w(x + y − j). Dashed: the theory at the same scale. "
        + told, f"Strength of the vote of every frequency for {x} + {y}, measured and by the theory", rows,
    )  # fmt: skip


def _loudness(K, height):
    x, rows = alt.X("k:O", title="frequency k", axis=few(K)), alt.Chart(named("rows"))
    bars = rows.mark_bar(color=COLOURS["output"], opacity=0.75).encode(
        x=x,
        y=alt.Y("value:Q", title="vote for x + y (logits)"),
        tooltip=tips(k="frequency k", value="measured", theory="theory"),
    )
    line = rows.mark_line(color=COLOURS["winner"], strokeDash=[4, 3], point={"color": COLOURS["winner"], "size": 28})
    return alt.layer(bars, line.encode(x=x, y=alt.Y("theory:Q")), height=height)
