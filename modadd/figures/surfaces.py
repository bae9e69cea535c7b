"""The activation surface of one neuron over all pairs (x, y): its waves, in 3-D and from above, to take home.

A surface is [P, P] with surface[x][y], x the first input.  Its waves are

    surface(x, y) = mean + sum over (k, l) of |c_kl| cos(2 pi (k x + l y) / p + phase),

k = 0 .. K and l = -K .. K, one of each (k, l) and (-k, -l), from the discrete Fourier transform.
"""

import json

import numpy as np
import pyarrow as pa

from ..activations import ACTIVATIONS
from ..frames import pre_ln
from ..frames.schema import Frame
from ..maths import fourier
from ..records.record import Moment, Record
from ..runs import Run
from . import style
from .style import SEQUENTIAL, table

WAVES = 6


def of_mlp(frame: Frame, run: Run, neuron: int) -> np.ndarray:
    """act(theta[x] + theta[y]) of one neuron, float [P, P]."""
    row = frame["theta"][neuron].astype(float)
    return ACTIVATIONS[run.activation](row[:, None] + row[None, :])


def waves(surface_PP: np.ndarray, count: int = WAVES) -> list[dict]:
    """The strongest plane waves cos(2 pi (k x + l y) / p + phase): k, l, amplitude and share of the power without
    the constant; empty for a surface that is flat."""
    p = len(surface_PP)
    moved = np.asarray(surface_PP, float) - np.mean(surface_PP)
    power = np.abs(np.fft.fft2(moved)) ** 2 / p**2
    total = power.sum()
    if total <= 1e-12 * (np.asarray(surface_PP, float) ** 2).sum():
        return []
    k, l = np.divmod(np.arange(p * p), p)
    half = (k <= p // 2) & ((k > 0) | (l <= p // 2)) & (k + l > 0)  # of (k, l) and (-k, -l) one
    k, l, share = k[half], np.where(l > p // 2, l - p, l)[half], 2 * power.ravel()[half] / total
    order = np.argsort(-share, kind="stable")[:count]
    return [{"k": int(k[i]), "l": int(l[i]), "amplitude": float(np.sqrt(2 * share[i] * total) / p),
             "share": float(share[i])} for i in order]  # fmt: skip


def product_grating(surface_PP: np.ndarray) -> dict | None:
    """The best fit  (g0 + g1 cos(w_k x + phi)) (h0 + h1 cos(w_k y + psi))  over all k, by least squares: k, R^2 about
    the mean, and the fit [P, P]; None for a flat surface.

    The nine products of {1, cos k, sin k} over x and over y are orthonormal, so that the best product is the
    best matrix of rank one to their 3 x 3 coefficients: its largest singular value with its two vectors.
    """
    surface = np.asarray(surface_PP, float)
    p, basis, power = len(surface), fourier.basis(len(surface)), (surface**2).sum()
    varies = power - p * p * surface.mean() ** 2
    if varies <= 1e-12 * power:
        return None
    modes_K3P = np.concatenate([np.broadcast_to(basis[:1], (p // 2, 1, p)), basis[1:].reshape(-1, 2, p)], axis=1)
    u, strength, v = np.linalg.svd(modes_K3P @ surface @ modes_K3P.transpose(0, 2, 1))
    k = int(strength[:, 0].argmax())
    fit = strength[k, 0] * np.outer(u[k, :, 0] @ modes_K3P[k], v[k, 0] @ modes_K3P[k])
    return {"k": k + 1, "r2": float(1 - ((surface - fit) ** 2).sum() / varies), "fit": fit}


def table_of(surface_PP: np.ndarray) -> pa.Table:
    """One row per pair."""
    x, y = np.divmod(np.arange(surface_PP.size), len(surface_PP))
    return table(x=x, y=y, activation=np.asarray(surface_PP, float).ravel())


def as_json(surface_PP: np.ndarray, neuron: int) -> str:
    """{"neuron_index", "modulus", "surface"}, surface[x][y] with six digits."""
    rows = [[float(f"{value:.6g}") for value in row] for row in np.asarray(surface_PP, float)]
    return json.dumps({"neuron_index": int(neuron), "modulus": len(rows), "surface": rows})


def _scale() -> list:
    colours = SEQUENTIAL[style.theme()]
    return [[i / (len(colours) - 1), colour] for i, colour in enumerate(colours)]


def _traces(surface_PP: np.ndarray):
    import plotly.graph_objects as go

    # A row of plotly's z is one y; ours is one x.
    z, p = np.asarray(surface_PP, np.float32).T, np.arange(len(surface_PP))
    shared = {
        "x": p,
        "y": p,
        "z": z,
        "colorscale": _scale(),
        "hovertemplate": "x %{x}, y %{y}: %{z:.4g}<extra></extra>",
    }
    bar = {"title": {"text": "activation"}, "thickness": 10, "len": 0.7, "nticks": 5}
    return go.Surface(**shared, showscale=False), go.Heatmap(**shared, colorbar=bar)


SCENE = {
    "xaxis": {"title": {"text": "x"}}, "yaxis": {"title": {"text": "y"}}, "zaxis": {"title": {"text": "activation"}},
    "aspectratio": {"x": 1, "y": 1, "z": 0.55}, "camera": {"eye": {"x": 1.65, "y": -1.8, "z": 1.08}},
}  # fmt: skip


def in_3d(surface_PP: np.ndarray, height: int = 370):
    """The surface to be turned with the mouse, a plotly Figure."""
    import plotly.graph_objects as go

    figure = go.Figure(_traces(surface_PP)[0])
    return figure.update_layout(scene=SCENE, height=height, margin={"l": 0, "r": 0, "t": 0, "b": 0}, uirevision="same")


def from_above(surface_PP: np.ndarray, height: int = 370):
    """The same as a heatmap, x across and y up, a plotly Figure."""
    import plotly.graph_objects as go

    figure = go.Figure(_traces(surface_PP)[1])
    axis = {"constrain": "domain", "showgrid": False}
    return figure.update_layout(
        xaxis={"title": {"text": "x (first input)"}, **axis},
        yaxis={"title": {"text": "y (second input)"}, "scaleanchor": "x", **axis},
        margin={"l": 10, "r": 10, "t": 10, "b": 10}, height=height,
    )  # fmt: skip


def as_html(surface_PP: np.ndarray, title: str) -> str:
    """Both views side by side as one page that needs no network (about 5 MB, nearly all of it plotly)."""
    from plotly.subplots import make_subplots

    figure = make_subplots(1, 2, specs=[[{"type": "scene"}, {"type": "xy"}]], column_widths=[0.58, 0.42])
    for i, trace in enumerate(_traces(surface_PP), start=1):
        figure.add_trace(trace, 1, i)
    figure.update_layout(
        title=title, scene=SCENE, xaxis={"title": {"text": "x (first input)"}, "constrain": "domain"},
        yaxis={"title": {"text": "y (second input)"}, "scaleanchor": "x", "constrain": "domain"},
    )  # fmt: skip
    return figure.to_html(include_plotlyjs=True, full_html=True)


def clearest(frame: Frame, run: Run, layer: int = 0, c: int = 0) -> int:
    """A neuron worth opening first: the one with the most of its power in one frequency; of a network of another
    task the purest of the livelier half of its layer along a = 0 .. p - 1 with b = 0 and this c."""
    if run.model == "pre-ln":
        along = pre_ln.path(run, 0, c)
        seen = pre_ln.read(run, pre_ln.weights_of(frame), along)["neurons"][layer]
        moves = seen.var(0)
        return int(next(iter(pre_ln.purest(np.where(moves >= np.median(moves), seen, 0), 1)), 0))
    if "neuron_share" in frame:
        return int(frame["neuron_share"].argmax())
    power = fourier.amplitudes(fourier.dft(frame["theta"])) ** 2
    strong = power.sum(1) >= np.median(power.sum(1))
    return int(np.where(strong, power.max(1) / power.sum(1).clip(1e-30), 0).argmax())


def kept(record: Record, step: int | None) -> Moment | None:
    """The nearest moment that can show any neuron; None if none keeps weights."""
    return record.at(step, "theta" if record.run.model == "mlp" else "weights/W_E", "nearest")
