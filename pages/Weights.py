"""Inside the neurons: every weight row is one cosine (figures 2 and 3 of the paper)."""

from functools import lru_cache, partial

import streamlit as st

from modadd import ui
from modadd.figures import weights
from modadd.records import rows
from modadd.runs import presets_at

p = ui.page("Weights")
line = ui.head(
    "One neuron, one cosine",
    "A trained row of weights is nearly one cosine, **of the same frequency in both layers**.",
    "A neuron reads its two residues through a row of p weights and answers through another. Nothing tells it to be "
    "periodic. Rows with several bright modes, or layers that peak at different frequencies, would refute the "
    "claim.",
)
record = ui.choose_run(p, presets_at(p))
run = record.run
ui.links.carry("neurons", "typed_neurons", ui.links.words())
ui.links.carry("sort", "rows_by", ui.links.one_of(rows.SORTS))
with line, st.popover("Choose neurons", icon=":material/tune:"):
    typed = st.text_input(
        "Neurons", key="typed_neurons", placeholder="20, one per frequency in turn; or numbers such as 0, 5, 17-25"
    )
    by = st.segmented_control("Rows sorted by", rows.SORTS, default=rows.SORTS[0], required=True, key="rows_by")
if (last := rows.showing(record, None, wanted := rows.parse(typed))) is None:
    st.info("This record holds neither spectra nor weights. A run trained here keeps both.")
    ui.offer(run, key="train-weights")
    ui.stop()
if typed.strip() and not wanted:
    st.error("Neurons are numbers and ranges such as 0, 5, 17-25; showing one per frequency in turn.")
neurons = rows.choose(last.frame, wanted or rows.showcase(record))
if not len(neurons):
    st.info(f"None of these neurons is held, out of 0 to {run.d_mlp - 1:,}: showing one per frequency in turn.")
    neurons = rows.choose(last.frame, rows.showcase(record))
# By what they are at the end, so that a row keeps its place while time passes.
neurons = neurons[rows.order(rows.coefficients(last.frame, neurons), neurons, by)]


def inspect_row():
    """A click on a row of the heatmap names the neuron to inspect."""
    if picked := st.session_state["modes-input"].selection.get("row"):
        st.session_state["inspected"] = int(picked[0]["row"])


@lru_cache(maxsize=4)
def seen(step: int) -> dict:
    """The coefficients of these neurons at the step, and the step that they are of."""
    moment = rows.showing(record, step, neurons.tolist())
    return rows.coefficients(moment.frame, neurons) | {"step": moment.step}


def body(step: int):
    """Everything that moves with the step."""
    both = lambda at: max(float(abs(seen(at)[layer]).max()) for layer in rows.LAYERS)  # noqa: E731
    modes = lambda layer: lambda at: weights.modes(seen(at), neurons, layer, seen(at)["step"], both(at))  # noqa: E731
    best = {layer: [rows.best_cosine(row) for row in seen(step)[layer]] for layer in rows.LAYERS}
    agree = sum(a["k"] == b["k"] for a, b in zip(*best.values(), strict=True))
    ui.figure(
        f"Both layers keep the same frequency in {agree} of {len(neurons)} neurons · Fig. 2",
        lambda: modes("input")(step) | modes("output")(step), "weights-modes",
    )  # fmt: skip
    ui.row(*((f"modes-{layer}", modes(layer)) for layer in rows.LAYERS), picks={"modes-input": inspect_row})
    cosines(step)
    inspector(step)


def cosines(step: int):
    """Rows of weights and their best cosines."""
    st.subheader("How good is a single cosine? · Fig. 3")
    if run.preset == "imported":
        st.markdown("How this network was trained is not in its weights: only its cosines are judged here.")
    elif run.optimizer == "adamw" and step:
        st.markdown(
            f"AdamW moves every weight at about the same pace: by step {step:,} no further than about "
            f"learning rate × steps = {run.lr * step:.3g}. Flat tops near that height are the optimiser's mark, "
            "and the harmonics they bring lower R²."
        )
    spread = list(dict.fromkeys(neurons[[0, len(neurons) // 2, -1]].tolist()))
    for number, neuron in enumerate(st.multiselect("Neurons to fit", neurons.tolist(), spread, max_selections=3)):
        place = neurons.tolist().index(neuron)
        ui.row(*((f"fit-{layer}-{number}", partial(fit, layer, place)) for layer in rows.LAYERS))


def fit(layer: str, place: int, at: int):
    """The weights of one of the shown neurons and their best cosine."""
    best = rows.best_cosine(seen(at)[layer][place])
    return weights.cosine_fit(best, layer, int(neurons[place]), seen(at)["step"])


def inspector(step: int):
    """One neuron in full: its spectrum, and its weights around the circle of residues."""
    st.subheader("Neuron inspector")
    ui.links.carry("neuron", "inspected", ui.links.whole(0, run.d_mlp - 1))
    if st.session_state.setdefault("inspected", int(neurons[0])) >= run.d_mlp:
        st.session_state["inspected"] = int(neurons[0])
    left, right = st.columns(2)
    neuron = left.number_input(
        f"Neuron (0 to {run.d_mlp - 1:,})", 0, run.d_mlp - 1, key="inspected", persist_state="session"
    )

    def alone(at: int) -> dict:
        moment = rows.showing(record, at, [neuron])
        one = rows.coefficients(moment.frame, rows.choose(moment.frame, [neuron]))
        return one | {"step": moment.step}

    if not len(alone(step)["input"]):
        spectra = record.at(holding="theta_hat").frame["theta_hat"]
        st.info(f"This record does not hold neuron {neuron}: it keeps {len(spectra)} spectra per frame.")
        ui.offer(run, key="train-neuron")
        return
    own = rows.best_cosine(alone(step)["input"][0])["k"]
    k = right.number_input("Frequency k of the circle", 1, run.K, None, placeholder=f"its own: {own}") or own
    ui.show(lambda at: weights.spectrum(alone(at), 0, neuron, alone(at)["step"]), "spectrum")

    def circle(layer: str, at: int):
        row = rows.best_cosine(alone(at)[layer][0])["row"]
        return weights.circle(row, k, layer, neuron, alone(at)["step"])

    ui.row(*((f"circle-{layer}", partial(circle, layer)) for layer in rows.LAYERS))


ui.play(body, record, holding="theta_hat")
