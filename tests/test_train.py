"""The training loop: what it records, when it stops, and that stopping leaves no trace."""

import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import (
    FLOAT32,
    HALF,
    SMALL,
    SMALL_SGD,
    assert_same_arrays,
    assert_same_training,
    finish,
    last,
    plain_metrics,
    weights,
)

import modadd.records.record
from modadd import data
from modadd.data import METRICS
from modadd.frames.schema import frame_steps
from modadd.networks.mlp.model import initial_weights
from modadd.runs import Run
from modadd.training.forks import begin, fork
from modadd.training.loop import groups, train, train_many

DECAY = replace(SMALL, weight_decay=2.0, activation="gelu", split="unordered", seed=3)
RUNS = pytest.mark.parametrize("run", [SMALL, DECAY, SMALL_SGD], ids=["adamw", "adamw decay", "sgd"])
WILD = Run(p=7, d_mlp=11, activation="quad", optimizer="sgd", lr=10.0, epochs=300)  # its loss leaves float32 at 27


def checkpoints(run, resume=None):
    """Every checkpoint that a training offers when it is asked as often as it can answer."""
    return [update.checkpoint() for update in train(run, resume, device="cpu", every=0)]


# -- resuming -----------------------------------------------------------------------------------


@RUNS
def test_resuming_from_any_checkpoint_equals_never_stopping(run):
    run = replace(run, epochs=128)
    never_stopped = finish(run)
    kept = checkpoints(run)
    assert {1, 2, 13, 91, 108, 109, 110, 126, 127, 128} <= {checkpoint.step for checkpoint in kept}
    for checkpoint in kept:
        assert_same_training(finish(run, checkpoint), never_stopped)


@RUNS
def test_resuming_from_a_stored_checkpoint_equals_never_stopping(run, store):
    run = replace(run, epochs=60)
    never_stopped = finish(run)
    for checkpoint in checkpoints(run)[1::9]:
        store.put(checkpoint)
        assert_same_training(finish(run, store.get(run.id)), never_stopped)


@RUNS
def test_stopping_many_times_equals_never_stopping(run):
    run = replace(run, epochs=60)
    checkpoint = None
    for _ in range(12):
        updates = train(run, checkpoint, device="cpu", every=0)
        checkpoint = next(updates).checkpoint()
        updates.close()
    assert 0 < checkpoint.step <= 60
    assert_same_training(finish(run, checkpoint), finish(run))


@RUNS
@pytest.mark.parametrize(("short", "long"), [(1, 2), (5, 40), (100, 250), (128, 200)])
def test_continuing_a_finished_run_equals_the_longer_run(run, short, long):
    longer = replace(run, epochs=long)
    assert_same_training(finish(longer, finish(replace(run, epochs=short))), finish(longer))


@pytest.mark.xfail(strict=True, reason="the frames of the shorter run keep the weights that its own stride chose")
def test_continuing_keeps_the_weights_that_the_longer_run_would_keep(monkeypatch):
    # A budget for a few frames only: which of them keep weights depends on how many frames there are.
    monkeypatch.setattr(modadd.frames.schema, "WEIGHT_BYTES", 2 * 2 * 11 * 7 * 6)
    longer = replace(SMALL, epochs=250)
    assert_same_training(finish(longer, finish(replace(SMALL, epochs=64))), finish(longer))


def test_resuming_a_finished_run_changes_nothing(record):
    assert_same_training(finish(SMALL, record), record)


def test_resuming_does_not_touch_the_checkpoint():
    run = replace(SMALL, epochs=40)
    checkpoint = checkpoints(run)[2]
    before = {name: array.copy() for name, array in checkpoint.to_arrays().items()}
    finish(run, checkpoint)
    assert_same_arrays(checkpoint.to_arrays(), before)


def test_the_clock_goes_on_where_it_stopped():
    run = replace(SMALL, epochs=40)
    checkpoint = checkpoints(run)[2]
    slow = replace(checkpoint, provenance=checkpoint.provenance | {"seconds": 1000.0})
    done = finish(run, slow)
    assert 1000 < done.provenance["seconds"] < 1100
    assert done.provenance["steps_per_second"] > 1  # of this sitting, not of all of them


@pytest.mark.parametrize("change", [dict(lr=2e-3), dict(seed=1), dict(d_mlp=13), dict(split="unordered")])
def test_another_trajectory_cannot_go_on_here(record, change):
    other = replace(SMALL, **change)
    with pytest.raises(ValueError, match=f"^{SMALL.id} cannot go on as {other.id}: it holds no state, or other"):
        next(train(other, record, device="cpu"))


