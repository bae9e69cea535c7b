"""Which frequency does a neuron keep?  The race inside it, and bets on the winner placed at step 0."""

import numpy as np
import streamlit as st

from modadd import ui
from modadd.analysis import lottery
from modadd.figures import lottery as figures
from modadd.figures.style import table
from modadd.maths import theory
from modadd.runs import presets_at

p = ui.page("Lottery")
st.title("Every neuron draws its frequency in a lottery")
st.markdown(
    f"At random weights a neuron holds **all** {(p - 1) // 2} frequencies at once, each with a random magnitude in "
    "both layers and a random misalignment $D_k = 2\\varphi_k - \\psi_k$. Training lets one grow and starves the "
    "others. The paper says who: the frequency whose phases start aligned and whose magnitude starts large. That is "
    "a forecast from the initial weights alone, so we let it **bet**."
)
record = ui.choose_run(p, [name for name in ("quad_random", "standard", "grokking") if name in presets_at(p)])
run, log_steps = record.run, ui.log_steps()
LOOK_FOR = {
    "alpha": "One curve a frequency. Look how late red overtakes: the largest at first need not win.",
    "beta": "The output layer follows the same winner; it may first shrink, while |D| > π/2.",
    "D": "Red falls to 0: input and output phase lock at ψ = 2φ. Losers wander, or stay.",
}
LEADS = {
    "alpha": "The input magnitude of whichever frequency led at the time; red is the one that wins.",
    "beta": "Its output magnitude, while it led.",
    "D": "Its misalignment, while it led: it falls to 0 as input and output phase lock at ψ = 2φ.",
}
SAW = {
    lottery.MOMENTS: "This record saw the whole race at few moments only, joined by straight lines.",
    lottery.LEADER: "This record follows all frequencies of its first neurons only; of this one it knows the frequency "
    "in the lead.",
}
REMEDY = "Train the run on **Live** to see the whole race of every neuron."


@st.cache_data(max_entries=16, show_spinner="Placing the bets ...")
def placed_bets(run_id: str, finish: float, _record):
    """(spectra at step 0, bets by rule) or None."""
    start = lottery.start(_record)
    return start and (start, lottery.bets(start, _record.run.p, _record.run.activation, finish))


def body(step: int):
    """Everything that moves with the step."""
    st.header("The race inside one neuron")
    held = lottery.followed(record)
    ui.links.carry("neuron", "neuron", ui.links.whole(0, run.d_mlp - 1))
    if st.session_state.setdefault("neuron", lottery.upset(record)) >= held:
        st.caption(f"Neuron {st.session_state['neuron']:,} is not among the first {held:,}, which this record follows.")
        st.session_state["neuron"] = 0
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    neuron = left.number_input(f"Neuron (0 to {held - 1:,})", 0, held - 1, key="neuron", persist_state="session")
    log = right.toggle("Logarithmic magnitudes", key="lottery-log")
    race(neuron, *lottery.race(record, neuron), step, log)
    st.header("Bets placed at step 0")
    bets(step)


def race(neuron: int, seen: dict, how: str, step: int, log: bool):
    """All frequencies of a neuron up to the step in view, the one that wins in red."""
    if how in SAW:
        st.caption(f"{SAW[how]} {REMEDY}")
    winner = int(seen["alpha_SK"][-1].argmax()) + 1
    at = max(int(np.searchsorted(seen["step_S"], step, side="right")) - 1, 0)
    leader = int(seen["alpha_SK"][at].argmax()) + 1
    settled = lottery.settled(seen["alpha_SK"])
    last = f"between steps {seen['step_S'][settled - 1]:,} and" if settled and how != lottery.WHOLE else "at step"
    st.markdown(
        f"Neuron {neuron} ends on **k = {winner}** (red); at step {step:,} its largest is k = {leader}. The winner "
        f"took the lead for good {last} {seen['step_S'][settled]:,}."
    )
    for column, (what, title) in zip(st.columns(3), figures.TITLES.items(), strict=True):
        with column:
            ui.show(
                title,
                (LEADS if how == lottery.LEADER else LOOK_FOR)[what],
                lambda at, what=what: figures.race(seen, what, winner, at, log_steps, log),
                f"race-{what}",
                lambda what=what: figures.race_table(seen, what),
                f"{title} of all {run.K} frequencies of neuron {neuron} by step",
                file=f"race-{what}-neuron-{neuron}",
            )


