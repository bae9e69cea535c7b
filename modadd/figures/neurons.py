"""Neurons in Fourier space: phases, spectra, and the race of the frequencies inside one neuron."""

import altair as alt
import numpy as np

from ..frames.schema import Frame
from ..maths.fourier import mode_names
from ..records.rows import SHOWN, round_robin
from .style import COLOURS, HEIGHT, Drawing, drawing, heatmap, long, named, ring_scale, step_axis, table, tips

__all__ = ["SHOWN", "phase_scatter", "race_magnitude", "race_misalignment", "round_robin", "spectra", "winner"]


def phase_scatter(
    frame: Frame, K: int, neuron: int | None = None, limit: int = 1024, height: int = 330, pick: bool = False
) -> Drawing:
    """psi against 2 phi of every neuron, in units of pi, coloured by its frequency; with `pick`, a click on a dot
    selects its neuron, under the name `dot`."""
    turn = lambda angle: (angle % (2 * np.pi)) / np.pi  # noqa: E731
    shown = np.arange(min(len(frame["phi"]), limit))
    points = table(
        neuron=shown,
        frequency=frame["frequency"][shown].astype(np.int64),
        two_phi=turn(2 * frame["phi"][shown].astype(np.float64)),
        psi=turn(frame["psi"][shown].astype(np.float64)),
    )
    chosen = points.slice(neuron, 1) if neuron is not None else points.slice(0, 0)
    line = table(two_phi=[0.0, 2.0], psi=[0.0, 2.0])
    tables = {"line": line, "dots": points, "chosen": chosen}
    return drawing(_phase_scatter, tables, K=K, height=height, pick=pick)


def _phase_scatter(K, height, pick):
    axis = {"scale": alt.Scale(domain=[0, 2], nice=False), "axis": alt.Axis(values=[0, 0.5, 1, 1.5, 2])}
    at = {"x": alt.X("two_phi:Q", title="2φ (units of π)", **axis),
          "y": alt.Y("psi:Q", title="ψ (units of π)", **axis)}  # fmt: skip
    dots = (
        alt.Chart(named("dots"), name="dots")
        .mark_circle(size=22, opacity=1)
        .encode(
            **at,
            color=alt.Color(
                "frequency:Q",
                scale=ring_scale(1, K),
                legend=alt.Legend(orient="top", title="frequency k", format="d", tickCount=4, gradientLength=140),
            ),
            tooltip=tips(neuron="neuron", frequency="frequency k", two_phi="2φ / π", psi="ψ / π"),
        )
    )
    if pick:
        dots = dots.add_params(alt.selection_point(name="dot", fields=["neuron"], toggle=False))
    line = alt.Chart(named("line")).mark_line(strokeDash=[4, 3], color=COLOURS["others"]).encode(**at)
    mark = alt.Chart(named("chosen")).mark_point(size=160, color=COLOURS["winner"], strokeWidth=2.5).encode(**at)
    return alt.layer(line, dots, mark, height=height)


def spectra(frame: Frame, layer: str, chosen: np.ndarray | None = None) -> Drawing:
    """DFT rows of the `chosen` neurons, or of 20, of the `input` or `output` layer, sorted by frequency."""
    rows = frame["theta_hat" if layer == "input" else "xi_hat"]
    chosen = round_robin(frame["frequency"], len(rows)) if chosen is None else chosen
    names = mode_names(rows.shape[1])
    return heatmap(
        rows[chosen], "Fourier mode", "neuron", f"{layer} weight", x_names=names, y_names=chosen.tolist(), cells=300
    )


def winner(race: dict[str, np.ndarray]) -> int:
    """The frequency, counted from 1, that leads the input layer at the end of the race."""
    return int(race["alpha_SK"][-1].argmax()) + 1


def _race(race, values_SK, title: str, log_steps: bool, step: int | None, top: float | None = None) -> Drawing:
    last = [k for k in range(values_SK.shape[1]) if k != winner(race) - 1] + [winner(race) - 1]  # over the others
    rows = long("step", race["step_S"], {f"{k + 1}": values_SK[:, k] for k in last})
    tables = {"curves": rows, "now": table(step=[] if step is None else [step])}
    return drawing(_curves, tables, title=title, winner=winner(race), log_steps=log_steps, top=top)


def _curves(title, winner, log_steps, top):
    lead = alt.datum.curve == str(winner)
    y = alt.Y("value:Q", title=title, scale=alt.Scale(domain=[0, top]) if top else alt.Undefined)
    x = step_axis(log_steps)
    curves = (
        alt.Chart(named("curves"))
        .mark_line()
        .encode(
            x=x, y=y, detail=alt.Detail("curve:N"),
            color=alt.condition(lead, alt.value(COLOURS["winner"]), alt.value(COLOURS["others"])),
            strokeWidth=alt.condition(lead, alt.value(2.6), alt.value(1.1)),
            tooltip=tips(curve="frequency k", step="step", value="value"),
        )
    )  # fmt: skip
    now = alt.Chart(named("now")).mark_rule(strokeDash=[4, 3], color=COLOURS["others"]).encode(x=x)
    return alt.layer(curves, now, height=HEIGHT)


def race_magnitude(race, layer: str = "output", log_steps: bool = False, step: int | None = None) -> Drawing:
    """Magnitude of all K frequencies of one neuron over training; the leader of the input layer in red."""
    values, symbol = (race["alpha_SK"], "α_k") if layer == "input" else (race["beta_SK"], "β_k")
    return _race(race, values, f"{layer} magnitude {symbol}", log_steps, step)


def race_misalignment(race, log_steps: bool = False, step: int | None = None) -> Drawing:
    """|D_k| of all K frequencies of one neuron in units of pi: 0 is aligned, 1 opposed."""
    return _race(race, np.abs(race["D_SK"]) / np.pi, "|D_k| (units of π)", log_steps, step, 1.0)
