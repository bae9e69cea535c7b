"""What an operation did to a network, and what diversity is worth."""

import altair as alt
import numpy as np
import pyarrow as pa

from ..analysis.surgery import Outcome, parity
from .style import COLOURS, table, tips

# Mean loss in nats at p = 23 with 128 neurons, as printed in arXiv:2602.16849, sec. 4.
PUBLISHED = {
    "frequencies": {1: 1.64, 2: 0.602, 4: 0.0288, 8: 2.99e-8, 11: 7.41e-15},
    "phases": {0.4: 4.82, 0.8: 2.0e-3, 1.2: 1.19e-9, 1.6: 3.54e-7, 2.0: 7.41e-15},
}
FORMATS = {"loss (nats)": "%.4g", "accuracy": "percent", "mean cos D": "%.3f"}
CURVES = {
    "neurons fall silent": "train", "neurons shared": "held out", "all frequencies": "train", "published": "winner",
}  # fmt: skip
PARITIES = {"even": "held out", "odd": "winner", "neither": "others"}


def account(done: list[str], states: list[tuple[Outcome, float]]) -> list[dict]:
    """A row for the trained network and for each operation on top of the last: (outcome, mean cos D) of each."""
    return [
        {"": name, "loss (nats)": outcome.loss["all"], "accuracy": outcome.accuracy["all"], "mean cos D": cos}
        for name, (outcome, cos) in zip(["as trained", *done], states, strict=True)
    ]


def swaps_table(tried: dict[str, Outcome]) -> pa.Table:
    """One row an activation."""
    return table(
        activation=list(tried), parity=[parity(name) for name in tried],
        value=[outcome.accuracy["all"] for outcome in tried.values()],
        loss=[outcome.loss["all"] for outcome in tried.values()],
    )  # fmt: skip


def swaps(rows: pa.Table, height: int = 360) -> alt.LayerChart:
    """Accuracy of one network under other activations, best on top, coloured by the parity of the function."""
    order = [name for _, name in sorted(zip(rows["value"].to_pylist(), rows["activation"].to_pylist(), strict=True))]
    y = alt.Y("activation:N", title="activation", sort=order[::-1], axis=alt.Axis(labelOverlap=False))
    bars = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X("value:Q", title="accuracy", scale=alt.Scale(domain=[0, 1.08], nice=False), axis=alt.Axis(
                format="%", values=[0, 0.25, 0.5, 0.75, 1]
            )),
            y=y,
            color=alt.Color(
                "parity:N",
                scale=alt.Scale(domain=list(PARITIES), range=[COLOURS[name] for name in PARITIES.values()]),
                legend=alt.Legend(orient="top", title="as a function"),
            ),
            tooltip=tips(activation="activation", parity="as a function", value="accuracy", loss="loss (nats)"),
        )
    )  # fmt: skip
    text = alt.Chart(rows).mark_text(align="left", dx=4, color=COLOURS["others"]).encode(
        x=alt.X("value:Q"), y=y, text=alt.Text("value:Q", format=".1%")
    )  # fmt: skip
    return alt.layer(bars, text).properties(height=height)


def ablation_table(curves: dict[str, dict[float, float]]) -> pa.Table:
    """One row a curve and setting: {name: {setting: loss in nats}}."""
    return table(
        setting=[float(at) for curve in curves.values() for at in curve],
        curve=np.array([name for name, curve in curves.items() for _ in curve], str),
        value=[loss for curve in curves.values() for loss in curve.values()],
    )


def ablation(rows: pa.Table, title: str, height: int = 320) -> alt.LayerChart:
    """Loss against diversity on a log axis; diamonds: the published numbers."""
    settings = sorted(set(rows["setting"].to_pylist()))
    pad = 0.08 * np.ptp(settings) or 0.5
    names = [name for name in CURVES if name in set(rows["curve"].to_pylist())]
    x = alt.X("setting:Q", title=title, axis=alt.Axis(values=settings), scale=alt.Scale(
        domain=[min(settings) - pad, max(settings) + pad], nice=False
    ))  # fmt: skip
    y = alt.Y("value:Q", title="loss (nats)", scale=alt.Scale(type="log"), axis=alt.Axis(format=".0e", tickCount=6))
    colour = alt.Color(
        "curve:N",
        scale=alt.Scale(domain=names, range=[COLOURS[CURVES[name]] for name in names]),
        legend=alt.Legend(orient="top", title=None, columns=2, labelLimit=200),
    )
    base = alt.Chart(rows).encode(x=x, y=y, color=colour, tooltip=tips(curve="curve", setting=title, value="loss"))
    ours = base.mark_line(strokeWidth=1.8, point={"size": 45}).transform_filter(alt.datum.curve != "published")
    theirs = base.mark_point(shape="diamond", size=130, strokeWidth=2).transform_filter(alt.datum.curve == "published")
    return alt.layer(ours, theirs).properties(height=height)


def correct_table(correct_PP: np.ndarray) -> pa.Table:
    x, y = np.divmod(np.arange(correct_PP.size), len(correct_PP))
    return table(x=x, y=y, correct=correct_PP.ravel())