def bets(step: int):
    """Four rules bet on every winner: how often they are right, where they err, and where winners began."""
    st.markdown(
        "Four bookmakers see only the initial weights of every neuron and name the frequency it will keep:\n"
        + "\n".join(f"- **{rule}**: ${tex}$" for rule, tex in theory.RULES_TEX.items())
        + "\n\nThe race integrates each frequency's own flow until one reaches a finish line. Theory does not say "
        f"where that is: {lottery.FINISH:g} was chosen because it scored well on networks trained at p = 23, this "
        "preset's seed among them, so the race has one tuned number that the other rules lack. Move it: how far the "
        "score depends on it is part of the answer. A blind guess is right in "
        f"{1 / run.K:.1%} of the cases; a rule that does no better than that is refuted."
    )
    finish = st.slider("Finish line of the race (in units of the neuron's largest initial α)", 1.1, 20.0,
                       lottery.FINISH, 0.1)  # fmt: skip
    if (known := placed_bets(run.id, finish, record)) is None:
        st.info("This record does not hold step 0, so that no bet can be placed.")
        return
    start, placed = known
    step_S, winner_SM = record.series("frequency")
    with st.container(horizontal=True):
        final = {rule: lottery.score(bet, winner_SM[-1]) for rule, bet in placed.items()}
        for rule, told in sorted(final.items(), key=lambda item: -item[1]["rate"]):
            st.metric(rule, f"{told['rate']:.1%}", f"{told['low']:.0%} to {told['high']:.0%}", "off", delta_arrow="off")
    now = max(int(np.searchsorted(step_S, step, side="right")) - 1, 0)
    decided = float(np.mean(winner_SM[now] == winner_SM[-1]))
    st.caption(
        f"Hits on the final winners (step {step_S[-1]:,}) of {len(start['alpha']):,} neurons, with Wilson's 95 % "
        f"interval. At step {step:,} {decided:.1%} of the neurons already have the frequency they will keep."
    )
    hits = figures.hits_table(step_S, {rule: lottery.score(bet, winner_SM) for rule, bet in placed.items()})
    ui.show(
        "Hits over training",
        "A bet is scored against the frequency that leads at each step. Magnitude is right by definition at step 0 "
        "and loses as others overtake; drive and race gain. The dashed level is a blind guess.",
        lambda at: figures.hit_rates(hits, 1 / run.K, at, log_steps),
        "hits",
        lambda: hits,
        "Share of neurons each rule foretold right, against the largest frequency at each step",
    )
    left, right = st.columns(2)
    with left:
        st.subheader("Who was taken for whom")
        rule = st.segmented_control("Rule", list(placed), default=list(placed)[-1], required=True, key="lottery-rule")
        count = lottery.confusion(placed[rule], winner_SM[-1], run.K)
        ui.show(
            f"{np.trace(count)} of {count.sum()} foretold by {rule}",
            "A right bet lies on the diagonal. Errors spread evenly mean luck; an error column would mean that "
            "training favours one frequency.",
            figures.confusion(count),
            "confusion",
            lambda: figures.confusion_table(count),
            f"Frequencies foretold by {rule} against frequencies kept",
        )
    with right:
        st.subheader("Where winners begin")
        points = figures.placed(start, winner_SM[-1])
        ui.show(
            "Growth over the start",
            "Ground: a single pair's output magnitude after a short flow (x²), its window scaled to this run. Dots: "
            "pairs of this run, by their fate. Winners should crowd where the ground is dark: D near 0 or 2π, large α.",
            figures.contour(p, points),
            "contour",
            lambda: table(**points),
            "Growth of a pair over its initial misalignment and magnitude",
        )


ui.play(body, record)
