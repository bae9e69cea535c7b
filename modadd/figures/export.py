"""A chart as an SVG, PNG or PDF file: the specification and data that the page draws, rendered on the server.

The look is that of the page's theme: its grounds, inks, thin grid and sizes of type.  Without a page,
`save(chart, "losses.pdf")` does the same with a chart of this folder.
"""

from collections.abc import Mapping
from pathlib import Path

import altair as alt

from .chart import WIDTH, Chart, Drawing, complete

PNG_SCALE = 2
INKS = {"light": ("#ffffff", "#1d2530", "#e3e6ea"), "dark": ("#12161c", "#e6e9ee", "#2c333d")}  # ground, ink, grid


def _config(theme: str) -> dict:
    ground, ink, grid = INKS[theme]
    words = {"labelColor": ink, "titleColor": ink}
    return {
        "font": "'Source Sans 3', 'Source Sans Pro', 'DejaVu Sans', sans-serif",  # unquoted, the 3 costs all text
        "background": ground,
        "axis": words | {"gridColor": grid, "domain": False, "ticks": False, "labelPadding": 8, "titlePadding": 10},
        "legend": words,
        "title": {"color": ink, "anchor": "start"},
        "header": {"labelColor": ink, "titleColor": ink},
        "axisDiscrete": {"grid": False},
        "axisXBand": {"grid": False},
        "view": {"stroke": "transparent"},
    }


def _complete(spec: Mapping, theme: str) -> dict:
    """The specification with its data as rows, its width, and the theme under its own settings."""
    spec = complete(dict(spec), _config(theme))
    rows = {name: data.to_pylist() if hasattr(data, "to_pylist") else data for name, data in spec["datasets"].items()}
    return ({} if {"hconcat", "vconcat"} & spec.keys() else {"width": WIDTH}) | spec | {"datasets": rows}


def svg(spec: Mapping, theme: str = "light") -> bytes:
    """A Vega-Lite specification, whose `datasets` are Arrow tables or rows, as an SVG file."""
    import vl_convert  # starts an engine of its own: only when asked

    return vl_convert.vegalite_to_svg(_complete(spec, theme)).encode()


def png(spec: Mapping, theme: str = "light") -> bytes:
    """The same as a PNG file, PNG_SCALE pixels a unit."""
    import vl_convert

    return vl_convert.vegalite_to_png(_complete(spec, theme), scale=PNG_SCALE)


def pdf(spec: Mapping, theme: str = "light") -> bytes:
    """The same as a PDF file of one page, vectors throughout."""
    import vl_convert

    return vl_convert.vegalite_to_pdf(_complete(spec, theme))


FORMS = {".svg": svg, ".png": png, ".pdf": pdf}


def save(chart: alt.TopLevelMixin | Drawing | Chart, file: Path | str, theme: str = "light") -> Path:
    """Write a chart as the file's suffix says: .svg, .png or .pdf.  Raises ValueError for another."""
    file = Path(file)
    if file.suffix.lower() not in FORMS:
        raise ValueError(f"a chart is saved as {', '.join(FORMS)}, got {file.name!r}")
    spec = Drawing.of(chart.drawing if isinstance(chart, Chart) else chart).to_dict()
    file.write_bytes(FORMS[file.suffix.lower()](spec, theme))
    return file
