"""The atlas as a whole: which runs are here, bets on the winners, shared factors, and the claims, all against p."""

import altair as alt
import numpy as np
import pyarrow as pa

from ..analysis import claims, lottery
from ..many.atlas import RULES
from ..runs import P_MAX, P_MIN, PRESETS, presets_at
from .chart import Chart
from .lottery import RULES as RULE_HUES
from .over_p import SMALL, hue, p_axis
from .style import COLOURS, DASHED, HUE, share_axis, table

ORIGIN = {"fp32": HUE["blue"], "tf32": HUE["pale"], "your own": HUE["orange"], "missing": COLOURS["others"]}
VERDICTS = dict(zip(claims.VERDICTS, (HUE["green"], HUE["ochre"], HUE["rose"], HUE["pale"], HUE["grey"]), strict=True))


def _strip(rows: pa.Table, row: alt.Y, what: alt.Color, faint: str, tips: list[alt.Tooltip], height: int) -> alt.Chart:
    """One cell per modulus in each row, cells of the kind `faint` pale; a click selects `run_id` as `run`."""
    wide = rows.append_column("until", pa.array(rows["p"].to_numpy() + 1.0)).append_column(
        "since", pa.array(rows["p"].to_numpy() - 1.0)
    )
    kind = what["shorthand"].removesuffix(":N")
    return (
        alt.Chart(wide)
        .mark_rect(cursor="pointer")
        .encode(
            x=p_axis("since"), x2=alt.X2("until"), y=row, color=what,
            opacity=alt.condition(alt.datum[kind] == faint, alt.value(0.35), alt.value(1)),
            tooltip=[alt.Tooltip("p:Q", title="p"), *tips],
        )
        .add_params(alt.selection_point(name="run", fields=["run_id"], toggle=False))
        .properties(height=height)
    )  # fmt: skip


def _kinds(column: str, hues: dict[str, str]) -> alt.Color:
    legend = alt.Legend(orient="top", title=None, symbolType="square", columns=2)
    return alt.Color(f"{column}:N", scale=alt.Scale(domain=[*hues], range=[*hues.values()]), legend=legend)


def present(rows: list[dict]) -> pa.Table:
    """One row per preset and modulus: `here` is the precision of the run, `your own`, or `missing`."""
    known = {(row["preset"], row["p"]): row for row in rows}
    places = [(name, p) for p in range(P_MIN, P_MAX + 1, 2) for name in presets_at(p)]
    found = [known.get(place) for place in places]
    here = ["missing" if r is None else "your own" if r["where"] == "cache" else r["precision"] for r in found]
    names, moduli = zip(*places, strict=True)
    return table(
        preset=np.array(names), p=np.array(moduli), here=np.array(here),
        run_id=np.array(["" if row is None else row["run_id"] for row in found]),
    )  # fmt: skip


def presence(rows: list[dict]) -> Chart:
    """Which runs are here, a row per preset."""
    tips = [alt.Tooltip("preset:N", title="preset"), alt.Tooltip("here:N", title="here")]
    by_preset = alt.Y("preset:N", title=None, sort=[*PRESETS], axis=alt.Axis(labelOverlap=False, labelFlush=False))
    cells = present(rows)
    lacking = cells["here"].to_pylist().count("missing")
    return Chart(
        _strip(cells, by_preset, _kinds("here", ORIGIN), "missing", tips, 160), "What is here",
        f"A cell is a run, {len(cells) - lacking:,} of {len(cells):,} are here; click it to open it. What counts is a "
        "preset at its own length, with any seed; your own runs replace those of the atlas.",
        "Which runs are here, by preset and p", cells,
    )  # fmt: skip


def judged(verdicts: list[dict]) -> pa.Table:
    """One row per claim and modulus: its value and verdict."""
    names = ("claim", "preset", "run_id", "verdict")
    return pa.table({
        **{name: pa.array([row[name] for row in verdicts], pa.string()) for name in names},
        "p": pa.array([row["p"] for row in verdicts], pa.int64()),
        "value": pa.array([row["value"] for row in verdicts], pa.float64()),
    })  # fmt: skip


