"""Bring a network trained elsewhere, or a run that was taken along, and look at it with every page of the lab."""

from collections.abc import Sequence

import streamlit as st

from modadd import ui
from modadd.activations import trainable
from modadd.exchange import bundle, importing, reading
from modadd.exchange.checkpoint import SUFFIXES
from modadd.exchange.files import File, files_at, path_of
from modadd.exchange.two_layers import Orientation
from modadd.jobs import hosting
from modadd.records.record import Record
from modadd.runs import BOUNDS, EPOCHS_MAX, P_MAX, P_MIN, Init, Optimizer, Run, Split


def settings() -> tuple[tuple, dict]:
    """(how files are read, the settings of Run that weights cannot tell), as chosen."""
    read, told, remembered = st.columns(3)
    with read:
        st.markdown("**How it is read**")
        p = st.number_input("Modulus p", P_MIN, P_MAX, None, step=2, placeholder="from the shapes", key="import-p")
        orientation = st.selectbox("Matrices of the published layout", Orientation.__args__, key="import-orientation")
        last_step = st.number_input(
            "Step of a file that does not say its own", 0, EPOCHS_MAX, None, placeholder="the next", key="import-step"
        )
    with told:
        st.markdown("**What weights cannot tell**")
        chosen = {
            "activation": st.selectbox("Activation", trainable(), key="import-activation"),
            "frac_train": st.number_input(
                "Share of pairs trained on", *BOUNDS["frac_train"], Run.frac_train, key="import-share"
            ),
            "split": st.selectbox("Split of the pairs", Split.__args__, key="import-split"),
            "seed": st.number_input("Seed of that split", *BOUNDS["seed"], Run.seed, key="import-seed"),
        }
    with remembered:
        st.markdown("**What is only remembered**")
        real = {"format": "%.6g", "step": None}
        chosen |= {
            "optimizer": st.selectbox("Optimiser", Optimizer.__args__, key="import-optimizer"),
            "lr": st.number_input("Learning rate", *BOUNDS["lr"], Run.lr, key="import-lr", **real),
            "weight_decay": st.number_input(
                "Weight decay", *BOUNDS["weight_decay"], Run.weight_decay, key="import-decay", **real
            ),
            "init": st.selectbox("Initial weights", Init.__args__, key="import-init"),
        }
    return (p, orientation, last_step), chosen


def checkpoints(files: Sequence[File], name: str, how: tuple, chosen: dict) -> Record | None:
    """The record of these checkpoints, once the button is pressed."""
    with st.spinner("Reading ..."), hosting.turn():
        found = reading.find(files, *how)
    st.subheader("What was understood")
    st.markdown(" ".join(ui.plain(sentence, 400) for sentence in reading.told(found)))
    lines = [use._asdict() for use in reading.table(found)]
    st.dataframe(lines, hide_index=True, column_config={"use": "how it is used, or why it is left out"})
    run = found.run(**chosen)
    if not st.button("Import", type="primary", icon=":material/upload:"):
        return None
    bar, count = st.progress(0.0), len(found.moments)
    hosting.admit(run, [], None, ui.lab().store.folder)
    with hosting.turn():
        record = importing.record(
            found, name, lambda done: bar.progress(done / count, f"Measured {done} of {count}"), **chosen
        )
    bar.empty()
    ui.lab().store.put(record)
    return record


def taken_along(record: Record, name: str) -> Record | None:
    """The run of a bundle among one's own, once the button is pressed."""
    st.subheader("What was understood")
    sure = " Its checksums are right." if name.lower().endswith(bundle.SUFFIX) else ""
    st.markdown(f"{ui.plain(bundle.told(record), 400)}{sure}")
    if not st.button("Import", type="primary", icon=":material/upload:"):
        return None
    return bundle.keep(record, ui.lab().store, name)


