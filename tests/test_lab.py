"""Jobs in the background end as they would in the foreground, and none takes the lab along."""

import sys
import threading
from dataclasses import replace

import filelock
import numpy as np
import pytest
from conftest import SMALL, SMALL_SGD, assert_same_training, finish

import modadd.jobs.lab
from modadd.jobs.lab import Lab
from modadd.records.store import Unkept
from modadd.training.loop import train

PATIENCE = 30  # seconds; a job here takes less than one
OTHER = replace(SMALL, seed=1, epochs=40)
THIRD = replace(SMALL, seed=2, epochs=40)


class Steer:
    """Stands between the lab and the training: sees every update on the worker's thread."""

    def __init__(self):
        self.calls, self.hooks = [], {}

    def at(self, run, hook):
        """Call hook(update) for every update of this run, before the lab sees it."""
        self.hooks[run.id] = hook

    def hold(self, run):
        """Let the run wait at its first update; returns (it is there, let it go)."""
        there, go = threading.Event(), threading.Event()

        def hook(update):
            there.set()
            assert go.wait(PATIENCE)

        self.at(run, hook)
        return there, go

    def train(self, run, resume=None, device="auto", **how):
        self.calls.append((run, resume))
        for update in train(run, resume, device, **how | {"every": 0}):
            if run.id in self.hooks:
                self.hooks[run.id](update)
            yield update


@pytest.fixture
def steer(monkeypatch):
    steer = Steer()
    monkeypatch.setattr(sys.modules["modadd.training.loop"], "train", steer.train)
    return steer


@pytest.fixture
def lab(store, steer):
    lab = Lab(store)
    yield lab
    lab.close()


def over(job):
    """The job, once it is no longer active."""
    assert job.done.wait(PATIENCE)
    return job


def submit(lab, run, **how):
    return lab.submit(run, "cpu", **how)


# -- a job --------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [SMALL, SMALL_SGD], ids=["adamw", "sgd"])
def test_a_job_ends_with_the_record_of_the_foreground(lab, run):
    job = over(submit(lab, run))
    assert (job.status, job.error) == ("finished", None)
    assert not job.active
    assert_same_training(job.record, finish(run))
    assert_same_training(lab.store.get(run.id), finish(run))


def test_a_job_is_watched_while_it_grows(lab, steer):
    seen = []
    steer.at(SMALL, lambda update: seen.append(lab.job(SMALL.id).record))
    over(submit(lab, SMALL))
    assert seen[0] is None
    steps = [record.step for record in seen[1:]]
    assert steps == sorted(steps)
    assert len(set(steps)) > 20
    assert not any(record.finished for record in seen[1:])


def test_a_lab_finds_its_jobs_by_run(lab):
    job = submit(lab, SMALL)
    assert lab.job(SMALL.id) is job
    assert lab.job(OTHER.id) is None
    over(job)
    lab.forget(SMALL.id)
    assert lab.job(SMALL.id) is None
    assert lab.jobs() == []


def test_a_running_job_cannot_be_forgotten(lab, steer):
    there, go = steer.hold(SMALL)
    job = submit(lab, SMALL)
    assert there.wait(PATIENCE)
    lab.forget(SMALL.id)
    assert lab.job(SMALL.id) is job
    go.set()
    over(job)


def test_time_left_is_told_once_the_speed_is_known(lab, steer):
    seen = []
    steer.at(SMALL, lambda update: seen.append(lab.job(SMALL.id).seconds_left))
    job = over(submit(lab, SMALL))
    assert seen[0] is None
    assert all(left > 0 for left in seen[2:50])
    assert job.seconds_left == 0


# -- the queue ----------------------------------------------------------------------------------


def test_the_same_run_is_never_queued_twice(lab, steer):
    there, go = steer.hold(SMALL)
    running = submit(lab, SMALL)
    assert there.wait(PATIENCE)
    queued = submit(lab, OTHER)
    assert submit(lab, SMALL) is running
    assert submit(lab, replace(SMALL)) is running
    assert submit(lab, OTHER) is queued
    assert len(lab.jobs()) == 2
    go.set()
    over(running)
    over(queued)
    assert [run.id for run, _ in steer.calls] == [SMALL.id, OTHER.id]


def test_jobs_run_one_at_a_time_and_in_order(lab, steer):
    there, go = steer.hold(SMALL)
    jobs = [submit(lab, run) for run in (SMALL, OTHER, THIRD)]
    assert there.wait(PATIENCE)
    assert [job.status for job in jobs] == ["running", "queued", "queued"]
    assert [lab.waiting_before(job) for job in jobs[1:]] == [1, 2]
    go.set()
    for job in jobs:
        over(job)
    assert [run.id for run, _ in steer.calls] == [SMALL.id, OTHER.id, THIRD.id]


