"""Leave the lab running with two open pages, and see whether it grows.

    python scripts/soak.py --minutes 60
    python scripts/soak.py --minutes 1 --json

One page watches runs train, one after another without end; on the other a film of a stored run plays over and over.
Memory, threads and open files of the server are looked at every few seconds.  The first third is warm-up; what the
medians of the second and the last third differ by is growth, and the exit status is 1 where memory grew by more than
`most` per cent, or threads or files at all.  Needs Chromium and playwright.
"""

import os
import re
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import cli
from serving import chromium, server

LOOK_SECONDS = 2.0
FEW = 2  # threads and files that come and go: a request on its way, a lock that is held


@dataclass(kw_only=True)
class Flags:
    minutes: float = 60
    """How long."""
    p: int = 13
    """Modulus of the runs that are trained."""
    steps: int = 20_000
    """Steps of each of them."""
    most: float = 5
    """Growth of the resident memory after warm-up that is still well, per cent."""
    json: bool = False
    """Print the figures as one JSON object on stdout."""


@dataclass(frozen=True)
class Sample:
    """What a process takes: resident memory in MB, threads, and open files."""

    memory: float
    threads: int
    files: int


def sample(pid: int) -> Sample:
    """What this process takes now; Linux only."""
    about = Path(f"/proc/{pid}/status").read_text()
    memory, threads = (int(re.search(rf"^{name}:\s+(\d+)", about, re.MULTILINE)[1]) for name in ("VmRSS", "Threads"))
    return Sample(memory / 1000, threads, len(os.listdir(f"/proc/{pid}/fd")))


def watch(flags: Flags) -> tuple[list[Sample], int, int]:
    """(samples, runs trained, films played) of so many minutes with two open pages."""
    samples, runs, films = [], 0, 0
    with ExitStack() as open_:
        folder = Path(open_.enter_context(tempfile.TemporaryDirectory()))
        browser = open_.enter_context(chromium())
        lab = open_.enter_context(server(folder / "runs"))
        live, film = browser.new_page(), browser.new_page()
        for page in (live, film):
            page.set_default_timeout(120_000)
        live.goto(f"{lab.url}/Live?p={flags.p}")
        film.goto(f"{lab.url}/Phases?p=23")
        play = film.get_by_role("button", name="Play")
        play.first.wait_for()
        until = time.monotonic() + 60 * flags.minutes
        while time.monotonic() < until:
            if not live.get_by_role("button", name="Stop").count():
                train(live, runs, flags.steps)
                runs += 1
            if play.count():
                film.get_by_role("button", name="Start", exact=True).first.click()
                play.first.click()
                films += 1
            samples.append(sample(lab.pid))
            live.wait_for_timeout(1000 * LOOK_SECONDS)
        for page in (live, film):
            if page.get_by_test_id("stException").count():
                raise OSError("a page ended in an error")
    return samples, runs, films


def train(page, seed: int, steps: int):
    """Begin a run of this seed on an open Live page."""
    for label, value in (("Seed", seed), ("Training steps", steps)):
        box = page.get_by_label(label, exact=True)
        box.fill(str(value))
        box.press("Enter")
    page.get_by_role("button", name="Train", exact=True).click()
    page.get_by_role("button", name="Stop").wait_for()


def growth(samples: list[Sample]) -> dict[str, float]:
    """From the median of the second third to that of the last: memory in per cent, threads and files in numbers."""
    third = len(samples) // 3
    if not third:
        raise ValueError("too few samples: give it more minutes")
    before, after = (
        {name: median(getattr(s, name) for s in part) for name in ("memory", "threads", "files")}
        for part in (samples[third : 2 * third], samples[-third:])
    )
    return {
        "memory": round(100 * (after["memory"] / before["memory"] - 1), 2),
        "threads": after["threads"] - before["threads"],
        "files": after["files"] - before["files"],
    }


def main(flags: Flags):
    samples, runs, films = watch(flags)
    grown = growth(samples)
    told = {"minutes": flags.minutes, "samples": len(samples), "runs": runs, "films": films,
            "last": asdict(samples[-1]), "growth": grown}  # fmt: skip
    well = grown["memory"] <= flags.most and max(grown["threads"], grown["files"]) <= FEW
    if flags.json:
        cli.print_json(told)
    cli.say([
        f"{flags.minutes:g} minutes, {runs} runs trained, {films} films played: {samples[-1].memory:.0f} MB, "
        f"{samples[-1].threads} threads, {samples[-1].files} files at the end; after warm-up memory grew by "
        f"{grown['memory']} %, threads by {grown['threads']:g}, files by {grown['files']:g}"
    ])  # fmt: skip
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    with cli.one_sentence():
        main(cli.flags(Flags, __doc__.splitlines()[0]))
