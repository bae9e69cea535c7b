"""What an operation did to a network, and what diversity is worth."""

from collections.abc import Callable

import altair as alt
import numpy as np
import pyarrow as pa

from .. import data
from ..activations import ACTIVATIONS
from ..analysis import causal
from ..analysis.surgery import Outcome
from ..runs import Run
from . import grids, style
from .chart import Chart, drawing
from .fields import SIDE
from .over_time import Axis
from .style import COLOURS, hues, legend, named, table, tips

# Mean loss in nats at p = 23 with 128 neurons, as printed in arXiv:2602.16849, sec. 4.
PUBLISHED = {
    "frequencies": {1: 1.64, 2: 0.602, 4: 0.0288, 8: 2.99e-8, 11: 7.41e-15},
    "phases": {0.4: 4.82, 0.8: 2.0e-3, 1.2: 1.19e-9, 1.6: 3.54e-7, 2.0: 7.41e-15},
}
FORMATS = {"loss (nats)": "%.4g", "accuracy": "percent", "mean cos D": "%.3f"}
RULES = {name: "%.4g" for name in ("loss", "without them", "without as many others", "at most")} | {
    f"overlap with {rule}": "percent" for rule in causal.RULES
}  # fmt: skip
CURVES = {
    "neurons fall silent": "train", "neurons shared": "held out", "all frequencies": "train", "published": "winner",
}  # fmt: skip
SUBSETS = {"best subset": "winner", "mean": "others", "worst subset": "rare"}
PARITIES = {"even": "held out", "odd": "winner", "neither": "others"}


def account(done: list[str], states: list[tuple[Outcome, float]]) -> list[dict]:
    """A row for the trained network and for each operation on top of the last: (outcome, mean cos D) of each."""
    return [
        {"": name, "loss (nats)": outcome.loss["all"], "accuracy": outcome.accuracy["all"], "mean cos D": cos}
        for name, (outcome, cos) in zip(["as trained", *done], states, strict=True)
    ]


def swaps_table(tried: dict[str, Outcome]) -> pa.Table:
    """One row an activation, of the outcomes by their names."""
    acts = [ACTIVATIONS[name] for name in tried]
    return table(
        activation=[act.label for act in acts], parity=[act.parity for act in acts],
        value=[outcome.accuracy["all"] for outcome in tried.values()],
        loss=[outcome.loss["all"] for outcome in tried.values()],
    )  # fmt: skip


def swaps(tried: dict[str, Outcome], own: str, chance: float, height: int = 260) -> Chart:
    """Accuracy of one network under other activations, best on top, coloured by the parity of the function."""
    rows = swaps_table(tried)
    order = [name for _, name in sorted(zip(rows["value"].to_pylist(), rows["activation"].to_pylist(), strict=True))]
    best = {
        of: max(
            (
                outcome.accuracy["all"]
                for name, outcome in tried.items()
                if ACTIVATIONS[name].parity == of and name != own
            ),
            default=None,
        )
        for of in ("even", "odd")
    }
    told = "; ".join(f"best {of} one {value:.1%}" for of, value in best.items() if value is not None)
    return Chart(
        drawing(_swaps, {"bars": rows}, order=tuple(order[::-1]), height=height),
        f"Trained with {ACTIVATIONS[own].label}, asked with others",
        f"Accuracy over all sums: {told}; chance is {chance:.1%}. An even function at the bottom or an odd one "
        "at the top would refute the theory.",
        f"Accuracy of the trained network under {len(tried)} activations",
        rows,
    )


def _swaps(order, height):
    y = alt.Y("activation:N", title="activation", sort=list(order), axis=alt.Axis(labelOverlap=False))
    x = alt.X("value:Q", title="accuracy", scale=alt.Scale(domain=[0, 1.1], nice=False),
              axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1]))  # fmt: skip
    hue = hues(
        PARITIES,
        {name: COLOURS[of] for name, of in PARITIES.items()},
        "parity",
        legend("square", title="as a function"),
    )
    rows = alt.Chart(named("bars"))
    bars = rows.mark_bar().encode(
        x=x,
        y=y,
        color=hue,
        tooltip=tips(activation="activation", parity="as a function", value="accuracy", loss="loss (nats)"),
    )
    text = rows.mark_text(align="left", dx=4, color=COLOURS["others"]).encode(
        x=x, y=y, text=alt.Text("value:Q", format=".1%")
    )
    return alt.layer(bars, text, height=height)


def ablation_table(curves: dict[str, dict[float, float]]) -> pa.Table:
    """One row per curve and setting: {name: {setting: loss in nats}}."""
    return table(
        setting=[float(at) for curve in curves.values() for at in curve],
        curve=np.array([name for name, curve in curves.items() for _ in curve], str),
        value=[loss for curve in curves.values() for loss in curve.values()],
    )


def ablation(rows: pa.Table, title: str, axis: str, look_for: str, p: int, height: int = 260) -> Chart:
    """Loss against diversity on a log axis; diamonds: the published numbers."""
    settings = tuple(sorted(set(rows["setting"].to_pylist())))
    names = tuple(name for name in CURVES if name in set(rows["curve"].to_pylist()))
    values = rows["value"].to_numpy()
    tables = {"rows": rows.set_column(2, "value", pa.array(values.clip(style.LEAST)))}
    loss = Axis("loss (nats)", "log").around(values)
    return Chart(
        drawing(_ablation, tables, settings=settings, names=names, title=axis, axis=loss, height=height), title,
        f"{look_for} From {values.max():.3g} nats down to {values.min():.2g}.{style.at_the_edge(values)}",
        f"Loss by {axis} at p = {p}", rows,
    )  # fmt: skip


