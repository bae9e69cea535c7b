"""A page of the lab: its name, the way to the others, and the modulus in view."""

import contextlib
from pathlib import Path

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.util import calc_hash

from ..jobs import hosting
from . import bar, charts, links
from .lookup import lab
from .words import plain

# A clock at x = 2; drawn here, because for an icon by name the browser would ask a server far away.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#2f7fc1" stroke-width="2.4" '
    'stroke-linecap="round"><circle cx="12" cy="12" r="10"/><path d="M12 12V6M12 12l5-3"/></svg>'
)
HISTORY = Path(__file__).with_name("history.js").read_text(encoding="utf-8")
STYLE = Path(__file__).with_name("frame.css").read_text(encoding="utf-8")

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
    """Open the page of the address, under the navigation and with the instrument bar."""
    st.html(f"<style>{STYLE}</style>")
    pages = {
        group: [
            st.Page(  # without its icon, for which the browser would ask a server far away
                f"pages/{name}.py", title=ENTRIES.get(name, name.replace("_", " ")), default=name == "Home",
                visibility="visible" if name == entry[0] else "hidden",
            )
            for entry in entries for name in entry
        ]
        for group, entries in GROUPS.items()
    }  # fmt: skip
    page = st.navigation(pages, position="top")
    st.session_state["bar-place"] = None
    with contextlib.suppress(bar.Stopped):
        page.run()
    if (place := st.session_state["bar-place"]) is not None:
        bar.draw(place, {}, "")
    links.settle()


def page(title: str, of_p: bool = True) -> int:
    """Open a page: its name in the browser, its companions, and, if it is `of_p`, the modulus in view, which comes
    back."""
    st.set_page_config(page_title=f"{title} · modadd", page_icon=ICON, layout="wide")
    if hosting.hosted():
        _guard()
    st.html(f"<style>{charts.CSS}</style>")
    moved = links.arrive()
    state = st.session_state
    state.pop("in-view", None)
    links.restrict()
    p = bar.arrive()
    with st.container(key="frame"):  # the component is named each time: it belongs to the runtime
        st.components.v2.component("modadd_history", js=HISTORY)(key="history")
        if of_p:
            state["bar-place"] = st.container()
    if not moved:  # the browser may not yet stand at the path of another page
        links.settle("p", "run")  # the rest of the page may take its time
    _companions()
    if fault := lab().store.fault:
        st.warning(f"{plain(fault, 300)}.")
    return p


def _companions():
    """Ways to the pages that share an entry of the navigation with this one."""
    here = get_script_run_ctx().page_script_hash
    entries = (entry for entries in GROUPS.values() for entry in entries)
    entry = next((entry for entry in entries if here in map(calc_hash, entry)), ())
    if len(entry) > 1:
        with st.container(horizontal=True, key="companions"):
            for name in entry:
                label, icon = PAGES[f"pages/{name}.py"]
                st.page_link(f"pages/{name}.py", label=label, icon=icon)


def _guard():
    """On a server for strangers no error tells them more than that there was one."""
    st.set_option("client.showErrorDetails", "none")
    try:
        hosting.limits()
    except ValueError as error:
        st.error(f"{plain(str(error))}.")
        bar.stop()


def log_steps() -> bool:
    """Do step axes run logarithmically?  One switch for all pages, in the instrument bar."""
    return st.session_state.get("axis", bar.AXES[0]) == bar.AXES[0]


def head(title: str, sentence: str = "", why: str = ""):
    """The title of a page with one sentence beside it, and the rest of what is to be said behind “Why?”; the line that
    holds them comes back, for what else is to stand there."""
    with (line := st.container(horizontal=True, vertical_alignment="center", key="head")):
        st.title(title, width="content", anchor=False)
        if sentence:
            st.markdown(sentence, width="stretch")
        if why:
            with st.popover("Why?", type="tertiary", icon=":material/help:"):
                st.markdown(why)
    return line
