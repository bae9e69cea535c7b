"""A page of the lab: its name, the way to the others, and the modulus in view."""

import re

import streamlit as st

from .. import hosting
from ..runs import P_MAX, P_MIN, check_p
from ..store import ID
from .words import plain

ODD = list(range(P_MIN, P_MAX + 1, 2))

PAGES = {
    "streamlit_app.py": ("Home", ":material/home:"),
    "pages/21_Introduction.py": ("Introduction", ":material/school:"),
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
    "pages/13_Sweeps.py": ("Sweeps", ":material/grid_on:"),
    "pages/15_Transformer.py": ("Transformer", ":material/hub:"),
    "pages/16_Tasks.py": ("Tasks", ":material/calculate:"),
    "pages/17_Surfaces.py": ("Surfaces", ":material/landscape:"),
    "pages/3_Runs.py": ("Runs", ":material/list:"),
    "pages/20_Import.py": ("Import", ":material/upload:"),
}


def page(title: str) -> int:
    """Open a page: its name in the browser, the way to the others, and the modulus in view."""
    st.set_page_config(page_title=f"{title} · modadd", page_icon=":material/network_node:", layout="wide")
    if hosting.hosted():
        _guard()
    asked = st.query_params.get("p") or st.session_state.get("p")
    for target, (name, icon) in PAGES.items():
        st.sidebar.page_link(target, label=name, icon=icon, query_params={"p": str(asked)} if asked else None)
    return _sidebar_p()


def _guard():
    """On a server for strangers no error tells them more than that there was one."""
    st.set_option("client.showErrorDetails", "none")
    try:
        hosting.limits()
    except ValueError as error:
        st.error(f"{plain(str(error))}.")
        st.stop()


def _sidebar_p() -> int:
    """The modulus in view, shared by all pages, kept in the URL as `p`; a run in the URL brings its own."""
    asked, run = st.query_params.get("p"), st.query_params.get("run", "")
    if asked is None and ID.fullmatch(run):
        asked = run[1:4].lstrip("0")
    if asked is not None:
        try:
            check_p(int(asked) if re.fullmatch(r"-?\d{1,9}", asked) else asked)
        except ValueError as error:
            st.error(f"{plain(str(error))}; showing p = 23 instead.")
            st.session_state["p"] = 23
        else:
            st.session_state["p"] = int(asked)
    st.session_state.setdefault("p", 23)

    def moved():  # the URL follows the slider, and everything else follows the URL
        st.query_params["p"] = str(st.session_state["p"])

    p = st.sidebar.select_slider("Modulus p", ODD, key="p", persist_state="session", on_change=moved)
    st.sidebar.toggle("Logarithmic steps", key="log_steps", persist_state="session")
    if st.query_params.get("p") != str(p):
        moved()
    return p


def log_steps() -> bool:
    """Do step axes run logarithmically?  One switch for all pages, in the sidebar."""
    return st.session_state.get("log_steps", False)
