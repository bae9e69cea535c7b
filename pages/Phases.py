"""Phases lock at twice each other and spread evenly (figures 4, 5 and 6 of the paper)."""

import numpy as np
import streamlit as st

from modadd import ui
from modadd.analysis import lottery
from modadd.figures import neurons, phases
from modadd.runs import presets_at

p = ui.page("Phases")
st.title("Phases that lock, and cancel")
st.markdown(
    "Each neuron is left with a frequency and two phases, φ going in and ψ coming out. Two things make them add: "
    "**within** a neuron ψ = 2φ, so that its vote peaks at x + y; **across** the neurons of one frequency the φ "
    "spread around the circle, so that everything that depends on φ cancels in the sum and only the vote is left. "
    "Dots off the line, or phases that bunch up, would refute it."
)
record = ui.choose_run(p, presets_at(p))
run, log_steps = record.run, ui.log_steps()
held = len(record.frames[-1]["phi"])
if held < run.d_mlp:
    st.caption(f"This record keeps the phases of {held:,} of its {run.d_mlp:,} neurons: the first ones.")
SAW = {
    lottery.MOMENTS: "This record saw the whole race at few moments only, joined by straight lines.",
    lottery.LEADER: "Of this neuron the record knows only the frequency in the lead.",
}


def phased(step: int):
    """The frame nearest to the step that holds phases."""
    return record.at(step, "phi", "nearest").frame


def pick_dot():
    """A click on a dot names the neuron whose race is opened."""
    if dots := st.session_state["scatter"].selection.get("dot"):
        st.session_state["raced"] = st.session_state["phases-opened"] = int(dots[0]["neuron"])


def body(step: int):
    """Everything that moves with the step."""
    if (opened := st.session_state.pop("phases-opened", None)) is not None:
        st.session_state["neuron"] = opened
        st.switch_page("pages/Lottery.py", query_params={"run": run.id, "p": str(p)})
    frame = phased(step)
    st.subheader("Twice the phase")
    left, right = st.columns([3, 2])
    with left:
        within(frame)
    with right:
        race()
    st.subheader("Phases that cancel")
    common = int(np.bincount(record.frames[-1]["frequency"]).argmax())
    ui.links.carry("k", f"ring-{run.p}", ui.links.whole(1, run.K))
    k = st.number_input("Frequency k", 1, run.K, common, key=f"ring-{run.p}")
    across(frame, k)
    st.subheader("Magnitudes and numbers")
    magnitudes(frame, k)


def within(frame):
    """psi against 2 phi."""
    D = 2 * frame["phi"].astype(float) - frame["psi"]
    ui.show(
        f"Mean cos D = {np.cos(D).mean():.3f}, |sin D| = {np.abs(np.sin(D)).mean():.3f}",
        "On the dashed line D = 2φ − ψ is 0 (both axes wrap around at 2π). Before training the dots fill the square: "
        "mean cos D = 0 and mean |sin D| = 2/π. Click a dot to open the race inside its neuron.",
        lambda at: neurons.phase_scatter(phased(at), run.K, st.session_state.get("raced"), height=380, pick=True),
        "scatter",
        lambda: phases.scatter_table(frame),
        f"Output phase against twice the input phase of {held} neurons",
        pick_dot,
    )


def race():
    """The race inside one neuron, beside the dots."""
    st.session_state["raced"] = min(st.session_state.get("raced", 0), run.d_mlp - 1)
    neuron = st.number_input(f"Race of neuron (0 to {run.d_mlp - 1:,})", 0, run.d_mlp - 1, key="raced")
    if (known := lottery.race(record, neuron)) is None:
        st.info(f"This record follows the first {held:,} neurons through time; choose one of those.")
        return
    seen, how = known
    if how in SAW:
        st.caption(SAW[how])
    for key, title, look_for, chart in (
        ("magnitude", f"Neuron {neuron}: k = {neurons.winner(seen)} wins",
         "Output magnitude β_k of every frequency; the one that leads the input layer at the end in red.",
         lambda at: neurons.race_magnitude(seen, "output", log_steps, at)),
        ("misalignment", "Who was aligned when",
         "|D_k| in units of π: aligned frequencies grow, growing ones align faster.",
         lambda at: neurons.race_misalignment(seen, log_steps, at)),
    ):  # fmt: skip
        ui.show(title, look_for, chart, f"race-{key}", lambda: phases.race_table(seen),
                f"Output {key} of all frequencies of neuron {neuron} by step")  # fmt: skip


def across(frame, k: int):
    """Rings of n phi of one frequency, and all frequencies against chance."""
    count = int((frame["frequency"] == k).sum())
    chance = phases.expected(count)
    st.markdown(
        f"{count} of the {frame['counts_K'][k - 1]} neurons of frequency {k}, their phases multiplied by n. The red "
        f"arrow is the mean; its length would be about **{ui.number(chance, '.3f')}** for random phases:"
    )
    st.latex(phases.RANDOM_TEX)
    for column, n in zip(st.columns(4), phases.ORDERS, strict=True):
        length = abs(phases.resultant(frame, k, n))
        with column:
            ui.show(
                f"n = {n}: {ui.number(length if count else None, '.3f')}",
                f"{'below' if length < chance else 'above'} chance" if count else "no neuron here",
                lambda at, n=n: phases.ring(phased(at), k, n),
                f"ring-{n}",
                lambda n=n: phases.ring_table(frame, k, n),
                f"{n} times the input phase of the neurons of frequency {k}",
            )
    table = phases.evenness_table(frame, run.K)
    below = float(np.mean(np.array(table["value"]) < np.array(table["random"]))) if len(table) else 0.0
    ui.show(
        f"{below:.0%} of all means are below chance",
        "Dashed: random phases. Dots far below it mean phases more even than chance, dots around it mean no worse than "
        "chance, which is enough: the sum cancels as 1/√N. Only dots far above it would refute the theory.",
        lambda at: phases.evenness(phases.evenness_table(phased(at), run.K), run.K, k),
        "evenness",
        lambda: table,
        "Length of the mean of exp(i n phi) of every frequency for n from 1 to 4, against chance",
    )


def magnitudes(frame, k: int):
    """How equal the magnitudes are, and how many neurons serve each frequency."""
    left, right = st.columns(2)
    with left:
        spread = phases.variations(frame)
        ui.show(
            f"Variation: input {spread['alpha']:.2f}, output {spread['beta']:.2f}",
            "The theory takes all magnitudes as equal. A slim waist supports that; the coefficient of variation says "
            f"how far it is off (within a frequency: input {phases.variation_within(frame, 'alpha'):.2f}, output "
            f"{phases.variation_within(frame, 'beta'):.2f}). Dot: median, bar: quartiles.",
            lambda at: phases.violins(phased(at)),
            "violins",
            lambda: phases.scatter_table(frame),
            "Distribution of the input and output magnitudes of the neurons",
        )
    with right:
        mean, sd = frame["counts_K"].mean(), frame["counts_K"].std()
        ui.show(
            f"Neurons per frequency: {mean:.1f} ± {sd:.1f}",
            "Dashed: the mean; ± is the standard deviation, which would be about "
            f"{np.sqrt(mean * (1 - 1 / run.K)):.1f} if every neuron drew its frequency at random. A missing bar is a "
            "frequency that nobody serves.",
            lambda at: phases.counts(phased(at), k),
            "counts",
            lambda: phases.counts_table(frame),
            f"Neurons of each of the {run.K} frequencies, {mean:.1f} on average",
        )


ui.play(body, record)
