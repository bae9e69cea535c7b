"""Other tasks for a transformer: addition, a power of a sum, three summands; watched, mapped and opened up."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import streamlit as st

from modadd import Run, tasks, ui
from modadd.analysis import solved
from modadd.figures import tasks as draw
from modadd.frames import pre_ln as measures
from modadd.runs import BOUNDS, preset

NAMES = {"addition": "a + b", "addpow": "(a + b)ᶜ", "add3": "a + b + c"}
SETTINGS = {
    "layers": "Layers", "d_model": "Width d_model", "heads": "Heads", "batch": "Examples a step (0: all)",
    "lr": "Learning rate", "weight_decay": "Weight decay", "frac_train": "Share of examples trained on",
}  # fmt: skip

p = ui.page("Tasks")
st.title("The same trick on harder questions")
opened = ui.asked_run(p)
if opened is not None and opened.model != "pre-ln":
    opened = None
elif opened is not None and st.session_state.get("task-opened") != opened.id:
    st.session_state["task-opened"], st.session_state["task"] = opened.id, opened.task
leave = lambda: ui.open_run(None)  # noqa: E731
st.session_state.setdefault("task", "addition")
ui.links.carry("task", "task", ui.links.one_of(NAMES))
task = st.segmented_control("Task, modulo p", NAMES, format_func=NAMES.get, required=True, key="task", on_change=leave)


def described() -> Run:
    """The run that the settings describe; where it is not one, a sentence and the end."""
    base, chosen = preset(task, p), {}

    def number(field, label, **how):
        low, high = BOUNDS[field]
        form = {} if isinstance(low, int) else {"format": "%.6g", "step": None}
        chosen[field] = st.number_input(
            label, low, high, getattr(base, field), key=f"task-{field}-{task}", on_change=leave, **form, **how
        )

    with st.popover("Settings", icon=":material/tune:"):
        number("seed", "Seed")
        number("epochs", "Training steps", step=1000)
        with st.expander("Every setting"):
            for field, label in SETTINGS.items():
                number(field, label)
    try:
        return replace(base, d_mlp=None, **chosen)
    except ValueError as error:
        st.error(f"{error}.")
        ui.stop()


wanted = described()
run = opened or wanted
st.markdown(
    f"A transformer of {run.layers} pre-LN layer{'s' * (run.layers > 1)} and {run.weights:,} weights reads the tokens "
    f"{', '.join('abc'[: tasks.length(run)])} and answers at the last. It trains on {run.frac_train:.0%} of the "
    f"{tasks.count(run):,} questions, drawn evenly; **{1 - run.frac_train:.0%} are held out**, and only those count. "
    + (f"The exponent c runs from 0 to {tasks.maps(run) - 1}, and 0⁰ = 1. " if run.task == "addpow" else "")
    + f"The most common answer {'for each c ' * (run.task != 'addition')}is right in "
    f"{measures.constant_accuracy(run):.1%} of all cases: that much is free."
)
found = ui.find(run.id)
live = found.live
if found.record is None and not live:
    st.info(f"**{run.id}** has not been trained here. {ui.price(run)}")
    if st.button("Train it", type="primary", icon=":material/play_arrow:"):
        with ui.refusals():
            ui.lab().submit(run)
            ui.open_run(run.id)
            st.rerun()
    ui.stop()


def learning(record, step=None):
    """Curves over training, accuracy for each c and the maps of errors; of a live run its latest, without a step."""
    if record is None or (seen := record.at(step, "answers", "nearest")) is None:
        st.info("The first frame is on its way." if live else "This record holds no answers of its network.")
        return
    frame = lambda at: record.at(at, "answers", "nearest").frame  # noqa: E731
    st.markdown(
        f"Solved, every test example right for {solved.SUSTAINED:,} steps on end: "
        f"**{ui.not_reached(solved.solved_at(record))}**. At the last look test accuracy is "
        f"**{ui.number(solved.latest(record, 'test_accuracy'), '.2%')}**, and held out, where no reordering of the "
        f"question was trained either, {ui.number(solved.latest(record, 'held_out_accuracy'), '.2%')}."
    )
    at, log_steps = seen.step, ui.log_steps()
    until = None if step is None else record.step
    curves = {what: draw.history(record, what, until, log_steps) for what in ("loss", "accuracy")}
    ui.row(*((what, chart if step is None else chart.at) for what, chart in curves.items()))
    if tasks.maps(run) > 1:
        moment = lambda at: record.at(at, "answers", "nearest").step  # noqa: E731
        ui.row(("by-c", lambda at: draw.by_map(frame(at), run, moment(at))), ("collapse", draw.collapse(record)))

    st.subheader(f"Where it errs at step {at:,}")
    st.markdown(
        "Every pair (a, b), a down and b across: orange where a test answer is wrong, blue where a trained one is, "
        f"grey where it is right. Answers are hues, 0 to {p - 1} once around the colour circle: a sum shows stripes."
    )
    shown = tasks.shown_maps(run).tolist()
    says = lambda at, c: measures.answers_at(frame(at), run, c)  # noqa: E731
    moment = lambda at: record.at(at, "answers", "nearest").step  # noqa: E731
    errors = lambda c: (f"errors-{c}", lambda at: draw.errors(says(at, c), run, c, moment(at)))  # noqa: E731
    if len(shown) > 1:
        ui.row(*map(errors, shown), abreast=3)
    c = st.select_slider("c of the tables", shown, key=f"c-{task}-{p}") if len(shown) > 1 else 0
    question = f"{NAMES[run.task]} mod {p}" + (f", c = {c}" if len(shown) > 1 else "")
    ui.row(
        *([errors(0)] if len(shown) == 1 else []),
        ("table-network", lambda at: draw.answers(
            says(at, c), run, c, f"The network's answers at step {moment(at):,}", question)),
        ("table-right", draw.answers(tasks.truth(run)[c], run, c, "The right answers", question)),
    )  # fmt: skip


def inside(record, step=None):
    """The embedding, the neurons along a path and who reads whom, from the weights of a frame."""
    held = record and record.at(step, "weights/W_E", "nearest")
    if not held:
        if not live:
            st.info("This record holds no weights, so that its network cannot be opened: train it here for that.")
        return
    at, frame = held
    w = measures.weights_of(frame)
    st.subheader(f"Inside, at step {at:,}")
    st.markdown(
        f"**The embedding.** Each of the {p} tokens is a row of {run.d_model} numbers. If the network thinks in waves, "
        "few frequencies hold the variance, two residues are alike by their difference only, and residues lie on "
        "rings, their hues, in the order of k·a mod p, once around."
    )
    embed, power = w["W_E"], frame["embed_power"]
    purest = measures.purest(embed, 4, int(power.argmax()) + 1)
    ui.row(("spectrum", draw.spectrum(power, at)), ("similarity", draw.similarity(embed, frame["circulant"], at)))
    shares = [" and ".join(f"{share:.0%}" for share in frame["pca_share"][i : i + 2]) for i in (0, 2)]
    pairs = [(f"pca-{i}", portrait(frame["pca"], i, i + 1, "component", f"{shares[i // 2]} of the variance."))
             for i in range(0, frame["pca"].shape[1] - 1, 2)]  # fmt: skip
    if len(purest) > 1:
        z = measures.z_scored(embed)
        pairs.append(("dimensions", portrait(z, *purest[:2].tolist(), "dimension", "Z-scores of the first two.")))
    ui.row(*pairs, abreast=3)
    ui.show(gallery("dimension", embed, purest, "residue"), "traces-dimension")

    st.markdown(
        "**The neurons** at the last token, along the path a = 0 .. p − 1 with the other inputs fixed: the purest "
        "ones, whose strongest wave has the largest share in the sum of all, whatever its amplitude; of one frequency, "
        "those with phases apart."
    )
    with st.container(horizontal=True):
        layer = st.number_input("Layer", 1, run.layers, run.layers, key=f"layer-{run.layers}") - 1
        b = st.number_input("b of the path", 0, p - 1, 0, key=f"path-b-{p}")
        last = tasks.maps(run) - 1
        c = st.number_input("c of the path", 0, last, 1, key=f"path-c-{p}-{task}") if last else 0
        curves = measures.read(run, w, measures.path(run, b, c))["neurons"][layer]
        ranked = measures.common_frequencies(curves)
        k = st.selectbox("Frequency", ["any", *ranked], index=min(1, len(ranked)), key=f"path-k-{p}")
    chosen = measures.purest(curves, 4, None if k == "any" else k)
    ui.show(gallery("neuron", curves, chosen, "a"), "traces-neuron")
    z = measures.z_scored(curves)
    told = lambda m, n: f"Z-scores, phases {measures.apart(curves, m, n) / np.pi:.2f}π apart."  # noqa: E731
    ui.row(*((f"neurons-{place}", portrait(z, m, n, "neuron", told(m, n)))
             for place, (m, n) in enumerate(list(combinations(chosen.tolist(), 2))[:6])), abreast=3)  # fmt: skip

    st.markdown("**Who reads whom**, for one question:")
    inputs = dict(zip("abc", (p, p, tasks.maps(run)), strict=True))
    names = list("abc"[: tasks.length(run)])
    with st.container(horizontal=True):
        token = [st.number_input(n, 0, inputs[n] - 1, 1, key=f"ask-{n}-{inputs[n]}") for n in names]
    out = measures.read(run, w, np.array([token]))
    st.markdown(f"The network says **{out['logits'][0].argmax()}**; the right answer is {tasks.answer(run, token)}.")
    ui.row(*((f"attention-{layer}", draw.attention(out["attention"][layer, 0], names, layer + 1))
             for layer in range(run.layers)))  # fmt: skip


def gallery(what: str, curves_PM, chosen, x_title: str):
    """The chosen columns as curves, z-scored."""
    if not len(chosen):
        return f"No {what} moves with such a frequency here."
    return draw.traces(curves_PM, chosen, x_title, what)


def portrait(curves_PM, m: int, n: int, what: str, caption: str):
    """Two columns against each other around the clock of the first one's frequency."""
    k = int(measures.waves(curves_PM[:, [m]])["frequency"][0])
    from_1 = what == "component"
    titles = [f"{what} {i + from_1}" for i in (m, n)]
    return draw.pair(
        curves_PM[:, m], curves_PM[:, n], k, titles, f"{what.capitalize()}s {m + from_1} and {n + from_1}", caption
    )


if live:

    @st.fragment(run_every=ui.TICK)
    def watch():
        now = ui.find(run.id)
        if not now.live:
            st.rerun()  # the whole page, which then can be played
        ui.status(run.id, now)
        learning(now.record)

    @st.fragment(run_every=6 * ui.TICK)
    def open_up():
        inside(ui.find(run.id).record)

    watch()
    open_up()
else:
    record = found.record
    ui.status(run.id, found)
    ui.play(lambda step: learning(record, step), record, holding="answers")
    held = record.series("weights/W_E")[0].tolist()
    ui.film(lambda step: inside(record, step), held, "weights-step", "Training step, of those with weights")
    st.caption(f"Run {run.id}, {ui.provenance(record)}.")
