"""The real server in a real browser: train, watch the chart move, pause, reload, resume, open the stored run."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from modadd.runs import preset

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    # A browser, a server and a training run share two cores here: a click may come too late.
    pytest.mark.flaky(reruns=2),
]


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


def type_number(tab, label: str, value: int):
    box = tab.get_by_label(label, exact=True)
    box.fill(str(value))
    box.press("Enter")


def test_train_watch_pause_reload_resume_finish_and_open(server, tab):
    tab.goto(f"{server}/Live?p=13")
    # Slowed to a few steps a second by its width, so that there is time to look.
    tab.get_by_role("button", name="Train", exact=True).wait_for()
    tab.get_by_text("Every hyperparameter").click()
    tab.get_by_label("Hidden neurons d_mlp", exact=True).wait_for()
    type_number(tab, "Hidden neurons d_mlp", 20_000)
    type_number(tab, "Training steps", 400)
    tab.get_by_role("button", name="Train", exact=True).click()
    tab.wait_for_url("**run=p013-custom-*")
    tab.locator(".st-key-chart-losses svg.marks").wait_for()
    first, at = drawing(tab, "losses"), progress(tab)
    tab.wait_for_function(f"!document.querySelector('[data-testid=stProgress]').innerText.includes('tep {at:,} ')")
    time.sleep(1)
    assert drawing(tab, "losses") != first
    assert progress(tab) > at

    tab.get_by_role("button", name="Pause").click()
    tab.get_by_role("button", name="Resume").wait_for()
    paused = progress(tab)
    tab.reload()
    tab.get_by_role("button", name="Resume").wait_for()
    assert progress(tab) == paused

    tab.get_by_role("button", name="Resume").click()
    tab.get_by_text("ran to its last step at step 400").wait_for(timeout=120_000)
    url = tab.url
    again = tab.context.new_page()
    again.goto(url)
    again.get_by_text("ran to its last step at step 400").wait_for()
    again.locator(".st-key-chart-losses svg.marks").wait_for()


def test_leaving_the_page_and_coming_back_finds_the_run(server, tab):
    run = replace(preset("standard", 11), epochs=300_000).id  # the page opens with the atlas's run of 5,000 steps
    tab.goto(f"{server}/Live?p=11")
    type_number(tab, "Training steps", 300_000)
    tab.get_by_role("button", name="Train", exact=True).click()
    tab.wait_for_url(f"**run={run}*")
    tab.locator(".st-key-chart-losses svg.marks").wait_for()
    tab.get_by_role("link", name="Runs").click()
    tab.get_by_text(f"{run} is running now").wait_for()
    tab.get_by_role("link", name="Live").click()
    tab.wait_for_url(f"**run={run}*")
    tab.get_by_role("button", name="Stop").click()
    tab.get_by_role("button", name="Resume").wait_for()


def test_overview_of_23_is_drawn_within_three_seconds(server, browser):
    def visit() -> float:
        tab = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        clock = time.perf_counter()
        tab.goto(f"{server}/Overview?p=23")
        tab.locator(".st-key-chart-logits-grokking svg.marks").wait_for()
        seconds = time.perf_counter() - clock
        tab.context.close()
        return seconds

    visit()  # the first visit of all loads the atlas and the libraries
    assert min(visit() for _ in range(3)) < 3


def step_in_view(tab) -> str:
    return tab.locator(".st-key-step input[type=range]").get_attribute("aria-valuetext")


def test_playing_moves_the_step_and_every_chart(server, tab):
    tab.goto(f"{server}/Phases?p=23")
    tab.locator(".st-key-chart-scatter svg.marks").wait_for()
    tab.get_by_role("button", name="Start", exact=True).click()
    tab.locator(".st-key-step input[aria-valuetext='0']").wait_for(state="attached")
    tab.locator(".st-key-step-play").get_by_role("button", name="Play").wait_for()
    before = {key: drawing(tab, key) for key in ("scatter", "ring-1", "violins", "counts", "evenness")}
    tab.locator(".st-key-step-play").get_by_role("button", name="Play").click()
    tab.wait_for_function(
        "!['0', '1', '2'].includes(document.querySelector('.st-key-step input[type=range]').ariaValueText)"
    )
    tab.locator(".st-key-step input[aria-valuetext='5,000']").wait_for(state="attached")  # the film ends by itself
    tab.locator(".st-key-step-play").get_by_role("button", name="Play").wait_for()
    for key, was in before.items():
        tab.wait_for_function(
            "([key, was]) => document.querySelector(`.st-key-chart-${key} svg.marks`).innerHTML !== was", arg=[key, was]
        )
    assert step_in_view(tab) == "5,000"


def test_clicking_a_neuron_opens_its_race(server, tab):
    tab.goto(f"{server}/Phases?p=23")
    dots = tab.locator(".st-key-chart-scatter svg.marks g.mark-symbol.role-mark path")
    dots.first.wait_for(state="attached")
    tab.wait_for_function("document.querySelectorAll('.st-key-chart-scatter g.mark-symbol path').length > 500")
    dots.nth(200).click(force=True)
    tab.wait_for_url("**/Lottery?*run=p023-standard-*")
    tab.get_by_text(re.compile(r"Neuron \d+ ends on")).wait_for()
    tab.locator(".st-key-chart-race-alpha svg.marks").wait_for()


def test_a_chart_is_saved_as_svg(server, tab):
    tab.goto(f"{server}/Weights?p=23")
    tab.locator(".st-key-chart-spectrum svg.marks").wait_for()
    tab.locator(".st-key-save-spectrum").get_by_role("button", name="Save").click()
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="Chart as SVG").click()
    saved = Path(waiting.value.path()).read_text()
    assert waiting.value.suggested_filename == "spectrum.svg"
    assert saved.startswith("<svg")
    assert saved.count("<path") > 22  # a bar for each layer and frequency


@pytest.mark.parametrize("page", ["", *sorted(file.stem.partition("_")[2] for file in ROOT.glob("pages/*.py"))])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_every_page_fits_its_window(server, browser, page, width, scheme):
    tab = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    tab.goto(f"{server}/{page}?p=23")
    tab.locator("h1").wait_for()
    tab.wait_for_timeout(1500)
    overflow = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 1
    assert tab.get_by_test_id("stException").count() == 0
    if folder := os.environ.get("SCREENSHOTS"):
        height = tab.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        tab.set_viewport_size({"width": width, "height": min(height + 50, 6000)})
        tab.wait_for_timeout(1500)
        tab.screenshot(path=f"{folder}/{page or 'Home'}-{width}-{scheme}.png")
    tab.context.close()
