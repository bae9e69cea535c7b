"""Theory drawn over training: each neuron as a flow of four numbers, without a free parameter."""

import re

import numpy as np
import streamlit as st

from modadd import lottery, preset, theory, ui
from modadd.figures import flow as figures
from modadd.figures import neurons
from modadd.figures.style import table

asked = st.query_params.get("run", "")
if (named := re.match(r"p([0-9]{3})-", asked)) and "p" not in st.query_params:
    st.query_params["p"] = str(int(named[1]))
p = ui.page("Gradient flow")
st.title("Training as a flow of four numbers")
st.markdown(
    "While the weights are small, each pair of a neuron and a frequency learns as if it were alone. Its magnitudes "
    "α, β and phases φ, ψ follow a differential equation whose time is the sum of the learning rates, "
    f"${theory.FLOW_TIME_TEX}$; nothing is fitted. With $D = 2\\varphi - \\psi$ every start but $D = \\pi$ ends at "
    "$D = 0$: the output phase becomes twice the input phase. A neuron that strayed from its line below, while its "
    "weights are small, would refute it."
)


def choose() -> ui.Found:
    """The run in view: the one in the URL if it is one of this modulus, else a preset."""
    other = ui.find(asked) if asked else None
    linked = other is not None and other.record is not None and other.record.run.p == p
    if asked and other.record is None and other.job is None:
        st.error(f"No run called {ui.plain(asked)} is here; showing a preset instead.")
    names = ["quad_single_freq", "relu_single_freq"]
    name = st.selectbox("Run", [asked, *names] if linked else names, key=f"flow-run-{linked}")
    if linked and name == asked:
        return other
    run = preset(name, p)
    found = ui.find(run.id)
    if found.record is None:
        ui.offer(run, key="train-flow")
        st.stop()
    return found


def show(chart, key: str, says: str, caption: str, rows):
    """A chart with what to look for and its numbers."""
    ui.draw(chart, key, says)
    st.caption(caption)
    st.download_button(
        "CSV",
        lambda: ui.csv(rows()),
        f"{key}.csv",
        "text/csv",
        key=f"csv-{key}",
        icon=":material/download:",
        type="tertiary",
    )


@st.cache_data(max_entries=8, show_spinner=False)
def paths(run_id: str, frames: int, _record):
    return lottery.paths(_record)


found = choose()
record, run, first_look = found.record, found.record.run, [True]


@st.fragment(run_every=2.0 if found.live else None)
def follow():
    """While the run trains: look again now and then, and stay at its newest frame if there before."""
    now = ui.find(run.id)
    if found.live and not first_look:
        st.session_state["newest"] = st.session_state.get("step") == (record.frame_steps or [0])[-1]
        st.rerun()
    first_look.clear()
    if now.live:
        st.caption(f"This run is training now: step {now.record.step:,} of {run.epochs:,}.")


follow()
if not record.frames:
    st.info("The first frame of this run is on its way.")
    st.stop()
if st.session_state.pop("newest", False):
    st.session_state["step"] = record.frame_steps[-1]
step, log_steps = ui.player([record]), ui.log_steps()
path = paths(run.id, len(record.frames), record)
foretold = "z0" in path
if foretold:
    tex = {"quad": theory.QUAD_FLOW_TEX, "relu": theory.RELU_FLOW_TEX}[run.activation]
    st.latex(tex)
else:
    why = lottery.no_flow(run) or "this record does not hold the weights of step 0"
    st.info(f"Only the training is drawn: {why}. The table follows each neuron's largest frequency of the moment.")

st.header("One neuron")
M = path["alpha_SM"].shape[1]
telling = int(np.abs(np.abs(path["D_SM"][0]) - 2.4).argmin())  # one that has a way to go
neuron = st.number_input(f"Neuron (0 to {M - 1})", 0, M - 1, telling, key=f"flow-neuron-{run.id}")
st.markdown(
    f"Neuron {neuron} holds k = {path['frequency_M'][neuron]}. It starts at D = {path['D_SM'][0, neuron]:.2f} rad and "
    f"is at D = {path['D_SM'][path['step_S'] <= step][-1, neuron]:.2f} rad by step {step:,}."
)
for column, what in zip(st.columns(2), ("phases", "magnitudes"), strict=True):
    with column:
        st.markdown({"phases": "**Phases** φ, 2φ, ψ", "magnitudes": "**Magnitudes** α (input), β (output)"}[what])
        show(
            figures.trajectories(path, neuron, what, step, log_steps), f"flow-{what}",
            f"{what} of neuron {neuron} in training and by the flow",
            {"phases": "Dots: training. Lines: the flow. 2φ and ψ meet; φ moves at half the pace of 2φ.",
             "magnitudes": "Both grow once |D| < π/2; a neuron that starts opposed shrinks first."}[what],
            lambda what=what: table(step=path["step_S"], **{
                name + way: values for way in (["", "_flow"] if foretold else [""])
                for name, values in figures.curves_of(path, neuron, what, way).items()}),
        )  # fmt: skip
