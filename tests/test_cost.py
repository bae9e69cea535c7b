"""What a run is said to cost, and the refusal of one that does not fit."""

import re
import time
from dataclasses import replace

import pytest
import torch
from conftest import SMALL

import modadd.training.engine
from modadd.records.store import to_bytes
from modadd.runs import PRESETS, TRANSFORMERS, Run, preset
from modadd.training import cost
from modadd.training.cost import check_memory, estimate, free_memory, step_flop

GIB = 1 << 30


SPEED = cost.Speed(matmul=1e12, activation=1e-10, step=1e-4, frame=1e-3, weight=1e-8, start=1e-2, keep=1e8)


@pytest.fixture
def this_machine(monkeypatch):
    """The speed of this very machine, measured anew."""
    cost.measured.cache_clear()
    return cost.measured


@pytest.fixture(autouse=True)
def speed(monkeypatch, this_machine):
    """A machine of one teraflop with every device, so that no other test times this one."""
    monkeypatch.setattr(cost, "measured", lambda *about: SPEED)
    monkeypatch.setattr(
        modadd.networks.device, "pick_device", lambda name: torch.device("cpu" if name == "auto" else name)
    )


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
@pytest.mark.parametrize("p", [23, 97, 199])
def test_every_estimate_is_positive(p, device, name):
    said = estimate(preset(name, p), device)
    assert said.seconds > 0
    assert said.seconds_per_step > 0
    assert isinstance(said.memory, int)
    assert isinstance(said.disk, int)
    assert said.disk > 0
    assert said.memory > 2 * 4 * p * preset(name, p).d_mlp  # more than the weights alone


@pytest.mark.parametrize("change", [dict(epochs=600), dict(d_mlp=5000), dict(p=29, d_mlp=11)])
def test_more_work_costs_more(change):
    small, big = estimate(SMALL), estimate(replace(SMALL, **change))
    assert big.seconds > small.seconds
    assert big.memory > small.memory
    assert big.disk > small.disk


def test_time_is_steps_and_frames_and_a_start():
    short, long = (estimate(replace(SMALL, epochs=epochs)) for epochs in (2000, 4000))
    a_step = step_flop(SMALL) / 1e12 + 28 * 11 * 1e-10 + 1e-4
    assert long.seconds_per_step == pytest.approx(a_step)
    frames = 10 * (1e-3 + 2 * 7 * 11 * 1e-8)  # every 200 steps
    more = long.seconds - short.seconds
    assert more == pytest.approx(2000 * a_step + frames + (long.disk - short.disk) / 1e8)
    assert short.seconds > 1e-2 + 2000 * a_step


def test_threads_share_the_work_but_not_the_fixed_cost():
    one, four = (estimate(Run(p=53), "cpu", threads).seconds_per_step for threads in (1, 4))
    assert one - 1e-4 == pytest.approx(4 * (four - 1e-4))
    assert estimate(Run(p=53), "cuda:0", 4) == estimate(Run(p=53), "cuda:0", 1)


def test_auto_is_the_device_that_is_here():
    assert estimate(Run()) == estimate(Run(), "auto") == estimate(Run(), "cpu")


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_have_a_price_too(name):
    small, big = (estimate(preset(name, p)) for p in (11, 23))
    assert 0 < small.seconds <= big.seconds
    assert 0 < small.memory < big.memory


@pytest.mark.parametrize("rank", [cost.rank, lambda run: estimate(run).seconds], ids=["rank", "estimate"])
def test_longer_runs_rank_higher(rank):
    runs = [preset("standard", 7), preset("standard", 23), preset("grokking", 23), preset("standard", 53),
            preset("grokking", 53), preset("standard", 97)]  # fmt: skip
    assert sorted(runs, key=rank) == runs


def test_this_machine_is_measured_and_its_threads_are_left_alone(this_machine):
    before = torch.get_num_threads()
    found = this_machine("cpu")
    assert torch.get_num_threads() == before
    assert 1e8 < found.matmul < 1e14
    assert all(value > 0 for value in (found.step, found.frame, found.start, found.keep))
    assert this_machine("cpu") is found  # once per process


@pytest.mark.slow
@pytest.mark.parametrize("p", [23, 41, 61])
def test_a_step_takes_what_was_said(this_machine, monkeypatch, p):
    monkeypatch.setattr(cost, "measured", this_machine)
    net = modadd.training.engine.engine([Run(p=p)], torch.device("cpu"))
    net.advance(2)
    clock = time.thread_time()  # others may use the machine too
    net.advance(20)
    took = (time.thread_time() - clock) / 20
    assert 0.5 < took / estimate(Run(p=p), "cpu", threads=1).seconds_per_step < 2


def test_a_step_is_three_matrix_products_of_all_unordered_pairs():
    # Each multiplies and adds: 2 * (pairs) * (neurons) * (answers).
    assert step_flop(SMALL) == 3 * 2 * 28 * 11 * 7


def test_a_run_that_stops_itself_is_priced_to_its_usual_end():
    run = preset("grokking", 23)
    assert estimate(run).seconds < 0.6 * estimate(replace(run, plateau=False)).seconds
    assert estimate(replace(run, epochs=1000)).seconds == estimate(replace(run, epochs=1000, plateau=False)).seconds


def test_memory_and_disk_cover_what_a_record_really_takes(record):
    said = estimate(SMALL)
    held = sum(array.nbytes for frame in record.frames for array in frame.values())
    held += sum(array.nbytes for array in record.history.values())
    held += sum(array.nbytes for array in record.state.values())
    assert held < said.memory
    # Compression helps and names of arrays cost: on a small run within a factor of two.
    assert len(to_bytes(record)) < 2 * said.disk
    assert said.disk < 4 * len(to_bytes(record))


def test_a_run_that_fits_is_let_through(monkeypatch):
    monkeypatch.setattr(cost, "free_memory", lambda device: 8 * GIB)
    assert check_memory(Run()) == estimate(Run())


@pytest.mark.parametrize(
    ("run", "free"),
    [(Run(p=199, d_mlp=200_000, epochs=2_000_000), 2 * GIB), (Run(), 1 << 20), (Run(), 0)],
    ids=["absurd run", "tiny machine", "full machine"],
)
def test_a_run_that_does_not_fit_is_refused_with_both_numbers(monkeypatch, run, free):
    monkeypatch.setattr(cost, "free_memory", lambda device: free)
    need = estimate(run).memory / GIB
    sentence = (
        f"this run needs about {need:.1f} GiB of memory and cpu has {free / GIB:.1f} GiB free: "
        "choose a smaller p or d_mlp"
    )
    with pytest.raises(ValueError, match="^" + re.escape(sentence) + "$"):
        check_memory(run)


def test_a_tenth_of_the_memory_is_left_alone(monkeypatch):
    need = estimate(Run()).memory
    monkeypatch.setattr(cost, "free_memory", lambda device: int(need / 0.9) + 2)
    check_memory(Run())
    monkeypatch.setattr(cost, "free_memory", lambda device: int(need / 0.9) - 2)
    with pytest.raises(ValueError, match="GiB free"):
        check_memory(Run())


def test_the_free_memory_of_the_device_is_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(cost, "free_memory", lambda device: asked.append(device) or 64 * GIB)
    check_memory(Run(), "cuda:1")
    assert asked == ["cuda:1"]


def test_this_machine_has_some_memory_free():
    assert 1 << 20 < free_memory("cpu") < 1 << 50
