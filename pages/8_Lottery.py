"""Which frequency does a neuron keep?  The race inside it, and bets on the winner placed at step 0."""

import re

import numpy as np
import streamlit as st

from modadd import lottery, preset, theory, ui
from modadd.figures import lottery as figures
from modadd.figures.style import table
from modadd.runs import presets_at

asked = st.query_params.get("run", "")
if (named := re.match(r"p([0-9]{3})-", asked)) and "p" not in st.query_params:
    st.query_params["p"] = str(int(named[1]))
p = ui.page("Lottery")
st.title("Every neuron draws its frequency in a lottery")
st.markdown(
    f"At random weights a neuron holds **all** {(p - 1) // 2} frequencies at once, each with a random magnitude in "
    "both layers and a random misalignment $D_k = 2\\varphi_k - \\psi_k$. Training lets one grow and starves the "
    "others. The paper says who: the frequency whose phases start aligned and whose magnitude starts large. That is "
    "a forecast from the initial weights alone, so we let it **bet**."
)


def choose() -> ui.Found:
    """The run in view: the one in the URL if it is one of this modulus, else a preset."""
    other = ui.find(asked) if asked else None
    linked = other is not None and other.record is not None and other.record.run.p == p
    if asked and other.record is None and other.job is None:
        st.error(f"No run called {ui.plain(asked)} is here; showing a preset instead.")
    names = [name for name in ("quad_random", "standard", "grokking") if name in presets_at(p)]
    name = st.selectbox("Run", [asked, *names] if linked else names, key=f"lottery-run-{linked}")
    if linked and name == asked:
        return other
    run = preset(name, p)
    found = ui.find(run.id)
    if found.record is None:
        ui.offer(run, key="train-lottery")
        st.stop()
    return found


def show(chart, key: str, says: str, caption: str, rows):
    """A chart with what to look for and its numbers."""
    ui.draw(chart, key, says)
    st.caption(caption)
    st.download_button(
        "CSV",
        lambda: ui.csv(rows()),
        f"{key}.csv",
        "text/csv",
        key=f"csv-{key}",
        icon=":material/download:",
        type="tertiary",
    )


@st.cache_data(max_entries=16, show_spinner="Placing the bets ...")
def placed_bets(run_id: str, finish: float, _record):
    """(spectra at step 0, bets by rule) or None."""
    start = lottery.start(_record)
    return start and (start, lottery.bets(start, _record.run.p, _record.run.activation, finish))


def upset() -> int:
    """The first neuron with held spectra whose largest frequency at first is not the one it keeps."""
    first, last = (record.frames[i]["frequency"][:held] for i in (0, -1))
    return int(np.argmax(first != last)) if held else 0


found = choose()
record, run, first_look = found.record, found.record.run, [True]


@st.fragment(run_every=2.0 if found.live else None)
def follow():
    """While the run trains: look again now and then, and stay at its newest frame if there before."""
    now = ui.find(run.id)
    if found.live and not first_look:
        st.session_state["newest"] = st.session_state.get("step") == (record.frame_steps or [0])[-1]
        st.rerun()
    first_look.clear()
    if now.live:
        st.caption(f"This run is training now: step {now.record.step:,} of {run.epochs:,}.")


follow()
if not record.frames:
    st.info("The first frame of this run is on its way.")
    st.stop()
if st.session_state.pop("newest", False):
    st.session_state["step"] = record.frame_steps[-1]
step, log_steps = ui.player([record]), ui.log_steps()

st.header("The race inside one neuron")
held = len(record.frames[0].get("theta_hat", ()))
left, right = st.columns([2, 1], vertical_alignment="bottom")
neuron = left.number_input(
    f"Neuron (0 to {held - 1})", 0, max(held - 1, 0), upset(), key="neuron", persist_state="session"
)
log = right.toggle("Logarithmic magnitudes", key="lottery-log")
race = record.race(neuron)
if race is None:
    st.info("This record holds neither spectra nor weights of its frames, so that no race can be drawn.")