def test_a_record_without_state_cannot_go_on(record):
    with pytest.raises(ValueError, match=f"^{SMALL.id} cannot go on as {SMALL.id}: it holds no state"):
        next(train(SMALL, record.without_state(), device="cpu"))


@pytest.mark.parametrize("epochs", [50, 299])
def test_a_run_cannot_go_on_from_beyond_its_end(record, epochs):
    shorter = replace(SMALL, epochs=epochs)
    with pytest.raises(ValueError, match=f"{SMALL.id} cannot go on as {shorter.id}"):
        next(train(shorter, record, device="cpu"))


# -- what is recorded ---------------------------------------------------------------------------


@RUNS
@pytest.mark.parametrize("epochs", [1, 2, 17, 300])
def test_the_history_has_a_row_for_every_step_and_one_for_the_last_weights(run, epochs):
    done = finish(replace(run, epochs=epochs))
    assert done.step == epochs
    np.testing.assert_array_equal(done.steps, np.arange(epochs + 1))
    assert set(done.history) == set(METRICS)
    for name, column in done.history.items():
        assert column.shape == (epochs + 1,)
        assert column.dtype == np.float32
        # Both splits leave pairs to test; only the unordered one has no rare pairs.
        if not (name.startswith("rare") and run.split == "unordered"):
            assert np.isfinite(column).all(), name


@RUNS
def test_history_row_t_belongs_to_the_weights_of_step_t(run):
    run = replace(run, epochs=120, lr=10 * run.lr)
    kept = checkpoints(run)
    history, kind = kept[-1].history, data.kinds(run)
    inside_of = {
        "train": kind <= data.RARE, "test": kind >= data.MIRRORED, "held_out": kind == data.HELD_OUT,
        "common": kind == data.COMMON, "rare": kind == data.RARE,
    }  # fmt: skip
    told_apart = 0
    for checkpoint in kept[::2]:
        t, (theta, xi) = checkpoint.step, weights(checkpoint)
        loss, correct = plain_metrics(theta, xi, run.activation)
        for group, inside in inside_of.items():
            if inside.any():
                assert history[f"{group}_loss"][t] == pytest.approx(loss[inside].mean(), rel=FLOAT32)
                assert history[f"{group}_accuracy"][t] == pytest.approx(correct[inside].mean(), rel=FLOAT32)
        norm = np.sqrt((theta.astype(float) ** 2).sum() + (xi.astype(float) ** 2).sum())
        assert history["norm"][t] == pytest.approx(norm, rel=FLOAT32)
        told_apart += abs(history["train_loss"][t] - history["train_loss"][t - 1]) > 20 * FLOAT32
    assert told_apart > 10  # the row before would have failed


@RUNS
def test_a_frame_belongs_to_the_weights_of_its_step(run):
    run = replace(run, epochs=91)
    at = {checkpoint.step: checkpoint for checkpoint in checkpoints(run)}
    done = at[91]
    for step, frame in zip(done.frame_steps, done.frames, strict=True):
        if step:
            theta, xi = weights(at[step])
            np.testing.assert_array_equal(frame["theta"], theta.astype(np.float16).astype(np.float32))
            np.testing.assert_array_equal(frame["xi"], xi.astype(np.float16).astype(np.float32))
        hits = data.grid(frame["correct"], run.p)[data.train_mask(run)]
        assert done.history["train_accuracy"][step] == pytest.approx(hits.mean(), rel=FLOAT32)
    assert len(np.unique([frame["theta"] for frame in done.frames], axis=0)) == len(done.frames) - 1  # 0 equals 1


def test_mirrored_accuracy_is_rare_accuracy_at_every_step():
    run = replace(SMALL, frac_train=0.6, lr=0.01, epochs=150)
    kept = checkpoints(run)
    kind, rare = data.kinds(run), kept[-1].history["rare_accuracy"]
    assert (kind == data.RARE).sum() == (kind == data.MIRRORED).sum() > 5
    for checkpoint in kept[::10]:
        _, correct = plain_metrics(*weights(checkpoint), run.activation)
        assert correct[kind == data.MIRRORED].mean() == correct[kind == data.RARE].mean()
        assert rare[checkpoint.step] == pytest.approx(correct[kind == data.MIRRORED].mean(), rel=FLOAT32)
    assert len(np.unique(rare)) > 2
    assert kept[-1].summary["mirrored_accuracy"] == pytest.approx(rare[-1], rel=FLOAT32)


