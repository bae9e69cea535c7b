"""Training beside the flow of one (neuron, frequency) pair: paths, errors, alignment, leakage, phase portrait."""

import altair as alt
import numpy as np
import pyarrow as pa

from . import style
from .chart import Chart, drawing
from .fields import ground, on_ground, scale_of
from .style import (
    COLOURS,
    DASHED,
    HEIGHT,
    HUE,
    SEQUENTIAL,
    in_time,
    legend,
    long,
    named,
    share_axis,
    step_axis,
    table,
    tips,
)

HUES = {
    "φ": COLOURS["input"], "2φ": HUE["green"], "ψ": COLOURS["output"],
    "α": COLOURS["input"], "β": COLOURS["output"], "D": HUE["blue"],
    "input 3k": COLOURS["input"], "input 5k": "#b79be3", "output 2k": COLOURS["output"], "output 3k": "#dd94b9",
    "training": HUE["blue"], "flow": HUE["orange"],
}  # fmt: skip


def hue(names) -> alt.Color:
    """The fixed colours of these curves, with their legend on top."""
    return style.hues(names, HUES, legend=legend(columns=2 if len(names) > 3 else 0))


def _rule(x: alt.X) -> alt.Chart:
    return alt.Chart(named("now")).mark_rule(**DASHED).encode(x=x)


def curves_of(path: dict, neuron: int, what: str, way: str = "") -> dict[str, np.ndarray]:
    """The named curves of a neuron: `what` is phases (units of pi) or magnitudes; way "" or "_flow"."""
    at = lambda name: path[f"{name}{way}_SM"][:, neuron]  # noqa: E731
    if what == "phases":
        return {"φ": at("phi") / np.pi, "2φ": 2 * at("phi") / np.pi, "ψ": at("psi") / np.pi}
    return {"α": at("alpha"), "β": at("beta")}


def curves_table(path: dict, neuron: int, what: str) -> pa.Table:
    """The curves of a neuron by step, as trained and, where the flow expects them, by the flow."""
    ways = ("", "_flow") if "z0" in path else ("",)
    return table(
        step=path["step_S"],
        **{name + way: values for way in ways for name, values in curves_of(path, neuron, what, way).items()},
    )


def trajectories(path: dict, neuron: int, what: str, step: int, log_steps: bool = True) -> Chart:
    """Phases or magnitudes of a neuron: dots are training up to `step`, lines the flow from step 0."""
    seen = curves_of(path, neuron, what)
    flow = curves_of(path, neuron, what, "_flow") if "z0" in path else {}
    there = path["step_S"] <= step
    every = np.concatenate([*seen.values(), *flow.values()])
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    room = 0.05 * (high - low)
    domain = (0.0, high * 1.03) if what == "magnitudes" else (low - room, high + room)
    tables = {
        "flow": long("step", path["step_S"], flow or {name: values * np.nan for name, values in seen.items()}),
        "training": in_time(long("step", path["step_S"][there], {name: v[there] for name, v in seen.items()})),
        "now": table(step=[step]),
    }
    now = {name: values[there][-1] for name, values in seen.items()}
    unit = " π" if what == "phases" else ""
    title = "Phases φ, 2φ, ψ" if what == "phases" else "Magnitudes α (input), β (output)"
    return Chart(
        drawing(_trajectories, tables, what=what, names=tuple(seen), domain=domain, log_steps=log_steps), title,
        ("Dots: training. Lines: the flow. " if flow else "")
        + f"At step {path['step_S'][there][-1]:,}: "
          f"{', '.join(f'{name} {value:.3g}{unit}' for name, value in now.items())}.",
        f"{title} of neuron {neuron} in training and by the flow", lambda: curves_table(path, neuron, what),
    )  # fmt: skip


def _trajectories(what, names, domain, log_steps):
    x, colour, says = step_axis(log_steps), hue(names), tips(curve="curve", step="step", value="value")
    title = "phase (units of π)" if what == "phases" else "magnitude"
    y = alt.Y("value:Q", title=title, scale=alt.Scale(domain=list(domain), nice=False),
              axis=alt.Axis(tickCount=5, format="~r"))  # fmt: skip
    lines = alt.Chart(named("flow")).mark_line(strokeWidth=1.8).encode(x=x, y=y, color=colour, tooltip=says)
    dots = alt.Chart(named("training")).mark_point(filled=True, size=34, opacity=0.9)
    return alt.layer(lines, dots.encode(x=x, y=y, color=colour, tooltip=says), _rule(x), height=HEIGHT)


def errors_table(path: dict, neuron: int) -> pa.Table:
    """alpha, beta and D of a neuron by step, as trained and by the flow."""
    names = [(n, way) for n in ("alpha", "beta", "D") for way in ("", "_flow")]
    return table(step=path["step_S"], **{n + way: path[f"{n}{way}_SM"][:, neuron] for n, way in names})


