"""What is pressed in one tab acts on what stood there, whatever happened in another meanwhile."""

from dataclasses import replace

import pytest
from conftest import SMALL, assert_same_training, finish

import modadd.training.cost
from modadd import ui
from modadd.training.forks import fork
from modadd.ui.bin import CHOSEN
from pages import errors, press, said

RUNS = "Runs"
OTHER, THIRD = (replace(SMALL, seed=seed, epochs=20) for seed in (1, 2))


@pytest.fixture(scope="module")
def pair(one_thread):
    return {run.id: finish(run) for run in (OTHER, THIRD)}


@pytest.fixture
def tab(app, pair):
    """tab(run) opens Runs as a new visitor, with this run chosen; OTHER and THIRD are there."""
    app(RUNS, atlas=False)
    for one in pair.values():
        ui.lab().store.put(one)

    def open_tab(run):
        test = app(RUNS, atlas=False)
        test.session_state[CHOSEN] = run.id
        return test.run()

    return open_tab


def there():
    return set(ui.lab().store.cards())


def again(test):
    return press(test, "Train it again")


def test_a_press_deletes_the_run_it_names_when_another_tab_deleted_the_row_above(tab, pair, tried):
    left, right = tab(OTHER), tab(THIRD)
    press(left, f"Delete {OTHER.id}")
    press(right, f"Delete {THIRD.id}")
    assert there() == set()
    for name in ui.lab().store.bin.names():
        ui.lab().store.restore(name)
    for run_id, one in pair.items():
        assert_same_training(ui.lab().store.get(run_id), one)
    tried(
        "a press in one tab after another deleted, trained or brought in runs",
        1,
        "acts on the run that it names, or on none",
    )


def test_a_press_deletes_the_run_it_names_when_another_arrived_before_it(tab, record, tried):
    test = tab(THIRD)
    first = finish(replace(OTHER, seed=0))  # it stands above all others
    for one in (record, first):
        ui.lab().store.put(one)
    press(test, f"Delete {THIRD.id}")
    assert there() == {OTHER.id, SMALL.id, first.run.id}
    assert not errors(test)
    tried(
        "a press in one tab after another deleted, trained or brought in runs",
        1,
        "acts on the run that it names, or on none",
    )


def test_the_second_of_two_presses_on_one_run_does_no_harm(tab, tried):
    left, right = tab(THIRD), tab(THIRD)
    for test in (left, right):
        press(test, f"Delete {THIRD.id}")
        assert not test.exception
    assert there() == {OTHER.id}
    tried(
        "a press in one tab after another deleted, trained or brought in runs",
        1,
        "acts on the run that it names, or on none",
    )


def test_a_run_that_was_trained_anew_meanwhile_is_not_deleted(tab, pair, tried):
    test, other = tab(THIRD), tab(THIRD)
    again(other)
    assert ui.lab().job(THIRD.id).done.wait(60)
    press(test, f"Delete {THIRD.id}")
    assert errors(test) == [f"{THIRD.id} has changed since this page was drawn\\: look at it again."]
    assert_same_training(ui.lab().store.get(THIRD.id), pair[THIRD.id])
    tried(
        "a press in one tab after another deleted, trained or brought in runs",
        1,
        "acts on the run that it names, or on none",
    )


def test_a_deleted_run_comes_back(tab, pair, tried):
    test = press(tab(OTHER), f"Delete {OTHER.id}")
    assert there() == {THIRD.id}
    assert f"{OTHER.id} is in the bin" in said(test)
    press(test, "Undo")
    assert there() == {OTHER.id, THIRD.id}
    assert_same_training(ui.lab().store.get(OTHER.id), pair[OTHER.id])
    assert f"Delete {OTHER.id}" in [button.label for button in test.button]  # and is chosen again
    assert ui.lab().store.bin.names() == []
    tried("a run that was deleted by mistake", 1, "comes back from the bin as it was")


def test_what_was_removed_for_good_is_gone(tab):
    test = press(press(tab(OTHER), f"Delete {OTHER.id}"), "Remove for good")
    assert ui.lab().store.bin.names() == []
    assert "Undo" not in [button.label for button in test.button]


def test_a_run_that_trains_is_not_deleted_and_its_checkpoint_does_not_come_back(tab, tried):
    test = tab(THIRD)
    with ui.lab().store.lock(THIRD.id):  # by another program on this cache
        press(test, f"Delete {THIRD.id}")
    assert errors(test) == [f"{THIRD.id} is being trained\\: stop it first."]
    assert THIRD.id in there()
    tried(
        "a press in one tab after another deleted, trained or brought in runs",
        1,
        "acts on the run that it names, or on none",
    )


# -- train it again -----------------------------------------------------------------------------


def kept(record):
    """The store holds this very record, and nothing was put into the bin."""
    assert_same_training(ui.lab().store.get(record.run.id), record)
    return not ui.lab().store.bin.names()


def test_a_tf32_record_stays_where_there_is_no_cuda(tab, pair, tried):
    fast = replace(pair[OTHER.id], run=replace(OTHER, precision="tf32"))
    ui.lab().store.put(fast)
    test = again(tab(fast.run))
    assert errors(test) == ["precision tf32 needs a CUDA device\\: choose fp32."]
    assert kept(fast)
    tried(
        "training again where it is refused: no CUDA, a parent that is gone, no room, a network from elsewhere",
        1,
        "a sentence; the record stays",
    )


@pytest.mark.parametrize("gone", ["parent", "grandparent"])
def test_a_fork_stays_when_what_it_left_is_gone(tab, pair, gone, tried):
    parent = fork(OTHER, 5, epochs=30) if gone == "grandparent" else OTHER
    child = fork(parent, 10, epochs=30, weight_decay=3.0)
    if gone == "grandparent":
        ui.lab().store.put(replace(pair[OTHER.id], run=parent, state=None))
    orphan = replace(pair[OTHER.id], run=child)
    ui.lab().store.put(orphan)
    ui.lab().delete(OTHER.id)
    for name in ui.lab().store.bin.names():
        ui.lab().store.bin.drop(name)
    test = again(tab(child))
    assert f"leaves {OTHER.id}, which is not here" in errors(test)[0]
    assert kept(orphan)
    tried(
        "training again where it is refused: no CUDA, a parent that is gone, no room, a network from elsewhere",
        1,
        "a sentence; the record stays",
    )


def test_a_record_stays_when_there_is_too_little_room(tab, pair, monkeypatch, tried):
    test = tab(THIRD)
    monkeypatch.setattr(modadd.training.cost, "free_memory", lambda device="cpu": 1)
    again(test)
    assert "of memory" in errors(test)[0]
    assert kept(pair[THIRD.id])
    tried(
        "training again where it is refused: no CUDA, a parent that is gone, no room, a network from elsewhere",
        1,
        "a sentence; the record stays",
    )


def test_an_imported_network_stays(tab, pair, tried):
    foreign = replace(pair[THIRD.id], run=replace(THIRD, origin="0123456789abcdef"))
    ui.lab().store.put(foreign)
    test = again(tab(foreign.run))
    assert "without a past to train" in errors(test)[0]
    assert kept(foreign)
    tried(
        "training again where it is refused: no CUDA, a parent that is gone, no room, a network from elsewhere",
        1,
        "a sentence; the record stays",
    )
