"""A lab that is left alone with open pages: the short form of scripts/soak.py, and its arithmetic."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soak
from serving import CHROMIUM, ROOT


def test_growth_is_that_after_warm_up():
    samples = [soak.Sample(100 + 10 * min(i, 30), 10 + (i > 60), 20) for i in range(90)]
    assert soak.growth(samples) == {"memory": 0.0, "threads": 1, "files": 0}
    leaking = [soak.Sample(100 + i, 10, 20 + i) for i in range(90)]
    assert soak.growth(leaking) == {"memory": pytest.approx(20.76, abs=0.1), "threads": 0, "files": 30}
    with pytest.raises(ValueError, match="more minutes"):
        soak.growth(samples[:2])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_a_sample_sees_memory_threads_and_files(tmp_path):
    before = soak.sample(os.getpid())
    with (tmp_path / "x").open("w"):
        seen = soak.sample(os.getpid())
    assert seen.files == before.files + 1
    assert seen.memory > 10
    assert seen.threads >= 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_ten_minutes_of_training_and_playing_leave_nothing_behind(tried):
    # Less would be warm-up: records that stay in memory for a while, libraries, the pages' first charts.
    command = [sys.executable, "scripts/soak.py", "--minutes", "10", "--json"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1100)
    assert told.returncode == 0, told.stdout + told.stderr
    seen = json.loads(told.stdout)
    assert seen["runs"]
    assert seen["films"]
    tried(
        "ten minutes of training and playing with open pages (scripts/soak.py takes hours)",
        seen["runs"],
        f"memory grew by {seen['growth']['memory']} % after a short warm-up, no thread or file was left behind",
    )
