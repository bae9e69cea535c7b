"""Bring a network trained elsewhere, and look at it with every page of the lab."""

from pathlib import Path

import streamlit as st

from modadd import hosting, importing, ui
from modadd.checkpoint import SUFFIXES, Orientation
from modadd.runs import EPOCHS_MAX, P_MAX, P_MIN, Activation, Init, Optimizer, Run, Split

PAGES = ("1_Live", "4_Weights", "5_Phases", "6_Logits", "7_Surgery", "9_Gradient_flow", "19_Forks")

ui.page("Import")
st.title("Bring your own network")
st.markdown(
    "Trained a network of this shape yourself? Its weights are all that the lab needs: "
    "$f(x, y) = \\xi^\\top \\mathrm{act}(\\theta_x + \\theta_y)$ with p odd. Give one checkpoint to see what the "
    "network computes, or one for each of several steps to see how it came to. Files are **.safetensors** or **.pth**, "
    "with either set of names; a number as a file's name, as in `200.pth`, is its step. Nothing in a file is executed."
)
with st.expander("How to write such a file"):
    st.code(
        "from safetensors.torch import save_file\n\n"
        "# theta, xi: [neurons, p], what neuron m reads at residue x and says for the answer j\n"
        'save_file({"theta": theta, "xi": xi}, "200.safetensors")\n\n'
        "# or as published: W_in [neurons, p], W_out [p, neurons]\n"
        'torch.save({"mlp.W_in": W_in, "mlp.W_out": W_out}, "200.pth")\n'
        "# and with an embedding also embed.W_E [width, p], where W_in is [neurons, width]"
    )

uploads = st.file_uploader(
    "Checkpoints", [suffix[1:] for suffix in SUFFIXES], accept_multiple_files=True, key="checkpoints"
)
path = "" if hosting.hosted() else st.text_input(
    "or a file or folder on this machine", key="import-path", placeholder="/home/me/checkpoints"
)  # fmt: skip
reading, told, remembered = st.columns(3)
with reading:
    st.markdown("**How it is read**")
    p = st.number_input("Modulus p", P_MIN, P_MAX, None, step=2, placeholder="from the shapes", key="import-p")
    orientation = st.selectbox("Matrices of the published layout", Orientation.__args__, key="import-orientation")
    last_step = st.number_input(
        "Step of a file that does not say its own", 0, EPOCHS_MAX, None, placeholder="the next", key="import-step"
    )
with told:
    st.markdown("**What weights cannot tell**")
    settings = {
        "activation": st.selectbox("Activation", Activation.__args__, key="import-activation"),
        "frac_train": st.number_input("Share of pairs trained on", 0.01, 1.0, Run.frac_train, key="import-share"),
        "split": st.selectbox("Split of the pairs", Split.__args__, key="import-split"),
        "seed": st.number_input("Seed of that split", 0, 2**31 - 1, Run.seed, key="import-seed"),
    }
with remembered:
    st.markdown("**What is only remembered**")
    real = {"format": "%.6g", "step": None}
    settings |= {
        "optimizer": st.selectbox("Optimiser", Optimizer.__args__, key="import-optimizer"),
        "lr": st.number_input("Learning rate", 1e-8, 10.0, Run.lr, key="import-lr", **real),
        "weight_decay": st.number_input("Weight decay", 0.0, 100.0, Run.weight_decay, key="import-decay", **real),
        "init": st.selectbox("Initial weights", Init.__args__, key="import-init"),
    }

if uploads or path:
    try:
        files = [importing.File(upload.name, upload.getvalue) for upload in uploads] or importing.files_at(path)
        with st.spinner("Reading ..."):
            found = importing.find(files, p, orientation, last_step)
        st.subheader("What was understood")
        st.markdown(" ".join(ui.plain(sentence, 400) for sentence in importing.told(found)))
        if st.button("Import", type="primary", icon=":material/upload:"):
            bar, count = st.progress(0.0), len(found.moments)
            hosting.admit(Run(p=found.p, d_mlp=found.d_mlp, epochs=count), [], None, ui.lab().store.folder)
            name = files[0].name + (f" and {len(files) - 1} more" if len(files) > 1 else "")
            if not uploads:
                name = Path(path).resolve().name
            record = importing.record(
                found, name, lambda done: bar.progress(done / count, f"Measured {done} of {count}"), **settings
            )
            bar.empty()
            ui.lab().store.put(record)
            st.session_state["imported"] = record.run.id
    except (ValueError, OSError) as error:
        st.error(f"{ui.plain(str(error), 300).rstrip('.')}.")

run_id = st.session_state.get("imported")
record = ui.find(run_id).record if run_id else None
if record is not None:
    st.subheader("Imported")
    st.success(f"{ui.plain(record.provenance['imported'])} is here as {run_id}.")
    ui.headline(record)
    with st.container(horizontal=True):
        for page in PAGES:
            name, icon = ui.PAGES[f"pages/{page}.py"]
            there = {"run": run_id, "p": str(record.run.p)}
            st.page_link(f"pages/{page}.py", label=name, icon=icon, query_params=there)
mine = {run_id: card for run_id, card in ui.lab().store.cards_of_cache().items() if card["run"].origin}
rows = [
    {"name": card["provenance"].get("imported"), "run": run_id, "p": card["run"].p, "steps": card["summary"]["steps"],
     "train accuracy": card["summary"]["train_accuracy"], "IPR": card["summary"]["ipr"],
     "open": f"/Weights?run={run_id}&p={card['run'].p}"}
    for run_id, card in mine.items() if not card["run"].parent
]  # fmt: skip
if rows:
    st.subheader("Networks imported so far")
    st.dataframe(
        rows, hide_index=True,
        column_config={
            "train accuracy": st.column_config.NumberColumn(format="percent"),
            "IPR": st.column_config.NumberColumn(format="%.3f"),
            "open": st.column_config.LinkColumn(display_text="open"),
        },
    )  # fmt: skip
