"""Many runs into one cache: killed, stopped, shared, failing; and what scripts/precompute.py says of them."""

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import precompute as script
import pytest
import torch
from conftest import SMALL, assert_same_training, finish
from serving import ROOT

from modadd.jobs import pool
from modadd.records import check
from modadd.records.store import Store, write_atlas
from modadd.runs import preset
from modadd.training import cost

FLAGS = ("--devices", "cpu", "--epochs", "1500", "--checkpoint-seconds", "0.02")
BRIEF = [preset(name, 7, epochs=40) for name in ("standard", "quad_random")]
TOGETHER = pytest.mark.xdist_group("precomputed")  # what they look at is made once, for one worker


def start(cache, *flags):
    """The script in a group of processes of its own."""
    command = [sys.executable, "scripts/precompute.py", *map(str, flags), "--cache", str(cache)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def precompute(cache, *flags):
    """(exit status, the JSON object or None, stderr) of the script."""
    process = start(cache, *flags, "--json")
    out, err = process.communicate(timeout=200)
    return process.returncode, json.loads(out) if out else None, err


def state_of(cache):
    """The record files; folders may come and go meanwhile."""
    return {file for _, _, files in os.walk(cache) for file in files if file.endswith(".val")}


def wait_for_change(cache, before, process):
    while state_of(cache) == before and process.poll() is None:
        time.sleep(0.01)


def all_records(cache):
    store = Store(cache, None)
    try:
        return {run_id: store.mine(run_id) for run_id in store.cards_of_cache()}
    finally:
        store.close()


# -- killed and stopped -------------------------------------------------------------------------

POOL = """
import sys
from modadd import preset
from modadd.jobs import pool

if __name__ == "__main__":
    runs = [preset(name, 11, epochs=1500) for name in ("standard", "quad_single_freq")]
    sys.exit(len(pool.train_all(runs, sys.argv[2], checkpoint_seconds=0.02)))
"""


def start_pool(cache, script):
    """A small program that trains two runs, without the price of pricing them."""
    script.write_text(POOL)
    return subprocess.Popen([sys.executable, script, "--cache", str(cache)], cwd=ROOT, start_new_session=True)


def ended(process):
    process.communicate()
    return process.returncode


def assert_kills_do_no_harm(tmp_path, kills, start):
    """Kill all processes of `start(cache)` at random moments; the cache must end as if nobody had."""
    calm, struck, chance, hits = tmp_path / "calm", tmp_path / "struck", random.Random(kills), 0
    assert ended(start(calm)) == 0
    for _ in range(kills):
        before = state_of(struck)
        process = start(struck)
        wait_for_change(struck, before, process)  # it has kept something new
        time.sleep(chance.uniform(0, 0.2))
        hits += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        ended(process)
    assert ended(start(struck)) == 0
    calm, struck = all_records(calm), all_records(struck)
    assert calm.keys() == struck.keys()
    for run_id in calm:
        assert_same_training(calm[run_id], struck[run_id])
    return hits


def test_a_cache_that_was_killed_while_growing_equals_an_undisturbed_one(tmp_path):
    assert assert_kills_do_no_harm(tmp_path, 3, lambda cache: start_pool(cache, tmp_path / "train.py")) == 3


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_do_no_harm(tmp_path, tried):
    flags = ("--p", 7, 11, "--epochs", 4000, "--workers", 2, "--devices", "cpu", "--checkpoint-seconds", 0.02)
    hits = assert_kills_do_no_harm(tmp_path, 20, lambda cache: start(cache, *flags))
    assert hits >= 15
    tried("kill -9 of a precompute and its workers while they train and write", hits, "ends as if it had not been")


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_stopped_precompute_leaves_checkpoints_and_no_process(tmp_path, how):
    process = start(tmp_path, "--p", 11, "--epochs", 200_000, "--devices", "cpu", "--workers", 2,
                    "--presets", "standard", "quad_random", "--checkpoint-seconds", 0.5)  # fmt: skip
    wait_for_change(tmp_path, set(), process)
    while len(all_records(tmp_path)) < 2 and process.poll() is None:  # both workers train
        time.sleep(0.1)
    os.killpg(process.pid, how)  # as a terminal or a scheduler does: everybody hears it
    _, err = process.communicate(timeout=60)  # returns once every worker, which holds stderr too, is gone
    assert process.returncode == 128 + how
    assert "goes on from the last checkpoint" in err
    assert "Traceback" not in err
    records = all_records(tmp_path)
    assert len(records) == 2
    assert all(record.step > 0 and record.state is not None and not record.finished for record in records.values())


def test_workers_leave_with_a_checkpoint_when_their_parent_dies(tmp_path):
    process = start(tmp_path, "--p", 11, "--epochs", 200_000, "--devices", "cpu", "--presets", "standard",
                    "--checkpoint-seconds", 0.5)  # fmt: skip
    wait_for_change(tmp_path, set(), process)
    process.kill()
    process.communicate(timeout=60)  # the worker holds stderr too
    (record,) = all_records(tmp_path).values()
    assert record.state is not None


# -- the pool -----------------------------------------------------------------------------------


def strike(times):
    """A look that kills the worker it hears of, so many times, and counts the strikes."""
    struck = []

    def look(run_id, step):
        if len(struck) < times and run_id == LONG.id:
            struck.append(step)
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)

    return look, struck


