"""Inside the one-layer transformer: progress measures with their phases, Fourier space, circles, maps of
neurons and of attention; and the same modulus in the MLP beside it.  arXiv:2301.05217, figs. 2-7."""

import altair as alt
import numpy as np
import pyarrow as pa

from ..analysis.phases import PHASES
from ..frames import one_layer
from ..frames.schema import Frame
from ..maths import fourier
from ..maths import measures as stage_measures
from ..records.record import Record, thin_rows
from .curves import POINTS
from .stages import shaded
from .style import (  # fmt: skip
    COLOURS,
    HUE,
    SEQUENTIAL,
    SEVERAL,
    Drawing,
    colour,
    heatmap,
    long,
    png_uri,
    ramp,
    ring_scale,
    step_axis,
    table,
    tips,
    with_step,
)
from .weights import square

LOSSES = {
    "train": COLOURS["train"], "test": COLOURS["test"], "restricted, test": HUE["green"],
    "excluded, train": HUE["violet"], "cosines alone": HUE["ochre"],
}  # fmt: skip
SHARES = {"Gini, embedding": COLOURS["input"], "Gini, neurons to logits": COLOURS["output"],
          "logits explained": HUE["green"], "neurons of one frequency": HUE["blue"]}  # fmt: skip
LAYERS = {
    "embed_norms": ("W_E, the embedding", COLOURS["input"]),
    "map_norms": ("W_L, neurons to logits", COLOURS["output"]),
}
TALL = 290
DECADES = 3  # of the logits in Fourier space that are told apart


def _lines(rows: pa.Table, y: alt.Y, color: alt.Color, spans, step, log_steps, height: int = TALL) -> alt.LayerChart:
    lines = (
        alt.Chart(rows)
        .mark_line(strokeWidth=1.8, clip=True)
        .encode(x=step_axis(log_steps), y=y, color=color, tooltip=tips(curve="curve", step="step", value="value"))
    )
    return shaded(with_step(lines, step, rows, height), spans, PHASES, log_steps)


def _colours(curves: dict[str, str], symbol: str = "stroke") -> alt.Color:
    return alt.Color(
        "curve:N",
        scale=alt.Scale(domain=[*curves], range=[*curves.values()]),
        legend=alt.Legend(orient="top", title=None, symbolType=symbol, columns=2, labelLimit=0),
    )


def _log_loss() -> alt.Y:
    axis = alt.Axis(format=".0e", tickCount=5)
    return alt.Y("value:Q", title="loss (nats)", scale=alt.Scale(type="log"), axis=axis)


def history_table(record: Record, what: str, groups=("train", "test", "held_out")) -> pa.Table:
    """Loss or accuracy of the groups by step, each where it was looked at."""
    parts = []
    for group in groups:
        column = record.history[f"{group}_{what}"]
        seen = np.flatnonzero(np.isfinite(column))
        kept = seen[thin_rows([column[seen]], POINTS)]
        parts.append(long("step", record.steps[kept].astype(int), {group.replace("_", " "): column[kept]}))
    return pa.concat_tables(parts)


