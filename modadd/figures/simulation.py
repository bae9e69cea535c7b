"""Simulated pairs: their phases, magnitudes and phasors, without any network."""

import altair as alt
import numpy as np

from .. import fourier, theory
from .flow import HUES
from .style import COLOURS, long, table, tips

POINTS = 160


def pair(activation: str, p: int, alpha: float, phi: float, beta: float, psi: float, steps: int, lr: float) -> dict:
    """The exact flow of one pair over `steps` steps of rate lr: step_S, alpha_S, phi_S, beta_S, psi_S, D_S.

    It ends where a magnitude passes 1, no small weight any more."""
    step_S = np.unique(np.linspace(0, steps, 400).round().astype(int))
    alpha_S, phi_S, beta_S, psi_S = theory.integrate(activation, [alpha, phi, beta, psi], lr * step_S, p)
    small = (alpha_S <= 1) & (beta_S <= 1)
    end = len(small) if small.all() else max(int(np.argmin(small)), 1)
    D_S = fourier.wrap(2 * phi_S - psi_S)
    names = {"step": step_S, "alpha": alpha_S, "phi": phi_S, "beta": beta_S, "psi": psi_S, "D": D_S}
    return {f"{name}_S": column[:end] for name, column in names.items()}


def random_race(activation: str, p: int, scale: float, seed: int) -> dict:
    """All K frequencies of one neuron with Gaussian weights of this scale, each on its own flow (lr 1), until
    a little after the first has grown tenfold: `start` (each [1, K]) and, as Record.race, step_S, NAME_SK."""
    weights = scale * np.random.default_rng(seed).standard_normal((2, p)) / np.sqrt(p)
    (alpha, phi), (beta, psi) = (fourier.cosines(fourier.dft(w[None])) for w in weights)
    time_K = theory.race(p, alpha, phi, beta, psi, activation, 10.0)["time_MK"][0]
    first = time_K[np.isfinite(time_K)].min(initial=np.inf)
    step_S = np.unique(np.linspace(0, first if np.isfinite(first) else 1000.0, POINTS).round())
    path = theory.integrate(activation, [a[0] for a in (alpha, phi, beta, psi)], step_S, p)
    a, f, b, s = (way.T for way in path)
    return {
        "start": {"alpha": alpha, "phi": phi, "beta": beta, "psi": psi},
        "step_S": step_S.astype(int), "alpha_SK": a, "beta_SK": b, "D_SK": fourier.wrap(2 * f - s),
    }  # fmt: skip


def columns(case: dict, what: str) -> dict[str, np.ndarray]:
    """The named curves of a case: phases in units of pi and continuous in time, or magnitudes."""
    if what == "magnitudes":
        return {"α": case["alpha_S"], "β": case["beta_S"]}
    phi, psi = np.unwrap(case["phi_S"]), np.unwrap(case["psi_S"])
    psi = psi + 2 * phi[0] - psi[0] - case["D_S"][0]
    return {"φ": phi / np.pi, "2φ": 2 * phi / np.pi, "ψ": psi / np.pi, "D": (2 * phi - psi) / np.pi}


def curves(case: dict, what: str, at: int) -> alt.LayerChart:
    """Phases or magnitudes of a case, faint ahead of step `at` and strong up to it."""
    keep = np.unique(np.linspace(0, len(case["step_S"]) - 1, POINTS).round().astype(int))
    step_S, values = case["step_S"][keep], {name: v[keep] for name, v in columns(case, what).items()}
    title = "phase (units of π)" if what == "phases" else "magnitude"
    ends = [float(np.min(list(values.values()))), float(np.max(list(values.values())))]
    if what == "magnitudes":
        ends[0] = 0.0
    y = alt.Y("value:Q", title=title, scale=alt.Scale(domain=ends), axis=alt.Axis(tickCount=5, format="~g"))
    x = alt.X("step:Q", title="step", scale=alt.Scale(nice=False), axis=alt.Axis(tickCount=6, format="~s"))
    hue = alt.Color(
        "curve:N",
        scale=alt.Scale(domain=list(values), range=[HUES[name] for name in values]),
        legend=alt.Legend(title=None, orient="top", symbolOpacity=1),
    )
    whole = alt.Chart(long("step", step_S, values)).mark_line(strokeWidth=1.2, opacity=0.35)
    past = step_S <= at
    so_far = alt.Chart(long("step", step_S[past], {name: v[past] for name, v in values.items()}))
    says = tips(curve="curve", step="step", value=title)
    rule = alt.Chart(table(step=[at])).mark_rule(strokeDash=[4, 3], color=COLOURS["others"])
    return alt.layer(
        whole.encode(x=x, y=y, color=hue),
        so_far.mark_line(strokeWidth=2.4).encode(x=x, y=y, color=hue, tooltip=says),
        rule.encode(x=alt.X("step:Q")),
    ).properties(height=270)


def phasors(case: dict, at: int) -> alt.LayerChart:
    """The two arrows alpha exp(2i phi) and beta exp(i psi) at step `at`, lengths as shares of the longest of
    the whole path; aligned when they point the same way."""
    i = max(int(np.searchsorted(case["step_S"], at, side="right")) - 1, 0)
    top = max(case["alpha_S"].max(), case["beta_S"].max())
    tip = [case["alpha_S"][i] * np.exp(2j * case["phi_S"][i]), case["beta_S"][i] * np.exp(1j * case["psi_S"][i])]
    tip, names = np.array(tip) / top, ["2φ", "ψ"]
    square = {"scale": alt.Scale(domain=[-1.08, 1.08], nice=False)}
    x = alt.X("x:Q", title="real part", axis=alt.Axis(values=[-1, 0, 1]), **square)
    y = alt.Y("y:Q", title="imaginary part", axis=alt.Axis(values=[-1, 0, 1]), **square)
    hue = alt.Color(
        "curve:N", scale=alt.Scale(domain=names, range=[HUES[n] for n in names]),
        legend=alt.Legend(title=None, orient="top"),
    )  # fmt: skip
    turn = np.linspace(0, 2 * np.pi, 73)
    ring = alt.Chart(table(x=np.cos(turn), y=np.sin(turn), order=np.arange(73)))
    ring = ring.mark_line(color=COLOURS["others"], strokeWidth=0.8).encode(x=x, y=y, order=alt.Order("order:Q"))
    ends = alt.Chart(table(curve=names, x=tip.real, y=tip.imag, zero=[0.0, 0.0]))
    arms = ends.mark_rule(strokeWidth=3).encode(x=x, y=y, x2=alt.X2("zero"), y2=alt.Y2("zero"), color=hue)
    heads = ends.mark_circle(size=110).encode(x=x, y=y, color=hue)
    return alt.layer(ring, arms, heads).properties(height=290)
