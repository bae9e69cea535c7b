"""The network as a drawing: two residues on a circle, neurons with one frequency each, the vote over the answers.

The idea is that of figure 1 of arXiv:2602.16849; every width, angle and length is a number of a record.
"""

from html import escape
from typing import NamedTuple

import numpy as np

from ..analysis import lesson
from ..maths import fourier
from ..records.record import Record
from .chart import Drawing
from .export import INKS
from .style import COLOURS

NEURONS = 6
WIDTH, HEIGHT = 440, 420
TOP, BOTTOM = 44, 372  # of the neurons and of the answers
CIRCLE = (72, 208, 46)  # centre and radius of the circle of residues
SPECTRUM, CLOCK, BARS = 160, 238, 346  # left ends and, of the clocks, the centre
HUES = dict(zip(lesson.KINDS, (COLOURS["held out"], COLOURS["test"], COLOURS["others"]), strict=True))


class Picture(NamedTuple):
    """An SVG document, and in words what it shows."""

    svg: str
    says: str


BLANK = Picture(
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"></svg>',
    "The place of a network that is to come.",
)  # as large as a network, so that nothing moves when it comes
EMPTY = Drawing({"mark": "point", "config": {"view": {"stroke": None}}}, {})  # of a chart: no axes, no marks


def network(record: Record, x: int, y: int, step: int | None = None, theme: str = "light") -> Picture | None:
    """NEURONS neurons at work on the sum x + y, at a step; None if the record holds no weights of an MLP.

    They are the loudest on this sum in the first frame, so that they stay the same while the run goes on.  Line
    widths are weights, relative to the largest drawn, dashed below zero; on the way out, what a neuron adds to an
    answer.  Bars in a neuron are its input amplitudes by frequency; the hands are 2 phi and psi.
    """
    seen, run = record.at(step, "theta", "nearest"), record.run
    if seen is None or run.model != "mlp":
        return None
    frame, first = seen.frame, record.at(0, "theta", "nearest").frame
    chosen = np.sort(np.argsort(-lesson.hidden(first, run, x, y), kind="stable")[:NEURONS])
    shown = len(chosen)
    theta_MP, xi_MP = (frame[name][chosen].astype(float) for name in ("theta", "xi"))
    gives_MP = lesson.hidden(frame, run, x, y)[chosen, None] * xi_MP
    chance_P = lesson.probabilities(frame, run, x, y)
    _, ink, grid = INKS[theme]
    at_M = np.linspace(TOP + 26, BOTTOM - 26, shown)
    at_P = TOP + (np.arange(run.p) + 0.5) * (BOTTOM - TOP) / run.p
    parts = [
        *_into(theta_MP, x, y, at_M), *_out(gives_MP, at_M, at_P, lesson.kinds(run.p, x, y)),
        *_residues(run.p, x, y, ink, grid), *_neurons(theta_MP, xi_MP, at_M, ink, grid),
        *_answers(chance_P, at_P, lesson.kinds(run.p, x, y), ink, grid),
        *_words(run, shown, x, y, ink),
    ]  # fmt: skip
    right = (x + y) % run.p
    says = (
        f"The network asked for {x} + {y} mod {run.p}: both residues on a circle, {shown} of {run.d_mlp} neurons "
        f"with their spectra and phases, and the probability of each answer: {chance_P[right]:.0%} for the right "
        f"one, {right}; its first choice is {int(chance_P.argmax())}."
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" font-family="Source Sans 3, Source Sans Pro, sans-serif"><title>{escape(says)}</title>'
    )
    return Picture("\n".join([head, *parts, "</svg>"]), says)


def _text(x, y, words, ink, size=12, anchor="middle", bold=False) -> str:
    weight = ' font-weight="700"' if bold else ""
    return (f'<text x="{x:.1f}" y="{y:.1f}" fill="{ink}" font-size="{size}" text-anchor="{anchor}"{weight}>'
            f"{escape(str(words))}</text>")  # fmt: skip


def _line(x1, y1, x2, y2, hue, width, more="") -> str:
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{hue}" '
            f'stroke-width="{width:.2f}" stroke-linecap="round"{more}/>')  # fmt: skip


def _hand(cx, cy, radius, angle) -> tuple[float, float]:
    """Where a hand ends that starts upwards and turns with the clock."""
    return cx + radius * np.sin(angle), cy - radius * np.cos(angle)


def _residues(p, x, y, ink, grid):
    cx, cy, r = CIRCLE
    yield f'<circle cx="{cx}" cy="{cy}" r="{r}" fill="none" stroke="{grid}" stroke-width="1.5"/>'
    for j in range(p):
        mine, angle = j in (x, y), 2 * np.pi * j / p
        px, py = _hand(cx, cy, r, angle)
        hue = COLOURS["input"] if mine else COLOURS["others"]
        yield f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{6 if mine else 2.5}" fill="{hue}"/>'
        if p <= 31 or mine:
            lx, ly = _hand(cx, cy + 4, r + 15, angle)
            yield _text(lx, ly, j, ink, 13 if mine else 11, bold=mine)


