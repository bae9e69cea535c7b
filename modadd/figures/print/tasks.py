"""The figures of the general transformer in print: a Record in, a matplotlib Figure out.

`figures(run)` maps each published name to its function.  What a record does not keep is a ValueError
that says so.  Hues are `k a mod p` of the frequency at hand, so that a ring shows in order.
"""

from collections.abc import Callable
from functools import partial
from itertools import combinations

import numpy as np
from matplotlib.figure import Figure

from ... import tasks
from ...frames import pre_ln as measures
from ...records.record import Record
from ...runs import Run
from .. import tasks as charts
from ..style import COLOURS, ring
from .paper import AMOUNT, SIGNED, SMALL, _dress, _figure, _heat

TRACES = 4  # neurons or dimensions of a gallery


def _frame(record: Record, holding: str):
    last = record.at(holding=holding)
    if last is None:
        what = holding.partition("/")[0]
        raise ValueError(f"the record {record.run.id} keeps no {what}: train the run here to its end")
    return last.frame


def _weights(record: Record):
    return measures.weights_of(_frame(record, "weights/W_E"))


def training(record: Record) -> Figure:
    """Loss and accuracy over training, with the best constant answers."""
    figure, axes = _figure(1, 2, width=3.9, height=2.8)
    for ax, what in zip(axes, ("loss", "accuracy"), strict=True):
        for group in ("train", "test", "held_out"):
            column, name = record.history[f"{group}_{what}"], group.replace("_", " ")
            seen = np.isfinite(column)
            if seen.any():
                ax.plot(record.steps[seen], column[seen], color=COLOURS[name], lw=1, label=name)
        _dress(ax, "training step", what + " (nats)" * (what == "loss"), record.run.id, legend=True)
    axes[0].set_yscale("log")
    axes[1].axhline(measures.constant_accuracy(record.run), color=COLOURS["others"], ls=":", lw=1)
    return figure


def error_map(record: Record, c: int) -> Figure:
    """Wrong answers at one c: orange on test examples, blue on trained ones."""
    answer_PP = measures.answers_at(_frame(record, "answers"), record.run, c)
    if answer_PP is None:
        raise ValueError(f"the record {record.run.id} keeps no answers for c = {c}: train the run here to its end")
    figure, ax = _figure(width=3.6, height=3.4)
    ax.imshow(charts.error_colours(answer_PP, record.run, c), interpolation="nearest")
    wrong = (answer_PP != tasks.truth(record.run)[c])[~tasks.train_maps(record.run)[c]]
    _dress(ax, "b", "a", (f"c = {c}: " * (tasks.maps(record.run) > 1)) + f"{wrong.sum():,} test errors")
    return figure


def tables(record: Record, c: int) -> Figure:
    """The right answers and the network's, as hues."""
    answer_PP = measures.answers_at(_frame(record, "answers"), record.run, c)
    figure, axes = _figure(1, 2, width=3.4, height=3.2)
    pictures = {"right": tasks.truth(record.run)[c], "network": answer_PP}
    for ax, (name, table_PP) in zip(axes, pictures.items(), strict=True):
        ax.imshow(ring(table_PP / record.run.p), interpolation="nearest")
        _dress(ax, "b", "a", name + f", c = {c}" * (tasks.maps(record.run) > 1))
    return figure


def accuracy_by_c(record: Record) -> Figure:
    """Test accuracy against c, over the best constant answer."""
    figure, ax = _figure(width=4.6, height=2.6)
    ax.bar(np.arange(tasks.maps(record.run)), tasks.best_constant(record.run), color=COLOURS["others"], alpha=0.5,
           label="best constant answer")  # fmt: skip
    ax.plot(measures.by_map(_frame(record, "asked")), "o", ms=3, color=COLOURS["test"], label="test examples")
    _dress(ax, "c", "accuracy", record.run.id, legend=True)
    return figure


def embedding(record: Record) -> Figure:
    """Principal components, cosine similarity and spectrum of the token embeddings."""
    frame, embed = _frame(record, "weights/W_E"), _weights(record)["W_E"]
    figure, (left, middle, right) = _figure(1, 3, width=3.4, height=3)
    _ring(left, frame["pca"][:, 0], frame["pca"][:, 1], int(measures.waves(frame["pca"])["frequency"][0]),
          "component 1", "component 2")  # fmt: skip
    _heat(figure, middle, measures.similarity(embed), "cosine similarity", SIGNED)
    _dress(middle, "residue", "residue", f"differences explain {frame['circulant']:.0%}")
    right.bar(np.arange(1, record.run.K + 1), frame["embed_power"], color=COLOURS["input"])
    _dress(right, "frequency k", "share of the variance")
    return figure


