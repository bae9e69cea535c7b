"""Time on a page: the moment in view, and playing it like a film.

The step in view is `session_state["step"]`.  While it plays, the browser draws by itself what was sent ahead
(reels.py, player.js) and tells a few times a second how far it is; the page's words and numbers follow then.
"""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from ..records.record import Record
from . import links, reels

SPEEDS = (1, 2, 4, 8, 15, 30)  # frames a second
FILM_SECONDS = 12  # a film lasts no longer by default, if the fastest speed allows that
SCRIPT = Path(__file__).with_name("player.js").read_text(encoding="utf-8")
HINT = "Keys: Space plays and pauses, ← and → step, Home and End jump."
# Where there is room, the player stays in view while the page below it is read.
CSS = """
.player-line {font-size: .875rem; opacity: .6}
@media (min-width: 641px) and (min-height: 600px) {
  :has(> [class*="st-key-player-bar"]) {position: sticky; top: 0; z-index: 90; padding: 1rem 0 .5rem; background: %s}
}
"""


def player(records: list[Record]) -> int | None:
    """The step in view, chosen among the frames of these records; None without records.

    It is the same on all pages, and stands on the newest frame until it is moved, also while a run grows.
    """
    return _moment("step", _steps(records), "Training step", _turns(records))


def play(body: Callable[[int | None], None], *records: Record, holding: str | None = None):
    """Draw `body(step)` under the player, and again, it alone, whenever the step moves or its widgets do.

    `holding` names the array without which a frame has nothing to show here; if none has it, all frames count.
    """
    film(body, _steps(records, holding) or _steps(records), "step", "Training step", _turns(records))


def film(body: Callable[[int | None], None], moments: list[int], key: str, title: str, turns: dict | None = None):
    """Draw `body(moment)` for one of these moments, chosen by hand or played; `turns` are moments with a name, or
    None for one that was not reached."""

    @st.fragment
    def screen():
        with st.container(key=f"player-bar-{key}"):
            moment, film = _moment(key, moments, title, turns or {}, True), st.session_state.get(f"{key}-playing")
            browser = st.container()
        with reels.showing(moment, film):
            body(moment)
        if len(moments) > 1:
            with browser:
                _browser(key, moments, moment, title, film)

    screen()


def _browser(key: str, moments: list[int], moment: int, title: str, film: reels.Film | None):
    """The player's part in the browser, with what it is sent ahead."""
    film_of_nothing = {"take": 0, "parcel": 0, "reels": {}, "columns": [], "frames": []}
    # The component belongs to the runtime, which tests start anew: it is named each time.
    grounds = [st.get_option(f"theme.{name}.backgroundColor") for name in ("light", "dark")]
    style = CSS % f"light-dark({', '.join(grounds)})"
    st.components.v2.component("modadd_player", js=SCRIPT, css=style, isolate_styles=False)(
        key=f"{key}-player",
        data={
            "key": key, "title": title, "hint": HINT, "moments": moments, "at": moment, "playing": film is not None,
            "speed": st.session_state.get(f"{key}-speed", _usual_speed(moments)),
        } | (film.parcel(moments, moment) if film else film_of_nothing),
        on_tick_change=lambda: _arrived(key, st.session_state[f"{key}-player"].tick),
    )  # fmt: skip


def _arrived(key: str, news):
    """The browser tells how far the film is; what it tells of a film that was halted meanwhile is late."""
    film = st.session_state.get(f"{key}-playing")
    if film is None or not isinstance(news, dict) or news.get("take") != film.take:
        return
    if type(news.get("parcel")) is int:
        film.received(news["parcel"])
    if type(news.get("at")) is int:
        st.session_state[key] = news["at"]
    if news.get("ended"):
        _halt(key)


def _steps(records, holding: str | None = None) -> list[int]:
    return sorted({
        step
        for record in records
        for step, frame in zip(record.frame_steps, record.frames, strict=True)
        if holding is None or holding in frame
    })  # fmt: skip