if foretold:
    show(
        figures.errors(path, neuron, log_steps), "flow-errors", f"Training minus flow for neuron {neuron}",
        "Training minus flow: α and β in per cent, D in hundredths of a radian. Jitter of ±0.05 % is the rounding of "
        "the record; a drift is physics: the loss is no longer flat, or, under ReLU, harmonics.",
        lambda: table(step=path["step_S"], **{f"{n}{w}": path[f"{n}{w}_SM"][:, neuron] for n in ("alpha", "beta", "D")
                                              for w in ("", "_flow")}),
    )  # fmt: skip
    st.subheader("All neurons")
    worst = lottery.flow_errors(path, step)
    unit = {"alpha": ("α, relative", 100, " %"), "beta": ("β, relative", 100, " %"), "D": ("D", 1, " rad")}
    st.dataframe(
        [{"error": unit[n][0], "median neuron": f"{np.median(e) * unit[n][1]:.3g}{unit[n][2]}",
          "worst neuron": f"{e.max() * unit[n][1]:.3g}{unit[n][2]}"} for n, e in worst.items()],
        hide_index=True,
    )  # fmt: skip
    st.caption(f"The largest error of each of {M:,} neurons at any frame up to step {step:,}.")

st.header("How far alignment has come")
tolerance = 0.1
share_S = np.mean(np.abs(np.remainder(path["D_SM"] + np.pi, 2 * np.pi) - np.pi) < tolerance, axis=1)
steps_M = theory.alignment_steps(run, path["z0"], tolerance) if foretold else None
due = theory.alignment_step(run, path["z0"], tolerance) if foretold else None
st.markdown(
    f"After {path['step_S'][-1]:,} steps **{share_S[-1]:.0%}** of the neurons have |D| < {tolerance:g} rad. "
    + (f"The flow expects 90 % by **step {due:,}**. " if due else "")
    + "The time to align grows like p, so a short run shows a process, not its end."
)
show(
    figures.aligned(path["step_S"], share_S, steps_M, tolerance, log_steps), "aligned", "Share of aligned neurons",
    "Dots: training. Line: the flow from step 0, beyond the end of the run (dashed).",
    lambda: table(step=path["step_S"], aligned=share_S),
)  # fmt: skip
st.page_link(
    "pages/1_Live.py",
    label="Continue this run",
    icon=":material/fast_forward:",
    query_params={"run": run.id, "p": str(p)},
)

if foretold:
    st.header("The basin of D = 0")
    show(
        figures.portrait(run, path, step), "portrait", "Phase portrait of misalignment and output magnitude",
        "Paths of 40 neurons up to the step in view, over the number of steps that each place needs to align. All "
        "run to the middle; those near ±π sink first, and linger.",
        lambda: table(neuron=np.arange(M), D=path["D_SM"][path["step_S"] <= step][-1],
                      beta=path["beta_SM"][path["step_S"] <= step][-1]),
    )  # fmt: skip

if run.init == "single-freq":
    st.header("Does a single frequency stay single?")
    st.markdown(
        "Under x² every row keeps its one pair of Fourier modes. ReLU is no polynomial: it spills into odd multiples "
        "3k, 5k of the input and into 2k, 3k of the output, about as $r^{-2}$, one ninth and one twenty-fifth."
    )
    layer = st.segmented_control("Layer", ["input", "output"], default="input", key="flow-layer") or "input"
    held = record.series("theta_hat")[0] if "theta_hat" in record.frames[0] else []
    moments = sorted({int(held[i]) for i in np.linspace(0, len(held) - 1, 3).round().astype(int)}) if len(held) else []
    for column, at in zip(st.columns(max(len(moments), 1)), moments, strict=False):
        with column:
            st.markdown(f"**Step {at:,}**")
            rows = record.frame(at)["theta_hat" if layer == "input" else "xi_hat"]
            show(
                neurons.spectra(record.frame(at), layer), f"kept-{at}", f"Spectra of the {layer} layer at step {at}",
                f"{layer.capitalize()} layer: one pair a row if single.",
                lambda rows=rows: table(**{f"mode{i}": rows[:, i] for i in range(rows.shape[1])}),
            )  # fmt: skip
    if moments:
        leak = lottery.leakage(record)
        show(
            figures.leakage(leak, step, log_steps), "leakage", "Leakage into harmonics over training",
            "Mean over neurons; what is below 1e-6 is rounding and left out. At the last frame: "
            + ", ".join(f"{k[0]} {k[1]}k {v[-1]:.2g}" for k, (_, v) in leak.items()) + ".",
            lambda: table(step=leak["input", 3][0], **{f"{k[0]}_{k[1]}k": v for k, (_, v) in leak.items()}),
        )  # fmt: skip
