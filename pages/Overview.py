"""One modulus at a glance: full data beside held-back data, at any moment of training."""

from functools import partial

import streamlit as st

from modadd import preset, ui
from modadd.figures import curves, grids, logits, neurons, phases
from modadd.figures.style import table
from modadd.maths import fourier
from modadd.records import rows
from modadd.runs import P_GROK

LABELS = {"standard": "All pairs (standard)", "grokking": "Three quarters (grokking)"}

p = ui.page("Overview")
st.title(f"Addition modulo {p}, at a glance")
st.markdown(
    "On the left the network is shown **every** sum; on the right a quarter of them is held back and weights "
    "decay, so that it first memorises and only later generalises. Move the step and watch both learn the same "
    "thing: one frequency a neuron, and ψ = 2φ."
)
runs = {name: preset(name, p) for name in LABELS if name == "standard" or p >= P_GROK}
runs = ui.with_asked(runs, p)
ui.follow(*(run.id for run in runs.values()))
records = {name: ui.find(run.id).record for name, run in runs.items()}
drawn = {name: record for name, record in records.items() if record and record.frames}

for column, (name, label) in zip(st.columns(2), LABELS.items(), strict=True):
    with column:
        st.markdown(f"#### {label}")
        if name not in runs:
            st.info(f"Grokking is studied from p = {P_GROK} on: below, too few pairs are left to test on.")
        elif name not in drawn:
            ui.offer(runs[name], key=f"train-{name}")
        else:
            ui.stage_line(records[name])
if not drawn:
    st.stop()


@st.cache_resource(max_entries=8, show_spinner=False)
def over_time(run_id: str, until: int, log_steps: bool, _record) -> dict:
    """The charts over all steps, made once; only the moment in them moves."""
    return {draw.__name__: ui.frozen(draw(_record, until, log_steps)) for draw in (curves.losses, curves.iprs)}


log_steps = ui.log_steps()
over = {name: over_time(record.run.id, record.step, log_steps, record) for name, record in drawn.items()}
shown = {name: rows.showcase(record) for name, record in drawn.items()}  # the same neurons at every step


def pair(title: str, look_for: str, key: str, step: int, chart, data=None, holding: str | None = None):
    """One kind of chart for both runs, side by side: `chart` takes the name of a run and the step,
    `data` a frame."""
    st.subheader(title)
    st.caption(look_for)
    for column, name in zip(st.columns(2), LABELS, strict=True):
        if (record := drawn.get(name)) is None:
            continue
        seen = record.at(step, holding, "nearest")
        with column:
            if seen is None:
                st.info(f"The record of this run does not keep its {title.lower()}.")
                continue
            ui.show(
                LABELS[name], "", partial(chart, name), f"{key}-{name}", data and partial(data, seen.frame),
                f"{title} of the {name} run",
            )  # fmt: skip


def spectra_table(held: str, frame):
    """One row a neuron, one column a Fourier mode."""
    return table(**dict(zip(fourier.mode_names(frame[held].shape[1]), frame[held].T, strict=True)))


def body(step: int):
    """Everything that moves with the step."""
    pair(
        "Loss", "Cross-entropy in nats, log axis. The dashed line is the step in view.", "loss", step,
        lambda name, step: over[name]["losses"].at(step),
    )  # fmt: skip
    pair(
        "Sparsity", "IPR near 1 means that each neuron holds a single frequency; at random weights it is 2 / (K + 1).",
        "ipr", step, lambda name, step: over[name]["iprs"].at(step),
    )  # fmt: skip
    pair(
        "Phases", "Each dot is a neuron. On the dashed line the output phase is twice the input phase (mod 2π).",
        "phases", step,
        lambda name, step: neurons.phase_scatter(drawn[name].at(step, None, "nearest").frame, runs[name].K),
        phases.scatter_table,
    )  # fmt: skip
    for layer, held in (("input", "theta_hat"), ("output", "xi_hat")):
        pair(
            f"Fourier spectra, {layer} layer",
            "A row is a neuron, a column a Fourier mode. Trained rows keep one bright pair, the same in both layers.",
            layer, step,
            lambda name, step, layer=layer, held=held: neurons.spectra(
                drawn[name].at(step, held, "nearest").frame, layer, shown[name]
            ),
            partial(spectra_table, held), held,
        )  # fmt: skip
    pair(
        "Logits for x = 0",
        "The diagonal j = y is the right answer; the fainter lines j = 0 and j = 2y are the ghosts of the vote: red "
        "where they tempt, blue where training has pushed them down.",
        "logits", step, lambda name, step: grids.logits0(drawn[name].at(step, "logits0", "nearest").frame),
        lambda frame: logits.row_table(frame["logits0"]), "logits0",
    )  # fmt: skip


ui.play(body, *drawn.values())
