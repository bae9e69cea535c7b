"""Training beside the flow of one (neuron, frequency) pair: paths, errors, alignment, leakage, phase portrait."""

import altair as alt
import numpy as np

from .. import theory
from ..runs import Run
from .style import COLOURS, SEQUENTIAL, long, step_axis, table, tips

HUES = {
    "φ": "#8a63c9", "2φ": "#12a17a", "ψ": "#c2417c", "α": "#8a63c9", "β": "#c2417c", "D": "#2f7fc1",
    "input 3k": "#8a63c9", "input 5k": "#c3aee6", "output 2k": "#c2417c", "output 3k": "#e6a3c4",
    "training": "#2f7fc1", "flow": "#e07b1f",
}  # fmt: skip


def _hue(names) -> alt.Color:
    scale = alt.Scale(domain=list(names), range=[HUES[name] for name in names])
    return alt.Color(
        "curve:N", scale=scale, legend=alt.Legend(title=None, orient="top", columns=2 if len(names) > 3 else 0)
    )


def _rule(step: int) -> alt.Chart:
    dash = alt.Chart(table(step=[step])).mark_rule(strokeDash=[4, 3], color=COLOURS["others"])
    return dash.encode(x=alt.X("step:Q"))


def curves_of(path: dict, neuron: int, what: str, way: str = "") -> dict[str, np.ndarray]:
    """The named curves of a neuron: `what` is phases (units of pi) or magnitudes; way "" or "_flow"."""
    at = lambda name: path[f"{name}{way}_SM"][:, neuron]  # noqa: E731
    if what == "phases":
        return {"φ": at("phi") / np.pi, "2φ": 2 * at("phi") / np.pi, "ψ": at("psi") / np.pi}
    return {"α": at("alpha"), "β": at("beta")}


