"""Any two to six runs, over each other or side by side."""

import streamlit as st

from modadd import ui
from modadd.figures import compare as draw
from modadd.figures import grids, logits, neurons, transformer
from modadd.many import compare, seeds
from modadd.records import rows

ABREAST = 3  # charts in a row
VIEWS = ("overlaid", "side by side")

p = ui.page("Compare")
st.title("What differs, and what does not?")
st.markdown(
    "Two runs that differ in one setting tell what that setting does, if they are held against each other at the same "
    "moment: the same step, or the same point of their story, for a run that learns half as fast is at twice the step "
    "when its stage ends. Choose two to six runs of any kind; what a record does not hold is said, not invented."
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
    st.stop()
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
table = [{"run": label} | {title: r.summary[key] for title, key in compare.RESULTS.items()}
         for label, r in records.items()]  # fmt: skip
number = lambda form: st.column_config.NumberColumn(format=form)  # noqa: E731
forms = {name: number("percent") for name in compare.RESULTS if "accuracy" in name}
forms |= {name: number("%.4g") for name in ("IPR", "mean |sin D|", "parameter norm")}
forms |= {"step": number("localized"), "train loss": number("%.2e"), "test loss": number("%.2e")}
st.dataframe(table, hide_index=True, column_config=forms, placeholder="–")

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
    st.stop()
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


def abreast(items):
    """(column, item) for each item, a few in a row."""
    items = list(items)
    for start in range(0, len(items), ABREAST):
        yield from zip(st.columns(min(ABREAST, max(2, len(items)))), items[start : start + ABREAST], strict=False)


def measure(name: str):
    """One measure of all runs; says which runs have none."""
    called, lacking = seeds.CURVES[name], [label for label in records if label not in {line[0] for line in lines[name]}]
    without, log = f" Not measured in: {'; '.join(lacking)}." if lacking else "", ui.log_steps()
    rows_of = lambda: draw.curves_table(lines[name], "percent" if stage else "step")  # noqa: E731
    if view == VIEWS[0]:
        ui.show(
            called[0].upper() + called[1:], f"A colour a run; dashed: the moment in view.{without}",
            lambda at: draw.curves(lines[name], name, colours, at, stage, log), f"compare-{name}", rows_of,
            f"{called} of {len(lines[name])} runs by {stage or 'step'}",
        )  # fmt: skip
        return
    st.markdown(f"**{called[0].upper() + called[1:]}**")
    for column, line in abreast(lines[name]):
        with column:
            ui.show(
                line[0], "",
                lambda at, line=line: draw.curves([line], name, colours, at, stage, log, draw.ends_of(lines[name])),
                f"compare-{name}-{names.index(line[0])}", lambda line=line: draw.curves_table([line]),
                f"{called} of {line[0]} by {stage or 'step'}",
            )  # fmt: skip
    st.caption(f"The same axes in all; dashed: the moment in view.{without}")


def pictures(moment: int, title: str, look_for: str, key: str, make, lacking: str):
    """A picture of each run: `make(record, step)` gives (chart, rows, step), or None where it is not held; `lacking`
    says why of a transformer."""
    st.subheader(title)
    st.caption(look_for)
    made = {label: make(record, step_at(label, moment)) for label, record in records.items()}
    for column, label in abreast(label for label, one in made.items() if one):
        with column:
            _, table_of, at = made[label]
            ui.show(
                f"{label}, step {at:,}", "", lambda at, label=label: make(records[label], step_at(label, at))[0],
                f"{key}-{names.index(label)}", table_of, f"{title} of {label} at step {at}",
            )  # fmt: skip
    for label in made:
        if not made[label]:
            st.caption(f"{label}: {lacking if records[label].run.model != 'mlp' else 'this small record keeps none'}.")


def body(moment: int):
    """Everything that moves with the step, or with the percent of the way to the end of the stage."""
    for column, name in zip(st.columns(2) * len(lines), lines, strict=False) if view == VIEWS[0] else ():
        with column:
            measure(name)
    for name in lines if view == VIEWS[1] else ():
        measure(name)

    st.subheader("Which frequencies carry the weights?")
    for column, layer in zip(st.columns(2), rows.LAYERS, strict=True):
        found = {label: compare.spectrum(record, step_at(label, moment), layer) for label, record in records.items()}
        shares = {label: one[0] for label, one in found.items() if one}
        lacking = [label for label, one in found.items() if not one]
        without = f"Not held: {'; '.join(lacking)}." if lacking else ""
        with column:
            if not shares:
                st.info(f"None of these records holds the {layer} layer.")
                continue
            ui.show(
                f"{layer.capitalize()} layer",
                "Even: every frequency is used alike. Few peaks: a circuit of few frequencies. Of a transformer: its "
                f"embedding, and its map from neurons to logits. {without}",
                lambda at, layer=layer: draw.spectra(
                    {label: one[0] for label, record in records.items()
                     if (one := compare.spectrum(record, step_at(label, at), layer))},
                    colours,
                ),
                f"compare-spectrum-{layer}",
                lambda shares=shares: draw.spectra_table(shares),
                f"Share of each frequency in the {layer} layer of {len(shares)} runs",
            )  # fmt: skip
    for layer, name in zip(rows.LAYERS, ("theta_hat", "xi_hat"), strict=True):

        def neurons_of(record, step, layer=layer, name=name):
            if record.run.model != "mlp" or (seen := record.at(step, name, "nearest")) is None:
                return None
            return neurons.spectra(seen.frame, layer, rows.showcase(record)), None, seen.step

        pictures(
            moment, f"Neurons, {layer} layer",
            "A row is a neuron, a column a Fourier mode: one bright pair once trained.", f"compare-{name}",
            neurons_of, "a neuron of a transformer reads no residue directly, so that it has no such row",
        )  # fmt: skip

    def votes(record, step):
        if (seen := record.at(step, "logits0", "nearest")) is None:
            return None
        row = seen.frame["logits0"]
        return grids.logits0(seen.frame), lambda: logits.row_table(row), seen.step

    def sums(record, step):
        if (known := compare.probability(record, step)) is None:
            return None
        grid, at = known
        return transformer.pairs(grid), lambda: transformer.maps_table(grid[None], ["probability"]), at

    pictures(moment, "Logits for x = 0",
             "The diagonal j = y is the right answer; fainter lines are ghosts. Each has its own scale.",
             "compare-logits", votes, "of a transformer no logits are kept")  # fmt: skip
    pictures(moment, "Which sums does it know?", "Probability of the right answer to each pair: dark where it knows.",
             "compare-probability", sums, "of this task no table of probabilities is kept")  # fmt: skip


if stage:
    ui.film(body, compare.moments(records, end), "percent", f"Percent of the way to the {stage}", {stage: 100})
else:
    ui.play(body, *records.values())
