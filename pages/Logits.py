"""The vote: a flawed indicator that gets every sum right (figure 7 of the paper)."""

from functools import lru_cache

import streamlit as st

from modadd import ui
from modadd.activations import ACTIVATIONS
from modadd.analysis import surgery, votes
from modadd.figures import logits
from modadd.maths import ideal
from modadd.runs import presets_at

p = ui.page("Logits")
ui.head(
    "A vote with two ghosts",
    "Neurons vote for x + y, and half as loudly for two **ghosts**, 2x and 2y: a flawed indicator, and still right.",
)
record = ui.choose_run(p, presets_at(p))
run = record.run
if record.at(holding="logits0") is None:
    st.info("This record holds no votes. A run trained here keeps them.")
    ui.offer(run, key="train-votes")
    ui.stop()


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
    """The fit over all pairs where they were fitted or there are weights, else over those with x = 0."""
    now = seen(step)
    return fit_network(run.id, now.at, now.net) if now.net else now.fit_all() or now.fit_zero()


def body(step: int):
    """Everything that moves with the step."""
    ui.links.carry("row", f"row-x-{run.p}", ui.links.whole(0, run.p - 1))
    for name in "xy":
        ui.links.carry(name, f"pair-{name}-{run.id}", ui.links.whole(0, run.p - 1))
    net, state = seen(step).net, st.session_state
    r = state.setdefault(f"row-x-{run.p}", 0) if net else 0
    x = state.setdefault(f"pair-x-{run.id}", min(3, run.p - 1)) if net else 0
    y = state.setdefault(f"pair-y-{run.id}", min(7, run.p - 1))
    row = lambda at: logits.row(seen(at).row(r), r, seen(at).step if r == 0 else seen(at).at)  # noqa: E731
    pair = lambda at: logits.pair(voted(at, x, y)[1], x, y, seen(at).at)  # noqa: E731
    ui.figure("One row of the table of sums, and one sum · Fig. 7", lambda: row(step) | pair(step), "logits-votes")
    ui.row(("row", row), ("pair", pair), widths=[1, 1.5])
    ask(r, net)
    if net:
        split(x, y)
    quality(step)


def ask(r: int, net):
    """Which row and which sum."""
    left, middle, right = st.columns(3)
    left.number_input(f"Row x (0 to {run.p - 1})", 0, run.p - 1, key=f"row-x-{run.p}", disabled=not net)
    middle.number_input("Sum: x", 0, run.p - 1, key=f"pair-x-{run.id}", disabled=not net)
    right.number_input("Sum: y", 0, run.p - 1, key=f"pair-y-{run.id}")
    if not net:
        st.info("This record holds no weights, only its votes for x = 0. Train the run here to ask it every other sum.")
        ui.offer(run, key="train-weights")


@lru_cache(maxsize=4)
def voted(step: int, x: int, y: int) -> tuple:
    """The votes by frequency, or None without weights, the logits beside the theory at the fitted scale, the scale."""
    scale, (votes_P, votes_KP) = fitted(step)["correct"] * 2 / run.p, seen(step).pair(x, y)
    return votes_KP, logits.pair_table(votes_P, x, y, scale, run.activation), scale


def split(x: int, y: int):
    """The votes for one sum by frequency."""
    st.subheader(f"Which frequency votes for what on {x} + {y}")
    st.markdown(
        "Neurons of one frequency vote together for x + y, as a cosine over the answers. How loudly depends on how "
        "far x and y are apart: on this sum some frequencies are loud and others silent, and it is this that leaves "
        "the ghosts."
    )
    st.latex(surgery.VOTE_TEX.get(run.activation, surgery.VOTE_TEX["quad"]))
    moment = lambda at: seen(at).at  # noqa: E731
    ui.show(lambda at: logits.split(voted(at, x, y)[0], x, y, moment(at)), "split")
    ui.row(
        ("stack", lambda at: logits.stack(*voted(at, x, y)[:2], x, y, moment(at))),
        (
            "loudness",
            lambda at: logits.loudness(voted(at, x, y)[0], x, y, voted(at, x, y)[2], moment(at), run.activation),
        ),
    )


