"""Theory drawn over training: each neuron as a flow of four numbers, without a free parameter."""

import numpy as np
import streamlit as st

from modadd import ui
from modadd.analysis import lottery
from modadd.figures import flow as figures
from modadd.figures import neurons
from modadd.maths import harmonics, theory

TOLERANCE = 0.1  # radians: so close counts as aligned

p = ui.page("Gradient flow")
ui.head(
    "Training as a flow of four numbers",
    "Each pair of a neuron and a frequency learns as if it were alone; nothing is fitted.",
    "While the weights are small, each pair of a neuron and a frequency learns as if it were alone. Its magnitudes "
    "α, β and phases φ, ψ follow a differential equation whose time is the sum of the learning rates, "
    f"${theory.FLOW_TIME_TEX}$; nothing is fitted. With $D = 2\\varphi - \\psi$ every start but $D = \\pi$ ends at "
    "$D = 0$: the output phase becomes twice the input phase. A neuron that strayed from its line below, while its "
    "weights are small, would refute it.",
)
record = ui.choose_run(p, ["quad_single_freq", "relu_single_freq"])
run, log_steps = record.run, ui.log_steps()


@st.cache_data(max_entries=8, show_spinner="Following the flow ...")
def paths(run_id: str, frames: int, _record) -> tuple[dict, dict]:
    """(paths of all neurons, what the flow expects: when each is aligned, when most are, and the basin)."""
    run, path = _record.run, lottery.paths(_record)
    if "z0" not in path:
        return path, {}
    return path, {
        "steps_M": theory.alignment_steps(run, path["z0"], TOLERANCE),
        "due": theory.alignment_step(run, path["z0"], TOLERANCE),
        "basin": lottery.basin(run, path),
    }


path, expected = paths(run.id, len(record.frames), record)