ui.page("Import")
st.title("Bring your own network")
st.markdown(
    "Trained a network yourself? Its weights are all that the lab needs: two layers, "
    "$f(x, y) = \\xi^\\top \\mathrm{act}(\\theta_x + \\theta_y)$, or the one-layer transformer, with p odd. Give one "
    "checkpoint to see what the network computes, or those of several steps to see how it came to; a folder of a run "
    "may hold its data and its optimiser, too. Files are **.safetensors**, **.pth**, **.pt**, **.ckpt**, **.bin** or "
    "**.npz**, with the usual names; a number in a file's name, as in `200.pth`, is its step. Nothing in a file is "
    "executed."
)
st.markdown(
    "A run of another lab comes whole: give the **bundle** (.zip) that its page Runs saves, or the record "
    "(.safetensors) alone."
)
with st.expander("How to write such a file"):
    st.code(
        "from safetensors.torch import save_file\n\n"
        "# theta, xi: [neurons, p], what neuron m reads at residue x and says for the answer j\n"
        'save_file({"theta": theta, "xi": xi}, "200.safetensors")\n\n'
        "# or as published: W_in [neurons, p], W_out [p, neurons]\n"
        'torch.save({"mlp.W_in": W_in, "mlp.W_out": W_out}, "200.pth")\n'
        "# and with an embedding also embed.W_E [width, p], where W_in is [neurons, width]\n\n"
        "# or whatever a model of two linear layers, or a HookedTransformer of one layer, gives\n"
        'torch.save({"model": model.state_dict(), "epoch": 200, "train_loss": loss.item()}, "200.pth")'
    )

uploads = st.file_uploader(
    "Checkpoints, or a bundle", [*(suffix[1:] for suffix in SUFFIXES), bundle.SUFFIX[1:]], accept_multiple_files=True,
    key="checkpoints", max_upload_size=None if hosting.hosted() else bundle.BYTES // 10**6,
)  # fmt: skip
path = "" if hosting.hosted() else st.text_input(
    "or a file or folder on this machine", key="import-path", placeholder="/home/me/checkpoints"
)  # fmt: skip
try:
    files = [File(upload.name, upload.getvalue) for upload in uploads]
    name = f"{files[0].name} and {len(files) - 1} more" if files[1:] else files[0].name if files else ""
    if path and not files:
        files, name = files_at(path), path_of(path).resolve().name
    if hosting.hosted() and any(bundle.is_bundle(file.name, file.read()) for file in files):  # nothing is unpacked yet
        raise ValueError(
            f"{name} is a whole run, which every visitor of this server would see under the name of the real one: "
            "open it in a lab of your own"
        )
    whole = importing.whole_run(files)
    made = taken_along(whole, name) if whole is not None else None
    if whole is None:
        how, chosen = settings()
        made = checkpoints(files, name, how, chosen) if files else None
    if made is not None:
        st.session_state["imported"] = made.run.id
        if hosting.hosted():
            ui.door.let_go(uploads)
except (ValueError, OSError) as error:
    st.error(f"{ui.plain(str(error), 300).rstrip('.')}.")

run_id = st.session_state.get("imported")
record = ui.find(run_id).record if run_id else None
if record is not None:
    st.subheader("Imported")
    origin = record.provenance.get("imported") or record.provenance.get("bundle") or run_id
    st.success(f"{ui.plain(origin)} is here as {run_id}.")
    if own := record.provenance.get("own_losses"):
        (st.info if own.endswith("agree with ours.") else st.warning)(ui.plain(own, 300))
    if left := record.provenance.get("left_out"):
        st.caption(f"Left out: {ui.plain(left, 300)}.")
    ui.headline(record)
    with st.container(horizontal=True):
        there = {"run": run_id, "p": str(record.run.p)}
        for page in ui.lookup.WITH_A_RUN[record.run.model]:
            st.page_link(page, label=ui.PAGES[page][0], icon=ui.PAGES[page][1], query_params=there)
mine = {
    run_id: card for run_id, card in ui.lab().store.cards_of_cache().items()
    if "bundle" in card["provenance"] or (card["run"].origin and not card["run"].parent)
}  # fmt: skip
rows = [
    {
        "name": card["provenance"].get("bundle") or card["provenance"].get("imported"),
        "run": run_id,
        "p": card["run"].p,
        "steps": card["summary"]["steps"],
        "train accuracy": card["summary"]["train_accuracy"],
        "IPR": card["summary"]["ipr"],
        "open": f"./{bundle.HOMES[card['run'].model]}?run={run_id}&p={card['run'].p}",
    }
    for run_id, card in mine.items()
]
if rows:
    st.subheader("Brought here so far")
    st.dataframe(
        rows, hide_index=True,
        column_config={
            "train accuracy": st.column_config.NumberColumn(format="percent"),
            "IPR": st.column_config.NumberColumn(format="%.3f"),
            "open": st.column_config.LinkColumn(display_text="open"),
        },
    )  # fmt: skip