def _into(theta_MP, x, y, at_M):
    cx, cy, r = CIRCLE
    top = np.abs(theta_MP[:, [x, y]]).max() or 1.0
    for residue in dict.fromkeys((x, y)):
        px, py = _hand(cx, cy, r, 2 * np.pi * residue / theta_MP.shape[1])
        for weight, at in zip(theta_MP[:, residue], at_M, strict=True):
            dashed = ' stroke-dasharray="3 4"' if weight < 0 else ""
            more = f' stroke-opacity="0.6"{dashed}'
            yield _line(px, py, SPECTRUM - 6, at, COLOURS["input"], 0.3 + 3.2 * abs(weight) / top, more)


def _neurons(theta_MP, xi_MP, at_M, ink, grid):
    (amplitude_MK, phi_MK), (_, psi_MK) = (fourier.cosines(fourier.dft(w_MP)) for w_MP in (theta_MP, xi_MP))
    K, wide = amplitude_MK.shape[1], 46
    for amplitude, phi, psi, at in zip(amplitude_MK, phi_MK, psi_MK, at_M, strict=True):
        lead = int(amplitude.argmax())
        for k, height in enumerate(26 * amplitude / (amplitude[lead] or 1.0)):
            hue = COLOURS["input"] if k == lead else COLOURS["others"]
            yield (f'<rect x="{SPECTRUM + wide * k / K:.1f}" y="{at + 12 - height:.1f}" '
                   f'width="{0.8 * wide / K:.2f}" height="{height:.1f}" fill="{hue}"/>')  # fmt: skip
        yield _line(SPECTRUM, at + 12.5, SPECTRUM + wide, at + 12.5, grid, 1)
        yield _text(SPECTRUM + wide / 2, at + 25, f"k = {lead + 1}", ink, 11)
        yield f'<circle cx="{CLOCK}" cy="{at:.1f}" r="18" fill="none" stroke="{ink}" stroke-opacity="0.45"/>'
        for angle, layer, width in ((2 * phi[lead], "input", 5), (psi[lead], "output", 2.2)):
            yield _line(CLOCK, at, *_hand(CLOCK, at, 15, angle), COLOURS[layer], width)


def _out(gives_MP, at_M, at_P, kinds):
    top = gives_MP.max()
    for gives_P, at in zip(gives_MP, at_M, strict=True):
        for gift, to, kind in zip(gives_P, at_P, kinds, strict=True):
            if top > 0 and gift > 0.05 * top:
                more = ' stroke-opacity="0.6"'
                yield _line(CLOCK + 19, at, BARS - 25, to, HUES[kind], 0.2 + 3 * gift / top, more)


def _answers(chance_P, at_P, kinds, ink, grid):
    wide, tall = WIDTH - BARS - 30, (BOTTOM - TOP) / len(chance_P)
    yield _line(BARS, TOP, BARS, BOTTOM, grid, 1)
    for j, (chance, at, kind) in enumerate(zip(chance_P, at_P, kinds, strict=True)):
        yield (f'<rect x="{BARS}" y="{at - 0.38 * tall:.1f}" width="{wide * chance:.1f}" height="{0.76 * tall:.1f}" '
               f'fill="{HUES[kind]}"/>')  # fmt: skip
        if len(chance_P) <= 31 or kind != lesson.OTHERS:
            bold = kind == lesson.RIGHT
            yield _text(BARS - 5, at + 4, j, ink, 11, "end", bold)
            if bold:
                yield _text(BARS + wide * chance + 3, at + 4, f"{chance:.0%}", ink, 12, "start", bold)


def _words(run, shown, x, y, ink):
    yield _text(CIRCLE[0], 14, "numbers mod " + str(run.p), ink, bold=True)
    yield _text(CIRCLE[0], 30, f"x = {x}, y = {y}", ink)
    yield _text(212, 14, f"{shown} of {run.d_mlp:,} neurons", ink, bold=True)
    yield _text(212, 30, "spectrum and phases", ink)
    yield _text(378, 14, "the vote", ink, bold=True)
    yield _text(378, 30, "chance of each", ink)
    keys = [("2φ in", COLOURS["input"]), ("ψ out", COLOURS["output"]), ("right", HUES[lesson.RIGHT]),
            ("ghost", HUES[lesson.GHOSTS]), ("other", HUES[lesson.OTHERS])]  # fmt: skip
    for place, (words, hue) in enumerate(keys):
        at = 20 + 86 * place
        yield _line(at, 402, at + 14, 402, hue, 5)
        yield _text(at + 22, 406, words, ink, 12, "start")
