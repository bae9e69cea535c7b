"""A grid of runs: choose it, see its price, watch it fill in, and read who groks, when, and what that means."""

import json

import streamlit as st

from modadd import ui
from modadd.figures import sweep_report, sweep_tables, sweeps
from modadd.many import sweep, verdicts
from modadd.records.store import Damaged
from modadd.runs import BOUNDS, P_GROK, TRANSFORMERS, preset, presets_at

COLOUR = dict(zip(verdicts.VERDICTS, ("green", "red", "gray"), strict=True))

p = ui.page("Sweeps")
ui.head(
    "Who groks, and when?",
    "If weight decay makes it generalise, more of it should make grokking earlier.",
    "Weight decay pays a network for forgetting what it learned by heart. If that is what makes it generalise, more of "
    "it should make grokking earlier and less of it later, or never. One run proves nothing, because seeds differ: "
    "here every setting is trained with several seeds, and what did not grok in its budget stays in the statistics.",
)
lab, names = ui.lab(), [*presets_at(p), *TRANSFORMERS]
left, right = st.columns(2)
name = left.selectbox("Preset", names, names.index("grokking") if p >= P_GROK else 0, key=f"sweep-preset-{p >= P_GROK}")
epochs = right.number_input(
    "Training steps", *BOUNDS["epochs"], preset(name, p).epochs, step=1000, key=f"sweep-steps-{name}"
)
typed = {"decays": "0.5, 1, 2", "seeds": "42, 123, 456", "vary": ""}
for word, usual in typed.items():
    ui.links.carry(word, f"sweep-{word}", ui.links.words(), usual)
    st.session_state.setdefault(f"sweep-{word}", usual)
decays = left.text_input("Weight decays", key="sweep-decays", max_chars=200, persist_state="session")
seeds = right.text_input("Seeds", key="sweep-seeds", max_chars=200, persist_state="session")
further = left.text_input(
    "Further settings", key="sweep-vary", placeholder="lr = 1e-4, 3e-4; frac_train = 0.6", max_chars=200,
    persist_state="session", help=f"Any of {', '.join(sweep.SETTINGS)}; one value just sets it.",
)  # fmt: skip
with right.popover("When does a run grok?", width="stretch", icon=":material/tune:"):
    criterion = sweep.Criterion(
        st.slider("Accuracy reaches (%)", 50, 100, 90, key="sweep-accuracy") / 100,
        st.number_input("and stays there for so many steps", 0, 100_000, 500, step=100, key="sweep-sustained"),
        st.slider("once the train accuracy has reached (%)", 50, 100, 99, key="sweep-memorised") / 100,
        st.radio("Accuracy of", list(sweep.CURVES), format_func=sweep.CURVES.get, key="sweep-curve"),
    )
try:
    axes = [f"weight_decay={decays}", *filter(str.strip, further.split(";")), f"epochs={epochs}", f"seed={seeds}"]
    grid = sweep.Grid(name, p, sweep.join(map(sweep.axis, axes)))
except ValueError as error:
    st.error(f"{ui.plain(str(error), 300)}.")
    ui.stop()


@st.cache_resource(max_entries=sweep.MOST, show_spinner=False)
def kept(run_id: str, version: str):
    """The accuracies of a stored run."""
    record = lab.store.get(run_id)
    return record and sweep.slim(record)


def look(run):
    """(record or None, job or None) of a cell: of the live job, else as stored."""
    job = lab.job(run.id)
    if job is not None and (job.active or job.status == "failed"):
        return job.record and sweep.slim(job.record), job
    if job is not None and job.status == "finished":
        lab.forget(run.id)  # it is in the store, and a whole sweep would fill the memory
    try:
        version = lab.store.version(run.id)
        return (kept(run.id, version) if version else None), job
    except Damaged:
        return None, job  # trained again


def state(result: sweep.Outcome, job) -> tuple[str, str]:
    """How a cell stands, and a few words on it."""
    if job is not None and job.status == "failed":
        return "failed", "failed"
    if job is not None and job.active:
        return ("waiting", "") if job.status == "queued" else ("training", f"at {result.step:,}")
    if result.status == "finished":
        short = f"{result.grokked:,}" if result.grokked is not None else f"not by {result.step:,}"
        return ("ended without" if result.grokked is None else "grokked"), short
    return ("interrupted", f"at {result.step:,}") if result.status == "begun" else ("not begun", "")


