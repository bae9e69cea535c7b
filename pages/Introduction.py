"""The idea in seven steps, from a turning hand to the vote and how it is found; predict first, then see."""

import math

import numpy as np
import streamlit as st

from modadd import preset, ui
from modadd.analysis import lesson
from modadd.figures import curves, grokking
from modadd.figures import introduction as figures
from modadd.maths import ideal, measures, theory
from modadd.runs import P_GROK

p = ui.page("Introduction")
K, everything = (p - 1) // 2, st.session_state.get("everything", False)
PHI, RACERS = 0.2 * np.pi, max(40, 2000 // K)
RULES = {"phase": "the smallest |D|", "magnitude": "the largest α", "drive": "the largest α²β cos D"}

st.title("How a network can add, in seven steps")
st.markdown(
    "Each step asks first and shows after: **predict**, then look. The sum x + y in all of them is yours to choose, "
    f"and so is the modulus, {p} now, in the bar above."
)
left, middle, right = st.columns([2, 2, 1], vertical_alignment="bottom")
for name in "xy":
    ui.links.carry(name, f"intro-{name}-{p}", ui.links.whole(0, p - 1))
x = left.slider("x", 0, p - 1, max(p - 4, 1), key=f"intro-x-{p}")
y = middle.slider("y", 0, p - 1, min(8, p - 1), key=f"intro-y-{p}")
right.toggle("Show all answers", key="everything")


def predict(question: str, choices: list[str], answer: str, because: str) -> bool:
    """Ask; once a choice is made, tell the computed answer.  Is it out?"""
    chosen = st.radio(question, choices, index=None, horizontal=True, key=f"predict-{question}-{'|'.join(choices)}")
    if chosen is None and not everything:
        st.caption(":material/psychology: Predict first: the answer and its picture appear with your choice.")
        return False
    verdict = "" if chosen is None else "You saw it. " if chosen == answer else f"Not {chosen}. "
    (st.success if chosen == answer else st.info)(f"{verdict}The answer is **{answer}**. {because}")
    return True


def frequency(key: str, usual: int = 1) -> int:
    return st.slider("Frequency k", 1, K, min(usual, K), key=f"intro-{key}-{p}") if K > 1 else 1


def turning():
    st.header("1 · Adding is turning")
    st.markdown(
        f"Put the {p} residues, the remainders 0 to {p - 1}, on a circle, like the hours of a clock. The hand stands "
        f"at x = {x}."
    )
    total = (x + y) % p
    choices = sorted({total, (total + 1) % p, 2 * x % p, abs(x - y)})
    if predict(f"It turns on by y = {y} hours. Where does it stop?", [str(j) for j in choices], str(total),
               f"{x} + {y} = {x + y}, and every full turn of {p} is forgotten."):  # fmt: skip
        left, right = st.columns(2, vertical_alignment="center")
        with right:
            k = frequency("turns")
            st.markdown(
                f"At frequency k = {k} a step turns the hand by {k} × 360° / {p}, or wₖ = 2πk/p in radians. Choose "
                + (
                    f"another: k and {p} share the factor {shared}, so that {shared} residues sit on every place, "
                    if (shared := math.gcd(k, p)) > 1
                    else "another: the residues change places, "
                )
                + "but at every frequency the angles of x and y add up to that of x + y. That is all the network "
                "needs: it can compare angles."
            )
        with left:
            ui.show(figures.circle(p, k, x, y), "intro-circle")


def one_cosine():
    st.header("2 · One neuron is one cosine")
    st.markdown(
        "A neuron weighs every residue j by a cosine, cos(wₖj + φ): k says how fast it goes round the circle, the "
        "**phase** φ where it starts. It adds what it gets for x and for y:"
    )
    st.latex(lesson.PRODUCT_TEX)
    st.markdown(
        f"The sum x + y is in there, but at half the angle. Let the phase be φ = {PHI / np.pi:.1f} π and square."
    )
    size, phase = lesson.doubled("quad", PHI)
    relu_size, relu_phase = lesson.doubled("relu", PHI)
    choices, doubled = [f"{times * PHI / np.pi:.1f} π" for times in (0.5, 1, 2)], f"{phase / np.pi:.1f} π"
    if predict("The square is a wave with the whole angle of x + y. What is its phase?", choices, doubled,
               f"Squaring doubles the angle and with it the phase. ReLU does the same, at {relu_phase / np.pi:.1f} π, "
               f"{relu_size / size:.2f} times as strong."):  # fmt: skip
        st.latex(lesson.SQUARE_TEX)
        k = frequency("wave", 2)
        phi = st.slider("Phase φ (units of π)", -1.0, 1.0, PHI / np.pi, 0.05, key="wave-phi") * np.pi
        ui.show(figures.wave(lesson.inside(p, k, phi, x), x), "intro-wave")


def one_vote():
    st.header("3 · It votes for x + y, if ψ = 2φ")
    st.markdown(
        "Its output weights are a cosine too, of phase ψ. A neuron always prefers the same answer: x and y only decide "
        "**how loud** it says so. With ψ = 2φ it is loudest when its favourite is right."
    )
    alone = lesson.right_alone(p, 1, PHI)
    if predict("How many of all sums does such a neuron get right on its own?",
               [f"all {p * p:,}", f"half, {p * p // 2:,}", f"{p}"], f"{alone}",
               f"One sum in {p * p // alone}: those whose answer is its favourite. So do guesses."):  # fmt: skip
        turn = st.slider("D = 2φ − ψ (units of π)", -1.0, 1.0, 0.0, 0.05, key="vote-D") * np.pi
        loud_P, weight_P = lesson.one_neuron(p, 1, PHI, 2 * PHI - turn)
        st.markdown(
            f"On average it gives the right answer **{float((loud_P * (weight_P - weight_P.mean())).mean()):+.2f}** "
            "more than it gives the average answer: cos D / 2."
        )
        ui.show(figures.vote_and_loudness(loud_P, weight_P), "intro-vote")


def many_phases():
    st.header("4 · Many phases cancel the noise")
    st.markdown(
        "Let many neurons share a frequency, their phases spread evenly over the circle. What depends on φ cancels in "
        "their sum, and the vote cos²(wₖ(x − y)/2) · cos(wₖ(x + y − j)) stays: a hill over the answers j, with its top "
        "at x + y."
    )
    left_n, enough = lesson.junk(p), lesson.fewest_phases(p)
    if predict("How many phases are the fewest that leave nothing else?", ["2", "3", "4", "8"], str(enough),
               f"But {enough + 1} leave an error of {left_n[enough]:.2g} again: some of the noise turns with 4φ, and "
               f"{enough + 1} even steps of 4φ are whole turns."):  # fmt: skip
        count = st.slider("Phases", 1, len(left_n), enough, key="phases")
        vote = figures.votes(lesson.votes(p, count, x, y)[0], x, y, "frequency 1")
        ui.row(("intro-phases", vote), ("intro-junk", figures.junk(left_n)))


def many_frequencies():
    st.header("5 · Many frequencies agree on one answer only")
    st.markdown(
        "One hill is flat on top: the neighbours of x + y get almost as much. Every frequency has its own hills."
    )
    st.latex(ideal.FLAWED_INDICATOR_TEX)
    least_K, ghosts = lesson.margins(p), lesson.second(p, x, y)
    names = {True: "2x and 2y", False: "a neighbour of x + y"}
    known = x != y and set(ghosts) == {2 * x % p, 2 * y % p}
    if predict("With all frequencies, which wrong answers come second?", [*names.values(), "all alike"],
               names[True] if known else "all alike",
               f"Here {', '.join(map(str, ghosts[:4]))}{' ...' if len(ghosts) > 4 else ''}. The least lead of the "
               f"right answer, over all sums, grows from {least_K[0]:.2g} with one frequency to "
               f"{least_K[-1]:.3g} with all {K}."):  # fmt: skip
        count = st.slider("Frequencies 1 to", 1, K, K, key=f"count-{p}") if K > 1 else 1
        vote = figures.votes(lesson.votes(p, 3, x, y)[:count].sum(0), x, y, f"{count} frequencies")
        ui.row(("intro-sum", vote), ("intro-margin", figures.margins(least_K, count)))
        st.caption("Training goes on to silence the ghosts: neurons grow a third harmonic, as **Logits** shows.")


@st.cache_data(max_entries=32, show_spinner=False)
def race_at(p: int):
    return lesson.hits(p, RACERS), lesson.race(p)


def lottery():
    st.header("6 · Training finds it by a race")
    st.markdown(f"At random weights a neuron holds all {K} frequencies at once. They grow at different speeds:")
    st.latex(theory.QUAD_FLOW_TEX)
    st.markdown(
        "For each frequency, α and β are its magnitudes in the two layers, φ and ψ its phases, D = 2φ − ψ how far they "
        "are apart, and a dot is a change in time: what is large and aligned grows fastest, and the larger it is, the "
        "faster still."
    )
    if K == 1:
        st.info("With a single frequency there is nothing to race: move p up.")
        return
    share, (time_T, alpha_KT, winner) = race_at(p)
    best = max(share, key=share.get)
    others = ", ".join(f"{RULES[rule]} in {hit:.0%}" for rule, hit in share.items() if rule != best)
    if predict("Which frequency at the start is the best bet to win its neuron?", list(RULES.values()), RULES[best],
               f"In {RACERS} random neurons it names the winner in {share[best]:.0%}; {others}."):  # fmt: skip
        ui.show(figures.race(time_T, alpha_KT, winner), "intro-race")
        go("pages/Lottery.py", {"The draw, step 0": 0}, {"p": str(p)}, "See it in a trained network")


def go(page: str, moments: dict, query: dict, words: str):
    """Ways to a page with its player at a step; None is a step that was not reached."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"{words}:", width="content")
        for name, step in moments.items():
            label = name if step is not None else f"{name}: not reached"
            if st.button(label, disabled=step is None, key=f"go-{page}-{name}", icon=":material/arrow_forward:"):
                st.session_state["step"] = step
                st.switch_page(page, query_params=query)


def grok():
    st.header("7 · With sums held out: memorise first, then generalise")
    run = preset("grokking", max(p, P_GROK))
    record = ui.find(run.id).record
    if record is None or not record.frames:
        ui.offer(run, key="intro-train")
        return
    end1, end2 = measures.stages(record)
    st.markdown(f"At p = {run.p} the network sees {run.frac_train:.0%} of the {run.p**2:,} sums, and weights decay.")
    if end1 is None:
        st.info(f"This run never knew {measures.STAGE_ACCURACY:.0%} of its training sums.")
        return
    held = grokking.at_step(record, end1)["held_out"] or 0.0
    ranges = {"under 20 %": 0.2, "20 to 80 %": 0.8, "over 80 %": 2.0}
    if predict(f"When it knows {measures.STAGE_ACCURACY:.0%} of what it sees, how much of the rest does it know?",
               list(ranges), next(name for name, top in ranges.items() if held < top),
               f"At step {end1:,} it gets {held:.1%} of the held-out sums, those it saw in neither order. "
               f"Test accuracy reaches {measures.STAGE_ACCURACY:.0%}: {ui.not_reached(end2)}."):  # fmt: skip
        ui.show(curves.accuracies(record, None, True, (end1, end2)), "intro-grok")
        moments = {"while it memorises": end1 // 2, "memorised": end1, "generalised": end2, "the end": record.step}
        near = {name: step and record.at(step, None, "nearest").step for name, step in moments.items()}
        go("pages/Grokking.py", near, {"p": str(run.p)}, "Move the film there")


for step in (turning, one_cosine, one_vote, many_phases, many_frequencies, lottery, grok):
    step()
