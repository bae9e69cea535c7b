"""How phases and magnitudes spread: rings of n phi, coherence against chance, violins, neurons per frequency."""

import altair as alt
import numpy as np
import pyarrow as pa

from ..frames.schema import Frame
from ..maths.measures import coherence
from ..maths.measures import evenness as evenness_of
from .chart import Chart, drawing
from .neurons import phases_table
from .style import COLOURS, DASHED, few, hues, legend, named, square_axes, table, tips, unit_circle

ORDERS = (1, 2, 3, 4)
RANDOM = np.sqrt(np.pi) / 2  # mean |sum of N random unit vectors| / sqrt(N)
RANDOM_TEX = r"\mathbb E\,\Big|\tfrac1N\sum_m e^{i n \varphi_m}\Big| \approx \frac{\sqrt\pi}{2\sqrt{N}}"


def resultant(frame: Frame, k: int, n: int) -> complex:
    """mean exp(i n phi) over the held neurons of frequency k."""
    phi = frame["phi"][frame["frequency"] == k].astype(float)
    return complex(np.exp(1j * n * phi).mean()) if len(phi) else complex("nan")


def expected(count: int) -> float:
    """|mean exp(i n phi)| to expect of `count` random phases."""
    return float(RANDOM / np.sqrt(count)) if count else float("nan")


def coherences(frame: Frame, K: int) -> tuple[np.ndarray, np.ndarray]:
    """|mean exp(i n phi)| for each n of ORDERS and each frequency, [4, K], and over how many neurons, [K]: all of them
    where the frame was asked at the end of a run, else those that it holds."""
    if "coherence" in frame:
        return frame["coherence"], frame["counts_K"]
    count = np.bincount(frame["frequency"], minlength=K + 1)[1:]
    return coherence(frame["frequency"], frame["phi"].astype(float), K, ORDERS), count


def ring_table(frame: Frame, k: int, n: int) -> pa.Table:
    """One row per held neuron of frequency k: n phi, and where it stands on the circle."""
    chosen = np.flatnonzero(frame["frequency"] == k)
    angle = n * frame["phi"][chosen].astype(float)
    return table(neuron=chosen, angle=angle % (2 * np.pi) / np.pi, x=np.cos(angle), y=np.sin(angle))


def ring(frame: Frame, K: int, k: int, n: int, step: int, side: int = 220) -> Chart:
    """n phi of the neurons of frequency k on a circle, and their mean as an arrow from the centre; its length is that
    of all neurons of k, where it is known."""
    (value, count), mean = coherences(frame, K), resultant(frame, k, n)
    length, of = float(value[n - 1, k - 1]), int(count[k - 1])
    tip = np.nan_to_num(mean / abs(mean) * length) if of and abs(mean) > 0 else 0j
    tables = {
        "rest": unit_circle(), "dots": ring_table(frame, k, n),
        "arrow": table(x=[0.0, tip.real], y=[0.0, tip.imag], at=[0, 1]),
    }  # fmt: skip
    times, dots = f"{n}φ" if n > 1 else "φ", len(tables["dots"])
    chance = expected(of)
    told = (
        f"Mean over {of} neurons, {'below' if length < chance else 'above'} the {chance:.3f} of chance."
        + f" Dots: the {dots} that are held." * (dots < of)
        if of else "No neuron has this frequency."
    )  # fmt: skip
    return Chart(
        drawing(_ring, tables, n=n, side=side), f"{times}: {length:.3f}" if of else f"{times}: no neuron", told,
        f"{times} of the neurons of frequency {k} on a circle at step {step:,}",
    )  # fmt: skip


def _ring(n, side):
    at, order = square_axes("", "", 1.12), alt.Order("at:Q")
    rest = alt.Chart(named("rest")).mark_line(strokeWidth=1, color=COLOURS["others"]).encode(**at, order=order)
    dots = alt.Chart(named("dots")).mark_circle(size=40, opacity=0.6, color=COLOURS["input"])
    dots = dots.encode(**at, tooltip=tips(neuron="neuron", angle="angle / π"))
    arrow = alt.Chart(named("arrow")).mark_line(
        strokeWidth=3, color=COLOURS["winner"], point={"size": 40, "color": COLOURS["winner"]}
    )
    return alt.layer(rest, dots, arrow.encode(**at, order=order), height=side, width=side)


