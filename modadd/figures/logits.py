"""What the network votes: any row of sums, any one sum, and which frequency voted for what."""

import altair as alt
import numpy as np
import pyarrow as pa

from ..analysis.surgery import ideal_strength, strength
from ..maths.ideal import pure_vote
from .style import COLOURS, SEVERAL, Drawing, drawing, few, heatmap, named, table, tips

KINDS = {"right answer x + y": "held out", "ghosts 2x and 2y": "test", "other answers": "others"}
GROUPS = 6  # frequencies with a colour of their own


def centred(votes: np.ndarray) -> np.ndarray:
    """Minus the mean over the answers, which changes no probability."""
    votes = np.asarray(votes, float)
    return votes - votes.mean(-1, keepdims=True)


def row(votes_PP: np.ndarray, x: int, height: int = 380) -> Drawing:
    """Centred logits of all pairs (x, y) for one x."""
    return heatmap(centred(votes_PP), "answer j", f"y (with x = {x})", "logit", height=height)


def row_table(votes_PP: np.ndarray) -> pa.Table:
    y, j = np.divmod(np.arange(votes_PP.size), votes_PP.shape[1])
    return table(y=y, j=j, logit=centred(votes_PP).ravel())


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
    return alt.X("j:O", title="answer j", axis=alt.Axis(labelAngle=0, values=list(range(0, p, -(-p // 24)))))


def _theory(p: int) -> alt.Chart:
    tick = alt.Chart(named("theory")).mark_point(shape="diamond", size=42 if p < 60 else 18, strokeWidth=1.5)
    return tick.encode(
        x=_answers(p),
        y=alt.Y("theory:Q"),
        color=alt.value(COLOURS["winner"]),
        tooltip=tips(j="answer j", theory="pure cosines"),
    )


def pair(rows: pa.Table, height: int = 300) -> Drawing:
    """Bars over the answers; diamonds: the theory."""
    return drawing(_pair, {"bars": rows, "theory": rows.select(["j", "theory"])}, p=len(rows), height=height)


def _pair(p, height):
    bars = (
        alt.Chart(named("bars"))
        .mark_bar()
        .encode(
            x=_answers(p),
            y=alt.Y("value:Q", title="logit, centred"),
            color=alt.Color(
                "kind:N",
                scale=alt.Scale(domain=list(KINDS), range=[COLOURS[name] for name in KINDS.values()]),
                legend=alt.Legend(orient="top", title=None, columns=2, labelLimit=200),
            ),
            tooltip=tips(j="answer j", kind="this answer is", value="logit", theory="pure cosines"),
        )
    )
    return alt.layer(bars, _theory(p), height=height)


def split_table(votes_KP: np.ndarray) -> pa.Table:
    """Who voted for what: a row a frequency and answer, each frequency centred over the answers."""
    k, j = np.divmod(np.arange(votes_KP.size), votes_KP.shape[1])
    return table(k=k + 1, j=j, value=centred(votes_KP).ravel())


def split(votes_KP: np.ndarray, height: int = 340) -> Drawing:
    """The vote of each frequency for each answer."""
    names = list(range(1, len(votes_KP) + 1))
    return heatmap(centred(votes_KP), "answer j", "frequency k", "vote (logits)", y_names=names, height=height)


def stack(votes_KP: np.ndarray, rows: pa.Table, x: int, y: int, height: int = 340) -> Drawing:
    """The logits of x + y as a stack of votes: the frequencies that the theory says are loudest by name, the same
    ones at every step, and the rest together."""
    votes_KP = centred(votes_KP)
    K, p = votes_KP.shape
    loud = np.sort(np.argsort(-ideal_strength(p, x, y), kind="stable")[: min(GROUPS, K)])
    parts = {f"k = {k + 1}": votes_KP[k] for k in loud}
    if len(loud) < K:
        parts["all others"] = np.delete(votes_KP, loud, axis=0).sum(0)
    cells = table(
        j=np.tile(np.arange(p), len(parts)), curve=np.repeat(list(parts), p), value=np.concatenate(list(parts.values()))
    )
    tables = {"parts": cells, "theory": rows.select(["j", "theory"])}
    return drawing(_stack, tables, p=p, parts=tuple(parts), height=height)


def _stack(p, parts, height):
    hues = [*SEVERAL[:GROUPS], COLOURS["others"]][: len(parts)]
    bars = (
        alt.Chart(named("parts"))
        .mark_bar()
        .encode(
            x=_answers(p),
            y=alt.Y("value:Q", title="votes (logits, centred)", stack="zero"),
            color=alt.Color(
                "curve:N",
                sort=list(parts),
                scale=alt.Scale(domain=list(parts), range=hues),
                legend=alt.Legend(orient="top", title=None, columns=4),
            ),
            tooltip=tips(j="answer j", curve="frequency", value="vote"),
        )
    )
    return alt.layer(bars, _theory(p), height=height)


def loudness_table(votes_KP: np.ndarray, x: int, y: int, scale: float, activation: str = "quad") -> pa.Table:
    """How loudly each frequency votes for x + y, measured and by the theory (a N = 2 scale)."""
    K, p = votes_KP.shape
    theory = 2 * scale * ideal_strength(p, x, y, activation)
    return table(k=np.arange(1, K + 1), value=strength(votes_KP, x, y), theory=theory)


def loudness(rows: pa.Table, height: int = 340) -> Drawing:
    """Bars: measured. Line: the theory."""
    return drawing(_loudness, {"rows": rows}, K=len(rows), height=height)


def _loudness(K, height):
    x, rows = alt.X("k:O", title="frequency k", axis=few(K, 20)), alt.Chart(named("rows"))
    bars = rows.mark_bar(color=COLOURS["output"], opacity=0.75).encode(
        x=x,
        y=alt.Y("value:Q", title="vote for x + y (logits)"),
        tooltip=tips(k="frequency k", value="measured", theory="theory"),
    )
    line = rows.mark_line(color=COLOURS["winner"], strokeDash=[4, 3], point={"color": COLOURS["winner"], "size": 28})
    return alt.layer(bars, line.encode(x=x, y=alt.Y("theory:Q")), height=height)
