"""Any two to six runs beside each other: what is chosen, told, matched and drawn."""

import re
from dataclasses import replace
from functools import partial

import altair as alt
import numpy as np
import pytest
from conftest import EXACT, SMALL, SMALL_SGD, finish

from modadd import Run, preset, ui
from modadd.figures import compare as draw
from modadd.jobs.lab import Job
from modadd.many import compare
from pages import drawn, move, player, press, said

TRANSFORMER = "p053-transformer-4f857ff544"  # in the atlas


@pytest.fixture
def app(app):
    """Opens this page."""
    return partial(app, "Compare")


@pytest.fixture(scope="module")
def pair(record):
    """Two small runs that differ in optimiser, activation, init and rate."""
    return {"one": record, "other": finish(SMALL_SGD)}


def test_labels_tell_runs_apart_and_are_as_short_as_can_be():
    standard = preset("standard", 23)
    assert compare.labels([standard, preset("grokking", 23)]) == ["standard", "grokking"]
    assert compare.labels([standard, preset("standard", 29)]) == ["p = 23", "p = 29"]
    assert compare.labels([standard, replace(standard, seed=1)]) == ["seed 42", "seed 1"]
    assert compare.labels([replace(standard, lr=2e-4), replace(standard, lr=3e-4)]) == ["lr 0.0002", "lr 0.0003"]
    forks = [replace(standard, parent=f"{standard.id}@{at}") for at in (10, 20)]
    assert len(set(compare.labels(forks))) == 2


def test_only_what_differs_is_told():
    assert compare.differing([SMALL, SMALL]) == []
    assert compare.differing([SMALL, replace(SMALL, lr=0.5, seed=3)]) == ["lr", "seed"]


def test_choices_name_runs_that_are_here_and_at_most_six():
    runs = [preset(name, p, seed=seed) for name in ("standard", "quad_random") for p in range(3, 31, 2)
            for seed in (42, 5)]  # fmt: skip
    runs += [preset("transformer", 23), replace(preset("standard", 23), epochs=9)]
    known = {run.id: run for run in runs}
    found = list(compare.choices(known, 23, runs[0]).values())
    assert all(run_id in known for ids in found for run_id in ids)
    assert all(len(set(ids)) == len(ids) <= compare.MOST for ids in found)
    assert found[0] == [preset("standard", 23).id, preset("quad_random", 23).id]  # the longest, with its usual seed
    moduli = [known[run_id].p for run_id in found[1]]
    assert (moduli[0], moduli[-1], len(moduli)) == (3, 29, 6)
    assert [known[run_id].seed for run_id in found[2]] == [5, 42]
    assert found[4] == [preset("standard", 23).id, preset("transformer", 23).id]
    assert all(not ids for ids in compare.choices({}, 23).values())


def test_a_stage_ends_at_a_hundred_percent_of_it(pair, record):
    rising = np.linspace(0, 1, len(record.steps), dtype=np.float32)
    quick = {"it": replace(record, history=record.history | {"train_accuracy": rising})}
    ends = compare.ends(quick, "I")
    ((_, percent, accuracy),) = compare.curves(quick, "train_accuracy", ends, points=10**6)
    assert percent[np.flatnonzero(accuracy >= np.float32(0.95))[0]] == 100
    ((_, step, _),) = compare.curves(quick, "train_accuracy", compare.ends(quick, "step"), 10**6)
    np.testing.assert_allclose(step, record.steps, rtol=EXACT)
    never = {"it": replace(record, history=record.history | {"train_accuracy": 0 * rising})}
    assert compare.ends(never, "I") == {"it": None}
    assert compare.moments(pair, compare.ends(pair, "step")) == sorted(
        {*pair["one"].frame_steps, *pair["other"].frame_steps}
    )


def test_shares_of_frequencies_sum_to_one_and_know_a_planted_one(record):
    for layer in ("input", "output"):
        share_K, at = compare.spectrum(record, None, layer)
        assert share_K.sum() == pytest.approx(1)
        assert at == record.frame_steps[-1]
    p, M = record.run.p, record.run.d_mlp
    row = np.cos(2 * np.pi * 2 * np.arange(p) / p + 0.3)
    frame = {"theta": np.tile(row, (M, 1)), "xi": np.tile(row, (M, 1)), "theta_hat": np.zeros((M, p))}
    planted = replace(record, frames=(frame,), frame_steps=(0,))
    np.testing.assert_allclose(compare.spectrum(planted, None, "input")[0], [0, 1, 0], atol=EXACT)
    bare = replace(record, frames=({},), frame_steps=(0,))
    assert compare.spectrum(bare, None, "input") is None
    assert compare.probability(bare, None) is None