def _turns(records) -> dict[str, int | None]:
    """Ends of the stages of the last of these records; only held-back pairs make a second."""
    if not records:
        return {}
    summary, two = records[-1].summary, records[-1].run.frac_train < 1
    return {"Stage I ends": summary["stage1_end"]} | ({"Stage II ends": summary["stage2_end"]} if two else {})


def _moment(key: str, moments: list[int], title: str, turns: dict, playable: bool = False) -> int | None:
    """The slider with its buttons."""
    if len(moments) < 2:
        return moments[0] if moments else None
    state = st.session_state
    links.read(key, key, links.whole(moments[0], moments[-1]))
    if state.get(key) == state.get(f"{key}-newest"):
        state[key] = moments[-1]
    state[f"{key}-newest"] = moments[-1]
    if state.get(key) not in moments:
        state[key] = _nearest(moments, state.get(key, moments[-1]))
    film = state.get(f"{key}-playing")
    if not film:  # once it pauses, for each change of the address costs
        links.write(key, None if state[key] == moments[-1] else state[key])
    at, still = moments.index(state[key]), links.locked("step")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        _go(key, "Back", moments, -1, still or at == 0, icon="skip_previous")
        if playable:
            label, icon = ("Pause", "pause") if film else ("Play", "play_arrow")
            st.button(
                label, icon=f":material/{icon}:", key=f"{key}-play", type="primary", on_click=_toggle,
                args=(key, moments), disabled=still,
            )  # fmt: skip
        _go(key, "Forward", moments, 1, still or at == len(moments) - 1, icon="skip_next")
        for name, turn in {"Start": moments[0], **turns, "End": moments[-1]}.items():
            near = None if turn is None else _nearest(moments, turn)
            label = told = None
            if turn is None:
                label = f"{name}: not reached"
            elif near != turn:
                label, told = f"{name}: {turn:,}", f"The nearest frame is of {near:,}."
            _go(key, name, [near], 0, still or near is None, label, told=told)
        if playable:
            st.selectbox(
                "Frames a second", SPEEDS, SPEEDS.index(_usual_speed(moments)), format_func=lambda n: f"{n} frames/s",
                key=f"{key}-speed", label_visibility="collapsed", width=140, persist_state="session",
            )  # fmt: skip
    # While it plays, the slider only shows: what it says is a moment old, and no wish.
    return st.select_slider(
        title, moments, key=key, format_func=lambda moment: f"{moment:,}", disabled=still or bool(film),
        persist_state="session", label_visibility="collapsed" if playable else "visible",
    )  # fmt: skip


def _usual_speed(moments: list[int]) -> int:
    """Frames a second at which this film is neither over at once nor without end."""
    return next((speed for speed in SPEEDS if len(moments) <= speed * FILM_SECONDS), SPEEDS[-1])


def _nearest(moments: list[int], moment: int) -> int:
    return min(moments, key=lambda other: abs(other - moment))


def _go(key: str, name: str, moments: list[int], by: int, disabled: bool, label=None, icon=None, told=None):
    """A button that goes so many moments on from the one in view; or to the only one."""

    def go():
        _halt(key)
        at = moments.index(_nearest(moments, st.session_state[key]))
        st.session_state[key] = moments[min(max(at + by, 0), len(moments) - 1)]

    st.button(
        label or name, key=f"{key}-{name}", disabled=disabled, on_click=go, type="tertiary", help=told,
        icon=icon and f":material/{icon}:",
    )  # fmt: skip


def _halt(key: str):
    st.session_state[f"{key}-playing"] = None


def _toggle(key: str, moments: list[int]):
    """Start at the moment in view, or at the first one where the last is in view; or halt."""
    state = st.session_state
    if state.get(f"{key}-playing"):
        _halt(key)
    else:
        if state[key] == moments[-1]:
            state[key] = moments[0]
        state[f"{key}-playing"] = reels.Film()
