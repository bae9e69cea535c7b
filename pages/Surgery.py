"""Cut, turn and shuffle a trained network, and see at once what it needed."""

import math

import streamlit as st

from modadd import data, ui
from modadd.activations import ACTIVATIONS
from modadd.analysis import causal, surgery
from modadd.figures import surgery as figures
from modadd.maths import ideal, measures
from modadd.runs import presets_at

MOST_VOTES = 100_000_000  # bytes of votes by frequency
p = ui.page("Surgery")


@st.cache_data(max_entries=64, show_spinner="Asking the network every sum ...")
def after(run_id: str, at: int, operations: tuple, _net, _run) -> tuple[surgery.Outcome, float]:
    """Outcome and mean cos D of the network after these operations."""
    net = surgery.operate(_net, operations)
    return surgery.outcome(net, _run), measures.scalars(measures.neurons(net.theta_MP, net.xi_MP))["mean_cos_D"]


@st.cache_data(max_entries=16, show_spinner="Averaging over choices of frequencies ...")
def ablations(p: int) -> tuple[dict, dict, dict]:
    """Section 4.7: by number of frequencies, the same at constant neuron count, and by phase range."""
    most = 500 if p <= 23 else 40
    few = ideal.diversity_by_frequencies(p, most=most)
    return few, ideal.diversity_by_frequencies(p, most=most, constant_width=True), ideal.diversity_by_phase_range(p)


@st.cache_data(max_entries=16, show_spinner="Asking every subset of the frequencies ...")
def needed(run_id: str, at: int, _net, _run) -> tuple[causal.Asked, dict, dict]:
    """The subsets; key frequencies by each rule, and the smallest sufficient subset if there is one; their controls."""
    parts_KNP, used_K = causal.parts(_net), causal.counts(_net) > 0
    asked, sets = causal.subsets(parts_KNP, used_K, _run), causal.rules(_net)
    if (found := causal.smallest(asked)) is not None:
        sets[causal.SMALLEST] = found
    return asked, sets, {name: causal.control(parts_KNP, used_K, key_K, _run) for name, key_K in sets.items()}


