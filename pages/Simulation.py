"""The decoupled flow alone, no network: the published cases, any start, and the race it leaves out."""

import numpy as np
import streamlit as st

from modadd import ui
from modadd.analysis import lottery
from modadd.figures import lottery as races
from modadd.figures import simulation as figures
from modadd.maths import simulation, theory

MOMENTS = 60  # of a film

p = ui.page("Decoupled simulation")
ui.head(
    "The dynamics without the network",
    "Choose where one pair begins and watch its output phase turn towards 2φ.",
    "If each pair of a neuron and a frequency learns alone, four numbers tell its whole story. Here they run by "
    "themselves: choose where they begin and watch the output phase ψ turn towards 2φ. Once aligned, both "
    "magnitudes grow together, faster and faster. A start at which D grew instead, other than exactly D = π, would "
    "refute the account.",
)
st.latex(theory.QUAD_FLOW_TEX)


def film(name: str, step_S: np.ndarray, body):
    """Play `body(at)` over the steps of a simulation."""
    moments = np.unique(step_S[np.linspace(0, len(step_S) - 1, MOMENTS + 1).round().astype(int)])
    ui.film(body, moments.tolist(), f"sim-{name}", "Step", docked=False)


def theatre(name: str, case: dict):
    """One pair on stage: phases, magnitudes and the two arrows."""

    def stage(at: int):
        ui.row(
            *(
                (f"{name}-{what}", lambda at, what=what: figures.curves(case, what, at))
                for what in ("phases", "magnitudes")
            ),
            (f"{name}-phasors", lambda at: figures.phasors(case, at)),
            widths=[2, 2, 1.4],
        )

    film(name, case["step_S"], stage)


st.header("The two published cases")
which = st.segmented_control("Case", [1, 2], default=1, format_func="Case {}".format, required=True, key="sim-case")
case = theory.decoupled_cases(p)[which - 1]
st.markdown(
    f"Frequency k = {case['k']}, both magnitudes {case['alpha_S'][0]:g}, φ = {case['phi_S'][0]:.2f} and "
    f"ψ = {case['psi_S'][0]:.2f}, so D = {case['D_S'][0]:.2f} at first; Euler steps of rate 1. After "
    f"{case['step_S'][-1]:,} steps D = {case['D_S'][-1]:.3f} rad and β has grown "
    f"{case['beta_S'][-1] / case['beta_S'][0]:.1f}-fold."
)
theatre(f"case{which}", case)

st.header("Any start")
first, second, third = st.columns(3)
activation = first.segmented_control(
    "Activation", ["quad", "relu"], default="quad", required=True, key="sim-activation"
)
steps = first.slider("Steps of rate 1", 100, 20_000, 2000, 100, key="sim-steps")
alpha = second.slider("α at first", 0.001, 0.1, 0.02, 0.001, format="%.3f", key="sim-alpha")
beta = second.slider("β at first", 0.001, 0.1, 0.02, 0.001, format="%.3f", key="sim-beta")
phi = third.slider("φ at first (rad)", -3.14, 3.14, 1.0, 0.01, key="sim-phi")
psi = third.slider("ψ at first (rad)", -3.14, 3.14, -1.0, 0.01, key="sim-psi")
if activation == "relu":
    st.latex(theory.RELU_FLOW_TEX)
own = simulation.pair(activation, p, alpha, phi, beta, psi, steps)
st.markdown(
    f"D goes from {own['D_S'][0]:.3f} to {own['D_S'][-1]:.3f} rad in {own['step_S'][-1]:,} steps. Two numbers never "
    "change on the way: "
    + " and ".join(
        f"${tex}$ (drift {change:.1g})"
        for tex, change in zip(theory.INVARIANTS_TEX[activation], simulation.drift(activation, own), strict=True)
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
kind = right.segmented_control("Activation ", ["quad", "relu"], default="quad", required=True, key="sim-race-act")
race = simulation.random_race(kind, p, scale, seed)
winner = races.winner(race)
bets = lottery.bets(race["start"], p, kind, theory.FINISH)
st.markdown(
    f"**k = {winner}** arrives first, after {race['step_S'][-1]:,} steps of rate 1. "
    + "; ".join(f"*{rule}* bets on {bet[0]} {'✓' if bet[0] == winner else '✗'}" for rule, bet in bets.items())
    + "."
)


def racecourse(at: int):
    """All frequencies of the drawn neuron up to a step."""
    ui.row(*((f"sim-race-{what}", lambda at, what=what: races.race(race, what, at, 0, False)) for what in races.TITLES))


film("race", race["step_S"], racecourse)