def errors(path: dict, rounding: dict[str, float], neuron: int, step: int, log_steps: bool = True) -> Chart:
    """Training minus flow: alpha and beta in per cent of the flow, D in per cent of a radian; `rounding` as in
    `lottery`."""
    difference = {
        "α": 100 * (path["alpha_SM"] / path["alpha_flow_SM"] - 1)[:, neuron],
        "β": 100 * (path["beta_SM"] / path["beta_flow_SM"] - 1)[:, neuron],
        "D": 100 * (path["D_SM"] - path["D_flow_SM"])[:, neuron],
    }
    tables = {
        "curves": long("step", path["step_S"], difference), "zero": table(value=[0.0]), "now": table(step=[step]),
    }  # fmt: skip
    upto = path["step_S"] <= step
    worst = {name: np.abs(values[upto]).max() for name, values in difference.items()}
    return Chart(
        drawing(_errors, tables, names=tuple(difference), log_steps=log_steps),
        f"Training minus flow, neuron {neuron}",
        f"Largest up to step {step:,}: α {worst['α']:.2g} %, β {worst['β']:.2g} %, D {worst['D'] / 100:.2g} rad. "
        f"Jitter of ±{100 * rounding['beta']:.2g} % and ±{rounding['D']:.2g} rad is the rounding of the record; a "
        "drift is physics: the loss is no longer flat, or, under ReLU, harmonics.",
        f"Training minus flow for neuron {neuron}", lambda: errors_table(path, neuron),
    )  # fmt: skip


def _errors(names, log_steps):
    x, y = step_axis(log_steps), alt.Y("value:Q", title="error (%; D: 0.01 rad)", axis=alt.Axis(tickCount=5))
    lines = (
        alt.Chart(named("curves"))
        .mark_line(strokeWidth=1.6, point=alt.OverlayMarkDef(size=14))
        .encode(x=x, y=y, color=hue(names), tooltip=tips(curve="of", step="step", value="value"))
    )
    zero = alt.Chart(named("zero")).mark_rule(color=COLOURS["others"]).encode(y=y)
    return alt.layer(lines, zero, _rule(x), height=HEIGHT)


def aligned(
    step_S, share_S, expected_M: np.ndarray | None, due: int | None, tolerance: float, log_steps: bool = True
) -> Chart:
    """Share of neurons with |D| below the tolerance: dots as trained, line as the flow expects it, to
    where 95 % are aligned; the dashed rule is the end of this run."""
    flow: dict = {"step": [], "share": []}
    if expected_M is not None:
        order = np.sort(expected_M[np.isfinite(expected_M)])
        end = max(int(step_S[-1]), int(np.quantile(order, 0.95))) if len(order) else int(step_S[-1])
        at = np.unique(np.concatenate([np.linspace(0, end, 150), np.geomspace(1, end, 60)]).round().astype(int))
        flow = {"step": at, "share": np.searchsorted(order, at, side="right") / len(expected_M)}
    tables = {
        "flow": long("step", flow["step"], {"flow": flow["share"]}),
        "training": long("step", step_S, {"training": share_S}),
        "now": table(step=[int(step_S[-1])]),
    }
    return Chart(
        drawing(_aligned, tables, tolerance=tolerance, log_steps=log_steps), "Share of aligned neurons",
        f"{share_S[-1]:.1%} at step {step_S[-1]:,}, the end of the run (dashed)."
        + (f" Line: the flow from step 0, which expects 90 % by step {due:,}." if due else ""),
        f"Share of neurons with |D| below {tolerance:g} rad by step", lambda: table(step=step_S, aligned=share_S),
    )  # fmt: skip


def _aligned(tolerance, log_steps):
    x, says = step_axis(log_steps), tips(curve="from", step="step", value="share")
    y = share_axis(f"neurons with |D| < {tolerance:g}")
    how = {"x": x, "y": y, "color": hue(["training", "flow"]), "tooltip": says}
    lines = alt.Chart(named("flow")).mark_line(strokeWidth=2).encode(**how)
    dots = alt.Chart(named("training")).mark_point(filled=True, size=36, opacity=0.9).encode(**how)
    return alt.layer(lines, dots, _rule(x), height=HEIGHT)


def leakage_table(leak: dict) -> pa.Table:
    """One row per frame, one column a harmonic."""
    return table(step=next(iter(leak.values()))[0], **{f"{layer}_{n}k": v for (layer, n), (_, v) in leak.items()})


def leakage(leak: dict, theory: dict, step: int, log_steps: bool = True, floor: float = 1e-6) -> Chart:
    """Magnitude at the harmonics over that at k, mean over neurons; rules at what `theory` says they tend to."""
    curves = {f"{layer} {n}k": np.where(v > floor, v, np.nan) for (layer, n), (_, v) in leak.items()}
    marks = {f"{layer} {n}k": value for (layer, n), value in theory.items() if (layer, n) in leak}
    tables = {
        "curves": long("step", next(iter(leak.values()))[0], curves),
        "marks": table(value=np.array([*marks.values()], float), curve=np.array([*marks], str)),
        "now": table(step=[step]),
    }
    last = ", ".join(f"{where} {n}k {values[-1]:.2g}" for (where, n), (_, values) in leak.items())
    return Chart(
        drawing(_leakage, tables, names=tuple(curves), floor=floor, log_steps=log_steps),
        "Leakage into harmonics",
        f"Mean over neurons; below {floor:.0e} it is rounding and left out. At the last frame: {last}. A harmonic that "
        "folds back on k is left out."
        + (
            f" Dashed: the fixed point of ReLU's flow, {', '.join(f'{value:.2g}' for value in theory.values())}."
            if theory
            else ""
        ),
        "Magnitude at the harmonics over that at k, by training step",
        lambda: leakage_table(leak),
    )