def history(record: Record, what: str, spans, step: int | None = None, log_steps: bool = False) -> alt.LayerChart:
    """`loss` (nats, log axis) or `accuracy` of training, test and held-out pairs."""
    rows = history_table(record, what)
    y = alt.Y("value:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    names = list(dict.fromkeys(rows["curve"].to_pylist()))
    return _lines(rows, _log_loss() if what == "loss" else y, colour(names), spans, step, log_steps)


def progress_table(record: Record, found: dict[str, np.ndarray]) -> pa.Table:
    """Train and test loss beside restricted, excluded and cosines-alone loss by step."""
    frames = {"restricted, test": found["restricted_test"], "excluded, train": found["excluded"],
              "cosines alone": found["trig"]}  # fmt: skip
    return pa.concat_tables([history_table(record, "loss", ("train", "test")), long("step", found["step"], frames)])


def progress(record: Record, found, spans, step: int | None = None, log_steps: bool = False) -> alt.LayerChart:
    """Curves of `progress_table` on a log axis."""
    return _lines(progress_table(record, found), _log_loss(), _colours(LOSSES), spans, step, log_steps, 380)


def excluded_table(found, keys_K, together: tuple[np.ndarray, np.ndarray] | None = None) -> pa.Table:
    """Training loss with one key frequency excluded each, and with all of them where that was computed."""
    each = {f"without k = {k + 1}": found["excluded_K"][:, k] for k in np.flatnonzero(keys_K)}
    rows = long("step", found["step"], each)
    return (
        rows if together is None else pa.concat_tables([rows, long("step", together[0], {"without all": together[1]})])
    )


def excluded(found, keys_K, spans, step=None, log_steps=False, together=None) -> alt.LayerChart:
    """Curves of `excluded_table` on a log axis."""
    hues = {f"without k = {k + 1}": SEVERAL[i % len(SEVERAL)] for i, k in enumerate(np.flatnonzero(keys_K))}
    hues |= {} if together is None else {"without all": COLOURS["winner"]}
    return _lines(excluded_table(found, keys_K, together), _log_loss(), _colours(hues), spans, step, log_steps)


def shares_table(record: Record, found) -> pa.Table:
    """Sparsity and shares by step, each between 0 and 1."""
    names = ("gini_embed", "gini_map", None, "single")
    columns = [found["fve"] if name is None else record.series(name)[1] for name in names]
    return long("step", found["step"], dict(zip(SHARES, columns, strict=True)))


def shares(record: Record, found, spans, step=None, log_steps=False) -> alt.LayerChart:
    """Curves of `shares_table`."""
    y = alt.Y("value:Q", title="share, or Gini", scale=alt.Scale(domain=[0, 1]))
    return _lines(shares_table(record, found), y, _colours(SHARES), spans, step, log_steps)


def squared_weights_table(record: Record) -> pa.Table:
    return long("step", record.frame_steps, {"squared weights": record.series("squared_weights")[1]})


def squared_weights(record: Record, spans, step=None, log_steps=False) -> alt.LayerChart:
    """Sum of all squared weights: what weight decay shrinks."""
    y = alt.Y("value:Q", title="sum of squares", scale=alt.Scale(zero=True))
    rows = squared_weights_table(record)
    return _lines(rows, y, _colours({"squared weights": HUE["graphite"]}), spans, step, log_steps)


def spectrum_table(norms_P: np.ndarray, keys_K: np.ndarray) -> pa.Table:
    """Length of cos k and sin k together for each frequency, and whether it is key."""
    kind = np.where(keys_K, "key frequency", "other")
    return table(k=np.arange(1, len(keys_K) + 1), value=one_layer.by_frequency(norms_P), curve=kind)


def spectrum(norms_P, keys_K, hue: str, level: float | None = None, height: int = TALL) -> alt.LayerChart:
    """Bars of `spectrum_table`, key frequencies in colour; dashed: the level that separates them."""
    few = list(range(1, len(keys_K) + 1, max(1, len(keys_K) // 14)))
    bars = (
        alt.Chart(spectrum_table(norms_P, keys_K))
        .mark_bar()
        .encode(
            x=alt.X("k:O", title="frequency k", axis=alt.Axis(values=few, labelAngle=0)),
            y=alt.Y("value:Q", title="norm (weight units)"),
            color=_colours({"key frequency": hue, "other": COLOURS["others"]}, "square"),
            tooltip=tips(k="frequency k", value="norm", curve="kind"),
        )
    )
    if level is None:
        return alt.layer(bars).properties(height=height)
    line = alt.Chart(table(level=[level])).mark_rule(strokeDash=[4, 3], color=COLOURS["others"])
    return alt.layer(bars, line.encode(y=alt.Y("level:Q"))).properties(height=height)


def level(norms_K: np.ndarray, keys_K: np.ndarray) -> float | None:
    """Half-way, in the logarithm, between the least key norm and the largest other; None if there is no such gap."""
    if not keys_K.any() or keys_K.all() or norms_K[keys_K].min() <= norms_K[~keys_K].max():
        return None
    return float(np.sqrt(norms_K[keys_K].min() * max(norms_K[~keys_K].max(), 1e-6)))


def circle_table(points_P2: np.ndarray, k: int) -> pa.Table:
    """The residues on the plane of frequency k, and their place k a mod p around its circle."""
    a = np.arange(len(points_P2))
    return table(a=a, turn=k * a % len(a), x=points_P2[:, 0], y=points_P2[:, 1])


def circle(points_P2: np.ndarray, k: int, height: int = 330) -> alt.LayerChart:
    """Dots: the embeddings of the residues on the plane of frequency k; joined in the order of k a mod p."""
    x_scale, y_scale = square(1.15 * float(np.abs(points_P2).max()) or 1.0)
    axis = alt.Axis(grid=False, tickCount=4)
    x = alt.X("x:Q", title="for cos wₖa (weight units)", scale=x_scale, axis=axis)
    y = alt.Y("y:Q", title="for sin wₖa", scale=y_scale, axis=axis)
    rows = circle_table(points_P2, k)
    closed = pa.concat_tables([rows.sort_by("turn"), rows.sort_by("turn").slice(0, 1)])
    closed = closed.append_column("at", pa.array(np.arange(len(closed))))
    web = alt.Chart(closed).mark_line(strokeWidth=0.8, color=COLOURS["others"]).encode(
        x=x, y=y, order=alt.Order("at:Q")
    )  # fmt: skip
    dots = (
        alt.Chart(rows)
        .mark_circle(opacity=1, size=42)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "turn:Q",
                scale=ring_scale(0, len(rows)),
                legend=alt.Legend(orient="top", title="k·a mod p", format="d", tickCount=4, gradientLength=120),
            ),
            tooltip=tips(a="residue a", turn="k·a mod p"),
        )
    )
    return alt.layer(web, dots).properties(height=height)


def tiles(maps_XPP: np.ndarray, titles: list[str], columns: int = 4, top: float | None = None) -> alt.LayerChart:
    """Small maps over (a, b), a down and b across, from 0 (pale) to `top` or to each map's own largest value."""
    r, c = np.divmod(np.arange(len(maps_XPP)), columns)
    tops = [top or float(one.max()) or 1.0 for one in maps_XPP]
    uri = np.array([png_uri(ramp(one / high, SEQUENTIAL)) for one, high in zip(maps_XPP, tops, strict=True)])
    rows = table(uri=uri, title=np.array(titles), x=c + 0.04, x2=c + 0.96, y=r + 0.17, y2=r + 0.97, middle=c + 0.5)
    count = int(r[-1]) + 1
    x = alt.X("x:Q", scale=alt.Scale(domain=[0, columns], nice=False), axis=None)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[count, 0], nice=False), axis=None)
    pictures = alt.Chart(rows).mark_image(smooth=False, aspect=False).encode(
        url=alt.Url("uri:N"), x=x, x2=alt.X2("x2"), y=y, y2=alt.Y2("y2")
    )  # fmt: skip
    names = (
        alt.Chart(rows)
        .mark_text(dy=-7, fontSize=11, color=COLOURS["others"], limit=0)
        .encode(x=alt.X("middle:Q", scale=alt.Scale(domain=[0, columns], nice=False), axis=None), y=y, text="title:N")
    )
    return alt.layer(pictures, names).properties(height=170 * count)


