"""Phases lock at twice each other and spread evenly (figures 4, 5 and 6 of the paper)."""

import numpy as np
import streamlit as st

from modadd import ui
from modadd.figures import neurons, phases
from modadd.runs import presets_at

p = ui.page("Phases")


def open_race():
    """A click on a dot opens the race inside that neuron."""
    if dots := st.session_state["scatter"].selection.get("dot"):
        st.session_state["raced"] = int(dots[0]["neuron"])


st.title("Phases that lock, and cancel")
st.markdown(
    "Each neuron is left with a frequency and two phases, φ going in and ψ coming out. Two things make them add: "
    "**within** a neuron ψ = 2φ, so that its vote peaks at x + y; **across** the neurons of one frequency the φ "
    "spread around the circle, so that everything that depends on φ cancels in the sum and only the vote is left. "
    "Dots off the line, or phases that bunch up, would refute it."
)
record = ui.choose_run(p, presets_at(p))
run, step = record.run, ui.player([record])
frame = record.frame(step)
held = len(frame["phi"])
if held < run.d_mlp:
    st.caption(
        f"This record keeps the phases of {held:,} of its {run.d_mlp:,} neurons: the first ones, as good as any."
    )

st.subheader("Twice the phase")
D = 2 * frame["phi"].astype(float) - frame["psi"]
left, right = st.columns([3, 2])
with left:
    ui.show(
        f"Mean cos D = {np.cos(D).mean():.3f}, |sin D| = {np.abs(np.sin(D)).mean():.3f}",
        "On the dashed line D = 2φ − ψ is 0 (both axes wrap around at 2π). Before training the dots fill the square: "
        "mean cos D = 0 and mean |sin D| = 2/π. Click a dot to see the race inside its neuron.",
        phases.scatter(frame, run.K, st.session_state.get("raced")),
        "scatter",
        lambda: phases.scatter_table(frame),
        f"Output phase against twice the input phase of {held} neurons at step {step}",
        open_race,
    )
with right:
    st.session_state["raced"] = min(st.session_state.get("raced", 0), run.d_mlp - 1)
    neuron = st.number_input(f"Race of neuron (0 to {run.d_mlp - 1:,})", 0, run.d_mlp - 1, key="raced")
    spectra = record.frame(holding="theta_hat")
    whole = neuron < len(spectra["theta_hat"] if spectra else ()) or len(record.series("theta")[0]) > 1
    race = record.race(neuron) if whole else phases.leader_race(record, neuron)
    if race is None:
        st.info(f"This record follows the first {held:,} neurons through time; choose one of those.")
    else:
        if not whole:
            st.caption(
                f"This record follows every frequency of few neurons, 0 to {len(spectra['theta_hat']) - 1}; of the "
                "others it knows the one in the lead."
                if spectra
                else "Of this neuron the record knows the frequency in the lead."
            )
        elif len(race["step_S"]) < 8:
            st.caption(
                f"This record saw the whole race at {len(race['step_S'])} moments only, joined by straight lines."
            )
        ui.show(
            f"Neuron {neuron}: k = {neurons.winner(race)} wins",
            "Output magnitude β_k of every frequency; the one that leads the input layer at the end in red.",
            neurons.race_magnitude(race, "output", ui.log_steps()),
            "race-magnitude",
            lambda: phases.race_table(race),
            f"Output magnitude of all frequencies of neuron {neuron} by step",
        )
        ui.show(
            "Who was aligned when",
            "|D_k| in units of π: aligned frequencies grow, growing ones align faster.",
            neurons.race_misalignment(race, ui.log_steps()),
            "race-misalignment",
            lambda: phases.race_table(race),
            f"Misalignment of all frequencies of neuron {neuron} by step",
        )

st.subheader("Phases that cancel")
common = int(np.bincount(frame["frequency"]).argmax())
k = st.number_input("Frequency k", 1, run.K, common, key=f"ring-{run.p}")
count = int((frame["frequency"] == k).sum())
chance = phases.expected(count)
st.markdown(
    f"{count} of the {frame['counts_K'][k - 1]} neurons of frequency {k}, their phases multiplied "
    f"by n. The red arrow is the mean; its length would be about **{ui.number(chance, '.3f')}** for random phases:"
)
st.latex(phases.RANDOM_TEX)
for column, n in zip(st.columns(4), phases.ORDERS, strict=True):
    with column:
        length = abs(phases.resultant(frame, k, n))
        ui.show(
            f"n = {n}: {ui.number(None if np.isnan(length) else length, '.3f')}",
            f"{'below' if length < chance else 'above'} chance" if count else "no neuron here",
            phases.ring(frame, k, n),
            f"ring-{n}",
            lambda n=n: phases.ring_table(frame, k, n),
            f"{n} times the input phase of the neurons of frequency {k}, mean length {length:.3f}",
        )
rows = phases.evenness_table(frame, run.K)
below = float(np.mean(np.array(rows["value"]) < np.array(rows["random"]))) if len(rows) else 0.0
ui.show(
    f"{below:.0%} of all means are below chance",
    "Dashed: random phases. Dots far below it mean phases more even than chance, dots around it mean no worse than "
    "chance, which is enough: the sum cancels as 1/√N. Only dots far above it would refute the theory.",
    phases.evenness(frame, run.K, k),
    "evenness",
    lambda: rows,
    "Length of the mean of exp(i n phi) of every frequency for n from 1 to 4, against chance",
)

st.subheader("Magnitudes and numbers")
left, right = st.columns(2)
with left:
    spread = {
        layer: float(frame.get(f"cv_{name}", phases.variation(frame[name])))
        for layer, name in (("input", "alpha"), ("output", "beta"))
    }
    ui.show(
        f"Variation: input {spread['input']:.2f}, output {spread['output']:.2f}",
        "The theory takes all magnitudes as equal. A slim waist supports that; the coefficient of variation says how "
        f"far it is off (within a frequency: input {phases.variation_within(frame, 'alpha'):.2f}, output "
        f"{phases.variation_within(frame, 'beta'):.2f}). Dot: median, bar: quartiles.",
        phases.violins(frame),
        "violins",
        lambda: phases.scatter_table(frame),
        f"Distribution of magnitudes; coefficient of variation {spread['input']:.2f} and {spread['output']:.2f}",
    )
with right:
    mean, sd = frame["counts_K"].mean(), frame["counts_K"].std()
    ui.show(
        f"Neurons per frequency: {mean:.1f} ± {sd:.1f}",
        "Dashed: the mean; ± is the standard deviation, which would be about "
        f"{np.sqrt(mean * (1 - 1 / run.K)):.1f} if every neuron drew its frequency at random. A missing bar is a "
        "frequency that nobody serves.",
        phases.counts(frame, k),
        "counts",
        lambda: phases.counts_table(frame),
        f"Neurons of each of the {run.K} frequencies, {mean:.1f} on average",
    )