cells = {run.id: look(run) for run in grid.runs}
records = {run_id: record for run_id, (record, _) in cells.items()}
results = sweep.outcomes(grid, records, criterion)
live = [run for run in grid.runs if (job := cells[run.id][1]) is not None and job.active]
missing = [o.run for o in results if o.status != "finished" and o.run not in live]

merged = grid.asked - len(grid.runs)
st.markdown(
    f"**Settings: {len(grid.labels)}, seeds: {len({run.seed for run in grid.runs})}, runs: {len(grid.runs)}.**"
    + (
        f" {merged} of the {grid.asked} cells name a run that is in the grid already and are left out."
        if merged
        else ""
    )
    + f" A run groks at the {criterion}. {verdicts.caution(results, criterion)}"
)
# Seed after seed, so that settings can be compared early.
ui.train_missing(
    sorted(missing, key=lambda run: grid.axes["seed"].index(run.seed)), len(grid.runs), f"sweep-sure-{hash(grid.runs)}"
)
ui.stop_all([run.id for run in live])


@st.fragment(run_every=max(2 * ui.TICK, len(grid.runs) / 50) if live else None)
def watch():
    """The grid as it stands; while runs are training, looked at again and again."""
    now = cells | {run.id: look(run) for run in live}
    if sum(job is not None and job.active for _, job in now.values()) < len(live):
        st.rerun()  # a run is over: all below follows
    seen = {run_id: record for run_id, (record, _) in now.items()}
    standing = sweep.outcomes(grid, seen, criterion)
    over = sum(o.status == "finished" for o in standing)
    st.progress(over / len(grid.runs), f"{over} of {len(grid.runs)} runs are finished")
    states = {o.run.id: state(o, now[o.run.id][1]) for o in standing}
    ui.show(sweeps.matrix(grid, seen, states, criterion), "sweep-matrix")


watch()
for run in grid.runs:
    if (job := cells[run.id][1]) is not None and job.status == "failed":
        st.error(f"{run.id} failed: {ui.plain(job.error or '', 300)}.")
if not any(o.status == "finished" for o in results):
    st.info("As soon as the first run is finished, verdicts and charts appear here.")
    ui.stop()


@st.cache_data(max_entries=32, show_spinner="Comparing ...")
def said(grid: sweep.Grid, results: list[sweep.Outcome], criterion: sweep.Criterion) -> dict:
    return verdicts.summary(grid, results, criterion)


summary = said(grid, results, criterion)
st.subheader("Three hypotheses")
for one in summary["hypotheses"]:
    st.markdown(
        f":{COLOUR[one['verdict']]}-badge[{one['verdict']}] **{one['name']}: {one['claim']}.** {one['because']}."
    )
st.caption(f"{summary['rule']}.")
st.subheader("What the runs say")
charts = sweep_report.charts(grid, records, results, criterion, summary["groups"])
by_group = sweep_tables.statistics(summary["groups"])
for keys in (("accuracy_curves",), ("grok_steps",), ("success_rate", "final_accuracy")):
    ui.row(*((f"sweep-{key}", charts[key]) for key in keys))
share = st.column_config.NumberColumn(format="percent")
percent = {name: share for name in by_group.column_names if name.startswith(("share", "final"))}
st.dataframe(by_group, hide_index=True, column_config=percent, placeholder="–")
with st.container(horizontal=True):
    file = f"sweep-{grid.preset}-p{p}"
    for label, make, ending, kind in (
        ("Runs as CSV", lambda: ui.csv(sweep_tables.results(grid, results)), "csv", "text/csv"),
        ("analysis_summary.json", lambda: json.dumps(summary, indent=1), "json", "application/json"),
        ("Charts as SVG", lambda: sweep_report.picture(sweep_report.combined(charts), "svg"), "svg", "image/svg+xml"),
        ("Report as HTML", lambda: sweep_report.html(grid, records, results, criterion), "html", "text/html"),
    ):
        target = "analysis_summary.json" if ending == "json" else f"{file}.{ending}"
        st.download_button(label, make, target, kind, icon=":material/download:", on_click="ignore")
