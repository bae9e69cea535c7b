"""How phases and magnitudes spread: rings of n phi, coherence against chance, violins, neurons per frequency."""

import altair as alt
import numpy as np
import pyarrow as pa
from scipy.stats import gaussian_kde

from ..fourier import wrap
from ..measures import coherence
from ..record import Frame, Record
from .neurons import phase_scatter
from .style import COLOURS, table, tips
from .weights import square

ORDERS = (1, 2, 3, 4)
RANDOM = np.sqrt(np.pi) / 2  # mean |sum of N random unit vectors| / sqrt(N)
RANDOM_TEX = r"\mathbb E\,\Big|\tfrac1N\sum_m e^{i n \varphi_m}\Big| \approx \frac{\sqrt\pi}{2\sqrt{N}}"


def scatter(frame: Frame, K: int, neuron: int | None = None) -> alt.LayerChart:
    """psi against 2 phi; a click on a dot selects its neuron, under the name `dot`."""
    line, dots, *marked = phase_scatter(frame, K, neuron).layer
    click = alt.selection_point(name="dot", fields=["neuron"], toggle=False)
    return alt.layer(line, dots.properties(name="dots").add_params(click), *marked).properties(height=380)


def scatter_table(frame: Frame) -> pa.Table:
    """One row a held neuron: frequency, phases and magnitudes."""
    names = ("frequency", "phi", "psi", "alpha", "beta")
    return table(neuron=np.arange(len(frame["phi"])), **{name: frame[name] for name in names})


def resultant(frame: Frame, k: int, n: int) -> complex:
    """mean exp(i n phi) over the held neurons of frequency k."""
    phi = frame["phi"][frame["frequency"] == k].astype(float)
    return complex(np.exp(1j * n * phi).mean()) if len(phi) else complex("nan")


def expected(count: int) -> float:
    """|mean exp(i n phi)| to expect of `count` random phases."""
    return float(RANDOM / np.sqrt(count)) if count else float("nan")


def ring_table(frame: Frame, k: int, n: int) -> pa.Table:
    chosen = np.flatnonzero(frame["frequency"] == k)
    angle = n * frame["phi"][chosen].astype(float)
    return table(neuron=chosen, angle=angle % (2 * np.pi) / np.pi, x=np.cos(angle), y=np.sin(angle))


def ring(frame: Frame, k: int, n: int, height: int = 200) -> alt.LayerChart:
    """n phi of the neurons of frequency k on a circle, and their mean as an arrow from the centre."""
    mean = resultant(frame, k, n)
    x_scale, y_scale = square(1.2)
    bare = alt.Axis(labels=False, ticks=False, grid=False, domain=False)
    x = alt.X("x:Q", title=f"cos {n}φ" if n > 1 else "cos φ", scale=x_scale, axis=bare)
    y = alt.Y("y:Q", title=f"sin {n}φ" if n > 1 else "sin φ", scale=y_scale, axis=bare)
    around = np.linspace(0, 2 * np.pi, 91)
    rest = alt.Chart(table(x=np.cos(around), y=np.sin(around), at=around)).mark_line(
        strokeWidth=1, color=COLOURS["others"]
    ).encode(x=x, y=y, order=alt.Order("at:Q"))  # fmt: skip
    dots = (
        alt.Chart(ring_table(frame, k, n))
        .mark_circle(size=32, opacity=0.6, color=COLOURS["input"])
        .encode(x=x, y=y, tooltip=tips(neuron="neuron", angle="angle / π"))
    )
    tip = table(x=[0, np.nan_to_num(mean.real)], y=[0, np.nan_to_num(mean.imag)], at=[0, 1])
    arrow = alt.Chart(tip).mark_line(
        strokeWidth=3, color=COLOURS["winner"], point={"size": 40, "color": COLOURS["winner"]}
    )
    return alt.layer(rest, dots, arrow.encode(x=x, y=y, order=alt.Order("at:Q"))).properties(height=height)


