"""A sweep to take home: its charts as pictures, and one HTML page that holds everything and loads nothing."""

from collections.abc import Mapping
from html import escape

from ..many.sweep import Criterion, Grid, Outcome
from ..many.verdicts import summary
from ..records.record import Record
from . import export, sweep_tables, sweeps
from .chart import Chart, Drawing, together

COLOURS = {"holds": "#12805f", "fails": "#b3261e", "undecided": "#6b7480"}
STYLE = """
:root { color-scheme: light } body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
padding: 0 1rem; color: #1d2530; background: #fff } table { border-collapse: collapse; font-size: 0.85rem }
div { overflow-x: auto } th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid #dde1e6; text-align: right }
th:first-child, td:first-child { text-align: left } svg { max-width: 100%; height: auto } small { color: #5a6470 }
b { color: #fff; padding: 0.1rem 0.5rem; border-radius: 0.4rem }
"""


def charts(
    grid: Grid, records: Mapping[str, Record | None], results: list[Outcome], criterion: Criterion,
    statistics: list[dict],
) -> dict[str, Chart]:  # fmt: skip
    """The charts of a sweep by file name."""
    return {
        "accuracy_curves": sweeps.overlay(grid, records, results, criterion),
        "grok_steps": sweeps.distribution(grid, results, statistics),
        "success_rate": sweeps.success(grid, statistics),
        "final_accuracy": sweeps.finals(grid, results),
    }


def combined(charts: Mapping[str, Chart]) -> Drawing:
    """All charts in one panel, two in a row."""
    drawn = list(charts.values())
    return together("vconcat", *(together("hconcat", *drawn[i : i + 2]) for i in range(0, len(drawn), 2)))


def picture(chart: Chart | Drawing, form: str) -> bytes:
    """A chart as `svg` or `png`."""
    return getattr(export, form)((chart.drawing if isinstance(chart, Chart) else chart).to_dict())


def html(
    grid: Grid, records: Mapping[str, Record | None], results: list[Outcome], criterion: Criterion
) -> str:  # fmt: skip
    """The whole sweep as one page: what was asked, the verdicts, the statistics, the charts, every run."""
    said = summary(grid, results, criterion)
    title = f"{grid.preset} at p = {grid.p}: {said['finished']} of {said['runs']} runs"
    axes = "; ".join(f"{name} {', '.join(map(str, values))}" for name, values in grid.axes.items())
    verdicts = "".join(
        f'<p><b style="background:{COLOURS[h["verdict"]]}">{h["verdict"]}</b> '
        f"<strong>{h['name']}: {escape(h['claim'])}.</strong> {escape(h['because'])}.</p>"
        for h in said["hypotheses"]
    )
    figures = "".join(
        f"<h3>{chart.title}</h3><figure>{picture(chart, 'svg').decode()}"
        f"<figcaption><small>{chart.caption}</small></figcaption></figure>"
        for chart in charts(grid, records, results, criterion, said["groups"]).values()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><h1>{escape(title)}</h1><p>{escape(axes)}.</p>"
        f"<p>A run groks at the {escape(str(criterion))}. {escape(said['caution'])}</p>"
        f"<h2>Hypotheses</h2>{verdicts}<p><small>{escape(said['rule'])}.</small></p>"
        f"<h2>Groups</h2>{_table(sweep_tables.statistics(said['groups']))}"
        f"<h2>Charts</h2>{figures}<h2>Runs</h2>{_table(sweep_tables.results(grid, results))}</html>"
    )


def _table(rows) -> str:
    def show(v) -> str:
        real = isinstance(v, float)
        return "–" if v is None else escape(f"{v:,.0f}" if real and v >= 100 else f"{v:.4g}" if real else str(v))

    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in rows.column_names)
    body = "".join(f"<tr>{''.join(f'<td>{show(v)}</td>' for v in row.values())}</tr>" for row in rows.to_pylist())
    return f"<div><table><tr>{head}</tr>{body}</table></div>"
