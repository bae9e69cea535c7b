"""The address of a view: what is in view travels in the URL, so that a link opens what one saw.

A choice is declared right before its widget, in a line: `carry("neuron", key, whole(0, M - 1))`.  The session
holds it under `key`, the URL under the parameter's name.  What the URL says is a wish where one arrives by it: it is
checked, brought to the nearest that there is, or left with a sentence.  From then on the session leads: what was
written reaches the URL when the run of the page ends (`settle`), all of it at once.
"""

import re
import time
from collections.abc import Callable, Collection

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from ..records.store import ID
from .words import plain

LOCKS = {"p": "Modulus p", "run": "Run", "step": "Training step"}
HIDES = {"navigation": "Navigation", "controls": "All controls: prose and charts only"}
# What the session knows on several pages; every other key belongs to one page, which it names.
SHARED = frozenset({"p", "run", "step", "axis", "neuron", "criterion", "lock", "hide"})
LISTED = 8  # values of a list in the URL
SETTLED = 10.0  # seconds after which the browser has heard of an address that was written for it
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


def real(low: float, high: float) -> Check:
    """A number, brought between `low` and `high`."""

    def check(text: str) -> float:
        if not re.fullmatch(r"[+-]?\d{0,20}\.?\d{0,20}([eE][+-]?\d{1,3})?", text, re.ASCII) or not text.strip("+-.eE"):
            raise ValueError(f"a number from {low:g} to {high:g} was expected, got {text!r:.40}")
        return min(max(float(text), low), high)

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


def text_of(value) -> str | None:
    """A value as the URL has it; None for what is off or empty."""
    if isinstance(value, bool):
        return "1" if value else None
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or None
    return None if value is None or value == "" else str(value)


def carry(parameter: str, key: str, check: Check, default=None):
    """Keep the parameter of the URL and the value under `key` of the session the same; stands right before the
    widget of this key.  The URL leaves out the `default`."""
    read(parameter, key, check)
    if key in st.session_state:
        value = st.session_state[key]
        write(parameter, None if value == default else value)


def read(parameter: str, key: str, check: Check):
    """Take over what the URL wishes; and drop what the session kept from where other values were to be had."""
    state, asked = st.session_state, st.query_params.get(parameter)
    _known()[parameter] = key
    if asked is None or asked in _said(parameter):
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
        write(parameter, state.get(key))
        instead = f"{parameter} = {plain(kept, 80)}" if (kept := text_of(state.get(key))) else "the default"
        st.error(f"{plain(str(error), 200)}; showing {instead} instead.")
        return
    _say(parameter, asked)
    if asked and (shown := text_of(state[key]) or "0") != asked:
        st.error(f"{parameter} = {plain(asked, 40)} is not available here; showing {plain(shown, 80)} instead.")


def write(parameter: str, value):
    """What the parameter is to be once the run of the page ends; None takes it out of the URL."""
    text = text_of(value)
    st.session_state["address"][parameter] = text
    _say(parameter, text)


def settle(*parameters: str):
    """Put what was written into the URL, of these parameters or of all; stands at the end of every run of a page and
    of its player."""
    state, told = st.session_state, st.query_params.to_dict()
    if "address" not in state:
        return  # nobody has arrived
    address = {name: text for name, text in state["address"].items() if not parameters or name in parameters}
    wanted = {name: text for name, text in (told | address).items() if text is not None}
    # An event of before the address was last written tells the old one, which then is not the browser's any more.
    if wanted != told or state["address-sent"] not in (None, wanted):
        st.query_params.from_dict(wanted)
    state["address-sent"] = wanted


def _said(parameter: str) -> set[str]:
    """The values that an event may tell of this parameter though they are no wish: this session's own."""
    now, address = time.monotonic(), st.session_state["address"]
    recent = st.session_state["address-said"].get(parameter, {})
    return {text for text, since in recent.items() if now - since < SETTLED or text == address.get(parameter)}


def _say(parameter: str, text: str | None):
    said = st.session_state["address-said"]
    said[parameter] = said.get(parameter, {}) | {text: time.monotonic()}


def locked(parameter: str) -> bool:
    """Does the link that was opened lock this control?"""
    return parameter in st.session_state.get("lock", ())


def _known() -> dict[str, str]:
    """The parameters that the page in view has read so far, with their keys of the session."""
    page = get_script_run_ctx().page_script_hash
    return st.session_state.setdefault("parameters", {}).setdefault(page, {})


def arrive() -> bool:
    """Stands before all else on a page; is it another one than before?

    Where Back or Forward led to this address, the view is what it says, and the default in what it leaves out.
    Another page keeps of the view what its address leaves out: the modulus, the run and the step.
    """
    state, run = st.session_state, get_script_run_ctx()
    moved = state.get("page") != run.page_script_hash
    if run.is_history_navigation or moved:
        state["address"], state["address-said"], state["address-sent"] = {}, {}, None
    if run.is_history_navigation:
        for parameter, key in _known().items():
            if parameter not in st.query_params:
                state.pop(key, None)
    if moved:
        state["page"] = run.page_script_hash
        # Said again, or a slider that is new to the browser stands at its first value.
        for key in {key for known in state.get("parameters", {}).values() for key in known.values()}:
            if key in state:
                state[key] = state[key]
    return moved


def restrict():
    """Do what a link for a class asks for: lock controls, hide them."""
    for name, options in (("lock", LOCKS), ("hide", HIDES)):
        carry(name, name, several(options))
    hide = st.session_state.get("hide", ())
    hidden = ["[data-testid=stToolbar]"] if "navigation" in hide else []
    if "controls" in hide:
        hidden += [f"[data-testid=st{name}]" for name in WIDGETS] + [".bar", ".player"]
    if hidden:
        st.html(f"<style>{', '.join(hidden)} {{display: none !important}}</style>")