def quality(step: int):
    """The fit of the peaks: their heights, R², margin and the bound on the probability."""
    now = seen(step)
    every = votes.stride(*now.net.theta_MP.shape) if now.net else 1
    name = f"one pair in {every}" if every > 1 else "all pairs" if now.net or now.fit_all() else "x = 0"
    fits = {f"{name}, step {now.at if now.net else now.step:,}": fitted(step)}
    for activation in ("quad", "relu"):
        fits[f"pure cosines, {ACTIVATIONS[activation].label}"] = fit_ideal(run.p, activation)
    st.subheader("How well do the peaks fit?")
    with st.expander("What the theory says of the peaks"):
        theory()
    heights = {"2x, 2y": "ghosts", "3x − y, 3y − x": "third", "4x − 2y, 4y − 2x": "fourth"}
    columns = {
        "ratio": "ratio",
        "R², three": "r2_three",
        "R², five": "r2",
        "least margin": "margin",
        "bound on P(correct)": "bound",
        "least P(correct)": "least",
    }
    over = lambda found, name: found[name] / found["correct"] if found[name] is not None else None  # noqa: E731
    st.dataframe(
        [
            {"fitted to": name, "x + y (logits)": found["correct"]}
            | {title: over(found, key) for title, key in heights.items()}
            | {title: (found | {"bound": votes.bound(run.p, found)})[key] for title, key in columns.items()}
            for name, found in fits.items()
        ],
        hide_index=True,
        column_config={"ratio": st.column_config.NumberColumn("right ÷ ghost", format="%.2f")}
        | {title: st.column_config.NumberColumn(format="%.3f") for title in (*heights, "R², three", "R², five")},
    )
    st.latex(ideal.PROBABILITY_BOUND_TEX)
    st.caption(
        "Least squares of the centred logits over ordered pairs, on a constant, the right answer, the ghosts (three) "
        "and the next two pairs of peaks (five, from p = 11 on); heights over that of the right answer. In theory "
        "1/2, 0, 0 under x² and 1/3, −1/15, 1/35 under ReLU, up to waves that fold at small p. Pure cosines: ψ = 2φ, "
        "nine even phases per frequency. The bound takes aN from the fitted peak (aNp/4 in theory) and holds for pure "
        "cosines under x²; beside it the least certain of all sums."
    )
    silencing(now)


def theory():
    """Where the peaks come from."""
    st.markdown(
        "Summed over evenly spread phases, the x² network of the theory votes like this: on top of every right answer "
        "two **ghosts** at 2x and 2y, each half as tall:"
    )
    st.latex(ideal.FLAWED_INDICATOR_TEX)
    st.markdown(
        "The ghosts come from how loud a frequency votes: cos² v for x², |cos v| for ReLU. As sums of waves these are"
    )
    st.latex(ideal.PEAKS_TEX)
    st.markdown(
        "and every wave makes a pair of peaks. So **pure cosines** leave ghosts of one half under x², of one third "
        "under ReLU, which adds peaks of −1/15 at 3x − y and 3y − x. A trained neuron is no pure cosine: it grows a "
        "**third harmonic** against its own wave, which takes the ghosts down and leaves a negative peak at 3x − y in "
        "their place. What would refute this: a network of pure cosines with another ratio, a third harmonic without "
        "that peak, or a poor R² of all five peaks."
    )


@st.cache_data(max_entries=64, show_spinner="Taking the waves apart ...")
def projections(name: str, at: int, _net) -> dict:
    return votes.projections(_net, run)


def silencing(now: votes.Moment):
    """What is left of the vote when every neuron keeps only some of its waves, and the margin."""
    st.subheader("The third harmonic silences the ghosts")
    if now.net is None:
        st.info("This record holds no weights to take apart. Train the run here, and keep its weights.")
        return
    if votes.stride(*now.net.theta_MP.shape) > 1 and not st.toggle("Take the waves apart (slow at this p)"):
        return
    rows = {
        "kept of each neuron": lambda name, found: name,
        "right ÷ ghost": lambda name, found: found["ratio"],
        "3x − y ÷ right": lambda name, found: found["third"] and found["third"] / found["correct"],
        "R², five": lambda name, found: found["r2"],
        "loss (nats)": lambda name, found: found["loss"],
        "margin ÷ largest": lambda name, found: found["share"],
    }
    table = projections(run.id, now.at, now.net)
    st.dataframe(
        [{title: read(name, found) for title, read in rows.items()} for name, found in table.items()], hide_index=True,
        column_config={title: st.column_config.NumberColumn(format="%.4f") for title in [*rows][1:]},
    )  # fmt: skip
    st.caption(
        f"Weights of step {now.at:,}. Pure cosines fall back to the ratio of the theory; the third harmonic alone "
        "brings most of it back. Under x² with harmonics e₃ and e₅ a ghost is 1/2 + e₃ + e₃e₅ of the right answer, and "
        "the peak at 3x − y is e₃."
    )
    if run.activation == "quad":
        st.latex(ideal.MARGIN_TEX)
        st.caption(
            "Why it pays: the margin γ over γ*, the largest that x² neurons of this norm can have (Morwani et al., "
            "arXiv:2311.07568). Pure cosines that read x and y with the same weights reach one half of it at most; the "
            "third harmonic passes that."
        )


ui.play(body, record, holding="logits0")
