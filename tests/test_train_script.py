"""scripts/train.py: the published command line, weight files, tracking and the profile of a step."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import cli
import numpy as np
import pytest
from conftest import SMALL, assert_same_training, finish, weights
from serving import ROOT

from modadd.networks.mlp import compiled
from modadd.records.store import Store
from modadd.runs import Run, preset
from modadd.training import profiling, tracking


def train(*flags, **environment):
    """(exit status, the JSON object or None, stderr) of the script."""
    done = subprocess.run(
        [sys.executable, "scripts/train.py", *map(str, flags), "--json"], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | environment,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def asked(line: str) -> Run:
    """The run that a command line describes."""
    return cli.flags(cli.RunFlags, line=line.split()).run()


# -- the published command line -----------------------------------------------------------------

PUBLISHED = {
    "standard": "--act_type ReLU --init_type random --optimizer AdamW --lr 5e-5 --num_epochs 5000 --init_scale 0.1",
    "grokking": "--act_type ReLU --init_type random --optimizer AdamW --lr 1e-4 --weight_decay 2 --frac_train 0.75 "
                "--num_epochs 50000 --init_scale 0.1 --plateau True",
    "quad_random": "--act_type Quad --init_type random --optimizer AdamW --lr 5e-5 --num_epochs 5000 --init_scale 0.1",
    "quad_single_freq": "--act_type Quad --init_type single-freq --optimizer SGD --lr 0.1 --num_epochs 10000 "
                        "--init_scale 0.02",
    "relu_single_freq": "--act_type ReLU --init_type single-freq --optimizer SGD --lr 0.01 --num_epochs 10000 "
                        "--init_scale 0.002",
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_command_lines_are_the_presets(name):
    assert asked(f"--p 23 --d_mlp 512 {PUBLISHED[name]}") == preset(name, 23)


@pytest.mark.parametrize(
    ("line", "change"),
    [
        ("--act_type GeLU", {"activation": "gelu"}),
        ("--act_type Id", {"activation": "identity"}),
        ("--activation quad", {"activation": "quad"}),
        ("--d-mlp 11 --seed 3", {"d_mlp": 11, "seed": 3}),
        ("--epochs 7 --split unordered", {"epochs": 7, "split": "unordered"}),
        ("--frac_train 0.5 --weight-decay 1", {"frac_train": 0.5, "weight_decay": 1.0}),
        ("--d_model 8", {"d_model": 8}),
    ],
)
def test_both_spellings_name_one_setting(line, change):
    assert asked(line) == replace(preset("standard", 23), **change)


@pytest.mark.parametrize("line", ["--act_type Tanh", "--optimizer Lion", "--init_type zeros", "--p 24"])
def test_a_bad_setting_is_one_sentence(line):
    with pytest.raises(ValueError, match="must be"):
        asked(line)


def test_a_published_command_line_trains(tmp_path):
    line = "--p 7 --d_mlp 11 --act_type ReLU --optimizer AdamW --lr 1e-3 --num_epochs 60 --frac_train 0.7 --no_wandb"
    status, summary, err = train(*line.split(), "--cache", tmp_path)
    assert status == 0, err
    store = Store(tmp_path, None)
    assert_same_training(store.mine(summary["run_id"]), finish(replace(SMALL, epochs=60)))
    store.close()


# -- weight files -------------------------------------------------------------------------------


def test_weights_are_saved_at_the_asked_steps_and_training_is_the_same(tmp_path):
    line = "--p 7 --d_mlp 11 --lr 1e-3 --num_epochs 300 --frac_train 0.7 --save_models true --save_every 70"
    run = replace(SMALL, epochs=300)
    status, summary, err = train(*line.split(), "--cache", tmp_path / "cache", "--models", tmp_path)
    assert status == 0, err
    assert summary["run_id"] == run.id
    store = Store(tmp_path / "cache", None)
    assert_same_training(store.mine(run.id), finish(run))
    store.close()
    files = sorted((tmp_path / run.id).iterdir())
    assert [file.name for file in files] == [f"step_{step:07d}.npz" for step in (0, 70, 140, 210, 280, 300)]
    for file in files[1:]:
        with np.load(file, allow_pickle=False) as held:
            theta, xi = weights(finish(replace(run, epochs=int(held["step"]))))
            np.testing.assert_array_equal(held["theta"], theta)
            np.testing.assert_array_equal(held["xi"], xi)
            assert Run.from_json(str(held["run"])) == run
    from modadd.networks.mlp.model import initial_weights

    with np.load(files[0], allow_pickle=False) as held:
        for name, array in zip(("theta", "xi"), initial_weights(run), strict=True):
            np.testing.assert_array_equal(held[name], array)


# -- tracking -----------------------------------------------------------------------------------

FAKE = """
import json, os
class Client:
    def __init__(self, **about): self.rows, self.summary, self.about = [], {}, about
    def log(self, numbers, step): self.rows.append([step, numbers])
    def finish(self, exit_code):
        seen = {"rows": self.rows, "summary": self.summary, "about": self.about, "exit_code": exit_code}
        with open(os.environ["TRACKED"], "w") as file: json.dump(seen, file)
