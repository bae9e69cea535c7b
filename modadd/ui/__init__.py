"""What every page shares; with the pages themselves the only place that imports streamlit.

A page holds a run id. What it draws comes from a Record: a live job's, the cache's or the atlas's,
looked up in that order by `find`.

    navigation   the page's name, the way to the others, the modulus in view
    lookup       runs by id, choosing one, following one that trains, offering to train what is not there
    clock        the step in view, and playing it
    charts       drawing, and taking charts and their data home
    progress     how a run is doing, and the buttons that steer it
    words        numbers and foreign text as people read them
"""

from .charts import csv, draw, show, specification
from .clock import film, play, player
from .lookup import HOMES, TICK, Found, choose_run, default_device, devices, find, follow, lab, offer, price, refusals
from .navigation import PAGES, log_steps, page
from .progress import headline, stage_line, status
from .words import duration, not_reached, number, plain, provenance, size

__all__ = [
    "HOMES", "PAGES", "TICK", "Found",
    "choose_run", "csv", "default_device", "devices", "draw", "duration", "film", "find",
    "follow", "headline", "lab", "log_steps", "not_reached", "number", "offer", "page", "plain", "play", "player",
    "price", "provenance", "refusals", "show", "size", "specification", "stage_line", "status",
]  # fmt: skip
