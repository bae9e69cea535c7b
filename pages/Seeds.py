"""One preset with many seeds: what is luck, and what is law."""

from dataclasses import replace

import streamlit as st

from modadd import ui
from modadd.figures import many
from modadd.many import seeds
from modadd.maths import measures
from modadd.records.store import Damaged
from modadd.runs import P_GROK, preset, presets_at

USUAL = "42, 1-4"  # seeds

p = ui.page("Seeds")
ui.head(
    "What is luck, and what is law?",
    "What every seed shows is a property of the problem; what differs is luck.",
    "The seed decides the initial weights and which pairs are held out; everything else is the same. What every seed "
    "shows is a property of the problem, what differs is the draw of the lottery. One curve cannot tell the two apart: "
    "a median with its band, and an interval around the end of a stage, can. What holds for one seed alone is "
    "refuted by the others.",
)
names = presets_at(p)
left, right = st.columns(2)
ui.links.carry("preset", key := f"seeds-preset-{p >= P_GROK}", ui.links.one_of(names))
st.session_state.setdefault(key, "grokking" if p >= P_GROK else names[0])
name = left.selectbox("Preset", names, key=key, disabled=ui.links.locked("run"))
ui.links.carry("seeds", "seeds-typed", ui.links.words(), USUAL)
st.session_state.setdefault("seeds-typed", USUAL)
text = right.text_input(
    "Seeds", key="seeds-typed", persist_state="session", max_chars=200,
    help="Whole numbers and ranges, such as 42, 1-4: at most 64 seeds.",
)  # fmt: skip
try:
    runs = [preset(name, p, seed=seed) for seed in seeds.parse(text)]
except ValueError as error:
    st.error(f"{ui.plain(str(error), 300)}.")
    ui.stop()
lab = ui.lab()


@st.cache_resource(max_entries=128, show_spinner=False)
def kept(run_id: str, version: str):
    """The curves of a stored run, without what only its neurons show."""
    record = lab.store.get(run_id)
    scalars = ("ipr_in", "ipr_out", "mean_abs_sin_D")
    return record and replace(
        record, state=None, frames=tuple({key: f[key] for key in scalars if key in f} for f in record.frames)
    )


@st.cache_resource(max_entries=512, show_spinner=False)
def outlined(run_id: str, _run):
    """What comes along of a run of another seed: its curves and final numbers."""
    return lab.store.outlined(_run)


def look(run):
    """(record or None, job or None) of a run: of the live job, else as stored, else its outline."""
    job = lab.job(run.id)
    if job is not None and job.active:
        return job.record, job
    try:
        version = lab.store.version(run.id)
        return (kept(run.id, version) if version else outlined(run.id, run)), job
    except Damaged:
        return None, job


def ready(record) -> bool:
    return record is not None and len(record.steps) > 0


found = {run: look(run) for run in runs}
waiting = [run for run, (_, job) in found.items() if job is not None and job.active]
missing = [run for run, (record, _) in found.items() if run not in waiting and not (record and record.finished)]
ui.train_missing(missing, len(runs), f"seeds-sure-{p}-{name}")
lines = {run.id for run, (record, _) in found.items() if record is not None and not lab.store.where(run.id)} - {
    run.id for run in waiting
}
if lines:
    st.caption(
        f"{ui.count(len(lines), 'seed')} of these {'comes' if len(lines) == 1 else 'come'} along with the lab as an "
        "outline: curves, ends of stages and final numbers, but no frames to open."
    )
ui.stop_all([run.id for run in waiting])

grokking = runs[0].frac_train < 1
offered = [key for key in seeds.CURVES if grokking or not key.startswith(("test", "held", "rare"))]
chosen = st.multiselect(
    "Curves", offered, offered[:2] + offered[4:5], format_func=seeds.CURVES.get, key=f"curves-{grokking}"
)
ui.links.carry("criterion", "criterion", ui.links.whole(50, 100))
threshold = st.slider("A stage ends when accuracy first reaches (%)", 50, 100, 95, key="criterion") / 100


@st.fragment(run_every=ui.TICK * 2 if waiting else None)
def watch():
    """The seeds as they stand; while some train, taken again every second."""
    now = {run: look(run) for run in runs}
    active = [job for _, job in now.values() if job is not None and job.active]
    if waiting and len(active) < len(waiting):
        st.rerun()
    if active:
        done = sum(job.record.step for job in active if job.record)
        st.progress(
            min(1.0, done / sum(job.run.epochs for job in active)),
            f"{sum(job.status == 'running' for job in active)} training, "
            f"{sum(job.status == 'queued' for job in active)} waiting",
        )
    records = {str(run.seed): record for run, (record, _) in now.items() if ready(record)}
    if not records:
        st.info("No seed has been trained here yet: press the button above, and the curves fill in as they grow.")
        return
    ui.row(*((f"seeds-{key}", many.band(records, key, ui.log_steps())) for key in chosen), abreast=2)
    if whole := [record.run for record in records.values() if record.run.id not in lines]:
        ui.compare_link(whole)
    st.subheader("When stages end")
    ends = seeds.ends(list(records.values()), threshold)
    for row in ends if grokking else ends[:1]:
        missed = sum(step is None for step in row["steps"])
        high = "not reached" if not row["interval"] or row["interval"][1] is None else f"{row['interval'][1]:,.0f}"
        median = ui.not_reached(None if row["median"] is None else int(row["median"]))
        interval = f"{row['interval'][0]:,.0f} to {high}" if row["interval"] else "too few seeds for one"
        st.markdown(
            f"**{row['stage'].capitalize()}** ends at a median of **{median}** (95 % interval: {interval})"
            + (f"; {missed} of {len(records)} did not get there and count as later." if missed else ".")
        )
    watched = [record.step for record in records.values()]
    shown = ends if grokking else ends[:1]
    ui.show(many.stage_ends(list(records), shown, watched, threshold), "seeds-ends")
    st.subheader("Seed by seed")
    rows, home = [], "Grokking" if grokking else "Live"
    for seed, record in records.items():
        told = record.summary
        end1, end2 = measures.stages(record, threshold)
        rows.append(
            {
                "seed": seed,
                "step": record.step,
                "end I": end1,
                "end II": end2,
                "train loss": told["train_loss"],
                "test accuracy": told["test_accuracy"],
                "held out": told["held_out_accuracy"],
                "IPR": told["ipr"],
                "run": None if record.run.id in lines else f"./{home}?run={record.run.id}",
            }
        )
    ui.table(rows, ("run",))


watch()
