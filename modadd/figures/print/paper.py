"""The published figures in print: Records in, matplotlib Figures out, a function each.

Every axis counts true training steps, a stage that was not reached is called so, the magnitude of the
lottery is that of the output layer, and frequencies count from 1.  arXiv:2602.16849, figs. 2-16.
"""

import json
from pathlib import Path

import numpy as np
from matplotlib.collections import PatchCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ... import data
from ...maths import fourier, measures, theory
from ...records.record import Record
from ..curves import stages
from ..lottery import winner
from ..neurons import SHOWN, round_robin
from ..over_time import SHADE, SHADES
from ..phases import expected
from ..style import COLOURS, DIVERGING, HUE, RING, SEQUENTIAL

SMALL, PLAIN = 7, 8  # points
DPI = 200  # of the PNG files; PDF and SVG are vectors
SIGNED = LinearSegmentedColormap.from_list("signed", DIVERGING["light"])
AROUND = LinearSegmentedColormap.from_list("around", (*RING, RING[0]))
AMOUNT = LinearSegmentedColormap.from_list("amount", SEQUENTIAL["light"])


def save(made: Figure | dict, file: Path):
    """Write a figure, or a table as JSON, in the format that the file's name ends with: whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    if isinstance(made, dict):
        part.write_text(json.dumps(made, allow_nan=False))
    else:
        made.savefig(part, format=file.suffix.removeprefix("."), dpi=DPI)
    part.replace(file)


def _figure(rows: int = 1, columns: int = 1, width: float = 3.4, height: float = 2.5, **how):
    """A Figure of so many panels, each about `width` x `height` inches, and its axes."""
    figure = Figure((width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, **how)


def _dress(ax, x: str, y: str, title: str = "", legend: bool = False):
    ax.set_xlabel(x, fontsize=PLAIN)
    ax.set_ylabel(y, fontsize=PLAIN)
    ax.set_title(title, fontsize=PLAIN)
    ax.tick_params(labelsize=SMALL)
    if legend:
        ax.legend(fontsize=SMALL, frameon=False)


def _bar(figure, ax, shown, label: str):
    bar = figure.colorbar(shown, ax=ax, fraction=0.046, pad=0.02)
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    return bar


def _heat(figure, ax, matrix, label: str, cmap=SIGNED, top: float | None = None):
    """A matrix in colours, first row on top; symmetric about 0 for SIGNED, from 0 for AMOUNT."""
    top = top or float(np.abs(matrix).max()) or 1.0
    shown = ax.imshow(matrix, cmap=cmap, vmin=-top if cmap is SIGNED else 0, vmax=top, aspect="auto",
                      interpolation="nearest")  # fmt: skip
    _bar(figure, ax, shown, label)


def _outline(ax, cells_xy, colour: str, width: float):
    """Rectangles around cells (row, column)."""
    boxes = [Rectangle((y - 0.5, x - 0.5), 1, 1) for x, y in cells_xy]
    ax.add_collection(PatchCollection(boxes, facecolor="none", edgecolor=colour, linewidth=width))


def _stages(record: Record, width: float = 4.4):
    """A Figure whose axes are shaded by the stages of grokking; an end that was not reached is named so."""
    figure, ax = _figure(width=width, height=2.8)
    spans = stages(record).get("stages", {})
    for name, span in spans.items():
        open_end = name == [*spans][-1] and name != measures.STAGES[-1]
        label = f"{name} (end not reached)" if open_end else name
        i = measures.STAGES.index(name)
        ax.axvspan(*span, color=SHADES[i], alpha=SHADE[i], lw=0, label=label)
    ax.margins(x=0)
    return figure, ax


def _curves(ax, record: Record, what: str, groups=("train", "test", "held_out")):
    for group in groups:
        column, name = record.history[f"{group}_{what}"], group.replace("_", " ")
        if np.isfinite(column).any():
            ax.plot(record.steps, column, color=COLOURS[name], lw=1.2, label=name)
    if what == "loss":
        ax.set_yscale("log")


def _iprs(ax, record: Record):
    for layer, name in (("input", "ipr_in"), ("output", "ipr_out")):
        ax.plot(*record.series(name), color=COLOURS[layer], lw=1.2, label=f"{layer} layer")
    ax.set_ylim(0, 1)


def overview_loss_ipr(*records: Record) -> Figure:
    """Loss and IPR of the standard run and, from p = 19 on, of the grokking run beside it."""
    figure, axes = _figure(2, len(records), squeeze=False)
    for record, (above, below) in zip(records, axes.T, strict=True):
        _curves(above, record, "loss")
        _dress(above, "training step", "loss (nats)", f"{record.run.preset}, p = {record.run.p}", legend=True)
        _iprs(below, record)
        _dress(below, "training step", "mean IPR", legend=True)
    return figure


def dft_rows(record: Record, layer: str, count: int | None = SHOWN, step: int | None = None):
    """(rows [n, P], neurons [n]) of a layer's DFT, sorted by final frequency: one a frequency in turn, or
    with count=None every neuron whose weights or spectra are kept."""
    name, frequency = {"input": "theta", "output": "xi"}[layer], record.frames[-1]["frequency"]
    weights = record.at(step, name) if count is None else None
    spectra = record.at(step, f"{name}_hat")
    rows = spectra.frame[f"{name}_hat"] if weights is None else fourier.dft(weights.frame[name][: len(frequency)])
    chosen = round_robin(frequency, len(rows), count or len(rows))
    return rows[chosen], chosen


def _dft(figure, ax, record, layer, title, count=SHOWN, step=None):
    rows, chosen = dft_rows(record, layer, count, step)
    _heat(figure, ax, rows, f"{layer} weight")
    at = np.arange(0, record.run.p, -(-record.run.p // 24))
    ax.set_xticks(at, np.array(fourier.mode_names(record.run.p))[at], rotation=90)
    if count:
        ax.set_yticks(range(len(chosen)), chosen)
    _dress(ax, "Fourier mode", "neuron" if count else "neurons, sorted by frequency", title)
    ax.tick_params(labelsize=SMALL - 1)


def full_training_para_origin(standard: Record) -> Figure:
    """Fig. 2: each row a neuron, each column a Fourier mode; one bright pair a row."""
    figure, axes = _figure(1, 2, width=4.2, height=3.2)
    for ax, layer in zip(axes, ("input", "output"), strict=True):
        _dft(figure, ax, standard, layer, f"{layer} layer, step {standard.step:,}")
    return figure


def dft_heatmap(standard: Record, layer: str) -> Figure:
    """The same for every neuron that is kept, one layer."""
    figure, ax = _figure(width=4.6, height=4.6)
    _dft(figure, ax, standard, layer, f"{layer} layer, step {standard.step:,}", count=None)
    return figure


def lineplot(standard: Record, layer: str) -> Figure:
    """Fig. 3: the weights of three neurons and the one cosine that fits each best."""
    rows, chosen = dft_rows(standard, layer)
    frame, p = standard.frames[-1], standard.run.p
    magnitude, phase = (frame[n] for n in (("alpha", "phi") if layer == "input" else ("beta", "psi")))
    picked = sorted({0, len(chosen) // 2, len(chosen) - 1})
    figure, axes = _figure(1, len(picked), width=2.6, height=2.1, squeeze=False)
    j, fine = np.arange(p), np.linspace(0, p - 1, 20 * p)
    for ax, i in zip(axes[0], picked, strict=True):
        m, k = chosen[i], int(frame["frequency"][chosen[i]])
        ax.plot(fine, magnitude[m] * np.cos(2 * np.pi * k * fine / p + phase[m]), "--", lw=1, color=COLOURS["winner"])
        ax.plot(j, rows[i] @ fourier.basis(p), "o", ms=2.5, color=COLOURS[layer])
        _dress(ax, "residue j", f"{layer} weight", f"neuron {m}, k = {k}")
    return figure


def phase_relationship(standard: Record) -> Figure:
    """Fig. 4: psi against 2 phi of every kept neuron, both in [0, 2 pi)."""
    figure, ax = _figure(width=4, height=3.2)
    frame = standard.frames[-1]
    ax.plot([0, 2], [0, 2], "--", lw=1, color=COLOURS["others"])
    dots = ax.scatter(*((v % (2 * np.pi)) / np.pi for v in (2 * frame["phi"], frame["psi"])), s=6, alpha=0.8,
                      c=frame["frequency"], cmap=AROUND, vmin=1, vmax=standard.run.K + 1)  # fmt: skip
    _bar(figure, ax, dots, "frequency k").ax.set_ylim(1, max(2, standard.run.K))
    ax.set_aspect("equal")
    _dress(ax, "2φ (units of π)", "ψ (units of π)", f"step {standard.step:,}")
    return figure


def phase_distribution(standard: Record) -> Figure:
    """Fig. 5: i phi of the most common frequency's neurons on rings i = 1 .. 4; evenly spread means cancelled."""
    figure, ax = _figure(width=3.8, height=3.8, subplot_kw={"projection": "polar"})
    frame, K = standard.frames[-1], standard.run.K
    k = int(measures.frequency_counts(frame["frequency"], K).argmax()) + 1
    phi = frame["phi"][frame["frequency"] == k]
    spread = measures.coherence(frame["frequency"], frame["phi"], K)[:, k - 1]
    for i, colour in zip(range(1, 5), (*(COLOURS[n] for n in ("train", "test", "held out", "input")),), strict=True):
        label = f"{i}φ: |mean| = {spread[i - 1]:.2f}"
        ax.plot(i * phi, np.full(len(phi), i), "o", ms=3, color=colour, alpha=0.8, label=label)
    ax.set_ylim(0, 4.6)
    ax.set_yticks(range(1, 5), ["φ", "2φ", "3φ", "4φ"])
    _dress(ax, "", "", f"k = {k}, {len(phi)} neurons; random |mean| ≈ {expected(len(phi)):.2f}")
    ax.legend(fontsize=SMALL, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    return figure


def magnitude_distribution(standard: Record) -> Figure:
    """Fig. 6: alpha and beta over all kept neurons, with their coefficients of variation."""
    figure, ax = _figure(width=3.2, height=2.8)
    values = [standard.frames[-1][name].astype(float) for name in ("alpha", "beta")]
    for body, layer in zip(ax.violinplot(values, showmedians=True)["bodies"], ("input", "output"), strict=True):
        body.set_facecolor(COLOURS[layer])
    names = [f"{s} ({layer})\nstd / mean {v.std() / v.mean():.2f}"
             for s, layer, v in zip("αβ", ("input", "output"), values, strict=True)]  # fmt: skip
    ax.set_xticks([1, 2], names)
    ax.set_ylim(0)
    _dress(ax, "", "magnitude at the neuron's frequency", f"{len(values[0])} neurons, step {standard.step:,}")
    return figure


def output_logits(standard: Record) -> Figure:
    """Fig. 7: logits for x = 0, centred over j; the answer j = y and the ghosts j = 0 and j = 2y are outlined."""
    figure, ax = _figure(width=4.6, height=3.8)
    p, y = standard.run.p, np.arange(standard.run.p)
    _heat(figure, ax, standard.frames[-1]["logits0"], "logit, mean over j removed")
    ghosts = [(v, j) for v in y for j in (0, 2 * v % p)]
    for cells, colour, name in ((ghosts, COLOURS["test"], "ghosts j = 0, 2y"), ([*zip(y, y)], "black", "answer j = y")):  # noqa: B905
        _outline(ax, cells, colour, min(1.2, 25 / p))
        ax.plot([], [], "s", mfc="none", mec=colour, ms=5, label=name)
    ax.legend(fontsize=SMALL, loc="upper right", bbox_to_anchor=(1, -0.12), ncols=2, frameon=False)
    _dress(ax, "answer j", "y (with x = 0)", f"step {standard.step:,}")
    return figure


def lottery(quad_random: Record, what: str) -> Figure:
    """Fig. 9: the race of all frequencies inside one neuron, `magnitude` (output) or `phase` (misalignment)."""
    last = quad_random.frames[-1]
    neuron = int(last["beta"][: len(last["theta_hat"])].argmax())
    race = quad_random.race(neuron)
    if race is None or len(race["step_S"]) < 3:
        raise ValueError(f"the record {quad_random.run.id} keeps too few spectra over training for a race")
    first, luckiest = winner(race), int(np.abs(race["D_SK"][0]).argmin()) + 1
    values = race["beta_SK"] if what == "magnitude" else np.abs(race["D_SK"]) / np.pi
    figure, ax = _figure(width=4.2, height=3)
    looks = {luckiest: (COLOURS["train"], 1.2, f"k = {luckiest}, smallest |D| at step {race['step_S'][0]}")}
    looks[first] = (COLOURS["winner"], 1.8, f"k = {first}, the winner")
    for k in range(1, quad_random.run.K + 1):
        colour, width, label = looks.get(k, (COLOURS["others"], 0.7, None))
        ax.plot(race["step_S"], values[:, k - 1], color=colour, lw=width, label=label, zorder=2 + (k in looks))
    y = "output magnitude β_k" if what == "magnitude" else "misalignment |D_k| (units of π)"
    _dress(ax, "training step", y, f"neuron {neuron}, all {quad_random.run.K} frequencies", legend=True)
    ax.margins(x=0)
    return figure


def lottery_beta_contour(p: int) -> Figure:
    """Fig. 10: output magnitude after a short quad flow, over where it began."""
    figure, ax = _figure(width=4, height=3)
    end = theory.outcome_contour(p)
    shown = ax.contourf(end["angle_B"] / np.pi, end["magnitude_A"], end["beta_AB"], 20, cmap=AMOUNT)
    _bar(figure, ax, shown, "output magnitude β after 100 steps")
    _dress(ax, "2φ₀, so D₀ (units of π; ψ₀ = 0)", "initial magnitude", f"p = {p}")
    return figure


def grokk_curves(record: Record, what: str) -> Figure:
    """Fig. 13a, b: loss or accuracy of training, test and held-out pairs."""
    figure, ax = _stages(record)
    _curves(ax, record, what)
    _dress(ax, "training step", "loss (nats)" if what == "loss" else "accuracy", legend=True)
    return figure


def grokk_abs_phase_diff(record: Record) -> Figure:
    """Fig. 13c: mean |sin D| over the neurons."""
    figure, ax = _stages(record)
    ax.plot(*record.series("mean_abs_sin_D"), color=COLOURS["train"], lw=1.4, marker=".", ms=3)
    ax.set_ylim(0)
    _dress(ax, "training step", "mean |sin D|", legend=True)
    return figure


def grokk_avg_ipr(record: Record) -> Figure:
    """Fig. 13d: mean IPR of both layers, and the norm of all weights on the right axis."""
    figure, ax = _stages(record, width=4.6)
    _iprs(ax, record)
    right = ax.twinx()
    right.plot(record.steps, record.history["norm"], "--", color=HUE["graphite"], lw=1.2)
    right.set_ylim(0)
    right.margins(x=0)
    right.set_ylabel("parameter norm (dashed)", fontsize=PLAIN)
    right.tick_params(labelsize=SMALL)
    _dress(ax, "training step", "mean IPR", legend=True)
    return figure


def _kinds(ax, run, right=None):
    """The kinds of all pairs, pale where the answer is wrong."""
    kind = data.kinds(run)
    rgb = np.array([to_rgb(COLOURS[name]) for name in data.KINDS])[kind]
    strength = np.ones((run.p, run.p, 1)) if right is None else np.where(right, 1.0, 0.2)[..., None]
    ax.imshow(rgb * strength + 1 - strength, interpolation="nearest")


def _memory(record: Record) -> tuple[int, str]:
    """(end of stage I or the last step, words for it)."""
    end = measures.stages(record)[0]
    return (record.step, "stage I not reached") if end is None else (end, f"stage I ends at step {end:,}")


def _explain(figure, axes, record: Record, kind: int, words: str):
    """Outline the cells of a kind, and say what the colours and the outline mean."""
    kinds, red = data.kinds(record.run), COLOURS["winner"]
    for ax in axes:
        _outline(ax, np.argwhere(kinds == kind), red, min(0.9, 20 / record.run.p))
    there = [Patch(color=COLOURS[name], label=name) for i, name in enumerate(data.KINDS) if (kinds == i).any()]
    there.append(Patch(facecolor="none", edgecolor=red, label=f"outlined: {data.KINDS[kind]}"))
    figure.legend(handles=there, ncols=5, fontsize=SMALL, frameon=False, loc="outside lower center")
    figure.suptitle(f"p = {record.run.p}; {words}", fontsize=PLAIN)


def grokk_memorization_accuracy(record: Record) -> Figure:
    """Fig. 14: the pairs, the answers and their probabilities at the end of stage I; held-out pairs outlined."""
    figure, axes = _figure(1, 3, width=3, height=3.5)
    run, (end, words) = record.run, _memory(record)
    step, frame = record.at(end, "probability", "nearest")
    _kinds(axes[0], run)
    _kinds(axes[1], run, data.grid(frame["correct"], run.p))
    _heat(figure, axes[2], data.grid(frame["probability"], run.p), "probability", AMOUNT, 1.0)
    axes[2].set_aspect("equal")
    titles = ("the pairs", f"right answers, step {step:,}", f"probability of the right answer, step {step:,}")
    for ax, title in zip(axes, titles, strict=True):
        _dress(ax, "y", "x", title)
    _explain(figure, axes, record, data.HELD_OUT, words)
    return figure


def grokk_memorization_common_to_rare(record: Record) -> Figure:
    """Fig. 15: the pairs, and the answers at the start, in the middle and at the end of stage I; rare outlined."""
    figure, axes = _figure(1, 4, width=2.6, height=3.2)
    run, (end, words) = record.run, _memory(record)
    _kinds(axes[0], run)
    _dress(axes[0], "y", "x", "the pairs")
    for ax, goal in zip(axes[1:], (0, end // 2, end), strict=True):
        step, frame = record.at(goal, "correct", "nearest")
        _kinds(ax, run, data.grid(frame["correct"], run.p))
        _dress(ax, "y", "", f"right answers, step {step:,}")
    _explain(figure, axes, record, data.RARE, words)
    return figure


def _moments(record: Record, moments: dict[str, int | None]) -> Figure:
    """DFT of both layers at the frames near these steps."""
    figure, axes = _figure(2, len(moments), width=3.2, height=2.7)
    for column, (name, goal) in zip(axes.T, moments.items(), strict=True):
        for ax, layer in zip(column, ("input", "output"), strict=True):
            near = None if goal is None else record.at(goal, "theta_hat", "near")
            if near is None:
                why = "not reached" if goal is None else f"no spectra kept near step {goal:,}"
                ax.text(0.5, 0.5, f"{name}: {why}", ha="center", fontsize=PLAIN)
                ax.set_axis_off()
            else:
                _dft(figure, ax, record, layer, f"{layer}, {name} (step {near.step:,})", step=near.step)
    return figure


def grokk_decoded_weights_dynamic(record: Record) -> Figure:
    """Fig. 16: spectra at step 0 and at the ends of stages I and II."""
    ends = measures.stages(record)
    return _moments(record, {"initial": 0, "end of stage I": ends[0], "end of stage II": ends[1]})


def single_freq(record: Record, middle: bool) -> Figure:
    """Figs. 11, 12a: spectra from a start at one frequency per neuron."""
    halfway = {"halfway": record.step // 2} if middle else {}
    return _moments(record, {"initial": 0} | halfway | {"final": record.step})


def phase_align(record: Record) -> Figure:
    """Figs. 8, 12b: phases and magnitudes of the neuron with the largest final magnitude, among those that
    start misaligned (most started aligned, and have nothing to show)."""
    first, last = record.frames[0], record.frames[-1]
    D0 = np.abs(fourier.wrap(2 * first["phi"].astype(float) - first["psi"]))
    neuron = int(np.where(np.pi / 3 < D0, last["alpha"], last["alpha"] - 1e6).argmax())
    alpha, phi, beta, psi = (
        record.series(name)[1][:, neuron].astype(float) for name in ("alpha", "phi", "beta", "psi")
    )
    title = f"neuron {neuron}, k = {int(last['frequency'][neuron])}"
    return _alignment(record.series("phi")[0], alpha, phi, beta, psi, title, "training step")


def _alignment(step, alpha, phi, beta, psi, title, x) -> Figure:
    figure, (left, right) = _figure(1, 2, width=3.6, height=2.7)
    phi, psi = np.unwrap(phi), np.unwrap(psi)
    psi = psi - 2 * np.pi * np.round((psi[-1] - 2 * phi[-1]) / (2 * np.pi))  # the turn in which they meet
    curves = (("φ", phi, "input", "-"), ("2φ", 2 * phi, "input", "--"), ("ψ", psi, "output", "-"))
    for name, values, colour, dash in curves:
        left.plot(step, values / np.pi, dash, color=COLOURS[colour], lw=1.4, label=name)
    _dress(left, x, "phase (units of π)", title, legend=True)
    right.plot(step, alpha, color=COLOURS["input"], lw=1.4, label="α (input)")
    right.plot(step, beta, color=COLOURS["output"], lw=1.4, label="β (output)")
    _dress(right, x, "magnitude", title, legend=True)
    return figure


def phase_align_approx(p: int, case: int) -> Figure:
    """The two published simulations of one decoupled pair, without any network."""
    z = theory.decoupled_cases(p)[case]
    path = z["step_S"], z["alpha_S"], z["phi_S"], z["beta_S"], z["psi_S"]
    return _alignment(*path, f"case {case + 1}, p = {p}, k = {z['k']}", "Euler step (learning rate 1)")