def _ablation(settings, names, title, axis, height):
    pad = 0.08 * np.ptp(settings) or 0.5
    x = alt.X("setting:Q", title=title, axis=alt.Axis(values=list(settings), labelOverlap=True), scale=alt.Scale(
        domain=[min(settings) - pad, max(settings) + pad], nice=False
    ))  # fmt: skip
    colour = hues(names, {name: COLOURS[of] for name, of in CURVES.items()}, legend=legend("circle", labelLimit=200))
    base = alt.Chart(named("rows")).encode(
        x=x, y=axis.y(), color=colour, tooltip=tips(curve="curve", setting=title, value="loss")
    )  # fmt: skip
    ours = base.mark_line(strokeWidth=1.8, point={"size": 45}).transform_filter(alt.datum.curve != "published")
    theirs = base.mark_point(shape="diamond", size=130, strokeWidth=2).transform_filter(alt.datum.curve == "published")
    return alt.layer(ours, theirs, height=height)


def listed(kept_K) -> str:
    """Frequencies in words."""
    return ", ".join(map(str, np.flatnonzero(kept_K) + 1)) or "none"


def subsets_table(asked: causal.Asked) -> pa.Table:
    """One row a size: training accuracy of the best, the mean and the worst subset, and how many are right on every
    training pair."""
    size_S, right_S = asked.kept_SK.sum(1), asked.accuracy_S
    sizes = np.unique(size_S)
    of = [right_S[size_S == size] for size in sizes]
    folds: tuple[Callable, ...] = (np.max, np.mean, np.min)
    folded = zip(SUBSETS, folds, strict=True)
    return table(
        frequencies=sizes, subsets=[len(one) for one in of], sufficient=[int((one == 1).sum()) for one in of],
        **{name: [float(fold(one)) for one in of] for name, fold in folded},
    )  # fmt: skip


def subsets(asked: causal.Asked, height: int = 260) -> Chart:
    """Training accuracy with so many frequencies left: of every subset, or of the greedy ones, one a size."""
    rows, found = subsets_table(asked), causal.smallest(asked)
    several = max(rows["subsets"].to_pylist()) > 1
    names = tuple(SUBSETS) if several else ("best subset",)
    curves = {name: rows[name].to_numpy() for name in names}
    how = f"Every one of {len(asked.kept_SK):,} subsets" if several else "One frequency more at a time, greedily"
    if found is None:
        told = "No subset answers every training pair."
    else:
        at = int((asked.kept_SK == found).all(1).argmax())
        ways = rows["sufficient"].to_pylist()[rows["frequencies"].to_pylist().index(found.sum())]
        told = f"{found.sum()} suffice for every training pair: {listed(found)}" + (
            f", the one of least loss of {ways:,} such subsets" if ways > 1 else ""
        ) + f"; of all sums {asked.everywhere_S[at]:.2%} are right with it."  # fmt: skip
    points = style.long("frequencies", rows["frequencies"].to_numpy(), curves)
    most = int(rows["frequencies"].to_numpy().max())
    return Chart(
        drawing(_subsets, {"points": points}, names=names, most=most, height=height), "How many frequencies suffice",
        f"{how}; whole neurons are kept. {told}", "Training accuracy by number of frequencies kept", rows,
    )  # fmt: skip


def _subsets(names, most, height):
    x = alt.X("frequencies:Q", title="frequencies kept", axis=style.few(most + 1, first=0))
    colour = hues(names, {name: COLOURS[of] for name, of in SUBSETS.items()}, legend=legend("circle"))
    lines = alt.Chart(named("points")).mark_line(strokeWidth=1.8, point={"size": 45})
    says = tips(curve="curve", frequencies="frequencies kept", value="training accuracy")
    lines = lines.encode(x=x, y=style.share_axis("training accuracy"), color=colour, tooltip=says)
    return alt.layer(lines, height=height)


def rules_table(sets: dict[str, np.ndarray], controls: dict[str, causal.Control]) -> list[dict]:
    """A row a rule: its key frequencies, the training loss as trained, without them, and without as many others, and
    the overlap with the other rules; None where there are none."""
    return [
        {"key frequencies by": name, "which": listed(kept_K), "loss": one.whole, "without them": one.without,
         "without as many others": one.others and one.others[0], "at most": one.others and one.others[2]}
        | {f"overlap with {rule}": causal.overlap(kept_K, sets[rule]) for rule in causal.RULES}
        for name, kept_K in sets.items() for one in [controls[name]]
    ]  # fmt: skip


def answers(outcome: Outcome, run: Run, title: str, side: int = SIDE) -> Chart:
    """The sums that a network gets wrong."""
    correct = data.grid(outcome.correct, run.p)
    wrong, same = ~correct, np.subtract.outer(np.arange(run.p), np.arange(run.p)) % run.p
    by_difference = np.array([wrong[same == d].mean() for d in range(run.p)])
    told = "" if not 0 < wrong.mean() < 1 else (
        f" Sums with x − y = {int(by_difference.argmax())} fail most, {by_difference.max():.0%} of them; those with "
        f"x − y = {int(by_difference.argmin())} least, {by_difference.min():.0%}.")  # fmt: skip
    return Chart(
        grids.wrong(correct, run, side), f"{title}: {wrong.sum():,} of {run.p**2:,} sums wrong",
        "x down, y across, wrong sums in colour." + told, f"Wrong answers {title.lower()} surgery",
        lambda: correct_table(correct),
    )  # fmt: skip


def correct_table(correct_PP: np.ndarray) -> pa.Table:
    x, y = np.divmod(np.arange(correct_PP.size), len(correct_PP))
    return table(x=x, y=y, correct=correct_PP.ravel())
