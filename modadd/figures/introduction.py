"""Small charts that build the mechanism step by step: the circle, one wave, loudness and vote, ghosts, the race."""

from collections.abc import Callable

import altair as alt
import numpy as np

from ..activations import ACTIVATIONS
from ..analysis import lesson
from .chart import Chart, drawing
from .network import HUES
from .style import COLOURS, HEIGHT, few, hues, legend, long, named, table, tips

PLAIN = COLOURS["input"]


def circle(p: int, k: int, x: int, y: int, side: int = 330) -> Chart:
    """The residues at the angles w_k j, clockwise from the top, and where x, y and x + y stand."""
    j = np.arange(p)
    angle = 2 * np.pi * k * j / p
    names = {"x": x, "y": y, "x + y": (x + y) % p}
    dots = table(j=j, east=np.sin(angle), north=np.cos(angle))
    at = list(names.values())
    labels = [f"{name} = {value}" for name, value in names.items()]
    far = np.array([1.3, 1.3, 0.7])  # the answer inside, so that it touches no other label
    marks = table(
        name=list(names), label=labels, east=np.sin(angle)[at], north=np.cos(angle)[at],
        label_east=far * np.sin(angle)[at], label_north=far * np.cos(angle)[at],
    )  # fmt: skip
    return Chart(
        drawing(_circle, {"dots": dots, "marks": marks}, side=side),
        f"The residues at frequency {k}",
        f"From the top, with the clock, {k} × 360° / {p} per step.",
        "Residues on a circle: x, y, x + y",
    )


def _circle(side):
    scale = alt.Scale(domain=[-1.6, 1.6], nice=False)
    east = lambda name: alt.X(f"{name}:Q", scale=scale, axis=None)  # noqa: E731
    north = lambda name: alt.Y(f"{name}:Q", scale=scale, axis=None)  # noqa: E731
    dots = alt.Chart(named("dots")).mark_circle(size=36, color=COLOURS["others"], opacity=0.8)
    marks = alt.Chart(named("marks"))
    hue = alt.Color(
        "name:N", legend=None,
        scale=alt.Scale(domain=["x", "y", "x + y"], range=[COLOURS["input"], COLOURS["train"], HUES[lesson.RIGHT]]),
    )  # fmt: skip
    return alt.layer(
        dots.encode(x=east("east"), y=north("north"), tooltip=tips(j="residue")),
        marks.mark_circle(size=170, opacity=1).encode(x=east("east"), y=north("north"), color=hue),
        marks.mark_text(fontSize=13, fontWeight=600).encode(
            x=east("label_east"), y=north("label_north"), text="label:N", color=hue
        ),
        height=side,
        width=side,
    )


def wave(h_P: np.ndarray, x: int) -> Chart:
    """What one neuron sums up by y, and what x^2 and ReLU make of it."""
    rows = long("y", np.arange(len(h_P)), {name: act(h_P) for name, act in SHAPES.items()})
    how = {"names": tuple(SHAPES), "colours": ("others", "input", "test"), "x": "y", "title": "activity"}
    return Chart(
        drawing(_lines, {"curves": rows}, **how), f"What the neuron makes of x = {x} and every y",
        "Both are large where the sum h is far from 0 above; only x² is also large below.",
        "Activity of one neuron by y, with x squared and ReLU", rows,
    )  # fmt: skip


SHAPES: dict[str, Callable] = {
    "sum h": lambda h: h, "x²": ACTIVATIONS["quad"], "ReLU": ACTIVATIONS["relu"],
}  # fmt: skip


def vote_and_loudness(loud_P: np.ndarray, weight_P: np.ndarray) -> Chart:
    """How loud a neuron is when x + y = j, beside its vote for j."""
    names = ("loudness where x + y = j", "vote for j")
    rows = long("j", np.arange(len(loud_P)), dict(zip(names, (loud_P, weight_P), strict=True)))
    how = {"names": names, "colours": ("input", "output"), "x": "j", "title": "weight units"}
    return Chart(
        drawing(_lines, {"curves": rows}, **how), "Loudness and vote of one neuron, k = 1",
        f"The loudness peaks at j = {int(loud_P.argmax())}, the vote at j = {int(weight_P.argmax())}.",
        "Loudness and vote of one neuron by answer", rows,
    )  # fmt: skip


def _lines(names, colours, x, title):
    hue = hues(names, dict(zip(names, (COLOURS[of] for of in colours), strict=True)), legend=legend(labelLimit=220))
    words = {"y": "residue y", "j": "residue j"}
    return alt.Chart(named("curves"), height=HEIGHT).mark_line(point=True).encode(
        x=alt.X(f"{x}:Q", title=words[x], axis=alt.Axis(format="d", tickMinStep=1), scale=alt.Scale(nice=False)),
        y=alt.Y("value:Q", title=title), color=hue, tooltip=tips(**{"curve": "curve", x: words[x], "value": "value"}),
    )  # fmt: skip


