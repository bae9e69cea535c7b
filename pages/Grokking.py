"""Memorise, then generalise: the three stages of grokking, what drives them, and how they depend on p."""

from dataclasses import replace

import streamlit as st

from modadd import data, ui
from modadd.analysis import forces, knowing
from modadd.figures import curves, grids, grokking
from modadd.figures import knowing as when
from modadd.figures.chart import together
from modadd.maths import measures
from modadd.runs import P_GROK, WARMUP

p = ui.page("Grokking")
ui.head(
    "Memorise, then generalise",
    "Some sums are held out. The network learns the others by heart, then, much later, the rule.",
)
if not st.session_state.get("run") and p < P_GROK:
    st.info(f"Grokking is studied from p = {P_GROK} on: at p = {p} too few pairs are left to test on. Move p up.")
    ui.stop()
record = ui.choose_run(p, ["grokking"])
run, log_steps = record.run, ui.log_steps()
share = data.mirrored_share(run)
if share is None:
    st.info(f"The run {run.id} trains on every pair, so that nothing is left to generalise to: open another one.")
    ui.stop()
ui.links.carry("criterion", "criterion", ui.links.whole(50, 100))
threshold = st.session_state.setdefault("criterion", round(100 * measures.STAGE_ACCURACY)) / 100
ends = end1, end2 = measures.stages(record, threshold)
MOMENTS = {"Start": 0, "End of stage I": end1, "End of stage II": end2, "End": record.frame_steps[-1]}
drawn = {
    name: make(record, record.step, log_steps, ends)
    for name, make in (
        ("loss", curves.losses), ("alignment", curves.misalignment), ("sparsity", grokking.sparsity),
        ("order", curves.order), ("forces", grokking.forces),
    )
}  # fmt: skip
accuracy = curves.accuracies(record, record.step, log_steps, ends)
drawn["accuracy"] = replace(accuracy, title="Who is right? · Fig. 13")


def near(goal: int | None, holding: str):
    """The moment that stands for this step, or a sentence that says why there is none."""
    if goal is None:
        return "not reached"
    return record.at(goal, holding, "near") or f"this record keeps none near step {goal:,}"


def body(step: int):
    """Everything that moves with the step."""
    seen = record.at(step, "probability", "nearest")
    probability = lambda at: grids.probability(*moment(at), side=230)  # noqa: E731
    ui.row(
        ("grokking-accuracy", drawn["accuracy"].at),
        ("grokking-probability", probability if seen else "This record keeps no probabilities of its answers."),
        widths=[2, 1.1],
    )
    spectra("input")
    st.subheader("The other curves")
    ui.row(*((f"grokking-{name}", drawn[name].at) for name in ("loss", "alignment", "sparsity")))
    plateau()
    learned(step)
    norm()


def moment(at: int):
    """The frame of answers nearest to a step, as the charts of answers take it."""
    seen = record.at(at, "probability", "nearest")
    return seen.frame, run, seen.step


def spectra(layer: str):
    """Fourier spectra at the ends of the stages, all on one scale of colours."""
    name = "theta_hat" if layer == "input" else "xi_hat"
    seen = {title: near(goal, name) for title, goal in MOMENTS.items()}
    held = [one for one in seen.values() if not isinstance(one, str)]
    top = max((float(abs(one.frame[name]).max()) for one in held), default=None)
    shown = {
        title: f"{title}: {one}." if isinstance(one, str) else grokking.spectra(record, *one, layer, top, title)
        for title, one in seen.items()
    }
    charts = [one for one in shown.values() if not isinstance(one, str)]
    ui.figure(
        f"From noise to one frequency per neuron, {layer} layer · Fig. 16", lambda: together("hconcat", *charts),
        f"grokking-spectra-{layer}",
    )  # fmt: skip
    ui.row(*((f"grokking-dft-{layer}-{title}", one) for title, one in shown.items()))


def plateau():
    """Why test accuracy waits."""
    st.subheader("Why test accuracy waits on a plateau · Fig. 13")
    full = measures.first_at_least(record.steps, record.history["train_accuracy"], 1.0)
    then = grokking.at_step(record, record.step if full is None else full)
    st.markdown(
        f"The network adds its two inputs, so (x, y) and (y, x) are one question to it. Of the test pairs "
        f"**{share:.1%}** are mirror images of trained ones and come free with memory: pure memory scores about that "
        f"much, and no generalisation is in it. At step {then['step']:,}, train accuracy {then['train']:.1%}, test "
        f"accuracy was {then['test']:.1%}: mirrored {ui.number(then['rare'], '.1%')}, **held out "
        f"{ui.number(then['held_out'], '.1%')}** (guessing: {1 / p:.1%}). *What would refute it:* mirrored accuracy "
        "that leaves the accuracy on rare training pairs, or held-out accuracy that rises along with train accuracy."
    )


