"""Simulated pairs: their phases, magnitudes and phasors."""

import altair as alt
import numpy as np
import pyarrow as pa

from ..maths.simulation import POINTS
from .chart import Chart, drawing
from .flow import HUES, hue
from .style import (
    COLOURS,
    DASHED,
    HEIGHT,
    hues,
    in_time,
    legend,
    long,
    named,
    square_axes,
    step_axis,
    table,
    tips,
    unit_circle,
)


def columns(case: dict, what: str) -> dict[str, np.ndarray]:
    """The named curves of a case: phases in units of pi and continuous in time, or magnitudes."""
    if what == "magnitudes":
        return {"α": case["alpha_S"], "β": case["beta_S"]}
    phi, psi = np.unwrap(case["phi_S"]), np.unwrap(case["psi_S"])
    psi = psi + 2 * phi[0] - psi[0] - case["D_S"][0]
    return {"φ": phi / np.pi, "2φ": 2 * phi / np.pi, "ψ": psi / np.pi, "D": (2 * phi - psi) / np.pi}


def case_table(case: dict, what: str) -> pa.Table:
    """The curves by step."""
    return table(step=case["step_S"], **columns(case, what))


def curves(case: dict, what: str, at: int) -> Chart:
    """Phases or magnitudes of a case, faint ahead of step `at` and strong up to it."""
    keep = np.unique(np.linspace(0, len(case["step_S"]) - 1, POINTS).round().astype(int))
    step_S, values = case["step_S"][keep], {name: v[keep] for name, v in columns(case, what).items()}
    past = step_S <= at
    tables = {
        "whole": long("step", step_S, values),
        "past": in_time(long("step", step_S[past], {name: v[past] for name, v in values.items()})),
        "now": table(step=[at]),
    }
    i = max(int(np.searchsorted(case["step_S"], at, side="right")) - 1, 0)
    if what == "phases":
        told = f"At step {at:,} D = 2φ − ψ is {case['D_S'][i]:.3f} rad; it began at {case['D_S'][0]:.3f}."
    else:
        told = (
            f"At step {at:,} α is {case['alpha_S'][i]:.3g} and β {case['beta_S'][i]:.3g}; while |D| > π/2 both shrink."
        )
    return Chart(
        drawing(_curves, tables, what=what, names=tuple(values)), what.capitalize(), told,
        f"{what.capitalize()} of the simulated pair by step", lambda: case_table(case, what),
    )  # fmt: skip


def _curves(what, names):
    title = "phase (units of π)" if what == "phases" else "magnitude"
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=what == "magnitudes"),
              axis=alt.Axis(tickCount=5, format="~r"))  # fmt: skip
    x = step_axis(False, title="step of rate 1")
    whole = alt.Chart(named("whole")).mark_line(strokeWidth=1.2, opacity=0.35).encode(x=x, y=y, color=hue(names))
    past = alt.Chart(named("past")).mark_line(strokeWidth=2.4)
    now = alt.Chart(named("now")).mark_rule(**DASHED).encode(x=x)
    says = tips(curve="curve", step="step", value=title)
    return alt.layer(whole, past.encode(x=x, y=y, color=hue(names), tooltip=says), now, height=HEIGHT)


def phasors_table(case: dict) -> pa.Table:
    """The two arrows at every step, lengths as shares of the longest of the whole path."""
    top = max(case["alpha_S"].max(), case["beta_S"].max())
    alpha, beta = case["alpha_S"] * np.exp(2j * case["phi_S"]) / top, case["beta_S"] * np.exp(1j * case["psi_S"]) / top
    return table(
        step=case["step_S"], alpha_real=alpha.real, alpha_imag=alpha.imag, beta_real=beta.real, beta_imag=beta.imag
    )


def phasors(case: dict, at: int, side: int = 250) -> Chart:
    """The two arrows alpha exp(2i phi) and beta exp(i psi) at step `at`; aligned when they point the same way."""
    i = max(int(np.searchsorted(case["step_S"], at, side="right")) - 1, 0)
    tip = phasors_table(case).slice(i, 1).to_pylist()[0]
    x, y = ([tip[f"alpha_{part}"], tip[f"beta_{part}"]] for part in ("real", "imag"))
    arms = table(curve=["2φ", "ψ"], x=x, y=y, zero=[0.0, 0.0])
    apart = np.degrees(case["D_S"][i])
    return Chart(
        drawing(_phasors, {"ring": unit_circle(), "arms": arms}, side=side), "Phasors",
        f"α at the angle 2φ, β at ψ; {abs(apart):.0f}° apart at step {case['step_S'][i]:,}.",
        "The two arrows of the simulated pair", lambda: phasors_table(case),
    )  # fmt: skip


def _phasors(side):
    at, names = square_axes("", "", 1.12), ("2φ", "ψ")
    colour = hues(names, HUES, legend=legend())
    ring = alt.Chart(named("ring")).mark_line(color=COLOURS["others"], strokeWidth=0.8)
    arms = alt.Chart(named("arms"))
    lines = arms.mark_rule(strokeWidth=3).encode(**at, x2=alt.X2("zero"), y2=alt.Y2("zero"), color=colour)
    heads = arms.mark_circle(size=110, opacity=1).encode(**at, color=colour)
    return alt.layer(ring.encode(**at, order=alt.Order("at:Q")), lines, heads, height=side, width=side)