def claims_over_p(verdicts: list[dict], preset: str) -> Chart:
    """The verdict on each claim at each modulus, for the runs of one preset."""
    order = [c.name for c in claims.CLAIMS if c.name in {row["claim"] for row in verdicts}]
    tips = [alt.Tooltip("claim:N", title="claim"), alt.Tooltip("value:Q", title="measured", format=".4~g"),
            alt.Tooltip("verdict:N", title="verdict")]  # fmt: skip
    by_claim = alt.Y(
        "claim:N", title=None, sort=order, axis=alt.Axis(labelLimit=130, labelOverlap=False, labelFlush=False)
    )
    count = {name: sum(row["verdict"] == name for row in verdicts) for name in claims.VERDICTS}
    return Chart(
        _strip(judged(verdicts), by_claim, _kinds("verdict", VERDICTS), claims.UNKNOWN, tips, 19 * len(order)),
        f"Claims about {preset}",
        f"A column is a modulus: {', '.join(f'{n:,} {name}' for name, n in count.items())}. Look for rows that change "
        "colour: there p decides.",
        f"Verdicts on {preset} by claim and p", lambda: judged(verdicts),
    )  # fmt: skip


def bets_table(rows: list[dict], preset: str) -> pa.Table:
    """One row per run and rule: the share of winners named, with Wilson's 95 % interval, of how many neurons."""
    told = [(r, rule) for r in rows if r["preset"] == preset for rule in RULES if r[f"hit_{rule}"] is not None]
    rate, n = np.array([(row[f"hit_{rule}"], row["bets"]) for row, rule in told], float).reshape(-1, 2).T
    low, high = lottery.interval(rate * n, np.maximum(n, 1))
    return pa.table({
        "p": pa.array([row["p"] for row, _ in told], pa.int64()), "rule": pa.array([r for _, r in told], pa.string()),
        "run_id": pa.array([row["run_id"] for row, _ in told], pa.string()),
        "rate": rate, "low": low, "high": high, "neurons": n,
    })  # fmt: skip


def bets(rows: list[dict], preset: str) -> Chart:
    """Share of a preset's neurons whose winner each rule named from step 0; dashed: a blind guess, 1/K."""
    grid = np.arange(P_MIN, P_MAX + 1, 2)
    title = "winners named"
    legend = alt.Legend(orient="top", title=None, symbolType="circle", symbolOpacity=1, columns=2)
    colour = alt.Color(
        "rule:N", scale=alt.Scale(domain=[*RULE_HUES], range=[*RULE_HUES.values()]), legend=legend
    )  # fmt: skip
    points = bets_table(rows, preset)
    base = alt.Chart(points)
    y = share_axis(title, "rate")
    bar = base.mark_rule(opacity=0.3).encode(x=p_axis(), y=share_axis(title, "low"), y2=alt.Y2("high"), color=colour)
    dots = base.mark_circle(size=16, opacity=1, cursor="pointer").encode(
        x=p_axis(), y=y, color=colour,
        tooltip=[alt.Tooltip("p:Q", title="p"), alt.Tooltip("rule:N", title="rule"),
                 *(alt.Tooltip(f"{name}:Q", title=name, format=".1%") for name in ("rate", "low", "high")),
                 alt.Tooltip("neurons:Q", title="neurons")],
    ).add_params(alt.selection_point(name="run", fields=["run_id"], toggle=False))  # fmt: skip
    guess = alt.Chart(table(p=grid, rate=2 / (grid - 1))).mark_line(**DASHED)
    drawn = alt.layer(bar, dots.properties(name="dots"), guess.encode(x=p_axis(), y=y)).properties(height=SMALL)
    return Chart(drawn, preset, "Dashed: a blind guess.", f"Winners named by each rule against p, {preset}", points)


def shares_table(rows: list[dict]) -> pa.Table:
    """One row per run at a composite p: the share of frequencies with gcd(k, p) > 1, and of neurons on them."""
    rows = [row for row in rows if row["composite"] and row["neurons"]]
    neurons = np.array([row["neurons"] for row in rows], float)
    hits = np.array([row["shared_neurons"] for row in rows], float)
    low, high = lottery.interval(hits, np.maximum(neurons, 1))
    return pa.table({
        "p": pa.array([row["p"] for row in rows], pa.int64()),
        **{name: pa.array([row[name] for row in rows], pa.string()) for name in ("preset", "run_id")},
        "frequencies": pa.array([row["shared_frequencies"] for row in rows], pa.float64()),
        "neurons": hits / np.maximum(neurons, 1), "low": low, "high": high,
    })  # fmt: skip


