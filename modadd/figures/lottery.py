"""The race inside a neuron, the bets on its winner, and where the winners began."""

import altair as alt
import numpy as np
import pyarrow as pa

from ..analysis import lottery
from ..maths.theory import outcome_contour
from . import style
from .chart import Chart, drawing
from .fields import counted, ground, heatmap, on_ground, scale_of
from .over_time import Axis, named_ends
from .style import (
    COLOURS,
    DASHED,
    HEIGHT,
    HUE,
    SEQUENTIAL,
    hues,
    legend,
    named,
    ring_scale,
    share_axis,
    square_axes,
    step_axis,
    table,
    tips,
    unit_circle,
)

RULES = {"race": COLOURS["winner"], "drive": HUE["violet"], "magnitude": HUE["blue"], "phase": HUE["ochre"]}
PLACED = 400  # neurons placed on the contour
TITLES = {"alpha": "Input magnitude", "beta": "Output magnitude", "D": "Misalignment |D|"}
AXES = {"alpha": "input magnitude α_k", "beta": "output magnitude β_k", "D": "|D_k| (units of π)"}
NAMED = (COLOURS["winner"], HUE["blue"], HUE["orange"], HUE["violet"])  # the winner and the losers with a name
OTHERS = "others"
FEW = 8  # moments below which a line between two of them says little, and the moments are marked
COLUMNS = 128  # neurons in a row of the strip


def winner(seen: dict[str, np.ndarray]) -> int:
    """The frequency, counted from 1, that leads the input layer at the end of the race."""
    return int(seen["alpha_SK"][-1].argmax()) + 1


def ranked(seen: dict[str, np.ndarray]) -> list[int]:
    """The winner and the three losers that were ever the largest, counted from 1."""
    won = winner(seen)
    most = seen["alpha_SK"].max(0)
    return [won, *(int(k) + 1 for k in np.argsort(-most, kind="stable") if k + 1 != won and np.isfinite(most[k]))][:4]


def race(
    seen: dict, what: str, step: int, neuron: int, log_steps: bool = True, log: bool = False, height: int = HEIGHT
) -> Chart:
    """All K frequencies of a neuron up to `step`; `what` is alpha, beta or D.  The winner and the three losers that
    came nearest have a colour and a name, the same in all three.

    The axes span the whole training, so that nothing jumps while time is played.
    """
    values_SK = np.abs(seen["D_SK"]) / np.pi if what == "D" else seen[f"{what}_SK"]
    step_S, K, first = np.asarray(seen["step_S"]), values_SK.shape[1], ranked(seen)
    names = {k: f"k = {k}" for k in first}
    there = step_S <= step
    order = np.array([k for k in range(1, K + 1) if k not in first] + first[::-1])  # drawn over the others
    value = values_SK[there][:, order - 1].ravel().astype(float)
    real = np.isfinite(value)
    role = np.array([names.get(k, OTHERS) for k in order])
    # In the order of time: what is shown at a step begins what is shown at the next.
    rows = table(
        step=np.repeat(step_S[there], K)[real], k=np.tile(order, there.sum())[real],
        curve=np.tile(role, there.sum())[real], value=value[real],
    )  # fmt: skip
    known = values_SK[np.isfinite(values_SK) & (values_SK > 0)]
    low, high = (float(known.min()), float(known.max())) if known.size else (1e-3, 1.0)
    kind = "log" if log and what != "D" else "plain"
    ends = (0.0, 1.0) if what == "D" else (max(low, high * 1e-4) if log else 0.0, 1.04 * high)
    axis = Axis(AXES[what], kind, ends)
    tables = {"curves": rows, "ends": named_ends(rows, [*names.values()], axis, height)}
    how = {"axis": axis, "names": (*names.values(), OTHERS), "span": (int(step_S[0]), max(int(step_S[-1]), 1))}
    return Chart(
        drawing(_race, tables, **how, few=len(step_S) < FEW, log_steps=log_steps, height=height),
        f"{TITLES[what]}, neuron {neuron}",
        _told(seen, what, step), f"{TITLES[what]} of all {K} frequencies of neuron {neuron} by training step",
        lambda: race_table(seen, what),
    )  # fmt: skip