def trajectories(path: dict, neuron: int, what: str, step: int, log_steps: bool = False) -> alt.LayerChart:
    """Phases or magnitudes of a neuron: dots are training up to `step`, lines the flow from step 0."""
    seen = curves_of(path, neuron, what)
    flow = curves_of(path, neuron, what, "_flow") if "z0" in path else {}
    there = path["step_S"] <= step
    every = np.concatenate([*seen.values(), *flow.values()])
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    low, room = (0.0, 0.0) if what == "magnitudes" else (low, 0.05 * (high - low))
    title = "phase (units of π)" if what == "phases" else "magnitude"
    scale = alt.Scale(domain=[low - room, high * 1.03 if what == "magnitudes" else high + room], nice=False)
    y = alt.Y("value:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5, format="~g"))
    says = tips(curve="curve", step="step", value="value")
    layers = []
    if flow:
        lines = alt.Chart(long("step", path["step_S"], flow)).mark_line(strokeWidth=1.8)
        layers.append(lines.encode(x=step_axis(log_steps), y=y, color=_hue(seen), tooltip=says))
    rows = long("step", path["step_S"][there], {name: values[there] for name, values in seen.items()})
    dots = alt.Chart(rows).mark_point(filled=True, size=34, opacity=0.9)
    layers.append(dots.encode(x=step_axis(log_steps), y=y, color=_hue(seen), tooltip=says))
    return alt.layer(*layers, _rule(step)).properties(height=280)


def errors(path: dict, neuron: int, log_steps: bool = False) -> alt.LayerChart:
    """Training minus flow: alpha and beta in per cent of the flow, D in per cent of a radian."""
    difference = {
        "α": 100 * (path["alpha_SM"] / path["alpha_flow_SM"] - 1)[:, neuron],
        "β": 100 * (path["beta_SM"] / path["beta_flow_SM"] - 1)[:, neuron],
        "D": 100 * (path["D_SM"] - path["D_flow_SM"])[:, neuron],
    }
    y = alt.Y("value:Q", title="error (%)", axis=alt.Axis(tickCount=5))
    lines = (
        alt.Chart(long("step", path["step_S"], difference))
        .mark_line(strokeWidth=1.6, point=alt.OverlayMarkDef(size=14))
        .encode(
            x=step_axis(log_steps), y=y, color=_hue(difference), tooltip=tips(curve="of", step="step", value="value")
        )
    )
    zero = alt.Chart(table(value=[0.0])).mark_rule(color=COLOURS["others"]).encode(y=y)
    return alt.layer(zero, lines).properties(height=230)


def aligned(step_S, share_S, foretold_M: np.ndarray | None, tolerance: float, log_steps: bool) -> alt.LayerChart:
    """Share of neurons with |D| below the tolerance: dots as trained, line as the flow foretells it, to
    where 95 % are aligned; the dashed rule is the end of this run."""
    y = alt.Y("value:Q", title=f"neurons with |D| < {tolerance:g}", scale=alt.Scale(domain=[0, 1]),
              axis=alt.Axis(format="%"))  # fmt: skip
    names, says, layers = ["training"], tips(curve="from", step="step", value="share"), []
    if foretold_M is not None:
        names, order = ["training", "flow"], np.sort(foretold_M[np.isfinite(foretold_M)])
        end = max(int(step_S[-1]), int(np.quantile(order, 0.95))) if len(order) else int(step_S[-1])
        at = np.unique(np.concatenate([np.linspace(0, end, 150), np.geomspace(1, end, 60)]).round().astype(int))
        share = np.searchsorted(order, at, side="right") / len(foretold_M)
        line = alt.Chart(long("step", at, {"flow": share})).mark_line(strokeWidth=2)
        layers.append(line.encode(x=step_axis(log_steps), y=y, color=_hue(names), tooltip=says))
    dots = alt.Chart(long("step", step_S, {"training": share_S})).mark_point(filled=True, size=36, opacity=0.9)
    layers.append(dots.encode(x=step_axis(log_steps), y=y, color=_hue(names), tooltip=says))
    return alt.layer(*layers, _rule(int(step_S[-1]))).properties(height=280)


def leakage(leak: dict, step: int, log_steps: bool = False, floor: float = 1e-6) -> alt.LayerChart:
    """Magnitude at the harmonics over that at k, mean over neurons; rules at 1/9 and 1/25."""
    curves = {f"{layer} {n}k": np.where(v > floor, v, np.nan) for (layer, n), (_, v) in leak.items()}
    rows = long("step", next(iter(leak.values()))[0], curves)
    scale = alt.Scale(type="log", domain=[floor, 1])
    y = alt.Y("value:Q", title="magnitude ÷ that at k", scale=scale, axis=alt.Axis(format=".0e", tickCount=6))
    lines = alt.Chart(rows).mark_line(strokeWidth=1.8, clip=True, point=alt.OverlayMarkDef(size=14))
    lines = lines.encode(
        x=step_axis(log_steps), y=y, color=_hue(curves), tooltip=tips(curve="at", step="step", value="value")
    )
    marks = alt.Chart(table(value=[1 / 9, 1 / 25], name=["1/9", "1/25"]))
    dash = marks.mark_rule(strokeDash=[4, 3], color=COLOURS["others"]).encode(y=y)
    words = marks.mark_text(align="left", dx=4, dy=-6, color=COLOURS["others"]).encode(
        x=alt.value(0), y=y, text=alt.Text("name:N")
    )
    return alt.layer(lines, dash, words, _rule(step)).properties(height=380)


def portrait(run: Run, path: dict, step: int, shown: int = 40, size: tuple[int, int] = (28, 48)) -> alt.LayerChart:
    """(D, beta) of the run's neurons over the steps that the flow needs from each place to |D| = 0.1.

    All neurons begin with equal magnitudes, so the invariant alpha^2 - n beta^2 (n = 2 for x^2, 1 for
    ReLU) is the same for all and gives alpha from beta: two variables are left, drawn here.  D = 0
    draws everything but the line D = pi, where the time is infinite.
    """
    order = 2 if run.activation == "quad" else 1
    kept = float(np.median(path["z0"][0] ** 2 - order * path["z0"][2] ** 2))
    top = 1.05 * float(max(path["beta_SM"].max(), path["beta_flow_SM"].max()))
    low = np.sqrt(max(0.0, -kept) / order)
    low = max(0.97 * min(low or np.inf, float(path["beta_SM"].min())), 0.0)
    beta_A = low + (np.arange(size[0]) + 0.5) * (top - low) / size[0]
    D_B = (np.arange(size[1]) + 0.5) * 2 / size[1] - 1
    beta, D = np.meshgrid(beta_A, D_B * np.pi, indexing="ij")
    alpha = np.sqrt(np.maximum(kept + order * beta**2, theory.TINY))
    steps = theory.alignment_steps(run, np.stack([alpha, D / 2, beta, 0 * D]))
    half_b, half_D = 0.52 * (top - low) / size[0], 1.04 / size[1]  # or hairlines show
    b, d = beta.ravel(), D.ravel() / np.pi
    cells = table(
        x=d - half_D,
        x2=d + half_D,
        y=b - half_b,
        y2=b + half_b,
        D=d,
        beta=b,
        value=np.maximum(steps.ravel(), steps[steps > 0].min(initial=np.inf)),
    )
    x = {"scale": alt.Scale(domain=[-1, 1], nice=False), "axis": alt.Axis(values=[-1, -0.5, 0, 0.5, 1], grid=False)}
    y = {"scale": alt.Scale(domain=[low, top], nice=False), "axis": alt.Axis(format="~g", tickCount=5, grid=False)}
    titles = "D = 2φ − ψ (units of π)", "output magnitude β"
    ground = (
        alt.Chart(cells)
        .mark_rect()
        .encode(
            x=alt.X("x:Q", title=titles[0], **x), x2=alt.X2("x2"), y=alt.Y("y:Q", title=titles[1], **y),
            y2=alt.Y2("y2"),
            color=alt.Color(
                "value:Q", scale=alt.Scale(type="log", range=list(SEQUENTIAL), interpolate="rgb"),
                legend=alt.Legend(orient="top", title="steps to align", format="~s", tickCount=4, gradientLength=160),
            ),
            tooltip=[alt.Tooltip(f"{name}:Q", title=title, format=".3~g")
                     for name, title in {"D": "D / π", "beta": "β", "value": "steps to |D| = 0.1"}.items()],
        )
    )  # fmt: skip
    m, there = np.arange(min(shown, path["D_SM"].shape[1])), path["step_S"] <= step
    count = int(there.sum())
    rows = table(
        neuron=np.repeat(m, count), step=np.tile(path["step_S"][there], len(m)),
        D=path["D_SM"][there][:, m].T.ravel() / np.pi, beta=path["beta_SM"][there][:, m].T.ravel(),
    )  # fmt: skip
    names = {"neuron": "neuron", "step": "step", "D": "D / π", "beta": "β"}
    says = [alt.Tooltip(f"{name}:Q", title=title, format=".4~g") for name, title in names.items()]
    place = {"x": alt.X("D:Q", title=titles[0], **x), "y": alt.Y("beta:Q", title=titles[1], **y)}
    lines = (
        alt.Chart(rows)
        .mark_line(strokeWidth=1.3, color="#2f7fc1", clip=True)
        .encode(**place, detail=alt.Detail("neuron:N"), order=alt.Order("step:Q"))
    )
    under = alt.Chart(rows).mark_line(strokeWidth=3, color="white", opacity=0.7, clip=True)
    under = under.encode(**place, detail=alt.Detail("neuron:N"), order=alt.Order("step:Q"))
    last = rows.filter(np.asarray(rows["step"]) == path["step_S"][there][-1])
    dots = alt.Chart(last).mark_circle(size=46, color="#2f7fc1", stroke="white", strokeWidth=0.8, clip=True)
    return alt.layer(ground, under, lines, dots.encode(**place, tooltip=says)).properties(height=380)
