"""How fast the lab answers, measured where it counts: in Chromium, against a server of its own.

    p slider       from moving p = 23 to about 97 until every chart of the page is drawn
    dragging       distinct pictures a second while the thumb of the step is dragged
    a move         from pressing Back at p = 97 until the last chart is drawn anew
    the player     distinct pictures a second while it plays, of every chart in view
    the first run  from opening Home over an empty cache to the first live curve

Needs the development requirements (playwright, `pip install -r requirements-dev.txt`) and a Chromium.
"""

import contextlib
import math
import os
import platform
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import cli
from serving import CHROMIUM, chromium, server

PAGES = ("Overview", "Weights", "Phases", "Logits", "Lottery", "Gradient_flow", "Grokking")
SPEED = 15  # frames a second that the player is asked for
SETTLED = 700  # milliseconds without a new picture after which a page is drawn

# Looks at every frame which charts were drawn since the last, and keeps the moment of each picture that is new.
WATCH = """() => {
    const keyOf = node => [...(node.closest?.('[class*=st-key-chart-]')?.classList ?? [])]
        .find(name => name.startsWith('st-key-chart-'))?.slice(13)
    const seen = new Map(), dirty = new Map()
    window.pictures = []
    new MutationObserver(changes => {
        for (const {target} of changes) {
            const svg = (target.nodeType === 1 ? target : target.parentElement)?.closest('svg.marks')
            if (svg && keyOf(svg)) dirty.set(keyOf(svg), svg)
        }
    }).observe(document.body, {subtree: true, childList: true, attributes: true})
    const clear = CanvasRenderingContext2D.prototype.clearRect
    CanvasRenderingContext2D.prototype.clearRect = function (...where) {
        if (this.canvas.isConnected && keyOf(this.canvas)) dirty.set(keyOf(this.canvas), this.canvas)
        return clear.apply(this, where)
    }
    const digest = mark => {
        let sum = 7
        if (mark.tagName === 'CANVAS') {
            if (!mark.width || !mark.height) return sum
            const dots = mark.getContext('2d').getImageData(0, 0, mark.width, mark.height).data
            for (const dot of new Uint32Array(dots.buffer)) sum = Math.imul(sum, 31) + dot | 0
        } else {
            const text = mark.innerHTML
            for (let i = 0; i < text.length; i++) sum = Math.imul(sum, 31) + text.charCodeAt(i) | 0
        }
        return sum
    }
    const look = () => {
        for (const [key, mark] of dirty) {
            const sum = digest(mark)
            if (sum !== seen.get(key)) window.pictures.push([performance.now(), key])
            seen.set(key, sum)
        }
        dirty.clear()
        requestAnimationFrame(look)
    }
    look()
}"""
SETTLE = f"""() => performance.now() - Math.max(window.asked, window.pictures.at(-1)?.[0] ?? 0) > {SETTLED}
    && !document.querySelector('[data-testid=stStatusWidget]') && window.pictures.length > 0"""
IN_VIEW = """() => [...document.querySelectorAll('[class*=st-key-chart-]')].filter(chart => {
    const {top, bottom} = chart.getBoundingClientRect()
    return bottom > 0 && top < window.innerHeight
}).map(chart => [...chart.classList].find(name => name.startsWith('st-key-chart-')).slice(13))"""


@dataclass(kw_only=True)
class Flags:
    pages: list[str] = field(default_factory=lambda: list(PAGES))
    """Pages with a player."""
    p: list[int] = field(default_factory=lambda: [23, 97])
    """Moduli for moves and for playing."""
    chromium: str | None = CHROMIUM
    """Path of the browser, where it is not found by itself."""
    json: bool = False
    """Print one JSON object on stdout."""


@contextlib.contextmanager
def opened(browser, address: str):
    """A tab with this page, drawn."""
    tab = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    tab.set_default_timeout(60_000)
    tab.add_init_script(f"window.asked = 0; addEventListener('DOMContentLoaded', {WATCH})")
    tab.goto(address)
    tab.wait_for_function(SETTLE)
    yield tab
    tab.context.close()


def ask(tab):
    """Forget what was drawn; whatever comes now is the answer."""
    tab.evaluate("() => { window.pictures.length = 0; window.asked = performance.now() }")


def answered(tab) -> float:
    """Seconds from asking to the last picture, once the page is at rest."""
    tab.wait_for_function(SETTLE)
    return tab.evaluate("(window.pictures.at(-1)[0] - window.asked) / 1000")


def track(tab, what: str) -> dict:
    """Where a slider of the instrument bar can be dragged."""
    return tab.locator(what).bounding_box()


def slider(tab) -> float:
    """Move p from 23 to 97."""
    box = track(tab, ".bar .modulus")
    at = lambda p: box["x"] + 8 + (box["width"] - 16) * (p - 3) / 196  # noqa: E731
    y = box["y"] + box["height"] / 2
    tab.mouse.move(at(23), y)
    tab.mouse.down()
    tab.mouse.move(at(97), y, steps=2)
    ask(tab)
    tab.mouse.up()
    tab.wait_for_function("location.search.includes('p=9')")
    return answered(tab)


