"""The general transformer on its tasks: where it errs, what it answers, its embedding, neurons and attention."""

import altair as alt
import numpy as np
import pyarrow as pa

from .. import tasks
from ..frames import pre_ln as measures
from ..frames.schema import Frame
from ..records.record import Record
from ..runs import Run
from . import style
from .chart import Chart, drawing
from .curves import kept
from .fields import SIDE, Side, counted, heatmap, image
from .over_time import Axis, over_time
from .style import (
    COLOURS,
    DASHED,
    HEIGHT,
    QUIET,
    SEQUENTIAL,
    few,
    named,
    ring,
    ring_legend,
    ring_scale,
    share_axis,
    square_axes,
    table,
    tips,
)


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)


# Over training


GROUPS = {"train": "train", "test": "test", "held out": "held_out"}


def history(record: Record, what: str, step: int | None = None, log_steps: bool = True) -> Chart:
    """Loss on a log axis, or accuracy beside the best constant answer: the batch of every step, and the test examples
    where they were looked at."""
    rows = kept(record, what, GROUPS)
    if what == "loss":
        told = "Mean cross-entropy: of the batch at each step, and of test examples every hundred steps."
        drawn = over_time(rows, COLOURS, Axis("loss (nats)", "log"), step, log_steps)
        return Chart(drawn, "Loss", told + style.at_the_edge(rows["value"]), "Loss by training step", rows)
    free = measures.constant_accuracy(record.run)
    drawn = over_time(rows, COLOURS, Axis("accuracy", "share"), step, log_steps, levels=(free,))
    told = f"Dashed: the most common answers, {free:.1%}. A late rise of test alone is grokking."
    return Chart(drawn, "Accuracy", told, "Accuracy by training step", rows)


def collapse_table(record: Record) -> pa.Table:
    """Test accuracy for each c in every frame that counted it."""
    steps, asked = record.series("asked")
    right = record.series("right")[1]
    s, c = np.nonzero(asked)
    return table(step=steps[s], c=c, right=right[s, c], asked=asked[s, c], accuracy=right[s, c] / asked[s, c])


