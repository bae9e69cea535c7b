"""Inside the one-layer transformer: progress measures with their phases, Fourier space, circles, maps of
neurons and of attention; and the same modulus in the MLP beside it.  arXiv:2301.05217, figs. 2-7."""

import altair as alt
import numpy as np
import pyarrow as pa

from ..analysis.phases import PHASES, spans
from ..frames import one_layer
from ..frames.schema import Frame
from ..maths import fourier
from ..maths import measures as stage_measures
from ..records.record import Record
from . import fields, style
from .chart import Chart, drawing
from .curves import kept
from .fields import counted, heatmap, png_uri
from .over_time import Axis, over_time
from .style import (
    COLOURS,
    DASHED,
    HEIGHT,
    HUE,
    SEQUENTIAL,
    SEVERAL,
    few,
    hues,
    legend,
    long,
    named,
    ramp,
    ring_legend,
    ring_scale,
    square_axes,
    table,
    tips,
)

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
DECADES = 3  # of the logits in Fourier space that are told apart


LOSS, SHARE = Axis("loss (nats)", "log"), Axis("share, or Gini", "unit")
GROUPS = {"train": "train", "test": "test", "held out": "held_out"}


def stages(record: Record, ends) -> dict:
    """The ground of a curve of this record, given the ends of its phases."""
    return {"stages": spans(record, ends), "names": PHASES}


def history_table(record: Record, what: str) -> pa.Table:
    """Loss or accuracy of the groups by step, each where it was looked at."""
    return kept(record, what, GROUPS)


def history(record: Record, what: str, step: int | None = None, log_steps: bool = True, **ground) -> Chart:
    """`loss` (nats, log axis) or `accuracy` of training, test and held-out pairs."""
    rows = history_table(record, what)
    axis = LOSS if what == "loss" else Axis("accuracy", "share")
    told = "Test pairs are looked at now and then. Held out: (b, a) is not trained either." if what == "loss" else (
        f"Guessing is right in {1 / record.run.p:.1%}.")  # fmt: skip
    return Chart(
        over_time(rows, COLOURS, axis, step, log_steps, **ground), what.capitalize(),
        told + (style.at_the_edge(rows["value"]) if what == "loss" else ""),
        f"{what.capitalize()} of training, test and held-out pairs by training step", rows,
    )  # fmt: skip


def progress_table(record: Record, found: dict[str, np.ndarray]) -> pa.Table:
    """Train and test loss beside restricted, excluded and cosines-alone loss by step."""
    frames = {"restricted, test": found["restricted_test"], "excluded, train": found["excluded"],
              "cosines alone": found["trig"]}  # fmt: skip
    both = {name: GROUPS[name] for name in ("train", "test")}
    return pa.concat_tables([kept(record, "loss", both), long("step", found["step"], frames)])


def progress(record: Record, found, step: int | None = None, log_steps: bool = True, **ground) -> Chart:
    """Curves of `progress_table` on a log axis."""
    rows = progress_table(record, found)
    return Chart(
        over_time(rows, LOSSES, LOSS, step, log_steps, height=280, **ground), "Hidden progress",
        "Restricted: of the logits only the constant and the key cosines of a + b are kept; test pairs. Excluded: one "
        "key frequency is taken away, the one that hurts most; training pairs. Cosines alone: logits Σ aₖ cos wₖ(a + "
        f"b − c), the same for all pairs. At the last frame: restricted {found['restricted_test'][-1]:.3g}, excluded "
        f"{found['excluded'][-1]:.3g} nats." + style.at_the_edge(rows["value"]), rows=rows,
    )  # fmt: skip


def excluded_table(found, keys_K, together: tuple[np.ndarray, np.ndarray] | None = None) -> pa.Table:
    """Training loss with one key frequency excluded each, and with all of them where that was computed."""
    each = {f"without k = {k + 1}": found["excluded_K"][:, k] for k in np.flatnonzero(keys_K)}
    rows = long("step", found["step"], each)
    return (
        rows if together is None else pa.concat_tables([rows, long("step", together[0], {"without all": together[1]})])
    )


