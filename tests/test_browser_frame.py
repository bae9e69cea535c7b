"""The frame in a real browser: what is in view unscrolled, dragging, hovering, fast keys."""

import pytest
from browser import at_step, in_a_browser, step_of

from modadd import preset

pytestmark = in_a_browser
PLAYER_PAGES = ("Overview", "Weights", "Phases", "Logits", "Lottery", "Gradient_flow", "Grokking")
TALL = 220  # pixels of a plot
DRAWN = """() => {
    const app = document.querySelector('[data-testid=stApp]')
    const charts = [...document.querySelectorAll('[class*=st-key-chart-]')]
    return app?.dataset.testScriptState === 'notRunning' && charts.length && document.querySelector('.bar')
        && charts.every((chart) => chart.querySelector('svg.marks, canvas, .js-plotly-plot'))
}"""
# The plots of all charts, in pixels of the window: {key, left, top, width, height, bottom of the chart}.
PLOTS = """() => {
    const found = [], call = new CustomEvent('film')
    Object.defineProperty(call, 'vega', {set(vega) {
        const view = vega.view(), box = view.container()?.closest('[class*=st-key-chart-]')
        if (!box) return
        const inner = view.container().querySelector('.marks').getBoundingClientRect(), [x, y] = view.origin()
        const key = [...box.classList].find((name) => name.startsWith('st-key-chart-')).slice(13)
        found.push({key, left: inner.left + x, top: inner.top + y, width: view.width(), height: view.height(),
                    bottom: inner.bottom})
    }})
    window.dispatchEvent(call)
    return new Promise((resolve) => setTimeout(() => resolve(found), 300))
}"""


@pytest.fixture
def look(server, browser):
    """look(page, width, height) opens a page in a window of this size, drawn."""
    opened = []

    def open_page(page: str, width: int, height: int, query: str = "p=23"):
        context = browser.new_context(viewport={"width": width, "height": height})
        opened.append(context)
        tab = context.new_page()
        tab.set_default_timeout(60_000)
        tab.goto(f"{server}/{page}?{query}")
        tab.wait_for_function(DRAWN)
        return tab

    yield open_page
    for context in opened:
        context.close()


def box(tab, what: str) -> dict:
    return tab.locator(what).first.bounding_box()


def whole_plots(tab, height: int, tall: float) -> list[dict]:
    """The plots at least so tall of the charts that are in view as a whole, clear of the instrument bar."""
    bar = box(tab, ".player.docked")
    top, bottom = (bar["y"] + bar["height"], height) if bar["y"] < height / 2 else (0, bar["y"])
    return [plot for plot in tab.evaluate(PLOTS)
            if plot["height"] >= tall and plot["top"] >= top and plot["bottom"] <= bottom]  # fmt: skip


@pytest.mark.parametrize("page", PLAYER_PAGES)
def test_on_a_projector_modulus_run_player_and_a_whole_chart_are_in_view(look, page):
    tab = look(page, 1280, 720)
    bar, player = box(tab, ".bar"), box(tab, ".player.docked")
    assert bar["height"] + player["height"] <= 100
    assert player["y"] == pytest.approx(bar["y"] + bar["height"], abs=1)
    for part in (".bar .modulus", ".bar .run", ".player .play", ".player .time input"):
        inside = box(tab, part)
        assert inside["x"] >= 0
        assert inside["x"] + inside["width"] <= 1280
    assert whole_plots(tab, 720, TALL)


@pytest.mark.parametrize("page", ["Overview", "Grokking"])
def test_on_a_phone_the_bar_is_at_the_bottom_and_a_whole_chart_is_in_view(look, page):
    tab = look(page, 400, 850)
    bar, player = box(tab, ".bar"), box(tab, ".player.docked")
    assert bar["y"] + bar["height"] == pytest.approx(850, abs=1)
    assert player["y"] > 700
    assert box(tab, ".bar .modulus")["width"] >= 40
    assert whole_plots(tab, 850, 150)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 401


def test_on_a_large_screen_there_are_two_rows_of_charts(look):
    tab = look("Overview", 1920, 1080)
    tops = sorted({round(plot["top"]) for plot in whole_plots(tab, 1080, TALL)})
    assert len(tops) >= 2


def test_charts_follow_while_the_thumb_is_dragged(look):
    tab = look("Overview", 1280, 720)
    track = box(tab, ".player .time input")
    y = track["y"] + track["height"] / 2
    at = lambda share: tab.mouse.move(track["x"] + track["width"] * share, y)  # noqa: E731
    at(0.97)
    key = min(tab.evaluate(PLOTS), key=lambda plot: plot["top"])["key"]
    picture = f"document.querySelector('.st-key-chart-{key} canvas').toDataURL()"
    tab.mouse.down()
    at(0.9)
    before = tab.evaluate(picture)
    tab.wait_for_function(f"{picture} !== window.before || (window.before = {picture}, false)")
    steps = set()
    for share in (0.8, 0.6, 0.4):
        at(share)
        tab.wait_for_function(f"before => {picture} !== before", arg=before)  # the button is still down
        before = tab.evaluate(picture)
        steps.add(step_of(tab))
    assert len(steps) == 3
    tab.mouse.up()
    tab.wait_for_function("step => location.search.includes(`step=${step}`)", arg=step_of(tab).replace(",", ""))


def test_one_rule_runs_through_all_charts_and_a_click_sets_the_step(look):
    tab = look("Overview", 1280, 720)
    plot = min(tab.evaluate(PLOTS), key=lambda plot: (plot["top"], plot["left"]))
    x, y = plot["left"] + 0.8 * plot["width"], plot["top"] + plot["height"] / 2
    tab.mouse.move(x - 20, y)
    tab.mouse.move(x, y, steps=3)
    says = tab.locator(".moment-says")
    says.first.wait_for()
    tab.wait_for_function("document.querySelectorAll('.moment-says').length > 1")
    words = says.all_inner_texts()
    assert len({text.splitlines()[0] for text in words}) == 1  # all of one step
    assert all(len(text.splitlines()) > 1 for text in words)
    tab.mouse.click(x, y)
    tab.wait_for_url("**step=*")
    assert step_of(tab) != tab.locator(".player .ends .last").inner_text()


@pytest.mark.parametrize("pause", [33, 200])
def test_fast_keys_leave_state_and_address_the_same(look, pause):
    tab = look("Overview", 1280, 720)
    tab.locator(".bar .modulus").focus()
    for _ in range(10):
        tab.keyboard.press("ArrowRight")
        tab.wait_for_timeout(pause)
    tab.wait_for_url("**p=43*")
    tab.get_by_role("heading", name="modulo 43").wait_for()
    tab.wait_for_function(DRAWN)
    assert "step=" not in tab.url
    assert tab.locator(".bar .p").inner_text() == "43"
    assert step_of(tab) == tab.locator(".player .ends .last").inner_text()


def test_a_wish_for_a_step_survives_a_page_that_lacks_it(look, shipped):
    late = next(step for step in shipped.get(preset("grokking", 23).id).frame_steps if step > 5_000)
    tab = look("Overview", 1280, 720, f"p=23&step={late}")
    at_step(tab, f"{late:,}")
    for page, step in (("Lottery", "5,000"), ("Grokking", f"{late:,}")):
        tab.get_by_test_id("stTopNavSection").get_by_text("Dynamics", exact=True).click()
        tab.get_by_test_id("stTopNavDropdownLink").get_by_text(page, exact=True).click()
        tab.wait_for_url(f"**/{page}*")
        at_step(tab, step)
