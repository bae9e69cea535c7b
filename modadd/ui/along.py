"""A run to take home: its log, its settings, its whole record, and all of it in one bundle."""

import json
from dataclasses import asdict
from urllib.parse import urljoin

import pyarrow as pa
import streamlit as st

from ..records.record import Record
from .charts import csv


def take_along(record: Record):
    """Four files of a run, each made when it is asked for."""
    run_id, here = record.run.id, st.context.url  # which is not known any more once a file is made

    def bundled() -> bytes:
        from ..exchange import bundle

        return bundle.write(record, bundle.view(record.run, urljoin(here, ".")) if here else None)

    def whole() -> bytes:
        from ..exchange.tensors import to_safetensors

        return to_safetensors(record)

    def settings() -> str:
        return json.dumps({"run": asdict(record.run), "provenance": record.provenance, "summary": record.summary})

    files = {
        "csv": ("Log as CSV", "text/csv", lambda: csv(pa.table({"step": record.steps, **record.history}))),
        "json": ("Settings and numbers as JSON", "application/json", settings),
        "safetensors": ("Record as safetensors", "application/octet-stream", whole),
        "zip": ("Bundle as .zip", "application/zip", bundled),
    }
    with st.container(horizontal=True):
        for kind, (label, mime, make) in files.items():
            st.download_button(
                label, make, f"{run_id}.{kind}", mime, key=f"along-{kind}", on_click="ignore",
                icon=":material/download:",
            )  # fmt: skip
    st.caption(
        "The bundle holds all of these, the figures for print and how to train the run again; the figures take some "
        "seconds to draw. The page Import of any lab opens it, and the record alone."
    )
