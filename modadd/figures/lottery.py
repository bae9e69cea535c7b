"""The race inside a neuron, the bets on its winner, and where the winners began."""

import altair as alt
import numpy as np

from ..theory import outcome_contour
from .style import COLOURS, SEQUENTIAL, heatmap, step_axis, table, tips

RULES = {"race": "#e02b2b", "drive": "#8a63c9", "magnitude": "#2f7fc1", "phase": "#c99a00"}
PLACED, TALL = 400, 270  # neurons placed on the contour; height of a race


def _axis_of(what: str, race: dict, log: bool):
    if what == "D":
        title, values = "|D_k| (units of π)", np.abs(race["D_SK"]) / np.pi
        return values, alt.Y("value:Q", title=title, scale=alt.Scale(domain=[0, 1], nice=False))
    layer, values = ("input", race["alpha_SK"]) if what == "alpha" else ("output", race["beta_SK"])
    real = values[values > 0]
    low, high = (float(real.min()), float(real.max())) if real.size else (1e-3, 1.0)
    low = max(low, high * 1e-4)
    scale = alt.Scale(type="log", domain=[low, high]) if log else alt.Scale(domain=[0, high], nice=False)
    title = f"{layer} magnitude {'α_k' if layer == 'input' else 'β_k'}"
    return values, alt.Y(
        "value:Q", title=title, scale=scale, axis=alt.Axis(format=".1~e" if log else "~g", tickCount=5)
    )


def race(race: dict, what: str, winner: int, step: int, log_steps: bool = False, log: bool = False) -> alt.Chart:
    """All K frequencies of a neuron up to `step`, the winner in red; `what` is alpha, beta or D.

    The axes span the whole training, so that nothing jumps while time is played.
    """
    values_SK, y = _axis_of(what, race, log)
    step_S, K = np.asarray(race["step_S"]), values_SK.shape[1]
    there = step_S <= step
    order = [k for k in range(1, K + 1) if k != winner] + [winner]  # the winner is drawn over the others
    rows = table(
        step=np.tile(step_S[there], K),
        curve=np.repeat(np.array(order), there.sum()),
        value=np.concatenate([values_SK[there, k - 1] for k in order]).astype(float),
    )
    x = step_axis(log_steps)
    x["scale"]["domain"] = [int(step_S[0]), max(int(step_S[-1]), 1)]
    first = alt.datum.curve == winner
    return (
        alt.Chart(rows)
        .mark_line(clip=True)
        .encode(
            x=x,
            y=y,
            detail=alt.Detail("curve:N"),
            color=alt.condition(first, alt.value(COLOURS["winner"]), alt.value(COLOURS["others"])),
            strokeWidth=alt.condition(first, alt.value(2.6), alt.value(1.1)),
            tooltip=tips(curve="frequency k", step="step", value="value"),
        )
        .properties(height=TALL)
    )


def hit_rates(step_S, scores: dict[str, dict], chance: float, step: int, log_steps: bool = False) -> alt.LayerChart:
    """Share of neurons whose largest frequency at each step is the one that each rule bet on at step 0, with
    95 % bands; the dashed line is what a blind guess scores."""
    rows = table(
        step=np.tile(step_S, len(scores)),
        rule=np.repeat(np.array(list(scores)), len(step_S)),
        **{name: np.concatenate([score[name] for score in scores.values()]) for name in ("rate", "low", "high")},
    )
    colour = alt.Color(
        "rule:N",
        scale=alt.Scale(domain=list(RULES), range=list(RULES.values())),
        legend=alt.Legend(title=None, orient="top", symbolOpacity=1, symbolType="stroke"),
    )
    share = {"scale": alt.Scale(domain=[0, 1]), "axis": alt.Axis(format="%")}
    base = alt.Chart(rows)
    x, title = step_axis(log_steps), "neurons foretold right"
    band = base.mark_area(opacity=0.18).encode(
        x=x, y=alt.Y("low:Q", title=title, **share), y2=alt.Y2("high"), color=colour
    )
    line = base.mark_line(strokeWidth=2).encode(
        x=x, y=alt.Y("rate:Q", title=title, **share), color=colour,
        tooltip=[
            alt.Tooltip("rule:N", title="rule"), alt.Tooltip("step:Q", title="step"),
            *(alt.Tooltip(f"{name}:Q", title=name, format=".1%") for name in ("rate", "low", "high")),
        ],
    )  # fmt: skip
    guess = (
        alt.Chart(table(rate=[chance]))
        .mark_rule(strokeDash=[4, 3], color=COLOURS["others"])
        .encode(y=alt.Y("rate:Q", title=title, **share))
    )
    now = (
        alt.Chart(table(step=[step]))
        .mark_rule(strokeDash=[4, 3], color=COLOURS["others"])
        .encode(x=alt.X("step:Q"))
    )  # fmt: skip
    return alt.layer(band, line, guess, now).properties(height=320)