LONG = preset("standard", 7, epochs=6000)


def test_a_run_whose_worker_dies_goes_on_in_a_fresh_one(tmp_path):
    look, struck = strike(1)
    assert pool.train_all([LONG, *BRIEF], tmp_path, look=look, checkpoint_seconds=0.1) == {}
    assert len(struck) == 1
    assert all(record.finished for record in all_records(tmp_path).values())
    assert len(all_records(tmp_path)) == 3


@pytest.mark.slow
def test_a_run_whose_worker_dies_twice_is_listed_and_the_rest_is_done(tmp_path):
    look, struck = strike(2)
    failures = pool.train_all([LONG, *BRIEF], tmp_path, look=look, checkpoint_seconds=0.1)
    assert list(failures) == [LONG.id]
    assert failures[LONG.id] == "its worker process died twice (exit code -9)"
    assert len(struck) == 2
    records = all_records(tmp_path)
    assert all(records[run.id].finished for run in BRIEF)


def test_a_run_that_cannot_be_trained_is_listed_and_the_rest_is_done(tmp_path):
    bad = replace(SMALL, precision="tf32")
    failures = pool.train_all([bad, *BRIEF], tmp_path)
    assert list(failures) == [bad.id]
    assert "tf32 needs a CUDA device" in failures[bad.id]
    assert set(all_records(tmp_path)) == {run.id for run in BRIEF}


def test_the_pool_gives_the_record_of_the_foreground(tmp_path):
    seen = {}
    assert pool.train_all([SMALL], tmp_path, look=seen.__setitem__) == {}
    assert_same_training(all_records(tmp_path)[SMALL.id], finish(SMALL))
    assert seen == {SMALL.id: SMALL.epochs}


