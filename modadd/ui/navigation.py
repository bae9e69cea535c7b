"""A page of the lab: its name, the way to the others, and the modulus in view."""

import re
from pathlib import Path

import streamlit as st

from .. import hosting
from ..runs import P_MAX, P_MIN, check_p
from ..store import ID
from . import links
from .lookup import WITH_A_RUN, lab, shown_run
from .words import plain

# A clock at x = 2; drawn here, because for an icon by name the browser would ask a server far away.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#2f7fc1" stroke-width="2.4" '
    'stroke-linecap="round"><circle cx="12" cy="12" r="10"/><path d="M12 12V6M12 12l5-3"/></svg>'
)
HISTORY = Path(__file__).with_name("history.js").read_text(encoding="utf-8")
ODD = list(range(P_MIN, P_MAX + 1, 2))

PAGES = {
    "streamlit_app.py": ("Home", ":material/home:"),
    "pages/21_Introduction.py": ("Introduction", ":material/school:"),
    "pages/23_Glossary.py": ("Glossary", ":material/menu_book:"),
    "pages/1_Live.py": ("Live", ":material/play_circle:"),
    "pages/2_Overview.py": ("Overview", ":material/dashboard:"),
    "pages/14_Atlas.py": ("Atlas", ":material/map:"),
    "pages/4_Weights.py": ("Weights", ":material/equalizer:"),
    "pages/5_Phases.py": ("Phases", ":material/donut_large:"),
    "pages/6_Logits.py": ("Logits", ":material/how_to_vote:"),
    "pages/7_Surgery.py": ("Surgery", ":material/content_cut:"),
    "pages/8_Lottery.py": ("Lottery", ":material/casino:"),
    "pages/9_Gradient_flow.py": ("Gradient flow", ":material/trending_down:"),
    "pages/10_Simulation.py": ("Simulation", ":material/animation:"),
    "pages/11_Claims.py": ("Claims", ":material/fact_check:"),
    "pages/12_Grokking.py": ("Grokking", ":material/lightbulb:"),
    "pages/19_Forks.py": ("Forks", ":material/fork_right:"),
    "pages/18_Seeds.py": ("Seeds", ":material/grain:"),
    "pages/22_Compare.py": ("Compare", ":material/compare_arrows:"),
    "pages/13_Sweeps.py": ("Sweeps", ":material/grid_on:"),
    "pages/15_Transformer.py": ("Transformer", ":material/hub:"),
    "pages/16_Tasks.py": ("Tasks", ":material/calculate:"),
    "pages/17_Surfaces.py": ("Surfaces", ":material/landscape:"),
    "pages/3_Runs.py": ("Runs", ":material/list:"),
    "pages/20_Import.py": ("Import", ":material/upload:"),
}


def page(title: str, of_p: bool = True) -> int:
    """Open a page: its name in the browser, the way to the others, and, if it is `of_p`, the modulus in view."""
    st.set_page_config(page_title=f"{title} · modadd", page_icon=ICON, layout="wide")
    if hosting.hosted():
        _guard()
    links.arrive()
    st.session_state.pop("in-view", None)
    links.restrict()
    p = _modulus()
    links.share()
    _ways(p)
    if of_p:
        st.sidebar.select_slider(
            "Modulus p", ODD, key="p", persist_state="session", disabled=links.locked("p") or links.locked("run")
        )
    links.carry("log", "log_steps", links.flag)
    st.sidebar.toggle("Logarithmic steps", key="log_steps", persist_state="session")
    with st.sidebar:  # as on every page, the component is named each time: it belongs to the runtime
        st.components.v2.component("modadd_history", js=HISTORY)(key="history")
    if fault := lab().store.fault:
        st.warning(f"{plain(fault, 300)}.")
    return p


def _guard():
    """On a server for strangers no error tells them more than that there was one."""
    st.set_option("client.showErrorDetails", "none")
    try:
        hosting.limits()
    except ValueError as error:
        st.error(f"{plain(str(error))}.")
        st.stop()


def _modulus() -> int:
    """The modulus in view, shared by all pages, kept in the URL as `p`; a run in the URL brings its own."""
    run = st.query_params.get("run", "")
    if "p" not in st.query_params and ID.fullmatch(run):
        st.query_params["p"] = run[1:4].lstrip("0")
    st.session_state.setdefault("p", 23)
    links.carry("p", "p", lambda text: check_p(int(text) if re.fullmatch(r"-?\d{1,9}", text, re.ASCII) else text))
    return st.session_state["p"]


def _ways(p: int):
    """Links to all pages, which keep the modulus, and the run and the step where the page can show them."""
    view = {name: st.query_params[name] for name in ("lock", "hide") if name in st.query_params} | {"p": str(p)}
    run = shown_run(p)
    for target, (name, icon) in PAGES.items():
        more = {"run": run.id} | links.step_in_view() if run and target in WITH_A_RUN[run.model] else {}
        st.sidebar.page_link(target, label=name, icon=icon, query_params=view | more)


def log_steps() -> bool:
    """Do step axes run logarithmically?  One switch for all pages, in the sidebar."""
    return st.session_state.get("log_steps", False)
