"""Train any run and watch it; the run in view is that of the address."""

from dataclasses import replace

import streamlit as st

from modadd import Run, ui
from modadd.activations import trainable
from modadd.figures import curves, grids, lottery, neurons
from modadd.many import compare
from modadd.runs import BOUNDS, Init, Optimizer, Precision, Split, preset, presets_at

SIDE = 260  # pixels of a square plot
CHOICES = {
    "activation": ("Activation", trainable()), "init": ("Initial weights", Init.__args__),
    "optimizer": ("Optimiser", Optimizer.__args__), "split": ("Split of the pairs", Split.__args__),
    "precision": ("Precision", Precision.__args__),
}  # fmt: skip
NUMBERS = {
    "d_mlp": "Hidden neurons d_mlp", "d_model": "Trainable embedding of width (0: none)", "init_scale": "Initial scale",
    "lr": "Learning rate", "weight_decay": "Weight decay", "frac_train": "Share of pairs trained on",
}  # fmt: skip

p = ui.page("Live")
ui.head(
    "Watch a network discover Fourier analysis",
    "As the loss falls, every neuron settles on one frequency and its phases lock.",
    "Nobody tells the network about waves: it is shown sums and their answers. Watch the IPR rise towards 1 (one "
    "frequency per neuron) and mean |sin D| fall towards 0 (ψ = 2φ). If accuracy rose while these stayed flat, the "
    "theory would be wrong.",
)
asked = ui.asked_run(p)
name = st.session_state.get("run") if asked is None else asked.preset
name = name if name in presets_at(p) else presets_at(p)[0]
own = asked is not None and asked.model == "mlp" and not (asked.parent or asked.origin)
base = asked if own else preset(name, p)
whose = base.id if asked is not None and asked.preset != name else name  # settings are kept by what they began with
ui.choices(ui.runs_at(p, presets_at(p), ("mlp", "transformer", "pre-ln"), asked), asked.id if asked else name)


def kept(field: str, check, value) -> str:
    """The key of a setting that travels in the address where it is not as in the run it began with."""
    key = f"live-{field}-{p}" if field == "d_mlp" else f"live-{field}-{whose}"  # the width follows the modulus
    ui.links.carry(field, key, check, value)
    st.session_state.setdefault(key, value)
    return key


def number(field: str, label: str, **how):
    """A field for a number of the run."""
    value, (low, high) = getattr(base, field), BOUNDS[field]
    check = ui.links.whole(low, high) if isinstance(low, int) else ui.links.real(low, high)
    form = {} if isinstance(low, int) else {"format": "%.6g", "step": None}
    return st.number_input(label, low, high, key=kept(field, check, value), **form, **how)


def settings() -> tuple[Run | None, str]:
    """The run that the settings describe, or None with a sentence where they are none; and its device."""
    chosen = {}
    with line:
        chosen["seed"] = number("seed", "Seed", width=130)
        chosen["epochs"] = number("epochs", "Training steps", step=1000, width=160)
        with st.popover("Every hyperparameter", icon=":material/tune:"):
            for field, label in NUMBERS.items():
                chosen[field] = number(field, label)
            for field, (label, options) in CHOICES.items():
                key = kept(field, ui.links.one_of(options), getattr(base, field))
                chosen[field] = st.selectbox(label, options, key=key)
            key = kept("plateau", lambda text: text == "1", base.plateau)
            chosen["plateau"] = st.checkbox("Stop on a plateau", key=key)
            device = st.selectbox("Device", ui.devices(), key="live-device", persist_state="session")
        try:
            return replace(base, **chosen), device
        except ValueError as error:
            st.error(f"{ui.plain(str(error), 300)}.")
            return None, device


def start(run: Run, **how):
    """Queue a run and open it."""
    with ui.refusals():
        ui.lab().submit(run, device, **how)
        ui.open_run(run.id)
        st.rerun()


line = st.container(horizontal=True, vertical_alignment="bottom")
run, device = settings()
run_id = asked.id if asked is not None else (run or base).id
found = ui.find(run_id)
if run is not None:
    there = ui.find(run.id)
    with line:
        if st.button("Train", type="primary", icon=":material/play_arrow:", disabled=there.live):
            start(run, afresh=there.record is not None and there.record.finished and ui.steers(run.id))
        st.caption(ui.price(run, device))
if found.record is None and found.job is None:
    st.info("Press **Train**: every chart then grows while the network learns. At p = 23 it takes seconds.")
    ui.stop()
shown = found.record.run if found.record is not None else found.job.run
st.session_state["in-view"] = shown.id
other = [name for name in compare.differing([shown, run or shown]) if name not in ("preset", "precision")]
with line:
    if other and shown.model == "mlp":
        has = ", ".join(f"{field} {getattr(shown, field)}" for field in other)
        st.caption(f"The run in view has {has}: press **Train** to see the one that is described above.")


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
    ui.headline(record)
    run, log_steps = record.run, ui.log_steps()
    over_time = {"losses": curves.losses, "accuracies": curves.accuracies}
    if run.model == "mlp":
        over_time |= {"iprs": curves.iprs, "misalignment": curves.misalignment}
    ui.row(*((key, draw(record, None, log_steps)) for key, draw in over_time.items()))
    if run.model != "mlp":
        home = ui.HOMES[run.model]
        st.page_link(home, label="See what this transformer does inside", query_params={"run": run_id})
        return
    step, frame = record.at()
    charts = [("phases", neurons.phase_scatter(frame, run.K, step, side=SIDE)),
              ("grid", grids.answers(frame, run, step, side=SIDE))]  # fmt: skip
    if len(record.frames) == 1 and record.finished:
        ui.row(*charts)
        st.caption("This record is of one moment: there is no race inside a neuron to see.")
        return
    held = len(record.frames[0]["theta_hat"])
    ui.links.carry("neuron", "neuron", ui.links.whole(0, held - 1))
    places = st.container()
    neuron = st.number_input(f"Race inside neuron (0 to {held - 1})", 0, held - 1, 0, key="neuron",
                             persist_state="session", width=220)  # fmt: skip
    race = record.race(neuron)
    races = [(f"race-{what}", lottery.race(race, what, step, neuron, log_steps)) for what in ("beta", "D")]
    with places:
        ui.row(charts[0], *races, charts[1])


def go_on(record):
    """The same run for longer."""
    more = st.number_input("More steps", 100, 1_000_000, max(1000, record.step), step=1000, width=220)
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
    st.subheader("Continue training")
    if record.run.preset == "imported":
        st.caption("A network that was trained elsewhere goes on as a fork, from its weights.")
    else:
        go_on(record)
    st.page_link("pages/Forks.py", label="Fork it: other settings from some step on", icon=":material/fork_right:",
                 query_params={"run": run_id})  # fmt: skip
    with st.expander("Export", icon=":material/download:"):
        ui.take_along(record)
    st.caption(f"Run {record.run.id}, {ui.provenance(record)}.")
