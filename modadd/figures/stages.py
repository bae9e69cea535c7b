"""The ground of a curve over training, shaded by the stages of that training."""

import altair as alt
import numpy as np

from .style import COLOURS, HUE, step_axis, table, tips

SHADES = (HUE["ochre"], HUE["green"], HUE["violet"])
NUMERALS = ("I", "II", "III")


def shaded(chart: alt.LayerChart, spans: dict[str, tuple[int, int]], names, log_steps: bool) -> alt.LayerChart:
    """The chart on a ground that is shaded by stage, I, II and III written on top.

    `spans` are those of `measures.spans`, of the stages called `names`.
    """
    if not spans:
        return chart
    starts, stops = np.array([*spans.values()]).T
    middle = np.sinh((np.arcsinh(starts / 20) + np.arcsinh(stops / 20)) / 2) * 20 if log_steps else (starts + stops) / 2
    numeral = dict(zip(names, NUMERALS, strict=True))
    rows = table(
        stage=np.array([*spans]), step=starts, until=stops, middle=middle,
        numeral=np.array([numeral[name] for name in spans]),
    )  # fmt: skip
    x = step_axis(log_steps)
    ground = (
        alt.Chart(rows)
        .mark_rect(opacity=0.13)
        .encode(
            x=x, x2=alt.X2("until"), tooltip=tips(stage="stage", step="from step", until="to step"),
            fill=alt.Fill("stage:N", legend=None, scale=alt.Scale(domain=list(names), range=list(SHADES))),
        )
    )  # fmt: skip
    titles = (
        alt.Chart(rows)
        .mark_text(dy=-7, fontWeight="bold")
        .encode(
            x=alt.X("middle:Q", title=x["title"], scale=x["scale"], axis=x["axis"]),
            y=alt.value(0), text=alt.Text("numeral:N"), color=alt.value(COLOURS["others"]),
        )
    )  # fmt: skip
    return alt.layer(ground, chart, titles)