def evenness_table(frame: Frame, K: int) -> pa.Table:
    """|mean exp(i n phi)| of every frequency and n, beside its random expectation."""
    value, count = coherences(frame, K)
    chance = RANDOM / np.sqrt(np.where(count, count, np.nan))
    real = np.isfinite(value).ravel()
    return table(
        k=np.tile(np.arange(1, K + 1), len(ORDERS))[real], curve=np.repeat([f"n = {n}" for n in ORDERS], K)[real],
        value=value.ravel()[real], random=np.tile(chance, len(ORDERS))[real], neurons=np.tile(count, len(ORDERS))[real],
    )  # fmt: skip


def evenness(frame: Frame, K: int, step: int, k: int | None = None, height: int = 240) -> Chart:
    """Dots: how uneven the phases of each frequency are, for n = 1..4. Line: what random phases would give."""
    rows = evenness_table(frame, K)
    line = rows.filter(np.asarray(rows["curve"]) == "n = 1").select(["k", "random"])
    times = np.array(rows["value"]) / np.array(rows["random"])
    below, worst = float((times < 1).mean()) if len(rows) else 0.0, float(times.max(initial=0.0))
    mean_n, error_n = evenness_of(*coherences(frame, K))
    pooled = ", ".join(f"n = {n} {m:.2f} ± {e:.2f}" for n, m, e in zip(ORDERS, mean_n, error_n, strict=True))
    return Chart(
        drawing(_evenness, {"dots": rows, "line": line, "chosen": table(k=[k] if k else [])}, K=K, height=height),
        f"{below:.0%} of all means are below chance at step {step:,}",
        f"Dashed: random phases; the longest mean is {worst:.1f} times that. N |mean|² over all frequencies, 1 for "
        f"random phases at any N: {pooled} (standard error). The noise of a vote contains n = 2 and 4, and 3 under "
        "ReLU: there it should be below 1.",
        "Length of the mean of exp(i n φ) of every frequency for n from 1 to 4, against chance", rows,
    )  # fmt: skip


