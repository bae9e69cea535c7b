"""The pieces every page shares; the only module here that imports streamlit.

A page holds a run id. What it draws comes from a Record: a live job's, the cache's or the atlas's,
looked up in that order by `find`.
"""

import io
import re
import threading
from dataclasses import dataclass

import altair as alt
import streamlit as st
from altair.utils import schemapi

from .lab import Job, Lab
from .record import Record
from .runs import P_MAX, P_MIN, Run, check_p, preset
from .store import Damaged, Store, default_folder

TICK = 0.5  # seconds between two looks at a live run
ODD = list(range(P_MIN, P_MAX + 1, 2))


@st.cache_resource(show_spinner=False)
def lab() -> Lab:
    """The one lab of this process, over the default store."""
    return Lab(Store(default_folder()))


PAGES = {
    "streamlit_app.py": ("Home", ":material/home:"),
    "pages/1_Live.py": ("Live", ":material/play_circle:"),
    "pages/2_Overview.py": ("Overview", ":material/dashboard:"),
    "pages/4_Weights.py": ("Weights", ":material/equalizer:"),
    "pages/5_Phases.py": ("Phases", ":material/donut_large:"),
    "pages/6_Logits.py": ("Logits", ":material/how_to_vote:"),
    "pages/7_Surgery.py": ("Surgery", ":material/content_cut:"),
    "pages/8_Lottery.py": ("Lottery", ":material/casino:"),
    "pages/9_Gradient_flow.py": ("Gradient flow", ":material/trending_down:"),
    "pages/10_Simulation.py": ("Simulation", ":material/animation:"),
    "pages/11_Claims.py": ("Claims", ":material/fact_check:"),
    "pages/12_Grokking.py": ("Grokking", ":material/lightbulb:"),
    "pages/3_Runs.py": ("Runs", ":material/list:"),
}


def page(title: str) -> int:
    """Open a page: its name in the browser, the way to the others, and the modulus in view."""
    st.set_page_config(page_title=f"{title} · modadd", page_icon=":material/network_node:", layout="wide")
    asked = st.query_params.get("p") or st.session_state.get("p")
    for target, (name, icon) in PAGES.items():
        st.sidebar.page_link(target, label=name, icon=icon, query_params={"p": str(asked)} if asked else None)
    return sidebar_p()


def sidebar_p() -> int:
    """The modulus in view, shared by all pages, kept in the URL as `p`."""
    asked = st.query_params.get("p")
    if asked is not None and "p" not in st.session_state:
        try:
            check_p(int(asked) if re.fullmatch(r"-?\d{1,9}", asked) else asked)
        except ValueError as error:
            st.error(f"{plain(str(error))}; showing p = 23 instead.")
            del st.query_params["p"]
        else:
            st.session_state["p"] = int(asked)
    st.session_state.setdefault("p", 23)
    p = st.sidebar.select_slider("Modulus p", ODD, key="p", persist_state="session")
    st.sidebar.toggle("Logarithmic steps", key="log_steps", persist_state="session")
    if st.query_params.get("p") != str(p):
        st.query_params["p"] = str(p)
    return p


def plain(text: str, limit: int = 120) -> str:
    """Text from outside, shortened and without any Markdown or HTML meaning."""
    return re.sub(r"([\\`*_{}\[\]()#+!|<>$~:])", r"\\\1", text[:limit])


@st.cache_resource(max_entries=12, show_spinner=False)
def _stored(run_id: str, version: str) -> Record | None:
    return lab().store.get(run_id)


@dataclass(frozen=True)
class Found:
    """What is known of a run: its record if there is one, and its job if this process has one."""

    record: Record | None
    job: Job | None

    @property
    def live(self) -> bool:
        return self.job is not None and self.job.active


def find(run_id: str) -> Found:
    """A live job first, then the cache, then the atlas; says in a sentence what is damaged."""
    job = lab().job(run_id)
    if job is not None and (job.active or job.status == "failed"):
        return Found(job.record, job)
    try:
        return Found(_stored(run_id, lab().store.version(run_id)), job)
    except Damaged as error:
        st.error(f"{error}.")
        return Found(None, job)


class _Drawing(threading.local):
    """The data of the chart that this session's thread is turning into a specification."""

    datasets: dict | None = None


