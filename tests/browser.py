"""What tests in a real browser share: one server over an empty cache, one Chromium, a tab, and looking at a page."""

import re

import pytest
import serving
from serving import CHROMIUM

in_a_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    # A browser, a server and a training run share two cores here: a click may come too late.
    pytest.mark.flaky(reruns=2),
]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The address of a server of our own, over an empty cache."""
    log = tmp_path_factory.mktemp("server") / "log"
    with serving.server(tmp_path_factory.mktemp("cache"), log) as lab:
        yield lab.url
    ours = [line for line in log.read_text().splitlines() if re.search(r'File "[^"]*/(modadd|pages)/', line)]
    assert not ours  # no traceback passed through the program


@pytest.fixture(scope="session")
def browser():
    with serving.chromium() as browser:
        yield browser


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


def at_step(tab, step: str, key: str = "step"):
    """Wait until the player stands there."""
    tab.locator(f".st-key-{key}-player input[aria-valuetext='{step}']").wait_for(state="attached")


def step_of(tab, key: str = "step") -> str:
    return tab.locator(f".st-key-{key}-player input[type=range]").get_attribute("aria-valuetext")


def go_to(tab, group: str, page: str):
    """Choose a page in the navigation."""
    tab.get_by_test_id("stTopNavSection").get_by_text(group, exact=True).click()
    tab.get_by_test_id("stTopNavDropdownLink").get_by_text(page, exact=True).click()
