"""The first minute in a real browser: Home trains before one's eyes, the Introduction asks, and Back leads back."""

import re

from browser import at_step, go_to, in_a_browser, progress

from modadd import preset
from modadd.maths import measures
from modadd.records.store import Store, default_folder

pytestmark = in_a_browser
CURVE = ".st-key-chart-home-Accuracy svg.marks g.mark-line path[d*=L]"


def test_home_trains_draws_and_leads_on(server, tab):
    tab.goto(server)
    again = tab.get_by_role("button", name="Watch it train again")
    again.and_(tab.locator(":enabled")).click()  # others may have seen the first training
    tab.wait_for_function("/step [1-9][\\d,]* of/.test(document.querySelector('[data-testid=stProgress]').innerText)")
    tab.locator(CURVE).first.wait_for(state="attached")
    assert 0 < progress(tab) <= 3000
    says = tab.locator(".st-key-home-network img").get_attribute("alt")
    assert re.search(r"The network asked for 3 \+ 7 mod 13: .* \d+% for the right one, 10;", says)
    tab.get_by_test_id("stMain").get_by_role("link", name="Introduction").first.click()
    tab.wait_for_url("**/Introduction*")
    tab.get_by_role("heading", name="How a network can add, in seven steps").wait_for()


def test_the_introduction_tells_who_predicts_and_its_words_move_the_film(server, tab):
    tab.goto(f"{server}/Introduction?p=23&x=19&y=8")
    question = tab.get_by_role("radiogroup").first
    question.wait_for()
    assert tab.get_by_text("The answer is").count() == 0
    question.locator("label", has_text=re.compile(r"^\s*5\s*$")).click()
    tab.get_by_text("Not 5. The answer is 4.").wait_for()
    question.locator("label", has_text=re.compile(r"^\s*4\s*$")).click()
    tab.get_by_text("You saw it. The answer is 4.").wait_for()
    tab.get_by_text("Show all answers").click()
    tab.get_by_role("button", name="memorised", exact=True).click()
    record = Store(default_folder()).get(preset("grokking", 23).id)
    step = record.at(measures.stages(record)[0], None, "nearest").step
    tab.wait_for_url("**/Grokking*")
    at_step(tab, f"{step:,}")


def test_back_returns_to_the_view_before(server, tab):
    def shows(page, step):
        tab.wait_for_url(f"**/{page}*")
        at_step(tab, step)

    tab.goto(f"{server}/Phases?p=23&step=4400")
    shows("Phases", "4,400")
    go_to(tab, "Dynamics", "Lottery")
    shows("Lottery", "4,200")  # the nearest that this run has
    tab.get_by_role("button", name="Start: 0").click()
    shows("Lottery", "0")
    tab.wait_for_url("**step=0*")
    tab.get_by_role("button", name="End: 5,000").click()
    tab.wait_for_url(lambda url: "step=" not in url)
    shows("Lottery", "5,000")
    tab.evaluate("history.back()")  # a move of the player
    shows("Lottery", "0")
    tab.evaluate("history.go(-2)")  # two at once: the page and its step
    shows("Phases", "4,400")
    tab.locator(".bar .modulus").focus()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_url("**p=25*")
    tab.get_by_role("heading", name="modulo 25").or_(tab.locator(".bar .modulus[aria-valuetext='25']")).first.wait_for()
    tab.evaluate("history.back()")
    tab.wait_for_url("**p=23*")
    shows("Phases", "4,400")
    assert tab.get_by_test_id("stAlert").count() == 0
