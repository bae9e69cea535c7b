"""Inside the neurons: every weight row is one cosine (figures 2 and 3 of the paper)."""

from functools import lru_cache

import streamlit as st

from modadd import ui
from modadd.figures import weights
from modadd.records import rows
from modadd.runs import presets_at

p = ui.page("Weights")
st.title("One neuron, one cosine")
st.markdown(
    "A neuron reads its two residues through a row of p weights and answers through another row of p. Nothing "
    "tells it to be periodic, and yet a trained row is nearly a single cosine, **of the same frequency in both "
    "layers**: $\\theta_m[j] \\approx \\alpha\\cos(w_k j + \\varphi)$ and "
    "$\\xi_m[j] \\approx \\beta\\cos(w_k j + \\psi)$ with $w_k = 2\\pi k / p$. Rows with several bright modes, or "
    "layers that peak at different frequencies, would refute it."
)
record = ui.choose_run(p, presets_at(p))
run = record.run
left, right = st.columns(2)
ui.links.carry("neurons", "typed_neurons", ui.links.words())
ui.links.carry("sort", "rows_by", ui.links.one_of(rows.SORTS))
typed = left.text_input(
    "Neurons", key="typed_neurons", placeholder="20, one a frequency in turn; or numbers such as 0, 5, 17-25"
)
by = right.segmented_control("Rows sorted by", rows.SORTS, default=rows.SORTS[0], required=True, key="rows_by")
if (last := rows.showing(record, None, wanted := rows.parse(typed))) is None:
    st.info("This record holds neither spectra nor weights. A run trained here keeps both.")
    st.stop()
if typed.strip() and not wanted:
    st.error("Neurons are numbers and ranges such as 0, 5, 17-25; showing one a frequency in turn.")
neurons = rows.choose(last.frame, wanted or rows.showcase(record))
if not len(neurons):
    st.info(f"None of these neurons is held, out of 0 to {run.d_mlp - 1:,}: showing one a frequency in turn.")
    neurons = rows.choose(last.frame, rows.showcase(record))
# By what they are at the end, so that a row keeps its place while time passes.
neurons = neurons[rows.order(rows.coefficients(last.frame, neurons), neurons, by)]


def inspect_row():
    """A click on a row of the heatmap names the neuron to inspect."""
    if picked := st.session_state["modes-input"].selection.get("row"):
        st.session_state["inspected"] = int(picked[0]["y"])


@lru_cache(maxsize=4)
def seen(step: int) -> dict:
    """The coefficients of these neurons at the step."""
    return rows.coefficients(rows.showing(record, step, neurons.tolist()).frame, neurons)


def body(step: int):
    """Everything that moves with the step."""
    at = rows.showing(record, step, neurons.tolist()).step
    with st.container():  # a place that stays, so that the charts below keep theirs
        if at != step:
            st.caption(f"This record holds the rows of these neurons at some steps only: shown is step {at:,}.")
    coef = seen(step)
    best = {layer: [rows.best_cosine(row) for row in coef[layer]] for layer in rows.LAYERS}
    agree = sum(a["k"] == b["k"] for a, b in zip(*best.values(), strict=True))

    st.subheader(f"Spectra at step {at:,}: both layers agree in {agree} of {len(neurons)} neurons")
    for column, layer in zip(st.columns(2), rows.LAYERS, strict=True):
        with column:
            ui.show(
                f"{layer.capitalize()} layer",
                "A row is a neuron, a column a Fourier mode. Look for one bright cos/sin pair a row, at the same place "
                "in both layers." + (" Click a row to inspect its neuron below." if layer == "input" else ""),
                lambda at, layer=layer: weights.modes(seen(at), neurons, layer),
                f"modes-{layer}",
                lambda layer=layer: weights.modes_table(coef, neurons, layer),
                f"Fourier coefficients of {len(neurons)} neurons, {layer} layer",
                inspect_row if layer == "input" else None,
            )

    st.subheader("How good is a single cosine?")
    with st.container():
        if run.preset == "imported":
            st.markdown("How this network was trained is not in its weights: only its cosines are judged here.")
        elif run.optimizer == "adamw" and at:
            st.markdown(
                f"AdamW moves every weight at about the same pace: by step {at:,} no further than about "
                f"learning rate × steps = {run.lr * at:.3g}. Flat tops near that height are the optimiser's mark, "
                "and the harmonics they bring lower R²."
            )
    spread = list(dict.fromkeys(neurons[[0, len(neurons) // 2, -1]].tolist()))
    fitted = st.multiselect("Neurons to fit", neurons.tolist(), spread, max_selections=3)
    for number, neuron in enumerate(fitted):
        for column, layer in zip(st.columns(2), rows.LAYERS, strict=True):
            place = neurons.tolist().index(neuron)
            fit = best[layer][place]
            with column:
                ui.show(
                    f"Neuron {neuron}, {layer}: k = {fit['k']}, R² = {ui.number(fit['r2'], '.3f')}",
                    "Dots: the weights. Dashed: the one cosine nearest to them. R² = 1 is a perfect cosine; what is "
                    "missing sits in harmonics, or training is not done.",
                    lambda at, place=place, layer=layer: weights.cosine_fit(
                        rows.best_cosine(seen(at)[layer][place]), layer
                    ),
                    f"fit-{layer}-{number}",
                    lambda fit=fit: weights.fit_table(fit),
                    f"Weights of neuron {neuron}, {layer} layer, and their best cosine",
                )
    inspector(step)


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

    def alone(step: int) -> dict:
        frame = rows.showing(record, step, [neuron]).frame
        return rows.coefficients(frame, rows.choose(frame, [neuron]))

    (at, frame), one = rows.showing(record, step, [neuron]), alone(step)
    if not len(one["input"]):
        st.info(f"This record does not hold neuron {neuron}: it keeps {len(frame['theta_hat'])} spectra a frame.")
        return
    found = {layer: rows.best_cosine(one[layer][0]) for layer in rows.LAYERS}
    own = found["input"]["k"]
    k = right.number_input("Frequency k of the circle", 1, run.K, None, placeholder=f"its own: {own}") or own
    ui.show(
        f"Spectrum of neuron {neuron} at step {at:,}",
        "One tall pair of bars, both at the same k: the neuron has chosen. Several of similar height: it has not yet.",
        lambda at: weights.spectrum(alone(at), 0),
        "spectrum",
        lambda: weights.spectrum_table(one, 0),
        f"Magnitude of every frequency in both layers of neuron {neuron}",
    )
    for column, layer in zip(st.columns(2), rows.LAYERS, strict=True):
        row = found[layer]["row"]
        with column:
            ui.show(
                f"{layer.capitalize()} weights on the circle of residues, k = {k}",
                "Residue j stands at angle 2πkj/p; a positive weight pushes it outward, a negative one inward, more "
                "weight makes it larger. At the neuron's own k the dots form one smooth bulge; at any other they "
                "scatter.",
                lambda at, layer=layer: weights.circle(rows.best_cosine(alone(at)[layer][0])["row"], k, layer),
                f"circle-{layer}",
                lambda row=row: weights.circle_table(row, k),
                f"{layer.capitalize()} weights of neuron {neuron} around the circle of residues",
            )


ui.play(body, record, holding="theta_hat")
