"""Inside the neurons: every weight row is one cosine (figures 2 and 3 of the paper)."""

import streamlit as st

from modadd import ui
from modadd.figures import weights
from modadd.runs import presets_at

p = ui.page("Weights")


def inspect_row():
    """A click on a row of the heatmap names the neuron to inspect."""
    if rows := st.session_state["modes-input"].selection.get("row"):
        st.session_state["inspected"] = int(rows[0]["y"])


st.title("One neuron, one cosine")
st.markdown(
    "A neuron reads its two residues through a row of p weights and answers through another row of p. Nothing "
    "tells it to be periodic, and yet a trained row is nearly a single cosine, **of the same frequency in both "
    "layers**: $\\theta_m[j] \\approx \\alpha\\cos(w_k j + \\varphi)$ and "
    "$\\xi_m[j] \\approx \\beta\\cos(w_k j + \\psi)$ with $w_k = 2\\pi k / p$. Rows with several bright modes, or "
    "layers that peak at different frequencies, would refute it."
)
record = ui.choose_run(p, presets_at(p))
run, step = record.run, ui.player([record])
typed = st.text_input(
    "Neurons", key="typed_neurons", placeholder="20, one a frequency in turn; or numbers such as 0, 5, 17-25"
)
wanted = weights.parse(typed)
if typed.strip() and not wanted:
    st.error("Neurons are numbers and ranges such as 0, 5, 17-25; showing one a frequency in turn.")
frame, at = weights.frame_for(record, step, wanted)
if at != step:
    st.caption(f"This record holds the rows of these neurons at some steps only: shown is step {at:,}.")
neurons = weights.choose(frame, wanted)
if not len(neurons):
    st.info(f"None of these neurons is held, out of 0 to {run.d_mlp - 1:,}: showing one a frequency in turn.")
    neurons = weights.choose(frame)
by = st.segmented_control("Rows sorted by", weights.SORTS, default=weights.SORTS[0], required=True, key="rows_by")
coef = weights.coefficients(frame, neurons)
sort = weights.order(coef, neurons, by)
neurons, coef = neurons[sort], {layer: rows[sort] for layer, rows in coef.items()}

st.subheader(f"Spectra at step {at:,}")
for column, layer in zip(st.columns(2), weights.LAYERS, strict=True):
    with column:
        ui.show(
            f"{layer.capitalize()} layer",
            "A row is a neuron, a column a Fourier mode. Look for one bright cos/sin pair a row, at the same place in "
            "both layers." + (" Click a row to inspect its neuron below." if layer == "input" else ""),
            weights.modes(coef, neurons, layer),
            f"modes-{layer}",
            lambda layer=layer: weights.modes_table(coef, neurons, layer),
            f"Fourier coefficients of {len(neurons)} neurons, {layer} layer, at step {at}",
            inspect_row if layer == "input" else None,
        )
best = {layer: [weights.best_cosine(row) for row in coef[layer]] for layer in weights.LAYERS}
agree = sum(a["k"] == b["k"] for a, b in zip(*best.values(), strict=True))
st.markdown(f"Both layers peak at the same frequency in **{agree} of the {len(neurons)}** neurons shown.")

st.subheader("How good is a single cosine?")
if run.optimizer == "adamw":
    st.markdown(
        f"AdamW moves every weight at about the same pace: by step {at:,} no further than about "
        f"learning rate × steps = {run.lr * at:.3g}. Flat tops near that height are the optimiser's mark, "
        "and the harmonics they bring lower R²."
    )
spread = neurons[[0, len(neurons) // 2, -1]].tolist()
fitted = st.multiselect("Neurons to fit", neurons.tolist(), list(dict.fromkeys(spread)), max_selections=3)
for number, neuron in enumerate(fitted):
    place = neurons.tolist().index(neuron)
    for column, layer in zip(st.columns(2), weights.LAYERS, strict=True):
        fit = best[layer][place]
        with column:
            ui.show(
                f"Neuron {neuron}, {layer}: k = {fit['k']}, R² = {ui.number(fit['r2'], '.3f')}",
                "Dots: the weights. Dashed: the one cosine nearest to them. R² = 1 is a perfect cosine; what is "
                "missing sits in harmonics, or training is not done.",
                weights.cosine_fit(fit, layer),
                f"fit-{layer}-{number}",
                lambda fit=fit: weights.fit_table(fit),
                f"Weights of neuron {neuron}, {layer} layer, and their best cosine, R squared {ui.number(fit['r2'])}",
            )

st.subheader("Neuron inspector")
if st.session_state.get("inspected", int(neurons[0])) >= run.d_mlp:
    del st.session_state["inspected"]
st.session_state.setdefault("inspected", int(neurons[0]))
neuron = st.number_input(f"Neuron (0 to {run.d_mlp - 1:,})", 0, run.d_mlp - 1, key="inspected", persist_state="session")
frame, at = weights.frame_for(record, step, [neuron])
one = weights.coefficients(frame, weights.choose(frame, [neuron]))
if not len(one["input"]):
    st.info(f"Neuron {neuron} is not held by this record, which keeps {len(frame['theta_hat'])} spectra a frame.")
    st.stop()
found = {layer: weights.best_cosine(one[layer][0]) for layer in weights.LAYERS}
k = st.number_input("Frequency k of the circle", 1, run.K, found["input"]["k"], key=f"circle-{run.p}-{neuron}-{at}")
ui.show(
    f"Spectrum of neuron {neuron} at step {at:,}",
    "One tall pair of bars, both at the same k: the neuron has chosen. Several of similar height: it has not yet.",
    weights.spectrum(one, 0),
    "spectrum",
    lambda: weights.spectrum_table(one, 0),
    f"Magnitude of every frequency in both layers of neuron {neuron}",
)
for column, layer in zip(st.columns(2), weights.LAYERS, strict=True):
    with column:
        row = found[layer]["row"]
        ui.show(
            f"{layer.capitalize()} weights on the circle of residues, k = {k}",
            "Residue j stands at angle 2πkj/p; a positive weight pushes it outward, a negative one inward, more weight "
            "makes it larger. At the neuron's own k the dots form one smooth bulge; at any other k they scatter.",
            weights.circle(row, k, layer),
            f"circle-{layer}",
            lambda row=row: weights.circle_table(row, k),
            f"{layer.capitalize()} weights of neuron {neuron} around the circle of residues at frequency {k}",
        )
