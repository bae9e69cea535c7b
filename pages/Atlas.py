"""Every modulus side by side: each measure of each preset over all odd p, and where the claims stop being true."""

import pyarrow as pa
import streamlit as st

from modadd import ui
from modadd.figures import atlas as figures
from modadd.figures import over_p
from modadd.many import atlas, replicas, survey
from modadd.many.notes import RANDOM, notes
from modadd.runs import P_MAX, P_MIN, PRESETS

SHOWN_TOGETHER = ("standard", "grokking")  # the Overview shows these two; any other run opens on Live
SET_APART = (("grokking", "stage2_end", "The end of stage II of grokking"), ("standard", "ipr", "The IPR of standard"))
STEADY, JUMP = 0.95, 4  # rank correlation of a steady curve; standard errors of a jump worth naming

p = ui.page("Atlas")
if opened := st.session_state.pop("atlas-open", None):
    if opened[5:-11] in SHOWN_TOGETHER:
        st.switch_page("pages/Overview.py", query_params={"p": str(int(opened[1:4]))})
    st.switch_page("pages/Live.py", query_params={"run": opened})
ui.head(
    "Every modulus at once",
    "Is it a fact about addition, or about one modulus?",
    "Is it a fact about addition, or about one modulus? What the explanation says must hold at every p, prime or "
    "composite. Look for smooth curves; a measure that jumps, or sets the composites apart, shows p itself at work.",
)
with st.spinner("Measuring runs that are new here ...", show_time=True):
    every, damaged = atlas.table(ui.lab().store)
    rows = replicas.medians(every)
if damaged:
    st.error(f"Cannot be read, and left out: {ui.plain(', '.join(damaged), 400)}; restore or delete it.")
if not rows:
    st.info("No run of a preset is here yet. Train one on **Live**, at any p, and it becomes a point on this page.")
    ui.stop()


def show(chart, key: str):
    """A chart whose marks open their runs."""

    def pick():
        if (chosen := st.session_state[key].selection.get("run")) and chosen[0].get("run_id"):
            st.session_state["atlas-open"] = chosen[0]["run_id"]

    ui.show(chart, key, pick)


def clock(device: str, told: dict) -> str:
    shared = told["seconds"] > 1.1 * told["wall"]
    return (
        f"{told['runs']} runs on {ui.plain(device)}, {ui.duration(told['seconds'])} by their own clocks"
        + f" within {ui.duration(told['wall'])} of time ({told['seconds'] / told['wall']:.1f} at once)" * shared
    )


lacking = [f"{name} at p = {survey.spans(moduli)}" for name, moduli in survey.missing(rows).items() if moduli]
own = sum(row["where"] == "cache" for row in every)
fp32, tf32 = ([row["p"] for row in rows if row["precision"] == name] for name in ("fp32", "tf32"))
seam = (max(fp32) + min(tf32)) / 2 if fp32 and tf32 and max(fp32) < min(tf32) else None
machines = sorted(survey.busy(every).items(), key=lambda item: -item[1]["runs"])
st.markdown(
    f"The same experiments at the {(P_MAX - P_MIN) // 2 + 1} odd moduli from {P_MIN} to {P_MAX}: **{len(every)} runs** "
    f"are here{f', {own} of them your own' if own else ''}. Missing: {'; '.join(lacking) or 'none'}. Float32: p = "
    f"{survey.spans(fp32)}; TF32: p = {survey.spans(tf32)}. Trained: {'; '.join(clock(*item) for item in machines)}. "
    "Runs that overlap shared a card or used several, which the records do not tell apart: the sum of their clocks is "
    "no measure of GPU time, and most would have been faster alone."
)
show(figures.presence(rows), "atlas-presence")
picked = st.pills("Presets", [*PRESETS], selection_mode="multi", default=[*PRESETS], key="atlas-presets") or [*PRESETS]
drawn = [row for row in rows if row["preset"] in picked]
most = max(row["seeds"] for row in rows)
st.caption(
    "In all charts: dots, and the line through them, are prime p; open squares are composite; a triangle at the top is "
    "a step that was not reached"
    + (f"; the upright line marks the change from float32 to TF32 after p = {max(fp32)}" if seam else "")
    + (
        f". Where a run is here with several seeds, up to {most}, a mark is their median and its bar reaches from the "
        "least to the largest; of five seeds that bounds the median with 94 %"
        if most > 1
        else ""
    )
    + ". Click a mark to open its run."
)
name = st.selectbox(
    "Close up",
    [*over_p.EVERY],
    [*over_p.EVERY].index("ipr"),
    format_func=lambda n: over_p.EVERY[n].title,
    key="atlas-close",
)
big = over_p.EVERY[name]
show(over_p.over_p(drawn, big, seam, big=True), "atlas-big")

