"""The real server in a real browser: train, watch the chart move, pause, reload, resume, open the stored run."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from browser import at_step, drawing, go_to, in_a_browser, progress, step_of

from modadd.records.store import Store, default_folder
from modadd.runs import preset

ROOT = Path(__file__).resolve().parents[1]
pytestmark = in_a_browser


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
    type_number(tab, "Training steps", 1500)
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
    tab.get_by_text("ran to its last step at step 1,500").wait_for(timeout=120_000)
    url = tab.url
    again = tab.context.new_page()
    again.goto(url)
    again.get_by_text("ran to its last step at step 1,500").wait_for()
    again.locator(".st-key-chart-losses svg.marks").wait_for()


def test_leaving_the_page_and_coming_back_finds_the_run(server, tab):
    run = replace(preset("standard", 11), epochs=300_000).id  # the page opens with the atlas's run of 5,000 steps
    tab.goto(f"{server}/Live?p=11")
    type_number(tab, "Training steps", 300_000)
    tab.get_by_role("button", name="Train", exact=True).click()
    tab.wait_for_url(f"**run={run}*")
    tab.locator(".st-key-chart-losses svg.marks").wait_for()
    go_to(tab, "More", "Runs")
    tab.get_by_text(f"{run} is running now").wait_for()
    go_to(tab, "Watch", "Live")
    tab.wait_for_url(f"**run={run}*")
    tab.get_by_role("button", name="Stop").click()
    tab.get_by_role("button", name="Resume").wait_for()


PICTURE = """key => {
    const chart = document.querySelector(`.st-key-chart-${key} .marks`)
    return chart === null ? '' : chart.tagName === 'CANVAS' ? chart.toDataURL() : chart.innerHTML
}"""
COUNT = """key => {
    const pictures = window.pictures = new Set()
    const look = () => {
        const chart = document.querySelector(`.st-key-chart-${key} canvas.marks`)
        const dots = chart.getContext('2d').getImageData(0, 0, chart.width, chart.height).data
        pictures.add(new Uint32Array(dots.buffer).reduce((sum, dot) => Math.imul(sum, 31) + dot | 0, 7))
        requestAnimationFrame(look)
    }
    look()
}"""
DOT = """neuron => {
    const call = new CustomEvent('film')
    Object.defineProperty(call, 'vega', {set(vega) {
        const view = vega.view(), chart = view.container()
        if (!chart.closest('.st-key-chart-scatter')) return
        const find = item => item.datum?.neuron === neuron && item.mark?.marktype === 'symbol' ? item
            : (item.items ?? []).map(find).find(Boolean)
        const dot = find(view.scenegraph().root), box = chart.querySelector('.marks').getBoundingClientRect()
        const [left, top] = view.origin()
        window.dot = [box.left + left + dot.x, box.top + top + dot.y]
    }})
    window.dispatchEvent(call)
}"""


def choose_speed(tab, speed: int):
    tab.locator(".st-key-step-player .speed").select_option(str(speed))


@pytest.mark.parametrize(
    ("page", "charts"), [("Phases", ("scatter", "ring-1", "violins", "counts", "evenness")), ("Logits", ("row",))]
)
def test_playing_moves_the_step_and_every_chart(server, tab, page, charts):
    play = tab.locator(".st-key-step-player").get_by_role("button", name="Play")
    tab.goto(f"{server}/{page}?p=23")
    at_step(tab, "5,000")
    for key in charts:
        tab.locator(f".st-key-chart-{key} .marks").wait_for()
    choose_speed(tab, 15)
    tab.get_by_role("button", name="Start: 0").click()
    at_step(tab, "0")
    play.wait_for()
    before = {key: tab.evaluate(PICTURE, key) for key in charts}
    tab.evaluate(COUNT, charts[0])
    play.click()
    tab.locator(f".st-key-chart-{charts[0]} .marks").scroll_into_view_if_needed()  # what nobody sees waits for the end
    at_step(tab, "5,000")  # the film ends by itself
    play.wait_for()
    for key, was in before.items():
        tab.wait_for_function(f"([key, was]) => !['', was].includes(({PICTURE})(key))", arg=[key, was])
    frames = len(ui_steps("standard"))
    # A slow machine leaves some out; at the server's pace, twice a second, there were no more than a seventh.
    assert frames / 4 < tab.evaluate("window.pictures.size") <= 2 * frames


def test_keys_play_and_step_unless_one_writes(server, tab):
    tab.goto(f"{server}/Lottery?p=23")
    steps = [f"{step:,}" for step in ui_steps("quad_random")]
    at_step(tab, steps[-1])
    tab.keyboard.press("ArrowLeft")
    at_step(tab, steps[-2])
    tab.keyboard.press("Home")
    at_step(tab, steps[0])
    tab.keyboard.press("ArrowRight")
    at_step(tab, steps[1])
    tab.get_by_label("Neuron (0 to", exact=False).first.focus()
    for key in ("Home", "Space", "ArrowLeft"):
        tab.keyboard.press(key)
    tab.locator("h1").click()
    tab.get_by_role("button", name="Back", exact=True).click()  # nothing came of them, and the mouse leaves no focus
    at_step(tab, steps[0])
    choose_speed(tab, 1)  # or the film may end before it is halted
    tab.locator("h1").click()
    tab.keyboard.press("Space")
    tab.locator(".st-key-step-player").get_by_role("button", name="Pause").wait_for()
    tab.wait_for_function("/ [1-9]/.test(document.querySelector('.player .now').innerText)")  # no longer at step 0
    tab.keyboard.press("Space")
    tab.locator(".st-key-step-player").get_by_role("button", name="Play").wait_for()
    assert step_of(tab) != steps[0]
    tab.keyboard.press("End")
    at_step(tab, steps[-1])


def ui_steps(name: str) -> list[int]:
    """The steps of the frames of a preset at p = 23."""
    record = Store(default_folder()).get(preset(name, 23).id)
    return list(record.frame_steps)


def test_clicking_a_neuron_shows_its_race_beside_the_dots(server, tab):
    tab.goto(f"{server}/Phases?p=23")
    tab.locator(".st-key-chart-scatter .marks").wait_for()
    tab.evaluate(DOT, 200)
    tab.wait_for_function("window.dot")
    tab.mouse.click(*tab.evaluate("window.dot"))
    chosen = tab.get_by_label("Race of neuron", exact=False).first
    tab.wait_for_function("box => box.value !== '0'", arg=chosen.element_handle())
    assert "/Phases" in tab.url


def test_a_chart_is_saved_as_svg(server, tab):
    tab.goto(f"{server}/Weights?p=23")
    tab.locator(".st-key-chart-spectrum .marks").wait_for()
    tab.locator(".st-key-save-spectrum").get_by_role("button", name="Save").click()
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="Chart as SVG").click()
    saved = Path(waiting.value.path()).read_text()
    run = preset("standard", 23)
    assert waiting.value.suggested_filename == f"{run.id}-spectrum.svg"
    assert saved.startswith("<svg")
    assert saved.count("<path") > 22  # a bar for each layer and frequency
