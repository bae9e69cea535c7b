"""The vote: a flawed indicator that gets every sum right (figure 7 of the paper)."""

import numpy as np
import streamlit as st

from modadd import data, ideal, surgery, ui
from modadd.figures import logits, weights
from modadd.runs import presets_at

p = ui.page("Logits")


def fit(votes, p: int, x, y) -> dict:
    """The flawed indicator fitted to these logits, and the probability of the least certain right answer."""
    votes = np.asarray(votes, float)
    lead = votes - votes[np.arange(len(votes)), (x + y) % p][:, None]
    return ideal.fit_flawed_indicator(votes, p, x, y) | {"least": float(1 / np.exp(lead).sum(1).max())}


@st.cache_data(max_entries=32, show_spinner="Asking the network every sum ...")
def fit_all_pairs(name: str, at: int, _net) -> dict:
    """The same for the logits of every unordered pair."""
    p = _net.theta_MP.shape[1]
    return fit(surgery.logits(_net, *data.pairs(p)), p, *data.pairs(p))


st.title("A vote with two ghosts")
record = ui.choose_run(p, presets_at(p))
run, step = record.run, ui.player([record])
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
held = weights.held(record, step)
frame = record.frame(step, holding="logits0")
if frame is None:
    st.info("This record holds no votes.")
    st.stop()
zero = np.zeros(run.p, int)
first = fit(frame["logits0"], run.p, zero, np.arange(run.p))
fits = {f"x = 0, step {weights.step_of(record, frame):,}": first}
if held:
    net, at = surgery.network(held[0], run), held[1]
    fits[f"all pairs, step {at:,}"] = every = fit_all_pairs(run.id, at, net)
elif "flawed_ratio" in record.frames[-1]:
    last = record.frames[-1]
    kept = {name: float(last[f"flawed_{name}"]) for name in ("ratio", "r2", "margin")}
    least = float(last["probability"].min()) if "probability" in last else None
    fits[f"all pairs, step {record.frame_steps[-1]:,}"] = kept | {"correct": None, "ghosts": None, "least": least}
for name in dict.fromkeys(("x^2", surgery.NAMES[run.activation])):
    pure = surgery.Network(*ideal.ideal_network(run.p, 9), name)
    fits[f"ideal network, {name}"] = fit_all_pairs(f"ideal-{run.p}-{name}", 0, pure)
scale = (every if held else first)["correct"] * 2 / run.p

st.subheader("One row of the table of sums")
x0 = st.number_input(f"x (0 to {run.p - 1})", 0, run.p - 1, 0, key=f"row-x-{run.p}", disabled=not held)
if not held:
    st.info("This record holds no weights, only its votes for x = 0. Train the run here to ask it every other sum.")
moment = weights.step_of(record, frame) if x0 == 0 else at
votes_PP = frame["logits0"] if x0 == 0 else surgery.logits(net, zero + x0, np.arange(run.p))
ui.show(
    f"Logits for x = {x0} at step {moment:,}",
    f"The diagonal j = y + {x0} is the right answer; the column j = {2 * x0 % run.p} and the steeper line j = 2y are "
    "the ghosts. Red pulls towards an answer, blue pushes away from it; rows are centred on 0.",
    logits.row(votes_PP, x0),
    "row",
    lambda: logits.row_table(votes_PP),
    f"Logits of all answers for every y with x = {x0}",
)

st.subheader("How well does the flawed indicator fit?")
st.dataframe(
    [
        {
            "fitted to": name,
            "peak at x + y": found["correct"],
            "peak at a ghost": found["ghosts"],
            "ratio (theory 2)": found["ratio"],
            "R²": found["r2"],
            "least margin": found["margin"],
            "bound on P(correct)": found["correct"]
            and float(ideal.probability_bound(run.p, 4 * found["correct"] / run.p, 1)),
            "least P(correct)": found["least"],
        }
        for name, found in fits.items()
    ],
    hide_index=True,
    column_config={"ratio (theory 2)": st.column_config.NumberColumn(format="%.2f")},
)
st.latex(ideal.PROBABILITY_BOUND_TEX)
st.caption(
    "Least squares of the centred logits on a constant, the right answer and the ghosts; all in logits. "
    "Ideal network: one cosine of magnitude 1 a neuron, ψ = 2φ, nine even phases a frequency. The bound takes aN from "
    "the fitted peak (aNp/4 in theory) and holds for the ideal network; beside it the least certain of all sums."
)

st.subheader("Any one sum")
left, right = st.columns(2)
x = left.number_input("x", 0, run.p - 1, min(3, run.p - 1) if held else 0, key=f"pair-x-{run.id}", disabled=not held)
y = right.number_input("y", 0, run.p - 1, min(7, run.p - 1), key=f"pair-y-{run.id}")
votes_KP = surgery.votes(net, x, y) if held else None
votes_P = votes_KP.sum(0) if held else frame["logits0"][y]
at = at if held else weights.step_of(record, frame)
rows = logits.pair_table(votes_P, x, y, scale)
answer = int(votes_P.argmax())
verdict = "right" if answer == (x + y) % run.p else f"wrong: it is {(x + y) % run.p}"
ui.show(
    f"{x} + {y} = {answer}, says the network at step {at:,} ({verdict})",
    "Diamonds: the flawed indicator, scaled so that its peak at x + y equals the fitted one over all pairs; the two "
    "ghosts (p/4 beside p/2) are then a prediction.",
    logits.pair(rows),
    "pair",
    lambda: rows,
    f"Logits of all answers to {x} + {y}; the network answers {answer}",
)

if not held:
    st.stop()
st.subheader("Who voted for what")
st.markdown(
    "Neurons of one frequency vote together for x + y, as a cosine over the answers. How loud depends on how far x and "
    "y are apart: on this sum some frequencies shout and others are silent, and it is this that leaves the ghosts."
)
st.latex(surgery.VOTE_TEX)
left, right = st.columns(2)
with left:
    ui.show(
        "The votes, stacked by frequency",
        "Every frequency adds at the right answer; elsewhere they disagree and cancel. Diamonds: the flawed indicator.",
        logits.stack(votes_KP, rows),
        "stack",
        lambda: logits.split_table(votes_KP),
        f"Logits of {x} + {y} split by the frequency of the neurons",
    )
with right:
    loud = logits.loudness_table(votes_KP, x, y, scale)
    ui.show(
        "How loud each frequency is",
        "Bars: the part of its vote that is cos w(x + y − j). Dashed: the theory at the same scale. Take x = y and all "
        "speak; a bar where the line touches 0 would refute the prefactor.",
        logits.loudness(loud),
        "loudness",
        lambda: loud,
        "Strength of the vote of each frequency for the right answer, beside the theory",
    )
ui.show(
    "Every frequency, every answer",
    "A row is a frequency. All rows are red in the column of the right answer; the stripes of row k repeat every p/k.",
    logits.split(votes_KP),
    "split",
    lambda: logits.split_table(votes_KP),
    f"Votes of each frequency for each answer to {x} + {y}",
)
