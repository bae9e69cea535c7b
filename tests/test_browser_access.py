"""Every page in a real browser, wide and narrow, light and dark: it opens, fits its window, and all can read it."""

import os
from pathlib import Path

import axe_playwright_python
import pytest
from browser import in_a_browser
from serving import ROOT

pytestmark = in_a_browser
PAGES = ["", *sorted(file.stem for file in ROOT.glob("pages/*.py") if file.stem != "Home")]
LOOKS = {
    "wide, light": (1280, "light"), "narrow, dark": (400, "dark"),
    "wide, dark": (1280, "dark"), "narrow, light": (400, "light"),
}  # fmt: skip
# One look a page, in turn, and with the slow tests all four of every page.
VISITS = [
    pytest.param(page, look, marks=() if place % 4 == turn else pytest.mark.slow)
    for place, page in enumerate(PAGES) for turn, look in enumerate(LOOKS)
]  # fmt: skip
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()

# Streamlit's own doing, which no page can change; (rule, what is hit, why it is let pass).
NOT_OURS = [
    # A formula wider than its column scrolls within itself; browsers let the keyboard reach such a box by themselves.
    ("scrollable-region-focusable", ".katex-display"),
    # The navigation of a narrow window, a list of sections.
    ("list", "[data-testid=stSidebarNavItems]"),
    ("listitem", "[data-testid=stSidebarNavItems] *"),
]
IN_THE_DARK = [
    # White on the primary colour and that colour on a dark ground cannot both reach 4.5 : 1; buttons do, these do not.
    ("color-contrast", "[data-testid=stSliderThumbValue] *, [data-testid=stButtonGroup] *"),
]

DRAWN = """() => {
    const app = document.querySelector('[data-testid=stApp]'), all = (what) => [...document.querySelectorAll(what)]
    return app?.dataset.testScriptState === 'notRunning' && document.querySelector('h1')
        && !document.querySelector('[data-testid=stSkeleton], [data-testid=stSpinner]')
        && all('[class*=st-key-chart-]').every((chart) => chart.querySelector('svg.marks, canvas, .js-plotly-plot'))
}"""
# A chart is one picture with one text: its thousand marks need not be read one by one.
CHECK = """async (pass) => {
    const found = await axe.run({exclude: [['svg.marks']]}, {resultTypes: ['violations']})
    return found.violations.filter((rule) => ['serious', 'critical'].includes(rule.impact)).flatMap((rule) =>
        rule.nodes.filter(({target}) => {
            const hit = document.querySelector(target[0])
            return !pass.some(([name, what]) => name === rule.id && hit?.matches(what))
        }).map((node) => `${rule.id}: ${node.html.slice(0, 200)} ${node.failureSummary}`))
}"""
SILENT = """() => [...document.querySelectorAll('[data-testid=stVegaLiteChart], [data-testid=stPlotlyChart], img')]
    .filter((picture) => !(picture.ariaLabel || picture.alt)).map((picture) => picture.outerHTML.slice(0, 200))"""
CUT = """() => [...document.querySelectorAll('.katex-display')].filter((formula) =>
    formula.scrollWidth > formula.clientWidth + 1 && !['auto', 'scroll'].includes(getComputedStyle(formula).overflowX))
    .map((formula) => formula.innerText)"""


@pytest.fixture(scope="module")
def windows(browser):
    """A window of each look, which keeps the program of the page from one visit to the next."""
    contexts = {
        look: browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        for look, (width, scheme) in LOOKS.items()
    }
    yield contexts
    for context in contexts.values():
        context.close()


@pytest.mark.parametrize(("page", "look"), VISITS)
def test_every_page_fits_its_window_and_can_be_read_by_all(server, windows, page, look):
    tab, asked = windows[look].new_page(), []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(f"{server}/{page}?p=23")
    tab.wait_for_function(DRAWN, timeout=60_000)
    overflow = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 1
    assert tab.get_by_test_id("stException").count() == 0
    assert not [url for url in asked if not url.startswith((server, "data:", "blob:"))]  # nobody else hears of it
    assert not tab.evaluate(CUT)
    assert not tab.evaluate(SILENT)
    tab.evaluate(AXE)
    assert not tab.evaluate(CHECK, NOT_OURS + (IN_THE_DARK if look.endswith("dark") else []))
    if folder := os.environ.get("SCREENSHOTS"):
        width, scheme = LOOKS[look]
        height = tab.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        tab.set_viewport_size({"width": width, "height": min(height + 50, 6000)})
        tab.wait_for_function(DRAWN)
        tab.screenshot(path=f"{folder}/{page or 'Home'}-{width}-{scheme}.png")
    tab.close()
