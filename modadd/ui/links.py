"""The address of a view: what is in view travels in the URL, so that a link opens what one saw.

A choice is declared right before its widget, in a line: `carry("neuron", key, whole(0, M - 1))`.  The session
holds it under `key`, the URL under the parameter's name.  Whatever the URL says that this session has not written
itself is a wish: it is checked, brought to the nearest that there is, or left with a sentence.
"""

import re
import time
from collections.abc import Callable, Collection
from urllib.parse import urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from ..records.store import ID
from .words import plain

LOCKS = {"p": "Modulus p", "run": "Run", "step": "Training step"}
HIDES = {"sidebar": "Sidebar", "controls": "All controls: prose and charts only"}
LISTED = 8  # values of a list in the URL
SETTLED = 1.0  # seconds after which the browser has heard of an address that was written for it
WIDGETS = ("Slider", "Selectbox", "NumberInput", "TextInput", "ButtonGroup", "Checkbox", "Radio", "MultiSelect",
           "Button", "DownloadButton", "Popover", "FileUploader")  # fmt: skip

Check = Callable[[str], object]
"""From the text of a parameter to its value; ValueError with a sentence where it has none."""


def whole(low: int, high: int) -> Check:
    """A whole number, brought between `low` and `high`."""

    def check(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,9}", text, re.ASCII):
            raise ValueError(f"a whole number from {low:,} to {high:,} was expected, got {text!r:.40}")
        return min(max(int(text), low), high)

    return check


def one_of(options: Collection) -> Check:
    """One of these, by its name."""
    names = {str(option): option for option in options}

    def check(text: str):
        if text not in names:
            raise ValueError(f"one of {', '.join(list(names)[:12])} was expected, got {text!r:.40}")
        return names[text]

    return check


def several(options: Collection | None = None, most: int = LISTED) -> Check:
    """A list of up to `most` of these, or of run ids, parted by commas; what is none of them is left out."""

    def check(text: str) -> list[str]:
        words = list(dict.fromkeys(text[: 64 * most].split(",")))
        known = [word for word in words if (word in options if options is not None else ID.fullmatch(word))]
        if not known and text:
            raise ValueError(f"none of these is here: {text!r:.80}")
        return known[:most]

    return check


def words(most: int = 200) -> Check:
    """Any text of up to `most` printable characters, for a box that checks what is typed into it."""
    return lambda text: "".join(letter for letter in text[:most] if letter.isprintable())


def flag(text: str) -> bool:
    """On for "1"."""
    return one_of(("0", "1"))(text) == "1"


def text_of(value) -> str | None:
    """A value as the URL has it; None for what is off or empty."""
    if isinstance(value, bool):
        return "1" if value else None
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or None
    return None if value is None or value == "" else str(value)


def carry(parameter: str, key: str, check: Check):
    """Keep the parameter of the URL and the value under `key` of the session the same; stands right before the
    widget of this key."""
    read(parameter, key, check)
    if key in st.session_state:
        write(parameter, st.session_state[key])


def read(parameter: str, key: str, check: Check):
    """Take over what the URL wishes; and drop what the session kept from where other values were to be had."""
    state, asked = st.session_state, st.query_params.get(parameter)
    now, before, since = state.get(f"link-{parameter}", (None, None, 0.0))
    _known()[parameter] = key
    # An event of before the address was last written still tells the old one.
    told = {now, state.get(f"offered-{parameter}"), before if time.monotonic() - since < SETTLED else None}
    if asked is None or asked in told:
        if (kept := text_of(state.get(key))) is not None:
            try:
                if text_of(value := check(kept)) != kept:
                    state[key] = value
            except ValueError:
                del state[key]
        return
    try:
        state[key] = check(asked)
    except ValueError as error:
        del st.query_params[parameter]
        instead = f"{parameter} = {plain(kept, 80)}" if (kept := text_of(state.get(key))) else "the usual"
        st.error(f"{plain(str(error), 200)}; showing {instead} instead.")
        return
    state[f"link-{parameter}"] = (asked, None, 0.0)
    if asked and (shown := text_of(state[key]) or "0") != asked:
        st.error(f"{parameter} = {plain(asked, 40)} is not to be had here; showing {plain(shown, 80)} instead.")


