"""Home: a small network that learns while one watches, what is seen, and where to go next."""

import streamlit as st

from modadd import preset, ui
from modadd.figures import curves, neurons
from modadd.figures.network import BLANK, EMPTY, HEIGHT, WIDTH, network
from modadd.ui.lookup import refusals

WAYS = {
    "You do research": (
        "Every claim of the paper with what it expects and what was measured, at every modulus.",
        ("pages/Atlas.py", "pages/Claims.py"),
    ),
    "You teach": (
        "The idea in seven steps, each with a question to predict first, and the film of grokking.",
        ("pages/Introduction.py", "pages/Grokking.py"),
    ),
    "You study": (
        "Build the idea from a single cosine, then train any network yourself, pause it, change it, continue.",
        ("pages/Introduction.py", "pages/Live.py", "pages/Glossary.py"),
    ),
    "You run a lab": (
        "Many trainings at once over any settings, and everything that was trained, with log and provenance.",
        ("pages/Sweeps.py", "pages/Runs.py"),
    ),
}
SMALL = preset("standard", 13, epochs=3000)
TALL = 170  # pixels of a plot; its place is kept while there is none
SOON = 0.1  # seconds between two looks while there is nothing to see yet


def home():
    """The page."""
    ui.page("How networks learn to add", of_p=False)
    found = ui.find(SMALL.id)
    with refusals():
        if found.job is None and not (found.record and found.record.finished):
            ui.lab().submit(SMALL, "cpu", priority=-1)  # first of all: it trains while the page is drawn
            found = ui.find(SMALL.id)
    line = ui.head(
        "How does a network learn to add on a clock?",
        "Nobody tells it about waves, yet **every neuron becomes a cosine**.",
    )
    growing = found.live  # as the page is drawn: the job itself goes on
    can = not growing and ui.steers(SMALL.id)
    if line.button("Watch it train again", icon=":material/replay:", type="primary", disabled=not can):
        with ui.refusals():
            ui.lab().submit(SMALL, "cpu", priority=-1, afresh=True)
            st.rerun()
    watch(growing, begun(found))
    if found.job and found.job.status == "failed":
        st.error(f"{ui.plain(found.job.error, 300)}.")
    ways()


def begun(found) -> bool:
    """Is there a step to be seen?"""
    return found.record is not None and len(found.record.frames) > 0


def watch(growing: bool, seen: bool):
    """The first minute, looked at again while the run grows, and sooner until something is seen of it."""

    def look():
        now = ui.find(SMALL.id)
        first_minute(now.record if begun(now) else None)
        if growing and (not now.live or begun(now) != seen):
            st.rerun()  # the whole page, so that its button and the pace of looking follow

    st.fragment(look, run_every=(ui.TICK if seen else SOON) if growing else None)()


def sentences(record) -> dict[str, str]:
    """What is being seen, in three sentences of computed numbers."""
    first, now, run = record.frames[0], record.summary, record.run
    spread = (float(first["ipr_in"]) + float(first["ipr_out"])) / 2
    return {
        "It learns.": f"{ui.number(now['train_accuracy'], '.0%')} of the {run.p**2} sums are right; guessing gets "
        f"{1 / run.p:.0%}.",
        "It becomes sparse.": f"Each neuron begins as a mix of all {run.K} frequencies and keeps fewer and fewer. The "
        "inverse participation ratio (IPR) measures that: 1 is a single frequency. It began at "
        f"{spread:.2f} and is {ui.number(now['ipr'], '.2f')}.",
        "It locks.": f"The two hands of each neuron meet, ψ = 2φ: mean |sin D| began at "
        f"{float(first['mean_abs_sin_D']):.2f} and is {ui.number(now['mean_abs_sin_D'], '.2f')}.",
    }


def first_minute(record):
    """A run at p = 13, live the first time and from the cache after that; everything keeps its place and size."""
    step = record.step if record else 0
    st.progress(
        min(1.0, step / SMALL.epochs), f"p = {SMALL.p}, {SMALL.d_mlp} neurons: step {step:,} of {SMALL.epochs:,}"
    )
    # A picture has no height before it is loaded, and what is below would jump.
    st.html(f"<style>.st-key-home-network img {{width: 100%; aspect-ratio: {WIDTH} / {HEIGHT}}}</style>")
    left, right = st.columns([5, 7])
    with right:
        said = sentences(record) if record else {"It is about to start.": "Its first step is to come."}
        with st.container(height=165, border=False, key="home-says"):
            st.markdown("\n\n".join(f"**{head}** {rest}" for head, rest in said.items()))
        asks = zip(st.columns(2), (("x", 3), ("y", 7)), strict=True)
        x, y = (place.slider(f"Ask it: {name}", 0, SMALL.p - 1, start, key=f"home-{name}")
                for place, (name, start) in asks)  # fmt: skip
    with left, st.container(key="home-network"):
        picture = (record and network(record, x, y, theme=st.context.theme.type or "light")) or BLANK
        st.image(picture.svg, width="stretch", alt=picture.says)
        st.caption(
            "The neurons that were loudest on this sum at the start. Lines in: what x and y feed them (dashed: "
            "negative). Hands: 2φ and ψ. Lines out: what a neuron adds to an answer."
        )
    at = record and record.at()
    charts = record and {
        "Accuracy": curves.accuracies(record, height=TALL), "Sparsity": curves.iprs(record, height=TALL),
        "Phases": neurons.phase_scatter(at.frame, SMALL.K, at.step, side=TALL),
    }  # fmt: skip
    titles = {"Accuracy": "Right answers", "Sparsity": "One frequency per neuron", "Phases": "ψ meets 2φ"}
    with right:
        places = st.columns([5, 5, 4])
    for (name, title), column in zip(titles.items(), places, strict=True):
        with column:
            st.markdown(f"**{title}**")
            with st.container(height=TALL + 90, border=False):
                says = "" if charts else "The place of a chart that is to come."
                ui.draw(charts[name] if charts else EMPTY, f"home-{name}", says)


def ways():
    """Where to go from here, by who one is."""
    st.subheader("Where to start")
    for column, who in zip(st.columns(4), WAYS, strict=True):
        with column.container(border=True, height="stretch"):
            st.markdown(f"**{who}**\n\n{WAYS[who][0]}")
            with st.container(horizontal=True):
                for target in WAYS[who][1]:
                    name, icon = ui.PAGES[target]
                    st.page_link(target, label=name, icon=icon)
    st.caption(
        "The science: He, Wang, Chen, Yang, On the Mechanism and Dynamics of Modular Addition: Fourier Features, "
        "Lottery Ticket, and Grokking, arXiv:2602.16849."
    )


home()