def evenness_table(frame: Frame, K: int) -> pa.Table:
    """|mean exp(i n phi)| of every frequency and n, beside its random expectation."""
    value, count = frame.get("coherence"), frame["counts_K"]  # of all neurons, where they were asked
    if value is None:
        value = coherence(frame["frequency"], frame["phi"].astype(float), K, ORDERS)
        count = np.bincount(frame["frequency"], minlength=K + 1)[1:]
    chance = RANDOM / np.sqrt(np.where(count, count, np.nan))
    real = np.isfinite(value).ravel()
    return table(
        k=np.tile(np.arange(1, K + 1), len(ORDERS))[real], curve=np.repeat([f"n = {n}" for n in ORDERS], K)[real],
        value=value.ravel()[real], random=np.tile(chance, len(ORDERS))[real], neurons=np.tile(count, len(ORDERS))[real],
    )  # fmt: skip


def evenness(frame: Frame, K: int, k: int | None = None, height: int = 290) -> alt.LayerChart:
    """Dots: how uneven the phases of each frequency are, for n = 1..4. Line: what random phases would give."""
    rows = evenness_table(frame, K)
    names = [f"n = {n}" for n in ORDERS]
    x = alt.X("k:Q", title="frequency k", scale=alt.Scale(domain=[0.5, K + 0.5], nice=False), axis=_whole(K))
    dots = (
        alt.Chart(rows)
        .mark_circle(size=45, opacity=0.85)
        .encode(
            x=x,
            y=alt.Y("value:Q", title="|mean exp(i n φ)|", scale=alt.Scale(domainMin=0)),
            color=alt.Color(
                "curve:N",
                scale=alt.Scale(domain=names, range=[COLOURS[c] for c in ("train", "test", "held out", "output")]),
                legend=alt.Legend(orient="top", title=None),
            ),
            tooltip=tips(k="frequency k", curve="order", value="|mean exp(i n φ)|", neurons="neurons"),
        )
    )
    first = rows.slice(0, len(rows) // len(ORDERS))
    line = alt.Chart(first).mark_line(strokeDash=[4, 3], color=COLOURS["others"]).encode(x=x, y=alt.Y("random:Q"))
    layers = [line, dots]
    if k is not None:
        layers.insert(0, alt.Chart(table(k=[k])).mark_rule(color=COLOURS["others"], opacity=0.5).encode(x=x))
    return alt.layer(*layers).properties(height=height)


def _whole(K: int) -> alt.Axis:
    return alt.Axis(values=list(range(1, K + 1, max(1, K // 12))), format="d", grid=False)


def variation(values: np.ndarray) -> float:
    """Standard deviation over mean."""
    return float(values.std() / values.mean()) if values.mean() else float("nan")


def variation_within(frame: Frame, name: str) -> float:
    """The coefficient of variation inside a frequency, averaged over the frequencies by their neurons."""
    frequency = frame["frequency"]
    groups = [frame[name][frequency == k] for k in np.unique(frequency)]
    return float(sum(len(group) * variation(group) for group in groups) / len(frequency))


def violins(frame: Frame, height: int = 300) -> alt.LayerChart:
    """The distribution of alpha and beta over neurons: density to both sides, median and quartiles inside."""
    areas, boxes = [], []
    for place, (name, layer) in enumerate({"alpha": "input", "beta": "output"}.items()):
        values = frame[name].astype(float)
        grid = np.linspace(max(0.0, values.min() - 0.1 * np.ptp(values)), values.max() + 0.1 * np.ptp(values), 80)
        level = (
            gaussian_kde(values)(grid) if np.ptp(values) > 1e-9 * abs(values.max()) and len(values) > 2 else grid * 0
        )
        half = 0.4 * level / (level.max() or 1)
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        left, right, side = place - half, place + half, np.full(80, layer)
        areas.append(table(x=left, x2=right, value=grid, layer=side))
        boxes.append(table(x=[float(place)], low=[low], middle=[middle], high=[high], layer=[layer]))
    names = ["input", "output"]
    axis = alt.Axis(values=[0, 1], grid=False, labelExpr="datum.value == 0 ? 'input layer, α' : 'output layer, β'")
    x = alt.X("x:Q", title="layer", scale=alt.Scale(domain=[-0.5, 1.5], nice=False), axis=axis)
    colour = alt.Color("layer:N", scale=alt.Scale(domain=names, range=[COLOURS[n] for n in names]), legend=None)
    y = alt.Y("value:Q", title="magnitude (weight units)", scale=alt.Scale(zero=False))
    violin = alt.Chart(pa.concat_tables(areas)).mark_area(orient="horizontal", opacity=0.55).encode(
        x=x, x2=alt.X2("x2"), y=y, color=colour
    )  # fmt: skip
    rows = alt.Chart(pa.concat_tables(boxes))
    box = rows.mark_rule(strokeWidth=5, color=COLOURS["others"]).encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high"))
    dot = rows.mark_circle(size=90, opacity=1, color="#ffffff", stroke="#1d2530").encode(
        x=x, y=alt.Y("middle:Q"), tooltip=tips(layer="layer", low="lower quartile", middle="median", high="upper")
    )  # fmt: skip
    return alt.layer(violin, box, dot).properties(height=height)


def counts_table(frame: Frame) -> pa.Table:
    return table(k=np.arange(1, len(frame["counts_K"]) + 1), neurons=frame["counts_K"].astype(np.int64))


def counts(frame: Frame, k: int | None = None, height: int = 300) -> alt.LayerChart:
    """Neurons whose dominant frequency is k, and the mean over the frequencies."""
    rows, K = counts_table(frame), len(frame["counts_K"])
    x = alt.X("k:O", title="frequency k", axis=alt.Axis(labelAngle=0, values=list(range(1, K + 1, max(1, K // 16)))))
    bars = (
        alt.Chart(rows)
        .mark_bar(color=COLOURS["input"])
        .encode(
            x=x,
            y=alt.Y("neurons:Q", title="neurons", axis=alt.Axis(format="d", tickMinStep=1)),
            opacity=alt.condition(alt.datum.k == (k or 0), alt.value(1.0), alt.value(0.65)),
            tooltip=tips(k="frequency k", neurons="neurons"),
        )
    )
    mean = alt.Chart(table(mean=[float(frame["counts_K"].mean())])).mark_rule(
        strokeDash=[4, 3], strokeWidth=2, color=COLOURS["winner"]
    )
    return alt.layer(bars, mean.encode(y=alt.Y("mean:Q"))).properties(height=height)


def leader_race(record: Record, neuron: int) -> dict[str, np.ndarray] | None:
    """What the tables of the frames know of a race: only the frequency in the lead, step by step; None beyond them."""
    held = [(at, f) for at, f in zip(record.frame_steps, record.frames, strict=True) if neuron < len(f["frequency"])]
    if not held:
        return None
    race = {name: np.full((len(held), record.run.K), -np.inf) for name in ("alpha_SK", "beta_SK", "D_SK")}
    for row, (_, frame) in enumerate(held):
        k = frame["frequency"][neuron] - 1
        race["alpha_SK"][row, k], race["beta_SK"][row, k] = frame["alpha"][neuron], frame["beta"][neuron]
        race["D_SK"][row, k] = wrap(2 * frame["phi"][neuron] - frame["psi"][neuron])
    return race | {"step_S": np.array([at for at, _ in held])}


def race_table(race: dict[str, np.ndarray]) -> pa.Table:
    """The race of one neuron, a row a step and frequency."""
    s, k = np.nonzero(np.isfinite(race["alpha_SK"]))
    values = {name: race[f"{name}_SK"][s, k] for name in ("alpha", "beta", "D")}
    return table(step=race["step_S"][s], k=k + 1, **values)
