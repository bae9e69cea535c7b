"""What a notebook calls: `load` of whatever lies at a path, and `sweep` of a grid."""

import numpy as np
import pytest
import safetensors.numpy
from conftest import SMALL, assert_same_arrays, finish

from modadd import Grid, Store, load, sweep
from modadd.exchange import bundle, tensors


def checkpoint(file, p=7, seed=0):
    theta_MP, xi_MP = np.random.default_rng(seed).normal(size=(2, 24, p)).astype(np.float32)
    file.write_bytes(safetensors.numpy.save({"theta": theta_MP, "xi": xi_MP}))
    return theta_MP


def test_a_checkpoint_and_a_folder_of_them_are_loaded(tmp_path):
    theta_MP = checkpoint(tmp_path / "5.safetensors")
    one = load(tmp_path / "5.safetensors", activation="quad")
    assert (one.run.p, one.run.activation, one.step) == (7, "quad", 5)
    np.testing.assert_allclose(one.at(holding="theta").frame["theta"], theta_MP, atol=1e-2)
    checkpoint(tmp_path / "9.safetensors", seed=1)
    assert load(str(tmp_path), frac_train=0.7).frame_steps == (5, 9)


def test_bundles_and_records_come_back_as_they_were(tmp_path):
    record = finish(SMALL)
    file = bundle.save(record, tmp_path / "mine.zip", with_figures=False)
    (tmp_path / "record.safetensors").write_bytes(tensors.to_safetensors(record))
    for again in (load(file), load(tmp_path / "record.safetensors")):
        assert again.run == record.run
        assert_same_arrays(again.history, record.history)
    with pytest.raises(ValueError, match="activation cannot be set for a whole run"):
        load(file, activation="relu")


def test_what_cannot_be_loaded_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="is neither a file nor a folder: name a checkpoint"):
        load(tmp_path / "nothing")
    (tmp_path / "5.safetensors").write_bytes(b"not one")
    with pytest.raises(ValueError, match=r"5\.safetensors"):
        load(tmp_path)


def test_a_sweep_trains_its_grid_once_and_tells_by_group(tmp_path):
    grid = Grid("standard", 7, {"lr": (1e-4, 1e-3), "seed": (1, 2), "frac_train": (0.75,), "epochs": (60,)})
    shelf = Store(tmp_path, atlas=None)
    done = sweep(grid, shelf, device="cpu")
    assert list(done.records) == [run.id for run in grid.runs]
    assert [(row["lr"], row["runs"]) for row in done.table] == [(1e-4, 2), (1e-3, 2)]
    assert done.summary["finished"] == 4
    finished = {run_id: record.provenance["finished"] for run_id, record in done.records.items()}
    again = sweep(grid, shelf, device="cpu")
    assert {run_id: record.provenance["finished"] for run_id, record in again.records.items()} == finished
    assert repr(again) == "Sweep(standard at p = 7, lr, 4 runs)"
