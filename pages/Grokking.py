"""Memorise, then generalise: the three stages of grokking, what drives them, and how they depend on p."""

import streamlit as st

from modadd import data, ui
from modadd.analysis import forces
from modadd.figures import grokking
from modadd.maths import measures
from modadd.runs import P_GROK, WARMUP

p = ui.page("Grokking")
st.title("Memorise, then generalise")
if not st.session_state.get("run") and p < P_GROK:
    st.info(f"Grokking is studied from p = {P_GROK} on: at p = {p} too few pairs are left to test on. Move p up.")
    st.stop()
record = ui.choose_run(p, ["grokking"])
run = record.run
share = data.mirrored_share(run)
if share is None:
    st.info(f"The run {run.id} trains on every pair, so that nothing is left to generalise to: open another one.")
    st.stop()

st.markdown(
    f"We train on {run.frac_train:.0%} of the {p * p:,} sums and let the weights decay (λ = {run.weight_decay:g}). The "
    "network first learns by heart what it sees and only later begins to answer what it never saw, in three stages: "
    "**I memorisation** (train accuracy rises), **II generalisation** (test accuracy follows), **III cleanup** (what "
    "only served memory decays). What does the network know in each, and what pushes it on?"
)
ui.links.carry("criterion", "criterion", ui.links.whole(50, 100))
threshold = st.slider("A stage ends when accuracy first reaches (%)", 50, 100, 95, key="criterion") / 100
ends = end1, end2 = measures.stages(record, threshold)
st.markdown(
    f"**Stage I** ends at the first step with train accuracy ≥ {threshold:.0%}: **{ui.not_reached(end1)}**. "
    f"**Stage II** ends at the first step with test accuracy ≥ {threshold:.0%}: **{ui.not_reached(end2)}**."
    + (f" The second is **{end2 / end1:.1f}** times the first." if end1 and end2 else "")
)
st.caption(ui.provenance(record))
goals = {"Step 0": 0, "End of stage I": end1, "End of stage II": end2, "Last step": record.frame_steps[-1]}


@st.cache_resource(max_entries=8, show_spinner=False)
def curves(run_id: str, frames: int, ends: tuple, log_steps: bool, _record) -> dict:
    """The charts over all steps, made once; only the moment in them moves."""
    drawn = (grokking.losses, grokking.accuracies, grokking.alignment, grokking.sparsity, grokking.order,
             grokking.forces)  # fmt: skip
    return {draw.__name__: ui.frozen(draw(_record, ends, _record.step, log_steps)) for draw in drawn}


over_time = curves(run.id, len(record.frames), tuple(ends), ui.log_steps(), record)
history, means = lambda: grokking.history_table(record), lambda: grokking.frame_table(record)


def body(step: int):
    """Everything that moves with the step."""
    st.subheader("Three stages")
    left, right = st.columns(2)
    with left:
        ui.show("Loss", "In nats, log axis. The held-out pairs grow more surprising while the others are memorised.",
                over_time["losses"].at, "grokking-loss", history, "Loss of each group of pairs by step")  # fmt: skip
        ui.show("Misalignment of the phases", "Mean |sin D|: 0 where ψ = 2φ, 2/π at random.",
                over_time["alignment"].at, "grokking-alignment", means, "Mean absolute sine of D by step")  # fmt: skip
    with right:
        ui.show("Accuracy", "Mirrored: test pairs whose mirror (y, x) is trained. Held out: all other test pairs.",
                over_time["accuracies"].at, "grokking-accuracy", history, "Accuracy by step")  # fmt: skip
        ui.show("Sparsity and size", "IPR (left, mean of both layers; 1: one frequency a neuron), norm of all weights "
                "(right).", over_time["sparsity"].at, "grokking-sparsity", means, "IPR and norm by step")  # fmt: skip
    plateau()
    grids(step)
    pairs()
    spectra()
    norm()


def plateau():
    """Why test accuracy waits."""
    st.subheader("Why test accuracy waits on a plateau")
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