notes_of = notes(rows, every)
for group, plots in over_p.PLOTS.items():
    st.subheader(group)
    st.markdown(notes_of[group])
    ui.draw(over_p.key(picked), f"atlas-key-{group}", "The colours of the presets")
    width = 2 if len(plots) == 4 else 3
    for i, plot in enumerate(plots):
        if i % width == 0:
            columns = st.columns(width)
        with columns[i % width]:
            show(over_p.over_p(drawn, plot, seam), f"atlas-{plot.name}")

st.subheader("Who named the winners")
best = survey.best_rule(rows)
st.markdown(
    "Each rule names the frequency that a neuron will keep from its initial weights alone (see **Lottery**). Chance "
    "falls as 1/K: a flat curve is a growing lead. Best of the four, by the median over p of the lift over chance: "
    + (
        "; ".join(
            f"{name}: **{t['rule']}** {t['rate']:.0%}, {t['lift']:.1f} times chance ({t['low']:.1f} to {t['high']:.1f})"
            for name, t in best.items()
        )
        or "none is here"
    )
    + ". Bars: Wilson's 95 % interval over the neurons of all seeds."
)
for column, name in zip(st.columns(3), RANDOM, strict=True):
    with column:
        show(figures.bets(rows, name), f"atlas-bets-{name}")

st.subheader("Do frequencies that share a factor with p win less often?")
free = [row for row in rows if row["preset"] in RANDOM]
lots = {name: survey.pooled(row for row in free if row["preset"] == name) for name in RANDOM}
lots = {name: told for name, told in lots.items() if told}
st.markdown(
    "At a composite p a frequency with gcd(k, p) > 1 takes only p/gcd values and cannot tell all answers apart, so "
    "that training might avoid it. Neurons on such frequencies over an even share, all composite p together: "
    + ("; ".join(f"{n} **{t['ratio']:.3f}** ({t['low']:.3f} to {t['high']:.3f})" for n, t in lots.items()) or "none")
    + (". Every interval holds 1: **no handicap is seen**." if all(t["low"] <= 1 <= t["high"] for t in lots.values())
       else ". An interval without 1 is a handicap, or a preference.")
    + " (95 %, if each neuron draws on its own. The single-frequency presets are given their shares.)"
    + "".join(f" {said} at composite p is {told['median']:.3f} times that at prime p ({told['low']:.3f} to "
              f"{told['high']:.3f} over {told['seeds']} seeds)." for name, column, said in SET_APART
              if (told := replicas.apart(every, column, name)) and told["seeds"] > 1)
)  # fmt: skip
left, right = st.columns(2)
with left:
    show(figures.shares(free), "atlas-shares")
with right:
    ui.show(figures.factors(survey.by_factor(free)), "atlas-factors")