def _evenness(K, height):
    names = [f"n = {n}" for n in ORDERS]
    axis = alt.Axis(values=list(range(1, K + 1, max(1, K // 12))), format="d", grid=False)
    x = alt.X("k:Q", title="frequency k", scale=alt.Scale(domain=[0.5, K + 0.5], nice=False), axis=axis)
    palette = dict(zip(names, (COLOURS[c] for c in ("train", "test", "held out", "output")), strict=True))
    dots = alt.Chart(named("dots")).mark_circle(size=45, opacity=0.85)
    dots = dots.encode(
        x=x, y=alt.Y("value:Q", title="|mean exp(i n φ)|", scale=alt.Scale(domainMin=0)),
        color=hues(names, palette, legend=legend("circle")),
        tooltip=tips(k="frequency k", curve="order", value="|mean exp(i n φ)|", neurons="neurons"),
    )  # fmt: skip
    line = alt.Chart(named("line")).mark_line(**DASHED)
    chosen = alt.Chart(named("chosen")).mark_rule(color=COLOURS["others"], opacity=0.5).encode(x=x)
    return alt.layer(chosen, line.encode(x=x, y=alt.Y("random:Q")), dots, height=height)


def variation(values: np.ndarray) -> float:
    """Standard deviation over mean."""
    return float(values.std() / values.mean()) if values.mean() else float("nan")


def variations(frame: Frame) -> dict[str, float]:
    """Coefficients of variation of alpha and beta: over all neurons where the frame has them, else over its table."""
    return {name: float(frame.get(f"cv_{name}", variation(frame[name]))) for name in ("alpha", "beta")}


def variation_within(frame: Frame, name: str) -> float:
    """The coefficient of variation inside a frequency, averaged over the frequencies by their neurons."""
    frequency = frame["frequency"]
    groups = [frame[name][frequency == k] for k in np.unique(frequency)]
    return float(sum(len(group) * variation(group) for group in groups) / len(frequency))


def violins(frame: Frame, step: int, height: int = 240) -> Chart:
    """The distribution of alpha and beta over neurons: density to both sides, median and quartiles inside."""
    areas, boxes = [], []
    for place, (name, layer) in enumerate({"alpha": "input", "beta": "output"}.items()):
        values = frame[name].astype(float)
        spread = np.ptp(values)
        grid = np.linspace(max(0.0, values.min() - 0.1 * spread), values.max() + 0.1 * spread, 60)
        level = density(values, grid)
        half = 0.4 * level / (level.max() or 1)
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        areas.append(table(x=place - half, x2=place + half, value=grid, layer=np.full(len(grid), layer)))
        boxes.append(table(x=[float(place)], low=[low], middle=[middle], high=[high], layer=[layer]))
    tables = {"areas": pa.concat_tables(areas), "boxes": pa.concat_tables(boxes)}
    spread = variations(frame)
    return Chart(
        drawing(_violins, tables, height=height),
        f"Variation of the magnitudes: input {spread['alpha']:.2f}, output {spread['beta']:.2f}",
        f"Standard deviation over mean at step {step:,}; within a frequency: input "
        f"{variation_within(frame, 'alpha'):.2f}, output {variation_within(frame, 'beta'):.2f}. The theory takes all "
        "magnitudes as equal: a narrow violin supports this. Dot: median, bar: quartiles.",
        f"Distribution of the input and output magnitudes of the neurons at step {step:,}", lambda: phases_table(frame),
    )  # fmt: skip


def density(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Gaussian kernel density at the points of a grid, by Scott's rule, in units of its own; 0 where the values do
    not differ."""
    if len(values) < 3 or np.ptp(values) <= 1e-9 * np.abs(values).max():
        return np.zeros(len(grid))
    width = values.std() * len(values) ** -0.2
    return np.exp(-(((grid[:, None] - values) / width) ** 2) / 2).sum(1)


def _violins(height):
    names = ["input", "output"]
    axis = alt.Axis(values=[0, 1], grid=False, labelExpr="datum.value == 0 ? 'input layer, α' : 'output layer, β'")
    x = alt.X("x:Q", title="layer", scale=alt.Scale(domain=[-0.5, 1.5], nice=False), axis=axis)
    colour = alt.Color("layer:N", scale=alt.Scale(domain=names, range=[COLOURS[n] for n in names]), legend=None)
    y = alt.Y("value:Q", title="magnitude (weight units)", scale=alt.Scale(zero=False))
    violin = alt.Chart(named("areas")).mark_area(orient="horizontal", opacity=0.55).encode(
        x=x, x2=alt.X2("x2"), y=y, color=colour
    )  # fmt: skip
    rows = alt.Chart(named("boxes"))
    box = rows.mark_rule(strokeWidth=5, color=COLOURS["others"]).encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high"))
    dot = rows.mark_circle(size=90, opacity=1, color="#ffffff", stroke="#1d2530").encode(
        x=x, y=alt.Y("middle:Q"), tooltip=tips(layer="layer", low="lower quartile", middle="median", high="upper")
    )  # fmt: skip
    return alt.layer(violin, box, dot, height=height)


def counts_table(frame: Frame) -> pa.Table:
    return table(k=np.arange(1, len(frame["counts_K"]) + 1), neurons=frame["counts_K"].astype(np.int64))


def counts(frame: Frame, step: int, k: int | None = None, height: int = 240) -> Chart:
    """Neurons whose dominant frequency is k, and the mean over the frequencies."""
    count_K = frame["counts_K"]
    K, mean, nobody = len(count_K), count_K.mean(), int((count_K == 0).sum())
    rows = counts_table(frame)
    return Chart(
        drawing(_counts, {"bars": rows, "mean": table(mean=[float(mean)])}, K=K, k=k, height=height),
        f"Neurons per frequency: {mean:.1f} ± {count_K.std():.1f}",
        f"At step {step:,}. Dashed: the mean; ± is the standard deviation, about "
        f"{np.sqrt(mean * (1 - 1 / K)):.1f} if every neuron drew its frequency at random. "
        + (f"{nobody} of {K} frequencies have no neuron." if nobody else "Every frequency has neurons."),
        f"Neurons of each of the {K} frequencies, {mean:.1f} on average", rows,
    )  # fmt: skip


def _counts(K, k, height):
    bars = (
        alt.Chart(named("bars"))
        .mark_bar(color=COLOURS["input"])
        .encode(
            x=alt.X("k:O", title="frequency k", axis=few(K)),
            y=alt.Y("neurons:Q", title="neurons", axis=alt.Axis(format="d", tickMinStep=1)),
            opacity=alt.condition(alt.datum.k == (k or 0), alt.value(1.0), alt.value(0.65)),
            tooltip=tips(k="frequency k", neurons="neurons"),
        )
    )
    mean = alt.Chart(named("mean")).mark_rule(strokeDash=[4, 3], strokeWidth=2, color=COLOURS["winner"])
    return alt.layer(bars, mean.encode(y=alt.Y("mean:Q")), height=height)