def write(parameter: str, value):
    """Put a value into the URL, where it is not there yet; None takes the parameter out of it."""
    text, there = text_of(value), st.query_params.get(parameter)
    now = st.session_state.get(f"link-{parameter}", (None,))[0]
    if text == there == now:
        return
    if text is None:
        st.query_params.pop(parameter, None)
    elif text != there:
        st.query_params[parameter] = text
    st.session_state[f"link-{parameter}"] = (text, there, time.monotonic())


def step_in_view() -> dict[str, str]:
    """The step in view for a link to another page, none while it stands on the newest one."""
    step = text_of(st.session_state.get("step"))
    if step is None or st.session_state["step"] == st.session_state.get("step-newest"):
        st.session_state.pop("offered-step", None)
        return {}
    st.session_state["offered-step"] = step  # the session may have moved on when it comes back
    return {"step": step}


def locked(parameter: str) -> bool:
    """Does the link that was opened hold this control still?"""
    return parameter in st.session_state.get("lock", ())


def _known() -> dict[str, str]:
    """The parameters that the page in view has read so far, with their keys of the session."""
    page = get_script_run_ctx().page_script_hash
    return st.session_state.setdefault("parameters", {}).setdefault(page, {})


def arrive():
    """Stands before all else on a page.

    Where Back or Forward led to this address, the view is what it says, and the usual in what it leaves out.
    """
    state, run = st.session_state, get_script_run_ctx()
    if run.is_history_navigation:
        for name in [name for name in state if str(name).startswith(("link-", "offered-"))]:
            del state[name]
        for parameter, key in _known().items():
            if parameter not in st.query_params:
                state.pop(key, None)
    if state.get("page") != run.page_script_hash:
        state["page"] = run.page_script_hash
        # Said again, or a slider that is new to the browser stands at its first value.
        for key in {key for known in state.get("parameters", {}).values() for key in known.values()}:
            if key in state:
                state[key] = state[key]


def restrict():
    """Do what a link for a class asks for: hold controls still, hide them."""
    for name, options in (("lock", LOCKS), ("hide", HIDES)):
        carry(name, name, several(options))
    hide = st.session_state.get("hide", ())
    hidden = ["stSidebar", "stExpandSidebarButton"] if "sidebar" in hide else []
    if "controls" in hide:
        hidden += [f"st{name}" for name in WIDGETS]
    if hidden:
        chosen = [f"[data-testid={name}]" for name in hidden]
        chosen += [":has(> [class*=st-key-player-bar])"] * ("controls" in hide)
        st.html(f"<style>{', '.join(chosen)} {{display: none !important}}</style>")


def share():
    """In the sidebar: the address of this view to copy, and one that holds controls still for a class."""
    with st.sidebar.container(horizontal=True):
        copy = st.popover("Copy link", icon=":material/link:", type="tertiary", on_change="rerun", key="copy-link")
        made = st.popover("Link for a class", icon=":material/groups:", type="tertiary", on_change="rerun",
                          key="class-link")  # fmt: skip
    asked = {name: value for name, value in st.query_params.to_dict().items() if name not in ("lock", "hide")}
    if copy.open:
        with copy:
            st.caption("Opens this page with the same run, step and choices, anywhere this lab runs with these runs.")
            st.code(address(st.query_params.to_dict()), language=None, wrap_lines=True)
    if made.open:
        with made:
            lock = st.pills("Hold still", LOCKS, selection_mode="multi", format_func=LOCKS.get, key="class-lock")
            hide = st.pills("Hide", HIDES, selection_mode="multi", format_func=HIDES.get, key="class-hide")
            for name, chosen in (("lock", lock), ("hide", hide)):
                if chosen:
                    asked[name] = ",".join(chosen)
            st.code(address(asked), language=None, wrap_lines=True)
            st.caption("A convenience, not a protection: who edits the address has every control back.")


def address(parameters: dict[str, str]) -> str:
    """The address of this page with these parameters."""
    here = (st.context.url or "").partition("?")[0]
    return f"{here}?{urlencode(parameters, safe=',')}" if parameters else here
