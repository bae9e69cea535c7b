"""The one-layer transformer: which frequencies it uses, how they take over, and what each part of it does."""

from dataclasses import replace

import numpy as np
import streamlit as st

from modadd import Run, ui
from modadd.analysis import phases
from modadd.figures import transformer as draw
from modadd.frames import one_layer
from modadd.records.store import ID
from modadd.runs import BOUNDS, EPOCHS_MAX, P_GROK, preset

PUBLISHED_P = 113
ANOTHER = "train another"

p = ui.page("Transformer")
ui.head(
    "A transformer finds the circles too",
    "Is a network of another kind driven to the same answer?",
    "Is a network of another kind driven to the same answer? A transformer reads three tokens, a, b and “=”, through "
    "one layer of attention and one of ReLU neurons; nothing tells it that residues lie on a circle. The claim: it "
    "writes cos wₖa and sin wₖa for a few **key frequencies** k, multiplies them into cos wₖ(a + b) and "
    "sin wₖ(a + b), and votes for c with cos wₖ(a + b − c). *What would refute it:* logits that these cosines do not "
    "explain, a training loss that stays low without them, or a test loss that rises when all else is taken away.",
)


def networks() -> dict[str, str]:
    """{id: in what it differs from the others} of the finished transformers of this modulus, the best first."""
    cards = [card for card in ui.lab().store.cards().values() if card["run"].p == p]
    cards = [card for card in cards if card["run"].model == "transformer"
             and card["provenance"].get("stop_reason") not in (None, "stopped")]  # fmt: skip
    usual, named = preset("transformer", p), {}
    for card in sorted(cards, key=lambda card: (card["run"] != usual, -(card["summary"]["test_accuracy"] or 0))):
        run, score = card["run"], ui.number(card["summary"]["test_accuracy"], ".1%")
        says = (
            f"weight decay {run.weight_decay:g}, test accuracy {score}, seed {run.seed}, "
            f"{run.frac_train:.0%} of the pairs, {run.epochs:,} steps"
        )
        named[run.id] = f"{says} ({run.id})" if says in named.values() else says
    return named


def invite(others: dict[str, str]):
    """Settings that can work at this modulus, their price, and a button."""
    if not others:
        st.info(f"No transformer has been trained at p = {p} here.")
    if p != PUBLISHED_P:
        label, there = f"The published modulus, p = {PUBLISHED_P}", {"p": str(PUBLISHED_P)}
        st.page_link("pages/Transformer.py", label=label, icon=":material/arrow_forward:", query_params=there)
    st.markdown(
        "The fewer the residues, the cheaper it is to learn the sums by heart: at p = 53 the publication needed a "
        "weight decay of 5 instead of 1. Below that, more of the pairs are suggested here as well."
    )
    base = preset("transformer", p)
    usual = (5.0, 0.6, 5_000) if p < 50 else (5.0, 0.3, 15_000) if p < 100 else (1.0, 0.3, base.epochs)
    decay, share, steps, seed = st.columns(4)
    run = preset(
        "transformer", p,
        weight_decay=decay.number_input("Weight decay", *BOUNDS["weight_decay"], usual[0], key=f"decay-{p}"),
        frac_train=share.number_input("Share of pairs trained", 0.05, 0.95, usual[1], key=f"share-{p}"),
        epochs=steps.number_input("Training steps", 50, EPOCHS_MAX, usual[2], key=f"steps-{p}"),
        seed=seed.number_input("Seed", *BOUNDS["seed"], base.seed, key=f"seed-{p}"),
    )  # fmt: skip
    st.caption(ui.price(run))
    if ui.find(run.id).record or st.button("Train it", type="primary", icon=":material/play_arrow:"):
        with ui.refusals():
            ui.lab().submit(run)
            ui.open_run(run.id)
            st.rerun()
    ui.stop()


def key_frequencies(record) -> np.ndarray:
    """The rule, its threshold, and what it picks in the last frame, bool [K]."""
    norms_K = one_layer.by_frequency(record.frames[-1]["map_norms"])
    left, right = st.columns(2)
    rules = ["gap", "share", "by hand"]
    rule = left.segmented_control("Key frequencies", rules, default="gap", required=True, key="key-rule")
    if rule == "gap":
        says = "Those above the widest gap in the sorted norms, if that is at least a factor of"
        return one_layer.key_frequencies(norms_K, rule, gap=right.slider(says, 1.1, 5.0, one_layer.GAP))
    if rule == "share":
        says = "Those above this share (%) of the largest norm"
        return one_layer.key_frequencies(norms_K, rule, share=right.slider(says, 1, 90, 10) / 100)
    every, usual = np.arange(1, record.run.K + 1), one_layer.key_frequencies(norms_K)
    return np.isin(every, right.multiselect("Frequencies", every, every[usual], key=f"keys-{record.run.id}"))