def excluded(found, keys_K, step=None, log_steps=True, together=None, **ground) -> Chart:
    """Curves of `excluded_table` on a log axis."""
    colours = {f"without k = {k + 1}": SEVERAL[i % len(SEVERAL)] for i, k in enumerate(np.flatnonzero(keys_K))}
    colours |= {} if together is None else {"without all": COLOURS["winner"]}
    rows = excluded_table(found, keys_K, together)
    return Chart(
        over_time(rows, colours, LOSS, step, log_steps, **ground), "Training loss without a key frequency",
        "Memory does not need a frequency; where a curve turns up, the answers have begun to rest on it."
        + style.at_the_edge(rows["value"]), rows=rows,
    )  # fmt: skip


def shares_table(record: Record, found) -> pa.Table:
    """Sparsity and shares by step, each between 0 and 1."""
    names = ("gini_embed", "gini_map", None, "single")
    columns = [found["fve"] if name is None else record.series(name)[1] for name in names]
    return long("step", found["step"], dict(zip(SHARES, columns, strict=True)))


def shares(record: Record, found, step=None, log_steps=True, **ground) -> Chart:
    """Curves of `shares_table`."""
    rows = shares_table(record, found)
    return Chart(
        over_time(rows, SHARES, SHARE, step, log_steps, **ground), "Sparsity and shares",
        "Gini of the norms above; variance of the logits, centred over c for each pair, in the key cosines; share of "
        f"all neurons with more than {one_layer.SINGLE:.0%} of their variance in one frequency.", rows=rows,
    )  # fmt: skip


def squared_weights(record: Record, step=None, log_steps=True, **ground) -> Chart:
    """Sum of all squared weights: what weight decay shrinks."""
    rows = long("step", record.frame_steps, {"squared weights": record.series("squared_weights")[1]})
    value = rows["value"].to_numpy()
    return Chart(
        over_time(rows, {"squared weights": HUE["graphite"]}, Axis("sum of squares"), step, log_steps, **ground),
        "Squared weights",
        f"Decay favours the circuit, which needs less weight than memory: at most {value.max():,.0f}, "
        f"at the end {value[-1]:,.0f}.",
        rows=rows,
    )


def spectrum_table(norms_P: np.ndarray, keys_K: np.ndarray) -> pa.Table:
    """Length of cos k and sin k together for each frequency, and whether it is key."""
    kind = np.where(keys_K, "key frequency", "other")
    return table(k=np.arange(1, len(keys_K) + 1), value=one_layer.by_frequency(norms_P), curve=kind)


def spectrum(name: str, frame: Frame, keys_K, step: int, height: int = HEIGHT) -> Chart:
    """Bars of `spectrum_table` for one of LAYERS, key frequencies in colour; of W_L dashed: the level that separates
    them."""
    norms_P, (layer, hue) = frame[name], LAYERS[name]
    line = level(one_layer.by_frequency(norms_P), keys_K) if name == "map_norms" else None
    rows = spectrum_table(norms_P, keys_K)
    tables = {"bars": rows, "level": table(level=np.array([] if line is None else [line], float))}
    return Chart(
        drawing(_spectrum, tables, K=len(keys_K), hue=hue, height=height), f"{layer} at step {step:,}",
        "Length of cosine and sine together: at first all are alike, a circuit is a few tall bars. The "
        "constant, left out, "
        f"has length {norms_P[0]:.2g}." + " Dashed: what separates key from other." * (line is not None), rows=rows,
    )  # fmt: skip


def _spectrum(K, hue, height):
    colour = hues(
        ("key frequency", "other"), {"key frequency": hue, "other": COLOURS["others"]}, legend=legend("square")
    )
    bars = alt.Chart(named("bars")).mark_bar().encode(
        x=alt.X("k:O", title="frequency k", axis=few(K)), y=alt.Y("value:Q", title="norm (weight units)"), color=colour,
        tooltip=tips(k="frequency k", value="norm", curve="kind"),
    )  # fmt: skip
    return alt.layer(bars, alt.Chart(named("level")).mark_rule(**DASHED).encode(y=alt.Y("level:Q")), height=height)


def level(norms_K: np.ndarray, keys_K: np.ndarray) -> float | None:
    """Half-way, in the logarithm, between the least key norm and the largest other; None if there is no such gap."""
    if not keys_K.any() or keys_K.all() or norms_K[keys_K].min() <= norms_K[~keys_K].max():
        return None
    return float(np.sqrt(norms_K[keys_K].min() * max(norms_K[~keys_K].max(), 1e-6)))


