"""What every page shares; with the pages themselves the only place that imports streamlit.

A page holds a run id. What it draws comes from a Record: a live job's, the cache's or the atlas's,
looked up in that order by `find`.

    navigation   the frame: the groups of pages, and what opens each of them
    bar          the first row of the instrument bar: modulus, run, time axis, sharing (bar.js; hover.js)
    links        what of a view travels in its address
    lookup       runs by id, choosing one, following one that trains, offering to train what is not there
    clock        its second row: the step in view, and playing it; reels is what it sends ahead, player.js its part in
                 the browser
    charts       drawing, and taking charts and their data home
    along        taking a whole run home
    bin          choosing a run by its id, training it again, deleting it, and taking that back
    door         what every request passes: headers, and bounds on uploads
    early        the server, which loads ahead what takes long
    missing      training what a page lacks of many runs
    tables       tables of results
    progress     how a run is doing, and the buttons that steer it
    words        numbers and foreign text as people read them
"""

from . import door, early, links
from .along import take_along
from .bar import choices, open_run, stop
from .bin import bin_of_runs, chosen_card, delete, train_again
from .charts import csv, draw, figure, row, show, specification
from .clock import film, play, player
from .lookup import (
    HOMES,
    TICK,
    Found,
    asked_run,
    choose_run,
    compare_link,
    default_device,
    devices,
    find,
    follow,
    here,
    lab,
    offer,
    price,
    refusals,
    runs_at,
    with_asked,
)
from .missing import train_missing
from .navigation import GROUPS, PAGES, head, log_steps, navigate, page
from .progress import headline, stage_line, status, steers, stop_all
from .tables import table
from .words import count, duration, not_reached, number, plain, provenance, size

__all__ = [
    "GROUPS", "HOMES", "PAGES", "TICK", "Found", "asked_run", "bin_of_runs", "choices", "choose_run", "chosen_card",
    "compare_link", "count", "csv", "default_device", "delete", "devices", "door", "draw", "duration", "early",
    "figure", "film", "find", "follow", "head", "headline", "here", "lab", "links", "log_steps", "navigate",
    "not_reached", "number", "offer", "open_run", "page", "plain", "play", "player", "price", "provenance",
    "refusals", "row", "runs_at", "show", "size", "specification", "stage_line", "status", "steers", "stop",
    "stop_all", "table", "take_along", "train_again", "train_missing", "with_asked",
]  # fmt: skip
