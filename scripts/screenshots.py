"""The pictures of the README: pages of the real lab in Chromium, over an empty cache and the atlas that comes along.

Needs the development requirements (playwright, `pip install -r requirements-dev.txt`) and a Chromium.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from modadd import cli

ROOT = Path(__file__).resolve().parents[1]
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
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise ValueError("Chromium is not installed: install it as `chromium`")
    flags.out.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as cache, sync_playwright() as playwright:
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.port", str(port)], cwd=ROOT,
            env=os.environ | {"MODADD_CACHE": cache}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            view = {"width": 1280, "height": flags.height}
            for name, address in VIEWS.items():
                tab = browser.new_context(viewport=view, color_scheme="light").new_page()
                _open(tab, f"http://127.0.0.1:{port}/{address}")
                if name == "home":
                    tab.get_by_text("step 3,000 of 3,000").wait_for(timeout=120_000)
                tab.wait_for_function(DRAWN, timeout=120_000)
                picture = Image.open(BytesIO(tab.screenshot())).convert("RGB")
                picture.save(flags.out / f"{name}.png", optimize=True)
                print(flags.out / f"{name}.png")
                tab.context.close()
            browser.close()
        finally:
            server.terminate()
            server.wait(20)


def _open(tab, address: str, tries: int = 240):
    """Go there, as soon as the server answers."""
    from playwright.sync_api import Error

    for left in reversed(range(tries)):
        try:
            return tab.goto(address)
        except Error:
            if not left:
                raise
            tab.wait_for_timeout(250)


if __name__ == "__main__":
    chosen = cli.flags(Flags, __doc__)
    with cli.one_sentence():
        main(chosen)