def maps_table(maps_XPP: np.ndarray, names: list[str]) -> pa.Table:
    """One row an ordered pair, one column a map."""
    a, b = np.divmod(np.arange(maps_XPP[0].size), len(maps_XPP[0]))
    return table(a=a, b=b, **{name: one.ravel() for name, one in zip(names, maps_XPP, strict=True)})


def pairs(probability_PP: np.ndarray, height: int = 330) -> Drawing:
    """Probability of the right answer to every ordered pair, a down and b across."""
    return heatmap(probability_PP, "b", "a", "probability", diverging=False, height=height, cells=0, top=1.0)


def strongest(lengths_PP: np.ndarray, count: int = 12) -> list[tuple[str, str, float]]:
    """(mode of a, mode of b, share of the power without the constant) of the largest products of modes."""
    power = np.asarray(lengths_PP, float) ** 2
    power[0, 0] = 0
    names, order = fourier.mode_names(len(power)), np.argsort(-power, axis=None)[:count]
    total = power.sum() or 1.0
    return [(names[i // len(power)], names[i % len(power)], float(power.flat[i] / total)) for i in order]


def modes_table(lengths_PP: np.ndarray) -> pa.Table:
    """One row a product of modes: its length over the answers."""
    names, i = np.array(fourier.mode_names(len(lengths_PP))), np.arange(lengths_PP.size)
    return table(mode_a=names[i // len(names)], mode_b=names[i % len(names)], length=lengths_PP.ravel())


def decades(lengths_PP: np.ndarray) -> np.ndarray:
    """Decades above 10^-DECADES of the longest, [P, P]; shorter ones and the constant at 0."""
    lengths = np.asarray(lengths_PP, float).copy()
    lengths[0, 0] = 0
    floor = (lengths.max() or 1.0) * 10.0**-DECADES
    return np.log10(lengths.clip(floor) / floor)


def mode_ticks(p: int, most: int = 24) -> tuple[np.ndarray, list[str]]:
    """(places, names) of so many modes at most, evenly chosen."""
    at = np.arange(0, p, -(-p // most))
    return at, [fourier.mode_names(p)[i] for i in at]


def modes(lengths_PP: np.ndarray, height: int = 420) -> Drawing:
    """The logits as products of a mode of a (down) and of b (across), in `decades`."""
    names, value = fourier.mode_names(len(lengths_PP)), f"decades over 1/{10**DECADES:,}"
    return heatmap(
        decades(lengths_PP), "mode of b", "mode of a", value, x_names=names, y_names=names, diverging=False,
        height=height, cells=0,
    )  # fmt: skip


def used(frame: Frame, K: int) -> np.ndarray:
    """Neurons of each frequency, [K]: of an MLP by their strongest input frequency, of a transformer those with
    more than `one_layer.SINGLE` of their variance in it."""
    if "counts_K" in frame:
        return frame["counts_K"]
    single = frame["neuron_share"] > one_layer.SINGLE
    return np.bincount(frame["neuron_frequency"][single].astype(int), minlength=K + 1)[1:]


def use_table(counts_K: np.ndarray) -> pa.Table:
    return table(k=np.arange(1, len(counts_K) + 1), neurons=counts_K, share=counts_K / max(1, counts_K.sum()))


def use(counts_K: np.ndarray, hue: str, height: int = 250) -> alt.Chart:
    """Bars: the share of neurons at each frequency."""
    few = list(range(1, len(counts_K) + 1, max(1, len(counts_K) // 12)))
    percent = alt.Axis(format="%", tickCount=4)
    return (
        alt.Chart(use_table(counts_K))
        .mark_bar(color=hue)
        .encode(
            x=alt.X("k:O", title="frequency k", axis=alt.Axis(values=few, labelAngle=0)),
            y=alt.Y("share:Q", title="share of those neurons", axis=percent),
            tooltip=[alt.Tooltip("k:O", title="frequency k"), alt.Tooltip("neurons:Q", title="neurons"),
                     alt.Tooltip("share:Q", title="share", format=".1%")],
        )
        .properties(height=height)
    )  # fmt: skip


def beside(record: Record, keys_K: np.ndarray | None) -> dict[str, float | int | None]:
    """The last numbers of an MLP (`keys_K` None) or a transformer by the measures that both have; None where one
    is not reached or not kept."""
    run, frame = record.run, record.frames[-1]
    first = lambda group: stage_measures.first_at_least(record.steps, record.history[f"{group}_accuracy"], 0.99)  # noqa: E731
    last = {}
    for name in ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "held_out_accuracy"):
        seen = record.history[name][np.isfinite(record.history[name])]
        last[name.replace("_", " ")] = float(seen[-1]) if len(seen) else None
    if keys_K is None:
        norms = [np.linalg.norm(frame[name].astype(float), axis=0) for name in ("theta_hat", "xi_hat")]
        into = fourier.amplitudes(frame["theta_hat"].astype(float)) ** 2
        single = float((into.max(1) > one_layer.SINGLE * into.sum(1)).mean())
        frequencies = int((used(frame, run.K) > 0).sum())
    else:
        norms, single, frequencies = (
            [frame["embed_norms"], frame["map_norms"]],
            float(frame["single"]),
            int(keys_K.sum()),
        )
    gini = [one_layer.gini(one_layer.by_frequency(one)) for one in norms]
    return {
        "weights": run.weights, "hidden neurons": run.d_mlp, "share of pairs trained": run.frac_train,
        "weight decay": run.weight_decay, "steps": record.step,
        "train accuracy 99 % from step": first("train"), "test accuracy 99 % from step": first("test"),
        **last, f"frequencies in use, of {run.K}": frequencies, "share of neurons of one frequency": single,
        "Gini of frequencies, input side": gini[0], "Gini of frequencies, output side": gini[1],
    }  # fmt: skip