def ask_value(name: str, K: int):
    """The widget for what an operation needs to know."""
    if name == "drop a frequency":
        return st.number_input("Frequency k", 1, K, 1, key=f"drop-{K}")
    if name == "keep the strongest frequencies":
        return st.number_input("How many", 1, K, max(1, K // 2), key=f"keep-{K}")
    if name.startswith("rotate"):
        return st.slider("δ (radians)", -math.pi, math.pi, 0.5, 0.05, key="angle")
    if name.startswith("shuffle"):
        return st.number_input("Seed of the shuffle", 0, 999, 0, key="shuffle_seed")
    if name == "swap the activation":
        names = list(ACTIVATIONS)
        return st.selectbox(
            "Activation", names, names.index("abs"), lambda name: ACTIVATIONS[name].label, key="swap_to"
        )
    if name.startswith("prune"):
        return st.slider("Share of the neurons", 0.0, 1.0, 0.5, 0.05, key="share")
    return None


def operating_table(run, at: int, net: surgery.Network):
    """Choose, apply and undo operations; what they did to loss, accuracy and every sum."""
    st.caption(
        f"On the table: the weights of step {at:,}, the nearest to the step in view at which this record holds them."
    )
    operations: list = st.session_state.setdefault(f"operations-{run.id}", [])
    left, right = st.columns([2, 3])
    with left:
        ui.links.carry("operation", "operation", ui.links.one_of(surgery.OPERATIONS))
        name = st.selectbox("Operation", list(surgery.OPERATIONS), key="operation")
        value = ask_value(name, run.K)
        with st.container(horizontal=True):
            st.button("Operate", type="primary", on_click=lambda: operations.append((name, value)))
            st.button("Undo", icon=":material/undo:", disabled=not operations, on_click=operations.pop)
            st.button("Start over", disabled=not operations, on_click=operations.clear)
    states = [after(run.id, at, tuple(operations[:n]), net, run) for n in range(len(operations) + 1)]
    with right:
        st.dataframe(
            figures.account([surgery.describe(operation) for operation in operations], states),
            hide_index=True,
            column_config={"": st.column_config.TextColumn(width="medium")}
            | {name: st.column_config.NumberColumn(format=form) for name, form in figures.FORMATS.items()},
        )
        st.caption("A line per operation, each on top of the last. Loss and accuracy over all p² ordered sums.")
    before, now = states[0][0], states[-1][0]
    with st.container(horizontal=True):
        for group in ("all",) if run.frac_train == 1 else ("all", "train", "test", "held_out"):
            label = group.replace("_", " ") + (" sums" if group == "all" else " pairs")
            for what, was, became, form in (
                ("accuracy", before.accuracy[group], now.accuracy[group], ".1%"),
                ("loss", before.loss[group], now.loss[group], ".3g"),
            ):
                change = f"{became - was:+{form}}" if operations else None
                st.metric(f"{what}, {label}", ui.number(became, form), change,
                          delta_color="inverse" if what == "loss" else "normal")  # fmt: skip
    ui.row(("grid-before", figures.answers(before, run, "Before")), ("grid-after", figures.answers(now, run, "After")))
    st.caption(
        "Look for stripes: sums of equal x − y fail together, because the vote of a frequency is as loud as "
        "cos²(w(x − y)/2)."
    )


def try_activations(run, at: int, net: surgery.Network):
    """The swap test: the trained network with every other activation."""
    st.subheader("Any even function will do")
    st.markdown(
        "A product of two cosines needs a function with an even part: only that makes the sum of two waves beat at "
        "x + y. So a trained network should survive |x| and x² in place of its own activation and die of x and x³. "
        "What is neither may go either way: its odd part is noise to the vote."
    )
    small = len(data.labels(run.p)) * net.theta_MP.size < 1e9
    if st.toggle("Try every activation", small, key=f"swaps-{run.p}"):
        tried = {name: after(run.id, at, (("swap the activation", name),), net, run)[0] for name in ACTIVATIONS}
        ui.show(figures.swaps(tried, run.activation, 1 / run.p), "swaps")


def frequencies(run, at: int, net: surgery.Network):
    """Which frequencies are enough, and which are key: rules and a control."""
    st.subheader("Which frequencies it needs")
    st.markdown(
        "A frequency is kept or taken out with all its neurons, whole: those whose largest wave it is. Key frequencies "
        "are those that the answer needs. *The control:* take out as many others, and the training loss must not move; "
        "if it does, the rule has missed some. Where the keys are more than half of the frequencies, there is none."
    )
    size = 4 * run.K * len(data.labels(run.p)) * run.p
    if size > MOST_VOTES:
        st.caption(
            f"At p = {run.p} the votes of all frequencies would take {size / 1e6:,.0f} MB, too much to ask here."
        )
        return
    if not st.toggle("Ask the subsets", run.K <= causal.EXACT, key=f"subsets-{run.p}"):
        return
    asked, sets, controls = needed(run.id, at, net, run)
    ui.show(figures.subsets(asked), "subsets")
    st.dataframe(
        figures.rules_table(sets, controls), hide_index=True,
        column_config={name: st.column_config.NumberColumn(format=form) for name, form in figures.RULES.items()},
    )  # fmt: skip
    st.caption(
        "Losses in nats, mean over the training pairs; without as many others: mean and largest over every choice "
        f"of them, or {causal.DRAWS} drawn ones. Norm and neurons: above a tenth of the largest; gap: above the "
        "widest gap of the norms, if it is a factor of 2. Overlap: frequencies in both sets over those in either."
    )


def diversity():
    """The ablations of a network that was never trained: fewer frequencies, narrower phases."""
    st.subheader("What diversity is worth")
    st.markdown(
        "No training here: x² neurons of amplitude 1 with evenly spread phases, ψ = 2φ, 128 of them in all, voting"
    )
    st.latex(ideal.ABLATION_TEX)
    q = st.segmented_control(
        "Modulus", sorted({23, p}) if p <= 61 else [23], default=23, required=True, key=f"ablate-{p}"
    )
    few, wide, spans = ablations(q)
    published = figures.PUBLISHED if q == 23 else {}
    ui.row(
        *(
            (
                f"ablation-{key}",
                figures.ablation(
                    figures.ablation_table(curves | ({"published": published[key]} if published else {})),
                    title,
                    axis,
                    why,
                    q,
                ),
            )
            for key, title, axis, curves, why in (
                (
                    "frequencies",
                    "Fewer frequencies",
                    "frequencies in use",
                    {"neurons fall silent": few, "neurons shared": wide},
                    "A frequency left out takes its neurons with it; sharing all 128 among those that stay takes that "
                    "confound away.",
                ),
                (
                    "phases",
                    "Narrower phases",
                    "range of the phases (units of π)",
                    {"all frequencies": spans},
                    "Phases spread over part of the circle only: exp(2iφ) and exp(4iφ) have to cancel, which a wider "
                    "range can do worse than a narrower one.",
                ),
            )
        )
    )
    st.caption(
        "At full diversity the published 7.41e-15 contains the rounding of ln Σ exp f − f; computed exactly it is "
        f"{few[max(few)]:.2e}."
        if q == 23
        else f"Averages over at most 40 choices of frequencies, 128 neurons, p = {q}."
    )


ui.head(
    "What may be cut, and what may not",
    "If the explanation is right, it says what may be cut and what may not.",
    "If the explanation is right, it says what may be cut. Turning every φ by δ and every ψ by 2δ keeps D and should "
    "cost no right answer; turning ψ alone should destroy the answer near δ = π. Shuffling ψ among neurons keeps every "
    "weight's size and every frequency, and should still leave nothing but chance. Frequencies are redundant, neurons "
    "more so. An operation that should be harmless and is not, or the other way round, refutes the explanation.",
)
record = ui.choose_run(p, presets_at(p))
run, step = record.run, ui.player([record])
if held := record.at(step, "theta", "nearest"):
    net, at = surgery.network(held.frame, run), held.step
    operating_table(run, at, net)
    try_activations(run, at, net)
    frequencies(run, at, net)
else:
    ui.offer(run, "train-weights", "is here without its weights, and there is nothing to operate on")
diversity()