_drawing = _Drawing()


def _by_name(data):
    # Data travel beside the specification as Arrow, so that an update swaps them in place.
    if _drawing.datasets is None:
        return alt.default_data_transformer(data)
    name = f"data{len(_drawing.datasets)}"
    _drawing.datasets[name] = data
    return {"name": name}


alt.data_transformers.register("by_name", _by_name)
alt.data_transformers.enable("by_name")
schemapi.disable_debug_mode()  # a schema check of every mark costs more than drawing it


def draw(chart: alt.TopLevelMixin, key: str, says: str, pick=None):
    """Show a chart; `key` keeps its place on the page between updates, `says` is its alt text;
    `pick` is called on a click."""
    _drawing.datasets = {}
    try:
        spec = chart.to_dict(validate=False)
        spec["datasets"] = _drawing.datasets
    finally:
        _drawing.datasets = None
    with st.container(key=f"chart-{key}"):
        st.vega_lite_chart(None, spec, key=key, width="stretch", alt=says, on_select=pick or "ignore")


def offer(run: Run, key: str):
    """Where a record is missing: say what training it costs, and a button that starts it."""
    from .cost import check_memory

    if (job := lab().job(run.id)) is not None and job.active:
        st.info(f"{run.preset} at p = {run.p} is {job.status} now.")
        st.page_link("pages/1_Live.py", label="Watch it", icon=":material/play_circle:", query_params={"run": run.id})
        return
    try:
        cost = check_memory(run, default_device())
    except ValueError as error:
        st.warning(f"{error}.")
        return
    st.info(
        f"**{run.preset}** at p = {run.p} has not been trained here. It would take about "
        f"{duration(cost.seconds)} on this machine ({default_device()})."
    )
    if st.button("Train it", key=key, icon=":material/play_arrow:", type="primary"):
        lab().submit(run)
        st.switch_page("pages/1_Live.py", query_params={"run": run.id})


@st.cache_resource(show_spinner=False)
def default_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    from .engine import pick_device

    return str(pick_device("auto"))


def duration(seconds: float | None) -> str:
    """Seconds for people: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min"."""
    if seconds is None:
        return "an unknown time"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:,.0f} h {seconds % 3600 // 60:.0f} min"


def size(count: int) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def number(value: float | None, form: str = ".4g") -> str:
    """A number for people; what does not apply is a dash."""
    return "–" if value is None else format(value, form)


def not_reached(step: int | None) -> str:
    return "not reached" if step is None else f"step {step:,}"


@st.cache_resource(show_spinner=False)
def devices() -> list[str]:
    """The devices one can train on here, `auto` first."""
    import torch

    return ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]


def price(run: Run, device: str = "auto") -> str:
    """Time and memory of a run, before it starts, in a sentence."""
    from .cost import check_memory

    try:
        cost = check_memory(run, default_device() if device == "auto" else device)
    except ValueError as error:
        return f"{error}."
    return f"About {duration(cost.seconds)} and {size(cost.memory)} of memory, {size(cost.disk)} on disk."


def provenance(record: Record) -> str:
    """Where the numbers come from, in a phrase."""
    origin = record.provenance
    return (
        f"{record.step:,} steps in {duration(origin['seconds'])} on {origin['device']}, {record.run.precision}, "
        f"torch {origin['torch']}, {origin['finished'][:10]}"
    )


def status(run_id: str, now: Found):
    """Progress, speed and time left of a run, with the buttons that steer it."""
    job, record = now.job, now.record
    if not now.live:
        if job is not None and job.status == "failed":
            st.error(f"{plain(job.error, 300)}. The lab goes on; change the settings or try again.")
        elif record is not None and record.finished:
            why = {"epochs": "ran to its last step", "plateau": "stopped on a plateau", "diverged": "diverged"}
            st.success(f"Run {run_id} {why[record.provenance['stop_reason']]} at step {record.step:,}.")
        elif record is not None:
            st.progress(record.step / record.run.epochs, f"Paused at step {record.step:,} of {record.run.epochs:,}")
            if st.button("Resume", icon=":material/play_arrow:", key="resume", type="primary"):
                lab().submit(record.run, job.device if job else "auto", resume=record if record.state else None)
                st.rerun()
        return
    if job.status == "queued":
        st.progress(0.0, f"Waiting for {lab().waiting_before(job)} run(s) on {job.device}")
    else:
        step = record.step if record else 0
        speed = record.provenance["steps_per_second"] if record else 0
        text = f"Step {step:,} of {job.run.epochs:,} · {speed:,.0f} steps/s · {duration(job.seconds_left)} left"
        st.progress(min(1.0, step / job.run.epochs), text)
    pause, stop, _ = st.columns([1, 1, 4])
    if pause.button("Pause", icon=":material/pause:", key="pause", width="stretch"):
        lab().pause(run_id)
    if stop.button("Stop", icon=":material/stop:", key="stop", width="stretch"):
        lab().stop(run_id)


