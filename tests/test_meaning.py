"""What stands under each label, axis and legend, in a record in which every curve is recognisable."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import SMALL

from modadd import data
from modadd.analysis import forces as norm_forces
from modadd.analysis import lottery, surgery
from modadd.figures import curves, grids, grokking, logits, neurons
from modadd.figures.print import paper
from modadd.figures.style import COLOURS, LAYERS
from modadd.maths import fourier, measures, theory

LOSSES = {"train": 1.0, "test": 2.0, "rare": 3.0, "held_out": 4.0, "common": 5.0}
ACCURACIES = {"train": 0.9, "test": 0.8, "rare": 0.7, "held_out": 0.6, "common": 0.5}
NORM, IPR_IN, IPR_OUT, SIN_D = 17.0, 0.3, 0.4, 0.25
NAMES = {"train": "train", "test": "test", "mirrored": "rare", "held out": "held_out", "common": "common",
         "rare": "rare"}  # fmt: skip


@pytest.fixture(scope="module")
def planted(record):
    """SMALL in which every metric and every mean over neurons is a number of its own at all times."""
    flat = lambda value: np.full(len(record.steps), value, np.float32)  # noqa: E731
    history = {f"{group}_loss": flat(value) for group, value in LOSSES.items()}
    history |= {f"{group}_accuracy": flat(value) for group, value in ACCURACIES.items()} | {"norm": flat(NORM)}
    assert history.keys() == record.history.keys()
    numbers = {"ipr_in": IPR_IN, "ipr_out": IPR_OUT, "mean_abs_sin_D": SIN_D}
    frames = tuple(dict(frame) | {n: np.float32(v) for n, v in numbers.items()} for frame in record.frames)
    return replace(record, history=history, frames=frames)


def drawn(chart) -> dict[str, float]:
    """{name of a curve: the number that it stands at} over the tables of a chart; NaN where it moves."""
    found = {}
    for table in chart.drawing.tables.values():
        if {"curve", "value"} <= set(table.column_names):
            for name in set(table["curve"].to_pylist()):
                values = {row["value"] for row in table.to_pylist() if row["curve"] == name}
                found[name] = values.pop() if len(values) == 1 else np.nan
    return found


def titles(chart, axis: str) -> set[str]:
    """The titles of all axes of this kind, x or y."""
    found, rest = set(), [chart.drawing.spec]
    while rest:
        part = rest.pop()
        if isinstance(part, dict):
            if isinstance(part.get(axis), dict) and part[axis].get("title"):
                found.add(part[axis]["title"])
            rest += part.values()
        elif isinstance(part, list):
            rest += part
    return found


CURVES = {
    "losses": (curves.losses, {n: LOSSES[NAMES[n]] for n in ("train", "test", "held out")}, "loss (nats)"),
    "accuracies": (
        curves.accuracies, {n: ACCURACIES[NAMES[n]] for n in ("train", "test", "mirrored", "held out")}, "accuracy"
    ),
    "order": (curves.order, {n: ACCURACIES[NAMES[n]] for n in ("common", "rare", "held out")}, "accuracy"),
    "iprs": (curves.iprs, dict(zip(LAYERS, (IPR_IN, IPR_OUT), strict=True)), "IPR"),
    "misalignment": (curves.misalignment, {"all neurons": SIN_D}, "mean |sin D|"),
    "sparsity": (grokking.sparsity, {"IPR": (IPR_IN + IPR_OUT) / 2, "parameter norm": NORM}, "IPR"),
}  # fmt: skip


@pytest.mark.parametrize("name", CURVES)
def test_under_each_label_stands_its_own_curve(planted, name):
    make, expected, title = CURVES[name]
    chart = make(planted)
    assert drawn(chart) == pytest.approx(expected)
    assert title in titles(chart, "y")
    assert titles(chart, "x") == {"training step"}


def test_each_group_has_its_own_colour_and_the_same_everywhere():
    assert len({COLOURS[name] for name in ("train", "test", "mirrored", "held out")}) == 4
    assert next(iter(LAYERS)).startswith("input")


def test_the_forces_stand_under_their_names(planted):
    decaying = replace(planted, run=replace(SMALL, weight_decay=2.0))
    pull = norm_forces.on_norm(decaying)
    rows = grokking.forces(decaying).drawing.tables["curves"].to_pylist()
    for name in grokking.FORCES:
        np.testing.assert_allclose([row["value"] for row in rows if row["curve"] == name], pull[name])
    assert pull["weight decay"][-1] == pytest.approx(((1 - SMALL.lr * 2.0) ** 2 - 1) * NORM**2, rel=1e-6)
    assert pull["loss gradient"][-1] == pytest.approx(-pull["weight decay"][-1])  # the norm stands still


def test_the_dots_stand_at_twice_the_input_phase_and_the_output_phase(record):
    frame = dict(record.frames[-1]) | {"phi": np.full(11, 0.1 * np.pi), "psi": np.full(11, 0.7 * np.pi)}
    chart = neurons.phase_scatter(frame, SMALL.K, 300)
    row = chart.drawing.tables["dots"].to_pylist()[0]
    assert (row["two_phi"], row["psi"]) == pytest.approx((0.2, 0.7))
    assert (titles(chart, "x"), titles(chart, "y")) == ({"2φ (units of π)"}, {"ψ (units of π)"})
    figure = paper.phase_relationship(replace(record, frames=(frame,), frame_steps=(300,)))
    (at, *_), axes = figure.axes[0].collections[0].get_offsets(), figure.axes[0]
    assert tuple(at) == pytest.approx((0.2, 0.7))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("2φ (units of π)", "ψ (units of π)")


def lines(axes) -> dict[str, float]:
    return {line.get_label(): float(np.mean(line.get_ydata())) for line in axes.lines}


@pytest.mark.parametrize(("what", "expected", "title"), [("loss", LOSSES, "loss (nats)"),
                                                         ("accuracy", ACCURACIES, "accuracy")])  # fmt: skip
def test_in_print_each_curve_stands_under_its_label_too(planted, what, expected, title):
    axes = paper.grokk_curves(planted, what).axes[0]
    assert lines(axes) == pytest.approx({n: expected[NAMES[n]] for n in ("train", "test", "held out")})
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training step", title)
    by_colour = {line.get_color(): line.get_label() for line in axes.lines}
    assert by_colour == {COLOURS[name]: name for name in ("train", "test", "held out")}


def test_in_print_sparsity_and_norm_have_their_own_axes(planted):
    left, right = paper.grokk_avg_ipr(planted).axes
    assert lines(left) == pytest.approx({"input layer": IPR_IN, "output layer": IPR_OUT})
    assert list(lines(right).values()) == pytest.approx([NORM])
    assert (left.get_ylabel(), right.get_ylabel()) == ("mean IPR", "parameter norm (dashed)")


def test_in_print_the_logits_stand_with_their_ghosts_outlined(record):
    p = SMALL.p
    frame = dict(record.frames[-1]) | {"logits0": np.eye(p, dtype=np.float32)}
    axes = paper.output_logits(replace(record, frames=(frame,), frame_steps=(300,))).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("answer j", "y (with x = 0)")
    corners = [{tuple((path.vertices[0] + 0.5).astype(int)) for path in outline.get_paths()}
               for outline in axes.collections]  # fmt: skip
    assert corners[0] == {(j, y) for y in range(p) for j in (0, 2 * y % p)}
    assert corners[1] == {(y, y) for y in range(p)}


# -- where the ghosts are -----------------------------------------------------------------------


@pytest.mark.parametrize(("x", "y"), [(1, 3), (2, 5), (0, 4)])
def test_ghosts_are_at_2x_and_2y(x, y):
    p, names = 7, list(logits.KINDS)
    kind = list(logits.kinds(p, x, y))
    assert kind[(x + y) % p] == names[0]
    assert {j for j in range(p) if kind[j] == names[1]} == {2 * x % p, 2 * y % p}


def test_the_picture_of_the_votes_rings_the_ghosts_and_means_over_their_cells(record):
    p = 7
    y = np.arange(p)
    votes = np.full((p, p), 1.0)
    votes[y, 0] = votes[y, 2 * y % p] = 5.0
    votes[y, y] = 9.0
    chart = grids.logits0({"logits0": votes - votes.mean(1, keepdims=True)}, 300)
    told = " ".join((chart.title, chart.caption))
    centred = votes - votes.mean(1, keepdims=True)
    ghost = np.zeros((p, p), bool)
    ghost[y, 0] = ghost[y, 2 * y % p] = True
    ghost[y, y] = False
    for part in (np.eye(p, dtype=bool), ghost, ~ghost & ~np.eye(p, dtype=bool)):
        assert f"{centred[part].mean():+.3g}" in told.replace("−", "-"), told


# -- theory, by numbers -------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["quad", "relu"])
def test_the_invariants_are_those_of_the_activation(activation):
    alpha, phi, beta, psi = z = np.array([0.11, 0.3, 0.09, 0.2])
    sin = np.sin(2 * phi - psi)
    expected = {
        "quad": [alpha**2 - 2 * beta**2, alpha**2 * beta * sin], "relu": [alpha**2 - beta**2, alpha**4 * beta * sin]
    }  # fmt: skip
    np.testing.assert_allclose(theory.invariants(activation, z), expected[activation], rtol=1e-12)


def test_aligned_means_within_a_tenth_of_a_radian():
    theta, xi = [], []
    for D in (0.0, 0.099, -0.099, 0.101, 0.11, 3.0):
        theta.append(np.cos(2 * np.pi * np.arange(7) / 7))
        xi.append(np.cos(2 * np.pi * np.arange(7) / 7 - D))
    told = measures.layer(measures.neurons(np.array(theta), np.array(xi)), "relu")
    assert told["aligned"] == pytest.approx(3 / 6)
    assert told["same_frequency"] == 1


def test_pruning_silences_the_half_that_it_names(record):
    net = surgery.network(record.frames[-1], record.run)._replace(theta_MP=np.diag(np.arange(1.0, 8)), xi_MP=np.eye(7))
    small, large = surgery.prune_smallest(net, 3 / 7), surgery.prune_largest(net, 3 / 7)
    assert np.flatnonzero(small.theta_MP.any(1)).tolist() == [3, 4, 5, 6]
    assert np.flatnonzero(large.theta_MP.any(1)).tolist() == [0, 1, 2, 3]


def test_an_upset_is_a_neuron_that_changed_its_leader(record):
    frames = [dict(frame) for frame in record.frames]
    steady = np.full(11, 2, np.uint8)
    frames[0]["frequency"], frames[-1]["frequency"] = steady, np.where(np.arange(11) == 6, 3, steady)
    assert lottery.upset(replace(record, frames=tuple(frames))) == 6


def test_harmonics_that_fold_onto_the_frequency_itself_are_left_out():
    p, j = 9, np.arange(9)
    wave = lambda k: np.cos(2 * np.pi * k * j / p)  # noqa: E731
    theta = np.array([wave(1) + 0.3 * wave(3) + 0.2 * wave(4), wave(3)])  # 3 * 3 = 0 mod 9; 5 * 1 folds onto 4
    xi = np.array([wave(1) + 0.5 * wave(2) + 0.25 * wave(3), wave(3)])  # 2 * 3 folds onto 3 itself
    leak = measures.leakage(measures.neurons(theta, xi))
    assert leak == pytest.approx({"leak_in_3": 0.3, "leak_in_5": 0.2, "leak_out_2": 0.5, "leak_out_3": 0.25}, rel=1e-6)
    assert fourier.amplitudes(fourier.dft(theta))[0, 3] > 0


def test_held_out_pairs_are_those_of_which_neither_order_is_trained():
    kinds, run = data.kinds(SMALL), SMALL
    held = kinds == data.HELD_OUT
    assert (held == held.T).all()
    assert held.sum() < run.p**2
