"""Numbers about a general transformer, taken once a frame or from the weights that a frame holds.

Needs no torch: a page asks a stored network by `read`, the forward pass of `preln` over again in numpy.
Shapes, beside those of the package: B examples, L tokens, Y layers, D model width, H heads, C values
of c (`tasks.maps`), S of them shown.
"""

import numpy as np

from .. import tasks
from ..activations import ACTIVATIONS
from ..maths import fourier
from ..runs import Run
from .schema import Frame, pack, unpack

ROWS = 2**11  # examples that are read at once
COMPONENTS = 4  # principal components kept in a frame
PURE = 0.7  # columns at least so pure, of the purest, may be chosen for their phase

Weights = dict[str, np.ndarray]


def take_frame(run: Run, embed_PD, answer_SPP, example_N, right_N, every_CPP=None) -> Frame:
    """Measure a network, from what it answers.

    `embed_PD` are its token embeddings, `answer_SPP` its answers on the shown maps, `right_N` whether it is
    right on the test examples `example_N`, `every_CPP` its answers to everything, at the end of a run.

    Every frame: asked and right [C], test examples with each c and how many of them are answered rightly;
    answers [S, P, P] on the shown maps; embed_power [K], `power_shares`; circulant, `circulant_share`;
    pca [P, 4] and pca_share [4], `components`.  The last frame adds every_answer [C, P, P].
    """
    c_N, C = np.asarray(example_N) // run.p**2, tasks.maps(run)
    points, share = components(embed_PD)
    frame = {
        "asked": np.bincount(c_N, minlength=C).astype(np.int32),
        "right": np.bincount(c_N[np.asarray(right_N, bool)], minlength=C).astype(np.int32),
        "answers": answer_SPP.astype(np.uint8),
        "embed_power": power_shares(embed_PD), "circulant": np.float32(circulant_share(embed_PD)),
        "pca": points, "pca_share": share,
    }  # fmt: skip
    if every_CPP is not None:
        frame["every_answer"] = every_CPP.astype(np.uint8)
    return {name: unpack(name, pack(name, value)) for name, value in frame.items()}


def by_map(frame: Frame) -> np.ndarray:
    """Test accuracy for each c, [C]; NaN where no test example has it."""
    asked = frame["asked"].astype(float)
    return np.divide(frame["right"], asked, out=np.full(len(asked), np.nan), where=asked > 0)


def answers_at(frame: Frame, run: Run, c: int) -> np.ndarray | None:
    """What the network answers to every (a, b) at one c, [P, P]; None if the frame does not hold it."""
    if "every_answer" in frame:
        return frame["every_answer"][c]
    place = np.flatnonzero(tasks.shown_maps(run) == c)
    return frame["answers"][place[0]] if len(place) and "answers" in frame else None


def wrong(answer_PP: np.ndarray, run: Run, c: int) -> dict[str, tuple[int, int]]:
    """Of the test and of the trained examples at one c: how many such answers are wrong, and how many there are."""
    wrong_PP, train_PP = answer_PP != tasks.truth(run)[c], tasks.train_maps(run)[c]
    groups = {"test": ~train_PP, "trained": train_PP}
    return {name: (int(wrong_PP[group].sum()), int(group.sum())) for name, group in groups.items()}


def constant_accuracy(run: Run) -> float:
    """The accuracy over all examples of the best constant answer for each c."""
    return float(tasks.best_constant(run).mean())


# The embedding


def power_shares(embed_PD) -> np.ndarray:
    """The share of each frequency in the variance of the embeddings over the residues, [K]; they sum to 1."""
    power = (np.abs(np.fft.rfft(np.asarray(embed_PD, float), axis=0)) ** 2).sum(1)[1:]
    return power / power.sum() if power.sum() > 0 else power


def similarity(embed_PD) -> np.ndarray:
    """Cosine similarity of the embeddings of every two residues, about their mean, [P, P]."""
    moved = np.asarray(embed_PD, float) - np.mean(embed_PD, axis=0)
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    unit = moved / np.where(length > 0, length, 1)
    return unit @ unit.T


def circulant_share(embed_PD) -> float:
    """How much of the variance of the similarities of different residues their difference explains: 1 if
    the matrix is circulant; at random embeddings about 1 / p."""
    table = similarity(embed_PD)
    p = len(table)
    a, d = np.ogrid[:p, 1:p]
    by_difference = table[a, (a + d) % p]
    total = by_difference.var()
    return float(by_difference.mean(0).var() / total) if total > 0 else 0.0