def votes(votes_P: np.ndarray, x: int, y: int, frequencies: str) -> Chart:
    """Bars over the answers: the right one, the ghosts, the others."""
    p = len(votes_P)
    rows = table(j=np.arange(p), kind=lesson.kinds(p, x, y), value=votes_P)
    order = np.argsort(-votes_P, kind="stable")
    true, second = (x + y) % p, int(order[0] if order[0] != (x + y) % p else order[1])
    return Chart(
        drawing(_votes, {"bars": rows}, p=p), f"The vote of {frequencies} on {x} + {y}",
        f"The right answer, j = {true}, leads the best other one, j = {second}, by "
        f"{votes_P[true] - votes_P[second]:.3g}.",
        f"Votes of {frequencies} by answer", rows,
    )  # fmt: skip


def _votes(p):
    return alt.Chart(named("bars"), height=HEIGHT).mark_bar().encode(
        x=alt.X("j:O", title="answer j", axis=few(p, first=0)),
        y=alt.Y("value:Q", title="vote (units of aN)"),
        color=hues(HUES, HUES, "kind", legend("square", labelLimit=200)),
        tooltip=tips(j="answer j", kind="this answer is", value="vote"),
    )  # fmt: skip


def junk(left_n: np.ndarray) -> Chart:
    """What 1, 2, ... phases leave beside the vote."""
    rows = table(n=np.arange(1, len(left_n) + 1), value=np.where(left_n < lesson.TINY, 0.0, left_n))
    how = {"title": "phases of one frequency", "value": "largest error (units of aN)"}
    none = [str(n) for n, left in enumerate(left_n, 1) if left < lesson.TINY]
    return Chart(
        drawing(_bars_over, {"bars": rows}, **how), "What is left beside the vote",
        f"Cancelled exactly, for every sum, by {', '.join(none) or 'none of these numbers of'} phases.",
        "Largest error by number of phases", rows,
    )  # fmt: skip


def _bars_over(title, value):
    return alt.Chart(named("bars"), height=HEIGHT).mark_bar(color=PLAIN).encode(
        x=alt.X("n:O", title=title, axis=alt.Axis(labelAngle=0)), y=alt.Y("value:Q", title=value),
        tooltip=tips(n=title, value=value),
    )  # fmt: skip


def margins(least_K: np.ndarray, count: int) -> Chart:
    """The least lead of the right answer by the number of frequencies, a mark at the number in view."""
    rows = table(n=np.arange(1, len(least_K) + 1), value=least_K)
    return Chart(
        drawing(_margins, {"curve": rows, "now": rows.slice(count - 1, 1)}), "The lead over the best wrong answer",
        f"The least over all sums: {least_K[count - 1]:.3g} with the number chosen (ringed).",
        "Least lead by number of frequencies", rows,
    )  # fmt: skip


def _margins():
    at = {
        "x": alt.X("n:Q", title="frequencies", axis=alt.Axis(format="d", tickMinStep=1)),
        "y": alt.Y("value:Q", title="least lead (units of aN)"),
        "tooltip": tips(n="frequencies", value="least lead"),
    }
    line = alt.Chart(named("curve")).mark_line(point=True, color=HUES[lesson.RIGHT]).encode(**at)
    mark = alt.Chart(named("now")).mark_point(size=160, color=COLOURS["winner"], strokeWidth=2.5).encode(**at)
    return alt.layer(line, mark, height=HEIGHT)


def race(time_T: np.ndarray, alpha_KT: np.ndarray, winner: int) -> Chart:
    """The magnitudes of all frequencies of one neuron, the winner in red."""
    order = [k for k in range(len(alpha_KT)) if k != winner - 1] + [winner - 1]  # over the others
    rows = long("t", time_T, {str(k + 1): alpha_KT[k] for k in order})
    first = int((alpha_KT[:, 0] > alpha_KT[winner - 1, 0]).sum()) + 1
    return Chart(
        drawing(_race, {"curves": rows}, winner=winner), "The race of all frequencies inside one neuron",
        f"The red one, k = {winner}, wins; at first {first - 1} of {len(alpha_KT)} were larger.",
        "Magnitudes of all frequencies by time", rows,
    )  # fmt: skip


def _race(winner):
    lead = alt.datum.curve == str(winner)
    return alt.Chart(named("curves"), height=HEIGHT).mark_line().encode(
        x=alt.X("t:Q", title="flow time (sum of the learning rates)", axis=alt.Axis(format="~s", tickCount=6)),
        y=alt.Y("value:Q", title="magnitude α (weight units)"), detail=alt.Detail("curve:N"),
        color=alt.condition(lead, alt.value(COLOURS["winner"]), alt.value(COLOURS["others"])),
        strokeWidth=alt.condition(lead, alt.value(2.6), alt.value(1.1)),
        tooltip=tips(curve="frequency k", t="flow time", value="magnitude"),
    )  # fmt: skip
