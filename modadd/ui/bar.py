"""The first row of the instrument bar: the modulus, the run and the time axis, and sharing what is in view.

The session holds what is chosen under `p`, `run` and `axis`; the bar (bar.js) shows it and tells wishes.
"""

import re
from pathlib import Path
from typing import NoReturn

import streamlit as st

from ..records.store import ID
from ..runs import P_MAX, P_MIN, PRESETS, TRANSFORMERS, check_p
from . import links

HERE = Path(__file__).parent
SCRIPT = "\n".join((HERE / name).read_text(encoding="utf-8") for name in ("hover.js", "bar.js"))
AXES = ("log", "linear")

Choices = dict[str, dict[str, str]]
"""Runs to choose from by group: {group: {preset or run id: words}}."""


class Stopped(Exception):
    """The page has no more to show."""


def stop() -> NoReturn:
    """Leave the page as it is; what frames it still follows, which st.stop would prevent."""
    raise Stopped


def modulus(text: str) -> int:
    """A modulus from its text; ValueError where it is none."""
    return check_p(int(text) if re.fullmatch(r"-?\d{1,9}", text, re.ASCII) else text)


def run_name(text: str) -> str:
    """The id of a run, or the name of a preset; ValueError where it is neither."""
    if not ID.fullmatch(text) and text not in PRESETS | TRANSFORMERS:
        raise ValueError(f"No run called {text!r:.60} is here")
    return text


def arrive() -> int:
    """Take over modulus, run and axis from the address, and give the modulus.  A run brings its own modulus, and is
    left where the address names another."""
    state, asked = st.session_state, st.query_params.get("run")
    state.setdefault("p", 23)
    links.carry("run", "run", run_name)
    its = int(run[1:4]) if ID.fullmatch(run := state.get("run") or "") else None
    if its and "p" not in st.query_params:
        state["p"] = its
    links.carry("p", "p", modulus)
    links.carry("axis", "axis", links.one_of(AXES), AXES[0])
    if its and its != state["p"]:
        open_run(None)
        if asked == run:
            st.info(f"{run} is a run of p = {its}: showing p = {state['p']} instead.")
    return state["p"]


def open_run(run: str | None):
    """From the next run of the page on, this run (an id or the name of a preset) is in view; None: the page's own."""
    st.session_state["run"] = run
    links.write("run", run)


def choices(runs: Choices, chosen: str):
    """Draw the bar of this page with these runs to choose from, one of them chosen."""
    place, st.session_state["bar-place"] = st.session_state.get("bar-place"), None
    if place is not None:
        draw(place, runs, chosen)


def draw(place, choices: Choices, chosen: str):
    """The bar with these runs to choose from, one of them chosen."""
    state = st.session_state
    offered = {run for runs in choices.values() for run in runs}
    with place:
        # The component belongs to the runtime, which tests start anew: it is named each time.
        st.components.v2.component("modadd_bar", js=SCRIPT, isolate_styles=False)(
            key="bar",
            data={
                "p": state["p"], "least": P_MIN, "most": P_MAX, "run": chosen, "axis": state.get("axis", AXES[0]),
                "runs": [[group, list(runs.items())] for group, runs in choices.items() if runs],
                "locked": [name for name in links.LOCKS if links.locked(name)], "seq": state.get("bar-seq", 0),
            },
            on_wish_change=lambda: take(getattr(state.get("bar"), "wish", None), offered),
        )  # fmt: skip


def take(wish, offered: set[str]):
    """What the browser wishes for, as far as it is sense and not locked."""
    state = st.session_state
    if not isinstance(wish, dict) or type(wish.get("seq")) is not int or wish["seq"] <= state.get("bar-seq", 0):
        return
    state["bar-seq"] = wish["seq"]
    p = wish.get("p")
    if type(p) is int and p % 2 and P_MIN <= p <= P_MAX and p != state["p"] and not links.locked("p"):
        state["p"] = p
        if ID.fullmatch(state.get("run") or ""):
            open_run(None)  # it is of another modulus
    if wish.get("run") in offered and not links.locked("run"):
        open_run(wish["run"])
    if wish.get("axis") in AXES:
        state["axis"] = wish["axis"]
