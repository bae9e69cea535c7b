"""One modulus at a glance: full data beside held-back data, at any moment of training."""

import streamlit as st

from modadd import preset, ui
from modadd.figures import curves, grids, neurons
from modadd.runs import P_GROK

p = ui.page("Overview")
st.title(f"Addition modulo {p}, at a glance")
st.markdown(
    "On the left the network is shown **every** sum; on the right a quarter of them is held back and weights "
    "decay, so that it first memorises and only later generalises. Move the step and watch both learn the same "
    "thing: one frequency a neuron, and ψ = 2φ."
)

runs = {name: preset(name, p) for name in ("standard", "grokking") if name == "standard" or p >= P_GROK}
records = {name: ui.find(run.id).record for name, run in runs.items()}
step = ui.player([record for record in records.values() if record and record.frames])


def both(title: str, look_for: str, show):
    """One kind of chart for both runs, side by side, with what to look for."""
    st.subheader(title)
    st.caption(look_for)
    for column, name in zip(st.columns(2), ("standard", "grokking"), strict=True):
        record = records.get(name)
        if record is not None and record.frames:
            with column:
                show(name, record, record.frame(step))


for column, (name, label) in zip(
    st.columns(2), {"standard": "All pairs (standard)", "grokking": "Three quarters (grokking)"}.items(), strict=True
):
    with column:
        st.markdown(f"#### {label}")
        if name not in runs:
            st.info(f"Grokking is studied from p = {P_GROK} on: below, too few pairs are left to test on.")
        elif records[name] is None:
            ui.offer(runs[name], key=f"train-{name}")
        else:
            ui.stage_line(records[name])

if any(record is not None for record in records.values()):
    both(
        "Loss",
        "Cross-entropy in nats, log axis. The dashed line is the step in view.",
        lambda name, record, frame: ui.draw(
            curves.losses(record, step, ui.log_steps()), f"loss-{name}", f"Loss of the {name} run by step"
        ),
    )
    both(
        "Sparsity",
        "IPR near 1 means that each neuron holds a single frequency; at random weights it is 2 / (K + 1).",
        lambda name, record, frame: ui.draw(
            curves.iprs(record, step, ui.log_steps()), f"ipr-{name}", f"IPR of the {name} run by step"
        ),
    )
    both(
        "Phases",
        "Each dot is a neuron. On the dashed line the output phase is twice the input phase (mod 2π).",
        lambda name, record, frame: ui.draw(
            neurons.phase_scatter(frame, record.run.K), f"phases-{name}", f"ψ against 2φ of the {name} run"
        ),
    )
    for layer in ("input", "output"):
        both(
            f"Fourier spectra, {layer} layer",
            "A row is a neuron, a column a Fourier mode. Trained rows keep one bright pair, the same in both layers.",
            lambda name, record, frame, layer=layer: ui.draw(
                neurons.spectra(frame, layer), f"{layer}-{name}", f"Spectra of the {layer} layer of the {name} run"
            ),
        )
    both(
        "Logits for x = 0",
        "The diagonal j = y is the right answer; the fainter lines j = 0 and j = 2y are the ghosts of the vote: red "
        "where they tempt, blue where training has pushed them down.",
        lambda name, record, frame: ui.draw(
            grids.logits0(frame), f"logits-{name}", f"Logits of the {name} run for x = 0"
        ),
    )