def _told(seen: dict, what: str, step: int) -> str:
    """What the picture shows of the winner."""
    step_S, k = np.asarray(seen["step_S"]), winner(seen) - 1
    at = max(int(np.searchsorted(step_S, step, "right")) - 1, 0)
    now, first = (seen[f"{what}_SK"][i, k] for i in (at, 0))
    if what == "D":
        told = [
            f"{abs(value) / np.pi:.2f} π at step {step_S[i]:,}"
            for i, value in ((0, first), (at, now))
            if np.isfinite(value)
        ]
        return f"|D| of the winner, k = {k + 1}: {', '.join(dict.fromkeys(told)) or 'not known yet'}."
    if what == "beta":
        low = int(np.nanargmin(np.where(np.isfinite(seen["beta_SK"][:, k]), seen["beta_SK"][:, k], np.nan)))
        return f"Of the winner, k = {k + 1}, it was smallest at step {step_S[low]:,}" + (
            ", when its phases were opposed: |D| > π/2." if low and np.abs(seen["D_SK"][low, k]) > np.pi / 2 else "."
        )
    place = int((seen["alpha_SK"][0] > seen["alpha_SK"][0, k]).sum()) + 1
    settled, leader = lottery.settled(seen["alpha_SK"]), int(seen["alpha_SK"][at].argmax()) + 1
    started = f"was number {place} of {len(seen['alpha_SK'][0])} at first, and " if np.isfinite(first) else ""
    since = f"step {step_S[settled]:,}"
    if settled and len(step_S) < FEW:
        since = f"some step between {step_S[settled - 1]:,} and {step_S[settled]:,}"
    return (f"The winner, k = {k + 1}, {started}leads for good from {since}. At step {step_S[at]:,} k = {leader} "
            "leads.")  # fmt: skip


def _race(axis, names, span, few, log_steps, height):
    x, palette = (
        step_axis(log_steps, span),
        dict(zip(names, (*NAMED[: len(names) - 1], COLOURS["others"]), strict=True)),
    )
    colour = hues(names, palette)
    widths = [2.8, 1.6, 1.6, 1.6][: len(names) - 1] + [0.9]
    lines = (
        alt.Chart(named("curves"))
        .mark_line(clip=True, point=few)
        .encode(
            x=x,
            y=axis.y(),
            detail=alt.Detail("k:N"),
            color=colour,
            strokeWidth=alt.StrokeWidth("curve:O", scale=alt.Scale(domain=list(names), range=widths), legend=None),
            tooltip=tips(k="frequency k", step="step", value="value"),
        )
    )
    words = alt.Chart(named("ends")).mark_text(align="left", dx=6, fontWeight=600)
    words = words.encode(x=x, y=axis.y("at"), text=alt.Text("curve:N"), color=colour)
    return alt.layer(lines, words, height=height)


def race_table(race: dict, what: str) -> pa.Table:
    """One row per step, one column a frequency that anything is known of."""
    known = {f"k{k}": np.where(np.isfinite(v), v, np.nan) for k, v in enumerate(race[f"{what}_SK"].T, 1)}
    return table(step=race["step_S"], **{name: v for name, v in known.items() if np.isfinite(v).any()})


def turning(seen: dict, step: int, neuron: int, side: int = 300) -> Chart:
    """Every frequency of a neuron at the angle D and the distance of its input magnitude, as a share of the largest:
    what is aligned lies on the ray to the right.  The winner with its way so far."""
    step_S, first = np.asarray(seen["step_S"]), ranked(seen)
    upto = max(int(np.searchsorted(step_S, step, "right")), 1)
    top = float(seen["alpha_SK"][upto - 1].max()) or 1.0
    K = seen["D_SK"].shape[1]
    place = lambda i, k: (seen["alpha_SK"][i, k] / top) * np.exp(1j * seen["D_SK"][i, k])  # noqa: E731
    order = np.array([k for k in range(1, K + 1) if k not in first] + first[::-1])
    z = place(upto - 1, order - 1)
    real = np.isfinite(z)
    way = place(slice(0, upto), first[0] - 1)
    way = way[np.isfinite(way)]
    names = {k: f"k = {k}" for k in first}
    tables = {
        "rest": unit_circle(), "ray": table(x=[0.0, 1.0], y=[0.0, 0.0], at=[0, 1]),
        "way": table(x=way.real, y=way.imag, at=np.arange(len(way))),
        "dots": table(x=z.real[real], y=z.imag[real], k=order[real], D=seen["D_SK"][upto - 1, order - 1][real] / np.pi,
                      curve=np.array([names.get(k, OTHERS) for k in order])[real]),
    }  # fmt: skip
    D = seen["D_SK"][upto - 1, first[0] - 1]
    return Chart(
        drawing(_turning, tables, names=(*names.values(), OTHERS), side=side), f"Phases turning, neuron {neuron}",
        f"Step {step_S[upto - 1]:,}. Angle: D = 2φ − ψ, to the right where it is 0; distance: input magnitude. "
        + (f"The winner is at D = {D / np.pi:+.2f} π." if np.isfinite(D) else "The winner does not lead yet."),
        f"Misalignment and magnitude of all {K} frequencies of neuron {neuron} at step {step_S[upto - 1]:,}",
    )  # fmt: skip