def test_a_lower_priority_number_runs_first(lab, steer):
    there, go = steer.hold(SMALL)
    submit(lab, SMALL)
    assert there.wait(PATIENCE)
    late, early = submit(lab, OTHER, priority=5), submit(lab, THIRD, priority=-1)
    assert lab.waiting_before(early) == 1
    assert lab.waiting_before(late) == 2
    go.set()
    over(late)
    assert [run.id for run, _ in steer.calls] == [SMALL.id, THIRD.id, OTHER.id]


def test_owners_take_turns(store, steer):
    lab = Lab(store, lambda run, active: "she" if run.seed < 20 else f"he {run.seed}")
    try:
        hers = [replace(OTHER, seed=seed) for seed in range(10, 14)]
        there, go = steer.hold(hers[0])
        jobs = [submit(lab, run) for run in hers]
        assert there.wait(PATIENCE)
        his = [replace(OTHER, seed=seed) for seed in (20, 21)]
        jobs += [submit(lab, run) for run in his]
        assert [lab.waiting_before(job) for job in jobs[1:]] == [3, 4, 5, 1, 2]
        go.set()
        for job in jobs:
            over(job)
    finally:
        lab.close()
    assert [run.seed for run, _ in steer.calls] == [10, 20, 21, 11, 12, 13]


def test_records_of_what_is_over_do_not_fill_the_memory(lab, monkeypatch):
    monkeypatch.setattr(modadd.jobs.lab, "RECORDS", 1)
    jobs = [over(submit(lab, replace(OTHER, seed=seed, epochs=5))) for seed in range(4)]
    assert [job.record is not None for job in jobs] == [False, False, True, True]
    assert all(lab.store.get(job.run.id).finished for job in jobs)


def test_a_run_that_could_not_be_kept_is_kept_later_without_training_again(lab, steer, monkeypatch):
    def full(*_):
        raise Unkept("there is no room")

    with monkeypatch.context() as broken:
        broken.setattr(lab.store, "put", full)
        job = over(submit(lab, OTHER))
    assert (job.status, job.error) == ("failed", "there is no room")
    assert lab.store.get(OTHER.id) is None
    again = over(lab.resume(OTHER.id))
    assert again.status == "finished"
    assert steer.calls[-1][1].step == OTHER.epochs  # it went on from its end
    assert_same_training(lab.store.get(OTHER.id), finish(OTHER))


