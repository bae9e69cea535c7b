"""The race inside a neuron, the bets on its winner, and where the winners began."""

import altair as alt
import numpy as np
import pyarrow as pa

from ..maths.theory import outcome_contour
from .style import (  # fmt: skip
    COLOURS,
    HUE,
    SEQUENTIAL,
    Drawing,
    drawing,
    ground,
    heatmap,
    named,
    on_ground,
    scale_of,
    step_axis,
    table,
    tips,
)

RULES = {"race": COLOURS["winner"], "drive": HUE["violet"], "magnitude": HUE["blue"], "phase": HUE["ochre"]}
PLACED, TALL = 400, 270  # neurons placed on the contour; height of a race
TITLES = {"alpha": "Input magnitude", "beta": "Output magnitude", "D": "Misalignment |D|"}
AXES = {"alpha": "input magnitude α_k", "beta": "output magnitude β_k", "D": "|D_k| (units of π)"}


def race(race: dict, what: str, winner: int, step: int, log_steps: bool = False, log: bool = False) -> Drawing:
    """All K frequencies of a neuron up to `step`, the winner in red; `what` is alpha, beta or D.

    The axes span the whole training, so that nothing jumps while time is played.
    """
    values_SK = np.abs(race["D_SK"]) / np.pi if what == "D" else race[f"{what}_SK"]
    step_S, K = np.asarray(race["step_S"]), values_SK.shape[1]
    there = step_S <= step
    order = [k for k in range(1, K + 1) if k != winner] + [winner]  # the winner is drawn over the others
    value = values_SK[there][:, np.array(order) - 1].ravel().astype(float)
    seen = np.isfinite(value)
    # In the order of time: what is shown at a step begins what is shown at the next.
    rows = table(
        step=np.repeat(step_S[there], K)[seen], curve=np.tile(np.array(order), there.sum())[seen], value=value[seen]
    )
    real = values_SK[np.isfinite(values_SK) & (values_SK > 0)]
    low, high = (float(real.min()), float(real.max())) if real.size else (1e-3, 1.0)
    span = (0.0, 1.0) if what == "D" else (max(low, high * 1e-4) if log else 0.0, high)
    steps = int(step_S[0]), max(int(step_S[-1]), 1)
    how = {"what": what, "winner": winner, "log_steps": log_steps, "log": log and what != "D"}
    return drawing(_race, {"curves": rows}, span=span, steps=steps, **how)


def _race(what, winner, log_steps, log, span, steps):
    x = step_axis(log_steps)
    x["scale"]["domain"] = list(steps)
    scale = alt.Scale(type="log" if log else "linear", domain=list(span), nice=False)
    first = alt.datum.curve == winner
    return (
        alt.Chart(named("curves"), height=TALL)
        .mark_line(clip=True)
        .encode(
            x=x,
            y=alt.Y("value:Q", title=AXES[what], scale=scale, axis=alt.Axis(format=".1~e" if log else "~g")),
            detail=alt.Detail("curve:N"),
            color=alt.condition(first, alt.value(COLOURS["winner"]), alt.value(COLOURS["others"])),
            strokeWidth=alt.condition(first, alt.value(2.6), alt.value(1.1)),
            tooltip=tips(curve="frequency k", step="step", value="value"),
        )
    )


def race_table(race: dict, what: str) -> pa.Table:
    """One row a step, one column a frequency that anything is known of."""
    known = {f"k{k}": np.isfinite(v) for k, v in enumerate(race[f"{what}_SK"].T, 1)}
    columns = {
        name: np.where(seen, v, np.nan)
        for (name, seen), v in zip(known.items(), race[f"{what}_SK"].T, strict=True)
        if seen.any()
    }
    return table(step=race["step_S"], **columns)


def hits_table(step_S, scores: dict[str, dict]) -> pa.Table:
    """One row a rule and step: the share foretold right and its 95 % interval."""
    return table(
        step=np.tile(step_S, len(scores)),
        rule=np.repeat(np.array(list(scores)), len(step_S)),
        **{name: np.concatenate([score[name] for score in scores.values()]) for name in ("rate", "low", "high")},
    )


