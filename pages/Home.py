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
        "Build the idea from a single cosine, then train any network yourself, pause it, change it, go on.",
        ("pages/Introduction.py", "pages/Live.py", "pages/Glossary.py"),
    ),
    "You run a lab": (
        "Many trainings at once over any settings, and everything that was trained, with log and provenance.",
        ("pages/Sweeps.py", "pages/Runs.py"),
    ),
}
SMALL = preset("standard", 13, epochs=3000)
TALL = 280  # pixels of a chart; its place is kept while there is none
SOON = 0.1  # seconds between two looks while there is nothing to see yet


def home():
    """The page."""
    ui.page("How networks learn to add", of_p=False)
    found = ui.find(SMALL.id)
    with refusals():
        if found.job is None and not (found.record and found.record.finished):
            ui.lab().submit(SMALL, "cpu", priority=-1)  # first of all: it trains while the page is drawn
            found = ui.find(SMALL.id)
    st.title("How does a network learn to add on a clock?")
    st.markdown(
        "A network with one hidden layer sees pairs of numbers x and y and must answer (x + y) mod p. Nobody tells it "
        "about waves, yet **every neuron becomes a cosine**, and together the neurons vote for the right answer. Watch."
    )
    growing = found.live  # as the page is drawn: the job itself goes on
    watch(growing, begun(found))
    if found.job and found.job.status == "failed":
        st.error(f"{ui.plain(found.job.error, 300)}.")
    again = st.button(
        "Train it again before my eyes", icon=":material/replay:", disabled=growing or not ui.steers(SMALL.id)
    )
    if again:
        with ui.refusals():
            ui.lab().submit(SMALL, "cpu", priority=-1, afresh=True)
            st.rerun()
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
        "It learns.": f"{ui.number(now['train_accuracy'], '.0%')} of the {run.p**2} sums are right; whoever guesses "
        f"gets {1 / run.p:.0%}.",
        "It becomes sparse.": f"Each neuron began as a mix of all {run.K} frequencies (IPR {spread:.2f}) and keeps "
        f"fewer and fewer (IPR {ui.number(now['ipr'], '.2f')}; 1 is a single one).",
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
    left, right = st.columns(2)
    with right:
        said = sentences(record) if record else {"It is about to start.": "Its first step is to come."}
        with st.container(height=235, border=False):
            st.markdown("\n\n".join(f"**{head}** {rest}" for head, rest in said.items()))
        x, y = (
            st.slider(f"Ask it: {name}", 0, SMALL.p - 1, start, key=f"home-{name}")
            for name, start in (("x", 3), ("y", 7))
        )
    with left, st.container(key="home-network"):
        picture = (record and network(record, x, y, theme=st.context.theme.type or "light")) or BLANK
        st.image(picture.svg, width="stretch", alt=picture.says)
        st.caption(
            "The neurons that were loudest on this sum at the start. Lines in: what x and y feed them (dashed: "
            "negative). Hands: 2φ and ψ. Lines out: what a neuron adds to an answer."
        )
    charts = record and {
        "Accuracy": curves.accuracies(record, height=TALL), "Sparsity": curves.iprs(record, height=TALL),
        "Phases": neurons.phase_scatter(record.at().frame, SMALL.K, record.at().step, side=TALL - 30),
    }  # fmt: skip
    titles = {"Accuracy": "Right answers", "Sparsity": "One frequency per neuron", "Phases": "ψ meets 2φ"}
    for (name, title), column in zip(titles.items(), st.columns(3), strict=True):
        with column:
            st.markdown(f"**{title}**")
            with st.container(height=TALL + 90, border=False):
                ui.draw(
                    charts[name] if charts else EMPTY,
                    f"home-{name}",
                    "" if charts else "The place of a chart that is to come.",
                )


def ways():
    """Where to go from here, by who one is."""
    st.subheader("The ways in")
    for row in (list(WAYS)[:2], list(WAYS)[2:]):
        for column, who in zip(st.columns(2), row, strict=True):
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