def _leakage(names, floor, log_steps):
    x, scale = step_axis(log_steps), alt.Scale(type="log", domain=[floor, 1])
    y = alt.Y("value:Q", title="magnitude ÷ that at k", scale=scale, axis=style.powers(6))
    lines = alt.Chart(named("curves")).mark_line(strokeWidth=1.8, clip=True, point=alt.OverlayMarkDef(size=14))
    lines = lines.encode(x=x, y=y, color=hue(names), tooltip=tips(curve="at", step="step", value="value"))
    marks = alt.Chart(named("marks"))
    dash = marks.mark_rule(strokeDash=[4, 3], opacity=0.8).encode(
        y=y, color=hue(names), tooltip=tips(curve="fixed point of the flow at", value="value")
    )
    return alt.layer(lines, dash, _rule(x), height=260)


def portrait_table(path: dict, step: int) -> pa.Table:
    """D and beta of every neuron at the step in view."""
    at = np.flatnonzero(path["step_S"] <= step)[-1]
    return table(neuron=np.arange(path["D_SM"].shape[1]), D=path["D_SM"][at], beta=path["beta_SM"][at])


def portrait(path: dict, step: int, field: dict, shown: int = 40) -> Chart:
    """(D, beta) of the run's neurons up to `step`, over the `field` of steps that the flow needs from each place to
    |D| = 0.1 (`lottery.basin`).  D = 0 draws everything but the line D = pi, where the time is infinite."""
    beta_A, D_B = field["beta_A"], field["D_B"] / np.pi
    low, top = (beta_A[0] - np.diff(beta_A)[0] / 2, beta_A[-1] + np.diff(beta_A)[0] / 2)
    m, there = np.arange(min(shown, path["D_SM"].shape[1])), path["step_S"] <= step
    rows = table(
        neuron=np.tile(m, there.sum()), step=np.repeat(path["step_S"][there], len(m)),
        D=path["D_SM"][there][:, m].ravel() / np.pi, beta=path["beta_SM"][there][:, m].ravel(),
    )  # fmt: skip
    last = rows.filter(np.asarray(rows["step"]) == path["step_S"][there][-1])
    half = np.diff(D_B)[0] / 2
    tables = ground(field["steps_AB"], (D_B[0] - half, D_B[-1] + half), (low, top), log=True)
    how = {"low": float(low), "top": float(top), "colours": SEQUENTIAL[style.theme()]}
    D = np.abs(path["D_SM"][there][-1][m])
    return Chart(
        drawing(_portrait, tables | {"paths": rows, "dots": last}, **how), "Phase portrait of (D, β)",
        f"Paths of {len(m)} neurons up to step {path['step_S'][there][-1]:,}, over the number of steps that each place "
        f"needs to align. {(np.pi / 2 > D).mean():.0%} of them are less than a quarter turn from the middle.",
        "Phase portrait of misalignment and output magnitude", lambda: portrait_table(path, step),
    )  # fmt: skip


def _portrait(low, top, colours):
    axes = {
        "x": alt.X("x:Q", title="D = 2φ − ψ (units of π)", scale=alt.Scale(domain=[-1, 1], nice=False),
                   axis=alt.Axis(values=[-1, -0.5, 0, 0.5, 1], grid=False)),
        "y": alt.Y("y:Q", title="output magnitude β", scale=alt.Scale(domain=[low, top], nice=False),
                   axis=alt.Axis(format="~r", tickCount=5, grid=False)),
    }  # fmt: skip
    names = {"neuron": "neuron", "step": "step", "D": "D / π", "beta": "β"}
    says = [alt.Tooltip(f"{name}:Q", title=title, format=".4~g") for name, title in names.items()]
    place = {"x": alt.X("D:Q"), "y": alt.Y("beta:Q")}
    paths, order = alt.Chart(named("paths")), {"detail": alt.Detail("neuron:N"), "order": alt.Order("step:Q")}
    under = paths.mark_line(strokeWidth=3, color="white", opacity=0.7, clip=True).encode(**place, **order)
    hue = HUES["training"]
    lines = paths.mark_line(strokeWidth=1.3, color=hue, clip=True).encode(**place, **order)
    dots = alt.Chart(named("dots")).mark_circle(size=46, color=hue, stroke="white", strokeWidth=0.8, clip=True)
    field = on_ground(axes, scale_of("steps to align", colours, "log", "~s"))
    return alt.layer(*field, under, lines, dots.encode(**place, tooltip=says), height=300)
