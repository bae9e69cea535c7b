"""Train any run before the visitor's eyes; find it again by the id in the URL."""

from dataclasses import replace

import streamlit as st

from modadd import Run, ui
from modadd.activations import trainable
from modadd.figures import curves, grids, lottery, neurons
from modadd.many import compare
from modadd.runs import BOUNDS, Init, Optimizer, Precision, Split, preset, presets_at, width

p = ui.page("Live")
st.title("Watch a network discover Fourier analysis")
st.markdown(
    "Nobody tells the network about waves: it is shown sums and their answers. As the loss falls, watch every neuron "
    "settle on one frequency (the IPR rises towards 1) and its phases lock at ψ = 2φ (mean |sin D| falls towards 0). "
    "Right answers while these two stay where they began would refute the account."
)


def settings() -> Run | None:
    """The run that the sidebar describes, or None with a sentence where it is not one."""
    side = st.sidebar
    name = side.selectbox("Preset", presets_at(p), key="preset", persist_state="session")
    base = preset(name, p)
    seed = side.number_input("Seed", *BOUNDS["seed"], 42, key="seed", persist_state="session")
    epochs = side.number_input("Training steps", *BOUNDS["epochs"], base.epochs, step=1000, key=f"epochs-{name}")
    with side.expander("Every hyperparameter"):

        def choose(label, options, field):
            return st.selectbox(label, options, options.index(getattr(base, field)), key=f"{field}-{name}")

        def real(label, field):
            return st.number_input(
                label, *BOUNDS[field], getattr(base, field), format="%.6g", step=None, key=f"{field}-{name}"
            )

        d_mlp = st.number_input("Hidden neurons d_mlp", *BOUNDS["d_mlp"], width(p), key=f"d_mlp-{p}")
        d_model = st.number_input(
            "Trainable embedding of width (0: none)", *BOUNDS["d_model"], 0, key=f"d_model-{name}"
        )
        chosen = {
            "activation": choose("Activation", trainable(), "activation"),
            "init": choose("Initial weights", Init.__args__, "init"),
            "init_scale": real("Initial scale", "init_scale"),
            "optimizer": choose("Optimiser", Optimizer.__args__, "optimizer"),
            "lr": real("Learning rate", "lr"),
            "weight_decay": real("Weight decay", "weight_decay"),
            "frac_train": real("Share of pairs trained on", "frac_train"),
            "split": choose("Split of the pairs", Split.__args__, "split"),
            "precision": choose("Precision", Precision.__args__, "precision"),
            "plateau": st.checkbox("Stop on a plateau", base.plateau, key=f"plateau-{name}"),
        }
    try:
        return replace(base, seed=seed, epochs=epochs, d_mlp=d_mlp, d_model=d_model, **chosen)
    except ValueError as error:
        st.sidebar.error(f"{error}.")
        return None


def start(run: Run, **resume):
    """Queue a run and put its id into the URL."""
    with ui.refusals():
        ui.lab().submit(run, device, **resume)
        ui.open_run(run.id)
        st.rerun()


run = settings()
device = st.sidebar.selectbox("Device", ui.devices(), key="device", persist_state="session")
if run is not None:
    st.sidebar.caption(ui.price(run, device))
    if st.sidebar.button("Train", type="primary", icon=":material/play_arrow:", width="stretch"):
        start(run)

asked = ui.asked_run(p)
run_id = asked.id if asked else run and run.id
if run_id is None:
    st.stop()
found = ui.find(run_id)
if found.record is None and found.job is None:
    st.info(
        "Choose a preset and press **Train**: every chart then grows while the network learns. At p = 23 it takes "
        "seconds."
    )
    st.stop()
shown = found.record.run if found.record is not None else found.job.run
st.session_state["in-view"] = shown.id
other = [name for name in compare.differing([shown, run or shown]) if name not in ("preset", "precision")]
with st.container():
    if other:
        says = ", ".join(f"{name} {getattr(shown, name)}" for name in other)
        st.caption(f"In view: {shown.preset}, {says}. The sidebar describes another run: press **Train** to see that.")


@st.fragment(run_every=ui.TICK if found.live else None)
def watch():
    """One look at the run; while it trains, taken again twice a second."""
    now = ui.find(run_id)
    if found.live and not now.live:
        st.rerun()  # the whole page, so that its buttons follow
    ui.status(run_id, now)
    record = now.record
    if record is None or not record.frames:
        st.info("Waiting for the first frame ...")
        return
    log_steps = ui.log_steps()
    ui.headline(record)
    run = record.run
    charts = [
        ("losses", curves.losses(record, None, log_steps)),
        ("accuracies", curves.accuracies(record, None, log_steps)),
    ]
    ui.row(*charts)
    if run.model != "mlp":
        home = ui.HOMES[run.model]
        st.page_link(home, label="See what this transformer does inside", query_params={"run": run_id})
        return
    step, frame = record.at()
    ui.row(
        ("iprs", curves.iprs(record, None, log_steps)), ("misalignment", curves.misalignment(record, None, log_steps))
    )
    ui.row(("phases", neurons.phase_scatter(frame, run.K, step)), ("grid", grids.answers(frame, run, step)))
    if len(record.frames) == 1 and record.finished:
        st.caption("This record is of one moment: there is no race inside a neuron to see.")
        return
    st.subheader("The lottery inside one neuron")
    held = len(record.frames[0]["theta_hat"])
    ui.links.carry("neuron", "neuron", ui.links.whole(0, held - 1))
    neuron = st.number_input(f"Neuron (0 to {held - 1})", 0, held - 1, 0, key="neuron", persist_state="session")
    race = record.race(neuron)
    ui.row(*((f"race-{what}", lottery.race(race, what, step, neuron, log_steps)) for what in ("beta", "D")))


def go_on(record):
    """The same run for longer."""
    more = st.number_input("More steps", 100, 1_000_000, max(1000, record.step), step=1000)
    longer = replace(ui.here(record.run, device), epochs=record.step + more, plateau=False)
    if st.button(f"Continue for {more:,} more steps", icon=":material/fast_forward:"):
        same = longer.precision == record.run.precision
        start(longer, resume=record if same and record.state is not None else None)
    if record.state is None:
        st.caption(
            "This record holds no optimiser state, so continuing trains it again from step 0"
            f"{', in float32' * (longer.precision != record.run.precision)} ({ui.price(longer, device)})"
        )


watch()

if not found.live and found.record is not None:
    record = found.record
    st.subheader("Go on")
    if record.run.preset == "imported":
        st.caption("A network that was trained elsewhere goes on as a fork, from its weights.")
    else:
        go_on(record)
    st.page_link(
        "pages/Forks.py",
        label="Fork it: other settings from some step on",
        icon=":material/fork_right:",
        query_params={"run": run_id},
    )
    with st.expander("Take this run along", icon=":material/download:"):
        ui.take_along(record)
    st.caption(f"Run {record.run.id}, {ui.provenance(record)}.")