def confusion(count_KK: np.ndarray) -> alt.Chart:
    """Neurons by the frequency foretold (rows) and the one kept (columns); right bets on the diagonal."""
    names = list(range(1, len(count_KK) + 1))
    return heatmap(
        count_KK.astype(float), "frequency kept", "frequency foretold", "neurons", x_names=names, y_names=names,
        diverging=False, height=340,
    )  # fmt: skip


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


def contour(p: int, points: dict[str, np.ndarray] | None = None, size: int = 30) -> alt.LayerChart:
    """The output magnitude after a short flow over where the pair began, with pairs of a run on it.

    The flow for x^2 has no scale of its own: with magnitudes s times as large it does the same s times
    faster.  So the published window is moved to the magnitudes of the run, both axes scaled alike.
    """
    field = outcome_contour(p, size)
    winners = points["magnitude"][points["fate"] == "winner"] if points else []
    scale = float(np.median(winners)) / 0.015 if len(winners) else 1.0
    magnitude_A, angle_B = field["magnitude_A"] * scale, field["angle_B"] / np.pi
    # A little wider than their pitch, or hairlines show between them.
    high, wide = 0.52 * np.diff(magnitude_A)[0], 0.52 * np.diff(angle_B)[0]
    a, b = (index.ravel() for index in np.indices((size, size)))
    cells = table(
        x=(angle_B[b] - wide).clip(0), x2=(angle_B[b] + wide).clip(max=2), D=angle_B[b], magnitude=magnitude_A[a],
        y=magnitude_A[a] - high, y2=magnitude_A[a] + high, value=field["beta_AB"].ravel() * scale,
    )  # fmt: skip
    ends = [0.0, float(magnitude_A[-1] + high)]
    if points:
        ends = [min(ends[0], 0.0), max(ends[1], float(np.quantile(points["magnitude"], 0.995)))]
    x = {"scale": alt.Scale(domain=[0, 2], nice=False), "axis": alt.Axis(values=[0, 0.5, 1, 1.5, 2], grid=False)}
    y = {"scale": alt.Scale(domain=ends, nice=False), "axis": alt.Axis(format="~g", tickCount=5, grid=False)}
    titles = {"x": "D = 2φ − ψ at step 0 (units of π)", "y": "input magnitude α at step 0"}
    ground = (
        alt.Chart(cells)
        .mark_rect()
        .encode(
            x=alt.X("x:Q", title=titles["x"], **x),
            x2=alt.X2("x2"),
            y=alt.Y("y:Q", title=titles["y"], **y),
            y2=alt.Y2("y2"),
            color=alt.Color(
                "value:Q",
                scale=alt.Scale(range=list(SEQUENTIAL), interpolate="rgb"),
                legend=alt.Legend(
                    orient="top", title="β after 100 steps", gradientLength=140, format=".2~g", tickCount=3
                ),
            ),
            tooltip=[
                alt.Tooltip(f"{name}:Q", title=title, format=".3~g")
                for name, title in {"D": "D / π", "magnitude": "α and β at first", "value": "β after 100 steps"}.items()
            ],
        )
    )
    if not points:
        return alt.layer(ground).properties(height=380)
    dots = (
        alt.Chart(table(**(points | {"D": points["D"] / np.pi})))
        .mark_circle(clip=True, stroke="white", strokeWidth=0.3)
        .encode(
            x=alt.X("D:Q", title=titles["x"], **x),
            y=alt.Y("magnitude:Q", title=titles["y"], **y),
            color=alt.Color(
                "fate:N",
                scale=alt.Scale(domain=["winner", "loser"], range=[COLOURS["winner"], COLOURS["others"]]),
                legend=alt.Legend(orient="top", title=None),
            ),
            size=alt.condition(alt.datum.fate == "winner", alt.value(34), alt.value(18)),
            tooltip=[
                alt.Tooltip("neuron:Q", title="neuron"), alt.Tooltip("frequency:Q", title="frequency k"),
                alt.Tooltip("fate:N", title="fate"), alt.Tooltip("D:Q", title="D / π", format=".3~g"),
                alt.Tooltip("magnitude:Q", title="α", format=".3~g"),
            ],
        )
    )  # fmt: skip
    return alt.layer(ground, dots).resolve_scale(color="independent").properties(height=380)
