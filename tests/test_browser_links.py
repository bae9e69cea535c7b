"""Links in a real browser: a copied one opens the same view elsewhere, one for a class holds still, Compare follows."""

import json

import pytest
from browser import in_a_browser

from modadd import preset

pytestmark = in_a_browser
STEP = ".st-key-step input[type=range]"


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
    tab.locator(f"{STEP}[aria-valuetext='600']").wait_for(state="attached")
    box = tab.get_by_label("x", exact=True)
    box.fill("5")
    box.press("Enter")
    tab.wait_for_url("**x=5*")  # without loading the page again
    tab.get_by_role("button", name="Forward", exact=True).click()
    tab.wait_for_function("!location.search.includes('step=600')")
    tab.get_by_role("button", name="Copy link").click()
    link = tab.get_by_test_id("stPopoverBody").get_by_test_id("stCode").inner_text().strip()
    assert link.startswith(f"{server}/Logits?")
    elsewhere.goto(link)
    step = tab.locator(STEP).get_attribute("aria-valuetext")
    elsewhere.locator(f"{STEP}[aria-valuetext='{step}']").wait_for(state="attached")
    elsewhere.wait_for_function("document.querySelector('input[aria-label=x]')?.value === '5'")
    tab.keyboard.press("Escape")
    tab.get_by_test_id("stPopoverBody").wait_for(state="detached")
    want = numbers(tab)
    elsewhere.wait_for_function(
        "want => JSON.stringify([...document.querySelectorAll('[data-testid=stMain] h3, [data-testid=stMain] strong')]"
        ".map(e => e.innerText)) === want",
        arg=json.dumps(want, ensure_ascii=False, separators=(",", ":")),
    )


def test_a_link_for_a_class_hides_the_sidebar_and_holds_the_step_still(server, tab):
    tab.goto(f"{server}/Phases?p=23&step=600&lock=p,run,step&hide=sidebar")
    slider = tab.locator(STEP)
    slider.wait_for(state="attached")
    assert slider.get_attribute("aria-valuetext") == "600"
    assert slider.is_disabled()
    assert tab.locator(".st-key-step-play").get_by_role("button").is_disabled()
    assert not tab.get_by_test_id("stSidebar").is_visible()
    tab.goto(f"{server}/Phases?p=23&step=600&hide=controls")
    tab.locator(".st-key-chart-scatter .marks").first.wait_for()
    assert not tab.locator(".st-key-step").is_visible()
    assert not tab.locator(".st-key-step-play").get_by_role("button").is_visible()
    assert tab.locator("h1").is_visible()


def test_two_runs_are_compared_and_follow_the_player(server, tab):
    runs = ",".join(preset(name, 23).id for name in ("standard", "quad_random"))
    tab.goto(f"{server}/Compare?p=23&runs={runs}")
    tab.locator(".st-key-chart-compare-train_loss .marks").first.wait_for()
    tab.get_by_text("quad_random, step 5,000").first.wait_for()
    tab.get_by_role("button", name="Start", exact=True).click()
    tab.get_by_text("quad_random, step 0", exact=True).first.wait_for()
    tab.wait_for_url("**step=0*")
    tab.locator(".st-key-step-play").get_by_role("button", name="Play").click()
    tab.get_by_text("quad_random, step 5,000").first.wait_for(timeout=120_000)  # the film ends by itself
    tab.wait_for_function("!location.search.includes('step=')")
    assert tab.get_by_test_id("stException").count() == 0