def shares(rows: list[dict]) -> Chart:
    """Share of neurons on frequencies that share a factor with p against the share of such frequencies."""
    points = shares_table(rows)
    names = [name for name in PRESETS if name in points["preset"].to_pylist()]
    ends = {"scale": alt.Scale(domain=[0, 0.6], nice=False), "axis": alt.Axis(format="%", tickCount=4)}
    x = alt.X("frequencies:Q", title="frequencies with a factor of p", **ends)
    title = "neurons on them"
    even = alt.Chart(table(frequencies=[0.0, 0.6], neurons=[0.0, 0.6])).mark_line(
        strokeDash=[4, 3], color=COLOURS["others"]
    ).encode(x=x, y=alt.Y("neurons:Q", title=title, **ends))  # fmt: skip
    base = alt.Chart(points)
    bar = base.mark_rule(opacity=0.35, clip=True).encode(
        x=x, y=alt.Y("low:Q", title=title, **ends), y2=alt.Y2("high"), color=hue(names)
    )
    dots = base.mark_circle(size=26, opacity=0.9, cursor="pointer").encode(
        x=x, y=alt.Y("neurons:Q", title=title, **ends), color=hue(names),
        tooltip=[alt.Tooltip("p:Q", title="p"), alt.Tooltip("preset:N", title="preset"),
                 *(alt.Tooltip(f"{name}:Q", title=name, format=".1%")
                   for name in ("frequencies", "neurons", "low", "high"))],
    ).add_params(alt.selection_point(name="run", fields=["run_id"], toggle=False))  # fmt: skip
    below = (points["neurons"].to_numpy() < points["frequencies"].to_numpy()).mean() if len(points) else 0.0
    return Chart(
        alt.layer(even, bar, dots.properties(name="dots")).properties(height=260), "Share for share",
        f"A dot is a run at composite p; {below:.0%} lie below the dashed line, on which all frequencies are "
        "worth the same.",
        "Share of neurons on frequencies that share a factor with p against the share of such frequencies", points,
    )  # fmt: skip


def factors(groups: list[dict]) -> Chart:
    """Neurons on the frequencies of each gcd(k, p), over an even share, pooled over p, with 95 % intervals."""
    return Chart(
        _grouped(groups, "gcd", "gcd(k, p)", "neurons / even share", "frequencies"), "By the factor that is shared",
        "1: as many neurons as any frequency has. Bars: 95 %. Shown: factors of ten frequencies or more.",
        "Neurons over an even share by gcd of frequency and modulus", lambda: pa.Table.from_pylist(groups),
    )  # fmt: skip


def orders(groups: list[dict]) -> Chart:
    """Misalignment of the frequencies of each order q, over that of the coprime ones, with 95 % intervals."""
    title = "mean |sin D| / that at coprime k"
    return Chart(
        _grouped(groups, "q", "q = p / gcd(k, p)", title, "neurons"), "Misalignment by the order of the frequency",
        "Neurons on frequencies of order q over those on coprime ones of the same run, all composite p together. "
        "Bars: 95 %.",
        "Misalignment by order of the frequency, with intervals", lambda: pa.Table.from_pylist(groups),
    )  # fmt: skip


def _grouped(groups: list[dict], by: str, of: str, title: str, count: str) -> alt.LayerChart:
    """The `ratio` of each group with its interval: grouped by the column `by`, called `of`; `count` is the column that
    says how much it is of."""
    names = [name for name in PRESETS if name in {row["preset"] for row in groups}]
    columns = ("preset", by, "ratio", "low", "high", count)
    base = alt.Chart(table(**{name: np.array([row[name] for row in groups]) for name in columns}))
    ends = [min([0.95, *(row["low"] for row in groups)]), max([1.05, *(row["high"] for row in groups)])]
    scale = alt.Scale(domain=ends, nice=False)
    order = list(dict.fromkeys(row[by] for row in groups)) if by != "gcd" else "ascending"
    x = alt.X(f"{by}:O", title=of, sort=order, axis=alt.Axis(labelAngle=0))
    offset = alt.XOffset("preset:N", sort=names)
    bar = base.mark_rule(strokeWidth=1.5).encode(
        x=x, xOffset=offset, y=alt.Y("low:Q", title=title, scale=scale), y2=alt.Y2("high"), color=hue(names)
    )
    dots = base.mark_circle(size=34, opacity=1).encode(
        x=x, xOffset=offset, y=alt.Y("ratio:Q", title=title, scale=scale), color=hue(names),
        tooltip=[alt.Tooltip(f"{by}:O", title=of), alt.Tooltip("preset:N", title="preset"),
                 *(alt.Tooltip(f"{name}:Q", title=name, format=".3f") for name in ("ratio", "low", "high")),
                 alt.Tooltip(f"{count}:Q", title=count)],
    )  # fmt: skip
    even = alt.Chart(table(even=[1.0])).mark_rule(**DASHED)
    return alt.layer(even.encode(y=alt.Y("even:Q", title=title, scale=scale)), bar, dots).properties(height=260)