def test_test_accuracy_is_the_mean_of_mirrored_and_held_out():
    run = replace(SMALL, frac_train=0.6, lr=0.01)
    done, kind = finish(run), data.kinds(run)
    mirrored, held_out = (kind == data.MIRRORED).sum(), (kind == data.HELD_OUT).sum()
    h = done.history
    mean = (mirrored * h["rare_accuracy"] + held_out * h["held_out_accuracy"]) / (mirrored + held_out)
    np.testing.assert_allclose(h["test_accuracy"], mean, atol=FLOAT32)


@RUNS
def test_step_0_has_no_learning_rate(run):
    done = finish(replace(run, epochs=3))
    assert done.frame_steps == (0, 1, 2, 3)
    first, second, third, _ = done.frames
    for name in ("theta", "xi"):
        np.testing.assert_array_equal(first[name], second[name])
        assert (first[name] != third[name]).any()
    for column in done.history.values():
        np.testing.assert_array_equal(column[0], column[1])
    assert done.history["train_loss"][1] != done.history["train_loss"][2]


@RUNS
def test_training_starts_from_the_initial_weights(run):
    start = next(train(run, device="cpu", every=0)).record.frames[0]
    for name, layer in zip(("theta", "xi"), initial_weights(run), strict=True):
        np.testing.assert_allclose(start[name], layer, rtol=HALF, atol=1e-7)


@RUNS
def test_training_lowers_the_loss(run):
    loss = finish(run).history["train_loss"]
    assert loss[-1] < loss[0]


def test_full_training_has_no_test_numbers():
    done = finish(replace(SMALL, frac_train=1.0, epochs=20))
    for group in ("test", "held_out", "rare"):
        assert np.isnan(done.history[f"{group}_loss"]).all()
        assert np.isnan(done.history[f"{group}_accuracy"]).all()


def test_frames_are_taken_on_schedule(record):
    assert record.frame_steps == tuple(frame_steps(SMALL.epochs))


def test_the_same_run_twice_is_the_same_training(record):
    assert_same_training(finish(SMALL), record)


def test_how_often_one_looks_changes_nothing(record):
    looked = checkpoints(SMALL)
    assert len(looked) > 50
    assert_same_training(looked[-1], record)


def test_provenance_says_where_the_numbers_come_from(record):
    said = record.provenance
    assert said["steps"] == 300
    assert said["stop_reason"] == "epochs"
    assert said["device"].startswith("cpu")
    assert said["threads"] == 1
    assert said["torch"] == torch.__version__
    assert said["seconds"] > 0
    assert said["steps_per_second"] > 0


# -- a generator --------------------------------------------------------------------------------


def test_updates_move_forward_and_only_the_last_has_a_reason():
    updates = list(train(replace(SMALL, epochs=50), device="cpu", every=0))
    steps = [update.step for update in updates]
    assert all(a < b for a, b in pairwise(steps[:-1]))
    assert steps[-1] == 50
    assert [update.record.provenance["stop_reason"] for update in updates[:-1]] == [None] * (len(updates) - 1)
    assert not any(update.record.finished for update in updates[:-1])
    assert updates[-1].record.finished


def test_an_update_is_not_changed_by_later_ones():
    updates = train(replace(SMALL, epochs=60), device="cpu", every=0)
    early = next(updates).record
    before = {name: array.copy() for name, array in early.to_arrays().items()}
    last(updates)
    assert_same_arrays(early.to_arrays(), before)


def test_an_update_carries_no_state_until_it_is_asked_to():
    update = next(train(SMALL, device="cpu", every=0))
    assert update.record.state is None
    assert update.checkpoint().state["step"] == update.step


def test_a_live_training_ends_every_record_with_the_step_it_is_at(record):
    updates, live_frames = train(SMALL, device="cpu", every=0, live=True), 0
    for update in updates:
        if update.record.frame_steps[-1] == update.step and update.step not in frame_steps(SMALL.epochs):
            live_frames += 1
            assert update.step not in update.checkpoint().frame_steps
            assert len(update.record.frames) == len(update.record.frame_steps)
    assert live_frames > 0
    assert_same_training(update.checkpoint(), record)


