"""Every claim of the paper against the records of this modulus: expected, measured, verdict."""

import pandas as pd
import streamlit as st

from modadd import preset, ui
from modadd.analysis import claims
from modadd.figures.style import table
from modadd.many import atlas, replicas, survey
from modadd.runs import presets_at

# Grounds that dark words and light words can both be read on; a cell without a verdict has none.
GROUND = {"holds": "#12a17a44", "in part": "#e07b1f44", "fails": "#e02b2b55", "not yet": "#2f7fc133"}
BADGE = {"holds": "green", "in part": "orange", "fails": "red", "not yet": "blue"}
ROW = 27  # pixels of a row of the matrix

p = ui.page("Claims")
st.title("The paper's claims, tested")
st.markdown(
    "Each claim, measured at the last step of every network trained at this modulus. Click a verdict to see why."
)


@st.cache_data(max_entries=64, show_spinner="Measuring ...")
def judged(run_id: str, step: int, frames: int, _record) -> list[dict]:
    return claims.judge(_record)


other = ui.asked_run(p)
if other is not None and other.model != "mlp":
    st.info(f"{other.id} is a run of the {other.model} model, of which the paper claims nothing: showing the presets.")
    st.page_link(ui.HOMES[other.model], label="Open its own page", query_params={"run": other.id})
    other = None
ui.choices(ui.runs_at(p, [], shown=other) | {"Presets": {"": "all presets"}}, other.id if other else "")
shown = ({other.id: other} if other else {}) | {
    name: run for name in presets_at(p) if (run := preset(name, p)) != other
}  # fmt: skip
ui.follow(*(run.id for run in shown.values()))
records = {name: ui.find(run.id).record for name, run in shown.items()}
rows = [
    {"run": name, **row}
    for name, record in records.items()
    if record is not None
    for row in judged(record.run.id, record.step, len(record.frames), record)
]
missing = [name for name, record in records.items() if record is None]
if not rows:
    ui.offer(preset(missing[0], p), key=f"train-{missing[0]}")
    ui.stop()


def title(name: str) -> str:
    return "this run" if other and name == other.id else name.replace("_", " ")


def chosen_cell() -> tuple[str, str] | None:
    """(claim, run) of the cell that was clicked."""
    cells = st.session_state.get("claims-matrix", {}).get("selection", {}).get("cells", [])
    by_title = {title(name): name for name in records}
    return (names[cells[0][0]], by_title[cells[0][1]]) if cells and cells[0][1] in by_title else None


seeds = survey.verdicts(atlas.outlines(ui.lab().store, p))
said = {(row["name"], row["run"]): row for row in rows}
names = [claim.name for claim in claims.CLAIMS if any(claim.name == row["name"] for row in rows)]
statements = {row["name"]: row["statement"] for row in rows}
matrix = pd.DataFrame(
    {"claim": [statements[name] for name in names]}
    | {title(run): [said[name, run]["verdict"] if (name, run) in said else "" for name in names]
       for run, record in records.items() if record is not None}
)  # fmt: skip
look = matrix.style.map(lambda verdict: f"background-color: {GROUND.get(verdict, '#00000000')}")
left, right = st.columns([7, 3])
with left:
    st.dataframe(
        look, hide_index=True, on_select="rerun", selection_mode="single-cell", key="claims-matrix", row_height=ROW,
        height=ROW * (len(names) + 1) + 12,
        column_config={"claim": st.column_config.TextColumn(width="large")},
    )  # fmt: skip
with right:
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in claims.VERDICTS}
    st.markdown("  \n".join(f":{BADGE.get(v, 'gray')}-badge[{v}] {n}" for v, n in counts.items() if n))
    cell = chosen_cell()
    mine = [row for row in rows if cell is None or (row["name"], row["run"]) == cell]
    if cell is None:
        mine = [row for row in rows if row["verdict"] == "fails"][:3]
        st.markdown("**What fails here**" if mine else "Nothing fails here. Click a verdict to see what was measured.")
    elif not mine:
        st.markdown("This claim does not speak of a network of this kind.")
    for row in mine:
        with st.container(border=True):
            st.markdown(
                f":{BADGE.get(row['verdict'], 'gray')}-badge[{row['verdict']}] **{ui.plain(title(row['run']))}**\n\n"
                f"{row['statement']}.\n\n**Expected:** {row['expected']}.\n\n"
                f"**Measured:** {ui.plain(row['measured'], 400)}."
            )
            if told := replicas.in_words(seeds, row, records[row["run"]].run.preset):
                st.markdown(f"**Over seeds:** {told}.")
            query = {"p": str(p), "run": row["run"]}
            st.page_link(row["page"], label=f"See it on {ui.PAGES[row['page']][0]}", icon=":material/arrow_forward:",
                         query_params=query)  # fmt: skip
    st.download_button(
        "All verdicts as CSV", lambda: ui.csv(table(**{name: [str(row[name]) for row in rows] for name in rows[0]})),
        f"claims-p{p}.csv", "text/csv", icon=":material/download:", type="tertiary",
    )  # fmt: skip
if missing:
    st.caption(f"Not trained here yet at p = {p}: {', '.join(map(title, missing))}.")
    ui.offer(preset(missing[0], p), key=f"train-{missing[0]}")
with st.expander("How a verdict is reached"):
    st.markdown(
        "The bounds are ours and are stated with each claim: it **holds** on one side, **fails** on the other, and is "
        "true **in part** between. **Not yet** is said of a run that has not trained far enough: its loss is still "
        f"above {claims.LEARNT:g} ln p, or the flow expects alignment at a later step. Brackets bound a number with "
        "95 %, were the neurons or pairs drawn anew; another seed may differ by more, which is told where seeds come "
        "along."
    )
