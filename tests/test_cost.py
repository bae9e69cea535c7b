"""What a run is said to cost, and the refusal of one that does not fit."""

import re
from dataclasses import replace

import pytest
from conftest import SMALL

from modadd import cost
from modadd.cost import check_memory, estimate, free_memory, step_flop
from modadd.runs import PRESETS, Run, preset
from modadd.store import to_bytes

GIB = 1 << 30


@pytest.fixture(autouse=True)
def speed(monkeypatch):
    """A machine of one teraflop, so that no test times this one."""
    monkeypatch.setattr(cost, "matmul_speed", lambda device: 1e12)


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


def test_time_is_steps_times_time_a_step():
    said = estimate(replace(SMALL, epochs=1000))
    assert said.seconds == pytest.approx(1000 * said.seconds_per_step)


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