def learned(step: int):
    """The order in which pairs are learned."""
    charts = {"The pairs": grids.pairs(run, 250)}
    until = record.step if end1 is None else end1
    for goal in (0, until // 2, until):
        seen = near(goal, "correct")
        charts[f"Step {goal:,}"] = (
            f"Step {goal:,}: {seen}." if isinstance(seen, str) else grids.answers(seen.frame, run, seen.step, 250)
        )
    whole = [chart for chart in charts.values() if not isinstance(chart, str)]
    ui.figure(
        "Common pairs first, rare ones later · Figs. 14, 15", lambda: together("hconcat", *whole), "grokking-pairs"
    )
    st.markdown(
        "A common pair pulls twice on the same weights, a rare one once. If both rose together, being seen twice would "
        "not matter."
    )
    ui.row(*((f"grokking-panel-{title}", chart) for title, chart in charts.items()))
    seen = record.at(step, "correct", "nearest")
    answers = lambda at: grids.answers(*answered(at), 250)  # noqa: E731
    ui.row(
        ("grokking-order", drawn["order"].at),
        ("grokking-answers", answers if seen else "No answers are kept."),
        widths=[2, 1.1],
    )


def answered(at: int):
    seen = record.at(at, "correct", "nearest")
    return seen.frame, run, seen.step


def norm():
    """What weight decay and the gradient do to the norm."""
    st.subheader("Two forces on the weights")
    st.latex(forces.TEX)
    st.markdown(
        f"Decay takes the share 1 − (1 − ηλ)² of the squared norm at every step (η = {run.lr:g}, during the first "
        f"{WARMUP} steps less); the step along the loss gradient adds to it for as long as a larger network has a "
        f"smaller loss. Here the norm peaks at step **{forces.norm_peak(record):,}**: before it the gradient wins, "
        "after it decay, which then favours whatever gives the same answers with less weight. If decay did not matter, "
        "a run without it would generalise as early. Rows of the history are thinned: a point is the change between "
        "kept rows over the steps between them, and decay's part is exact where rows are one step apart."
    )
    ui.show(drawn["forces"].at, "grokking-forces")
    spectra("output")


ui.film(body, list(record.frame_steps), "step", "Training step", {"Stage I ends": end1, "Stage II ends": end2})

st.subheader("Where the stages end")
left, right = st.columns([2, 1], vertical_alignment="center")
right.slider("A stage ends when accuracy first reaches (%)", 50, 100, key="criterion")
left.markdown(
    f"**Stage I** ends at the first step with train accuracy ≥ {threshold:.0%}: **{ui.not_reached(end1)}**. "
    f"**Stage II** at the first step with test accuracy ≥ {threshold:.0%}: **{ui.not_reached(end2)}**."
    + (f" The second is **{end2 / end1:.1f}** times the first." if end1 and end2 else "")
)
left.caption(ui.provenance(record))


def known():
    """When each pair is known for good, by kind, and which signals lead."""
    st.subheader("When does it know?")
    found = knowing.known(record)
    if found is None:
        st.info("This record keeps no answers.")
        return
    left, right = st.columns([1, 1.3])
    with left:
        ui.show(when.settled(found, record), "grokking-known")
    with right:
        st.dataframe(when.kinds_rows(found, record), hide_index=True)
        st.caption(
            "A mirrored pair is a rare one read backwards, one question to this network, and known at once with it."
        )
        st.dataframe(when.lead_rows(record), hide_index=True)
        st.caption(
            "Half-way: between the first and the last value in this record. Steps ahead of held-out pairs, at least "
            "and at most, from the spacing of frames and rows; below zero: after them. One run: an order, not a cause."
        )


known()


@st.cache_data(ttl=30, max_entries=2, show_spinner=False)
def summaries(folder: str, atlas: str) -> list[dict]:
    """Final numbers of every run of the preset that is here."""
    return [card["summary"] for card in ui.lab().store.cards().values() if card["run"].preset == "grokking"]


st.subheader("Grokking over p")
rows = grokking.over_p(summaries(str(ui.lab().store.folder), str(ui.lab().store.atlas)))
st.markdown(
    f"Every run of the preset that is here, {len(rows)} so far; train more and the picture grows. Stages end at "
    f"{measures.STAGE_ACCURACY:.0%} accuracy here. Round: p is prime; square: composite."
)
ui.row(*((f"grokking-{title}", grokking.against_p(rows, title)) for title in grokking.PLOTS), widths=[2, 1, 1])