def test_closing_a_training_stops_it():
    updates = train(SMALL, device="cpu", every=0)
    next(updates)
    updates.close()
    with pytest.raises(StopIteration):
        next(updates)


# -- many runs at once --------------------------------------------------------------------------


def test_many_runs_give_the_records_that_each_gives_alone():
    runs = [replace(run, epochs=40) for run in (SMALL_SGD, SMALL, DECAY)]
    for run, done in zip(runs, train_many(runs, device="cpu", workers=2), strict=True):
        assert_same_training(done, finish(run).without_state())


def test_runs_that_share_shapes_and_optimiser_share_an_engine():
    together = [
        replace(SMALL, seed=seed, lr=lr, frac_train=frac) for seed, lr, frac in [(1, 1e-3, 0.7), (2, 1e-2, 1.0)]
    ]
    apart = [
        replace(SMALL, **change)
        for change in (dict(d_mlp=13), dict(p=5), dict(activation="quad"), dict(optimizer="sgd"), dict(epochs=7))
    ]
    sets = groups([together[0], *apart, together[1]])
    assert sets == [together, *([run] for run in apart)]


# -- stopping -----------------------------------------------------------------------------------


@pytest.fixture
def plateau(monkeypatch):
    """Shrink the plateau rule to the size of a test; returns a setter."""
    module = sys.modules["modadd.training.loop"]

    def rule(start=100, every=20, loss=1e-3, accuracy=5e-3):
        for name, value in dict(FROM=start, EVERY=every, LOSS=loss, ACCURACY=accuracy).items():
            monkeypatch.setattr(module, f"PLATEAU_{name}", value)

    return rule


STILL = replace(SMALL, lr=1e-8, plateau=True)


def test_the_published_rule_looks_every_1000_steps_from_10000_on():
    module = sys.modules["modadd.training.loop"]
    assert (module.PLATEAU_FROM, module.PLATEAU_EVERY) == (10_000, 1_000)
    assert (module.PLATEAU_LOSS, module.PLATEAU_ACCURACY) == (1e-3, 5e-3)


def test_a_run_that_stands_still_stops_at_the_first_look(plateau):
    plateau(start=100, every=20)
    done = finish(STILL)
    assert done.provenance["stop_reason"] == "plateau"
    assert done.step == 100
    assert len(done.steps) == 101
    assert done.frame_steps[-1] == 100
    assert done.finished


def test_the_first_look_is_a_multiple_of_the_interval(plateau):
    plateau(start=90, every=25)
    assert finish(STILL).step == 100


def test_without_the_plateau_rule_a_run_goes_to_its_end(plateau):
    plateau(start=100, every=20)
    done = finish(replace(STILL, plateau=False))
    assert (done.step, done.provenance["stop_reason"]) == (300, "epochs")


@pytest.mark.parametrize("what", ["loss", "accuracy"])
@pytest.mark.parametrize("group", ["train", "test"])
def test_any_of_the_four_numbers_keeps_a_run_going(plateau, what, group, monkeypatch):
    # All but one number are declared still; the run must stop at the first look at which that one is.
    module = sys.modules["modadd.training.loop"]
    run = replace(SMALL, frac_train=0.6, lr=0.01, plateau=True)
    column = finish(replace(run, plateau=False)).history[f"{group}_{what}"]
    looks = range(100, 301, 20)
    moved = {step: abs(column[step - 1] - column[step - 20]) for step in looks}
    limit = float(np.median(list(moved.values()))) + 1e-6
    expected = next(step for step in looks if moved[step] < limit)
    assert len(set(moved.values())) > 2

    plateau(100, 20, loss=limit if what == "loss" else np.inf, accuracy=limit if what == "accuracy" else np.inf)
    other = "test" if group == "train" else "train"
    flat = module._flat

    def blind(history, step):
        history = history.copy()
        history[:, METRICS.index(f"{other}_{what}")] = 0
        return flat(history, step)

    monkeypatch.setattr(module, "_flat", blind)
    done = finish(run)
    assert (done.step, done.provenance["stop_reason"]) == (expected, "plateau")


def test_a_run_without_test_pairs_can_stand_still(plateau):
    plateau(start=100, every=20)
    assert finish(replace(STILL, frac_train=1.0)).provenance["stop_reason"] == "plateau"