def headline(record: Record):
    """The numbers of the moment, in one row."""
    now = record.summary
    shown = {
        "step": f"{record.step:,}",
        "train loss": number(now["train_loss"]),
        "train accuracy": number(now["train_accuracy"], ".1%"),
        "test accuracy": number(now["test_accuracy"], ".1%"),
        "IPR": number(now["ipr"], ".3f"),
        "mean |sin D|": number(now["mean_abs_sin_D"], ".3f"),
    }
    with st.container(horizontal=True):
        for label, value in shown.items():
            st.metric(label, value, width="content")


def player(records: list[Record]) -> int | None:
    """The step in view, chosen among the frames of these records; None without records."""
    steps = sorted({step for record in records for step in record.frame_steps})
    if len(steps) < 2:
        return steps[0] if steps else None
    if st.session_state.get("step") not in steps:
        st.session_state["step"] = min(steps, key=lambda s: abs(s - st.session_state.get("step", steps[-1])))
    return st.select_slider("Training step", steps, key="step", format_func=lambda s: f"{s:,}")


def log_steps() -> bool:
    """Do step axes run logarithmically?  One switch for all pages, in the sidebar."""
    return st.session_state.get("log_steps", False)


def stage_line(record: Record):
    """How far a record got, in a line."""
    now = record.summary
    if record.run.frac_train < 1:
        st.markdown(
            f"Memorisation ends: **{not_reached(now['stage1_end'])}**; generalisation ends: "
            f"**{not_reached(now['stage2_end'])}**. Test accuracy {number(now['test_accuracy'], '.1%')}, held out "
            f"(neither order trained) {number(now['held_out_accuracy'], '.1%')}."
        )
    else:
        st.markdown(
            f"Train accuracy {number(now['train_accuracy'], '.1%')} and loss {number(now['train_loss'])} "
            f"after {record.step:,} steps; 95 % of the sums are right from {not_reached(now['stage1_end'])} on."
        )
    st.caption(provenance(record))


def csv(log) -> bytes:
    """An Arrow table as CSV bytes."""
    from pyarrow import csv as arrow_csv

    buffer = io.BytesIO()
    arrow_csv.write_csv(log, buffer)
    return buffer.getvalue()


def choose_run(p: int, names: list[str]) -> Record:
    """The record of the run in the URL, else of a preset; where there is none, offer to train it and stop."""
    if asked := st.query_params.get("run"):
        found = find(asked)
        if found.record is not None and found.record.frames:
            back, line = st.columns([1, 3], vertical_alignment="center")
            back.button("Back to the presets", on_click=lambda: st.query_params.pop("run", None), width="stretch")
            line.caption(f"Run {found.record.run.id}, step {found.record.step:,}{', training' if found.live else ''}.")
            return found.record
        st.error(f"No run called {plain(asked)} with anything to draw is here; showing a preset instead.")
        del st.query_params["run"]
    run = preset(st.selectbox("Run", names, key="chosen_preset", persist_state="session"), p)
    record = find(run.id).record
    if record is None or not record.frames:
        offer(run, key=f"train-{run.preset}")
        st.stop()
    return record


def show(title: str, look_for: str, chart, key: str, rows, says: str, pick=None):
    """A chart under its title, what to look for in it, and its data as CSV; `pick` is called on a click."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{title}**", width="stretch")
        st.download_button(
            "CSV",
            lambda: csv(rows()),
            f"{key}.csv",
            "text/csv",
            key=f"csv-{key}",
            on_click="ignore",
            type="tertiary",
        )
    draw(chart, key, says, pick)
    st.caption(look_for)