def circle_table(points_P2: np.ndarray, k: int) -> pa.Table:
    """The residues on the plane of frequency k, and their place k a mod p around its circle."""
    a = np.arange(len(points_P2))
    return table(a=a, turn=k * a % len(a), x=points_P2[:, 0], y=points_P2[:, 1])


def circle(points_P2: np.ndarray, k: int, share: float, step: int, side: int = 300) -> Chart:
    """Dots: the embeddings of the residues on the plane of frequency k; joined in the order of k a mod p."""
    rows = circle_table(points_P2, k)
    closed = pa.concat_tables([rows.sort_by("turn"), rows.sort_by("turn").slice(0, 1)])
    closed = closed.append_column("at", pa.array(np.arange(len(closed))))
    reach = 1.15 * float(np.abs(points_P2).max()) or 1.0
    radius = np.hypot(*points_P2.T)
    return Chart(
        drawing(_circle, {"web": closed, "dots": rows}, p=len(rows), reach=reach, side=side),
        f"k = {k}: {share:.0%} of the embedding",
        f"Step {step:,}. Embeddings of the residues on the plane where cos wₖa and sin wₖa are written, joined in the "
        f"order of k·a mod p. Radius {radius.mean():.2g} ± {radius.std():.1g}.", rows=rows,
    )  # fmt: skip


def _circle(p, reach, side):
    axes = square_axes("for cos wₖa", "for sin wₖa", reach)
    web = alt.Chart(named("web")).mark_line(strokeWidth=0.8, color=COLOURS["others"])
    key = ring_legend("k·a mod p", 0, p)
    dots = (
        alt.Chart(named("dots"))
        .mark_circle(opacity=1, size=42)
        .encode(
            **axes,
            color=alt.Color("turn:Q", scale=ring_scale(0, p), legend=key),
            tooltip=tips(a="residue a", turn="k·a mod p"),
        )
    )
    return alt.layer(web.encode(**axes, order=alt.Order("at:Q")), dots, height=side, width=side)


def tiles(maps_XPP: np.ndarray, titles: list[str], columns: int = 4, top: float | None = None, side: int = 150):
    """Small square maps over (a, b), a down and b across, from 0 to `top` or to each map's own largest value."""
    colours = SEQUENTIAL[style.theme()]
    r, c = np.divmod(np.arange(len(maps_XPP)), columns)
    tops = [top or float(one.max()) or 1.0 for one in maps_XPP]
    uri = np.array([png_uri(ramp((one / high).clip(0, 1), colours)) for one, high in zip(maps_XPP, tops, strict=True)])
    shown = table(
        uri=uri, title=np.array(titles), x=c * (side + 14.0), x2=c * (side + 14.0) + side, y=r * (side + 24.0) + 18,
        y2=r * (side + 24.0) + 18 + side,
    )  # fmt: skip
    return drawing(_tiles, {"tiles": shown}, width=columns * (side + 14), height=(int(r[-1]) + 1) * (side + 24) + 8)


def _tiles(width, height):
    x = alt.X("x:Q", scale=alt.Scale(domain=[0, width], nice=False), axis=None)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[height, 0], nice=False), axis=None)
    maps, how = alt.Chart(named("tiles")), {"fontSize": 12, "color": COLOURS["others"], "limit": 0}
    pictures = maps.mark_image(smooth=False, aspect=False).encode(
        url=alt.Url("uri:N"), x=x, x2=alt.X2("x2"), y=y, y2=alt.Y2("y2")
    )
    names = maps.mark_text(dy=-7, align="left", **how).encode(x=x, y=y, text="title:N")
    return alt.layer(pictures, names, width=width, height=height)


def neuron_maps(frame: Frame, step: int) -> Chart:
    """The activations of the purest neurons of each frequency."""
    maps, m = frame["maps"], frame["map_neuron"]
    names = [f"{i}: k = {frame['neuron_frequency'][i]}, {frame['neuron_share'][i]:.0%}" for i in m]
    tops = maps.max((1, 2))
    return Chart(
        tiles(maps, names), f"The purest neurons of each frequency at step {step:,}",
        "Activation, a down and b across, from 0 to the neuron's largest value, here "
        f"{tops.min():.2g} to {tops.max():.2g}. Titles: neuron, its frequency, that frequency's share of its variance.",
        rows=lambda: maps_table(maps, names),
    )  # fmt: skip