def _turning(names, side):
    at, order = square_axes("", "", 1.15), alt.Order("at:Q")
    palette = dict(zip(names, (*NAMED[: len(names) - 1], COLOURS["others"]), strict=True))
    rest = alt.Chart(named("rest")).mark_line(strokeWidth=1, color=COLOURS["others"]).encode(**at, order=order)
    ray = alt.Chart(named("ray")).mark_line(**DASHED).encode(**at, order=order)
    way = (
        alt.Chart(named("way"))
        .mark_line(strokeWidth=1.4, opacity=0.6, color=COLOURS["winner"])
        .encode(**at, order=order)
    )
    dots = alt.Chart(named("dots")).mark_circle(opacity=1).encode(
        **at, color=hues(names, palette), tooltip=tips(k="frequency k", D="D / π"),
        size=alt.condition(alt.datum.curve == OTHERS, alt.value(36), alt.value(120)),
    )  # fmt: skip
    words = alt.Chart(named("dots")).transform_filter(alt.FieldOneOfPredicate(field="curve", oneOf=list(names[:2])))
    words = words.mark_text(align="left", dx=8, fontWeight=600).encode(**at, text="curve:N", color=hues(names, palette))
    return alt.layer(rest, ray, way, dots, words, height=side, width=side)


def strip(frequency_M: np.ndarray, K: int, neuron: int) -> Chart:
    """All neurons that the record follows, in the colour of the frequency they keep; a click selects one, under the
    name `neuron`."""
    m = np.arange(len(frequency_M))
    row, column = np.divmod(m, COLUMNS)
    cells = table(neuron=m, k=frequency_M.astype(int), x=column, x2=column + 1.0, y=row, y2=row + 1.0)
    tables = {"cells": cells, "chosen": cells.slice(neuron, 1)}
    rows = int(row[-1]) + 1
    return Chart(
        drawing(_strip, tables, K=K, columns=min(COLUMNS, len(m)), rows=rows), "Choose a neuron",
        f"All {len(m):,} neurons that are followed, in the colour of the frequency that each keeps. Click one.",
        f"{len(m)} neurons by the frequency that they keep", cells,
    )  # fmt: skip


def _strip(K, columns, rows):
    at = {"x": alt.X("x:Q", scale=alt.Scale(domain=[0, columns], nice=False), axis=None), "x2": alt.X2("x2"),
          "y": alt.Y("y:Q", scale=alt.Scale(domain=[rows, 0], nice=False), axis=None), "y2": alt.Y2("y2")}  # fmt: skip
    cells = alt.Chart(named("cells"), name="cells").mark_rect(cursor="pointer").encode(
        **at, color=alt.Color("k:Q", scale=ring_scale(1, K), legend=None), tooltip=tips(neuron="neuron", k="keeps k")
    )  # fmt: skip
    cells = cells.add_params(alt.selection_point(name="neuron", fields=["neuron"], toggle=False))
    chosen = alt.Chart(named("chosen")).mark_rect(filled=False, stroke=COLOURS["winner"], strokeWidth=2.5).encode(**at)
    return alt.layer(cells, chosen, height=max(16, 13 * rows))


def bets(scores: dict[str, dict], chance: float, neurons: int, step: int, height: int = 130) -> Chart:
    """The share of neurons whose winner each rule named at step 0, with its 95 % interval; dashed: a blind guess."""
    scores = dict(sorted(scores.items(), key=lambda item: -item[1]["rate"]))
    rows = table(rule=np.array(list(scores)), **{name: np.array([float(s[name]) for s in scores.values()])
                                                 for name in ("rate", "low", "high")})  # fmt: skip
    best = max(scores, key=lambda rule: scores[rule]["rate"])
    beaten = [rule for rule, score in scores.items() if score["low"] <= chance]
    return Chart(
        drawing(_bets, {"bars": rows, "guess": table(rate=[chance])}, names=tuple(scores), height=height),
        f"Bets at step 0 on the winners at step {step:,}",
        f"{neurons:,} neurons, Wilson's 95 % intervals. Best: {best}, {scores[best]['rate']:.1%}, that is "
        + "{:.1f} ({:.1f} to {:.1f})".format(*(scores[best][name] / chance for name in ("rate", "low", "high")))
        + f" times a blind guess, {chance:.1%} (dashed)."
        + (f" No better than that: {', '.join(beaten)}." if beaten else ""),
        "Share of winners that each rule named, with 95 % intervals", rows,
    )  # fmt: skip


