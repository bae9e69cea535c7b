"""The published figures of the one-layer transformer in print: a Record in, a matplotlib Figure out.

`FIGURES` maps each published name to its function.  What a record does not keep is a ValueError that
says so.  arXiv:2301.05217, figs. 1-7.
"""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from ...analysis import phases
from ...frames import one_layer
from ...records.record import Record
from ..over_time import SHADES
from ..style import COLOURS, HUE
from ..transformer import DECADES, LAYERS, LOSSES, decades, mode_ticks
from .paper import AMOUNT, PLAIN, SMALL, _dress, _figure, _heat


def _last(record: Record, name: str):
    """An array of the last frame."""
    if not record.frames or name not in record.frames[-1]:
        raise ValueError(f"the record {record.run.id} keeps no {name}: train the run here to its end")
    return record.frames[-1][name]


def _named(keys_K: np.ndarray) -> str:
    found = np.flatnonzero(keys_K) + 1
    return f"key frequencies {', '.join(map(str, found))}" if len(found) else "no key frequencies"


def training_curves(record: Record) -> Figure:
    """Accuracy; loss with the progress measures behind it; sum of squared weights.  Shaded by phase, whose ends
    are those of `phases.phases`; an end that was not reached is called so."""
    _last(record, "log_excluded")
    keys = phases.final_keys(record)
    found = phases.progress(record, keys)
    ends = dict(zip(phases.PHASES, phases.phases(record, found), strict=True))
    colours = dict(zip(phases.PHASES, SHADES, strict=True))
    figure, axes = _figure(1, 3, width=3.9, height=3.3)
    for ax in axes:
        for name, span in phases.spans(record, ends.values()).items():
            label = name if ends[name] is not None else f"{name} (end not reached)"
            ax.axvspan(*span, color=colours[name], alpha=0.13, lw=0, label=label if ax is axes[0] else None)
        ax.margins(x=0)
    accuracy, loss, weights = axes
    for group in ("train", "test"):
        for ax, what in ((accuracy, "accuracy"), (loss, "loss")):
            column = record.history[f"{group}_{what}"]
            seen = np.isfinite(column)
            ax.plot(record.steps[seen], column[seen], color=COLOURS[group], lw=1.2, label=group)
    curves = {"restricted, test": "restricted_test", "excluded, train": "excluded", "cosines alone": "trig"}
    for label, name in curves.items():
        if np.isfinite(found[name]).any():
            loss.plot(found["step"], found[name], color=LOSSES[label], lw=1.2, label=label)
    loss.set_yscale("log")
    weights.plot(*record.series("squared_weights"), color=HUE["graphite"], lw=1.2, label="all weights")
    weights.set_ylim(0)
    _dress(accuracy, "training step", "accuracy", f"p = {record.run.p}", legend=True)
    _dress(loss, "training step", "loss (nats)", _named(keys), legend=True)
    _dress(weights, "training step", "sum of squared weights", "", legend=True)
    return figure


def _fourier(record: Record, name: str) -> Figure:
    layer, hue = LAYERS[name]
    norms, keys = one_layer.by_frequency(_last(record, name)), phases.final_keys(record)
    k = np.arange(1, record.run.K + 1)
    figure, ax = _figure(width=5.2, height=2.6)
    ax.bar(k[~keys], norms[~keys], color=COLOURS["others"], label="other")
    ax.bar(k[keys], norms[keys], color=hue, label="key frequency")
    for one in k[keys]:
        ax.annotate(str(one), (one, norms[one - 1]), ha="center", va="bottom", fontsize=SMALL)
    ax.margins(x=0.01, y=0.12)
    title = f"{layer}, step {record.step:,}; Gini {one_layer.gini(norms):.2f}"
    _dress(ax, "frequency k (the constant is left out)", "norm of cosine and sine", title, legend=True)
    return figure


def embedding_fourier(record: Record) -> Figure:
    """Norm of each frequency in W_E over the residues; key frequencies, those of W_L, in colour."""
    return _fourier(record, "embed_norms")


def neuron_logit_fourier(record: Record) -> Figure:
    """Norm of each frequency in W_L = W_out W_U; key frequencies in colour."""
    return _fourier(record, "map_norms")


def _maps(maps_XPP, titles, columns: int, label: str, top: float | None, title: str) -> Figure:
    rows = -(-len(maps_XPP) // columns)
    figure, axes = _figure(rows, columns, width=2.1, height=1.9, squeeze=False)
    for ax, one, name in zip(axes.flat, maps_XPP, titles, strict=False):
        _heat(figure, ax, one, label, AMOUNT, top)
        ax.set_aspect("equal")
        _dress(ax, "b", "a", name)
    for ax in axes.flat[len(maps_XPP) :]:
        ax.set_axis_off()
    figure.suptitle(title, fontsize=PLAIN)
    return figure


def neuron_activations(record: Record) -> Figure:
    """Activation of the purest neurons of each frequency over all pairs."""
    maps, frame = _last(record, "maps"), record.frames[-1]
    titles = [f"neuron {m}, k = {frame['neuron_frequency'][m]}\n{frame['neuron_share'][m]:.0%} of its variance"
              for m in frame["map_neuron"]]  # fmt: skip
    title = f"{frame['single']:.0%} of the neurons have one frequency; step {record.step:,}"
    return _maps(maps, titles, 4, "activation", None, title)


def attention_patterns(record: Record) -> Figure:
    """Attention from "=" to a (above) and to b (below) of each head over all pairs."""
    attention = _last(record, "attention")
    H, _, P, _ = attention.shape
    titles = [f"head {h} to {token}" for token in "ab" for h in range(1, H + 1)]
    maps = attention.transpose(1, 0, 2, 3).reshape(-1, P, P)
    return _maps(maps, titles, H, "attention", 1.0, f'attention from "=", step {record.step:,}')


def logits_2d_fourier(record: Record) -> Figure:
    """Length over the answers of each product of a mode of a and a mode of b, on a log scale; constant left out."""
    lengths = _last(record, "logits_2d")
    figure, ax = _figure(width=5, height=4.4)
    _heat(figure, ax, decades(lengths), f"decades over 1/{10**DECADES:,} of the longest", AMOUNT, DECADES)
    at, names = mode_ticks(len(lengths))
    ax.set_xticks(at, names, rotation=90)
    ax.set_yticks(at, names)
    ax.set_aspect("equal")
    _dress(ax, "mode of b", "mode of a", f"{_named(phases.final_keys(record))}; step {record.step:,}")
    ax.tick_params(labelsize=SMALL - 1)
    return figure


FIGURES: dict[str, Callable[[Record], Figure]] = {
    draw.__name__: draw
    for draw in (
        training_curves, embedding_fourier, neuron_logit_fourier, neuron_activations, attention_patterns,
        logits_2d_fourier,
    )
}  # fmt: skip
