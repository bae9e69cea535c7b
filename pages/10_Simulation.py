"""The decoupled flow alone, no network: the published cases, any start, and the race it leaves out."""

import numpy as np
import streamlit as st

from modadd import lottery, theory, ui
from modadd.figures import lottery as races
from modadd.figures import simulation as figures
from modadd.figures.style import table

FRAMES, TICK = 60, 0.12  # an animation has so many moments, so many seconds apart

p = ui.page("Decoupled simulation")
st.title("The dynamics without the network")
st.markdown(
    "If each pair of a neuron and a frequency learns alone, four numbers tell its whole story. Here they run by "
    "themselves: choose where they begin and watch the output phase ψ turn towards 2φ. Once aligned, both "
    "magnitudes grow together, faster and faster. A start at which D grew instead, other than exactly D = π, would "
    "refute the account."
)
st.latex(theory.QUAD_FLOW_TEX)


def show(chart, key: str, says: str, caption: str, rows):
    """A chart with what to look for and its numbers."""
    ui.draw(chart, key, says)
    st.caption(caption)
    st.download_button(
        "CSV",
        lambda: ui.csv(rows()),
        f"{key}.csv",
        "text/csv",
        key=f"csv-{key}",
        icon=":material/download:",
        type="tertiary",
    )


def clock(name: str, end: int) -> int:
    """The moment in view of an animation: a slider, and a button that lets it run."""
    key, run = f"sim-at-{name}", f"sim-run-{name}"
    stride = max(1, end // FRAMES)
    was_end = st.session_state.get(f"{key}-end", end)
    at = st.session_state.get(key, end)
    at, st.session_state[f"{key}-end"] = end if at >= was_end else min(at, end), end
    if st.session_state.get(run):
        at = at + stride
        st.session_state[run] = at < end
    st.session_state[key] = min(at, end)
    left, right = st.columns([1, 5], vertical_alignment="bottom")
    playing = st.session_state.get(run, False)
    if left.button("Stop" if playing else "Play", key=f"sim-button-{name}", width="stretch",
                   icon=":material/pause:" if playing else ":material/play_arrow:"):  # fmt: skip
        st.session_state[run] = not playing
        if not playing and at >= end:
            st.session_state[key] = 0
        st.rerun()
    return right.slider("Step", 0, max(end, 1), key=key, disabled=end < 1)


def theatre(name: str, case: dict):
    """One pair on stage: phases, magnitudes and the two arrows."""

    @st.fragment(run_every=TICK if st.session_state.get(f"sim-run-{name}") else None)
    def play():
        was = st.session_state.get(f"sim-run-{name}", False)
        at = clock(name, int(case["step_S"][-1]))
        for column, what in zip(st.columns([2, 2, 1.6]), ("phases", "magnitudes", "phasors"), strict=True):
            with column:
                if what == "phasors":
                    with st.container(width=240):
                        ui.draw(figures.phasors(case, at), f"{name}-phasors", f"α at angle 2φ and β at ψ, step {at}")
                    st.caption("Arrows: α at the angle 2φ, β at ψ. Aligned when they point the same way.")
                else:
                    show(
                        figures.curves(case, what, at), f"{name}-{what}", f"{what} of the simulated pair to step {at}",
                        {"phases": "2φ and ψ meet: D falls to 0.",
                         "magnitudes": "Growth waits for alignment; while |D| > π/2 both shrink."}[what],
                        lambda what=what: table(step=case["step_S"], **figures.columns(case, what)),
                    )  # fmt: skip
        if was and not st.session_state.get(f"sim-run-{name}"):
            st.rerun()  # the whole page, so that the clock stops

    play()


st.header("The two published cases")
cases = theory.decoupled_cases(p)
which = st.segmented_control("Case", [1, 2], default=1, format_func=lambda i: f"Case {i}", key="sim-case") or 1
case = cases[which - 1]
st.markdown(
    f"Frequency k = {case['k']}, both magnitudes {case['alpha_S'][0]:g}, φ = {case['phi_S'][0]:.2f} and "
    f"ψ = {case['psi_S'][0]:.2f}, so D = {case['D_S'][0]:.2f} at first; Euler steps of rate 1. After "
    f"{case['step_S'][-1]:,} steps D = {case['D_S'][-1]:.3f} rad and β has grown "
    f"{case['beta_S'][-1] / case['beta_S'][0]:.1f}-fold."
)
theatre(f"case{which}", case)

st.header("Any start")
first, second, third = st.columns(3)
activation = first.segmented_control("Activation", ["quad", "relu"], default="quad", key="sim-activation") or "quad"
steps = first.slider("Steps of rate 1", 100, 20_000, 2000, 100, key="sim-steps")
alpha = second.slider("α at first", 0.001, 0.1, 0.02, 0.001, format="%.3f", key="sim-alpha")
beta = second.slider("β at first", 0.001, 0.1, 0.02, 0.001, format="%.3f", key="sim-beta")
phi = third.slider("φ at first (rad)", -3.14, 3.14, 1.0, 0.01, key="sim-phi")
psi = third.slider("ψ at first (rad)", -3.14, 3.14, -1.0, 0.01, key="sim-psi")
if activation == "relu":
    st.latex(theory.RELU_FLOW_TEX)
own = figures.pair(activation, p, alpha, phi, beta, psi, steps, 1.0)
z = np.array([own[f"{name}_S"] for name in ("alpha", "phi", "beta", "psi")])
kept = theory.invariants(activation, z)
drift = np.abs(kept - kept[:, :1]).max(1) / np.maximum(np.abs(kept[:, 0]), alpha**2 * beta**2)
st.markdown(
    f"D goes from {own['D_S'][0]:.3f} to {own['D_S'][-1]:.3f} rad in {own['step_S'][-1]:,} steps. Two numbers never "
    "change on the way: "
    + " and ".join(
        f"${tex}$ (drift {change:.1g})" for tex, change in zip(theory.INVARIANTS_TEX[activation], drift, strict=True)
    )
    + ("." if own["step_S"][-1] >= steps else ". The path ends where a magnitude passes 1.")
)
theatre("own", own)

st.header("What a single pair leaves out")
st.markdown(
    f"A neuron never holds one frequency at random weights: all {(p - 1) // 2} race, each from its own random "
    "magnitudes and phases. Each still runs alone here, so the prize goes to who is first, not to who pushes. "
    "Draw another neuron and see how often the best-aligned, or the largest, is overtaken."
)
left, middle, right = st.columns(3, vertical_alignment="bottom")
seed = left.number_input("Neuron drawn with seed", 0, 10**6, 0, key="sim-seed")
scale = middle.slider("Initial scale", 0.01, 0.5, 0.1, 0.01, key="sim-scale")
kind = right.segmented_control("Activation ", ["quad", "relu"], default="quad", key="sim-race-act") or "quad"
race = figures.random_race(kind, p, scale, seed)
winner = int(race["alpha_SK"][-1].argmax()) + 1
bets = lottery.bets(race["start"], p, kind, 10.0)
st.markdown(
    f"**k = {winner}** arrives first, after {race['step_S'][-1]:,} steps of rate 1. "
    + "; ".join(f"*{rule}* bets on {bet[0]} {'✓' if bet[0] == winner else '✗'}" for rule, bet in bets.items())
    + "."
)


@st.fragment(run_every=TICK if st.session_state.get("sim-run-race") else None)
def run_race():
    was = st.session_state.get("sim-run-race", False)
    at = clock("race", int(race["step_S"][-1]))
    titles = {"alpha": "Input magnitude", "beta": "Output magnitude", "D": "Misalignment |D|"}
    for column, (what, title) in zip(st.columns(3), titles.items(), strict=True):
        with column:
            st.markdown(f"**{title}**")
            show(
                races.race(race, what, winner, at), f"sim-race-{what}", f"{title} of all frequencies to step {at}",
                "One curve a frequency, the winner in red.",
                lambda what=what: table(step=race["step_S"], **{
                    f"k{k + 1}": race[f"{what}_SK"][:, k] for k in range(race["alpha_SK"].shape[1])}),
            )  # fmt: skip
    if was and not st.session_state.get("sim-run-race"):
        st.rerun()


run_race()