def test_a_checkpoint_that_cannot_be_kept_does_not_end_the_training(lab, monkeypatch):
    put, kept = lab.store.put, []

    def full(record):
        if not record.finished:
            kept.append(record)
            raise Unkept("there is no room")
        put(record)

    monkeypatch.setattr(modadd.jobs.lab, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(lab.store, "put", full)
    assert over(submit(lab, SMALL)).status == "finished"
    assert kept


def test_a_queued_job_can_be_stopped_before_it_starts(lab, steer):
    there, go = steer.hold(SMALL)
    first = submit(lab, SMALL)
    assert there.wait(PATIENCE)
    queued, after = submit(lab, OTHER), submit(lab, THIRD)
    lab.stop(OTHER.id)
    assert over(queued).status == "stopped"
    assert lab.waiting_before(after) == 1
    go.set()
    over(first)
    over(after)
    assert [run.id for run, _ in steer.calls] == [SMALL.id, THIRD.id]


def test_the_newest_job_is_last(lab):
    for run in (OTHER, THIRD, OTHER):
        over(submit(lab, run))
    assert [job.run.id for job in lab.jobs()] == [THIRD.id, OTHER.id]


# -- training again -----------------------------------------------------------------------------


@pytest.fixture
def old(lab, record):
    """A finished record in the store, which says when it was made."""
    old = replace(record, provenance=record.provenance | {"finished": "2000-01-01T00:00:00Z"})
    lab.store.put(old)
    return old


def made(lab):
    return lab.store.get(SMALL.id).provenance["finished"]


def test_training_again_begins_at_the_first_step_and_replaces_the_record_at_its_end(lab, steer, old):
    seen = []
    steer.at(SMALL, lambda update: seen.append((update.step, made(lab))))
    assert over(lab.submit(SMALL, "cpu", afresh=True)).status == "finished"
    assert steer.calls[-1][1] is None
    assert {when for _, when in seen} == {"2000-01-01T00:00:00Z"}
    assert made(lab) != "2000-01-01T00:00:00Z"
    assert_same_training(lab.store.get(SMALL.id), old)


def test_no_checkpoint_takes_the_place_of_a_finished_record(lab, steer, old, monkeypatch):
    monkeypatch.setattr(modadd.jobs.lab, "CHECKPOINT_SECONDS", 0)
    steer.at(SMALL, lambda update: update.step >= 100 and lab.stop(SMALL.id))
    job = over(lab.submit(SMALL, "cpu", afresh=True))
    assert (job.status, job.record.finished) == ("stopped", False)
    assert lab.store.get(SMALL.id).provenance == old.provenance
    del steer.hooks[SMALL.id]
    assert over(lab.resume(SMALL.id)).status == "finished"
    assert steer.calls[-1][1].step >= 100  # it went on from there
    assert_same_training(lab.store.get(SMALL.id), old)


def test_training_again_that_fails_leaves_the_record(lab, steer, old):
    def fail(update):
        raise RuntimeError("no luck")

    steer.at(SMALL, fail)
    assert over(lab.submit(SMALL, "cpu", afresh=True)).status == "failed"
    assert lab.store.get(SMALL.id).provenance == old.provenance


def test_a_deleted_run_is_forgotten_too(lab, steer):
    over(submit(lab, OTHER))
    lab.delete(OTHER.id)
    assert lab.job(OTHER.id) is None
    assert lab.store.get(OTHER.id) is None


def test_a_run_is_not_deleted_while_it_trains_or_waits(lab, steer):
    there, go = steer.hold(SMALL)
    first, queued = submit(lab, SMALL), submit(lab, OTHER)
    assert there.wait(PATIENCE)
    for job in (first, queued):
        with pytest.raises(ValueError, match=f"^{job.run.id} is being trained: stop it first$"):
            lab.delete(job.run.id)
    go.set()
    assert over(first).status == over(queued).status == "finished"


# -- pause, resume, stop, continue --------------------------------------------------------------


def leave_at(lab, steer, run, step, how):
    """Pause or stop a run on the first update from `step` on; returns the job, over."""
    steer.at(run, lambda update: update.step >= step and how(run.id))
    job = over(submit(lab, run))
    del steer.hooks[run.id]
    return job


@pytest.mark.parametrize("run", [SMALL, SMALL_SGD], ids=["adamw", "sgd"])
@pytest.mark.parametrize("how", ["pause", "stop"])
def test_leaving_and_coming_back_equals_never_leaving(lab, steer, run, how):
    for step in (5, 120, 200):
        job = leave_at(lab, steer, run, step, getattr(lab, how))
        assert job.status == {"pause": "paused", "stop": "stopped"}[how]
        assert step <= job.record.step < step + 20
        assert not job.record.finished
        assert job.record.state is not None
        assert lab.store.get(run.id).step == job.record.step
    job = over(lab.resume(run.id))
    assert job.status == "finished"
    assert [resume.step for _, resume in steer.calls[1:]] == sorted({resume.step for _, resume in steer.calls[1:]})
    assert_same_training(job.record, finish(run))


def test_a_paused_job_makes_room_for_the_next(lab, steer):
    paused = leave_at(lab, steer, SMALL, 50, lab.pause)
    assert over(submit(lab, OTHER)).status == "finished"
    assert paused.status == "paused"
    assert over(lab.resume(SMALL.id)).status == "finished"


def test_a_paused_job_can_be_stopped(lab, steer):
    job = leave_at(lab, steer, SMALL, 50, lab.pause)
    lab.stop(SMALL.id)
    assert job.status == "stopped"


def test_pausing_what_is_not_there_or_over_changes_nothing(lab):
    lab.pause("p007-custom-0000000000")
    job = over(submit(lab, OTHER))
    lab.pause(OTHER.id)
    lab.stop(OTHER.id)
    assert job.status == "finished"
    assert lab.resume("p007-custom-0000000000") is None


def test_another_lab_goes_on_where_the_last_one_stopped(lab, steer, store):
    left = leave_at(lab, steer, SMALL, 120, lab.stop)
    lab.close()
    with_new_eyes = Lab(store)
    job = over(submit(with_new_eyes, SMALL))
    with_new_eyes.close()
    assert steer.calls[-1][1].step == left.record.step
    assert_same_training(job.record, finish(SMALL))


@pytest.mark.parametrize("given", [False, True], ids=["from the store", "from a record"])
def test_a_longer_run_continues_the_shorter(lab, steer, given):
    short = over(submit(lab, OTHER)).record
    longer = replace(OTHER, epochs=150)
    if given:
        lab.store.delete(OTHER.id)
    job = over(submit(lab, longer, resume=short if given else None))
    assert steer.calls[-1][1].step == 40
    assert_same_training(job.record, finish(longer))
    assert (lab.store.get(OTHER.id) is None) == given


def test_a_changed_setting_starts_over(lab, steer):
    over(submit(lab, OTHER))
    over(submit(lab, replace(OTHER, lr=2e-3)))
    assert steer.calls[-1][1] is None


def test_a_damaged_checkpoint_is_trained_again(lab, steer, store):
    leave_at(lab, steer, SMALL, 120, lab.stop)
    _, card = store._cache.get(SMALL.id, tag=True)
    store._cache.set(SMALL.id, b"nonsense", tag=card)
    lab.forget(SMALL.id)  # as after a restart; until then the checkpoint is in memory too
    assert over(submit(lab, SMALL)).status == "finished"
    assert steer.calls[-1][1] is None
    assert_same_training(store.get(SMALL.id), finish(SMALL))


def test_a_long_job_keeps_checkpoints_as_it_goes(lab, steer, store, monkeypatch):
    monkeypatch.setattr(modadd.jobs.lab, "CHECKPOINT_SECONDS", 0)
    stored = []

    def look(update):
        if update.step > 100:
            stored.append((update.step, store.get(SMALL.id)))

    steer.at(SMALL, look)
    over(submit(lab, SMALL))
    step, checkpoint = stored[10]
    assert 90 < checkpoint.step < step
    assert checkpoint.provenance["stop_reason"] is None
    assert_same_training(finish(SMALL, checkpoint), finish(SMALL))


def test_a_state_too_large_is_not_kept_with_a_finished_run(lab, monkeypatch):
    monkeypatch.setattr(modadd.jobs.lab, "STATE_BYTES", 100)
    over(submit(lab, OTHER))
    assert lab.store.get(OTHER.id).state is None
    assert lab.store.get(OTHER.id).finished


# -- failures -----------------------------------------------------------------------------------


def test_a_failed_job_leaves_the_lab_working(lab, steer):
    def fail(update):
        raise OSError("no space left on device")

    steer.at(SMALL, fail)
    failed = over(submit(lab, SMALL))
    assert failed.status == "failed"
    assert failed.error == "OSError: no space left on device"
    assert not failed.active
    assert over(submit(lab, OTHER)).status == "finished"
    del steer.hooks[SMALL.id]
    again = over(submit(lab, SMALL))
    assert (again.status, again.error) == ("finished", None)
    with lab.store.lock(SMALL.id):  # nothing holds it any longer
        pass


def test_a_failure_keeps_what_was_seen(lab, steer):
    def fail(update):
        if update.step > 100:
            raise RuntimeError("enough")

    steer.at(SMALL, fail)
    assert 90 < over(submit(lab, SMALL)).record.step <= 110


def test_a_run_in_training_elsewhere_is_not_trained_twice(lab, steer, store):
    with filelock.FileLock(store.lock(SMALL.id).lock_file):
        job = over(submit(lab, SMALL))
    assert job.status == "failed"
    assert job.error == f"{SMALL.id} is being trained by another process that shares this cache"
    assert steer.calls == []
    assert over(submit(lab, SMALL)).status == "finished"


def test_what_cannot_be_trained_here_is_refused_at_once(lab):
    with pytest.raises(ValueError, match=r"^precision tf32 needs a CUDA device: choose fp32$"):
        submit(lab, replace(SMALL, precision="tf32"))
    with pytest.raises(ValueError, match=r"^device 'cuda:99' is not on this machine: use cpu or auto$"):
        lab.submit(SMALL, "cuda:99")
    assert lab.jobs() == []


# -- closing ------------------------------------------------------------------------------------


def test_closing_a_lab_keeps_a_checkpoint_and_ends_its_thread(lab, steer, store):
    there, go = steer.hold(SMALL)
    running, queued = submit(lab, SMALL), submit(lab, OTHER)
    assert there.wait(PATIENCE)
    threading.Timer(0.05, go.set).start()
    lab.close(PATIENCE)
    assert (running.status, queued.status) == ("stopped", "stopped")
    assert not any(worker.is_alive() for worker in lab._workers)
    assert_same_training(finish(SMALL, store.get(SMALL.id)), finish(SMALL))


def test_a_closed_lab_takes_no_job(lab):
    lab.close()
    with pytest.raises(RuntimeError, match="closed"):
        submit(lab, OTHER)


def test_records_are_never_changed_under_a_reader(lab, steer):
    kept = []

    def look(update):
        record = update.record
        kept.append((record, record.history["train_loss"].copy(), len(record.frames)))

    steer.at(SMALL, look)
    over(submit(lab, SMALL))
    for record, loss, frames in kept:
        np.testing.assert_array_equal(record.history["train_loss"], loss)
        assert len(record.frames) == len(record.frame_steps) == frames