# A record that is still growing is known by its id and its frames.
@st.cache_data(max_entries=8, show_spinner=False)
def progress(run_id: str, frames: tuple, keys: tuple, _record):
    return phases.progress(_record, np.array(keys, bool))


@st.cache_data(max_entries=8, show_spinner="Running the network of every frame over all pairs ...")
def excluded_together(run_id: str, frames: tuple, keys: tuple, _record):
    return phases.excluded_together(_record, np.array(keys, bool))


@st.cache_data(max_entries=4, show_spinner="Opening the network ...")
def opened(run_id: str, at: int, _run: Run, _frame):
    """What the last frame of a run holds, for any frame with weights."""
    return one_layer.take_frame(_run, *phases.opened(_run, _frame), final=True)


opened_by_id = ID.fullmatch(st.session_state.get("run") or "")
if opened_by_id or ui.find(preset("transformer", p).id).live:
    record = ui.choose_run(p, ["transformer"], models=("transformer",))
else:
    named = networks()
    key = f"network-{p}"
    ui.links.carry("network", key, ui.links.one_of([*named, ANOTHER]))
    chosen = named and st.selectbox(
        "Network", [*named, ANOTHER], format_func=lambda one: named.get(one, one), key=key, persist_state="session",
        disabled=ui.links.locked("run"),
    )  # fmt: skip
    record = ui.find(chosen or "").record
    if record is None:
        invite(named)
run, live = record.run, ui.find(record.run.id).live
st.markdown(
    f"This one has {run.heads} heads and {run.d_mlp} ReLU neurons, {run.weights:,} weights in all, and trains on "
    f"{run.frac_train:.0%} of the {p * p:,} sums with weight decay {run.weight_decay:g}."
)
if not opened_by_id:
    st.caption(ui.provenance(record))

st.subheader("Which frequencies does it use?")
keys_K = key_frequencies(record)
named = ", ".join(str(k) for k in np.flatnonzero(keys_K) + 1) or "none: none stands out"
step = record.frame_steps[-1] if live else ui.player([record])
(at, frame), last = record.at(step, None, "nearest"), record.frames[-1]
st.markdown(
    f"Read off the map W_L from neurons to logits in the last frame, the key frequencies are **{named}**. All that "
    f"follows uses them. At step {at:,} the Gini coefficient of the norms (0: all equal, 1: one has all) is "
    f"{frame['gini_embed']:.2f} in the embedding W_E and {frame['gini_map']:.2f} in W_L."
)
ui.row(*((name, draw.spectrum(name, frame, keys_K, at)) for name in draw.LAYERS))

st.subheader("Memorise, form a circuit, clean up")
with st.expander("Where a phase ends"):
    first, second, third = st.columns(3)
    rise = first.number_input("Excluded loss rises × from its least", 1.1, 1e6, phases.RISE)
    fall = second.number_input("Restricted test loss below × ln p", 0.001, 1.0, phases.FALL, format="%.3f")
    done = third.number_input("Test loss below × ln p", 0.0001, 1.0, phases.DONE, format="%.4f")
weighty = not live and any("weights/W_E" in one for one in record.frames)
at_once = weighty and keys_K.any() and st.toggle(
    "Exclude all key frequencies at once, too (runs the network of every frame that keeps weights)", key="at-once"
)  # fmt: skip


@st.fragment(run_every=4 * ui.TICK if live else None)
def learning():
    """The curves over training with their phases; while it trains, drawn again every two seconds."""
    found = ui.find(run.id)
    if live and not found.live:
        st.rerun()  # the whole page, so that its player and all below follow
    if live:
        ui.status(run.id, found)
    now = found.record or record
    known = run.id, (len(now.frames), now.frame_steps[-1]), tuple(keys_K.tolist())
    measured = progress(*known, now)
    together = excluded_together(*known, now) if at_once else None
    ends = phases.phases(now, measured, rise, fall, done)
    how = {"step": None if live else step, "log_steps": ui.log_steps()} | draw.stages(now, ends)
    st.markdown(
        f"**I memorisation** ends where the excluded loss turns up: **{ui.not_reached(ends[0])}**. **II circuit "
        f"formation** ends where the restricted loss is down to {fall:g} ln p: **{ui.not_reached(ends[1])}**. **III "
        f"cleanup** ends where the test loss is down to {done:g} ln p: **{ui.not_reached(ends[2])}**. Chance is ln p = "
        f"{np.log(p):.3f}. The first two are read off frames, which lie up to 200 steps apart."
    )
    ui.show(draw.progress(now, measured, **how), "progress")
    none = "There is no key frequency to take away from the training loss."
    ui.row(
        ("loss", draw.history(now, "loss", **how)), ("accuracy", draw.history(now, "accuracy", **how)),
        ("excluded", draw.excluded(measured, keys_K, together=together, **how) if keys_K.any() else none),
        ("squared", draw.squared_weights(now, **how)), abreast=2,
    )  # fmt: skip
    ui.show(draw.shares(now, measured, **how), "shares")


