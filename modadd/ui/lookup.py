"""Runs by their id: a live job first, then the cache, then the atlas; and what to do where there is none."""

import contextlib
from dataclasses import dataclass, replace

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from ..jobs import hosting
from ..jobs.lab import Job, Lab
from ..records.record import Record
from ..records.store import ID, Damaged, Store, default_folder
from ..runs import P_GROK, PRESETS, TRANSFORMERS, Run, preset
from . import bar
from .words import duration, plain, provenance, size

TICK = 0.5  # seconds between two looks at a live run
HOMES = {"mlp": "pages/Weights.py", "transformer": "pages/Transformer.py", "pre-ln": "pages/Tasks.py"}
WITH_A_RUN = {  # pages that show a run, by its model
    "mlp": tuple(f"pages/{name}.py" for name in (
        "Live", "Weights", "Phases", "Logits", "Surgery", "Lottery", "Gradient_flow", "Claims", "Surfaces", "Forks")),
    "transformer": ("pages/Live.py", "pages/Transformer.py", "pages/Surfaces.py"),
    "pre-ln": ("pages/Live.py", "pages/Tasks.py", "pages/Surfaces.py"),
}  # fmt: skip


@st.cache_resource(show_spinner=False)
def lab() -> Lab:
    """The one lab of this process, over the default store."""
    store = Store(default_folder())

    def admit(run: Run, active: list[Job]) -> str | None:
        who = visitor()
        hosting.admit(run, active, who, store.folder)
        return who

    return Lab(store, admit)


def visitor() -> str | None:
    """Who looks at this page: a browser session."""
    session = get_script_run_ctx(suppress_warning=True)
    return session and session.session_id


@contextlib.contextmanager
def refusals():
    """Within: a run that the lab refuses is a sentence on the page."""
    try:
        yield
    except ValueError as error:
        st.error(f"{plain(str(error), 300)}.")


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
    anew = job is not None and job.afresh and job.record is not None and not job.record.finished
    if job is not None and (job.active or job.status == "failed" or anew):
        return Found(job.record, job)
    try:
        return Found(_stored(run_id, lab().store.version(run_id)), job)
    except Damaged as error:
        st.error(f"{error}.")
        return Found(None, job)


def offer(run: Run, key: str, lacking: str = "has not been trained here"):
    """Where a record is missing or lacks what is to be shown: a button in its place that trains it as it can be
    trained here, and says how long that takes.  The page then grows with the run."""
    from ..training.cost import check_memory

    asked, run = run, here(run)
    if (job := lab().job(run.id)) is not None and job.active:
        follow(run.id)
        return
    try:
        cost = check_memory(run, default_device())
    except ValueError as error:
        st.warning(f"{error}.")
        return
    words, press = st.columns([3, 2], vertical_alignment="center")
    words.markdown(f"**{run.preset.replace('_', ' ')}** at p = {run.p} {lacking}.")
    label = f"Train this here (about {duration(cost.seconds)})"
    if press.button(label, key=key, icon=":material/play_arrow:", type="primary", width="stretch"):
        with refusals():
            lab().submit(run, afresh=True)
            if run != asked:
                bar.open_run(run.id)
            st.rerun()


@st.cache_resource(show_spinner=False)
def default_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    from ..networks.device import pick_device

    return str(pick_device("auto"))


@st.cache_resource(show_spinner=False)
def devices() -> list[str]:
    """The devices one can train on here, `auto` first."""
    import torch

    return ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]


def here(run: Run, device: str = "auto") -> Run:
    """The run as it can be trained here: in float32 where there is no CUDA device."""
    return replace(run, precision="fp32") if "cpu" in (device, default_device()) else run


def price(run: Run, device: str = "auto") -> str:
    """Time and memory of a run, before it starts, in a sentence."""
    from ..training.cost import check_memory

    try:
        cost = check_memory(run, default_device() if device == "auto" else device)
    except ValueError as error:
        return f"{error}."
    return f"About {duration(cost.seconds)} and {size(cost.memory)} of memory, {size(cost.disk)} on disk."


def asked_run(p: int) -> Run | None:
    """The run in view by its id, if it is here; a sentence where there is none of this id."""
    asked = st.session_state.get("run")
    if not asked or asked in PRESETS | TRANSFORMERS:
        return None
    found = find(asked) if ID.fullmatch(asked) else Found(None, None)
    run = found.record.run if found.record else found.job.run if found.job else None
    if run is None:
        bar.open_run(None)
        st.error(f"No run called {plain(asked)} is here; showing the preset at p = {p} instead.")
    return run


@st.cache_data(ttl=10, max_entries=4, show_spinner=False)
def _listed(folder: str, atlas: str) -> list[tuple[Run, str]]:
    """Every stored run and the day on which it ended, one's own newest first; no day where it came along."""
    cards = lab().store.cards().values()
    own = [(card["run"], str(card["provenance"].get("finished", ""))) for card in cards if card["where"] == "cache"]
    return [
        *((run, day[:10]) for run, day in sorted(own, key=lambda item: item[1], reverse=True)),
        *((card["run"], "") for card in cards if card["where"] != "cache"),
    ]