else:
    winner = int(race["alpha_SK"][-1].argmax()) + 1
    at = int(np.searchsorted(race["step_S"], step, side="right")) - 1
    leader = int(race["alpha_SK"][at].argmax()) + 1
    st.markdown(
        f"Neuron {neuron} ends on **k = {winner}** (red); at step {step:,} its largest is k = {leader}. The order is "
        f"settled from step {race['step_S'][lottery.settled(race['alpha_SK'])]:,} on."
    )
    names = {"alpha": "Input magnitude", "beta": "Output magnitude", "D": "Misalignment |D|"}
    for column, (what, title) in zip(st.columns(3), names.items(), strict=True):
        with column:
            st.markdown(f"**{title}**")
            show(
                figures.race(race, what, winner, step, log_steps, log and what != "D"), f"race-{what}",
                f"{title} of all {run.K} frequencies of neuron {neuron} up to step {step}",
                {"alpha": "One curve a frequency. Look how late red overtakes: the largest at first need not win.",
                 "beta": "The output layer follows the same winner; it may first shrink, while |D| > π/2.",
                 "D": "Red falls to 0: input and output phase lock at ψ = 2φ. Losers wander, or stay."}[what],
                lambda what=what: table(
                    step=race["step_S"], **{f"k{k}": v for k, v in enumerate(race[f"{what}_SK"].T, 1)}),
            )  # fmt: skip

st.header("Bets placed at step 0")
st.markdown(
    "Four bookmakers see only the initial weights of every neuron and name the frequency it will keep:\n"
    + "\n".join(f"- **{rule}**: ${tex}$" for rule, tex in theory.RULES_TEX.items())
    + "\n\nThe race integrates each frequency's own flow until one reaches a finish line. Theory does not say where "
    f"that is: {lottery.FINISH:g} was chosen because it scored well on networks trained at p = 23, this preset's seed "
    "among them, so the race has one tuned number that the other rules lack. Move it: how far the score depends on it "
    "is part of the answer. A blind guess is right in "
    f"{1 / run.K:.1%} of the cases; a rule that does no better than that is refuted."
)
finish = st.slider(
    "Finish line of the race (in units of the neuron's largest initial α)", 1.1, 20.0, lottery.FINISH, 0.1
)
known = placed_bets(run.id, finish, record)
if known is None:
    st.info("This record does not hold step 0, so that no bet can be placed.")
    st.stop()
start, bets = known
step_S, winner_SM = record.series("frequency")
final = {rule: lottery.score(bet, winner_SM[-1]) for rule, bet in bets.items()}
with st.container(horizontal=True):
    for rule, told in sorted(final.items(), key=lambda item: -item[1]["rate"]):
        st.metric(rule, f"{told['rate']:.1%}", f"{told['low']:.0%} to {told['high']:.0%}", "off", delta_arrow="off")
now = int(np.searchsorted(step_S, step, side="right")) - 1
decided = float(np.mean(winner_SM[now] == winner_SM[-1]))
st.caption(
    f"Hits on the final winners (step {step_S[-1]:,}) of {len(start['alpha']):,} neurons, with Wilson's 95 % interval. "
    f"At step {step:,} {decided:.1%} of the neurons already have the frequency they will keep."
)
scores = {rule: lottery.score(bet, winner_SM) for rule, bet in bets.items()}
show(
    figures.hit_rates(step_S, scores, 1 / run.K, step, log_steps), "hits",
    "Share of neurons each rule foretold right, against the largest frequency at each step",
    "A bet is scored against the frequency that leads at each step. Magnitude is right by definition at step 0 and "
    "loses as others overtake; drive and race gain. The dashed level is a blind guess.",
    lambda: table(step=np.tile(step_S, len(scores)), rule=np.repeat(list(scores), len(step_S)),
                  **{n: np.concatenate([s[n] for s in scores.values()]) for n in ("rate", "low", "high")}),
)  # fmt: skip

left, right = st.columns(2)
with left:
    st.subheader("Who was taken for whom")
    rule = st.segmented_control("Rule", list(bets), default=list(bets)[-1], key="lottery-rule") or list(bets)[-1]
    count = lottery.confusion(bets[rule], winner_SM[-1], run.K)
    show(
        figures.confusion(count), "confusion", f"Frequencies foretold by {rule} against frequencies kept",
        f"A right bet lies on the diagonal ({np.trace(count)} of {count.sum()}). Errors spread evenly mean luck; an "
        "error column would mean that training favours one frequency.",
        lambda: table(foretold=np.indices(count.shape)[0].ravel() + 1, kept=np.indices(count.shape)[1].ravel() + 1,
                      neurons=count.ravel()),
    )  # fmt: skip
with right:
    st.subheader("Where winners begin")
    points = figures.placed(start, winner_SM[-1])
    show(
        figures.contour(p, points), "contour", "Growth of a pair over its initial misalignment and magnitude",
        "Ground: a single pair's output magnitude after a short flow (x²), its window scaled to this run. Dots: pairs "
        "of this run, by their fate. Winners should crowd where the ground is dark: D near 0 or 2π, large α.",
        lambda: table(**points),
    )  # fmt: skip
