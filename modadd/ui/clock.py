"""Time on a page: the moment in view, and playing it like a film.

The step that one wishes to see is `session_state["step"]`, None for the newest one; a page shows the nearest that it
has, and the wish stays for the next page.  What the browser was sent ahead (reels.py) it draws by itself while it
plays or while one drags (player.js), and tells the server how far it is; the page's words and numbers follow then.
"""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from ..records.record import Record
from ..runs import PUBLISHED_STEPS
from . import links, reels

SPEEDS = (1, 2, 4, 8, 15, 30)  # frames a second
FILM_SECONDS = 8  # a film lasts about so long by default
SLOWEST = 8  # frames a second below which it would stutter
STEP_MAX = 10**9
SCRIPT = Path(__file__).with_name("player.js").read_text(encoding="utf-8")
STAGES = ("I memorisation", "II generalisation", "III cleanup")


def player(records: list[Record]) -> int | None:
    """The step in view, chosen among the frames of these records; None without records.

    It is the same on all pages, and stands on the newest frame until it is moved, also while a run grows.
    """
    moments = _steps(records)
    if len(moments) < 2:
        return moments[0] if moments else None
    moment = _moment("step", moments)
    with st.container(key="player-bar-step"):
        _browser("step", moments, moment, "Training step", _turns(records), None, plays=False)
    return moment


def play(body: Callable[[int | None], None], *records: Record, holding: str | None = None):
    """Draw `body(step)` under the player, and again, it alone, whenever the step moves or its widgets do.

    `holding` names the array without which a frame has nothing to show here; if none has it, all frames count.
    """
    film(body, _steps(records, holding) or _steps(records), "step", "Training step", _turns(records))


def film(
    body: Callable[[int | None], None], moments: list[int], key: str, title: str, turns: dict | None = None,
    docked: bool = True,
):  # fmt: skip
    """Draw `body(moment)` for one of these moments, chosen by hand or played; `turns` are moments with a name, or
    None for one that was not reached.  The player is the second row of the instrument bar, or stands in its place on
    the page if it is not `docked`."""

    @st.fragment
    def screen():
        place = st.container(key=f"player-bar-{key}")
        if len(moments) < 2:
            only = moments[0] if moments else None
            with reels.showing(only, None):
                body(only)
            return
        moment = _moment(key, moments)
        film = _film(key, moments)
        with reels.showing(moment, film):
            body(moment)
        with place:
            _browser(key, moments, moment, title, turns or {}, film, docked=docked)
        links.settle()

    screen()


def _steps(records, holding: str | None = None) -> list[int]:
    return sorted({
        step
        for record in records
        for step, frame in zip(record.frame_steps, record.frames, strict=True)
        if holding is None or holding in frame
    })  # fmt: skip


def _turns(records) -> dict[str, int | None]:
    """Ends of the stages of the last of these records; only held-out pairs make a second."""
    if not records:
        return {}
    summary, run = records[-1].summary, records[-1].run
    if run.frac_train < 1:
        return {"Stage I ends": summary["stage1_end"], "Stage II ends": summary["stage2_end"]}
    half = run.init == "single-freq" and records[-1].step > PUBLISHED_STEPS
    return {"95 % right": summary["stage1_end"]} | ({"The paper stops": PUBLISHED_STEPS} if half else {})


def _moment(key: str, moments: list[int]) -> int:
    """The moment to show: the nearest to the one wished for."""
    state = st.session_state
    links.read(key, key, links.whole(0, STEP_MAX))
    wish = state.get(key)
    moment = moments[-1] if wish is None else _nearest(moments, wish)
    if not state.get(f"{key}-playing"):  # once it pauses, for each change of the address costs
        links.write(key, None if moment == moments[-1] else moment)
    return moment


def _film(key: str, moments: list[int]) -> reels.Film | None:
    """The film of what is in view; one of something else is over."""
    state = st.session_state
    of = (state["page"], state["p"], state.get("in-view"), state.get("axis"), tuple(moments))
    film = state.get(f"{key}-film")
    if film is not None and film.of != of:
        film = state[f"{key}-film"] = None
        state[f"{key}-playing"] = False
    if film is None and state.pop(f"{key}-wanted", False):
        film = state[f"{key}-film"] = reels.Film(of)
    return film


def _stages(turns: dict[str, int | None], last: int) -> list[list]:
    """[name, its end] of each stage that began."""
    if "Stage II ends" not in turns:
        return []
    ends = [end for end in turns.values() if end is not None]
    return [[name, end] for name, end in zip(STAGES, [*ends, last], strict=False)]


def _browser(key, moments, moment, title, turns, film, docked=True, plays=True):
    """The player in the browser, with what it is sent ahead."""
    state = st.session_state
    nothing = {"take": 0, "parcel": 0, "reels": {}, "columns": [], "frames": []}
    playing, speed = bool(state.get(f"{key}-playing")), state.get(f"{key}-speed", _usual_speed(moments))
    # The component belongs to the runtime, which tests start anew: it is named each time.
    st.components.v2.component("modadd_player", js=SCRIPT, isolate_styles=False)(
        key=f"{key}-player",
        data={
            "key": key, "title": title, "moments": moments, "at": moment, "playing": playing, "speed": speed,
            "speeds": SPEEDS, "turns": [[name, at] for name, at in turns.items()], "docked": docked, "plays": plays,
            "stages": _stages(turns, moments[-1]), "log": key == "step" and state.get("axis", "log") == "log",
            "locked": links.locked("step"), "seq": state.get(f"{key}-seq", 0),
        } | (film.parcel(moments, moment, inorder=playing) if film else nothing),
        # The last words of a player may come when it has gone with its page.
        on_tick_change=lambda: told(key, moments, getattr(state.get(f"{key}-player"), "tick", None)),
    )  # fmt: skip


def told(key: str, moments: list[int], news):
    """What the browser tells of the player `key`: {"seq", "take", "parcel"}, and where it moved "at", whether it is
    "playing", at what "speed", and whether it wants a "film" to be sent ahead."""
    state = st.session_state
    if not isinstance(news, dict) or type(news.get("seq")) is not int or news["seq"] < state.get(f"{key}-seq", 0):
        return
    state[f"{key}-seq"] = news["seq"]
    film = state.get(f"{key}-film")
    if film is not None and news.get("take") == film.take and type(news.get("parcel")) is int:
        film.received(news["parcel"])
    if links.locked("step"):
        return
    if news.get("speed") in SPEEDS:
        state[f"{key}-speed"] = news["speed"]
    if type(news.get("at")) is int:
        moment = _nearest(moments, news["at"])
        state[key] = None if moment == moments[-1] else moment
    if type(news.get("playing")) is bool:
        state[f"{key}-playing"] = news["playing"]
    if film is None and (news.get("film") is True or news.get("playing") is True):
        state[f"{key}-wanted"] = True


def _usual_speed(moments: list[int]) -> int:
    """Frames a second at which this film lasts FILM_SECONDS, unless it would stutter."""
    return min(SPEEDS, key=lambda speed: abs(speed - max(len(moments) / FILM_SECONDS, SLOWEST)))


def _nearest(moments: list[int], moment: int) -> int:
    return min(moments, key=lambda other: abs(other - moment))
