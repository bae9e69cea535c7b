"""A page of the lab: its name, the way to the others, and the modulus in view."""

import re
from pathlib import Path

import streamlit as st

from ..jobs import hosting
from ..records.store import ID
from ..runs import P_MAX, P_MIN, check_p
from . import links
from .lookup import lab
from .words import plain

# A clock at x = 2; drawn here, because for an icon by name the browser would ask a server far away.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#2f7fc1" stroke-width="2.4" '
    'stroke-linecap="round"><circle cx="12" cy="12" r="10"/><path d="M12 12V6M12 12l5-3"/></svg>'
)
HISTORY = Path(__file__).with_name("history.js").read_text(encoding="utf-8")
ODD = list(range(P_MIN, P_MAX + 1, 2))

# The groups of the navigation; an entry is a page with its companions, which are tabs below its name.
GROUPS = {
    "Start": (("Home",), ("Introduction",), ("Glossary",)),
    "Watch": (("Live",), ("Overview",)),
    "Inside": (("Weights", "Surfaces"), ("Phases",), ("Logits", "Surgery")),
    "Dynamics": (("Lottery",), ("Gradient_flow", "Simulation"), ("Grokking",)),
    "Evidence": (("Claims", "Atlas"), ("Seeds", "Sweeps", "Forks", "Compare")),
    "More": (("Transformer",), ("Tasks",), ("Runs", "Import")),
}
ENTRIES = {"Seeds": "Experiments"}  # entries that are called otherwise than their first page
ICONS = {
    "Home": "home", "Introduction": "school", "Glossary": "menu_book", "Live": "play_circle", "Overview": "dashboard",
    "Weights": "equalizer", "Surfaces": "landscape", "Phases": "donut_large", "Logits": "how_to_vote",
    "Surgery": "content_cut", "Lottery": "casino", "Gradient_flow": "trending_down", "Simulation": "animation",
    "Grokking": "lightbulb", "Claims": "fact_check", "Atlas": "map", "Seeds": "grain", "Sweeps": "grid_on",
    "Forks": "fork_right", "Compare": "compare_arrows", "Transformer": "hub", "Tasks": "calculate", "Runs": "list",
    "Import": "upload",
}  # fmt: skip
PAGES = {
    f"pages/{name}.py": (name.replace("_", " "), f":material/{ICONS[name]}:")
    for entries in GROUPS.values() for entry in entries for name in entry
}  # fmt: skip
"""The file of each page: its name and its icon."""


def navigate():
    """Open the page of the address, under the navigation."""
    pages = {
        group: [
            st.Page(
                f"pages/{name}.py", title=ENTRIES.get(name, name.replace("_", " ")), icon=f":material/{ICONS[name]}:",
                default=name == "Home", visibility="visible" if name == entry[0] else "hidden",
            )
            for entry in entries for name in entry
        ]
        for group, entries in GROUPS.items()
    }  # fmt: skip
    st.navigation(pages, position="top").run()


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


def log_steps() -> bool:
    """Do step axes run logarithmically?  One switch for all pages, in the sidebar."""
    return st.session_state.get("log_steps", False)
