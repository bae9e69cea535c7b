"""A lab of one's own and a Chromium to look at it: for the scripts that watch the real thing, and for its tests."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
         "--disable-component-update")  # fmt: skip
PATIENCE = 120  # seconds; a busy machine takes its time


@dataclass(frozen=True)
class Server:
    """A running lab: its process, and where it listens on this machine."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def server(cache: Path, log: Path | None = None, **environment: str) -> Iterator[Server]:
    """A lab over this cache, as soon as it answers, started as the README says; `log` takes what it prints.

    OSError if it ends before, or does not answer within PATIENCE.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.port", str(port)]
    with open(log or os.devnull, "w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=out, env=os.environ | {"MODADD_CACHE": str(cache)} | environment
        )
        try:
            wait(process, port)
            yield Server(process.pid, port)
        finally:
            process.terminate()
            process.wait(60)


def wait(process: subprocess.Popen, port: int):
    """Come back when somebody listens at this port."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            raise OSError(f"the server ended with status {process.returncode} before it answered")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise OSError(f"the server did not begin to answer within {PATIENCE} seconds")


@contextmanager
def chromium(path: str | None = CHROMIUM):
    """A Chromium without a window, from playwright; OSError with the remedy where one of them is missing."""
    if path is None or shutil.which(path) is None:
        raise OSError(f"{path or 'Chromium'} is not on this machine: install Chromium as `chromium`")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise OSError("playwright is not installed: pip install -r requirements-dev.txt") from None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()