learning()
explained = float(frame["fve_K"][keys_K].sum())
st.markdown(
    f"At step {at:,} the key cosines explain **{explained:.1%}** of the variance of the logits centred over the "
    f"answers of each pair, and {explained * frame['centred']:.1%} of their variance about one common mean. "
    f"**{frame['single']:.0%}** of the neurons have one frequency, {frame['silent']:.0%} are silent. Without the "
    f"{int(frame['keys'].sum())} key frequencies of that very frame, by the standard rule, the training loss would be "
    f"{frame['excluded_train']:.3g}."
)

if "probability" in frame:
    ui.show(draw.pairs(frame["probability"], at), "pairs")

inside, when = frame, at
if "maps" not in frame and weighty:
    when, held = record.at(step, "weights/W_E", "nearest")
    inside = held if "maps" in held else opened(run.id, when, run, held)
elif "maps" not in frame:
    if "maps" not in last:
        st.info(
            "Neurons, attention and circles open as soon as the run ends or pauses." if live
            else "This record keeps no weights and no maps. Train the run here to look inside."
        )  # fmt: skip
        ui.stop()
    inside, when = last, record.frame_steps[-1]
if when != at:
    st.caption(f"What follows is kept at some steps only: shown is step {when:,}.")

st.subheader("The circles")
circles = [*zip(inside["circle_frequency"].tolist(), inside["circle_share"], inside["circles"], strict=True)]
if not circles:
    st.markdown(f"At step {when:,} no frequency stands out by the standard rule: there is no circle to draw yet.")
ui.row(
    *((f"circle-{i}", draw.circle(points, k, share, when)) for i, (k, share, points) in enumerate(circles)), abreast=3
)

st.subheader("The neurons")
ui.show(draw.neuron_maps(inside, when), "neurons")

st.subheader("The attention")
ui.show(draw.attention_maps(inside, run.heads, when), "attention")

st.subheader("The logits")
strongest = draw.strongest(inside["logits_2d"], 4 * max(1, int(keys_K.sum())))
left, right = st.columns([3, 2])
with left:
    ui.show(draw.modes(inside["logits_2d"], when, int(keys_K.sum())), "logits-2d")
with right:
    percent = {"share of power": st.column_config.NumberColumn(format="percent")}
    rows = [dict(zip(("mode of a", "mode of b", "share of power"), row, strict=True)) for row in strongest]
    st.dataframe(rows, column_config=percent, height=420)
    st.caption(f"The {len(rows)} strongest hold {sum(row['share of power'] for row in rows):.1%} of the power.")

st.subheader("Beside it: the two-layer network on the same sums")
names = ["grokking", "standard"] if p >= P_GROK else ["standard"]
mlp = next((one for one in (ui.find(preset(name, p).id).record for name in names) if one and one.frames), None)
if mlp is None:
    ui.offer(preset(names[0], p), key="train-mlp")
    ui.stop()
both = {f"MLP, {mlp.run.preset}": draw.beside(mlp, None), "transformer": draw.beside(record, keys_K)}
forms = {
    name: "," if "step" in name or isinstance(value, int) else ".1%" if "share" in name or "accuracy" in name else ".4g"
    for name, value in both["transformer"].items()
}
st.dataframe(
    [{"measure": n} | {net: ui.number(its[n], form) for net, its in both.items()} for n, form in forms.items()],
    height="content",
)
st.caption(
    "Neurons of one frequency: more than 85 % of the power of the input row (MLP) or of the variance of the activation "
    "(transformer). Input side: rows into the neurons, or the embedding; output side: rows out of them, or W_L."
)
for name, its, hue in zip(both, (mlp, record), ("output", "input"), strict=True):
    ui.row(
        (f"accuracy-{hue}", replace(draw.history(its, "accuracy", None, ui.log_steps()), title=f"Accuracy, {name}")),
        (f"use-{hue}", draw.use(its, name, draw.COLOURS[hue])),
    )
