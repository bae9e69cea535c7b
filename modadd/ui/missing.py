"""What a page lacks of many runs: the price of training it, asked again where it is high, and one button."""

import streamlit as st

from ..many.sweep import price
from ..runs import Run
from .lookup import default_device, lab, refusals
from .words import count, duration, size

SURE_SECONDS, SURE_RUNS = 600, 36  # from here on one is asked again


def train_missing(runs: list[Run], of: int, key: str):
    """Offer to train these of so many runs, in this order and behind whatever one starts by hand."""
    if not runs:
        return
    device = default_device()
    try:
        seconds, disk = price(runs, device)
    except ValueError as error:
        st.error(f"{error}.")
        return
    st.caption(
        f"{len(runs)} of {count(of, 'run')} are still to be trained: at most about {duration(seconds)}, one after the "
        f"other on {device}, and {size(disk)} on disk."
    )
    large = seconds > SURE_SECONDS or len(runs) > SURE_RUNS
    sure = not large or st.checkbox(f"Yes, train {count(len(runs), 'run')} for about {duration(seconds)}", key=key)
    label = f"Train {count(len(runs), 'run')}"
    if st.button(label, type="primary", icon=":material/play_arrow:", disabled=not sure, key=f"{key}-train"):
        with refusals():
            for place, run in enumerate(runs):
                lab().submit(run, device, priority=1 + place)
            st.rerun()
