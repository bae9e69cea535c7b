"""Every run that is here: its settings, its final numbers, where they come from, and its log."""

from dataclasses import asdict

import pyarrow as pa
import streamlit as st

from modadd import ui

VIEWS = [f"pages/{name}.py" for name in ("Weights", "Phases", "Logits", "Surgery", "Lottery",
                                         "Gradient_flow", "Claims")]  # fmt: skip

WHERE = {"mine": "cache", "atlas": "atlas", "all": None}

ui.page("Runs", of_p=False)
st.title("All runs")
st.markdown(
    "What was trained or imported on this machine, and the read-only **atlas** that comes with the program. Select a "
    "row to open it."
)
cards = ui.lab().store.cards()
for job in ui.lab().jobs():
    if job.active:
        st.page_link(
            "pages/Live.py", label=f"{job.run.id} is {job.status} now", icon=":material/play_circle:",
            query_params={"run": job.run.id},
        )  # fmt: skip
ui.bin_of_runs()
if not cards:
    st.info("Nothing has been trained here yet. Open **Live** and press Train: a run at p = 23 takes a few seconds.")
    ui.stop()


def filtered() -> list[dict]:
    """The cards that the filters leave, newest first."""
    own = any(card["where"] == "cache" for card in cards.values())
    with st.container(horizontal=True, vertical_alignment="bottom"):
        ui.links.carry("of", "runs-of", ui.links.one_of(WHERE))
        st.session_state.setdefault("runs-of", "mine" if own else "all")
        where = st.segmented_control("Runs", WHERE, format_func=str.capitalize, required=True, key="runs-of")
        moduli = sorted({card["run"].p for card in cards.values()})
        p = st.selectbox("p", [None, *moduli], format_func=lambda p: str(p or "any"), key="runs-p", width=110)
        presets = sorted({card["run"].preset for card in cards.values()})
        named = st.selectbox(
            "Preset", [None, *presets], format_func=lambda name: (name or "any").replace("_", " "), key="runs-preset",
            width=200,
        )  # fmt: skip
    left = [
        card for card in cards.values()
        if WHERE[where] in (None, card["where"]) and p in (None, card["run"].p) and named in (None, card["run"].preset)
    ]  # fmt: skip
    left.sort(key=lambda card: (card["run"].p, card["run"].preset, card["run"].seed))
    return sorted(left, key=lambda card: str(card["provenance"].get("finished", ""))[:10], reverse=True)


columns = {
    "run": "run_id", "p": "p", "preset": "preset", "seed": "seed", "steps": "steps", "ended by": "stop_reason",
    "train loss": "train_loss", "train accuracy": "train_accuracy", "test accuracy": "test_accuracy",
    "held-out accuracy": "held_out_accuracy", "IPR": "ipr", "mean |sin D|": "mean_abs_sin_D",
    "stage I ends": "stage1_end", "stage II ends": "stage2_end", "seconds": "seconds", "device": "device",
}  # fmt: skip
ordered = filtered()
listing = {
    "date": [str(card["provenance"].get("finished", ""))[:16].replace("T", " ") for card in ordered],
    "where": ["mine" if card["where"] == "cache" else card["where"] for card in ordered],
}
listing |= {title: [card["summary"][name] for card in ordered] for title, name in columns.items()}
listing["size"] = [ui.size(card["bytes"]) for card in ordered]
st.caption(f"{ui.count(len(ordered), 'run')} of {len(cards):,}")
card = ui.chosen_card(
    pa.table(listing),
    ordered,
    height=min(560, 35 * len(ordered) + 38),
    placeholder="–",
    column_config={
        name: st.column_config.NumberColumn(format="percent")
        for name in columns if "accuracy" in name
    } | {"train loss": st.column_config.NumberColumn(format="%.2e")} | {
        name: st.column_config.NumberColumn(format="localized") for name in ("steps", "stage I ends", "stage II ends")
    },
)  # fmt: skip
if card is None:
    ui.stop()

run_id = card["run"].id
st.subheader(run_id)
with st.container(horizontal=True):
    there = {"run": run_id, "p": str(card["run"].p)}
    if st.button("Open", icon=":material/open_in_new:", type="primary"):
        st.switch_page("pages/Live.py", query_params=there)
    ui.compare_link([card["run"]])
    if card["where"] == "atlas" or ui.steers(run_id):
        ui.train_again(card["run"])
        if card["where"] == "cache":
            ui.delete(run_id)

with st.container(horizontal=True):
    for target in VIEWS if card["run"].model == "mlp" else [ui.HOMES[card["run"].model]]:
        st.page_link(target, label=ui.PAGES[target][0], icon=ui.PAGES[target][1], query_params=there)

settings, numbers, origin = st.columns(3)
settings.markdown("**Settings**")
settings.json(asdict(card["run"]))
numbers.markdown("**Final numbers**")
numbers.json(card["summary"])
origin.markdown("**Provenance**")
origin.json(card["provenance"])

record = ui.find(run_id).record
if record is not None:
    log = pa.table({"step": record.steps, **record.history})
    st.markdown(f"**Log**: {len(record.steps):,} rows of the metrics of every logged step")
    st.dataframe(log, height=260, hide_index=True)
    st.markdown("**Export**")
    ui.take_along(record)