def components(embed_PD, count: int = COMPONENTS) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings on their first principal components, [P, count], and the variance shares, [count]."""
    moved = np.asarray(embed_PD, float) - np.mean(embed_PD, axis=0)
    u, s, _ = np.linalg.svd(moved, full_matrices=False)
    count = min(count, len(s))
    total = (s**2).sum()
    return u[:, :count] * s[:count], s[:count] ** 2 / total if total > 0 else s[:count]


# Curves over the residues: a dimension of the embedding, or a neuron along a path


def waves(curve_PM) -> dict[str, np.ndarray]:
    """The frequency that leads each curve over the residues, column by column: `frequency` [M], `phase` [M] with
    curve ~ cos(w_k a + phase), and `purity` [M], the share of its peak in the sum of all |rfft| but the
    constant.  Purity knows nothing of amplitude: a flat column has purity 0."""
    curve = np.asarray(curve_PM, float)
    spectrum = np.fft.rfft(curve - curve.mean(0), axis=0)[1:]
    size = np.abs(spectrum)
    lead, column = size.argmax(0), np.arange(size.shape[1])
    total, level = size.sum(0), np.abs(curve).max(0)
    moves = total > 1e-6 * len(curve) * np.where(level > 0, level, 1)
    return {
        "frequency": lead + 1,
        "phase": np.angle(spectrum[lead, column]),
        "purity": np.where(moves, size[lead, column] / np.where(moves, total, 1), 0),
    }


def common_frequencies(curve_PM, pure: float = 0.3) -> list[int]:
    """The frequencies that lead the columns of at least this purity, the most common first."""
    wave = waves(curve_PM)
    k, count = np.unique(wave["frequency"][wave["purity"] >= pure], return_counts=True)
    return k[np.argsort(-count, kind="stable")].tolist()


def purest(curve_PM: np.ndarray, count: int, k: int | None = None) -> np.ndarray:
    """The `count` purest columns; with a frequency k, of its purest the ones whose phases lie well apart, so
    that pairs of them open into rings."""
    wave = waves(curve_PM)
    fit = np.where(wave["frequency"] == (k or wave["frequency"]), wave["purity"], 0)
    order = np.argsort(-fit, kind="stable")
    order = order[fit[order] > 0]
    if k is None or not len(order):
        return order[:count]
    left = [m for m in order if fit[m] > PURE * fit[order[0]]]
    chosen = [left.pop(0)]
    while left and len(chosen) < count:
        apart = [np.abs(np.sin(wave["phase"][m] - wave["phase"][chosen])).min() for m in left]
        chosen.append(left.pop(int(np.argmax(apart))))
    return np.array(chosen)


def apart(curve_PM, m: int, n: int) -> float:
    """How far the phases of two columns lie apart, in [0, pi]."""
    phase = waves(curve_PM)["phase"]
    return float(abs(fourier.wrap(phase[m] - phase[n])))


def z_scored(curve_PM) -> np.ndarray:
    """Every column moved and scaled to mean 0 and variance 1; a flat column becomes 0."""
    curve = np.asarray(curve_PM, float)
    spread = curve.std(0)
    return (curve - curve.mean(0)) / np.where(spread > 1e-12, spread, 1)


def path(run: Run, b: int = 0, c: int = 0) -> np.ndarray:
    """The examples a = 0 .. p - 1 with b and c fixed, tokens [P, L]."""
    columns = [np.arange(run.p), np.full(run.p, b), np.full(run.p, c)]
    return np.stack(columns[: tasks.length(run)], 1)


# A stored network


def weights_of(frame: Frame) -> Weights | None:
    """The weights that a frame holds, by name; None if it holds none."""
    held = {name.removeprefix("weights/"): value for name, value in frame.items() if name.startswith("weights/")}
    return held or None


def read(run: Run, w: Weights, token_BL: np.ndarray) -> dict[str, np.ndarray]:
    """The network read literally, every token through every layer, in float64.

    logits [B, P]; neurons [Y, B, M] of the last token, after the activation; attention [Y, B, H, L, L], who is
    asked last.  The weights are named and shaped as in `preln.shapes`.
    """
    w = {name: np.asarray(value, float) for name, value in w.items()}
    (B, L), D, H = token_BL.shape, w["W_E"].shape[1], run.heads
    x = w["W_E"][token_BL] + w["W_pos"]
    neurons, attention = [], []
    for y in range(len(w["W_Q"])):
        norm = _layer_norm(x, w["gain_1"][y], w["shift_1"][y])
        q, k, v = ((norm @ w[name][y]).reshape(B, L, H, D // H).swapaxes(1, 2) for name in ("W_Q", "W_K", "W_V"))
        score = q @ k.swapaxes(2, 3) / np.sqrt(D // H)
        score = np.where(np.tri(L, dtype=bool), score, -np.inf)
        share = np.exp(score - score.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        x = x + (share @ v).swapaxes(1, 2).reshape(B, L, D) @ w["W_O"][y]
        into = _layer_norm(x, w["gain_2"][y], w["shift_2"][y]) @ w["W_in"][y] + w["b_in"][y]
        out = ACTIVATIONS[run.activation](into)
        x = x + out @ w["W_out"][y] + w["b_out"][y]
        neurons.append(out[:, -1])
        attention.append(share)
    logits = _layer_norm(x[:, -1], w["gain_3"], w["shift_3"]) @ w["W_U"]
    return {"logits": logits, "neurons": np.array(neurons), "attention": np.array(attention)}


def neurons_over_pairs(run: Run, w: Weights, layer: int, c: int = 0) -> np.ndarray:
    """What every neuron of a layer answers to every pair (a, b) at one c, float32 [P^2, M], a the slow index."""
    tokens_NL = tasks.tokens(run, c * run.p**2 + np.arange(run.p**2))
    parts = np.array_split(tokens_NL, -(-len(tokens_NL) // ROWS))
    return np.concatenate([read(run, w, part)["neurons"][layer].astype(np.float32) for part in parts])


def _layer_norm(x, gain, shift):
    moved = x - x.mean(-1, keepdims=True)
    return moved / np.sqrt((moved**2).mean(-1, keepdims=True) + tasks.EPS) * gain + shift