def grids(step: int):
    """What is answered right, and how surely, at the step in view."""

    def kept(at: int) -> int:
        """A small record keeps probabilities in some frames only."""
        return record.at(at, "probability", "nearest").step

    def frame(at: int):
        return record.at(at, "probability", "nearest").frame

    cells = lambda: grokking.cells(frame(step), run)  # noqa: E731
    left, right = st.columns(2)
    with left:
        ui.show(f"Answers at step {kept(step):,}", "x down, y across: full colour where the answer is right. Trained: "
                "common (both orders) and rare (this order only). Tested: mirrored and held out.",
                lambda at: grokking.answers(frame(at), run), "grokking-answers", cells,
                "Right and wrong answers to every pair")  # fmt: skip
    with right:
        dots = "; a dot in each cell that is not common" if p <= grokking.DOTS_UP_TO else ""
        of_kind = grokking.mean_probability(frame(step), run).items()
        ui.show(f"Probability of the right answer at step {kept(step):,}",
                f"Mean: {', '.join(f'{name} {value:.3f}' for name, value in of_kind)}{dots}.",
                lambda at: grokking.probability(frame(at), run), "grokking-probability", cells,
                "Probability of the right answer to every pair")  # fmt: skip


def pairs():
    """The order in which pairs are learned."""
    st.subheader("Common pairs first, rare ones later")
    st.markdown(
        "A common pair pulls twice on the same weights, a rare one once. Look for the blue curve to lead while rare "
        "pairs stay at or below guessing; if both rose together, being seen twice would not matter."
    )
    ui.show("Accuracy by kind of pair", "Common, rare and held-out pairs: who leads?",
            over_time["order"].at, "grokking-order", history, "Accuracy of each kind of pair by step")  # fmt: skip
    until = record.step if end1 is None else end1
    moments = dict.fromkeys(record.at(goal, "correct", "nearest").step for goal in (0, until // 2, until))
    for column, at in zip(st.columns(4), (None, *moments), strict=False):
        with column:
            caption = "The pairs, in the colours above" if at is None else f"Answers at step {at:,}"
            ui.draw(grokking.panel(None if at is None else record.at(at).frame, run), f"grokking-panel-{at}", caption)
            st.caption(caption)


def spectra():
    """Fourier spectra at the ends of the stages."""
    st.subheader("From noise to one frequency a neuron")
    st.markdown(
        "Fourier spectra of the same neurons at the frames nearest to the ends of the stages. Look for rows that keep "
        "one cosine-sine pair, the same in both layers, against a ground that fades; memory alone would need no such "
        "order."
    )
    for layer, name in (("input", "ipr_in"), ("output", "ipr_out")):
        for column, (title, goal) in zip(st.columns(3), list(goals.items())[:3], strict=True):
            with column:
                if goal is None or (seen := record.at(goal, "theta_hat", "near")) is None:
                    st.info(f"{title}: " + ("not reached." if goal is None else f"no spectra kept near step {goal:,}."))
                    continue
                caption = f"{title}, {layer} layer: step {seen.step:,}, mean IPR {seen.frame[name]:.2f}"
                ui.draw(grokking.spectra(record, seen.frame, layer), f"grokking-dft-{layer}-{title}", caption)
                st.caption(caption)


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
    ui.show("What moves the norm", "Change of the squared norm of all weights a step, in squared weight, symmetric "
            "log axis.", over_time["forces"].at, "grokking-forces", lambda: grokking.forces_table(record),
            "Change of the squared norm by weight decay and by the loss gradient")  # fmt: skip


ui.film(body, list(record.frame_steps), "step", "Training step", {"Stage I ends": end1, "Stage II ends": end2})


@st.cache_data(ttl=30, max_entries=2, show_spinner=False)
def summaries(folder: str, atlas: str) -> list[dict]:
    """Final numbers of every run of the preset that is here."""
    return [card["summary"] for card in ui.lab().store.cards().values() if card["run"].preset == "grokking"]


st.subheader("Grokking over p")
rows = grokking.over_p(summaries(str(ui.lab().store.folder), str(ui.lab().store.atlas)))
st.markdown(
    f"Every run of the preset that is here, {len(rows)} so far; train more and the picture grows. Stages end at "
    f"{measures.STAGE_ACCURACY:.0%} accuracy here. Round: p is prime; square: composite; open, at the top: not reached."
)
plots = {
    "over-p-ends": ("training step", ["end of stage I", "end of stage II", "plateau stop"], True, None),
    "over-p-gap": ("gap ratio (stage II / stage I)", ["gap ratio"], False, None),
    "over-p-held-out": ("final held-out accuracy", ["held-out accuracy"], False, 1.0),
}
for column, (key, (title, columns, log, top)) in zip(st.columns([2, 1, 1]), plots.items(), strict=True):
    with column:
        chart = grokking.against_p(rows, columns, title, log, top)
        ui.show(title.capitalize(), f"Against p: {', '.join(columns)}.", chart, f"grokking-{key}", lambda: rows,
                f"Against p: {', '.join(columns)}")  # fmt: skip
