"""Which frequency does a neuron keep?  The race inside it, and bets on the winner placed at step 0."""

import streamlit as st

from modadd import ui
from modadd.analysis import lottery
from modadd.figures import lottery as figures
from modadd.maths import theory
from modadd.runs import presets_at

p = ui.page("Lottery")
ui.head(
    "A lottery of frequencies",
    f"A random neuron holds **all** {(p - 1) // 2} frequencies at once. Training lets one grow: which one?",
)
record = ui.choose_run(p, [name for name in ("quad_random", "standard", "grokking") if name in presets_at(p)])
run, log_steps = record.run, ui.log_steps()
held, winner_M = lottery.followed(record), record.frames[-1]["frequency"]
SAW = {
    lottery.MOMENTS: "This record saw the whole race at few moments only, joined by straight lines.",
    lottery.LEADER: "Of this neuron the record follows only the frequency in the lead.",
}


@st.cache_data(max_entries=16, show_spinner="Placing the bets ...")
def placed_bets(run_id: str, finish: float, _record):
    """(spectra at step 0, bets by rule) or None."""
    start = lottery.start(_record)
    return start and (start, lottery.bets(start, _record.run.p, _record.run.activation, finish))


def pick():
    """A click on the strip names the neuron."""
    if cells := st.session_state["strip"].selection.get("neuron"):
        st.session_state["neuron"] = int(cells[0]["neuron"])


def body(step: int):
    """Everything that moves with the step."""
    ui.links.carry("neuron", "neuron", ui.links.whole(0, run.d_mlp - 1))
    if st.session_state.setdefault("neuron", lottery.upset(record)) >= held:
        st.caption(f"Neuron {st.session_state['neuron']:,} is not among the first {held:,}, which this record follows.")
        st.session_state["neuron"] = 0
    neuron = st.session_state["neuron"]
    seen, how = lottery.race(record, neuron)
    log = st.session_state.get("lottery-log", False)
    race = lambda what, height=220: lambda at: figures.race(seen, what, at, neuron, log_steps, log, height)  # noqa: E731
    ui.row(
        ("race-alpha", race("alpha", 290)), ("turning", lambda at: figures.turning(seen, at, neuron)),
        widths=[2.1, 1], files={"race-alpha": f"race-alpha-neuron-{neuron}", "turning": f"turning-neuron-{neuron}"},
    )  # fmt: skip
    if how in SAW:
        st.caption(SAW[how])
        ui.offer(run, "train-race", "is here without the whole race of this neuron")
    left, middle, right = st.columns([4, 1, 1], vertical_alignment="center")
    with left:
        ui.show(figures.strip(winner_M[:held], run.K, neuron), "strip", pick)
    middle.number_input(f"Neuron (0 to {held - 1:,})", 0, held - 1, key="neuron", persist_state="session")
    right.toggle("Logarithmic magnitudes", key="lottery-log", persist_state="session")
    ui.row(*((f"race-{what}", race(what)) for what in ("beta", "D")))
    bets(step)


def bets(step: int):
    """Four rules bet on every winner: how often they are right, where they err, and where winners began."""
    st.subheader("Bets placed at step 0")
    finish = st.session_state.setdefault("lottery-finish", lottery.FINISH)
    if (known := placed_bets(run.id, finish, record)) is None:
        st.info("This record does not hold step 0, so that no bet can be placed.")
        return
    start, placed = known
    step_S, winner_SM = record.series("frequency")
    final = {rule: lottery.score(bet, winner_SM[-1]) for rule, bet in placed.items()}
    hits = figures.hits_table(step_S, {rule: lottery.score(bet, winner_SM) for rule, bet in placed.items()})
    ui.row(
        ("bets", figures.bets(final, 1 / run.K, len(start["alpha"]), int(step_S[-1]))),
        ("hits", lambda at: figures.hit_rates(hits, 1 / run.K, at, log_steps)),
    )
    st.caption(
        f"At step {step:,} {lottery.decided(record, step):.1%} of the neurons already have the frequency that "
        "they keep."
    )
    with st.expander("The four rules"):
        st.markdown(
            "Four bookmakers see only the initial weights of every neuron and name the frequency it will keep:\n"
            + "\n".join(f"- **{rule}**: ${tex}$" for rule, tex in theory.RULES_TEX.items())
            + "\n\nThe race integrates each frequency's own flow until one reaches a finish line. Theory does not say "
            f"where that is: {lottery.FINISH:g} was chosen because it scored well on networks trained at p = 23, this "
            "preset's seed among them, so the race has one tuned number that the other rules lack. Move it: how far "
            "the score depends on it is part of the answer. The phase rule is proved for equal magnitudes, x² and "
            "gradient descent: to see it there, train on **Live** from initial weights *equal* with Quad and SGD; "
            "**Claims** then scores it while the loss is near ln p."
        )
        st.slider("Finish line of the race (in units of the neuron's largest initial α)", 1.1, 20.0, step=0.1,
                  key="lottery-finish")  # fmt: skip
    st.subheader("Predicted versus actual winner")
    rule = st.segmented_control("Rule", list(placed), default=list(placed)[-1], required=True, key="lottery-rule")
    count = lottery.confusion(placed[rule], winner_SM[-1], run.K)
    ui.row(
        ("confusion", figures.confusion(count, rule, int(step_S[-1]))),
        ("contour", figures.contour(p, figures.placed(start, winner_SM[-1]))), widths=[1, 1.4],
    )  # fmt: skip


ui.play(body, record)
