"""Grids of runs: their axes, the criterion of grokking, censored statistics, verdicts, and sweeps that are killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace

import numpy as np
import pytest
import sweep as script
import tyro
from conftest import finish
from hypothesis import given
from hypothesis import strategies as st
from serving import ROOT

from modadd.data import METRICS
from modadd.figures import sweep_report, sweep_tables, sweeps
from modadd.many import survival, sweep, verdicts
from modadd.many.sweep import Criterion, Grid
from modadd.records.record import Record
from modadd.records.store import Store
from modadd.runs import Run, preset

ORIGIN = {"device": "planted", "torch": "", "finished": "2026-01-01T00:00:00Z", "steps_per_second": None}


def planted(run: Run, grok: int | None, steps: int = 4000, reason: str | None = "epochs") -> Record:
    """A record whose train pairs are known from step 100 on and whose test accuracy jumps at `grok`."""
    step = np.arange(steps + 1)
    test = np.where(step < (steps + 1 if grok is None else grok), 0.5, 0.97)
    known = {"train_accuracy": np.where(step < 100, 0.2, 1.0), "test_accuracy": test, "held_out_accuracy": test - 0.3}
    history = {name: known.get(name, np.full(steps + 1, 0.5)).astype(np.float32) for name in METRICS}
    told = {"steps": steps, "stop_reason": reason, "seconds": 1.0}
    return Record(run, step, history, (), (), ORIGIN | told)


def judged(grid: Grid, groks: dict, **how) -> dict:
    """The summary of a grid whose runs grok at `groks[weight_decay]`, by seed; a missing decay is not trained."""
    seeds = grid.axes["seed"]
    records = {
        run.id: planted(run, groks[run.weight_decay][seeds.index(run.seed)], **how)
        for run in grid.runs if run.weight_decay in groks
    }  # fmt: skip
    return verdicts.summary(grid, sweep.outcomes(grid, records, Criterion()), Criterion())


def verdict(summary: dict) -> list[str]:
    return [one["verdict"] for one in summary["hypotheses"]]


@pytest.mark.parametrize("setting", fields(Run), ids=lambda f: f.name)
def test_every_setting_of_a_run_can_be_an_axis(setting):
    name, values = sweep.axis(f"{setting.name} = {str(setting.default).lower()}")
    assert name == setting.name
    assert values == ((setting.default,) if setting.default != "" else ())


def test_axes_are_crossed_and_seeds_repeat():
    grid = Grid("standard", 7, sweep.join([sweep.axis("lr=1e-3,1e-4"), sweep.axis("d-mlp=11,13"), ("seed", (1, 2))]))
    assert [(run.lr, run.d_mlp, run.seed) for run in grid.runs] == [
        (lr, d, seed) for lr in (1e-3, 1e-4) for d in (11, 13) for seed in (1, 2)
    ]
    assert grid.varied == ("lr", "d_mlp")
    assert grid.labels == ["0.001, 11", "0.001, 13", "0.0001, 11", "0.0001, 13"]


def test_a_varied_modulus_brings_its_own_width():
    grid = Grid("standard", 7, {"p": (23, 53), "seed": (1,)})
    assert [run.d_mlp for run in grid.runs] == [preset("standard", p).d_mlp for p in (23, 53)]


def test_a_run_named_twice_is_trained_once():
    width = preset("grokking", 23).d_mlp
    grid = Grid("grokking", 23, {"weight_decay": (1, 1.0, 2), "d_mlp": (None, width), "seed": (42, 42)})
    assert (grid.asked, len(grid.runs)) == (12, 2)
    assert len(grid.labels) == 2


@pytest.mark.parametrize("flags", [
    ["--vary", "nonsense=3"], ["--vary", "lr"], ["--vary", "lr=fast"], ["--vary", "seed=1.5"], ["--vary", "lr=-1"],
    ["--vary", "precision=fp16"], ["--vary", "weight_decay=nan"], ["--vary", "plateau=perhaps"], ["--p", "24"],
    ["--vary", "lr=1e-3", "lr=1e-4"], ["--weight-decay", "1", "--vary", "weight_decay=2"], ["--seeds"],
    ["--vary", "lr=" + ",".join(f"{i}e-5" for i in range(1, 90))], ["--preset", "none"], ["--p", "7"],
    ["--vary", "lr=" + "9" * 5000], ["--vary", "lr="], ["--vary", "p=23,24"],
    ["--accuracy", "90"], ["--sustained", "-1"],
])  # fmt: skip
def test_a_bad_grid_is_one_sentence_and_status_2(flags, tmp_path, run_script):
    status, result, stderr = run_script(script, *flags, "--cache", tmp_path)
    assert status == 2
    assert result is None
    assert re.fullmatch(r"error: [^\n]{10,330}\.\n", stderr), stderr


def test_dry_run_counts_what_is_there_and_trains_nothing(tmp_path, run_script):
    grid = Grid("standard", 7, {"weight_decay": (0.5, 1.0, 2.0), "seed": (42, 123, 456)})
    shelf = Store(tmp_path)
    shelf.put(planted(grid.runs[0], 200))
    shelf.put(planted(grid.runs[1], None, reason=None))
    status, plan, stderr = run_script(script, "--preset", "standard", "--p", 7, "--cache", tmp_path, "--dry-run")
    assert status == 0
    assert (plan["runs"], plan["finished"], plan["begun"]) == (9, 1, 1)
    assert plan["missing"] == [run.id for run in grid.runs[1:]]
    assert plan["seconds"] > 0
    assert "1 are there, 8 to train (1 of them begun)" in stderr
    assert len(shelf.cards_of_cache()) == 2
    shelf._cache.set(grid.runs[0].id, b"rubbish", tag="{}")  # what is damaged is trained again
    assert run_script(script, "--preset", "standard", "--p", 7, "--cache", tmp_path, "--dry-run")[1]["finished"] == 0


def test_values_that_differ_in_the_last_digit_are_two_groups():
    grid = Grid("standard", 7, {"lr": (0.1234567, 0.1234568), "seed": (1,)})
    assert len(grid.labels) == 2


def test_a_cell_that_the_atlas_holds_is_not_trained_again(tmp_path, run_script):
    _, plan, _ = run_script(script, "--weight-decay", 2, "--seeds", 42, "--cache", tmp_path, "--dry-run")
    assert (plan["runs"], plan["finished"]) == (1, 1)


def grokked_by_definition(steps, train, test, criterion):
    """The criterion read aloud, for a history in which every step is kept."""
    for s in range(len(steps)):
        window = test[s : s + criterion.sustained + 1]
        known = any(value >= criterion.memorised for value in train[: s + 1])
        if known and len(window) > criterion.sustained and all(value >= criterion.accuracy for value in window):
            return s
    return None


levels = st.sampled_from([0.1, 0.89, 0.9, 0.99, 1.0])


@given(st.lists(st.tuples(levels, levels), min_size=1, max_size=30), st.integers(0, 6))
def test_the_criterion_is_its_definition(pairs, sustained):
    train, test = (np.array(column) for column in zip(*pairs, strict=True))
    criterion = Criterion(sustained=sustained)
    record = Record(
        Run(p=7),
        np.arange(len(test)),
        {"train_accuracy": train, "test_accuracy": test},
        (),
        (),
        {"steps": len(test) - 1},
    )
    assert criterion.grokked_at(record) == grokked_by_definition(record.steps, train, test, criterion)


def test_a_dip_within_the_time_to_sustain_starts_anew():
    record = planted(preset("grokking", 23), 1000)
    test = record.history["test_accuracy"].copy()
    test[1400] = 0.85
    dipped = replace(record, history=record.history | {"test_accuracy": test})
    assert Criterion().grokked_at(dipped) == 1401
    assert Criterion(sustained=399).grokked_at(dipped) == 1000


def test_a_run_that_ends_before_it_is_sustained_is_censored():
    assert Criterion().grokked_at(planted(preset("grokking", 23), 3500, steps=4000)) == 3500
    assert Criterion().grokked_at(planted(preset("grokking", 23), 3501, steps=4000)) is None


def test_test_accuracy_counts_only_once_the_training_pairs_are_known():
    assert Criterion().grokked_at(planted(preset("grokking", 23), 20)) == 100


def test_held_out_pairs_and_absent_pairs_are_asked_for_by_name():
    record = planted(preset("grokking", 23), 1000)
    assert Criterion(curve="held_out").grokked_at(record) is None
    assert Criterion(accuracy=0.6, curve="held_out").grokked_at(record) == 1000
    absent = np.full(len(record.steps), np.nan, np.float32)
    for history in (record.history | {"test_accuracy": absent}, {"train_accuracy": record.history["train_accuracy"]}):
        assert Criterion().grokked_at(replace(record, history=history)) is None


def test_a_compact_record_groks_where_the_full_one_does():
    record = planted(preset("grokking", 23), 1234)
    small = record.compact()
    assert len(small.steps) < len(record.steps) / 10
    assert Criterion().grokked_at(small) == 1234
    one = sweep.outcome(record.run, small, Criterion())
    assert one.thinned
    assert not sweep.outcome(record.run, record, Criterion()).thinned


waits = st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=8)


def brute_median(wait):
    """Kaplan and Meier, step by step: a run that is censored at a step is still at risk there."""
    left = 1.0
    for step in sorted({s for s, _ in wait}):
        at_risk = sum(s >= step for s, _ in wait)
        left *= 1 - sum(s == step and came for s, came in wait) / at_risk
        if left <= 0.5 + 1e-12:
            return step
    return None


@given(waits)
def test_the_median_is_that_of_kaplan_and_meier(wait):
    assert survival.median(*zip(*wait, strict=True)) == brute_median(wait)


@given(waits, waits)
def test_of_two_runs_one_is_sooner_or_neither(one, other):
    a, b = (tuple(zip(*wait, strict=True)) for wait in (one, other))
    np.testing.assert_array_equal(survival.sooner(a, b), -survival.sooner(b, a).T)
    for i, (s, came) in enumerate(one):
        for j, (t, arrived) in enumerate(other):
            if not came and not arrived:
                assert survival.sooner(a, b)[i, j] == 0
            if came and (t > s):
                assert survival.sooner(a, b)[i, j] == 1


def test_three_runs_ahead_of_three_have_one_chance_in_twenty():
    ahead, behind = ([1, 2, 3], [True] * 3), ([4, 5, 9], [True, True, False])
    assert survival.chance_of_sooner(ahead, behind) == pytest.approx(1 / 20, rel=1e-12)
    assert survival.chance_of_sooner(behind, ahead) == pytest.approx(1, rel=1e-12)
    assert survival.chance_of_sooner(([1], [True]), behind) is None


def test_an_interval_holds_its_median_and_says_where_it_is_open():
    low, high = survival.median_interval([100, 200, 300, 400, 500], [True] * 5)
    assert 100 <= low <= 300 <= high <= 500
    assert survival.median_interval([100, 200, 900], [True, True, False]) == (100, None)
    assert survival.median_interval([900, 900, 900], [False] * 3) is None
    assert survival.median_interval([100], [True]) is None


DEFAULT = Grid("grokking", 23, {"weight_decay": (0.5, 1.0, 2.0), "seed": (42, 123, 456)})
CASES = {
    "all hold": ({0.5: [None, 3000, None], 1.0: [1000, 1100, 1200], 2.0: [500, 600, 700]}, "holds holds holds"),
    "the other way round": ({0.5: [200, 210, 220], 1.0: [1000, 1100, 1200], 2.0: [1500, 1600, None]},
                            "holds fails fails"),
    "mixed": ({0.5: [900, 1150, 2000], 1.0: [1000, 1100, 1200], 2.0: [500, 1150, 1300]}, "holds undecided undecided"),
    "one of the baseline fails": ({0.5: [None] * 3, 1.0: [1000, None, 1200], 2.0: [500, 600, 700]},
                                  "fails holds undecided"),
    "nobody groks": ({0.5: [None] * 3, 1.0: [None] * 3, 2.0: [None] * 3}, "fails undecided undecided"),
    "the baseline is missing": ({0.5: [None] * 3, 2.0: [500, 600, 700]}, "undecided undecided undecided"),
    "the low one is missing": ({1.0: [1000, 1100, 1200], 2.0: [500, 600, 700]}, "holds holds undecided"),
    "all alike": ({decay: [1000] * 3 for decay in (0.5, 1.0, 2.0)}, "holds undecided undecided"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_verdicts_follow_from_what_was_planted(case):
    groks, expected = CASES[case]
    assert verdict(judged(DEFAULT, groks)) == expected.split()


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_too_few_seeds_decide_no_order(seeds):
    grid = replace(DEFAULT, axes=DEFAULT.axes | {"seed": seeds})
    summary = judged(grid, {0.5: [3000, 3100], 1.0: [1000, 1100], 2.0: [200, 210]})
    assert verdict(summary) == ["holds", "undecided", "undecided"]


def test_a_grid_without_these_decays_decides_nothing():
    grid = Grid("grokking", 23, {"lr": (1e-4, 2e-4), "seed": (1, 2)})
    records = {run.id: planted(run, 500) for run in grid.runs}
    summary = verdicts.summary(grid, sweep.outcomes(grid, records, Criterion()), Criterion())
    assert verdict(summary) == ["undecided"] * 3
    assert [row["median"] for row in summary["groups"]] == [500, 500]


def test_numbers_of_the_verdict_stand_in_its_sentence():
    first, second, _ = judged(DEFAULT, CASES["one of the baseline fails"][0])["hypotheses"]
    assert "2 of 3" in first["because"]
    assert "seed 123 ran to step 4,000" in first["because"]
    assert "600 at 2 and 1,200 at 1" in second["because"]
    assert "p = 0.05" in second["because"]


def test_censored_runs_are_never_dropped():
    summary = judged(DEFAULT, CASES["all hold"][0])
    low, one, _ = summary["groups"]
    assert (low["runs"], low["finished"], low["grokked"]) == (3, 3, 1)
    assert low["success_rate"] == pytest.approx(1 / 3)
    assert low["success_interval"][0] < 1 / 3 < low["success_interval"][1]
    assert low["median"] is None
    assert low["median_interval"] == (3000, None)
    assert low["mean"] == pytest.approx((4000 + 3000 + 4000) / 3)  # at least
    assert (low["first"], low["last"], low["at_least"]) == (3000, 4000, True)
    assert (one["median"], one["mean"], one["at_least"]) == (1100, 1100, False)
    assert [cell["censored_at"] for cell in summary["cells"][:3]] == [4000, None, 4000]


def test_a_criterion_that_no_run_meets_is_not_reached_everywhere():
    records = {run.id: planted(run, 500) for run in DEFAULT.runs}
    never = Criterion(accuracy=0.98)
    results = sweep.outcomes(DEFAULT, records, never)
    summary = verdicts.summary(DEFAULT, results, never)
    assert verdict(summary) == ["fails", "undecided", "undecided"]
    assert all(row["median"] is None and row["grokked"] == 0 for row in summary["groups"])
    for chart in sweep_report.charts(DEFAULT, records, results, never, summary["groups"]).values():
        assert chart.caption
    assert "nothing to compare" in summary["hypotheses"][1]["because"]


def test_pairs_that_come_for_free_are_told():
    records = {run.id: planted(run, 500) for run in DEFAULT.runs}
    told = verdicts.caution(sweep.outcomes(DEFAULT, records, Criterion()), Criterion())
    share = np.mean([verdicts.mirrored_share(run) for run in DEFAULT.runs])
    assert f"{share:.0%} have their mirror image" in told
    whole = Grid("standard", 7, {"seed": (1,)})
    assert "nothing is left to generalise to" in verdicts.caution(sweep.outcomes(whole, {}, Criterion()), Criterion())
    apart = Grid("grokking", 23, {"split": ("unordered",), "seed": (1,)})
    assert "No test pair has" in verdicts.caution(sweep.outcomes(apart, {}, Criterion()), Criterion())


def test_the_script_judges_what_the_cache_holds(tmp_path, run_script):
    groks = CASES["all hold"][0]
    shelf = Store(tmp_path / "cache")
    for run in DEFAULT.runs:
        shelf.put(planted(run, groks[run.weight_decay][DEFAULT.axes["seed"].index(run.seed)]))
    out = tmp_path / "out"
    status, result, stderr = run_script(script, "--cache", tmp_path / "cache", "--out", out)
    assert status == 0, stderr
    assert result.pop("failures") == {}
    assert result == json.loads((out / "analysis_summary.json").read_text())
    assert result == json.loads(json.dumps(judged(DEFAULT, groks)))
    for name, says in (("H1", "holds"), ("H2", "holds"), ("H3", "holds")):
        assert f"{name} {says}" in stderr
    drawn = ("accuracy_curves", "grok_steps", "success_rate", "final_accuracy", "combined")
    files = {f"{name}.{form}" for name in drawn for form in ("svg", "png")} | {"analysis_summary.json", "report.html"}
    assert {file.name for file in out.iterdir()} == files
    report = (out / "report.html").read_text()
    assert report.count("<svg") == 4
    assert not re.search(r"<script|<link|src=|url\(['\"]?http|href=", report)  # it loads nothing
    assert all(run.id in report for run in DEFAULT.runs)


def test_quick_is_small_and_short_unless_told_otherwise():
    quick = tyro.cli(script.Flags, args=["--quick"]).grid()
    assert {(run.p, run.epochs) for run in quick.runs} == {(19, script.QUICK_STEPS)}
    named = tyro.cli(script.Flags, args=["--quick", "--p", "31", "--vary", "epochs=5"]).grid()
    assert {(run.p, run.epochs) for run in named.runs} == {(31, 5)}


def test_charts_hold_every_run_and_every_censored_mark():
    groks = CASES["all hold"][0]
    records = {run.id: planted(run, groks[run.weight_decay][DEFAULT.axes["seed"].index(run.seed)])
               for run in DEFAULT.runs}  # fmt: skip
    results = sweep.outcomes(DEFAULT, records, Criterion())
    rows = sweep_tables.curves(DEFAULT, records, Criterion())
    assert set(rows["run"].to_pylist()) == set(records)
    ended = sweep_tables.ended(DEFAULT, results).to_pylist()
    assert sum("censored" in row["kind"] for row in ended) == 2
    assert len({row["place"] for row in ended}) == 9  # none covers another
    states = {run.id: ("not begun", "") for run in DEFAULT.runs}
    assert sweeps.matrix(DEFAULT, {}, states, Criterion()).table().num_rows == 9


@pytest.mark.parametrize("runs", [1, 8, 400])
def test_a_picture_can_be_taken_of_the_largest_grid(runs):
    grid = Grid(
        "grokking", 23, {"lr": tuple(1e-4 * (1 + i) for i in range(-(-runs // 8))), "seed": (*range(8),)[:runs]}
    )
    records = {run.id: planted(run, 500) for run in grid.runs}
    assert len(sweep_tables.curves(grid, records, Criterion())) < 5000


TINY = ["--preset", "standard", "--p", 7, "--weight-decay", 0.5, 1, "--seeds", 1, 2, "--epochs", 6000,
        "--vary", "d_mlp=11", "frac_train=0.7", "lr=1e-3"]  # fmt: skip


@pytest.mark.parametrize("kills", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_sweep_that_is_killed_ends_as_if_it_had_not_been(tmp_path, kills):
    shelf = Store(tmp_path)
    command = [sys.executable, "scripts/sweep.py", *map(str, TINY), "--cache", str(tmp_path), "--json"]

    def finished() -> int:
        return len(shelf.cards_of_cache())

    for count, victims in ((1, os.kill), (2, os.killpg))[:kills]:  # the script alone, then its workers with it
        process = subprocess.Popen(
            command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        while finished() < count and process.poll() is None:
            time.sleep(0.02)
        victims(process.pid, signal.SIGKILL)
        assert process.communicate(timeout=30)[0] == b""
        assert process.returncode == -signal.SIGKILL  # there was still something to do
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    grid = tyro.cli(script.Flags, args=[*map(str, TINY)]).grid()
    undisturbed = {run.id: finish(run) for run in grid.runs}
    expected = verdicts.summary(grid, sweep.outcomes(grid, undisturbed, Criterion()), Criterion())
    assert json.loads(done.stdout) == json.loads(json.dumps(expected)) | {"failures": {}}


def test_ctrl_c_says_how_to_go_on_and_a_failure_is_told(tmp_path, run_script, monkeypatch):
    def interrupted(runs, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr(script.pool, "train_all", interrupted)
    status, result, stderr = run_script(script, *TINY, "--cache", tmp_path)
    assert (status, result) == (130, None)
    assert "the same command goes on from the last checkpoint" in stderr
    monkeypatch.setattr(script.pool, "train_all", lambda runs, *_: {runs[0].id: "RuntimeError: no luck"})
    status, result, stderr = run_script(script, *TINY, "--cache", tmp_path)
    assert (status, result["finished"], len(result["failures"])) == (1, 0, 1)
    assert "failed: RuntimeError: no luck" in stderr
