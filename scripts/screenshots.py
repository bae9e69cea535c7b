"""The pictures of the README: pages of the real lab in Chromium, over an empty cache and the atlas that comes along.

Needs the development requirements (playwright, `pip install -r requirements-dev.txt`) and a Chromium.
"""

import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cli
from serving import ROOT, chromium, server

VIEWS = {
    "home": "?p=23",
    "phases": "Phases?p=23",
    "lottery": "Lottery?p=23",
    "grokking": "Grokking?p=53",
    "atlas": "Atlas?p=23",
}
DRAWN = """() => {
    const app = document.querySelector('[data-testid=stApp]')
    const charts = [...document.querySelectorAll('[class*=st-key-chart-]')]
    return app?.dataset.testScriptState === 'notRunning' && document.querySelector('h1') && charts.length
        && !document.querySelector('[data-testid=stSkeleton], [data-testid=stSpinner]')
        && charts.every((chart) => chart.querySelector('svg.marks, canvas, .js-plotly-plot'))
}"""


@dataclass(kw_only=True)
class Flags:
    out: Path = ROOT / "docs" / "images"
    """Folder of the pictures."""
    height: int = 1300
    """Pixels of each picture, which is 1280 wide."""


def main(flags: Flags):
    from PIL import Image

    flags.out.mkdir(parents=True, exist_ok=True)
    view = {"width": 1280, "height": flags.height}
    with tempfile.TemporaryDirectory() as cache, chromium() as browser, server(cache) as lab:
        for name, address in VIEWS.items():
            tab = browser.new_context(viewport=view, color_scheme="light").new_page()
            tab.goto(f"{lab.url}/{address}")
            if name == "home":
                tab.get_by_text("step 3,000 of 3,000").wait_for(timeout=120_000)
            tab.wait_for_function(DRAWN, timeout=120_000)
            picture = Image.open(BytesIO(tab.screenshot())).convert("RGB")
            picture.save(flags.out / f"{name}.png", optimize=True)
            print(flags.out / f"{name}.png")
            tab.context.close()


if __name__ == "__main__":
    with cli.one_sentence():
        main(cli.flags(Flags, __doc__))
