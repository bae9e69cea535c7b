"""Links in a real browser: a copied one opens the same view elsewhere, one for a class holds still, Compare follows."""

import json
import re

import pytest
import serving
from browser import at_step, in_a_browser, step_of

from modadd import preset

pytestmark = in_a_browser
STEP = ".st-key-step-player input[type=range]"


@pytest.fixture
def elsewhere(browser):
    """A tab of somebody else."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    yield page
    page.context.close()


def numbers(tab) -> list[str]:
    return tab.locator("[data-testid=stMain] h3, [data-testid=stMain] strong").all_inner_texts()


def test_a_copied_link_opens_the_same_view_in_a_fresh_browser(server, tab, elsewhere):
    tab.goto(f"{server}/Logits?p=23&step=600")
    at_step(tab, "600")
    box = tab.get_by_label("Sum: x", exact=True)
    box.fill("5")
    box.press("Enter")
    tab.wait_for_url("**x=5*")  # without loading the page again
    tab.get_by_role("button", name="Forward", exact=True).click()
    tab.wait_for_function("!location.search.includes('step=600')")
    step = step_of(tab)
    tab.wait_for_function("step => location.search.includes(`step=${step}`)", arg=step.replace(",", ""))
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.locator(".bar summary").click()
    tab.get_by_role("button", name="Copy link", exact=True).click()
    tab.get_by_role("button", name="Copied").wait_for()
    link = tab.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{server}/Logits?")
    elsewhere.goto(link)
    at_step(elsewhere, step)
    elsewhere.wait_for_function("document.querySelector(`input[aria-label='Sum: x']`)?.value === '5'")
    tab.keyboard.press("Escape")
    want = numbers(tab)
    elsewhere.wait_for_function(
        "want => JSON.stringify([...document.querySelectorAll('[data-testid=stMain] h3, [data-testid=stMain] strong')]"
        ".map(e => e.innerText)) === want",
        arg=json.dumps(want, ensure_ascii=False, separators=(",", ":")),
    )


def test_a_link_for_a_class_is_made_and_locks_the_step(server, tab, elsewhere):
    tab.goto(f"{server}/Phases?p=23&step=600")
    at_step(tab, "600")
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.locator(".bar summary").click()
    tab.get_by_label("Training step", exact=True).and_(tab.locator("[type=checkbox]")).check()
    tab.get_by_label("Navigation").check()
    tab.get_by_role("button", name="Copy link for a class").click()
    tab.get_by_role("button", name="Copied").wait_for()
    link = tab.evaluate("navigator.clipboard.readText()")
    assert "lock=step" in link
    elsewhere.goto(link)
    slider = elsewhere.locator(STEP)
    slider.wait_for(state="attached")
    assert slider.get_attribute("aria-valuetext") == "600"
    assert slider.is_disabled()
    assert elsewhere.locator(".player .play").is_disabled()
    assert not elsewhere.get_by_test_id("stTopNavSection").first.is_visible()
    elsewhere.goto(f"{server}/Phases?p=23&step=600&hide=controls")
    elsewhere.locator(".st-key-chart-scatter .marks").first.wait_for()
    assert not elsewhere.locator(".player").is_visible()
    assert not elsewhere.locator(".bar").is_visible()
    assert elsewhere.locator("h1").is_visible()


def test_two_runs_are_compared_and_follow_the_player(server, tab):
    runs = ",".join(preset(name, 23).id for name in ("standard", "quad_random"))
    tab.goto(f"{server}/Compare?p=23&runs={runs}")
    tab.locator(".st-key-chart-compare-train_loss .marks").first.wait_for()
    tab.get_by_text("quad_random: step 5,000").first.wait_for()
    tab.get_by_role("button", name="Start: 0").click()
    tab.get_by_text(re.compile(r"quad_random: step 0[.;]")).first.wait_for()
    tab.wait_for_url("**step=0*")
    tab.locator(".player").get_by_role("button", name="Play").click()
    tab.get_by_text("quad_random: step 5,000").first.wait_for(timeout=120_000)  # the film ends by itself
    tab.wait_for_function("!location.search.includes('step=')")
    assert tab.get_by_test_id("stException").count() == 0


def test_the_lab_keeps_to_the_path_that_a_proxy_gives_it(tab, tmp_path):
    with serving.server(tmp_path, STREAMLIT_SERVER_BASE_URL_PATH="lab") as lab:
        asked = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(f"{lab.url}/lab/Glossary")
        tab.get_by_text("Inside").first.click()
        tab.get_by_text("Phases", exact=True).last.click()
        tab.wait_for_url(f"{lab.url}/lab/Phases*")
        tab.get_by_test_id("stVegaLiteChart").first.wait_for()
        tab.go_back()
        tab.wait_for_url(f"{lab.url}/lab/Glossary*")
    assert not [url for url in asked if url.startswith("http") and not url.startswith(f"{lab.url}/lab/")]
