"""One modulus at a glance: full data beside held-back data, at any moment of training."""

import streamlit as st

from modadd import preset, ui
from modadd.figures import curves, grids, neurons
from modadd.figures.chart import together
from modadd.records import rows
from modadd.runs import P_GROK

LABELS = {"standard": "All pairs (standard)", "grokking": "Three quarters (grokking)"}

p = ui.page("Overview")
st.title(f"Addition modulo {p}, at a glance")
st.markdown(
    "One network is shown **every** sum; from the other a quarter of them is held out and its weights decay, so "
    "that it "
    "first memorises and only later generalises. Both learn the same: one frequency per neuron, and ψ = 2φ."
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


log_steps = ui.log_steps()
over = {
    name: {
        draw.__name__: draw(record, record.step, log_steps) for draw in (curves.losses, curves.accuracies, curves.iprs)
    }
    for name, record in drawn.items()
}
shown = {name: rows.showcase(record) for name, record in drawn.items()}  # the same neurons at every step


def of_frame(name: str, holding: str | None, draw):
    """A chart of the nearest frame of a run that holds this array, or a sentence where none does."""
    record = drawn[name]
    if record.at(holding=holding) is None:
        return f"The record of the {name} run does not keep what is drawn here."

    def chart(at: int):
        seen = record.at(at, holding, "nearest")
        return draw(name, seen.frame, seen.step)

    return chart


def pair(title: str, key: str, charts: dict):
    """One kind of chart for both runs, side by side, by run."""
    step = st.session_state.get("step")
    whole = [chart(step) if callable(chart) else chart for chart in charts.values() if not isinstance(chart, str)]
    ui.figure(title, lambda: together("hconcat", *whole), key)
    for column, name in zip(st.columns(2), LABELS, strict=True):
        if name in charts:
            with column:
                ui.show(charts[name], f"{key}-{name}")


def body(step: int):
    """Everything that moves with the step."""
    for title, key, what in (
        ("Loss", "loss", "losses"),
        ("Accuracy", "accuracy", "accuracies"),
        ("Sparsity", "ipr", "iprs"),
    ):
        pair(title, key, {name: charts[what].at for name, charts in over.items()})
    pair(
        "Phases",
        "phases",
        {
            name: of_frame(name, "phi", lambda name, frame, at: neurons.phase_scatter(frame, runs[name].K, at))
            for name in drawn
        },
    )
    for layer, held in (("input", "theta_hat"), ("output", "xi_hat")):
        pair(
            f"Fourier spectra, {layer} layer",
            layer,
            {
                name: of_frame(
                    name, held, lambda name, frame, at, layer=layer: neurons.spectra(frame, layer, at, shown[name])
                )
                for name in drawn
            },
        )
    pair(
        "Logits for x = 0",
        "logits",
        {name: of_frame(name, "logits0", lambda name, frame, at: grids.logits0(frame, at)) for name in drawn},
    )


ui.play(body, *drawn.values())