def _ring(ax, x, y, k: int, x_title: str, y_title: str):
    order = np.argsort(k * np.arange(len(x)) % len(x))
    closed = np.append(order, order[0])
    ax.plot(x[closed], y[closed], lw=0.6, color=COLOURS["others"])
    ax.scatter(x, y, c=ring(k * np.arange(len(x)) % len(x) / len(x)) / 255, s=9, zorder=2)
    ax.set_aspect("equal", "datalim")
    _dress(ax, x_title, y_title, f"hue: {k}·a mod {len(x)}")


def _gallery(curves_PM, what: str, x_title: str, traces: bool, pairs: bool) -> Figure:
    ranked = measures.common_frequencies(curves_PM)
    chosen = measures.purest(curves_PM, TRACES, ranked[0] if ranked else None).tolist()
    if len(chosen) < 2:
        raise ValueError(f"no two {what}s of this record move with their input: train the run here to its end")
    z, wave = measures.z_scored(curves_PM), measures.waves(curves_PM)
    both = list(combinations(chosen, 2)) if pairs else []
    rows = [[f"{m}"] * 3 for m in chosen] if traces else []
    cells = [f"{m}, {n}" for m, n in both] + ["."] * (-len(both) % 3)
    squares = [cells[start : start + 3] for start in range(0, len(cells), 3)]
    heights = [1.2] * len(rows) + [2.7] * len(squares)
    figure = Figure((8, sum(heights)), layout="constrained")
    axes = figure.subplot_mosaic(rows + squares, height_ratios=heights)
    for m in chosen if traces else ():
        axes[f"{m}"].plot(z[:, m], lw=1.1, color=COLOURS["input"])
        title = f"{what} {m}: k = {wave['frequency'][m]}, φ = {wave['phase'][m] / np.pi:.2f}π"
        _dress(axes[f"{m}"], x_title, "z-score", f"{title}, purity {wave['purity'][m]:.2f}")
    for m, n in both:
        _ring(axes[f"{m}, {n}"], z[:, m], z[:, n], int(wave["frequency"][m]), f"{what} {m} (z)", f"{what} {n} (z)")
    return figure


def embedding_gallery(record: Record) -> Figure:
    """The purest dimensions of the embedding, z-scored: traces, and every pair of them."""
    return _gallery(_weights(record)["W_E"], "dimension", "residue", True, True)


def mlp(record: Record, layer: int, b: int = 0, c: int = 0, pairs: bool = False) -> Figure:
    """The purest neurons of a layer along a = 0 .. p - 1: traces, or every pair of them."""
    seen = measures.read(record.run, _weights(record), measures.path(record.run, b, c))
    return _gallery(seen["neurons"][layer], "neuron", "a", not pairs, pairs)


def attention(record: Record, example: tuple[int, ...] = (1, 2, 3)) -> Figure:
    """Who reads whom in each head of each layer, for one question."""
    run, L = record.run, tasks.length(record.run)
    token = np.array([example[:L]]) % run.p
    share = measures.read(run, _weights(record), token)["attention"][:, 0]
    figure, axes = _figure(run.layers, run.heads, 1.9, 1.8, squeeze=False)
    for (y, h), ax in np.ndenumerate(axes):
        _heat(figure, ax, share[y, h], "share", AMOUNT, 1.0)
        names = [f"{name} = {value}" for name, value in zip("abc", token[0], strict=False)]
        ax.set_xticks(range(L), names, fontsize=SMALL, rotation=90)
        ax.set_yticks(range(L), names, fontsize=SMALL)
        ax.set_title(f"layer {y + 1}, head {h + 1}", fontsize=SMALL)
    return figure


def figures(run: Run) -> dict[str, Callable[[Record], Figure]]:
    """What is drawn of a run, by name; the numbers of the published folders are left out, as they differ by task."""
    at = "" if run.task == "addition" else "_c0"
    made: dict[str, Callable[[Record], Figure]] = {
        "training": training,
        "embedding": embedding,
        "embedding_circuit_gallery": embedding_gallery,
        "attention": attention,
    }
    for c in tasks.shown_maps(run).tolist():
        name = "" if run.task == "addition" else f"_c{c}"
        made |= {f"error_map{name}": partial(error_map, c=c), f"tables{name}": partial(tables, c=c)}
    for layer in range(run.layers):
        made |= {f"mlp_traces_layer{layer}_b0{at}": partial(mlp, layer=layer),
                 f"mlp_pairgrid_layer{layer}_b0{at}": partial(mlp, layer=layer, pairs=True)}  # fmt: skip
    return made if run.task == "addition" else made | {"accuracy_by_c": accuracy_by_c}