st.subheader("What composite p do change: alignment")
apart = {name: survey.apart_within(rows, "mean_abs_sin_D", name) for name in RANDOM}
orders = survey.by_order(rows)
st.markdown(
    "A frequency k takes only q = p / gcd(k, p) values. With few of them the wave is coarse, and its neurons align "
    "less well. Mean |sin D| at composite p over the line through the primes: "
    + ("; ".join(f"{n} **{t[0]:.3f}** ({t[1]:.3f} to {t[2]:.3f})" for n, t in apart.items() if t) or "none is here")
    + ". By q, it should fall to 1 as q grows. For ReLU the flow of four numbers is the limit of large q: at q = 3 its "
    "rate depends on the phase, at q = 23 it does not. (95 %, bootstrap over p. The presets share their seed, and so "
    "their initial weights: three curves, not three tests.)"
)
ui.show(figures.orders(orders), "atlas-orders")

st.subheader("What drifts with p")
trends = survey.trends(rows, {plot.name: plot.title for plot in over_p.EVERY.values()}, seam)
steady = sum(abs(trend["rho"]) >= STEADY for trend in trends)
jumps = [
    f"{trend['measure']}, {trend['preset']} ({trend['jump']:+.2g}, {trend['errors']:+.1f} errors)"
    for trend in trends if abs(trend["errors"] or 0) > JUMP and trend["measure"] != over_p.EVERY["seconds"].title
]  # fmt: skip
st.markdown(
    f"Of {len(trends)} curves {steady} go one way almost throughout (rank correlation ρ with p beyond ±{STEADY}). "
    "First and last: medians of the five smallest and largest p. *Composite*: the median, over composite p, of the "
    "value over that of the line through the primes. *Jump*: at the change from float32 to TF32, beside a parabola, in "
    f"standard errors; beyond {JUMP} of them, training time apart: {', '.join(jumps) or 'none'}."
)
st.dataframe(
    pa.Table.from_pylist(trends), hide_index=True, height=300, placeholder="–",
    column_config={"first": "smallest p", "last": "largest p", "rho": "ρ", "apart": "composite", "errors": "in errors"},
)  # fmt: skip
st.download_button(
    "All numbers of all runs as CSV",
    lambda: ui.csv(pa.Table.from_pylist([{n: r[n] for n in r if n not in ("counts_K", "claims")} for r in every])),
    "atlas.csv", "text/csv", icon=":material/download:", type="tertiary", on_click="ignore",
)  # fmt: skip

st.subheader("Where the claims hold")
of = st.segmented_control("Preset", [*PRESETS], default="grokking", key="atlas-claims") or "grokking"
judged = survey.verdicts(row for row in rows if row["preset"] == of)
st.markdown(
    "The claims of the paper, judged as on the **Claims** page at the last frame of each run. Pale blue: not yet, for "
    "the run was stopped before it learned, or before the flow expects alignment. Grey: the small record lacks what it "
    "takes. Some claims are judged from a sample of the neurons, 64 at some large p, so that single cells that differ "
    "from their row may be chance. Left out: the claims on the flow, which take seconds a run."
)
show(figures.claims_over_p(judged, of), "atlas-judged")
st.dataframe(pa.Table.from_pylist(survey.in_words(judged)), hide_index=True)
st.markdown(
    "How large the effects are, over all p: the median of what is measured in the runs that can be judged, and its "
    "95 % interval (bootstrap over the runs). Runs of one seed share their initial weights from preset to preset: they "
    "are not independent tests."
)
st.dataframe(pa.Table.from_pylist(survey.effects(judged)), hide_index=True, placeholder="–")

st.subheader(f"Every number at p = {p}")
here = {row["preset"]: row for row in rows if row["p"] == p}
if here:
    plots = over_p.EVERY.values()
    columns = {name: [ui.number(row[plot.name], plot.written) for plot in plots] for name, row in here.items()}
    names = [plot.title if plot.axis.lower() in plot.title.lower() else f"{plot.title}: {plot.axis}" for plot in plots]
    st.dataframe(pa.table({"measure": names} | columns), hide_index=True)
else:
    st.info(f"No run of a preset at p = {p} is here.")