def attention_maps(frame: Frame, heads: int, step: int) -> Chart:
    """Where the last token looks, by head and operand."""
    p = frame["attention"].shape[-1]
    maps = frame["attention"].transpose(1, 0, 2, 3).reshape(-1, p, p)
    names = [f"head {h} to {token}" for token in "ab" for h in range(1, heads + 1)]
    return Chart(
        tiles(maps, names, heads, 1.0), f"Where “=” looks at step {step:,}",
        f"Attention from “=”, a down and b across, from 0 to 1. The rest, on average {1 - 2 * maps.mean():.1%}, goes "
        "to “=” itself. Stripes: a head that weighs a wave in a against one in b.",
        rows=lambda: maps_table(maps, names),
    )  # fmt: skip


def maps_table(maps_XPP: np.ndarray, names: list[str]) -> pa.Table:
    """One row an ordered pair, one column a map."""
    a, b = np.divmod(np.arange(maps_XPP[0].size), len(maps_XPP[0]))
    return table(a=a, b=b, **{name: one.ravel() for name, one in zip(names, maps_XPP, strict=True)})


def pairs(probability_PP: np.ndarray, step: int, side: int = fields.SIDE) -> Chart:
    """Probability of the right answer to every ordered pair, a down and b across."""
    p = len(probability_PP)
    field = heatmap(
        probability_PP,
        counted("b", p),
        counted("a", p),
        "probability",
        diverging=False,
        height=side,
        square=True,
        top=1.0,
        cells=0,
    )
    return Chart(
        field, f"Which sums does it know at step {step:,}?",
        f"Probability of the right answer, a down and b across: above one half in {(probability_PP > 0.5).mean():.0%} "
        "of the pairs.", rows=lambda: maps_table(probability_PP[None], ["probability"]),
    )  # fmt: skip


def strongest(lengths_PP: np.ndarray, count: int = 12) -> list[tuple[str, str, float]]:
    """(mode of a, mode of b, share of the power without the constant) of the largest products of modes."""
    power = np.asarray(lengths_PP, float) ** 2
    power[0, 0] = 0
    names, order = fourier.mode_names(len(power)), np.argsort(-power, axis=None)[:count]
    total = power.sum() or 1.0
    return [(names[i // len(power)], names[i % len(power)], float(power.flat[i] / total)) for i in order]


def modes_table(lengths_PP: np.ndarray) -> pa.Table:
    """One row per product of modes: its length over the answers."""
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


def modes(lengths_PP: np.ndarray, step: int, keys: int, side: int = 380) -> Chart:
    """The logits as products of a mode of a (down) and of b (across), in `decades`."""
    side_ = fields.modes(len(lengths_PP))
    field = heatmap(
        decades(lengths_PP), side_._replace(title="mode of b"), side_._replace(title="mode of a"),
        f"decades over 1/{10**DECADES:,}", diverging=False, height=side, square=True, cells=0,
    )  # fmt: skip
    held = sum(share for *_, share in strongest(lengths_PP, 4 * max(1, keys)))
    return Chart(
        field, f"In two-dimensional Fourier space, step {step:,}",
        f"Length over the answers of each product of modes; log scale, {DECADES} decades, constant left out. A network "
        f"that adds has four strong cells per key frequency; the {4 * max(1, keys)} strongest hold {held:.0%} of the "
        "power.",
        rows=lambda: modes_table(lengths_PP),
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


def use(record: Record, name: str, hue: str, height: int = HEIGHT) -> Chart:
    """Bars: the share of neurons at each frequency."""
    counts_K = used(record.frames[-1], record.run.K)
    return Chart(
        drawing(_use, {"bars": use_table(counts_K)}, K=len(counts_K), hue=hue, height=height),
        f"Frequencies used, {name}",
        f"Last frame; {int(counts_K.sum()):,} neurons, {int((counts_K > 0).sum())} of {len(counts_K)} frequencies.",
    )


def _use(K, hue, height):
    return alt.Chart(named("bars"), height=height).mark_bar(color=hue).encode(
        x=alt.X("k:O", title="frequency k", axis=few(K)),
        y=alt.Y("share:Q", title="share of those neurons", axis=alt.Axis(format="%", tickCount=4)),
        tooltip=[alt.Tooltip("k:O", title="frequency k"), alt.Tooltip("neurons:Q", title="neurons"),
                 alt.Tooltip("share:Q", title="share", format=".1%")],
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