def runs_at(p: int, names: list[str], models: tuple[str, ...] = ("mlp",), shown: Run | None = None) -> bar.Choices:
    """The runs of a modulus to choose from: these presets, what is training or was trained here, newest first, and
    what else came along; the run `shown` is among them."""

    def fits(run: Run) -> bool:
        return run.p == p and run.model in models

    usual = {preset(name, p).id for name in names if name != "grokking" or p >= P_GROK}
    yours = {job.run.id: f"{_words(job.run)}, training now" for job in lab().jobs() if job.active and fits(job.run)}
    others = {}
    for run, day in _listed(str(lab().store.folder), str(lab().store.atlas)):
        if fits(run) and day:
            yours.setdefault(run.id, f"{_words(run)}, {day}")
        elif fits(run) and run.id not in usual:
            others[run.id] = _words(run)
    if shown is not None and shown.id not in yours | others:
        yours = {shown.id: _words(shown)} | yours
    return {
        "Presets": {name: name.replace("_", " ") for name in names}, "Yours, newest first": yours, "Atlas": others,
    }  # fmt: skip


def _words(run: Run) -> str:
    return f"{run.preset.replace('_', ' ')}, seed {run.seed}, {run.epochs:,} steps"


def with_asked(runs: dict[str, Run], p: int) -> dict[str, Run]:
    """These runs, `standard` and `grokking`, with the one in view in the place of that which is like it; a sentence
    says which, or why it is not shown."""
    run = asked_run(p)
    choices = runs_at(p, [], shown=run) | {"Presets": {"": " + ".join(runs)}}
    bar.choices(choices, run.id if run and run.model == "mlp" else "")
    if run is None:
        return runs
    if run.model != "mlp":
        _elsewhere(run)
        return runs
    place, side = ("standard", "All pairs") if run.frac_train == 1 else ("grokking", "Some held out")
    st.caption(f"{side}: the run {run.id}, in the place of the preset.")
    return runs | {place: run}


def _elsewhere(run: Run):
    st.info(f"{run.id} is a run of the {run.model} model, which this page does not show.")
    st.page_link(HOMES[run.model], label="Open its own page", query_params={"run": run.id})


def choose_run(p: int, names: list[str], models: tuple[str, ...] = ("mlp",)) -> Record:
    """The record of the run in view, else of one of these presets; where there is none, offer to train it and stop.

    The bar offers the presets and all other runs of this modulus and these models.
    """
    run = asked_run(p)
    if run is not None and run.model not in models:
        _elsewhere(run)
        run = None
    elif run is not None:
        record = find(run.id).record
        st.caption(f"Run {run.id}, {provenance(record) if record else 'not begun'}.")
    asked = st.session_state.get("run")
    name = asked if asked in names else names[0]
    bar.choices(runs_at(p, names, models, run), run.id if run else name)
    if run is None:
        try:
            run = preset(name, p)
        except ValueError as error:  # there is none of this name at so small a modulus
            st.info(f"{error}.")
            bar.stop()
    return _something_to_draw(run)


def _something_to_draw(run: Run) -> Record:
    follow(run.id)
    found = find(run.id)
    if found.record is not None and found.record.frames:
        st.session_state["in-view"] = found.record.run.id
        return found.record
    if not found.live:
        offer(run, key=f"train-{run.preset}")
    bar.stop()


def compare_link(runs: list[Run]):
    """The way to these runs beside each other, or to the first few of them."""
    from ..many.compare import MOST

    st.page_link(
        "pages/Compare.py", label="Compare" if len(runs) <= MOST else f"Compare the first {MOST}",
        icon=":material/compare_arrows:",
        query_params={"runs": ",".join(run.id for run in runs[:MOST]), "p": str(runs[0].p)},
    )  # fmt: skip


def follow(*run_ids: str):
    """Where one of these runs is training now: say how far it is, and run the page again when it has new frames."""
    seen = _growing(run_ids)
    if not seen:
        return

    @st.fragment(run_every=TICK)
    def look():
        if _growing(run_ids) != seen and not st.session_state.get("step-playing"):
            st.rerun()
        for run_id in seen:
            job = lab().job(run_id)
            at = f"step {job.record.step:,} of {job.run.epochs:,}" if job.record else "its first frame is to come"
            st.caption(f":material/sensors: {run_id} is training now: {at}. This page grows with it.")

    look()


def _growing(run_ids) -> dict[str, int]:
    """Those that train or wait for it, with the number of their frames so far."""
    jobs = {run_id: lab().job(run_id) for run_id in run_ids}
    return {run_id: len(job.record.frames) if job.record else 0 for run_id, job in jobs.items() if job and job.active}