def init(**about): return Client(**about)
"""


def test_tracking_sends_history_measures_and_summary(tmp_path):
    (tmp_path / "wandb.py").write_text(FAKE)
    flags = ("--p", 7, "--d-mlp", 11, "--epochs", 305, "--wandb", "lab", "--no-cache")
    environment = {"PYTHONPATH": str(tmp_path), "TRACKED": str(tmp_path / "seen.json")}
    status, summary, err = train(*flags, **environment)
    assert status == 0, err
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["about"]["project"] == "lab"
    assert seen["about"]["name"] == seen["about"]["config"]["run_id"] == summary["run_id"]
    assert seen["exit_code"] == 0
    steps = [step for step, _ in seen["rows"]]
    assert steps == sorted(set(steps))
    assert {0, 10, 300, 305} <= set(steps)
    last = dict(seen["rows"][-1][1])
    assert last["train_loss"] == pytest.approx(summary["train_loss"])
    assert last["ipr_in"] == pytest.approx(summary["ipr_in"])
    assert "test_loss" not in last  # full training has no test pairs
    assert seen["summary"]["train_accuracy"] == pytest.approx(summary["train_accuracy"])


def test_no_wandb_wins(tmp_path):
    (tmp_path / "wandb.py").write_text("raise SystemExit('imported')")
    flags = ("--p", 7, "--d-mlp", 11, "--epochs", 5, "--wandb", "lab", "--no_wandb", "--no-cache")
    status, _, err = train(*flags, PYTHONPATH=str(tmp_path))
    assert status == 0, err


def test_without_wandb_tracking_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="wandb is not installed: pip install"), tracking.tracked("lab", SMALL):
        pass


def test_a_training_that_breaks_off_is_told_so(monkeypatch):
    ends = []
    client = SimpleNamespace(log=lambda *_, **__: None, summary={}, finish=lambda exit_code: ends.append(exit_code))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **_: client))
    with pytest.raises(KeyboardInterrupt), tracking.tracked("lab", SMALL):
        raise KeyboardInterrupt
    assert ends == [1]


# -- the profile --------------------------------------------------------------------------------


PLAIN = ["forward", "softmax and metrics", "d xi", "d theta", "optimiser", "norm and history"]
COMPILED = ["forward, softmax and metrics", "backward and optimiser", "around the steps"]


@pytest.mark.parametrize("run", [SMALL, replace(SMALL, activation="gelu", optimizer="sgd"), Run(p=7, d_model=3)])
def test_the_parts_of_a_step_are_all_of_it(run):
    found = profiling.profile(run, "cpu", steps=60)
    assert sum(part["ms"] for part in found["parts"]) == pytest.approx(found["ms_per_step"])
    assert sum(part["share"] for part in found["parts"]) == pytest.approx(1)
    assert [part["name"] for part in found["parts"]] == (COMPILED if compiled.covers(run) else PLAIN)
    assert found["parts"][0]["ms"] > 0


def test_a_profile_trains_nothing_and_is_json(tmp_path):
    status, result, err = train("--p", 7, "--profile", "--cache", tmp_path)
    assert status == 0, err
    assert result["run_id"] == preset("standard", 7).id
    assert "softmax and metrics" in err  # both steps have a part of that name
    assert not list(tmp_path.rglob("*.val"))


def test_too_short_a_run_cannot_be_profiled():
    with pytest.raises(ValueError, match="epochs must be at least 17 to be profiled, got 5"):
        profiling.profile(replace(SMALL, epochs=5), "cpu")


def test_nothing_is_trained_where_it_could_not_be_kept(tmp_path):
    (tmp_path / "file").touch()
    status, result, said = train("--p", 5, "--epochs", 2, "--cache", tmp_path / "file" / "runs")
    assert (status, result) == (2, None)
    assert "cannot be written" in said


def test_brackets_of_a_remedy_reach_the_reader(capsys):
    with pytest.raises(SystemExit), cli.one_sentence():
        raise ValueError("wandb is not installed: pip install -e '.[wandb]', or [bold]leave[/] --wandb away")
    assert "pip install -e '.[wandb]', or [bold]leave[/] --wandb away." in capsys.readouterr().err
