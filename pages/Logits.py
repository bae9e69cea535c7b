"""The vote: a flawed indicator that gets every sum right (figure 7 of the paper)."""

from functools import lru_cache

import numpy as np
import streamlit as st

from modadd import ui
from modadd.analysis import surgery, votes
from modadd.figures import logits
from modadd.maths import ideal
from modadd.runs import presets_at

p = ui.page("Logits")
st.title("A vote with two ghosts")
record = ui.choose_run(p, presets_at(p))
run = record.run
st.markdown(
    "Summed over evenly spread phases, the x² network of the theory votes like this, on top of every right answer "
    "two **ghosts** at 2x and 2y, each half as tall:"
)
st.latex(ideal.FLAWED_INDICATOR_TEX)
st.markdown(
    "The indicator is flawed and still always right, because the peak at x + y towers over the ghosts. What would "
    "refute it: a ratio far from 2 : 1, a poor R², or a third peak. A loss that is trained on for long goes beyond "
    "it, by pushing the ghosts down."
)
if run.activation != "quad":
    st.caption(
        f"The formula is exact for x². This run uses {run.activation}: other ghosts are to be expected, and the table "
        "below shows those of the theory's network with that activation too."
    )
if record.at(holding="logits0") is None:
    st.info("This record holds no votes. A run trained here keeps them.")
    st.stop()


@st.cache_data(max_entries=512, show_spinner=False)
def fit_network(name: str, at: int, _net) -> dict:
    return votes.fit_network(_net)


@st.cache_data(max_entries=8, show_spinner="Asking the network of the theory ...")
def fit_ideal(p: int, activation: str) -> dict:
    return votes.fit_ideal(p, activation)


@lru_cache(maxsize=4)
def seen(step: int) -> votes.Moment:
    return votes.moment(record, step)


def fitted(step: int) -> dict:
    """The fit over all pairs where there are weights, else over those with x = 0."""
    now = seen(step)
    return fit_network(run.id, now.at, now.net) if now.net else now.fit()


def body(step: int):
    """Everything that moves with the step."""
    row(step)
    quality(step)
    pair(step)


def row(step: int):
    """The votes for every sum with one x."""
    st.subheader("One row of the table of sums")
    ui.links.carry("row", f"row-x-{run.p}", ui.links.whole(0, run.p - 1))
    now = seen(step)
    x = st.number_input(f"x (0 to {run.p - 1})", 0, run.p - 1, 0, key=f"row-x-{run.p}", disabled=not now.net)
    if not now.net:
        st.info("This record holds no weights, only its votes for x = 0. Train the run here to ask it every other sum.")
    ui.show(
        f"Logits for x = {x} at step {now.step if x == 0 else now.at:,}",
        f"The diagonal j = y + {x} is the right answer; the column j = {2 * x % run.p} and the steeper line j = 2y are "
        "the ghosts. Red pulls towards an answer, blue pushes away from it; rows are centred on 0.",
        lambda step: logits.row(seen(step).row(x), x),
        "row",
        lambda: logits.row_table(now.row(x)),
        f"Logits of all answers for every y with x = {x}",
    )


def quality(step: int):
    """The fit of the flawed indicator: its peaks, their ratio, R², margin and the bound on the probability."""
    now = seen(step)
    fits = {f"x = 0, step {now.step:,}": now.fit()}
    if now.net:
        every = votes.stride(*now.net.theta_MP.shape)
        fits[f"{'all pairs' if every == 1 else f'one pair in {every}'}, step {now.at:,}"] = fitted(step)
    elif last := votes.fit_kept(record):
        fits[f"all pairs, step {record.frame_steps[-1]:,}"] = last
    for name in dict.fromkeys(("x^2", surgery.NAMES[run.activation])):
        fits[f"ideal network, {name}"] = fit_ideal(run.p, name)
    st.subheader("How well does the flawed indicator fit?")
    columns = {"peak at x + y": "correct", "peak at a ghost": "ghosts", "ratio (theory 2)": "ratio", "R²": "r2",
               "least margin": "margin", "bound on P(correct)": "bound", "least P(correct)": "least"}  # fmt: skip
    st.dataframe(
        [
            {"fitted to": name}
            | {title: (found | {"bound": votes.bound(run.p, found)})[key] for title, key in columns.items()}
            for name, found in fits.items()
        ],
        hide_index=True,
        column_config={"ratio (theory 2)": st.column_config.NumberColumn(format="%.2f")},
    )
    st.latex(ideal.PROBABILITY_BOUND_TEX)
    st.caption(
        "Least squares of the centred logits on a constant, the right answer and the ghosts; all in logits. "
        "Ideal network: one cosine of magnitude 1 a neuron, ψ = 2φ, nine even phases a frequency. The bound takes aN "
        "from the fitted peak (aNp/4 in theory) and holds for the ideal network; beside it the least certain of all "
        "sums."
    )