def collapse(record: Record, height: int = 250) -> Chart:
    """Share of wrong test answers, a row for each c and a column for each frame."""
    steps, asked = record.series("asked")
    wrong_CS = 1 - (record.series("right")[1] / np.maximum(asked, 1)).T
    every = -(-len(steps) // 8)
    written = tuple((i + 0.5, f"{steps[i]:,}") for i in range(0, len(steps), every))
    x = Side("training step of the frame", tuple(f"{step:,}" for step in steps), written)
    last = wrong_CS[:, -1]
    return Chart(
        heatmap(wrong_CS, x, counted("c", len(wrong_CS)), "share wrong", diverging=False, top=1.0, height=height),
        "The error collapses",
        f"Wrong test answers, a row for each c, a column for each frame. At the end: {last.min():.1%} to "
        f"{last.max():.1%}.",
        "Share of wrong test answers for each c by training step", lambda: collapse_table(record),
    )  # fmt: skip


# At one moment


def by_map_table(frame: Frame, run: Run) -> pa.Table:
    """For each c: test accuracy, test examples asked, different answers there are, and the best constant answer."""
    return table(
        c=np.arange(tasks.maps(run)), accuracy=measures.by_map(frame), best_constant=tasks.best_constant(run),
        answers=tasks.distinct(run), asked=frame["asked"],
    )  # fmt: skip


def by_map(frame: Frame, run: Run, step: int, height: int = HEIGHT) -> Chart:
    """Test accuracy against c; bars: what one constant answer would get."""
    rows = by_map_table(frame, run)
    value = rows["accuracy"].to_numpy()
    return Chart(
        drawing(_by_map, {"each": rows}, C=len(rows), height=height), f"Accuracy for each c at step {step:,}",
        f"Dots: test examples, {np.nanmin(value):.1%} to {np.nanmax(value):.1%}. Bars: what the most common answer "
        "gets for this c; only the part above counts.", rows=rows,
    )  # fmt: skip


def _by_map(C, height):
    x = alt.X("c:O", title="c", axis=few(C, first=0))
    bars = (
        alt.Chart(named("each"))
        .mark_bar(color=COLOURS["others"], opacity=0.5)
        .encode(x=x, y=share_axis("test accuracy", "best_constant"))
    )
    dots = (
        alt.Chart(named("each"))
        .mark_circle(size=48, opacity=1, color=COLOURS["test"])
        .encode(
            x=x, y=share_axis("test accuracy", "accuracy"),
            tooltip=[
                alt.Tooltip("c:O", title="c"), alt.Tooltip("accuracy:Q", title="test accuracy", format=".2%"),
                alt.Tooltip("best_constant:Q", title="best constant answer", format=".2%"),
                alt.Tooltip("answers:Q", title="different answers"), alt.Tooltip("asked:Q", title="test examples"),
            ],
        )
    )  # fmt: skip
    return alt.layer(bars, dots, height=height)


def map_table(answer_PP: np.ndarray, run: Run, c: int) -> pa.Table:
    """One row an example of this c: what it is, the right answer and the network's."""
    a, b = np.divmod(np.arange(run.p**2), run.p)
    return table(
        a=a, b=b, c=np.full(len(a), c), trained=tasks.train_maps(run)[c].ravel(),
        right_answer=tasks.truth(run)[c].ravel(), answer=answer_PP.ravel(),
    )  # fmt: skip


def error_colours(answer_PP: np.ndarray, run: Run, c: int) -> np.ndarray:
    """Wrong answers in the colour of test or of trained examples, right ones grey, uint8 [P, P, 3]."""
    wrong, train = answer_PP != tasks.truth(run)[c], tasks.train_maps(run)[c]
    return np.stack([_rgb(QUIET[style.theme()]), _rgb(COLOURS["test"]), _rgb(COLOURS["train"])])[
        np.where(wrong, 1 + train, 0)
    ]


def errors(answer_PP: np.ndarray, run: Run, c: int, step: int, side: int = 260) -> Chart:
    """Where the answers are wrong, in `error_colours`."""
    count = [f"{bad:,} of {all_:,}" for bad, all_ in measures.wrong(answer_PP, run, c).values()]
    which = f", c = {c}" if tasks.maps(run) > 1 else ""
    return Chart(
        image(error_colours(answer_PP, run, c), counted("b", run.p), counted("a", run.p), side), f"Errors{which}",
        f"Step {step:,}. Wrong: {count[0]} test examples, {count[1]} trained ones.",
        f"Wrong answers{which} at step {step:,}", lambda: map_table(answer_PP, run, c),
    )  # fmt: skip


def answers(answer_PP: np.ndarray, run: Run, c: int, title: str, question: str, side: int = 260) -> Chart:
    """A table of answers as hues: once around the colour circle from 0 to p - 1."""
    p = run.p
    return Chart(
        image(ring(answer_PP / p), counted("b", p), counted("a", p), side), title, question,
        rows=lambda: map_table(answer_PP, run, c),
    )  # fmt: skip


# The embedding


def spectrum_table(power_K: np.ndarray) -> pa.Table:
    return table(k=np.arange(1, len(power_K) + 1), share=power_K)


def spectrum(power_K: np.ndarray, step: int, height: int = HEIGHT) -> Chart:
    """Share of each frequency in the embedding, and what an even spread would be."""
    rows, K = spectrum_table(power_K), len(power_K)
    return Chart(
        drawing(_spectrum, {"bars": rows, "even": table(even=[1 / K])}, K=K, height=height),
        f"k = {power_K.argmax() + 1} leads with {power_K.max():.0%} at step {step:,}",
        f"Share of each frequency in the variance over the residues. Dashed: an even spread, {1 / K:.1%}.", rows=rows,
    )  # fmt: skip


def _spectrum(K, height):
    bars = alt.Chart(named("bars")).mark_bar(color=COLOURS["input"]).encode(
        x=alt.X("k:O", title="frequency k", axis=few(K)),
        y=alt.Y("share:Q", title="share of the variance", axis=alt.Axis(format="%")),
        tooltip=[alt.Tooltip("k:O", title="frequency k"), alt.Tooltip("share:Q", title="share", format=".1%")],
    )  # fmt: skip
    even = alt.Chart(named("even")).mark_rule(**DASHED).encode(y=alt.Y("even:Q"))
    return alt.layer(bars, even, height=height)


def similarity(embed_PD: np.ndarray, explained: float, step: int, side: int = SIDE) -> Chart:
    """Cosine similarity of the embeddings of every two residues, red alike and blue opposed."""
    p = len(embed_PD)
    field = heatmap(
        measures.similarity(embed_PD), counted("residue", p), counted("residue", p), "cosine", height=side, square=True,
        top=1.0,
    )  # fmt: skip
    return Chart(
        field, f"Differences explain {explained:.0%} of the similarities",
        f"Cosine between two rows of the embedding at step {step:,}. Stripes along the diagonal: a circulant matrix.",
        "Cosine similarity of the embeddings of every two residues", lambda: similarity_table(embed_PD),
    )  # fmt: skip


def similarity_table(embed_PD: np.ndarray) -> pa.Table:
    """One row per pair of residues."""
    values = measures.similarity(embed_PD)
    i, j = np.divmod(np.arange(values.size), len(values))
    return table(residue=i, other=j, similarity=values.ravel())


def curves_table(curve_PM: np.ndarray, chosen: np.ndarray) -> pa.Table:
    """The chosen columns, z-scored, one row a residue, with their frequency, phase and purity."""
    P, wave, z = len(curve_PM), measures.waves(curve_PM), measures.z_scored(curve_PM)
    return table(
        column=np.repeat(chosen, P), residue=np.tile(np.arange(P), len(chosen)), value=z[:, chosen].T.ravel(),
        **{name: np.repeat(wave[name][chosen], P) for name in wave},
    )  # fmt: skip


def traces(curve_PM: np.ndarray, chosen: np.ndarray, x_title: str, what: str, row: int = 52) -> Chart:
    """The chosen columns over the residues, z-scored, one below the other, each named with what leads it."""
    wave, z = measures.waves(curve_PM), measures.z_scored(curve_PM)
    gap = 4.5
    names = tuple(f"{what} {m}: k {wave['frequency'][m]}, φ {wave['phase'][m] / np.pi:.2f}π" for m in chosen)
    rows = pa.concat_tables(
        [table(residue=np.arange(len(z)), value=z[:, m], shifted=z[:, m] - gap * place, name=np.full(len(z), name))
         for place, (m, name) in enumerate(zip(chosen, names, strict=True))]
    )  # fmt: skip
    how = {"names": names, "gap": gap, "x_title": x_title, "what": what, "row": row}
    return Chart(
        drawing(_traces, {"curves": rows}, **how), f"The purest {what}s",
        "Z-scores, with frequency k and phase φ. A wave has a period, noise has none.",
        rows=lambda: curves_table(curve_PM, chosen),
    )  # fmt: skip


def _traces(names, gap, x_title, what, row):
    label = f"{list(names)!r}[round(-datum.value / {gap})]"
    axis = alt.Axis(values=[-gap * place for place in range(len(names))], grid=False, labelLimit=150, labelExpr=label)
    shifted = alt.Scale(domain=[2.5 - gap * len(names), 3], nice=False)
    return alt.Chart(named("curves"), height=row * len(names)).mark_line(strokeWidth=1.5).encode(
        x=alt.X("residue:Q", title=x_title, scale=alt.Scale(nice=False)),
        y=alt.Y("shifted:Q", title=None, axis=axis, scale=shifted),
        color=alt.Color("name:N", sort=list(names), legend=None),
        tooltip=tips(name=what, residue=x_title, value="z-score"),
    )  # fmt: skip


def pair_table(x: np.ndarray, y: np.ndarray, k: int) -> pa.Table:
    a = np.arange(len(x))
    return table(residue=a, turn=k * a % len(x), x=x, y=y)


def pair(
    x: np.ndarray, y: np.ndarray, k: int, titles: tuple[str, str], title: str, caption: str, side: int = 250
) -> Chart:
    """One curve over the residues against another, joined and coloured in the order of k a mod p: two waves of
    frequency k draw a ring with the hues in order."""
    rows = pair_table(x, y, k)
    closed = pa.concat_tables([rows.sort_by("turn"), rows.sort_by("turn").slice(0, 1)])
    closed = closed.append_column("at", pa.array(np.arange(len(closed))))
    reach = 1.1 * max(1e-9, float(np.abs([x, y]).max()))
    how = {"p": len(x), "k": k, "titles": tuple(titles), "reach": reach, "side": side}
    return Chart(drawing(_pair, {"web": closed, "dots": rows}, **how), title, caption, rows=rows)


def _pair(p, k, titles, reach, side):
    axes = square_axes(*titles, reach)
    web = alt.Chart(named("web")).mark_line(strokeWidth=0.8, color=COLOURS["others"])
    key = ring_legend(f"{k}·a mod {p}", 0, p, 4, 90)
    dots = alt.Chart(named("dots")).mark_circle(size=40, opacity=1).encode(
        **axes, color=alt.Color("turn:Q", scale=ring_scale(0, p), legend=key),
        tooltip=tips(residue="residue", turn=f"{k}·a mod {p}"),
    )  # fmt: skip
    return alt.layer(web.encode(**axes, order=alt.Order("at:Q")), dots, height=side, width=side)


# Attention


def attention_table(attention_HLL: np.ndarray, names: list[str]) -> pa.Table:
    """How much each token reads of itself and of those before it, head by head."""
    h, i, j = np.nonzero(np.broadcast_to(np.tri(len(names), dtype=bool), attention_HLL.shape))
    return table(head=h, token=np.array(names)[i], reads=np.array(names)[j], share=attention_HLL[h, i, j])


def attention(attention_HLL: np.ndarray, names: list[str], layer: int, cell: int = 42) -> Chart:
    """A square per head, side by side: rows read, columns are read."""
    rows = attention_table(attention_HLL, names)
    column = [f"{head + 1}·{name}" for head in range(len(attention_HLL)) for name in names]
    place = np.array(rows["head"]) * len(names) + [names.index(name) for name in rows["reads"].to_pylist()]
    rows = rows.append_column("column", pa.array(np.array(column)[place]))
    how = {"column": tuple(column), "names": tuple(names), "cell": cell, "colours": SEQUENTIAL[style.theme()]}
    return Chart(
        drawing(_attention, {"cells": rows}, **how), f"Layer {layer}",
        "A token reads itself and what stands before it; in each head a row sums to 1.",
        f"Attention of each head in layer {layer}", rows,
    )  # fmt: skip


def _attention(column, names, cell, colours):
    x = alt.X("column:N", title="head · token that is read", sort=list(column), scale=alt.Scale(domain=list(column)),
              axis=alt.Axis(labelAngle=0))  # fmt: skip
    share = alt.Color(
        "share:Q",
        scale=alt.Scale(domain=[0, 1], range=list(colours), interpolate="rgb"),
        legend=alt.Legend(
            orient="top", title="share of attention", titleOrient="left", format="%", tickCount=3, gradientLength=140
        ),
    )
    says = {"head": "head, from 0", "token": "reads", "reads": "is read", "share": "share"}
    size = {"width": cell * len(column), "height": cell * len(names)}
    return alt.Chart(named("cells"), **size).mark_rect().encode(
        x=x, y=alt.Y("token:N", title="token that reads", sort=list(names)), color=share, tooltip=tips(**says)
    )  # fmt: skip