def hit_rates(rows: pa.Table, chance: float, step: int, log_steps: bool = False) -> Drawing:
    """Share of neurons whose largest frequency at each step is the one that each rule bet on at step 0, with
    95 % bands; the dashed level is what a blind guess scores."""
    tables = {"rows": rows, "guess": table(rate=[chance]), "now": table(step=[step])}
    return drawing(_hit_rates, tables, log_steps=log_steps)


def _hit_rates(log_steps):
    colour = alt.Color(
        "rule:N",
        scale=alt.Scale(domain=list(RULES), range=list(RULES.values())),
        legend=alt.Legend(title=None, orient="top", symbolOpacity=1, symbolType="stroke"),
    )
    x, title, base = step_axis(log_steps), "neurons foretold right", alt.Chart(named("rows"))
    share = {"title": title, "scale": alt.Scale(domain=[0, 1]), "axis": alt.Axis(format="%")}
    band = base.mark_area(opacity=0.18).encode(x=x, y=alt.Y("low:Q", **share), y2=alt.Y2("high"), color=colour)
    line = base.mark_line(strokeWidth=2).encode(
        x=x, y=alt.Y("rate:Q", **share), color=colour,
        tooltip=[
            alt.Tooltip("rule:N", title="rule"), alt.Tooltip("step:Q", title="step"),
            *(alt.Tooltip(f"{name}:Q", title=name, format=".1%") for name in ("rate", "low", "high")),
        ],
    )  # fmt: skip
    dash = {"strokeDash": [4, 3], "color": COLOURS["others"]}
    guess = alt.Chart(named("guess")).mark_rule(**dash).encode(y=alt.Y("rate:Q", **share))
    now = alt.Chart(named("now")).mark_rule(**dash).encode(x=x)
    return alt.layer(band, line, guess, now, height=320)


def confusion(count_KK: np.ndarray) -> Drawing:
    """Neurons by the frequency foretold (rows) and the one kept (columns); right bets on the diagonal."""
    names = list(range(1, len(count_KK) + 1))
    return heatmap(
        count_KK.astype(float), "frequency kept", "frequency foretold", "neurons", x_names=names, y_names=names,
        diverging=False, height=340,
    )  # fmt: skip


def confusion_table(count_KK: np.ndarray) -> pa.Table:
    """One row a pair of frequencies."""
    told, kept = (index.ravel() + 1 for index in np.indices(count_KK.shape))
    return table(foretold=told, kept=kept, neurons=count_KK.ravel())


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


def contour(p: int, points: dict[str, np.ndarray], size: int = 30) -> Drawing:
    """The output magnitude after a short flow over where the pair began, with pairs of a run on it.

    The flow for x^2 has no scale of its own: with magnitudes s times as large it does the same s times
    faster.  So the published window is moved to the magnitudes of the run, both axes scaled alike.
    """
    field = outcome_contour(p, size)
    winners = points["magnitude"][points["fate"] == "winner"]
    scale = float(np.median(winners)) / 0.015 if len(winners) else 1.0
    magnitude_A, angle_B = field["magnitude_A"] * scale, field["angle_B"] / np.pi
    high, wide = np.diff(magnitude_A)[0] / 2, np.diff(angle_B)[0] / 2  # half a cell
    tables = ground(field["beta_AB"] * scale, (-wide, 2 + wide), (magnitude_A[0] - high, magnitude_A[-1] + high))
    top = max(float(magnitude_A[-1] + high), float(np.quantile(points["magnitude"], 0.995)))
    return drawing(_contour, tables | {"dots": table(**(points | {"D": points["D"] / np.pi}))}, top=top)


def _contour(top):
    axes = {
        "x": alt.X("x:Q", title="D = 2φ − ψ at step 0 (units of π)", scale=alt.Scale(domain=[0, 2], nice=False),
                   axis=alt.Axis(values=[0, 0.5, 1, 1.5, 2], grid=False)),
        "y": alt.Y("y:Q", title="input magnitude α at step 0", scale=alt.Scale(domain=[0, top], nice=False),
                   axis=alt.Axis(format="~g", tickCount=5, grid=False)),
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
    layers = on_ground(axes, scale_of("β after 100 steps", SEQUENTIAL))
    return alt.layer(*layers, dots, height=380).resolve_scale(color="independent")
