"""Time on a page: the moment in view, and playing it like a film."""

import time
from collections.abc import Callable

import streamlit as st

from ..record import Record

SPEEDS = (1, 2, 4, 8, 16)  # frames a second
DUE = 8


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
    state = st.session_state
    playing, speed = bool(state.get(f"{key}-playing")), state.get(f"{key}-speed", DUE)

    @st.fragment(run_every=1 / speed if playing else None)
    def screen():
        def changed():
            return (bool(state.get(f"{key}-playing")), state.get(f"{key}-speed", DUE)) != (playing, speed)

        if changed():
            st.rerun()  # the whole page once, because only it can set the pace
        body(_moment(key, moments, title, turns or {}, playing))
        if changed():
            st.rerun()

    screen()


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


def _moment(key: str, moments: list[int], title: str, turns: dict, playing: bool | None = None) -> int | None:
    """The slider with its buttons; `playing` is None where nothing can be played."""
    if len(moments) < 2:
        return moments[0] if moments else None
    state = st.session_state
    if state.get(key) == state.get(f"{key}-newest"):
        state[key] = moments[-1]
    state[f"{key}-newest"] = moments[-1]
    if state.get(key) not in moments:
        state[key] = _nearest(moments, state.get(key, moments[-1]))
    if playing:
        state[key] = _of_the_clock(key, moments)
    at = moments.index(state[key])
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        _go(key, "Back", moments[max(at - 1, 0)], at == 0, "skip_previous")
        if playing is not None:
            label, icon = ("Pause", "pause") if state.get(f"{key}-playing") else ("Play", "play_arrow")
            st.button(
                label, icon=f":material/{icon}:", key=f"{key}-play", type="primary", on_click=_toggle,
                args=(key, moments),
            )  # fmt: skip
        _go(key, "Forward", moments[min(at + 1, len(moments) - 1)], at == len(moments) - 1, "skip_next")
        for name, turn in {"Start": moments[0], **turns, "End": moments[-1]}.items():
            near = None if turn is None else _nearest(moments, turn)
            _go(key, name if near is not None else f"{name}: not reached", near, near is None)
        if playing is not None:
            st.selectbox(
                "Frames a second", SPEEDS, SPEEDS.index(DUE), format_func=lambda n: f"{n} frames/s",
                key=f"{key}-speed", label_visibility="collapsed", width=140, persist_state="session",
            )  # fmt: skip
    # While it plays, the slider only shows: what the browser says of it is a frame old, and no wish.
    return st.select_slider(
        title, moments, key=key, format_func=lambda moment: f"{moment:,}", disabled=bool(playing),
        persist_state="session",
    )  # fmt: skip


def _nearest(moments: list[int], moment: int) -> int:
    return min(moments, key=lambda other: abs(other - moment))


def _go(key: str, label: str, moment: int | None, disabled: bool, icon: str | None = None):
    def go():
        _halt(key)
        st.session_state[key] = moment

    st.button(
        label, key=f"{key}-{label.partition(':')[0]}", disabled=disabled, on_click=go, type="tertiary",
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
        first = moments.index(state[key]) if state[key] in moments[:-1] else 0
        state[f"{key}-playing"] = {"first": first, "since": None}


def _of_the_clock(key: str, moments: list[int]) -> int:
    """The moment that is due by the clock: a slow machine leaves some out and keeps time."""
    now, film = time.monotonic(), st.session_state[f"{key}-playing"]
    if film["since"] is None:  # the first frame is on the screen: from here on the time counts
        film["since"] = now
    due = film["first"] + round((now - film["since"]) * st.session_state.get(f"{key}-speed", DUE))
    if due >= len(moments) - 1:
        _halt(key)
    return moments[min(due, len(moments) - 1)]
