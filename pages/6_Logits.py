"""The vote: a flawed indicator that gets every sum right (figure 7 of the paper)."""

import numpy as np
import streamlit as st

from modadd import ideal, rows, surgery, ui, votes
from modadd.figures import logits
from modadd.runs import presets_at

p = ui.page("Logits")
st.title("A vote with two ghosts")
record = ui.choose_run(p, presets_at(p))
run, zero = record.run, np.zeros(record.run.p, int)
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
if record.frame(holding="logits0") is None:
    st.info("This record holds no votes. A run trained here keeps them.")
    st.stop()


@st.cache_data(max_entries=128, show_spinner="Asking the network every sum ...")
def fit_network(name: str, at: int, _net) -> dict:
    return votes.fit_network(_net)


@st.cache_data(max_entries=8, show_spinner="Asking the network of the theory ...")
def fit_ideal(p: int, activation: str) -> dict:
    return votes.fit_ideal(p, activation)


def body(step: int):
    """Everything that moves with the step."""
    frame = record.frame(step, holding="logits0")
    seen = rows.step_of(record, frame)
    held = rows.held(record, step)
    net, at = (surgery.network(held[0], run), held[1]) if held else (None, seen)
    first = votes.fit(frame["logits0"], run.p, zero, np.arange(run.p))
    fits = {f"x = 0, step {seen:,}": first}
    if net:
        every = votes.stride(*net.theta_MP.shape)
        asked = "all pairs" if every == 1 else f"one pair in {every}"
        fits[f"{asked}, step {at:,}"] = first = fit_network(run.id, at, net)
    elif kept := votes.fit_kept(record):
        fits[f"all pairs, step {record.frame_steps[-1]:,}"] = kept
    for name in dict.fromkeys(("x^2", surgery.NAMES[run.activation])):
        fits[f"ideal network, {name}"] = fit_ideal(run.p, name)
    row(frame, seen, net, at)
    quality(fits)
    pair(frame, net, at, scale=first["correct"] * 2 / run.p)


def row(frame, seen: int, net, at: int):
    """The votes for every sum with one x."""
    st.subheader("One row of the table of sums")
    ui.links.carry("row", f"row-x-{run.p}", ui.links.whole(0, run.p - 1))
    x = st.number_input(f"x (0 to {run.p - 1})", 0, run.p - 1, 0, key=f"row-x-{run.p}", disabled=not net)
    if not net:
        st.info("This record holds no weights, only its votes for x = 0. Train the run here to ask it every other sum.")
    votes_PP = frame["logits0"] if x == 0 else surgery.logits(net, zero + x, np.arange(run.p))
    ui.show(
        f"Logits for x = {x} at step {seen if x == 0 else at:,}",
        f"The diagonal j = y + {x} is the right answer; the column j = {2 * x % run.p} and the steeper line j = 2y are "
        "the ghosts. Red pulls towards an answer, blue pushes away from it; rows are centred on 0.",
        logits.row(votes_PP, x),
        "row",
        lambda: logits.row_table(votes_PP),
        f"Logits of all answers for every y with x = {x}",
    )


def quality(fits: dict[str, dict]):
    """The fit of the flawed indicator: its peaks, their ratio, R², margin and the bound on the probability."""
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


def pair(frame, net, at: int, scale: float):
    """The votes for one sum, and which frequency cast them."""
    st.subheader("Any one sum")
    left, right = st.columns(2)
    for name in "xy":
        ui.links.carry(name, f"pair-{name}-{run.id}", ui.links.whole(0, run.p - 1))
    x = left.number_input("x", 0, run.p - 1, min(3, run.p - 1) if net else 0, key=f"pair-x-{run.id}", disabled=not net)
    y = right.number_input("y", 0, run.p - 1, min(7, run.p - 1), key=f"pair-y-{run.id}")
    votes_KP = surgery.votes(net, x, y) if net else None
    votes_P = votes_KP.sum(0) if net else frame["logits0"][y]
    table = logits.pair_table(votes_P, x, y, scale)
    answer = int(votes_P.argmax())
    verdict = "right" if answer == (x + y) % run.p else f"wrong: it is {(x + y) % run.p}"
    ui.show(
        f"{x} + {y} = {answer}, says the network at step {at:,} ({verdict})",
        "Diamonds: the flawed indicator, scaled so that its peak at x + y equals the fitted one over all pairs; the "
        "two ghosts (p/4 beside p/2) are then a prediction.",
        logits.pair(table),
        "pair",
        lambda: table,
        f"Logits of all answers to {x} + {y}",
    )
    if not net:
        return
    st.subheader("Who voted for what")
    st.markdown(
        "Neurons of one frequency vote together for x + y, as a cosine over the answers. How loud depends on how far x "
        "and y are apart: on this sum some frequencies shout and others are silent, and it is this that leaves the "
        "ghosts."
    )
    st.latex(surgery.VOTE_TEX)
    loud = logits.loudness_table(votes_KP, x, y, scale)
    for column, (key, title, look_for, chart, made) in zip(st.columns(2), (
        ("stack", "The votes, stacked by frequency", "Every frequency adds at the right answer; elsewhere they "
         "disagree and cancel. Named: those that the theory says are loudest. Diamonds: the flawed indicator.",
         logits.stack(votes_KP, table, x, y), lambda: logits.split_table(votes_KP)),
        ("loudness", "How loud each frequency is", "Bars: the part of its vote that is cos w(x + y − j). Dashed: the "
         "theory at the same scale. Take x = y and all speak; a bar where the line touches 0 would refute the "
         "prefactor.", logits.loudness(loud), lambda: loud),
    ), strict=True):  # fmt: skip
        with column:
            ui.show(title, look_for, chart, key, made, f"{title}: {x} + {y}")
    ui.show(
        "Every frequency, every answer",
        "A row is a frequency. All rows are red in the column of the right answer; the stripes of row k repeat every "
        "p/k.",
        logits.split(votes_KP),
        "split",
        lambda: logits.split_table(votes_KP),
        f"Votes of each frequency for each answer to {x} + {y}",
    )


ui.play(body, record, holding="logits0")