def limits() -> str:
    """What the flow of ReLU leaves out."""
    least = int(min(run.p // np.gcd(np.arange(1, run.K + 1), run.p)))
    mean, spread = harmonics.coefficient(least)
    return (
        "Limits of this flow: it takes frequencies of many values, q = p / gcd(k, p); the smallest here is "
        f"q = {least}, whose rate is {mean - 1:+.1%} ± {spread:.1%} off, the ± over phases. And it leaves out the "
        f"harmonics: a neuron that has grown them grows {harmonics.growth(run.p):.2f} times as fast, so that "
        "magnitudes and norm run ahead of the lines the longer the run. The flow of x² is exact for every k. Both "
        "end where the loss leaves ln p."
    )


def equations():
    """The flow, and where it ends."""
    if expected:
        st.latex({"quad": theory.QUAD_FLOW_TEX, "relu": theory.RELU_FLOW_TEX}[run.activation])
        st.caption(limits() if run.activation == "relu" else "This flow is exact for every k, also at composite p, "
                   "until the loss leaves ln p.")  # fmt: skip
    else:
        why = lottery.no_flow(run) or "this record does not hold the weights of step 0"
        st.info(f"Only the training is drawn: {why}. The table follows each neuron's largest frequency of the moment.")


def body(step: int):
    """Everything that moves with the step."""
    M = path["alpha_SM"].shape[1]
    telling = int(np.abs(np.abs(path["D_SM"][0]) - 2.4).argmin())  # one that has a way to go
    ui.links.carry("neuron", f"flow-neuron-{run.id}", ui.links.whole(0, M - 1))
    line = st.container(horizontal=True, vertical_alignment="bottom")
    neuron = line.number_input(f"Neuron (0 to {M - 1})", 0, M - 1, telling, key=f"flow-neuron-{run.id}", width=150)
    now = path["D_SM"][path["step_S"] <= step][-1, neuron]
    line.markdown(
        f"Neuron {neuron} holds k = {path['frequency_M'][neuron]}. It starts at D = {path['D_SM'][0, neuron]:.2f} rad "
        f"and is at D = {now:.2f} rad by step {step:,}."
    )
    ui.row(*((f"flow-{what}", lambda at, what=what: figures.trajectories(path, neuron, what, at, log_steps))
             for what in ("phases", "magnitudes")))  # fmt: skip
    equations()
    if expected:
        errors(neuron, step)
    alignment()
    if expected:
        st.header("The basin of D = 0")
        ui.show(lambda at: figures.portrait(path, at, expected["basin"]), "portrait")
    if run.init == "single-freq":
        preservation(step)


def errors(neuron: int, step: int):
    """How far training strays from the flow: one neuron, then all."""
    ui.show(lambda at: figures.errors(path, lottery.rounding(record), neuron, at, log_steps), "flow-errors")
    st.header("All neurons")
    unit = {"alpha": ("α, relative", 100, " %"), "beta": ("β, relative", 100, " %"), "D": ("D", 1, " rad")}
    worst = {unit[name]: error for name, error in lottery.flow_errors(path, step).items()}
    st.dataframe(
        [{"error": name, "median neuron": f"{np.median(e) * times:.3g}{sign}",
          "worst neuron": f"{e.max() * times:.3g}{sign}"} for (name, times, sign), e in worst.items()],
        hide_index=True,
    )  # fmt: skip
    st.caption(
        f"The largest error of each of {path['alpha_SM'].shape[1]:,} neurons at any frame up to step {step:,}, with "
        "the rounding of the record in it."
    )


def alignment():
    """The share of neurons aligned so far, and when the flow expects the rest."""
    st.header("How far alignment has come")
    share_S = lottery.aligned(path, TOLERANCE)
    due = expected.get("due")
    st.markdown(
        f"After {path['step_S'][-1]:,} steps **{share_S[-1]:.0%}** of the neurons have |D| < {TOLERANCE:g} rad. "
        + (f"The flow expects 90 % by **step {due:,}**. " if due else "")
        + "The time to align grows like p, so a short run shows a process, not its end."
    )
    ui.show(figures.aligned(path["step_S"], share_S, expected.get("steps_M"), due, TOLERANCE, log_steps), "aligned")
    st.page_link("pages/Live.py", label="Continue this run", icon=":material/fast_forward:",
                 query_params={"run": run.id, "p": str(p)})  # fmt: skip


def preservation(step: int):
    """Does a neuron that starts with one frequency keep it?"""
    st.header("Does a single frequency stay single?")
    st.markdown(
        "Under x² every row keeps its one pair of Fourier modes while the loss is near ln p; once the loss falls, x² "
        "grows a third harmonic too, and so it does under AdamW. ReLU is no polynomial: from the first step it spills "
        "into odd multiples rk of the input and into all of the output. What the first step adds to an aligned neuron, "
        f"over what it adds at k, is ${harmonics.INCREMENT_TEX}$; after that the neuron tends to the fixed point of "
        "the flow, a shape that only grows."
    )
    ui.links.carry("layer", "flow-layer", ui.links.one_of(("input", "output")))
    layer = st.segmented_control("Layer", ["input", "output"], default="input", required=True, key="flow-layer")
    name, held = ("theta_hat" if layer == "input" else "xi_hat"), record.series("theta_hat")[0]
    if not len(held):
        st.info("This record keeps no spectra, so that harmonics cannot be drawn.")
        return
    last = record.at(holding=name).frame
    chosen = neurons.round_robin(last["frequency"], len(last[name]))  # the same at all moments
    moments = {"first": lambda at: record.at(0, name, "nearest"), "now": lambda at: record.at(at, name, "nearest"),
               "end": lambda at: record.at(None, name)}  # fmt: skip
    top = max(float(abs(frame[name]).max()) for frame in record.frames if name in frame)
    ui.row(*((f"kept-{when}", lambda at, of=of: neurons.spectra(of(at).frame, layer, of(at).step, chosen, top, 240))
             for when, of in moments.items()))  # fmt: skip
    leak = lottery.leakage(record)
    if not leak:
        st.info("This record does not hold the harmonics of its neurons.")
        return
    due = harmonics.fixed_point(run.p) if run.activation == "relu" else {}
    ui.show(lambda at: figures.leakage(leak, due, at, log_steps), "leakage")


ui.play(body, record)
