"""The Tasks page, run in-process: planted records, an empty cache, a live run, and ids that are no task."""

import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import finish

from modadd import Run, preset, tasks, ui
from modadd.figures import tasks as draw
from modadd.figures.print import tasks as paper
from modadd.frames import pre_ln as measures
from pages import charts, drawn, move, press

SMALL = Run(
    p=5, model="pre-ln", activation="gelu", d_model=6, d_mlp=24, heads=2, layers=2, batch=16, lr=1e-2,
    weight_decay=0.1, frac_train=0.6, epochs=120,
)  # fmt: skip
TASKS = ("addition", "add3", "addpow")
CHARTS = {"loss", "accuracy", "errors-0", "table-network", "table-right"}
INSIDE = {"spectrum", "similarity", "pca-0", "pca-2", "traces-dimension", "attention-0", "attention-1"}


@pytest.fixture(scope="module")
def records(one_thread):
    return {task: finish(replace(SMALL, task=task)) for task in TASKS}


@pytest.fixture
def app(app):
    """Opens this page without the atlas."""
    return partial(app, "Tasks", atlas=False)


@pytest.mark.parametrize("task", TASKS)
def test_a_record_is_drawn_and_the_player_moves_it(app, records, task):
    ui.lab().store.put(records[task])
    test = app(run=records[task].run.id)
    assert not test.exception
    assert not test.error
    assert test.session_state["task"] == task
    assert drawn(test) >= CHARTS | INSIDE
    before = charts(test)
    move(test, 0)
    assert not test.exception
    assert charts(test)[: len(before) // 2] != before[: len(before) // 2]


@pytest.mark.parametrize("missing", ["weights", "answers"])
def test_a_record_is_drawn_as_far_as_it_goes(app, records, missing):
    record = records["add3"]
    frames = tuple({n: a for n, a in frame.items() if not n.startswith(missing)} for frame in record.frames)
    ui.lab().store.put(replace(record, frames=frames, state=None))
    test = app(run=record.run.id)
    assert not test.exception
    assert any("This record holds no" in text.value for text in test.info)
    assert drawn(test) >= CHARTS if missing == "weights" else "spectrum" in drawn(test)


def test_an_empty_cache_is_an_offer_to_train_which_is_then_watched(app):
    test = app(p="5")
    assert not test.exception
    assert not charts(test)
    assert any("has not been trained here" in text.value for text in test.info)
    test.segmented_control(key="task").set_value("add3").run()
    for field, value in {"d_model": 4, "batch": 8, "epochs": 40}.items():
        test.number_input(key=f"task-{field}-add3").set_value(value)
    test.run()
    assert not test.exception
    press(test, "Train it")
    run = preset("add3", 5, d_model=4, batch=8, epochs=40)
    assert test.query_params["run"] in (run.id, [run.id])
    ui.lab().job(run.id).done.wait(60)
    test.run()
    assert not test.exception
    assert any("ran to its last step at step 40" in text.value for text in test.success)
    assert drawn(test) >= CHARTS


def test_a_run_is_watched_while_it_trains(app):
    run = replace(SMALL, task="addpow", epochs=100_000)
    job = ui.lab().submit(run, "cpu")
    while job.record is None or not job.record.frames:
        time.sleep(0.05)
    test = app(run=run.id)
    assert not test.exception
    assert "Pause" in {button.label for button in test.button}
    assert drawn(test) >= CHARTS
    ui.lab().stop(run.id)
    job.done.wait(60)


def test_settings_that_are_no_run_are_one_sentence(app):
    test = app(p="5")
    test.number_input(key="task-d_model-addition").set_value(30).run()
    assert not test.exception
    assert [error.value for error in test.error] == ["d_model of a pre-ln must be a multiple of 4 heads, got 30."]


@pytest.mark.parametrize("bad", [preset("standard", 7).id, "p007-add3-0000000000", "<script>", "x" * 3000])
def test_what_is_no_run_on_a_task_is_one_sentence(app, bad):
    test = app(p="7", run=bad)
    assert not test.exception
    assert len(test.error) == 1
    assert "is here" in test.error[0].value
    assert len(test.error[0].value) < 300
    assert "run" not in test.query_params


# The charts


def test_the_map_of_errors_shows_the_planted_ones_in_their_colours():
    run = replace(SMALL, task="add3")
    answer_PP = tasks.truth(run)[2].copy()
    train_PP = tasks.train_maps(run)[2]
    trained, tested = np.argwhere(train_PP)[0], np.argwhere(~train_PP)[0]
    for a, b in (trained, tested):
        answer_PP[a, b] += 1
    rgb = draw.error_colours(answer_PP, run, 2)
    wrong = {tuple(rgb[tuple(at)]) for at in (trained, tested)}
    assert len(wrong) == 2
    assert (rgb.reshape(-1, 3) == draw.error_colours(tasks.truth(run)[2], run, 2)[0, 0]).all(1).sum() == 23
    rows = draw.map_table(answer_PP, run, 2).to_pylist()
    assert sorted((r["a"], r["b"], r["trained"]) for r in rows if r["answer"] != r["right_answer"]) == sorted(
        (int(a), int(b), kind) for (a, b), kind in ((trained, True), (tested, False))
    )


def test_chosen_neurons_are_pure_and_their_phases_lie_apart():
    a = np.arange(11)
    waves = [np.cos(2 * np.pi * 2 * a / 11 + phase) for phase in (0, 0.01, 0.02, np.pi / 2)]
    noise = np.random.default_rng(0).normal(size=(11, 3)).T
    curves = np.stack([*waves, np.cos(2 * np.pi * 3 * a / 11), *noise], 1)
    assert set(measures.purest(curves, 2, 2).tolist()) & {0, 1, 2}
    assert 3 in measures.purest(curves, 2, 2)
    assert set(measures.purest(curves, 5).tolist()) == {0, 1, 2, 3, 4}
    assert len(measures.purest(np.ones((11, 4)), 3)) == 0


def test_the_tables_say_what_the_charts_show(records):
    record = records["addpow"]
    frame = record.frames[-1]
    rows = draw.by_map_table(frame, record.run)
    np.testing.assert_allclose(rows["accuracy"], measures.by_map(frame))
    assert rows["answers"].to_pylist() == [1, 5, 3, 5, 2]
    last = [row for row in draw.collapse_table(record).to_pylist() if row["step"] == record.step]
    np.testing.assert_allclose([row["accuracy"] for row in last], measures.by_map(frame))
    curves = draw.history(record, "accuracy").table().to_pylist()
    test = [row["step"] for row in curves if row["curve"] == "test"]
    assert set(test) == set(record.steps[np.isfinite(record.history["test_accuracy"])].tolist())
    assert sum(row["curve"] == "train" for row in curves) == len(record.steps)


@pytest.mark.parametrize("task", ["addition", "addpow"])
def test_every_printed_figure_is_drawn(records, task):
    record = records[task]
    made = paper.figures(record.run)
    rings = "mlp_pairgrid_layer1_b0" + "_c0" * (task != "addition")
    assert {"embedding_circuit_gallery", "attention", rings} <= made.keys()
    for name, make in made.items():
        assert make(record).axes, name
    bare = tuple({n: a for n, a in frame.items() if not n.startswith("weights/")} for frame in record.frames)
    with pytest.raises(ValueError, match="keeps no weights: train the run here to its end"):
        made["attention"](replace(record, frames=bare))