def test_charts_hold_every_run_and_the_moment_in_view(pair):
    colours = draw.hues(list(pair))
    assert len(set(colours.values())) == 2
    for name in ("train_loss", "test_accuracy", "ipr_in", "norm"):
        lines = compare.curves(pair, name, compare.ends(pair, "step"))
        for ends in (None, draw.ends_of(lines)):
            chart = draw.curves(lines, name, colours, 40, None, True, ends)
            spec = chart.drawing.spec
            if ends:
                assert spec["layer"][0]["encoding"]["x"]["scale"]["domain"] == [0, 300]
            alt.LayerChart.from_dict(spec)
        assert set(draw.curves_table(lines)["run"].to_pylist()) == set(pair)
    early, late = (draw.curves(lines, name, colours, at) for at in (1, 10**9))
    assert early.drawing.spec is late.drawing.spec  # so that a film swaps data only
    assert late.drawing.tables["now"]["step"][0].as_py() == max(curve[1].max() for curve in lines)
    assert draw.curves_table([]).num_rows == 0


def test_the_page_draws_two_presets_and_follows_the_player(app):
    test = app(p="23")
    assert not test.exception
    assert not test.error
    assert {"compare-train_loss", "compare-spectrum-input", "compare-logits-0"} <= drawn(test)
    move(test, 0)
    assert not test.exception
    assert "standard: logits for x = 0 at step 0" in said(test)
    test.segmented_control(key="compare-view").set_value("side by side").run()
    test.segmented_control(key="compare-match").set_value("I").run()
    assert not test.exception
    assert player(test, "percent")["at"] > 100
    assert test.query_params["runs"].count(",") == 1


def test_a_transformer_stands_beside_networks_and_what_it_lacks_is_said(app):
    runs = f"{TRANSFORMER},{preset('grokking', 19).id}"
    test = app(runs=runs, p="53")
    assert not test.exception
    assert test.query_params["runs"] in (runs, [runs])
    assert "Not measured: p = 53, transformer" in said(test)  # IPR
    assert "no logits are kept" in said(test)
    later = app(runs=runs, match="II")
    assert not later.exception
    assert "did not end" in said(later)


def test_runs_of_the_cache_of_another_hand_and_live_ones_are_compared(app, record):
    imported = replace(
        record, run=replace(SMALL, origin="0123456789abcdef"), steps=record.steps[:0], frames=record.frames[-1:],
        history={name: column[:0] for name, column in record.history.items()}, frame_steps=(300,), state=None,
        provenance=record.provenance | {"imported": "a file", "stop_reason": "stopped"},
    )  # fmt: skip
    ui.lab().store.put(imported)
    live = Run(p=7, d_mlp=11, lr=1e-3, frac_train=0.7, epochs=9000)
    ui.lab()._jobs[live.id] = Job(live, "cpu", "running", replace(record, run=live))
    waiting = replace(live, seed=7)
    ui.lab()._jobs[waiting.id] = Job(waiting, "cpu", "queued")
    test = app(runs=f"{imported.run.id},{live.id},{waiting.id}")
    assert not test.exception
    assert "is training now" in said(test)
    assert f"{waiting.id} has nothing to show yet" in said(test)
    assert {"compare-train_loss", "compare-spectrum-input"} <= drawn(test)


@pytest.mark.parametrize("runs", ["p023-nothing-0123456789", "<script>", "," * 3000])
def test_an_address_without_runs_that_are_here_is_told_so(app, runs):
    test = app(p="23", runs=runs, match=runs, view=runs, curves=runs)
    assert not test.exception
    assert test.error
    assert not any(re.search(r"(?<!\\)<", error.value) for error in test.error)


def test_quick_choices_fill_the_list_and_one_run_alone_asks_for_another(app):
    test = app(runs=preset("grokking", 23).id)
    assert "Choose at least two" in said(test)
    press(test, "grokking over p")
    assert not test.exception
    assert len(test.multiselect(key="compared").value) == compare.MOST
