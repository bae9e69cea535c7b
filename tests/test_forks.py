"""A fork is a run of its own that shares its parent's past."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import SMALL, SMALL_SGD, assert_same_arrays, assert_same_training, finish

from modadd.jobs.lab import carry_out
from modadd.jobs.pool import carry_out_together
from modadd.runs import Run
from modadd.training.forks import begin, fork, left_at, origin, places

GO_ON = lambda update: False  # noqa: E731


def without_names(record):
    """The record under the settings of SMALL, to compare numbers only."""
    return replace(record, run=SMALL)


def test_a_fork_with_unchanged_settings_continues_bit_identically(store, record):
    store.put(record)
    child = carry_out(fork(SMALL, 130), store, "cpu", GO_ON)
    assert child.run.parent == f"{SMALL.id}@130"
    assert_same_training(without_names(child), record)


def test_a_fork_of_a_checkpoint_goes_on_from_it(store, record):
    store.put(record)
    longer = fork(SMALL, 300, epochs=360)
    whole = finish(replace(SMALL, epochs=360))
    assert_same_training(replace(carry_out(longer, store, "cpu", GO_ON), run=whole.run), whole)


def test_a_fork_differs_from_its_parent_only_after_it_left(store, record):
    store.put(record)
    child = carry_out(fork(SMALL, 130, weight_decay=3.0), store, "cpu", GO_ON)
    for name in record.history:
        np.testing.assert_array_equal(child.history[name][:131], record.history[name][:131])
    assert child.history["norm"][-1] < record.history["norm"][-1]
    assert child.provenance["seconds"] < 60


def test_a_parent_of_a_gpu_is_trained_again_in_float32(store, record):
    store.put(replace(record, run=replace(SMALL, precision="tf32"), state=None))
    child = carry_out(fork(replace(SMALL, precision="tf32"), 130, precision="fp32"), store, "cpu", GO_ON)
    assert_same_training(without_names(child), record)


def test_a_fork_is_trained_by_a_worker_of_the_pool_too(store, record):
    store.put(record)
    run = fork(SMALL, 130, weight_decay=3.0)
    assert carry_out_together([run], store, "cpu", lambda steps: False) == []
    child = store.get(run.id)
    assert child.step == SMALL.epochs
    np.testing.assert_array_equal(child.history["train_loss"][:131], record.history["train_loss"][:131])


def test_a_fork_of_a_fork_is_reached_through_both(store, record):
    store.put(record)
    first = fork(SMALL, 50, lr=2e-3)
    carry_out(first, store, "cpu", GO_ON)
    second = carry_out(fork(first, 120, weight_decay=1.0), store, "cpu", GO_ON)
    assert left_at(second.run) == (first.id, 120, False)
    np.testing.assert_array_equal(second.history["train_loss"][:121], store.get(first.id).history["train_loss"][:121])


def test_a_fork_may_change_its_optimiser(store, record):
    store.put(record)
    to_sgd = carry_out(fork(SMALL, 130, optimizer="sgd", lr=0.1), store, "cpu", GO_ON)
    assert to_sgd.state.keys() == {"w", "step"}
    store.put(finish(SMALL_SGD))
    to_adam = carry_out(fork(SMALL_SGD, 130, optimizer="adamw", lr=1e-3), store, "cpu", GO_ON)
    assert np.isfinite(to_adam.history["train_loss"]).all()


def test_the_weights_of_a_frame_are_enough_to_fork(store, record):
    small = record.compact()
    step = places(record)[len(places(record)) // 2]
    store.put(record.without_state())
    child = carry_out(fork(SMALL, step, weights_only=True), store, "cpu", GO_ON)
    assert child.step == SMALL.epochs
    at = list(child.steps).index(step)
    assert child.history["train_loss"][at] == pytest.approx(record.history["train_loss"][step], rel=5e-3)
    assert places(small) == [SMALL.epochs]


def test_a_thinned_parent_leaves_gaps_where_it_knows_nothing(record):
    small = replace(record.compact(), frames=record.frames, frame_steps=record.frame_steps)
    small = replace(
        small, steps=small.steps[::2], history={name: column[::2] for name, column in small.history.items()}
    )
    step = places(record)[-2]
    child = finish(fork(SMALL, step, weights_only=True), begin(fork(SMALL, step, weights_only=True), small))
    known = child.history["train_loss"][small.steps[small.steps < step]]
    np.testing.assert_array_equal(known, small.history["train_loss"][small.steps < step])
    assert np.isnan(child.history["train_loss"][:step]).any()
    assert np.isfinite(child.history["train_loss"][step:]).all()


def test_leaving_off_on_the_way_keeps_what_was_trained(store, record):
    store.put(record.without_state())
    run = fork(SMALL, 290, weight_decay=1.0)
    left = origin(run, store, "cpu", lambda update: True)
    if left.run != run:  # it was slower than one look
        assert left.run.epochs == 290
        assert store.get(left.run.id).step == left.step
    whole = carry_out(run, store, "cpu", GO_ON)
    assert whole.step == SMALL.epochs


@pytest.mark.parametrize(
    ("changes", "step", "sentence"),
    [
        (dict(p=9), 10, "a fork can change lr"),
        (dict(epochs=10), 10, "between steps 1 and 9 of 10, not at 10"),
        (dict(), 0, "between steps 1 and 299 of 300, not at 0"),
        (dict(lr=-1.0), 10, "lr must be a number"),
    ],
)
def test_a_fork_that_makes_no_sense_is_refused(changes, step, sentence):
    with pytest.raises(ValueError, match=sentence):
        fork(SMALL, step, **changes)


def test_a_parent_that_is_missing_is_named(store):
    with pytest.raises(ValueError, match=f"leaves {SMALL.id}, which is not here: train that first"):
        carry_out(fork(SMALL, 10), store, "cpu", GO_ON)


def test_a_parent_without_weights_is_named(store, record):
    small = replace(
        record.compact(), frames=record.compact().frames[:-1], frame_steps=record.compact().frame_steps[:-1]
    )
    with pytest.raises(ValueError, match="holds no state of step 128"):
        begin(fork(SMALL, 128, weights_only=True), small)


def test_an_embedding_cannot_be_forked_from_effective_weights(record):
    run = Run(p=7, d_mlp=11, d_model=4)
    with pytest.raises(ValueError, match="cannot be trained on from its weights alone"):
        begin(fork(run, 10, weights_only=True), replace(record, run=run))


def test_the_state_of_the_parent_is_not_shared(store, record):
    before = {name: value.copy() for name, value in record.state.items()}
    store.put(record)
    carry_out(fork(SMALL, 300, epochs=320), store, "cpu", GO_ON)
    assert_same_arrays(record.state, before)


def test_a_fork_never_begins_from_the_state_of_another_step(record):
    with pytest.raises(ValueError, match=f"^{SMALL.id} holds no state of step 130, where "):
        begin(fork(SMALL, 130), record)  # whose state is that of its end
