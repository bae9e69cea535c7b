"""The scripts as programs: lists that add up, published flags, plain errors, JSON, signals, pipes and terminals."""

import json
import os
import signal
import subprocess
import sys
import time

import cli
import import_run
import precompute
import pytest
import sweep as sweep_script
import train as train_script
from conftest import finish
from serving import ROOT

from modadd.records.store import Store
from modadd.runs import Run, preset

LONG = ("--p", 7, "--d-mlp", 11, "--epochs", 2_000_000, "--no_wandb")


def started(script: str, *flags, **how) -> subprocess.Popen:
    command = [sys.executable, f"scripts/{script}.py", *map(str, flags)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, **(pipes | how))


# -- lists --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "line", "name", "values"),
    [
        (precompute.Flags, "--p 23 --p 29", "p", [23, 29]),
        (precompute.Flags, "--p 23 29 --all --p=31", "p", [23, 29, 31]),
        (precompute.Flags, "--seeds 1 --presets standard --seeds 2 3", "seeds", [1, 2, 3]),
        (sweep_script.Flags, "--vary lr=1e-3 --p 7 --vary seed=1,2", "vary", ["lr=1e-3", "seed=1,2"]),
        (sweep_script.Flags, "--weight-decay 1 --weight_decay 2", "weight_decay", [1.0, 2.0]),
        (sweep_script.Flags, "--weight-decay", "weight_decay", []),
    ],
)
def test_a_list_that_is_named_again_goes_on(kind, line, name, values):
    assert getattr(cli.flags(kind, line=line.split()), name) == values


# -- published flags ----------------------------------------------------------------------------


def asked(line: str) -> Run:
    return cli.flags(cli.RunFlags, line=line.split()).run()


def test_published_flags_that_say_what_goes_without_saying_are_understood():
    line = "--embed_type one_hot --fn_name add --batch_style full --stopping_thresh -1 --d_vocab 23 --freq_num 11"
    assert asked(f"--p 23 {line}") == preset("standard", 23)
    assert asked("--p 23 --embed_type learned --d_model 8").d_model == 8
    assert asked("--p 23 --preset transformer --d_vocab 24") == preset("transformer", 23)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--embed_type learned", "--embed_type learned is not understood: a learned embedding needs its width"),
        ("--embed_type fourier", "inputs are one_hot"),
        ("--fn_name subtract", "--fn_name subtract is not understood: the networks learn to add"),
        ("--batch_style random", "every step sees all training pairs"),
        ("--freq_num 3", "single-freq uses all 11 frequencies of p = 23"),
        ("--stopping_thresh 1e-6", "no loss ends a run"),
        ("--d_vocab 24", "the tokens of p = 23 are 23"),
        ("--config configs.yaml", "--config configs.yaml is not understood: settings are not read from a file"),
    ],
)
def test_a_published_flag_that_cannot_be_kept_is_refused_with_the_reason(line, reason):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        asked(line)
    assert reason in str(error.value)


def test_precompute_takes_a_width(tmp_path, run_script):
    status, report, err = run_script(
        precompute, "--p", 7, "--d_mlp", 12, "--presets", "standard", "--dry-run", "--cache", tmp_path
    )
    assert status == 0, err
    assert report["missing"] == [preset("standard", 7, d_mlp=12).id]


# -- what is printed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "flags"),
    [
        (train_script, ("--preset", "[/foo]")), (sweep_script, ("--preset", "[/foo]", "--dry-run")),
        (precompute, ("--p", 7, "--presets", "[/foo]")), (import_run, ("[/foo]",)),
        (train_script, ("--p", "7", "--cache", "/dev/null/[/foo]")),
    ],
)  # fmt: skip
def test_markup_in_an_error_is_text_and_stdout_stays_empty(run_script, module, flags):
    status, result, err = run_script(module, *flags)
    assert (status, result) == (2, None)
    assert err.startswith("error: ")
    assert "[/foo]" in err
    assert err.count("\n") == 1


def test_json_knows_no_number_that_is_none(capsys):
    cli.print_json({"loss": float("nan"), "rows": [{"most": float("inf"), "p": 7}], "pair": (1.5, None)})
    told = capsys.readouterr().out
    assert json.loads(told, parse_constant=pytest.fail) == {
        "loss": None, "rows": [{"most": None, "p": 7}], "pair": [1.5, None],
    }  # fmt: skip


def test_a_run_that_diverges_is_told_in_json(tmp_path, run_script):
    flags = ("--p", 7, "--d-mlp", 11, "--optimizer", "sgd", "--activation", "quad", "--lr", 10, "--init-scale", 10)
    status, summary, err = run_script(train_script, *flags, "--epochs", 50, "--cache", tmp_path)
    assert status == 0, err
    assert summary["stop_reason"] == "diverged"
    assert "nan" not in json.dumps(summary).lower()


# -- signals, pipes, terminals ------------------------------------------------------------------


def stopped(script: str, number: signal.Signals, *flags, until) -> tuple[int, str, str]:
    """(exit status, stdout, stderr) of a script that gets a signal once `until()` is true."""
    with started(script, *flags) as process:
        end = time.monotonic() + 120
        while not until() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_training_leaves_at_a_checkpoint_and_goes_on_from_it(tmp_path, number, status):
    code, out, err = stopped(
        "train", number, *LONG, "--cache", tmp_path, "--json",
        until=lambda: any(tmp_path.rglob("*.lock")),
    )  # fmt: skip
    assert code == status, err
    assert out == ""
    assert "stopped at step" in err
    assert "Traceback" not in err
    store = Store(tmp_path, None)
    (record,) = (store.mine(run_id) for run_id in store.cards_of_cache())
    assert not record.finished
    assert f"stopped at step {record.step:,}; the same command goes on from there." in err
    again = finish(Run(p=7, d_mlp=11, epochs=record.step + 5), record)
    assert again.step == record.step + 5
    store.close()


def test_ctrl_c_while_modules_load_is_a_sentence(tmp_path):
    (tmp_path / "tyro.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    with started("train", env=os.environ | {"PYTHONPATH": str(tmp_path)}) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (-signal.SIGINT, "", "stopped.\n")


def test_a_reader_that_goes_away_ends_a_script_in_silence(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    flags = ("--p", 7, "--dry-run", "--cache", tmp_path, "--json")
    with started("train", *flags, stdout=writing) as process:
        os.close(writing)
        _, err = process.communicate(timeout=120)
    assert process.returncode == cli.CLOSED_PIPE
    assert "Broken" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize("script", ["train", "tables"])
def test_a_poor_terminal_is_enough(tmp_path, script):
    plain = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "TERM": "dumb"}
    flags = ("--p", 7, "--d-mlp", 11, "--epochs", 5, "--cache", tmp_path) if script == "train" else ("--p", "23")
    with started(script, *flags, env=os.environ | plain) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "\x1b" not in out + err
    assert (out + err).isascii()
