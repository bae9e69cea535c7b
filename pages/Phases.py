"""Phases lock at twice each other and spread evenly (figures 4, 5 and 6 of the paper)."""

import numpy as np
import streamlit as st

from modadd import ui
from modadd.analysis import lottery
from modadd.figures import lottery as races
from modadd.figures import neurons, phases
from modadd.figures.chart import together
from modadd.runs import presets_at

p = ui.page("Phases")
ui.head(
    "Phases that lock, and cancel",
    "**Within** a neuron ψ = 2φ; **across** the neurons of one frequency the φ spread evenly.",
    "Within a neuron the output phase becomes twice the input phase, so that its vote peaks at x + y. Across the "
    "neurons of one frequency the phases φ spread evenly, so that everything else cancels.",
)
record = ui.choose_run(p, presets_at(p))
run, log_steps = record.run, ui.log_steps()
held = len(record.frames[-1]["phi"])
SAW = {
    lottery.MOMENTS: "This record saw the whole race at few moments only, joined by straight lines.",
    lottery.LEADER: "Of this neuron the record knows only the frequency in the lead.",
}


def phased(at: int):
    """The nearest moment that holds phases."""
    return record.at(at, "phi", "nearest")


def pick_dot():
    """A click on a dot names the neuron whose race is shown."""
    if dots := st.session_state["scatter"].selection.get("dot"):
        st.session_state["raced"] = int(dots[0]["neuron"])


def body(step: int):
    """Everything that moves with the step."""
    state = st.session_state
    state["raced"] = min(state.get("raced", 0), run.d_mlp - 1)
    now = lambda draw, *more: lambda at: draw(phased(at).frame, *more, phased(at).step)  # noqa: E731
    scatter = lambda at: neurons.phase_scatter(  # noqa: E731
        phased(at).frame, run.K, phased(at).step, state.get("raced"), pick=True
    )
    ui.figure("ψ = 2φ in every neuron · Fig. 4", lambda: scatter(step) | now(neurons.alignment)(step), "phases-aligned")
    ui.row(("scatter", scatter), ("alignment", now(neurons.alignment)), picks={"scatter": pick_dot}, widths=[1, 1.6])
    told = {"within 0.1 rad": ("aligned", ".1%"), "of one frequency in both layers": ("same_frequency", ".1%"),
            "cos D weighted by the vote": ("vote_cos_D", ".4f")}  # fmt: skip
    frame = phased(step).frame
    if whole := [f"{name} {frame[key]:{form}}" for name, (key, form) in told.items() if key in frame]:
        st.caption(f"Of all {run.d_mlp:,} neurons: {', '.join(whole)}.")
    if held < run.d_mlp:
        st.caption(f"This record keeps the phases of {held:,} of its {run.d_mlp:,} neurons: the first ones.")
    race()
    common = int(np.bincount(record.frames[-1]["frequency"]).argmax())
    ui.links.carry("k", f"ring-{run.p}", ui.links.whole(1, run.K))
    k = state.setdefault(f"ring-{run.p}", common)
    ring = lambda n: lambda at: phases.ring(phased(at).frame, run.K, k, n, phased(at).step)  # noqa: E731
    ui.figure(
        f"The phases of frequency {k} cancel · Fig. 5",
        lambda: together("hconcat", *(ring(n)(step) for n in phases.ORDERS)), "phases-rings",
    )  # fmt: skip
    left, right = st.columns([1, 4], vertical_alignment="center")
    left.number_input("Frequency k", 1, run.K, key=f"ring-{run.p}")
    right.markdown(
        f"The phases of all neurons of this frequency, multiplied by n. Arrow: their mean; random phases would give "
        f"about ${phases.RANDOM_TEX}$."
    )
    ui.row(*((f"ring-{n}", ring(n)) for n in phases.ORDERS))
    ui.show(lambda at: phases.evenness(phased(at).frame, run.K, phased(at).step, k), "evenness")
    st.subheader("Magnitudes and numbers · Fig. 6")
    ui.row(
        ("violins", now(phases.violins)),
        ("counts", lambda at: phases.counts(phased(at).frame, phased(at).step, k)),
    )


def race():
    """The race inside one neuron."""
    st.subheader("Who was aligned when")
    left, right = st.columns([1, 4], vertical_alignment="center")
    neuron = left.number_input(f"Race of neuron (0 to {run.d_mlp - 1:,})", 0, run.d_mlp - 1, key="raced")
    if (known := lottery.race(record, neuron)) is None:
        right.info(f"This record follows the first {held:,} neurons through time; choose one of those.")
        return
    seen, how = known
    right.markdown(
        f"Neuron {neuron} keeps k = {races.winner(seen)}. Aligned frequencies grow, growing ones align faster. "
        + SAW.get(how, "")
    )
    ui.row(*((f"race-{what}", lambda at, what=what: races.race(seen, what, at, neuron, log_steps))
             for what in ("beta", "D")))  # fmt: skip


ui.play(body, record)