def _bets(names, height):
    x = alt.X("rate:Q", title="winners named", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5))
    y = alt.Y("rule:N", title=None, sort=list(names))
    base = alt.Chart(named("bars"))
    says = [alt.Tooltip("rule:N"), *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("rate", "low", "high"))]
    bars = base.mark_bar(opacity=0.75).encode(x=x, y=y, color=hues(names, RULES, "rule"), tooltip=says)
    ends = base.mark_rule(strokeWidth=2, color=COLOURS["others"]).encode(x=alt.X("low:Q"), x2=alt.X2("high"), y=y)
    words = base.mark_text(align="left", dx=5, fontWeight=600).encode(
        x=alt.X("high:Q"), y=y, text=alt.Text("rate:Q", format=".0%"), color=hues(names, RULES, "rule")
    )  # fmt: skip
    guess = alt.Chart(named("guess")).mark_rule(**DASHED).encode(x=x)
    return alt.layer(bars, ends, guess, words, height=height)


def hits_table(step_S, scores: dict[str, dict]) -> pa.Table:
    """One row per rule and step: the share named right and its 95 % interval."""
    return table(
        step=np.tile(step_S, len(scores)),
        rule=np.repeat(np.array(list(scores)), len(step_S)),
        **{name: np.concatenate([score[name] for score in scores.values()]) for name in ("rate", "low", "high")},
    )


def hit_rates(rows: pa.Table, chance: float, step: int, log_steps: bool = True) -> Chart:
    """Share of neurons whose largest frequency at each step is the one that each rule bet on at step 0, with
    95 % bands; the dashed level is what a blind guess scores."""
    tables = {"rows": rows, "guess": table(rate=[chance]), "now": table(step=[step])}
    return Chart(
        drawing(_hit_rates, tables, log_steps=log_steps), "Hits over training",
        "A bet is scored against the frequency that leads at each step. Magnitude is right by definition at step 0 and "
        "loses as others overtake. Dashed: a blind guess.",
        "Share of neurons each rule named right, against the largest frequency at each step", rows,
    )  # fmt: skip


def _hit_rates(log_steps):
    colour = hues(RULES, RULES, "rule", legend())
    x, base, title = step_axis(log_steps), alt.Chart(named("rows")), "neurons named right"
    band = base.mark_area(opacity=0.18).encode(x=x, y=share_axis(title, "low"), y2=alt.Y2("high"), color=colour)
    line = base.mark_line(strokeWidth=2).encode(
        x=x, y=share_axis(title, "rate"), color=colour,
        tooltip=[
            alt.Tooltip("rule:N", title="rule"), alt.Tooltip("step:Q", title="step"),
            *(alt.Tooltip(f"{name}:Q", title=name, format=".1%") for name in ("rate", "low", "high")),
        ],
    )  # fmt: skip
    guess = alt.Chart(named("guess")).mark_rule(**DASHED).encode(y=share_axis(title, "rate"))
    now = alt.Chart(named("now")).mark_rule(**DASHED).encode(x=x)
    return alt.layer(band, line, guess, now, height=240)


def confusion(count_KK: np.ndarray, rule: str, step: int) -> Chart:
    """Neurons by the frequency predicted (rows) and the one kept (columns); right bets on the diagonal."""
    names = range(1, len(count_KK) + 1)
    field = heatmap(
        count_KK.astype(float), counted("frequency kept", names), counted("frequency predicted", names), "neurons",
        diverging=False, height=300, square=True,
    )  # fmt: skip
    wrong_K = count_KK.sum(0) - np.diag(count_KK)
    return Chart(
        field, f"{np.trace(count_KK)} of {count_KK.sum()} predicted by {rule}",
        f"Winners at step {step:,}; right bets lie on the diagonal. Most often missed: k = "
        f"{int(wrong_K.argmax()) + 1}, in {int(wrong_K.max())} neurons. Errors spread evenly mean luck; a column of "
        "errors, a favoured frequency.",
        f"Frequencies predicted by {rule} against frequencies kept", lambda: confusion_table(count_KK),
    )  # fmt: skip


def confusion_table(count_KK: np.ndarray) -> pa.Table:
    """One row per pair of frequencies."""
    predicted, kept = (index.ravel() + 1 for index in np.indices(count_KK.shape))
    return table(predicted=predicted, kept=kept, neurons=count_KK.ravel())


