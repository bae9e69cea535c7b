"""Leave a run at any step, go on with other settings, and compare."""

import streamlit as st

from modadd import ui
from modadd.activations import trainable
from modadd.figures import many
from modadd.many import seeds
from modadd.runs import BOUNDS, EPOCHS_MAX, Optimizer, presets_at
from modadd.training import forks

p = ui.page("Forks")
ui.head(
    "What if, from here on?",
    "Two runs that share their past and differ in one setting from some step on.",
    "Two runs that share their past and differ in one setting from some step on: the cleanest experiment there is. "
    "Does weight decay still matter once the network has memorised? Would it generalise without it? Take a run, choose "
    "a step and a setting, and watch both futures on one chart. Curves that never part refute that the setting matters "
    "from there on.",
)
# Grokking first: weight decay has nothing to decide where no pair is held out.
parent = ui.choose_run(p, sorted(presets_at(p), key=lambda name: name != "grokking"))
run, lab = parent.run, ui.lab()
left_off = forks.left_at(run)
if left_off:
    st.caption(f"This run is itself a fork of {left_off[0]}, which it left at step {left_off[1]:,}.")

st.subheader("Fork")
a, b, c, d = st.columns(4)
memorised = parent.summary["stage1_end"] if run.frac_train < 1 else None  # from there on generalising is the question
usual = memorised or max(1, parent.step // 2)
step = a.number_input("Leave at step", 1, max(1, parent.step), usual, key=f"fork-step-{run.id}")
decay = b.number_input(
    "Weight decay", *BOUNDS["weight_decay"], run.weight_decay, format="%.6g", step=None, key=f"fork-decay-{run.id}"
)
rate = c.number_input("Learning rate", *BOUNDS["lr"], run.lr, format="%.6g", step=None, key=f"fork-lr-{run.id}")
share = d.number_input(
    "Share trained on", *BOUNDS["frac_train"], run.frac_train, format="%.6g", step=None, key=f"fork-frac-{run.id}"
)
optimizers, activations = Optimizer.__args__, trainable()
optimizer = a.selectbox("Optimiser", optimizers, optimizers.index(run.optimizer), key=f"fork-optimizer-{run.id}")
activation = b.selectbox("Activation", activations, activations.index(run.activation), key=f"fork-act-{run.id}")
exact = "Optimiser state: exact"
rough = "Weights of the nearest stored step, a new optimiser"
stored = [at for at in forks.places(parent) if at]
ways = [exact] * (run.preset != "imported" or not stored) + [rough] * bool(stored)
how = d.selectbox("Carry over", ways, key=f"fork-how-{run.id}")
if how == rough:
    step = min(stored, key=lambda at: abs(at - step))
usual = parent.step if step < parent.step else step + 1000
until = c.number_input("Train until step", 2, EPOCHS_MAX, usual, step=1000, key=f"fork-until-{run.id}")
try:
    child = forks.fork(
        run, int(step), weights_only=how == rough, weight_decay=decay, lr=rate, frac_train=share, optimizer=optimizer,
        activation=activation, epochs=int(until), plateau=False, precision=ui.here(run).precision,
    )  # fmt: skip
except ValueError as error:
    child = None
    st.error(f"{ui.plain(str(error), 300)}.")
if child is not None:
    at_hand = how == rough or (parent.state is not None and parent.step == step)
    st.caption(
        f"Leaves at step {step:,} "
        + (
            "from what is stored. "
            if at_hand
            else "after the parent is trained again up to there (bit-identical on the device that trained it). "
        )
        + ("The parent is of TF32, and this machine trains in float32. " if child.precision != run.precision else "")
        + ui.price(child)
    )
    if st.button("Fork", type="primary", icon=":material/fork_right:"):
        with ui.refusals():
            lab.submit(child, resume=forks.begin(child, parent) if at_hand else None)
            st.rerun()

FIELDS = {"weight_decay": "λ", "lr": "η", "frac_train": "share", "optimizer": "", "activation": "", "epochs": "until"}


def label(fork) -> str:
    """What a fork changed, in a few words."""
    _, at, weights = forks.left_at(fork)
    changed = [
        f"{name} {getattr(fork, key):,}".strip() if key == "epochs" else f"{name} {getattr(fork, key)}".strip()
        for key, name in FIELDS.items() if getattr(fork, key) != getattr(run, key)
    ]  # fmt: skip
    return f"from {at:,}{' (weights)' if weights else ''}: {', '.join(changed) or 'unchanged'}"


def family() -> dict:
    """Forks of this run by id: those stored, and those in the lab now."""
    known = {run_id: card["run"] for run_id, card in lab.store.cards_of_cache().items()}
    known |= {job.run.id: job.run for job in lab.jobs() if job.active}
    mine = [fork for fork in known.values() if fork.parent.startswith(f"{run.id}@")]
    return {fork.id: fork for fork in sorted(mine, key=lambda fork: forks.left_at(fork)[1])}


everyone = family()
live = any(ui.find(run_id).live for run_id in everyone)
if not everyone:
    where, what = ("once it has memorised", "which future generalises") if memorised else ("half-way", "what changes")
    st.info(f"This run has no fork yet. Leave it {where} (step {usual:,}) with another weight decay and see {what}.")
    ui.stop()
st.subheader("Parent and forks")
offered = [name for name in seeds.CURVES if len(seeds.curve(parent, name)[0])]
chosen = st.multiselect(
    "Curves", offered, offered[:2], format_func=seeds.CURVES.get, key=f"fork-curves-{run.frac_train < 1}"
)


@st.fragment(run_every=ui.TICK if live else None)
def watch():
    """Parent and forks as they stand; while one trains, taken again twice a second."""
    found = {run_id: ui.find(run_id) for run_id in everyone}
    if live and not any(now.live for now in found.values()):
        st.rerun()
    for run_id, now in found.items():
        if now.live:
            ui.status(run_id, now)
        elif now.job is not None and now.job.status == "failed":
            st.error(f"{ui.plain(now.job.error, 300)}.")
    records = {"parent": parent}
    for run_id, fork in everyone.items():
        record = found[run_id].record
        if record is not None and record.run.id == run_id and len(record.steps):
            name = label(fork)
            records[name if name not in records else f"{name} ({run_id[-4:]})"] = record
    ui.compare_link([record.run for record in records.values()])
    marks = [forks.left_at(fork)[1] for fork in everyone.values()]
    ui.row(*((f"forks-{name}", many.overlay(records, name, marks, ui.log_steps())) for name in chosen), abreast=2)
    rows = []
    for name, record in records.items():
        told = record.summary
        rows.append(
            {
                "run": name, "step": record.step, "end I": told["stage1_end"], "end II": told["stage2_end"],
                "train loss": told["train_loss"], "test accuracy": told["test_accuracy"],
                "held out": told["held_out_accuracy"], "IPR": told["ipr"], "norm": told["param_norm"],
                "open": f"./Live?run={record.run.id}",
            }
        )  # fmt: skip
    ui.table(rows, ("open",))


watch()
