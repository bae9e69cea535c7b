"""Any two to six runs, over each other or side by side."""

from dataclasses import replace
from functools import lru_cache

import streamlit as st

from modadd import ui
from modadd.figures import compare as draw
from modadd.figures import grids, neurons, transformer
from modadd.figures.style import sentence
from modadd.many import compare, seeds
from modadd.records import rows

ABREAST = 3  # charts in a row
VIEWS = ("overlaid", "side by side")

p = ui.page("Compare")
ui.head(
    "What differs, and what does not?",
    "Hold two to six runs against each other at the same moment.",
    "Two runs that differ in one setting tell what that setting does, if they are held against each other at the same "
    "moment: the same step, or the same point of their story, for a run that learns half as fast is at twice the step "
    "when its stage ends. Choose two to six runs of any kind; what a record does not hold is said, not invented.",
)
lab, state = ui.lab(), st.session_state
cards = lab.store.cards()
known = {run_id: card["run"] for run_id, card in cards.items()} | {job.run.id: job.run for job in lab.jobs()}
state.setdefault("compared", next(iter(compare.choices(known, p).values()))[:2])
ui.links.carry("runs", "compared", ui.links.several(known, compare.MOST))
state.setdefault("compared", [])


def title(run_id: str) -> str:
    """A run in the list, as one looks for it."""
    run = known[run_id]
    where = "live" if run_id not in cards else cards[run_id]["where"]
    return f"p = {run.p} · {run.preset} · seed {run.seed} · {run_id[-10:]} · {where}"


near = sorted(known, key=lambda run_id: (known[run_id].p != p, known[run_id].p, known[run_id].model, run_id))
fixed = ui.links.locked("run")
chosen = st.multiselect(
    "Runs", near, key="compared", format_func=title, max_selections=compare.MOST, persist_state="session",
    disabled=fixed, filter_mode="contains", placeholder="Two to six runs, from the atlas, the cache or the lab",
)  # fmt: skip
with st.container(horizontal=True):
    for name, ids in compare.choices(known, p, known[chosen[0]] if chosen else None).items():
        st.button(
            name, type="tertiary", disabled=fixed or len(ids) < 2, on_click=lambda ids: state.update(compared=ids),
            args=(ids,), help=None if len(ids) > 1 else "Fewer than two such runs are here.",
        )  # fmt: skip
ui.follow(*chosen)
found = {run_id: ui.find(run_id).record for run_id in chosen}
held = [record for record in found.values() if record is not None and record.frames]
for run_id in chosen:
    if found[run_id] is None or not found[run_id].frames:
        st.info(f"{run_id} has nothing to show yet.")
if len(held) < 2:
    st.info(
        "Choose at least two runs, or one of the quick choices."
        if len(known) > 1
        else "Fewer than two runs are here: open **Live** and train two, then compare them."
    )
    ui.stop()
names = compare.labels([record.run for record in held])
records = dict(zip(names, held, strict=True))
colours = draw.hues(names)

st.subheader("What differs")
runs = [record.run for record in held]
apart = compare.differing(runs)
shared = {name: getattr(runs[0], name) for name in ("p", "activation", "optimizer", "lr", "weight_decay", "frac_train")}
same = ", ".join(f"{name} {value}" for name, value in shared.items() if name not in apart)
if apart:
    st.dataframe(
        [{"setting": name} | {label: str(getattr(r.run, name)) for label, r in records.items()} for name in apart],
        hide_index=True,
    )  # fmt: skip
st.caption(f"Only settings that are not the same in all runs. The same in all: {same or 'none of the usual ones'}.")
ui.table(
    [{"run": label} | {title: r.summary[key] for title, key in compare.RESULTS.items()} for label, r in records.items()]
)

left, right = st.columns(2)
for name, key, options in (("match", "compare-match", list(compare.MATCHES)), ("view", "compare-view", VIEWS)):
    ui.links.carry(name, key, ui.links.one_of(options))
    state.setdefault(key, options[0])
match = left.segmented_control(
    "Matched by", compare.MATCHES, required=True, key="compare-match", format_func=compare.MATCHES.get,
)  # fmt: skip
view = right.segmented_control("Curves", VIEWS, required=True, key="compare-view")
end = compare.ends(records, match)
if lost := [label for label, step in end.items() if step is None]:
    st.info(f"Left out below, because that stage of it did not end: {'; '.join(lost)}.")
records = {label: record for label, record in records.items() if end[label] is not None}
if not records:
    ui.stop()
