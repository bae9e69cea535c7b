"""One modulus at a glance: full data beside held-out data, at any moment of training."""

from dataclasses import replace

import streamlit as st

from modadd import preset, ui
from modadd.figures import curves, grids, neurons
from modadd.figures.chart import together
from modadd.records import rows
from modadd.runs import P_GROK

LABELS = {"standard": "all pairs", "grokking": "grokking"}
SIDE = 220  # pixels of a square plot

p = ui.page("Overview")
ui.head(
    f"Addition modulo {p} at a glance",
    "Two ways to learn the same table. Drag the step; phases, logits and spectra are below.",
    "One network is shown **every** sum; from the other a quarter of them is held out and its weights decay, so that "
    "it first memorises and only later generalises. Both learn the same: one frequency per neuron, and ψ = 2φ.",
)
runs = {name: preset(name, p) for name in LABELS if name == "standard" or p >= P_GROK}
runs = ui.with_asked(runs, p)
ui.follow(*(run.id for run in runs.values()))
records = {name: ui.find(run.id).record for name, run in runs.items()}
drawn = {name: record for name, record in records.items() if record and record.frames}

if p < P_GROK and "grokking" not in runs:
    st.caption(f"Grokking is studied from p = {P_GROK} on: below, too few pairs are left to test on.")
for name in runs:
    if name not in drawn:
        ui.offer(runs[name], key=f"train-{name}")
if not drawn:
    ui.stop()


def named(name: str, chart):
    """A chart of one of the runs, with which one in its title."""
    return replace(chart, title=f"{chart.title}, {LABELS[name]}")


def over_time(name: str, draw):
    """A chart over all steps, made once; only the moment in it moves."""
    return named(name, draw(drawn[name], drawn[name].step, ui.log_steps())).at


def of_frame(name: str, holding: str, draw):
    """A chart of the nearest frame of a run that holds this array, or a sentence where none does."""
    record = drawn[name]
    if record.at(holding=holding) is None:
        return f"The record of the {name} run does not keep what is drawn here."

    def chart(at: int):
        seen = record.at(at, holding, "nearest")
        return named(name, draw(seen.frame, seen.step))

    return chart


def row(**charts):
    """Charts of each run beside each other: for each key a function that makes it of a run."""
    ui.row(*((f"{key}-{name}", make(name)) for name in drawn for key, make in charts.items()))


def spectra(name: str, layer: str, held: str):
    shown = rows.showcase(drawn[name])  # the same neurons at every step
    return of_frame(name, held, lambda frame, at: neurons.spectra(frame, layer, at, shown))


curve = {draw.__name__: lambda name, draw=draw: over_time(name, draw)
         for draw in (curves.losses, curves.accuracies, curves.iprs, curves.misalignment)}  # fmt: skip


def body(step: int):
    """Everything that moves with the step."""
    row(loss=curve["losses"], accuracy=curve["accuracies"])
    for column, record in zip(st.columns(len(drawn)), drawn.values(), strict=True):
        with column:
            ui.stage_line(record)
    row(
        phases=lambda name: of_frame(
            name, "phi", lambda frame, at: neurons.phase_scatter(frame, runs[name].K, at, side=SIDE)
        ),
        logits=lambda name: of_frame(name, "logits0", lambda frame, at: grids.logits0(frame, at, side=SIDE)),
    )
    row(ipr=curve["iprs"], misalignment=curve["misalignment"])
    row(
        input=lambda name: spectra(name, "input", "theta_hat"),
        output=lambda name: spectra(name, "output", "xi_hat"),
    )
    ui.figure("All curves of this page", lambda: together("vconcat", *whole()), "overview-curves")


def whole() -> list:
    """The curves of each run beside each other."""
    step = st.session_state.get("step")
    return [together("hconcat", *(curve[key](name)(step) for key in ("losses", "accuracies"))) for name in drawn]


ui.play(body, *drawn.values())
