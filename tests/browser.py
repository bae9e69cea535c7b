"""What tests in a real browser share: one server over an empty cache, one Chromium, a tab, and looking at a page."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
in_a_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    # A browser, a server and a training run share two cores here: a click may come too late.
    pytest.mark.flaky(reruns=2),
]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The address of a server of our own, over an empty cache."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.port", str(port)]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=out,
            env=os.environ | {"MODADD_CACHE": str(tmp_path_factory.mktemp("cache"))},
        )  # fmt: skip
        for _ in range(120):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.25)
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.wait(20)
    ours = [line for line in log.read_text().splitlines() if re.search(r'File "[^"]*/(modadd|pages)/', line)]
    assert not ours  # no traceback passed through the program


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
            ],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser):
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    yield page
    page.context.close()


def progress(tab) -> int:
    """The step that the page names."""
    text = tab.get_by_test_id("stProgress").first.inner_text()
    return int(re.search(r"tep ([\d,]+)", text).group(1).replace(",", ""))


def drawing(tab, key: str) -> str:
    """What a chart looks like now."""
    return tab.locator(f".st-key-chart-{key} svg.marks").first.inner_html()
