"""The general transformer on its tasks: where it errs, what it answers, its embedding, neurons and attention."""

import altair as alt
import numpy as np
import pyarrow as pa

from .. import tasks
from ..frames import pre_ln as measures
from ..frames.schema import Frame
from ..records.record import Record, thin_rows
from ..runs import Run
from .curves import POINTS
from .style import (
    COLOURS,
    SEQUENTIAL,
    Drawing,
    colour,
    drawing,
    heatmap,
    image,
    long,
    named,
    ring,
    ring_scale,
    step_axis,
    table,
    tips,
    with_step,
)
from .weights import square

RIGHT = "#d9dde2"  # a right answer is quiet


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)


# Over training


def history_table(record: Record, what: str) -> pa.Table:
    """Loss or accuracy by step: the batch of every step, and the test examples where they were looked at."""
    columns = {name: record.history[f"{group}_{what}"]
               for name, group in (("train", "train"), ("test", "test"), ("held out", "held_out"))}  # fmt: skip
    parts = []
    for name, column in columns.items():
        seen = np.flatnonzero(np.isfinite(column))
        kept = seen[thin_rows([column[seen]], POINTS)]
        parts.append(long("step", record.steps[kept], {name: column[kept]}))
    return pa.concat_tables(parts)


def history(record: Record, what: str, step: int | None = None, log_steps: bool = False) -> alt.LayerChart:
    """Curves of `history_table`: loss on a log axis, accuracy beside the best constant answer."""
    rows = history_table(record, what)
    names = list(dict.fromkeys(rows["curve"].to_pylist()))
    y = alt.Y("value:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    if what == "loss":
        y = alt.Y("value:Q", title="loss (nats)", scale=alt.Scale(type="log"), axis=alt.Axis(format=".0e", tickCount=5))
    lines = (
        alt.Chart(rows)
        .mark_line(strokeWidth=1.6, clip=True)
        .encode(
            x=step_axis(log_steps), y=y, color=colour(names), tooltip=tips(curve="curve", step="step", value="value")
        )
    )
    if what == "accuracy":
        level = alt.Chart(table(level=[measures.constant_accuracy(record.run)])).mark_rule(
            strokeDash=[2, 3], color=COLOURS["others"]
        )
        lines = alt.layer(level.encode(y=alt.Y("level:Q")), lines)
    return with_step(lines, step, rows)


def collapse_table(record: Record) -> pa.Table:
    """Test accuracy for each c in every frame that counted it."""
    steps, asked = record.series("asked")
    right = record.series("right")[1]
    s, c = np.nonzero(asked)
    return table(step=steps[s], c=c, right=right[s, c], asked=asked[s, c], accuracy=right[s, c] / asked[s, c])


def collapse(record: Record, height: int = 300) -> alt.Chart:
    """Share of wrong test answers, a row for each c and a column for each frame: dark is wrong."""
    steps, asked = record.series("asked")
    wrong_CS = 1 - (record.series("right")[1] / np.maximum(asked, 1)).T
    return heatmap(
        wrong_CS, "training step of the frame", "c", "share of wrong test answers",
        x_names=[f"{step:,}" for step in steps], diverging=False, height=height,
    )  # fmt: skip


# At one moment


def by_map_table(frame: Frame, run: Run) -> pa.Table:
    """For each c: test accuracy, test examples asked, different answers there are, and the best constant answer."""
    return table(
        c=np.arange(tasks.maps(run)), accuracy=measures.by_map(frame), best_constant=tasks.best_constant(run),
        answers=tasks.distinct(run), asked=frame["asked"],
    )  # fmt: skip


def by_map(frame: Frame, run: Run, height: int = 260) -> Drawing:
    """Test accuracy against c; bars: what one constant answer would get."""
    rows = by_map_table(frame, run)
    return drawing(_by_map, {"each": rows}, C=len(rows), height=height)


def _by_map(C, height):
    x = alt.X("c:O", title="c", axis=alt.Axis(values=list(range(0, C, max(1, C // 12))), labelAngle=0))
    percent = {"scale": alt.Scale(domain=[0, 1]), "axis": alt.Axis(format="%")}
    bars = (
        alt.Chart(named("each"))
        .mark_bar(color=COLOURS["others"], opacity=0.5)
        .encode(x=x, y=alt.Y("best_constant:Q", title="test accuracy", **percent))
    )
    dots = (
        alt.Chart(named("each"))
        .mark_circle(size=48, opacity=1, color=COLOURS["test"])
        .encode(
            x=x, y=alt.Y("accuracy:Q", title="test accuracy", **percent),
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
    return np.stack([_rgb(RIGHT), _rgb(COLOURS["test"]), _rgb(COLOURS["train"])])[np.where(wrong, 1 + train, 0)]


def errors(answer_PP: np.ndarray, run: Run, c: int, height: int = 270) -> Drawing:
    """Where the answers are wrong, in `error_colours`."""
    return image(error_colours(answer_PP, run, c), "b", "a", height)


def answer_map(answer_PP: np.ndarray, p: int, height: int = 270) -> Drawing:
    """A table of answers as hues: once around the colour circle from 0 to p - 1."""
    return image(ring(answer_PP / p), "b", "a", height)


# The embedding


def spectrum_table(power_K: np.ndarray) -> pa.Table:
    return table(k=np.arange(1, len(power_K) + 1), share=power_K)


def spectrum(power_K: np.ndarray, height: int = 270) -> alt.LayerChart:
    """Share of each frequency in the embedding, and what an even spread would be."""
    rows, K = spectrum_table(power_K), len(power_K)
    bars = (
        alt.Chart(rows)
        .mark_bar(color=COLOURS["input"])
        .encode(
            x=alt.X(
                "k:O",
                title="frequency k",
                axis=alt.Axis(labelAngle=0, values=list(range(1, K + 1, max(1, -(-K // 12))))),
            ),
            y=alt.Y("share:Q", title="share of the variance", axis=alt.Axis(format="%")),
            tooltip=[alt.Tooltip("k:O", title="frequency k"), alt.Tooltip("share:Q", title="share", format=".1%")],
        )
    )
    even = alt.Chart(table(even=[1 / K])).mark_rule(strokeDash=[4, 3], color=COLOURS["others"])
    return alt.layer(bars, even.encode(y=alt.Y("even:Q"))).properties(height=height)


def similarity(embed_PD: np.ndarray, height: int = 330) -> alt.Chart:
    """Cosine similarity of the embeddings of every two residues, red alike and blue opposed."""
    return heatmap(measures.similarity(embed_PD), "residue", "residue", "cosine similarity", height=height)


def similarity_table(embed_PD: np.ndarray) -> pa.Table:
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


def traces(curve_PM: np.ndarray, chosen: np.ndarray, x_title: str, what: str, row: int = 52) -> alt.Chart:
    """The chosen columns over the residues, z-scored, one below the other, each named with what leads it."""
    wave, z = measures.waves(curve_PM), measures.z_scored(curve_PM)
    gap = 4.5
    names = [f"{what} {m}: k {wave['frequency'][m]}, φ {wave['phase'][m] / np.pi:.2f}π" for m in chosen]
    rows = pa.concat_tables(
        [table(residue=np.arange(len(z)), value=z[:, m], shifted=z[:, m] - gap * place, name=np.full(len(z), name))
         for place, (m, name) in enumerate(zip(chosen, names, strict=True))]
    )  # fmt: skip
    label = f"{names!r}[round(-datum.value / {gap})]"
    axis = alt.Axis(values=[-gap * place for place in range(len(chosen))], grid=False, labelLimit=150, labelExpr=label)
    shifted = alt.Scale(domain=[2.5 - gap * len(chosen), 3], nice=False)
    return (
        alt.Chart(rows)
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("residue:Q", title=x_title, scale=alt.Scale(nice=False)),
            y=alt.Y("shifted:Q", title="z-score, shifted", axis=axis, scale=shifted),
            color=alt.Color("name:N", sort=names, legend=None),
            tooltip=tips(name=what, residue=x_title, value="z-score"),
        )
        .properties(height=row * len(chosen) + 60)
    )


def pair_table(x: np.ndarray, y: np.ndarray, k: int) -> pa.Table:
    a = np.arange(len(x))
    return table(residue=a, turn=k * a % len(x), x=x, y=y)


def pair(x: np.ndarray, y: np.ndarray, k: int, titles: tuple[str, str], height: int = 270) -> alt.LayerChart:
    """One curve over the residues against another, joined and coloured in the order of k a mod p: two waves of
    frequency k draw a ring with the hues in order."""
    rows = pair_table(x, y, k)
    closed = pa.concat_tables([rows.sort_by("turn"), rows.sort_by("turn").slice(0, 1)])
    closed = closed.append_column("at", pa.array(np.arange(len(closed))))
    plain = alt.Axis(grid=False, tickCount=5)
    scales = square(1.1 * max(1e-9, float(np.abs([x, y]).max())))
    axes = {name: channel(f"{name}:Q", title=title, scale=scale, axis=plain)
            for name, channel, title, scale in zip("xy", (alt.X, alt.Y), titles, scales, strict=True)}  # fmt: skip
    web = alt.Chart(closed).mark_line(strokeWidth=0.8, color=COLOURS["others"])
    turn = alt.Color(
        "turn:Q", scale=ring_scale(0, len(x)),
        legend=alt.Legend(orient="top", title=f"{k}·a mod {len(x)}", format="d", tickCount=3, gradientLength=90),
    )  # fmt: skip
    dots = alt.Chart(rows).mark_circle(size=40, opacity=1)
    says = tips(residue="residue", turn=f"{k}·a mod {len(x)}")
    return alt.layer(
        web.encode(**axes, order=alt.Order("at:Q")), dots.encode(**axes, color=turn, tooltip=says)
    ).properties(height=height)  # fmt: skip


# Attention


def attention_table(attention_HLL: np.ndarray, names: list[str]) -> pa.Table:
    """How much each token reads of itself and of those before it, head by head."""
    h, i, j = np.nonzero(np.broadcast_to(np.tri(len(names), dtype=bool), attention_HLL.shape))
    return table(head=h, token=np.array(names)[i], reads=np.array(names)[j], share=attention_HLL[h, i, j])


def attention(attention_HLL: np.ndarray, names: list[str], height: int = 250) -> alt.Chart:
    """A square a head, side by side: rows read, columns are read."""
    rows = attention_table(attention_HLL, names)
    column = np.array([f"{head + 1}·{name}" for head in range(len(attention_HLL)) for name in names])
    place = np.array(rows["head"]) * len(names) + [names.index(name) for name in rows["reads"].to_pylist()]
    rows = rows.append_column("column", pa.array(column[place]))
    x = alt.X(
        "column:N", title="head · token that is read", sort=column.tolist(), scale=alt.Scale(domain=column.tolist()),
        axis=alt.Axis(labelAngle=0),
    )  # fmt: skip
    share = alt.Color(
        "share:Q", scale=alt.Scale(domain=[0, 1], range=list(SEQUENTIAL), interpolate="rgb"),
        legend=alt.Legend(orient="top", title="share of attention", format="%", tickCount=3, gradientLength=140),
    )  # fmt: skip
    says = {"head": "head, from 0", "token": "reads", "reads": "is read", "share": "share"}
    y = alt.Y("token:N", title="token that reads", sort=names)
    return alt.Chart(rows).mark_rect().encode(x=x, y=y, color=share, tooltip=tips(**says)).properties(height=height)
