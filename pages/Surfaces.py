"""The activation of one neuron over all pairs of inputs, as a surface to turn and to take home."""

import numpy as np
import streamlit as st

from modadd import Run, tasks, ui
from modadd.figures import surfaces
from modadd.frames import pre_ln
from modadd.runs import TRANSFORMERS, presets_at

p = ui.page("Surfaces")
ui.head(
    "A neuron is a landscape over all sums",
    "One neuron, asked every pair: noise at first, a few plane waves once trained.",
    f"Give one neuron, in the hidden layer of the MLP or at the last token of a transformer, every pair (x, y) and "
    f"draw what it answers after its activation: {p * p:,} values. At the start they are noise. Once the network has "
    "found its frequencies, the surface is corrugated iron: plane waves of one frequency k along x, along y, and along "
    "x + y and x − y. A trained neuron whose surface is not a few tall waves would refute that.",
)
record = ui.choose_run(p, [*presets_at(p), *TRANSFORMERS], models=("mlp", "transformer", "pre-ln"))
run, step = record.run, ui.player([record])


@st.cache_data(max_entries=2, show_spinner="Running the network over all pairs ...")
def neurons(run_id: str, at: int, layer: int, c: int, _run: Run, _frame) -> np.ndarray:
    """Activations [N, M] of a transformer at a frame with weights."""
    if _run.model == "pre-ln":
        return pre_ln.neurons_over_pairs(_run, pre_ln.weights_of(_frame), layer, c)
    from modadd.analysis import phases

    return phases.opened(_run, _frame)[1]["neurons"].numpy()


def whole(parameter: str, label: str, low: int, high: int, key: str, usual: int) -> int:
    """A whole number that travels in the URL; no question where there is one answer only."""
    if low == high:
        return low
    ui.links.carry(parameter, key, ui.links.whole(low, high))
    st.session_state.setdefault(key, usual)
    return st.number_input(f"{label} ({low} to {high:,})", low, high, key=key)


held, inside = surfaces.kept(record, step), ""
last = record.frames[-1]
if held is None and "maps" not in last:
    st.info("This record holds no weights, so that no neuron can be asked every pair.")
    ui.offer(run, key="train-weights")
    ui.stop()
if held is None:
    st.caption(f"This record keeps the surfaces of {len(last['map_neuron'])} neurons at its last step only.")
    ui.links.carry("neuron", "surface-of-kept", ui.links.one_of(last["map_neuron"].tolist()))
    neuron = st.selectbox("Neuron", last["map_neuron"].tolist(), key="surface-of-kept")
    at, surface = record.frame_steps[-1], last["maps"][last["map_neuron"].tolist().index(neuron)].astype(float)
else:
    at, frame = held
    key, C = f"surface-of-{run.id}", tasks.maps(run)
    first, second, third = st.columns(3)
    with second:
        layer = whole("layer", "Layer", 1, run.layers, f"layer-of-{run.id}", run.layers) - 1
    with third:
        c = whole("c", "Third input c", 0, C - 1, f"c-of-{run.id}", min(1, C - 1))
    with first:
        key += f"-{layer}" * (run.layers > 1)
        neuron = whole("neuron", "Neuron", 0, run.d_mlp - 1, key, surfaces.clearest(frame, run, layer, c))
    inside = f", layer {layer + 1}" * (run.layers > 1) + f", c = {c}" * (C > 1)
    if run.model == "mlp":
        surface = surfaces.of_mlp(frame, run, neuron)
    else:
        surface = neurons(run.id, at, layer, c, run, frame)[:, neuron].reshape(p, p).astype(float)
if step is not None and at != step:
    st.caption(f"This record holds its weights at some steps only: shown is step {at:,}.")

waves, grating = surfaces.waves(surface), surfaces.product_grating(surface)
if not waves:
    st.info(f"Neuron {neuron} gives {surface.flat[0]:.3g} for every pair at step {at:,}: there is nothing to see.")
    ui.stop()
top = waves[0]
with st.container(horizontal=True):
    st.metric("Dominant wave (k, l)", f"({top['k']}, {top['l']})", width="content")
    st.metric("Its share of the power", f"{top['share']:.1%}", width="content")
    st.metric("Product grating, R²", f"{grating['r2']:.3f}", width="content")
    st.metric("Range", f"{surface.min():.3g} to {surface.max():.3g}", width="content")
st.caption(
    "A wave (k, l) is cos(2π(kx + ly)/p + phase); its share is of the power without the constant. The product grating "
    "is the best (g₀ + g₁ cos(wₖx + φ)) (h₀ + h₁ cos(wₖy + ψ)) of one k, a wave in x that opens and shuts a wave in y; "
    f"here k = {grating['k']}, R² about the mean."
)

name = f"neuron {neuron} of {run.id}{inside}, step {at}"
left, right = st.columns(2)
with left:
    st.markdown(f"**Neuron {neuron}{inside} at step {at:,}**, drag to turn")
    st.plotly_chart(surfaces.in_3d(surface), key="surface-3d", alt=f"Surface of the activation of {name}")
with right:
    st.markdown("**The same from above**")
    st.plotly_chart(surfaces.from_above(surface), key="surface-flat", alt=f"Heatmap of the activation of {name}")
st.caption(
    "x, the first input, runs to the right in both; the far end of the colours is large. Ridges along a "
    "diagonal are waves in x + y or x − y."
)
file = f"neuron_{neuron}_{run.id}_step_{at}{inside.replace(', ', '_').replace(' ', '')}"
with st.container(horizontal=True):
    st.download_button("HTML", lambda: surfaces.as_html(surface, name), f"{file}.html", "text/html", on_click="ignore",
                       help="Both views in one page that needs no network, about 5 MB")  # fmt: skip
    st.download_button("JSON", lambda: surfaces.as_json(surface, neuron), f"{file}.json", "application/json",
                       on_click="ignore", help="neuron_index, modulus, surface[x][y]")  # fmt: skip
    st.download_button("CSV", lambda: ui.csv(surfaces.table_of(surface)), f"{file}.csv", "text/csv", on_click="ignore")

st.subheader("Its waves")
st.dataframe(
    [{"k (along x)": w["k"], "l (along y)": w["l"], "amplitude": w["amplitude"], "share of power": w["share"]}
     for w in waves],
    column_config={"share of power": st.column_config.NumberColumn(format="percent")},
)  # fmt: skip
st.caption("(k, 0) and (0, k) are the inputs themselves; (k, k) depends on the sum alone, (k, −k) on the difference.")
