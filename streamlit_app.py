"""Home: the claim, a small run before the visitor's eyes, and the ways in."""

import streamlit as st

from modadd import preset, ui
from modadd.figures import curves, neurons

ui.page("How networks learn to add")
st.title("How does a network learn to add on a clock?")
st.markdown(
    "A network with one hidden layer sees pairs of numbers x and y and must answer (x + y) mod p. Nobody tells it "
    "about waves, yet **every neuron becomes a cosine**: inside each neuron the frequencies race and one wins, the "
    "phases of its two layers lock at ψ = 2φ, and together the neurons vote for the right answer."
)
small = preset("standard", 13, epochs=3000)
if ui.lab().job(small.id) is None and ui.lab().store.where(small.id) is None:
    ui.lab().submit(small, "cpu")
found = ui.find(small.id)


@st.fragment(run_every=ui.TICK if found.live else None)
def first_minute():
    """A run at p = 13, live the first time and from the cache after that."""
    now = ui.find(small.id)
    if found.live and not now.live:
        st.rerun()
    record = now.record
    if record is None or not record.frames:
        st.info("The first network is about to start ...")
        return
    st.progress(min(1.0, record.step / small.epochs), f"p = 13, 512 neurons: step {record.step:,} of {small.epochs:,}")
    left, middle, right = st.columns(3)
    with left:
        st.markdown("**It learns**: accuracy on all sums")
        ui.draw(curves.accuracies(record), "home-accuracy", "Accuracy by training step")
    with middle:
        st.markdown("**It becomes sparse**: one frequency a neuron")
        ui.draw(curves.iprs(record), "home-ipr", "Inverse participation ratio of both layers by step")
    with right:
        st.markdown("**It locks**: ψ meets 2φ")
        ui.draw(neurons.phase_scatter(record.frame(), 6), "home-phases", "ψ against 2φ, a dot a neuron")


first_minute()
if not found.live and st.button("Train it again before my eyes", icon=":material/replay:"):
    ui.lab().forget(small.id)
    ui.lab().store.delete(small.id)
    st.rerun()

st.subheader("The ways in")
ways = {
    "pages/1_Live.py": ("Live", "train any network in this page: choose p and every setting, pause, go on"),
    "pages/2_Overview.py": (
        "Overview",
        "one modulus at a glance, at any step: loss, sparsity, phases, spectra, logits",
    ),
    "pages/3_Runs.py": ("Runs", "everything that was trained, with its settings, numbers and log"),
}
for target, (name, what) in ways.items():
    left, right = st.columns([1, 5], vertical_alignment="center")
    left.page_link(target, label=name, icon=":material/arrow_forward:")
    right.markdown(what)
st.caption(
    "The science: He, Wang, Chen, Yang, On the Mechanism and Dynamics of Modular Addition: Fourier Features, "
    "Lottery Ticket, and Grokking, arXiv:2602.16849."
)
