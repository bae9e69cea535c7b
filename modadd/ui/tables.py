"""Tables of results: every measure is written the same way on every page."""

import streamlit as st

_FORMATS = {
    "localized": ("step", "steps", "end I", "end II", "stage I ends", "stage II ends"),
    "percent": ("accuracy", "train accuracy", "test accuracy", "held-out accuracy", "held out"),
    "%.2e": ("loss", "train loss", "test loss"), "%.3f": ("IPR", "mean |sin D|", "mean cos D"),
    "%.2f": ("norm", "parameter norm", "ratio (theory 2)"), "%.4g": ("loss (nats)",),
}  # fmt: skip
FORMATS = {column: form for form, columns in _FORMATS.items() for column in columns}


def table(rows: list[dict], links: tuple[str, ...] = (), **how):
    """Rows of results, what does not apply as a dash; the columns `links` are addresses to open."""
    names = rows[0] if rows else ()
    config = {name: st.column_config.NumberColumn(format=FORMATS[name]) for name in names if name in FORMATS}
    config |= {name: st.column_config.LinkColumn(display_text="open") for name in links}
    st.dataframe(rows, hide_index=True, placeholder="–", column_config=config, **how)