def test_a_run_that_another_process_trains_is_waited_for(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(pool, "LOOK_AGAIN_SECONDS", 0.1)
    store, done = Store(tmp_path, None), finish(SMALL)
    other = threading.Event()

    def train_elsewhere():
        with store.lock(SMALL.id):
            other.set()
            while "is being trained by another process" not in caplog.text:
                time.sleep(0.05)
            store.put(replace(done, provenance=done.provenance | {"device": "elsewhere"}))

    elsewhere = threading.Thread(target=train_elsewhere)
    elsewhere.start()
    other.wait()
    try:
        assert pool.train_all([SMALL, *BRIEF], tmp_path) == {}
    finally:
        elsewhere.join()
        store.close()
    assert all_records(tmp_path)[SMALL.id].provenance["device"] == "elsewhere"  # and not trained again


def test_longer_runs_start_first():
    runs = [preset("standard", 7, epochs=100), preset("standard", 31), preset("standard", 7), preset("standard", 23)]
    order = [job[0] for job in pool._jobs(runs, ["cpu"])]
    assert order == [runs[1], runs[3], runs[2], runs[0]]


def test_small_runs_that_can_share_an_engine_are_one_job_on_a_gpu():
    runs = [preset("standard", p, seed=seed) for p in (23, 53) for seed in range(6)]
    sizes = lambda devices: [(job[0].p, len(job)) for job in pool._jobs(runs, devices)]  # noqa: E731
    assert sizes(["cuda:0"]) == [(53, 1)] * 6 + [(23, 6)]
    assert sizes(["cuda:0", "cuda:1"]) == [(53, 1)] * 6 + [(23, 3)] * 2
    assert sizes(["cpu"]) == [(53, 1)] * 6 + [(23, 1)] * 6


class Hand(pool._Worker):
    """A worker on a device that is not there: a thread that says it has trained what it is given."""

    def __init__(self, cache, device, threads, checkpoint_seconds, compact):
        self.pipe, far = multiprocessing.Pipe()
        self.device, self.job, self.gone = device, None, False
        self.process = threading.Thread(target=self.work, args=(far,), daemon=True)
        self.process.exitcode = -9
        self.process.start()

    def work(self, far):
        with contextlib.suppress(EOFError, OSError):
            while True:
                job = far.recv()
                self.taken.append((self.device, [run.id for run in job]))
                if len(self.taken) >= 3:
                    self.all_at_work.set()
                self.all_at_work.wait(30)  # nobody finishes before each of three devices has its first job
                if self.device == self.lost and self.strikes:
                    self.strikes.pop()
                    far.close()
                    return
                far.send(("steps", {run.id: run.epochs for run in job}))
                far.send(("over", []))


@pytest.mark.parametrize("lost", [None, "cuda:1"])
def test_devices_share_one_queue_and_every_run_is_done_once(monkeypatch, tmp_path, lost):
    taken, ended = [], []
    for name, value in dict(taken=taken, all_at_work=threading.Event(), lost=lost, strikes=[1]).items():
        monkeypatch.setattr(Hand, name, value, raising=False)
    monkeypatch.setattr(pool, "_Worker", Hand)
    runs = [preset(name, p) for p in (53, 67, 61, 59) for name in ("standard", "quad_random")]
    where = ["cuda:0", "cuda:1", "cuda:2"]
    assert pool.train_all(runs, tmp_path, where, look=lambda run_id, step: ended.append(run_id)) == {}
    assert sorted(ended) == sorted(run.id for run in runs)
    assert {device for device, _ in taken} == set(where)
    order = [run_id for _, job in taken for run_id in job]
    assert len(order) == len(runs) + bool(lost)  # what was lost with a device is taken again
    assert sorted(run_id[:4] for run_id in order[:3]) == ["p061", "p067", "p067"]  # the longest first


def test_every_gpu_is_a_device_by_default_and_none_counts_twice(monkeypatch):
    for gpus, where in ((0, ["cpu"]), (2, ["cuda:0", "cuda:1"])):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert script.devices(script.Flags()) == where
    assert script.devices(script.Flags(devices=["cuda:1", "cuda", "cuda:0"])) == ["cuda:1", "cuda:0"]
    flags, price = script.Flags(p=[97]), cost.Cost(60.0, 10**8, 10**6, 1e-3)
    monkeypatch.setattr(cost, "estimate", lambda *about: price)
    runs = script.wanted(flags, where)
    assert {run.precision for run in runs} == {"tf32"}
    assert script.prices(runs, where, 1)[1] == 180  # five runs of a minute on two devices
    assert script.prices(runs, where, 3)[1] == 60


# -- the script ---------------------------------------------------------------------------------


def test_two_precomputes_share_a_cache_and_do_every_run_once(tmp_path):
    flags = (*FLAGS, "--p", 7, 9, 11, "--presets", "standard", "quad_random", "--workers", 1, "--json")
    both = [start(tmp_path, *flags) for _ in range(2)]
    outs = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    one, other = (set(json.loads(out)["trained"]) for out, _ in outs)
    assert not one & other
    assert one | other == set(all_records(tmp_path))
    assert len(all_records(tmp_path)) == 6


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a cache with the presets of p = 7, briefly trained, and its atlas."""
    cache, atlas = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("atlas")
    status, _, err = precompute(cache, "--p", 7, "--epochs", 40, "--devices", "cpu", "--atlas", atlas)
    assert status == 0, err
    return cache, atlas


@TOGETHER
@pytest.mark.parametrize("place", ["cache", "atlas"])
def test_a_sound_folder_passes_verification(trained, place, run_script):
    cache, atlas = trained
    where = () if place == "cache" else ("--atlas", atlas)
    status, result, err = run_script(script, "--p", 7, "--epochs", 40, "--verify", "--cache", cache, *where)
    assert (status, result["failures"]) == (0, {}), err
    assert "4 of 4 records are whole" in err


@TOGETHER
def test_verification_names_what_is_missing_and_what_is_damaged(trained, tmp_path, run_script):
    store = Store(tmp_path, None)
    for record in all_records(trained[0]).values():
        store.put(record)
    gone, torn, wrong = (preset(name, 7, epochs=40) for name in ("standard", "quad_random", "relu_single_freq"))
    store.delete(gone.id)
    with store._look(torn.id)[0] as file:
        Path(file.name).write_bytes(file.read()[:-1])
    record = store.mine(wrong.id)
    store.put(replace(record, provenance=record.provenance | {"steps": 39}))
    store.close()
    status, result, err = run_script(script, "--p", 7, "--epochs", 40, "--verify", "--cache", tmp_path)
    assert status == 1
    assert result["failures"].keys() == {gone.id, torn.id, wrong.id}
    assert result["failures"][gone.id] == "missing"
    assert "checksum" in result["failures"][torn.id]
    assert "39 steps of 40" in result["failures"][wrong.id]
    assert all(run.id in err for run in (gone, torn, wrong))
    # Training the same runs mends what is gone or torn.
    status, result, _ = precompute(tmp_path, "--p", 7, "--epochs", 40, "--devices", "cpu")
    assert status == 0
    assert set(result["missing"]) == {gone.id, torn.id}


def test_a_dry_run_prices_every_modulus_and_trains_nothing(tmp_path, run_script):
    status, result, err = run_script(script, "--p", 7, 23, "--devices", "cpu", "--dry-run", "--cache", tmp_path)
    assert status == 0
    assert [row["p"] for row in result["moduli"]] == [7, 23]
    assert [row["missing"] for row in result["moduli"]] == [4, 5]
    assert 0 < result["moduli"][0]["seconds"] < result["moduli"][1]["seconds"]
    assert "worker minutes" in err
    assert all_records(tmp_path) == {}


def test_one_command_trains_draws_and_verifies(tmp_path):
    out = tmp_path / "results"
    status, result, err = precompute(
        tmp_path / "cache", "--p", 5, "--epochs", 30, "--presets", "standard", "--devices", "cpu", "--figures", out
    )
    # Figures are of the presets at full length: these are in the atlas, except that p = 5 has no grokking.
    assert status == 0, err
    assert result["trained"] or result["missing"]
    (files,) = result["figures"]
    assert files["missing"] == {}
    assert len(list((out / "p_005").iterdir())) == files["expected"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--p", 24), "p must be odd"),
        ((), "no modulus given"),
        (("--p", 7, "--presets", "nonesuch"), "preset must be one of"),
        (("--p", 7, "--devices", "cuda:99"), "is not on this machine"),
        (("--p", 7, "--precision", "tf32", "--devices", "cpu"), "tf32 needs a CUDA device"),
    ],
)
def test_a_bad_flag_is_one_sentence(tmp_path, run_script, flags, words):
    status, result, err = run_script(script, *flags, "--cache", tmp_path)
    assert (status, result) == (2, None)
    assert words in err
    assert "Traceback" not in err


def test_an_atlas_of_films_and_outlines_is_made_and_verified(tmp_path, run_script):
    atlas, flags = (
        tmp_path / "atlas",
        ("--p", 5, "--epochs", 60, "--presets", "standard", "--seeds", 42, 1, "--devices", "cpu"),
    )
    status, result, err = precompute(tmp_path / "cache", *flags, "--atlas", atlas, "--compact")
    assert (status, result["failures"]) == (0, {}), err
    kept = all_records(tmp_path / "cache").values()
    assert all(record.coded for record in kept)
    store = Store(tmp_path / "empty", atlas)
    (film,) = map(store.get, store.cards_of_atlas())
    assert "logits0" in film.frames[0]
    assert film.measured["bets"] == film.run.d_mlp
    assert store.outlined(preset("standard", 5, seed=1, epochs=60)).measured["bets"] == film.run.d_mlp
    store.close()
    verify = (script, *flags, "--verify", "--atlas", atlas, "--cache", tmp_path / "cache")
    assert run_script(*verify)[0] == 0
    shutil.rmtree(atlas / "seeds")
    status, result, _ = run_script(*verify)
    assert (status, list(result["failures"].values())) == (1, ["missing"])
    status, result, _ = precompute(tmp_path / "cache", *flags, "--atlas", atlas)
    assert result["missing"] == []  # nothing is trained again
    assert (atlas / "seeds" / "p005.npz").exists()


def test_when_the_time_is_over_runs_are_left_at_a_checkpoint_and_go_on_later(tmp_path):
    runs = [preset("standard", 5, epochs=30), preset("standard", 11, epochs=200_000)]
    while runs[1].id not in all_records(tmp_path):  # a worker may need longer than that to start
        assert pool.train_all(runs, tmp_path, compact=True, stop_after=4) == {}
    done, left = (all_records(tmp_path)[run.id] for run in runs)
    assert done.coded
    assert not left.finished
    assert left.state is not None
    assert left.step > 0


# -- what a sound record is ---------------------------------------------------------------------


def test_a_finished_record_has_no_faults(record):
    assert check.faults(record) == []
    assert check.faults(record.without_state()) == []


def test_a_record_of_the_atlas_has_no_faults(tmp_path, record):
    write_atlas(tmp_path / "atlas", 7, [record.compact()])
    assert check.faults(Store(tmp_path, tmp_path / "atlas").shipped(record.run.id)) == []


def spoil(name):
    """A function that gives back a record with one thing wrong."""

    def column(record, name, row, value):
        changed = record.history[name].copy()
        changed[row] = value
        return replace(record, history=dict(record.history) | {name: changed})

    def frame(record, name, value):
        return replace(record, frames=(*record.frames[:-1], record.frames[-1] | {name: value}))

    return {
        "not finished": lambda r: replace(r, provenance=r.provenance | {"stop_reason": None}),
        "unknown reason": lambda r: replace(r, provenance=r.provenance | {"stop_reason": "bored"}),
        "on a plateau": lambda r: replace(r, provenance=r.provenance | {"stop_reason": "plateau"}),
        "train_loss is no number at step 12": lambda r: column(r, "train_loss", 12, np.nan),
        "norm is no number at step 300": lambda r: column(r, "norm", -1, np.inf),
        "test_accuracy lies between": lambda r: column(r, "test_accuracy", 5, 1.5),
        "held_out_loss is no number at step 3": lambda r: column(r, "held_out_loss", 3, np.nan),
        "history do not ascend": lambda r: replace(r, steps=r.steps[::-1]),
        "history ends at step 299": lambda r: replace(
            r, steps=r.steps[:-1], history={n: c[:-1] for n, c in r.history.items()}
        ),
        "frames do not ascend": lambda r: replace(r, frame_steps=(*r.frame_steps[:-2], 300, 299)),
        "last frame is of step": lambda r: replace(r, frames=r.frames[:-1], frame_steps=r.frame_steps[:-1]),
        "ipr_in at step 300": lambda r: frame(r, "ipr_in", np.float32(1.2)),
        "ipr_out at step 300": lambda r: frame(r, "ipr_out", np.float32(np.nan)),
        "xi at step 300 holds": lambda r: frame(r, "xi", r.frames[-1]["xi"] * np.nan),
        "are 5 of 11": lambda r: frame(r, "counts_K", np.array([5, 0, 0])),
    }[name]


@pytest.mark.parametrize("fault", [
    "not finished", "unknown reason", "on a plateau", "train_loss is no number at step 12",
    "norm is no number at step 300", "test_accuracy lies between", "held_out_loss is no number at step 3",
    "history do not ascend", "history ends at step 299", "frames do not ascend", "last frame is of step",
    "ipr_in at step 300", "ipr_out at step 300", "xi at step 300 holds", "are 5 of 11",
])  # fmt: skip
def test_a_fault_is_named(record, fault):
    assert any(fault in sentence for sentence in check.faults(spoil(fault)(record)))