def placed(start: dict, frequency_M: np.ndarray) -> dict[str, np.ndarray]:
    """Where pairs of a run began, for the contour: D in 0 .. 2 pi, input magnitude, neuron, frequency, fate;
    the winner of each of up to PLACED neurons, and one of its losers, taken in turn."""
    M, K = start["alpha"].shape
    m = np.arange(min(M, len(frequency_M)))[:PLACED]
    won = frequency_M[m].astype(int)
    lost = (won + m % max(K - 1, 1)) % K + 1
    neuron, k = np.tile(m, 2), np.concatenate([lost, won])
    keep = np.concatenate([lost != won, won > 0])
    D = (2 * start["phi"] - start["psi"])[neuron, k - 1] % (2 * np.pi)
    fate = np.repeat(["loser", "winner"], len(m))
    columns = {"D": D, "magnitude": start["alpha"][neuron, k - 1], "neuron": neuron, "frequency": k, "fate": fate}
    return {name: column[keep] for name, column in columns.items()}


def contour(p: int, points: dict[str, np.ndarray], size: int = 30) -> Chart:
    """The output magnitude after a short flow over where the pair began, with pairs of a run on it.

    The flow for x^2 has no scale of its own: with magnitudes s times as large it does the same s times
    faster.  So the published window is moved to the magnitudes of the run, both axes scaled alike.
    """
    field = outcome_contour(p, size)
    won = points["fate"] == "winner"
    winners = points["magnitude"][won]
    scale = float(np.median(winners)) / 0.015 if len(winners) else 1.0
    magnitude_A, angle_B = field["magnitude_A"] * scale, field["angle_B"] / np.pi
    high, wide = np.diff(magnitude_A)[0] / 2, np.diff(angle_B)[0] / 2  # half a cell
    tables = ground(field["beta_AB"] * scale, (-wide, 2 + wide), (magnitude_A[0] - high, magnitude_A[-1] + high))
    top = max(float(magnitude_A[-1] + high), float(np.quantile(points["magnitude"], 0.995)))
    near = [
        f"{(np.cos(points['D'][which]) > 0).mean():.0%} of the {name}"
        for name, which in (("winners", won), ("losers", ~won))
        if which.any()
    ]
    return Chart(
        drawing(_contour, tables | {"dots": table(**(points | {"D": points["D"] / np.pi}))}, top=top,
                colours=SEQUENTIAL[style.theme()]),
        "Where winners begin",
        "Ground: the output magnitude of a single pair after a short flow (x²), its window scaled to this run. Dots: "
        f"pairs of this run. Less than a quarter turn from D = 0 began {' and '.join(near)}.",
        "Growth of a pair over its initial misalignment and magnitude", lambda: table(**points),
    )  # fmt: skip


def _contour(top, colours):
    axes = {
        "x": alt.X("x:Q", title="D = 2φ − ψ at step 0 (units of π)", scale=alt.Scale(domain=[0, 2], nice=False),
                   axis=alt.Axis(values=[0, 0.5, 1, 1.5, 2], grid=False)),
        "y": alt.Y("y:Q", title="input magnitude α at step 0", scale=alt.Scale(domain=[0, top], nice=False),
                   axis=alt.Axis(format="~r", tickCount=5, grid=False)),
    }  # fmt: skip
    dots = (
        alt.Chart(named("dots"))
        .mark_circle(clip=True, stroke="white", strokeWidth=0.3)
        .encode(
            x=alt.X("D:Q"),
            y=alt.Y("magnitude:Q"),
            color=alt.Color(
                "fate:N",
                scale=alt.Scale(domain=["winner", "loser"], range=[COLOURS["winner"], COLOURS["others"]]),
                legend=alt.Legend(orient="bottom", title=None, symbolStrokeWidth=0, symbolOpacity=1),
            ),
            size=alt.condition(alt.datum.fate == "winner", alt.value(34), alt.value(18)),
            tooltip=[
                alt.Tooltip("neuron:Q", title="neuron"), alt.Tooltip("frequency:Q", title="frequency k"),
                alt.Tooltip("fate:N", title="fate"), alt.Tooltip("D:Q", title="D / π", format=".3~g"),
                alt.Tooltip("magnitude:Q", title="α", format=".3~g"),
            ],
        )
    )  # fmt: skip
    layers = on_ground(axes, scale_of("β after 100 steps", colours))
    return alt.layer(*layers, dots, height=300).resolve_scale(color="independent")