def pair(step: int):
    """The votes for one sum, and which frequency cast them."""
    st.subheader("Any one sum")
    left, right = st.columns(2)
    for name in "xy":
        ui.links.carry(name, f"pair-{name}-{run.id}", ui.links.whole(0, run.p - 1))
    net = seen(step).net
    x = left.number_input("x", 0, run.p - 1, min(3, run.p - 1) if net else 0, key=f"pair-x-{run.id}", disabled=not net)
    y = right.number_input("y", 0, run.p - 1, min(7, run.p - 1), key=f"pair-y-{run.id}")

    @lru_cache(maxsize=2)
    def voted(step: int) -> tuple:
        """The votes by frequency, or None without weights, and the logits beside the theory at the fitted scale."""
        scale, (votes_P, votes_KP) = fitted(step)["correct"] * 2 / run.p, seen(step).pair(x, y)
        return votes_KP, logits.pair_table(votes_P, x, y, scale), scale

    table = voted(step)[1]
    answer = int(np.argmax(table["value"]))
    verdict = "right" if answer == (x + y) % run.p else f"wrong: it is {(x + y) % run.p}"
    ui.show(
        f"{x} + {y} = {answer}, says the network at step {seen(step).at:,} ({verdict})",
        "Diamonds: the flawed indicator, scaled so that its peak at x + y equals the fitted one over all pairs; the "
        "two ghosts (p/4 beside p/2) are then a prediction.",
        lambda step: logits.pair(voted(step)[1]),
        "pair",
        lambda: table,
        f"Logits of all answers to {x} + {y}",
    )
    if net:
        split(step, x, y, voted)


def split(step: int, x: int, y: int, voted):
    """The votes for one sum by frequency."""
    st.subheader("Who voted for what")
    st.markdown(
        "Neurons of one frequency vote together for x + y, as a cosine over the answers. How loud depends on how far x "
        "and y are apart: on this sum some frequencies shout and others are silent, and it is this that leaves the "
        "ghosts."
    )
    st.latex(surgery.VOTE_TEX)

    def loud(step: int):
        votes_KP, _, scale = voted(step)
        return logits.loudness_table(votes_KP, x, y, scale)

    by_frequency = lambda: logits.split_table(voted(step)[0])  # noqa: E731
    for column, (key, title, look_for, chart, made) in zip(st.columns(2), (
        ("stack", "The votes, stacked by frequency", "Every frequency adds at the right answer; elsewhere they "
         "disagree and cancel. Named: those that the theory says are loudest. Diamonds: the flawed indicator.",
         lambda step: logits.stack(*voted(step)[:2], x, y), by_frequency),
        ("loudness", "How loud each frequency is", "Bars: the part of its vote that is cos w(x + y − j). Dashed: the "
         "theory at the same scale. Take x = y and all speak; a bar where the line touches 0 would refute the "
         "prefactor.", lambda step: logits.loudness(loud(step)), lambda: loud(step)),
    ), strict=True):  # fmt: skip
        with column:
            ui.show(title, look_for, chart, key, made, f"{title}: {x} + {y}")
    ui.show(
        "Every frequency, every answer",
        "A row is a frequency. All rows are red in the column of the right answer; the stripes of row k repeat every "
        "p/k.",
        lambda step: logits.split(voted(step)[0]),
        "split",
        by_frequency,
        f"Votes of each frequency for each answer to {x} + {y}",
    )


ui.play(body, record, holding="logits0")
