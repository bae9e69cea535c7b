"""Neurons in Fourier space: phases, spectra, and the race of the frequencies inside one neuron."""

import altair as alt
import numpy as np

from ..fourier import mode_names
from ..record import Frame
from .style import COLOURS, HEIGHT, heatmap, long, step_axis, table, tips

SHOWN = 20


def round_robin(frequency_M: np.ndarray, held: int, count: int = SHOWN) -> np.ndarray:
    """Up to `count` of the first `held` neurons, one a frequency in turn, sorted by frequency."""
    frequency = np.asarray(frequency_M[:held])
    turn = np.zeros(len(frequency), int)
    for k in np.unique(frequency):
        mine = frequency == k
        turn[mine] = np.arange(mine.sum())
    chosen = np.lexsort((frequency, turn))[:count]
    return chosen[np.argsort(frequency[chosen], kind="stable")]


def phase_scatter(frame: Frame, K: int, neuron: int | None = None, limit: int = 1024) -> alt.LayerChart:
    """psi against 2 phi of every neuron, in turns of pi, coloured by its frequency (cyclic hue)."""
    turn = lambda angle: (angle % (2 * np.pi)) / np.pi  # noqa: E731
    shown = np.arange(min(len(frame["phi"]), limit))
    points = table(
        neuron=shown,
        frequency=frame["frequency"][shown].astype(np.int64),
        two_phi=turn(2 * frame["phi"][shown].astype(np.float64)),
        psi=turn(frame["psi"][shown].astype(np.float64)),
    )
    axis = {"scale": alt.Scale(domain=[0, 2], nice=False), "axis": alt.Axis(values=[0, 0.5, 1, 1.5, 2])}
    dots = (
        alt.Chart(points)
        .mark_circle(size=22, opacity=0.75)
        .encode(
            x=alt.X("two_phi:Q", title="2φ (units of π)", **axis),
            y=alt.Y("psi:Q", title="ψ (units of π)", **axis),
            color=alt.Color(
                "frequency:Q",
                scale=alt.Scale(scheme="rainbow", domain=[1, max(K, 2)]),
                legend=alt.Legend(orient="top", title="frequency k", format="d", tickCount=4, gradientLength=140),
            ),
            tooltip=tips(neuron="neuron", frequency="frequency k", two_phi="2φ / π", psi="ψ / π"),
        )
    )  # fmt: skip
    line = alt.Chart(table(two_phi=[0.0, 2.0], psi=[0.0, 2.0])).mark_line(
        strokeDash=[4, 3], color=COLOURS["others"]
    ).encode(x=alt.X("two_phi:Q"), y=alt.Y("psi:Q"))  # fmt: skip
    layers = [line, dots]
    if neuron is not None and neuron < len(shown):
        layers.append(
            alt.Chart(points.slice(neuron, 1))
            .mark_point(size=160, color=COLOURS["winner"], strokeWidth=2.5)
            .encode(x=alt.X("two_phi:Q"), y=alt.Y("psi:Q"))
        )
    return alt.layer(*layers).properties(height=330)


def spectra(frame: Frame, layer: str) -> alt.Chart:
    """DFT rows of the shown neurons of the `input` or `output` layer, sorted by frequency."""
    rows = frame["theta_hat" if layer == "input" else "xi_hat"]
    chosen = round_robin(frame["frequency"], len(rows))
    return heatmap(
        rows[chosen], "Fourier mode", "neuron", f"{layer} weight", x_names=mode_names(rows.shape[1]), y_names=chosen
    )


def _race(race, values_SK, y: alt.Y, winner: int, log_steps: bool) -> alt.Chart:
    K = values_SK.shape[1]
    last = [k for k in range(K) if k != winner - 1] + [winner - 1]  # the winner is drawn over the others
    rows = long("step", race["step_S"], {f"{k + 1}": values_SK[:, k] for k in last})
    lead = alt.datum.curve == str(winner)
    return (
        alt.Chart(rows)
        .mark_line()
        .encode(
            x=step_axis(log_steps), y=y, detail=alt.Detail("curve:N"),
            color=alt.condition(lead, alt.value(COLOURS["winner"]), alt.value(COLOURS["others"])),
            strokeWidth=alt.condition(lead, alt.value(2.6), alt.value(1.1)),
            tooltip=tips(curve="frequency k", step="step", value="value"),
        )
        .properties(height=HEIGHT)
    )  # fmt: skip


def winner(race: dict[str, np.ndarray]) -> int:
    """The frequency, counted from 1, that leads the input layer at the end of the race."""
    return int(race["alpha_SK"][-1].argmax()) + 1


def race_magnitude(race, layer: str = "output", log_steps: bool = False) -> alt.Chart:
    """Magnitude of all K frequencies of one neuron over training; the leader of the input layer in red."""
    values, symbol = (race["alpha_SK"], "α_k") if layer == "input" else (race["beta_SK"], "β_k")
    return _race(race, values, alt.Y("value:Q", title=f"{layer} magnitude {symbol}"), winner(race), log_steps)


def race_misalignment(race, log_steps: bool = False) -> alt.Chart:
    """|D_k| of all K frequencies of one neuron in units of pi: 0 is aligned, 1 opposed."""
    y = alt.Y("value:Q", title="|D_k| (units of π)", scale=alt.Scale(domain=[0, 1]))
    return _race(race, np.abs(race["D_SK"]) / np.pi, y, winner(race), log_steps)
