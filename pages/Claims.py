"""Every claim of the paper against the records of this modulus: expected, measured, verdict."""

import streamlit as st

from modadd import preset, ui
from modadd.analysis import claims
from modadd.figures.style import table
from modadd.runs import presets_at

COLOUR = dict(zip(claims.VERDICTS, ("green", "orange", "red", "blue", "gray"), strict=True))

p = ui.page("Claims")


@st.cache_data(max_entries=64, show_spinner="Measuring ...")
def judged(run_id: str, step: int, frames: int, _record) -> list[dict]:
    return claims.judge(_record)


st.title("What the paper claims, and what is so")
st.markdown(
    "Each claim is measured on the trained networks of this modulus, at their last frame. The bounds are ours and are "
    "stated: a claim **holds** on one side, **fails** on the other, and is true **in part** between. **Not yet** is "
    f"said of a run that has not trained far enough: its loss is still above {claims.LEARNT:g} ln p, or the flow "
    "expects alignment at a later step. Brackets bound a number with 95 %, were the neurons or pairs drawn anew; "
    "another seed may differ by more."
)
asked = st.session_state.get("run") or ""
other = ui.find(asked).record if asked else None
linked = other is not None and other.run.p == p and other.run.model == "mlp"
if asked and other is None:
    st.error(f"No run called {ui.plain(asked)} with anything to judge is here; showing the presets instead.")
if other is not None and other.run.model != "mlp":
    st.info(f"{asked} is a run of the {other.run.model} model, of which the paper claims nothing; showing the presets.")
    st.page_link(ui.HOMES[other.run.model], label="Open it where it is at home", query_params={"run": asked})
everything = "all presets trained at this p"
view = st.selectbox("Run", [*([asked] if linked else []), everything, *presets_at(p)], key=f"claims-run-{linked}")
shown = {view: asked} if view == asked else {
    name: preset(name, p).id for name in (presets_at(p) if view == everything else [view])
}  # fmt: skip
ui.follow(*shown.values())
records = {name: ui.find(run_id).record for name, run_id in shown.items()}
rows = [
    {"run": name, **row}
    for name, record in records.items()
    if record is not None
    for row in judged(record.run.id, record.step, len(record.frames), record)
]
missing = [name for name, record in records.items() if record is None]
if missing:
    st.info(f"Not trained here yet at p = {p}: {', '.join(missing)}. Their claims are left out.")
    for name in missing if view != everything else missing[:1]:
        ui.offer(preset(name, p), key=f"train-{name}")
if not rows:
    ui.stop()

with st.container(horizontal=True):
    for verdict in claims.VERDICTS:
        st.metric(verdict, sum(row["verdict"] == verdict for row in rows), width="content")
chosen = st.pills("Verdicts", claims.VERDICTS, selection_mode="multi", key="claims-verdicts") or claims.VERDICTS
st.download_button(
    "CSV", lambda: ui.csv(table(**{name: [str(row[name]) for row in rows] for name in rows[0]})), f"claims-p{p}.csv",
    "text/csv", icon=":material/download:", type="tertiary",
)  # fmt: skip
for claim in claims.CLAIMS:
    mine = [row for row in rows if row["name"] == claim.name and row["verdict"] in chosen]
    if not mine:
        continue
    with st.container(border=True):
        left, right = st.columns([5, 1], vertical_alignment="center")
        lines = "\n".join(
            f"- :{COLOUR[row['verdict']]}-badge[{row['verdict']}] **{ui.plain(row['run'])}**: "
            f"{ui.plain(row['measured'])}"
            for row in mine
        )
        left.markdown(f"**{claim.statement}.** :gray[Expected: {claim.expected}.]\n\n{lines}")
        query = {"p": str(p)} | ({"run": asked} if view == asked else {})
        right.page_link(claim.page, label=ui.PAGES[claim.page][0], icon=":material/arrow_forward:", query_params=query)
