"""Choosing a run of a table by its id, training it again, deleting it, and taking that back.

Rows move while one looks: other tabs delete, and runs arrive.  So what is chosen, and what a button acts on, is the id
that stood there when the page was drawn, and nothing else.
"""

import hashlib
from functools import partial

import streamlit as st

from ..jobs import hosting
from ..records.bin import run_of
from ..runs import Run
from .lookup import lab, refusals
from .words import plain

CHOSEN, DELETED, REFUSED = "run-chosen", "runs-deleted", "run-refused"


def chosen_card(table, cards: list[dict], **look) -> dict | None:
    """A table of these cards, a row each, and the card that was chosen in it, or None; `look` as in st.dataframe."""
    ids = [card["run"].id for card in cards]
    rows = [ids.index(st.session_state[CHOSEN])] if st.session_state.get(CHOSEN) in ids else []
    key = f"runs-{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:10]}"  # other rows are another table

    def choose():
        picked = st.session_state[key].selection.rows
        st.session_state[CHOSEN] = ids[picked[0]] if picked else None

    st.dataframe(
        table, hide_index=True, key=key, on_select=choose, selection_mode="single-row",
        selection_default={"selection": {"rows": rows}}, **look,
    )  # fmt: skip
    return cards[rows[0]] if rows else None


def train_again(run: Run):
    """A button that trains a run from its first step; what is stored of it stays until the new record is."""
    if st.button("Train it again", icon=":material/replay:", key=f"again-{run.id}"):
        with refusals():
            lab().submit(run, afresh=True)
            st.switch_page("pages/Live.py", query_params={"run": run.id})


def delete(run_id: str):
    """A button that moves this run, as it is now, into the bin."""
    st.button(
        f"Delete {run_id}", icon=":material/delete:", key=f"delete-{run_id}", on_click=_delete,
        args=(run_id, lab().store.version(run_id)),
    )  # fmt: skip


def bin_of_runs():
    """What was deleted, each with the way back; of a server for strangers, what this visitor deleted."""
    if refused := st.session_state.pop(REFUSED, None):
        st.error(f"{plain(refused, 300)}.")
    mine, there = st.session_state.get(DELETED, []), lab().store.bin.names()
    if mine and mine[-1] in there:
        said, back = st.columns([3, 1], vertical_alignment="center")
        said.info(f"{run_of(mine[-1])} is in the bin.")
        back.button("Undo", icon=":material/undo:", on_click=_restore, args=(mine[-1],), key=f"undo-{mine[-1]}")
    names = [name for name in there if name in mine] if hosting.hosted() else there
    if not names:
        return
    with st.expander(f"Bin ({len(names)})", icon=":material/delete:"):
        for name in names:
            which, back, gone = st.columns([3, 1, 1], vertical_alignment="center")
            which.write(run_of(name))
            back.button("Put back", on_click=_restore, args=(name,), key=f"back-{name}")
            gone.button("Remove for good", on_click=partial(lab().store.bin.drop, name), key=f"gone-{name}")


def _delete(run_id: str, version: str):
    try:
        name = lab().delete(run_id, version)
    except ValueError as error:
        st.session_state[REFUSED] = str(error)
        return
    if name is not None:
        st.session_state.setdefault(DELETED, []).append(name)


def _restore(name: str):
    try:
        st.session_state[CHOSEN] = lab().store.restore(name)
    except ValueError as error:
        st.session_state[REFUSED] = str(error)