offered = [name for name in seeds.CURVES if any(len(seeds.curve(record, name)[0]) for record in records.values())]
usual = [name for name in ("train_loss", "test_accuracy", "ipr_in", "mean_abs_sin_D", "norm") if name in offered]
ui.links.carry("curves", "compare-curves", ui.links.several(offered))
state.setdefault("compare-curves", usual)
curves = st.multiselect("Measures", offered, key="compare-curves", format_func=seeds.CURVES.get)
lines = {name: compare.curves(records, name, end) for name in curves}
stage = None if match == "step" else compare.MATCHES[match]


def step_at(label: str, moment: int) -> int:
    """The step of a run at a moment, which is a step or a percent."""
    return round(moment * end[label] / 100)


def measure(name: str):
    """One measure of all runs, over each other or side by side on the same axes."""
    log = ui.log_steps()
    if view == VIEWS[0]:
        return [(f"compare-{name}", lambda at: draw.curves(lines[name], name, colours, at, stage, log))]
    ends = draw.ends_of(lines[name])
    return [
        (f"compare-{name}-{names.index(line[0])}",
         lambda at, line=line: draw.curves([line], name, colours, at, stage, log, ends, line[0]))
        for line in lines[name]
    ]  # fmt: skip


def pictures(title: str, key: str, make, lacking: str):
    """A picture of each run: `make(record, step, top)` gives its chart, or None where it is not held; `lacking` says
    why of a transformer."""
    st.subheader(title)

    def one(label: str):
        record = records[label]
        if make(record, record.step) is None:
            return f"{label}: {lacking if record.run.model != 'mlp' else 'this small record keeps none'}."
        return lambda at: named(make(record, step_at(label, at)), label)

    ui.row(
        *((f"{key}-{names.index(label)}", one(label)) for label in records), abreast=max(2, min(ABREAST, len(records)))
    )


def named(chart, label: str):
    """The chart under the name of its run."""
    return replace(chart, title=f"{label}: {chart.title[0].lower() + chart.title[1:]}", caption="")


def body(moment: int):
    """Everything that moves with the step, or with the percent of the way to the end of the stage."""
    if view == VIEWS[0]:
        ui.row(*(chart for name in lines for chart in measure(name)), abreast=2)
    for name in lines if view == VIEWS[1] else ():
        st.markdown(f"**{sentence(seeds.CURVES[name])}**, the same axes in all")
        ui.row(*measure(name), abreast=max(2, min(ABREAST, len(lines[name]))))
    st.subheader("Which frequencies carry the weights?")
    st.markdown(
        "Even: every frequency is used alike. Few peaks: a circuit of few frequencies. Of a transformer: its "
        "embedding, and its map from neurons to logits."
    )
    found = lambda layer, at: {  # noqa: E731
        label: compare.spectrum(record, step_at(label, at), layer) for label, record in records.items()
    }
    shares = {layer: draw.spectra(found(layer, moment), colours, layer) for layer in rows.LAYERS}
    ui.row(
        *(
            (
                f"compare-spectrum-{layer}",
                one if isinstance(one, str) else lambda at, layer=layer: draw.spectra(found(layer, at), colours, layer),
            )
            for layer, one in shares.items()
        )
    )
    for layer, name in zip(rows.LAYERS, ("theta_hat", "xi_hat"), strict=True):

        def neurons_of(record, step, layer=layer, name=name):
            if record.run.model != "mlp" or (seen := record.at(step, name, "nearest")) is None:
                return None
            return neurons.spectra(seen.frame, layer, seen.step, rows.showcase(record), most(name), 240)

        pictures(f"Neurons, {layer} layer", f"compare-{name}", neurons_of, "its neurons read no residue directly")
    pictures("Logits for x = 0", "compare-logits", votes, "no logits are kept")
    pictures("Which sums does it know?", "compare-probability", sums, "no table of probabilities is kept")


@lru_cache(maxsize=8)
def most(name: str) -> float:
    """The largest entry of this array in any run: one scale of colours for all of them."""
    held = [record.at(holding=name) for record in records.values()]
    return max(float(abs(one.frame[name]).max()) for one in held if one)


def votes(record, step):
    """The logits of a run."""
    seen = record.at(step, "logits0", "nearest")
    return seen and grids.logits0(seen.frame, seen.step, 250, most("logits0"))


def sums(record, step):
    """The probabilities of the right answers of a run."""
    known = compare.probability(record, step)
    return known and transformer.pairs(*known, 250)


if stage:
    ui.film(body, compare.moments(records, end), "percent", f"Percent of the way to the {stage}", {stage: 100})
else:
    ui.play(body, *records.values())
