"""One meaning a colour, and apart for all: distances of the hues and of the ring as colour-blind readers see them.

Simulation: Machado, Oliveira, Fernandes (2009), table 1, severity 1, applied in linear RGB.  Distance: CIE76 in Lab
(D65); 2.3 is just noticeable when side by side, and a dozen tells two thin curves apart.
"""

import tomllib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from modadd.figures import atlas, flow, grokking, lottery, over_p, sweeps, transformer
from modadd.figures.lottery import RULES
from modadd.figures.style import COLOURS, HUE, RING, SEVERAL, ring, ring_scale

ROOT = Path(__file__).resolve().parents[1]
EYES = {
    "all cones": np.eye(3),
    "protanopia": np.array([
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998],
    ]),
    "deuteranopia": np.array([
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881],
    ]),
}  # fmt: skip
TOGETHER = [
    ("train", "test", "held out", "mirrored"),
    ("common", "rare", "test"),
    ("input", "output"),
    ("winner", "others"),
    ("common", "rare", "mirrored", "held out"),
    ("held out", "winner", "others"),
    ("held out", "test", "others"),
    ("train", "test", "held out", "output"),
]
PALETTES = {
    "several things": dict(enumerate(SEVERAL)),
    "ends of stages": grokking.ENDS,
    "race": dict(enumerate((*lottery.NAMED, COLOURS["others"]))),
    "bets": RULES,
    "forces": grokking.FORCES,
    "presets": over_p.HUES,
    "origins": atlas.ORIGIN,
    "verdicts": atlas.VERDICTS,
    "states of a sweep": sweeps.STATES,
    "losses of a transformer": transformer.LOSSES,
    "shares of a transformer": transformer.SHARES,
    "phases of a neuron": {name: flow.HUES[name] for name in ("φ", "2φ", "ψ", "D")},
    "magnitudes": {name: flow.HUES[name] for name in ("α", "β")},
    "leaks": {name: flow.HUES[name] for name in flow.HUES if name[-1] == "k"},
}
APART, FROM_GROUND = 12.0, 2.0  # Lab distance of two curves; contrast of a curve to what it lies on
K = 11  # frequencies at p = 23
SAME = {frozenset(("train", "common"))}  # common pairs are training pairs


def linear(colour: str) -> np.ndarray:
    """sRGB "#rrggbb" as linear light [3]."""
    light = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    """CIE Lab of linear light, white D65."""
    to_xyz = np.array([
        [0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041],
    ])  # fmt: skip
    t = to_xyz @ light / to_xyz.sum(1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2 has it, 1 to 21."""
    dim, bright = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (bright + 0.05) / (dim + 0.05)


def distance(one: str, other: str, eyes: str) -> float:
    seen = [lab(np.clip(EYES[eyes] @ linear(colour), 0, 1)) for colour in (one, other)]
    return float(np.linalg.norm(seen[0] - seen[1]))


def near(palette: dict, eyes: str) -> dict:
    """The pairs that are closer than `APART`, with their distances."""
    found = {(one, other): distance(palette[one], palette[other], eyes) for one, other in combinations(palette, 2)}
    return {pair: round(far, 1) for pair, far in found.items() if far < APART}


def test_white_and_black_are_a_hundred_apart():
    assert np.allclose(lab(linear("#ffffff")) - lab(linear("#000000")), [100, 0, 0], atol=1e-3)
    assert np.isclose(contrast("#ffffff", "#000000"), 21)


def test_no_two_meanings_share_a_colour():
    for one, other in combinations(COLOURS, 2):
        assert (COLOURS[one] == COLOURS[other]) == (frozenset((one, other)) in SAME), (one, other)


@pytest.mark.parametrize("eyes", EYES)
def test_what_is_drawn_together_is_told_apart(eyes):
    together = {names: {name: COLOURS[name] for name in names} for names in TOGETHER}
    assert not {of: found for of, palette in (together | PALETTES).items() if (found := near(palette, eyes))}


@pytest.mark.parametrize("eyes", EYES)
def test_every_frequency_is_told_from_every_other(eyes):
    around = dict(enumerate(ring(np.arange(K) / K)))
    assert not near({k: "#" + bytes(rgb.tolist()).hex() for k, rgb in around.items()}, eyes)


def test_the_ring_closes_and_goes_around_once():
    assert np.array_equal(ring(0.0), ring(1.0))
    assert np.allclose(ring([0, 0.25]), ring([5, -0.75]))
    assert ring(np.zeros((2, 3))).shape == (2, 3, 3)
    scale = ring_scale(1, K)
    assert list(scale["domain"]) == [1, K]
    first, last = ("#" + bytes(ring(turn).tolist()).hex() for turn in (0, 1 - 1 / K))
    assert (scale["range"][0], scale["range"][-1]) == (first, last)
    assert list(ring_scale(1, 1)["domain"]) == [1, 2]  # p = 3 has one frequency


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_curve_stands_out_from_its_ground(theme):
    ground = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"][theme]["backgroundColor"]
    curves = HUE | {f"ring {i}": hue for i, hue in enumerate(RING)}
    for name, palette in PALETTES.items():
        curves |= {f"{name}: {of}": hue for of, hue in palette.items()}
    faint = {name: round(contrast(hue, ground), 2) for name, hue in curves.items()}
    assert not {name: found for name, found in faint.items() if found < FROM_GROUND}


def test_the_charts_of_streamlit_itself_take_the_same_hues():
    theme = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
    assert tuple(theme["chartCategoricalColors"]) == SEVERAL


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_of_the_theme_can_be_read(theme):
    found = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"][theme]
    for ground in ("backgroundColor", "secondaryBackgroundColor"):
        assert contrast(found["textColor"], found[ground]) >= 7
    assert contrast("#ffffff", found["primaryColor"]) >= 4.5  # streamlit writes white on its primary buttons