def test_a_plateau_is_the_same_after_resuming(plateau):
    plateau(start=100, every=20, loss=0.05, accuracy=0.2)
    run = replace(SMALL, plateau=True)
    never_stopped = finish(run)
    assert 100 <= never_stopped.step < 300
    for checkpoint in checkpoints(run)[::25]:
        assert_same_training(finish(run, checkpoint), never_stopped)


# -- diverging ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:overflow encountered in cast", "ignore:invalid value encountered")
def test_a_diverging_run_stops_and_says_so():
    done = finish(WILD)
    assert done.provenance["stop_reason"] == "diverged"
    assert done.finished
    assert done.step < 100
    assert done.summary["train_loss"] is None
    assert np.isfinite(done.history["train_loss"][:20]).all()


@pytest.mark.filterwarnings("ignore:overflow encountered in cast", "ignore:invalid value encountered")
@pytest.mark.parametrize("how", [dict(), dict(lr=3.0, init_scale=10.0), dict(activation="identity", init_scale=10.0)])
def test_a_diverging_run_keeps_its_last_good_frame(how):
    done = finish(replace(WILD, **how))
    assert done.provenance["stop_reason"] == "diverged"
    lost = np.flatnonzero(~np.isfinite(done.history["train_loss"]))[0]
    good = [step for step in frame_steps(WILD.epochs) if step < lost]
    assert done.frame_steps == tuple(good)
    for frame in done.frames:
        assert all(
            np.isfinite(array).all() for name, array in frame.items() if name not in ("coherence", "abs_sin_D_K")
        )


def test_a_diverging_run_warns_nobody():
    assert finish(WILD).provenance["stop_reason"] == "diverged"


@pytest.mark.filterwarnings("ignore:overflow encountered in cast", "ignore:invalid value encountered")
def test_a_run_that_diverges_at_its_very_end_says_so():
    lost = np.flatnonzero(~np.isfinite(finish(WILD).history["train_loss"]))[0]
    assert finish(replace(WILD, epochs=int(lost))).provenance["stop_reason"] == "diverged"


def test_a_diverging_run_ends_where_its_loss_does_however_often_one_looks():
    run = replace(WILD, lr=1.7)
    seldom, often = finish(run), checkpoints(run)[-1]
    lost = np.flatnonzero(~np.isfinite(seldom.history["train_loss"]))[0]
    assert lost > 108  # late enough that the chunks of the two differ
    assert seldom.step == often.step == lost


@pytest.mark.parametrize("how", [dict(), dict(lr=1.7)])
def test_resuming_a_diverged_run_finds_it_diverged(how):
    run = replace(WILD, **how)
    done = finish(run)
    again = finish(replace(run, epochs=400), done)
    assert again.provenance["stop_reason"] == "diverged"
    assert again.frame_steps == done.frame_steps


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("tpu", r"^device must be auto, cpu, cuda or cuda:N, got 'tpu'$"),
        ("", r"^device must be auto, cpu, cuda or cuda:N, got ''$"),
        ("cpu:0", r"^device must be auto, cpu, cuda or cuda:N, got 'cpu:0'$"),
        ("cuda:99", r"^device 'cuda:99' is not on this machine: use cpu or auto$"),
        *[(name, "^device must be") for name in ("cuda:x", "cuda:", "cuda:-1")],
    ],
)
def test_a_device_that_is_not_here_is_refused(device, sentence):
    with pytest.raises(ValueError, match=sentence):
        next(train(SMALL, device=device))


def test_tf32_on_a_cpu_is_refused():
    with pytest.raises(ValueError, match=r"^precision tf32 needs a CUDA device: choose fp32$"):
        next(train(replace(SMALL, precision="tf32"), device="cpu"))


def test_the_provenance_names_every_machine_that_a_run_went_on_at(record):
    half = last(train(replace(SMALL, epochs=130), device="cpu")).checkpoint()
    (here,) = half.provenance["machines"]
    assert here["from"] == 0
    assert here["device"] == half.provenance["device"]
    assert finish(SMALL, half).provenance["machines"] == [here]  # the same machine is told once
    there = here | {"device": "NVIDIA H200", "torch": "2.11.0"}
    away = replace(half, provenance=half.provenance | {"device": "NVIDIA H200", "torch": "2.11.0", "machines": [there]})
    whole = finish(SMALL, away)
    assert whole.provenance["machines"] == [there, here | {"from": 130}]
    assert_same_training(whole, record)
    child = begin(fork(SMALL, 300, epochs=360), whole)
    assert finish(child.run, child).provenance["machines"] == whole.provenance["machines"]