def moves(tab, count: int = 4) -> dict:
    """Press Back some times; the median, and how many charts were drawn anew."""
    times, charts, back = [], set(), tab.get_by_role("button", name="Back", exact=True)
    while len(times) < count and back.is_enabled():
        ask(tab)
        back.click()
        times.append(answered(tab))
        charts |= set(tab.evaluate("window.pictures.map(picture => picture[1])"))
    return {"seconds": statistics.median(times), "charts": len(charts)}


def drag(tab, seconds: float = 3) -> float:
    """Drag the step to and fro; distinct pictures a second of the chart that is drawn most often."""
    box = track(tab, ".player .time input")
    y, middle, reach = box["y"] + box["height"] / 2, box["x"] + box["width"] / 2, 0.45 * box["width"]
    tab.mouse.move(middle + reach, y)
    time.sleep(SETTLED / 1000 * 5)  # the frames come ahead
    tab.mouse.down()
    ask(tab)
    since = time.perf_counter()
    while (now := time.perf_counter() - since) < seconds:
        tab.mouse.move(middle + reach * math.cos(2 * math.pi * now / seconds), y)
    drawn = tab.evaluate("window.pictures")
    tab.mouse.up()
    counts = Counter(key for _, key in drawn)
    return max(counts.values(), default=0) / seconds


def play(tab, longest: float = 8) -> dict:
    """Play from the start at SPEED; distinct pictures a second of the charts in view, of the slowest, the median and
    the fastest of them."""
    if tab.get_by_role("button", name="Back", exact=True).is_enabled():
        ask(tab)
        tab.locator(".player .ends .first").click()
        answered(tab)
    tab.locator(".player .speed").select_option(str(SPEED))
    tab.locator("[class*=st-key-chart-] .marks").first.scroll_into_view_if_needed()
    ask(tab)
    since = time.perf_counter()
    tab.locator(".player").get_by_role("button", name="Play").click()
    while time.perf_counter() - since < longest and tab.locator(".player .play[title=Pause]").count():
        time.sleep(0.1)
    drawn, near = tab.evaluate("window.pictures"), set(tab.evaluate(IN_VIEW))
    of = {key: [at for at, name in drawn if name == key] for key in near}
    rates = sorted(1000 * (len(at) - 1) / (at[-1] - at[0]) for at in of.values() if len(at) > 5)
    rates = rates or [0.0]
    return {"slowest": rates[0], "median": statistics.median(rates), "fastest": rates[-1], "charts": len(rates)}


def first_curve(browser) -> float:
    """From opening Home over an empty cache to the first curve."""
    with tempfile.TemporaryDirectory() as cache, server(cache) as lab:
        tab = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        tab.set_default_timeout(60_000)
        since = time.perf_counter()
        tab.goto(lab.url)
        line = ".st-key-chart-home-Accuracy svg.marks g.mark-line path[d*=L]"
        tab.locator(line).first.wait_for(state="attached")
        return time.perf_counter() - since


def measure(browser, pages, moduli) -> dict:
    """All numbers, as they are printed with --json."""
    found = {"play": [], "move": [], "drag": [], "slider": []}
    with tempfile.TemporaryDirectory() as cache, server(cache) as lab:
        for page in pages:
            for p in moduli:
                with opened(browser, f"{lab.url}/{page}?p={p}") as tab:
                    if not tab.locator(".player.docked .play").count():
                        continue
                    found["move"].append({"page": page, "p": p, **moves(tab)})
                    found["drag"].append({"page": page, "p": p, "rate": drag(tab)})
                    found["play"].append({"page": page, "p": p, **play(tab)})
            with opened(browser, f"{lab.url}/{page}?p=23") as tab:
                found["slider"].append({"page": page, "seconds": slider(tab)})
    return found


def machine() -> str:
    """What it was measured on."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {platform.system()}"


def table(found: dict):
    """The same for people."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=f"{found['machine']}; {found['browser']}")
    for name in ("what", "page", "p", "measured"):
        shown.add_column(name, justify="right" if name in ("p", "measured") else "left")
    for row in found["slider"]:
        shown.add_row("p slider to a drawn page", row["page"], "23 → 97", f"{row['seconds']:.2f} s")
    for row in found["move"]:
        shown.add_row("a move of the player", row["page"], str(row["p"]), f"{row['seconds']:.2f} s")
    for row in found["drag"]:
        shown.add_row("dragging the step", row["page"], str(row["p"]), f"{row['rate']:.1f} pictures/s")
    for row in found["play"]:
        rates = f"{row['slowest']:.1f} to {row['fastest']:.1f} frames/s"
        shown.add_row("the player", row["page"], str(row["p"]), f"{rates}, {row['charts']} charts")
    shown.add_row("Home to the first live curve", "Home", "13", f"{found['first curve']:.2f} s")
    Console().print(shown)


def main(flags: Flags):
    with chromium(flags.chromium) as browser:
        found = {"machine": machine(), "browser": f"Chromium {browser.version}"}
        found |= measure(browser, flags.pages, flags.p)
        found["first curve"] = first_curve(browser)
    if flags.json:
        cli.print_json(found)
    else:
        table(found)


if __name__ == "__main__":
    with cli.one_sentence():
        main(cli.flags(Flags, __doc__))
