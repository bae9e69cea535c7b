"""What charts say: planted records, in which every curve and cell is recognisable, are found again under the right
label, axis and legend; sentences about a picture are computed from it."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pytest
from conftest import SMALL

from modadd import data
from modadd.analysis import lottery
from modadd.figures import (
    compare,
    curves,
    export,
    fields,
    grids,
    grokking,
    logits,
    many,
    neurons,
    phases,
    style,
    weights,
)
from modadd.figures import lottery as races
from modadd.figures.chart import Chart, Drawing, drawing
from modadd.figures.over_time import apart
from modadd.maths import fourier

P, K = SMALL.p, SMALL.K
STEPS = np.arange(0, 301, 10)
LEVELS = {"train": 0.9, "test": 0.6, "held_out": 0.2, "common": 0.95, "rare": 0.4}  # one a group


@pytest.fixture(scope="module")
def planted(record):
    """SMALL with a history in which every group has a level of its own, from half-way on."""
    after = STEPS >= 150
    history = {name: np.zeros(len(STEPS), np.float32) for name in record.history}
    for group, level in LEVELS.items():
        history[f"{group}_accuracy"] = np.where(after, level, 0.0).astype(np.float32)
        history[f"{group}_loss"] = np.where(after, 1 - level, 2.0).astype(np.float32)
    history["norm"] = np.where(STEPS == 200, 7.0, 5.0).astype(np.float32)
    return replace(record, steps=STEPS, history=history, state=None)


def words(chart) -> list[str]:
    """All that is written in the picture."""
    svg = export.svg((chart.drawing if isinstance(chart, Chart) else chart).to_dict())
    return [text.text for text in ElementTree.fromstring(svg).iter() if text.tag.endswith("text") and text.text]


def last(chart) -> dict[str, float]:
    """The value at which each curve ends, by the name that is written there."""
    ends = chart.drawing.tables["ends"].to_pylist()
    assert {row["curve"] for row in ends} <= set(words(chart))
    return {row["curve"]: row["value"] for row in ends}


def colours(chart, field: str = "curve") -> dict[str, str]:
    """What is drawn in which colour, by the scale of the first layer that has one."""
    for layer in chart.drawing.spec.get("layer", [chart.drawing.spec]):
        colour = layer.get("encoding", {}).get("color", {})
        if colour.get("field") == field and "scale" in colour:
            return dict(zip(colour["scale"]["domain"], colour["scale"]["range"], strict=True))
    raise AssertionError("no colours")


# -- curves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "groups"),
    [
        (curves.accuracies, {"train": "train", "test": "test", "mirrored": "rare", "held out": "held_out"}),
        (curves.order, {"common": "common", "rare": "rare", "held out": "held_out"}),
    ],
)
def test_each_curve_of_accuracy_stands_under_its_name_and_in_its_colour(planted, draw, groups):
    chart = draw(planted)
    assert last(chart) == pytest.approx({name: LEVELS[group] for name, group in groups.items()})
    assert colours(chart) == {name: style.COLOURS[name] for name in groups}
    assert {"accuracy", "training step", "100%", "75%"} <= set(words(chart))


def test_losses_stand_on_powers_of_ten(planted):
    chart = curves.losses(planted)
    assert last(chart) == pytest.approx({"train": 0.1, "test": 0.4, "held out": 0.8}, rel=1e-6)
    said = words(chart)
    assert {"loss (nats)", "10⁰", "10⁻¹"} <= set(said)
    assert not any(re.search(r"\de[+-]", text) for text in said)


def test_all_right_is_not_the_frame(planted):
    right = planted.history | {"train_accuracy": np.ones(len(STEPS), np.float32)}
    chart = curves.accuracies(replace(planted, history=right))
    domains = [layer["encoding"]["y"]["scale"]["domain"] for layer in chart.drawing.spec["layer"]
               if "domain" in layer["encoding"].get("y", {}).get("scale", {})]  # fmt: skip
    assert domains
    assert all(high > 1 for _, high in domains)


def test_exact_zeros_are_drawn_at_the_edge_and_said_to_be(planted):
    assert "edge" not in curves.losses(planted).caption
    gone = planted.history | {"train_loss": np.where(STEPS < 150, 2.0, 0.0).astype(np.float32)}
    chart = curves.losses(replace(planted, history=gone))
    assert last(chart)["train"] == pytest.approx(style.LEAST, abs=1e-15)
    assert "below 1e-12" in chart.caption
    assert "10⁻¹²" in words(chart)
    assert "NaN" not in export.svg(chart.drawing.to_dict()).decode()


def test_names_at_the_ends_of_curves_keep_their_distance_and_their_order():
    rng = np.random.default_rng(0)
    for _ in range(50):
        places = rng.choice([0.0, 0.5, 0.97, 1.0], size=5)
        found = apart(places, 0.07)
        order = np.argsort(places, kind="stable")
        assert (np.diff(found[order]) >= 0.07 - 1e-9).all()
        assert found.max() <= 1 + 1e-9
    np.testing.assert_allclose(apart(np.array([0.1, 0.9]), 0.07), [0.1, 0.9])


@pytest.mark.parametrize("log_steps", [True, False])
def test_stages_lie_on_their_steps_and_carry_their_numbers(planted, log_steps):
    chart = curves.accuracies(planted, None, log_steps, (100, None))
    rows = chart.drawing.tables["bands"].to_pylist()
    assert [(row["step"], row["until"], row["numeral"]) for row in rows] == [(0, 100, "I"), (100, 300, "II")]
    assert all(row["step"] < row["middle"] < row["until"] for row in rows)
    assert {"I", "II"} <= set(words(chart))


def test_the_rule_is_at_the_step_in_view_and_never_behind_the_last_one(planted):
    chart = curves.losses(planted, 300)
    for step, shown in ((120, 120), (10**9, 300)):
        assert chart.at(step).drawing.tables["now"]["step"].to_pylist() == [shown]
    assert chart.at(120).drawing.spec is chart.drawing.spec  # so that a film sends data only
    assert curves.losses(planted).drawing.tables["now"].num_rows == 0


def test_time_is_logarithmic_from_step_1_with_0_beside_it(planted):
    long_run = replace(planted, steps=STEPS * 100)
    assert {"0", "1", "10", "100", "1k", "10k"} <= set(words(curves.losses(long_run)))


def test_the_norm_peaks_where_the_caption_says(planted):
    chart = grokking.sparsity(planted)
    assert "largest, 7, at step 200; at the end 5." in chart.caption
    assert {"IPR", "norm", "parameter norm"} <= set(words(chart))


def test_runs_in_one_chart_carry_their_names(planted):
    other = replace(planted, history=planted.history | {"train_loss": np.full(len(STEPS), 0.5, np.float32)})
    lines = [("one", STEPS, planted.history["train_loss"]), ("other", STEPS, other.history["train_loss"])]
    hues = compare.hues(["one", "other"])
    chart = compare.curves(lines, "train_loss", hues)
    assert last(chart) == pytest.approx({"one": 0.1, "other": 0.5}, rel=1e-6)
    assert colours(chart, "run") == hues
    told = many.overlay({"one": planted, "other": other}, "train_loss", (100,)).caption
    assert "one: 0.1; other: 0.5" in told
    assert "fork" in told


# -- one moment -----------------------------------------------------------------------------------


def frame(**arrays):
    """A frame of SMALL in which only what is given tells something."""
    rng = np.random.default_rng(1)
    n = P * (P + 1) // 2
    return {
        "correct": np.ones(n, bool), "probability": np.ones(n, np.float32), "ipr_in": 0.25, "ipr_out": 0.75,
        "frequency": np.array([1, 2, 3, 1]), "phi": rng.uniform(-3, 3, 4), "psi": rng.uniform(-3, 3, 4),
        "alpha": np.ones(4), "beta": np.ones(4), "counts_K": np.array([2, 1, 1]),
    } | arrays  # fmt: skip


def of_pair(x: int, y: int) -> int:
    """The place of an unordered pair in an array over them."""
    return int(np.flatnonzero([{int(a), int(b)} == {x, y} for a, b in zip(*data.pairs(P), strict=True)])[0])


def test_only_wrong_answers_have_a_colour_that_of_their_kind():
    right = np.ones(P * (P + 1) // 2, bool)
    right[of_pair(2, 5)] = False
    chart = grids.answers(frame(correct=right), SMALL, 40)
    kind = np.array(data.KINDS)[data.kinds(SMALL)]
    cells = {(row["first"], row["second"]): row["answer"] for row in chart.drawing.tables["cells"].to_pylist()}
    assert {pair: answer for pair, answer in cells.items() if answer != "right"} == {
        (2, 5): kind[2, 5], (5, 2): kind[5, 2]
    }  # fmt: skip
    assert colours(chart, "answer")[kind[2, 5]] == style.COLOURS[kind[2, 5]]
    wrong = re.findall(r"(\w[\w ]*?) (\d+) of", chart.caption.split("Wrong: ")[1])
    assert sum(int(count) for _, count in wrong) == 2
    assert "step 40" in chart.title


def test_a_probability_stands_in_its_cell_and_rings_around_what_is_held_out():
    probability = np.zeros(P * (P + 1) // 2, np.float32)
    probability[of_pair(1, 3)] = 0.5
    chart = grids.probability(frame(probability=probability), SMALL, 40)
    cells = {(row["row"], row["column"]): row["value"] for row in chart.drawing.tables["cells"].to_pylist()}
    assert {pair for pair, value in cells.items() if value} == {(1, 3), (3, 1)}
    rings = {(int(row["y"]), int(row["x"])) for row in chart.drawing.tables["marks"].to_pylist()}
    assert rings == {(int(x), int(y)) for x, y in np.argwhere(data.kinds(SMALL) == data.HELD_OUT)}
    spec = chart.drawing.spec
    assert spec["width"] == spec["height"]


def test_the_caption_of_logits_counts_what_the_picture_shows():
    votes = np.eye(P) * 4.0
    votes[3, 3], votes[3, 0] = 0.0, 9.0  # y = 3: the ghost wins
    chart = grids.logits0({"logits0": votes}, 40)
    assert f"the largest in {P - 1} of {P} rows" in chart.caption
    assert f"right {4 * (P - 1) / P:+.3g}" in chart.caption


def test_modes_are_named_once_a_pair_and_neurons_where_they_can_be_used():
    rows = {"input": np.zeros((2, P)), "output": np.zeros((2, P))}
    rows["input"][1, fourier.mode_names(P).index("sin 2")] = 0.3
    chart = weights.modes(rows, np.array([8, 4]), "input", 40)
    (bright,) = [row for row in chart.drawing.tables["cells"].to_pylist() if row["value"]]
    assert (bright["row"], bright["column"], bright["value"]) == (4, "sin 2", 0.3)
    said = words(chart)
    assert [said.count(str(k)) for k in (1, 2, 3)] == [1, 1, 1]
    assert {"8", "4"} <= set(said)
    plain = neurons.spectra(frame(theta_hat=np.zeros((9, P))), "input", 40, np.array([8, 4]))
    assert not {"8", "4"} & set(words(plain))


def test_what_is_compared_shares_its_scale_of_colours():
    small, large = (fields.heatmap(np.full((2, 3), value), fields.counted("x", 3), fields.counted("y", 2), "v", top=5.0)
                    for value in (1.0, 5.0))  # fmt: skip
    assert small.tables["ends"].equals(large.tables["ends"])


def test_the_histogram_counts_the_neurons_within_its_window():
    phi = np.array([0.3, 0.3, 0.3, 0.3])
    chart = neurons.alignment(frame(phi=phi, psi=2 * phi - np.array([0.05, -0.05, 0.2, 3.0])), 40)
    assert "50% of the neurons within ±5.7°" in chart.title
    rows = chart.drawing.tables["bars"].to_pylist()
    assert sum(row["neurons"] for row in rows if row["part"] == "aligned") == 2
    assert sum(row["neurons"] for row in rows) == 4
    window = [row for row in rows if row["part"] == "aligned"]
    assert min(row["low"] for row in window) == pytest.approx(-0.1 / np.pi)
    assert max(row["high"] for row in window) == pytest.approx(0.1 / np.pi)


def test_ring_and_evenness_say_one_number_that_of_all_neurons():
    whole = np.full((4, K), 0.1)
    whole[2, 0] = 0.9
    shown = frame(coherence=whole, counts_K=np.array([200, 50, 50]))
    ring = phases.ring(shown, K, 1, 3, 40)
    assert ring.title == "3φ: 0.900"
    assert "200 neurons" in ring.caption
    assert "the 2 that are held" in ring.caption
    even = {(row["k"], row["curve"]): row["value"] for row in phases.evenness(shown, K, 40).table().to_pylist()}
    assert even[1, "n = 3"] == pytest.approx(0.9)
    x, y = (ring.drawing.tables["arrow"][name].to_pylist()[1] for name in "xy")
    assert np.hypot(x, y) == pytest.approx(0.9)


def test_a_cosine_makes_one_turn_in_the_order_in_which_it_is_drawn():
    j = np.arange(23)
    from modadd.records import rows

    found = rows.best_cosine(fourier.dft(np.cos(2 * np.pi * 7 * j / 23 + 0.4)[None])[0])
    chart = weights.cosine_fit(found, "input", 5, 40)
    dots = chart.drawing.tables["dots"].to_pylist()
    line = chart.drawing.tables["curve"].to_pylist()
    assert all(row["turn"] == 7 * row["j"] % 23 for row in dots)
    near = np.interp([row["turn"] for row in dots], *np.array([(row["turn"], row["weight"]) for row in line]).T)
    np.testing.assert_allclose([row["weight"] for row in dots], near, atol=0.01)
    assert chart.title == "Neuron 5, input: k = 7, R² = 1.000"
    assert "k·j mod p" in words(chart)
    assert "7·j mod 23" in chart.caption


# -- the lottery ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def race():
    """Five frequencies of which 4 wins, 2, 5 and 1 come nearest and 3 does nothing."""
    step_S = np.array([0, 10, 100, 300])
    final = np.array([0.3, 0.6, 0.1, 1.0, 0.5])
    alpha = np.array([0.2, 0.3, 0.1, 0.1, 0.1]) + np.outer([0, 0.1, 0.5, 1.0], final)
    D = np.tile([0.5, 0.4, 0.3, 0.2, 0.1], (4, 1)) * np.pi
    D[:, 3] = np.array([0.25, 0.2, 0.1, 0.0]) * np.pi
    return {"step_S": step_S, "alpha_SK": alpha, "beta_SK": alpha / 2, "D_SK": D}


@pytest.mark.parametrize("what", ["alpha", "beta", "D"])
def test_the_winner_and_the_three_nearest_losers_are_named_alike_in_every_panel(race, what):
    chart = races.race(race, what, 300, 7)
    assert set(last(chart)) == {"k = 4", "k = 2", "k = 5", "k = 1"}
    assert colours(chart)["k = 4"] == style.COLOURS["winner"]
    assert colours(chart) == colours(races.race(race, "alpha", 300, 7))
    rows = chart.drawing.tables["curves"].to_pylist()
    assert {row["k"] for row in rows if row["curve"] == "others"} == {3}
    values = np.abs(race["D_SK"]) / np.pi if what == "D" else race[f"{what}_SK"]
    assert last(chart)["k = 4"] == pytest.approx(values[-1, 3], abs=1e-6)


def test_a_race_is_told_as_it_was_run(race):
    told = races.race(race, "alpha", 300, 7).caption
    leads = np.flatnonzero(race["alpha_SK"].argmax(1) == 3)[0]
    assert "k = 4, was number 3 of 5 at first" in told
    assert f"leads for good from some step between {race['step_S'][leads - 1]:,} and {race['step_S'][leads]:,}" in told
    assert "0.25 π at step 0, 0.00 π at step 300" in races.race(race, "D", 300, 7).caption


def test_aligned_frequencies_lie_on_the_ray(race):
    dots = {row["k"]: row for row in races.turning(race, 300, 7).drawing.tables["dots"].to_pylist()}
    assert (dots[4]["x"], dots[4]["y"]) == pytest.approx((1.0, 0.0), abs=1e-9)
    assert np.arctan2(dots[1]["y"], dots[1]["x"]) == pytest.approx(0.5 * np.pi)


def test_bets_are_sorted_and_those_that_are_no_better_than_a_guess_are_named():
    scores = {"phase": {"rate": 0.1, "low": 0.05, "high": 0.2}, "race": {"rate": 0.8, "low": 0.7, "high": 0.9}}
    chart = races.bets(scores, 0.09, 512, 300)
    assert chart.table()["rule"].to_pylist() == ["race", "phase"]
    assert "Best: race, 80.0%" in chart.caption
    assert "No better than that: phase" in chart.caption


def test_a_click_on_the_strip_names_a_neuron():
    chart = races.strip(np.array([3, 1, 2, 1]), 3, 2)
    assert [(row["neuron"], row["k"]) for row in chart.table().to_pylist()] == [(0, 3), (1, 1), (2, 2), (3, 1)]
    (select,) = [param for param in chart.drawing.spec["params"] if param["name"] == "neuron"]
    assert select["select"]["fields"] == ["neuron"]


def test_share_of_decided_neurons(record):
    assert lottery.decided(record, record.step) == 1.0
    assert lottery.decided(record, 0) < 1.0


# -- votes ----------------------------------------------------------------------------------------


def test_votes_and_their_sum_stand_over_their_answers():
    votes = np.zeros((K, P))
    votes[0, 3], votes[1, 3], votes[2, 5] = 2.0, 1.0, 1.0
    chart = logits.split(votes, 1, 2, 40)  # 1 + 2 = 3
    assert f"2 of {K} frequencies vote for the right answer, j = 3" in chart.caption
    assert "it leads" in chart.caption
    total = {row["j"]: row["value"] for row in chart.drawing.tables["sum"].to_pylist()}
    np.testing.assert_allclose([total[j] for j in range(P)], (votes - votes.mean(1, keepdims=True)).sum(0))
    cells = {(row["row"], row["column"]): row["value"] for row in chart.drawing.tables["cells"].to_pylist()}
    assert max(cells, key=cells.get) == (1, 3)


# -- the contract ---------------------------------------------------------------------------------


def test_every_drawing_stands_beside_and_below_every_other(planted, race):
    """Of Altair, of ours, with tables of the same names, charts and what they were composed to."""
    plain = alt.Chart(style.table(step=[0, 1], value=[1.0, 2.0])).mark_line().encode(x="step:Q", y="value:Q")
    row = curves.losses(planted) | curves.accuracies(planted) | races.race(race, "alpha", 300, 7)
    whole = row & (Drawing.of(plain) | grids.pairs(SMALL))
    said = words(whole)
    assert {"Loss", "Accuracy", "Input magnitude, neuron 7", "The pairs"} <= set(said)
    assert {"k = 4", "mirrored", "10⁰"} <= set(said)
    assert whole._repr_mimebundle_()


def test_a_chart_has_its_numbers_and_words_for_those_who_do_not_see_it(planted):
    chart = curves.losses(planted)
    assert chart.alt.startswith("Loss of")
    assert chart.table()["train_loss"].to_pylist() == planted.history["train_loss"].tolist()
    bare = Chart(drawing(_dots, {"dots": style.table(x=[1, 2, 3]), "one": style.table(x=[1])}), "Dots")
    assert bare.alt == "Dots"
    assert bare.table().num_rows == 3


def _dots():
    return alt.Chart(style.named("dots")).mark_circle().encode(x="x:Q")


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_a_chart_is_saved_with_one_call(planted, tmp_path, suffix):
    one, other = curves.losses(planted), curves.accuracies(planted)
    for chart in (one, one | other, (one | other) & one):
        assert export.save(chart, tmp_path / f"chart{suffix}").stat().st_size > 1000


def test_heatmaps_begin_at_the_ground_of_their_theme(monkeypatch):
    light = fields.heatmap(np.eye(3), fields.counted("x", 3), fields.counted("y", 3), "v")
    monkeypatch.setattr(style, "theme", lambda: "dark")
    dark = fields.heatmap(np.eye(3), fields.counted("x", 3), fields.counted("y", 3), "v")
    middle = lambda chart: chart.spec["layer"][0]["encoding"]["color"]["scale"]["range"][2]  # noqa: E731
    brightness = lambda hue: sum(int(hue[i : i + 2], 16) for i in (1, 3, 5))  # noqa: E731
    assert brightness(middle(light)) > 600
    assert brightness(middle(dark)) < 150


def test_frequencies_are_named_once_in_the_legend():
    for K_ in (1, 2, 3, 11, 99):
        values = style.ring_legend("k", 1, K_)["values"]
        assert len(set(values)) == len(values) <= 5
        assert set(values) <= set(range(1, K_ + 1))
