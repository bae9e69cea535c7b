"""What a frame, one moment of training, may hold: every array by model, one line each.

How arrays are packed on disk, what a file of strangers is held against (`exchange`), what a sound record is
(`check`) and how finely a shipped record is coded (`coding`) all follow from these lines.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .. import tasks
from ..runs import Run

TABLE_NEURONS = 2048  # neurons whose cosine is kept in every frame
SPECTRUM_NEURONS = 64  # neurons whose whole spectrum is kept in every frame
MAPS = 12  # neurons of a transformer whose activations its last frame keeps
WEIGHT_BYTES = 48 << 20  # budget for the weights of all frames of a run
CIRCLES = 8  # frequencies whose circle of embeddings its last frame keeps

Frame = Mapping[str, np.ndarray]
"""One moment of training: arrays by name, as FIELDS says for the model.  `describe` tells it in words."""

EVERY, SOME, LAST = "every frame", "some frames", "the last frame"
SCALAR, REAL, PHASE, WHOLE, BYTE, FLAG = "f4", "f2", "i2", "i4", "u1", "?"  # dtypes on disk; PHASE in pi / 32767


@dataclass(frozen=True)
class Coded:
    """How far a shipped array may be from the recorded one: `size`, in the sense of `form` (see `coding`)."""

    form: str = "exact"
    size: float = 0.0


EXACT = Coded()


@dataclass(frozen=True)
class Field:
    """An array of a frame: what it is, the letters of its shape (`sizes`), its unit, dtype on disk, bounds that it
    must keep (numbers or letters; None where it may be no number), in which frames it is, and how it is coded."""

    says: str
    shape: str = ""
    unit: str = ""
    kind: str = REAL
    bounds: tuple | None = None
    held: str = EVERY
    coded: Coded = EXACT


FINITE, POSITIVE, UNIT, ANGLE = (-np.inf, np.inf), (0, np.inf), (0, 1), (-np.pi, np.pi)


def _numbers(held: str = EVERY, bounds: tuple | None = None, **says: str) -> dict[str, Field]:
    return {name: Field(what, kind=SCALAR, held=held, bounds=bounds) for name, what in says.items()}


def _log(size: float) -> Coded:
    return Coded("log", size)


FIELDS: dict[str, dict[str, Field]] = {
    "mlp": _numbers(
        bounds=UNIT, ipr_in="IPR of the input layer, mean over neurons", ipr_out="of the output layer",
        mean_abs_sin_D="mean |sin D| over neurons",
    ) | _numbers(
        mean_cos_D="mean cos D over neurons", leak_in_3="amplitude at 3k over that at k, input layer, mean",
        leak_in_5="at 5k", leak_out_2="at 2k, output layer", leak_out_3="at 3k",
    ) | _numbers(
        SOME, same_frequency="neurons of the same dominant frequency in both layers, share",
        aligned="neurons with |D| < 0.1 rad, share", vote_cos_D="mean cos D weighted by the size of a neuron's vote",
        cv_alpha="coefficient of variation of alpha over neurons", cv_beta="of beta",
        peak_correct="peak of the logits at x + y, in the fit over all ordered pairs (nats)",
        peak_ghosts="at 2x and 2y", peak_third="at 3x - y and 3y - x", peak_fourth="at 4x - 2y and 4y - 2x",
        vote_r2="R² of that fit", vote_r2_three="R² with constant, right answer and ghosts alone",
        flawed_margin="smallest margin of the right answer, over all pairs (nats)",
        flawed_ratio="right answer over ghost, each unordered pair counted once (older records)",
        flawed_r2="R² of that fit (older records)",
        margin_share="the same over the largest that weights of this norm have (x² only)",
    ) | {
        "counts_K": Field("neurons by dominant frequency", "K", kind=WHOLE, bounds=(0, "M")),
        "frequency": Field("dominant frequency of the input layer", "m", kind=BYTE, bounds=(1, "K")),
        "alpha": Field("magnitude at it, input layer", "m", "weight", bounds=POSITIVE, coded=_log(0.01)),
        "beta": Field("magnitude at it, output layer", "m", "weight", bounds=POSITIVE, coded=_log(0.01)),
        "phi": Field("phase at it, input layer", "m", "rad", PHASE, ANGLE, coded=Coded("angle", 0.01)),
        "psi": Field("phase at it, output layer", "m", "rad", PHASE, ANGLE, coded=Coded("angle", 0.01)),
        "theta_hat": Field("DFT rows of the input layer", "s P", "weight", bounds=FINITE, held=SOME,
                           coded=Coded("spectrum", 0.03)),
        "xi_hat": Field("DFT rows of the output layer", "s P", "weight", bounds=FINITE, held=SOME,
                        coded=Coded("spectrum", 0.03)),
        "logits0": Field("logits of the pairs (0, y), about their mean", "P P", "nats", bounds=FINITE, held=SOME,
                         coded=Coded("votes", 0.01)),
        "correct": Field("is each unordered pair answered rightly?", "N", kind=FLAG),
        "probability": Field("of the right answer of each unordered pair", "N", bounds=UNIT, held=SOME,
                             coded=Coded("share", 0.01)),
        "coherence": Field("|mean exp(i n phi)| by n = 1 .. 4 and frequency", "4 K", held=SOME,
                           coded=Coded("part", 0.005)),
        "abs_sin_D_K": Field("mean |sin D| over the neurons of each frequency", "K", held=SOME,
                             coded=Coded("part", 0.005)),
        "theta": Field("weights of the input layer", "M P", "weight", bounds=FINITE, held=SOME,
                       coded=Coded("weights", 0.03)),
        "xi": Field("weights of the output layer", "M P", "weight", bounds=FINITE, held=SOME,
                    coded=Coded("weights", 0.03)),
    },
    "transformer": _numbers(
        gini_embed="Gini coefficient of the embedding by frequency", gini_map="of the neuron-logit map",
        restricted_all="restricted loss (nats) of all pairs", restricted_train="of the training pairs",
        restricted_test="of the test pairs", excluded_train="excluded loss (nats) of the training pairs",
        trig="loss of the trigonometric fit (nats)", fve="variance of the logits that the key frequencies explain",
        centred="share of their variance that depends on the sum alone", single="neurons of one frequency, share",
        silent="neurons that are never active, share", squared_weights="sum of all squared weights",
    ) | {
        "embed_norms": Field("length of each Fourier mode of W_E", "P", "weight"),
        "map_norms": Field("of the neuron-logit map W_L", "P", "weight"),
        "keys": Field("is this a key frequency?", "K", kind=FLAG),
        "by_sum": Field("mean logits of the pairs of each sum, by sum and answer", "P P", "nats", held=SOME,
                        coded=Coded("linear", 0.002)),
        "log_excluded": Field("log of the loss without each frequency", "K", "log nats"),
        "fve_K": Field("variance of the logits that each frequency explains", "K"),
        "neuron_frequency": Field("the frequency that explains most of a neuron, 0 for none", "M", kind=BYTE,
                                  bounds=(0, "K")),
        "neuron_share": Field("the share that it explains", "M", coded=Coded("share", 0.01)),
        "correct": Field("is each pair (a, b) answered rightly?", "P P", kind=FLAG),
        "probability": Field("of the right answer", "P P", bounds=UNIT, held=SOME, coded=Coded("share", 0.01)),
        "map_neuron": Field("neurons whose activations are kept", "n", kind=WHOLE, bounds=(0, "M-1"), held=LAST),
        "maps": Field("their activations over (a, b)", "n P P", held=LAST, coded=Coded("linear", 0.005)),
        "attention": Field("from the last token to each operand, by head", "H 2 P P", held=LAST,
                           coded=Coded("linear", 0.005)),
        "logits_2d": Field("power of the logits in each 2D Fourier mode", "P P", held=LAST),
        "circle_frequency": Field("frequencies whose circle is kept", "c", kind=BYTE, bounds=(1, "K"), held=LAST),
        "circle_share": Field("share of the embedding's variance in that plane", "c", held=LAST),
        "circles": Field("embeddings in that plane", "c P 2", "weight", held=LAST),
    },
    "pre-ln": {
        "asked": Field("test examples by c", "C", kind=WHOLE), "right": Field("of them right", "C", kind=WHOLE),
        "answers": Field("answers on the shown maps", "S P P", kind=BYTE, bounds=(0, "P-1"), held=SOME),
        "every_answer": Field("answers to everything", "C P P", kind=BYTE, bounds=(0, "P-1"), held=LAST),
        "embed_power": Field("share of each frequency in the embeddings' variance", "K"),
        "pca": Field("embeddings on their first principal components", "P 4", "weight"),
        "pca_share": Field("variance shares of these", "4"),
    } | _numbers(circulant="variance of the similarities that the difference of residues explains"),
}  # fmt: skip
# Names whose arrays belong together: of the same frames and the same neurons, circles or maps.
TOGETHER = (("alpha", "beta", "phi", "psi", "frequency"), ("theta_hat", "xi_hat"), ("theta", "xi"),
            ("map_neuron", "maps"), ("circle_frequency", "circle_share", "circles"))  # fmt: skip
WEIGHTS = "weights/"
_WEIGHT = Field("trained weights", unit="weight", bounds=FINITE, held=SOME)
_KINDS = {name: field.kind for fields in FIELDS.values() for name, field in fields.items()}


def is_weight(name: str) -> bool:
    """Is this array of a frame trained weights, which only some frames keep?"""
    return name in ("theta", "xi") or name.startswith(WEIGHTS)


def fields(run: Run) -> dict[str, Field]:
    """Every array that a frame of this run may hold; a transformer's weights as weights/NAME."""
    if run.model == "mlp":
        return FIELDS["mlp"]
    from ..networks.transformer import model, pre_ln  # torch loads with them

    weights = (model if run.model == "transformer" else pre_ln).shapes(run)
    return FIELDS[run.model] | {
        WEIGHTS + name: Field(_WEIGHT.says, " ".join(map(str, shape)), _WEIGHT.unit, bounds=FINITE, held=SOME)
        for name, shape in weights.items()
    }


def sizes(run: Run) -> dict[str, int]:
    """What the letters of shapes and bounds are for this run; of the small ones a frame may hold fewer."""
    P, M = run.p, run.d_mlp
    return {
        "P": P, "M": M, "K": run.K, "N": P * (P + 1) // 2, "H": run.heads, "P-1": P - 1, "M-1": M - 1,
        "m": min(M, TABLE_NEURONS), "s": min(M, SPECTRUM_NEURONS), "n": MAPS, "c": CIRCLES,
        **({"C": tasks.maps(run), "S": len(tasks.shown_maps(run))} if run.model == "pre-ln" else {}),
    }  # fmt: skip


def fits(shape: tuple[int, ...], field: Field, size: Mapping[str, int]) -> bool:
    """May an array of a frame have this shape?  `size` as in `sizes`."""
    letters = field.shape.split()
    return len(shape) == len(letters) and all(
        n <= size[d] if d.islower() else n == (int(d) if d.isdecimal() else size[d])
        for n, d in zip(shape, letters, strict=True)
    )


def bounds(field: Field, size: Mapping[str, int]) -> tuple[float, float] | None:
    """(least, most) that the numbers of an array may be; None where there are no bounds."""
    return field.bounds and tuple(size[edge] if isinstance(edge, str) else edge for edge in field.bounds)


def pack(name: str, value) -> np.ndarray:
    """A frame array as it is stored: phases as 16-bit fractions of pi, other arrays of reals as float16."""
    value = np.asarray(value)
    if _KINDS.get(name) == PHASE:
        return np.round(value / np.pi * 32767).astype(np.int16)
    if value.dtype.kind == "f" and value.ndim:
        return value.clip(-65504, 65504).astype(np.float16)
    return value


def unpack(name: str, stored: np.ndarray) -> np.ndarray:
    """The inverse of `pack`, reals as float32."""
    if _KINDS.get(name) == PHASE:
        return (stored * np.float32(np.pi / 32767)).astype(np.float32)
    return stored.astype(np.float32) if stored.dtype == np.float16 else stored


def describe(model: str) -> list[dict[str, str]]:
    """FIELDS of a model in words, a row an array: name, says, shape, unit, held, and what coding may change."""
    return [
        {"name": name, "says": f.says, "shape": f.shape, "unit": f.unit, "held": f.held,
         "coded": f.coded.form if f.coded == EXACT else f"{f.coded.form}, {f.coded.size:g}"}
        for name, f in FIELDS[model].items()
    ]  # fmt: skip


def frame_steps(epochs: int) -> list[int]:
    """0, then roughly geometric, then every 200 steps, and the last one."""
    early = {round(2 ** (i / 4)) for i in range(42)}
    return sorted({0, epochs, *early, *range(200, epochs, 200)} & set(range(epochs + 1)))


def weight_stride(run: Run) -> int:
    """Every how many frames the weights are kept too (the last frame always keeps them)."""
    # An embedding is folded into the first layer of a frame.
    bytes_each = 2 * (2 * run.d_mlp * run.p if run.model == "mlp" else run.weights)
    return max(1, -(-len(frame_steps(run.epochs)) * bytes_each // WEIGHT_BYTES))


def weights_of(w: dict) -> Frame:
    """The weights as a frame holds them, `weights/W_E` and so on, rounded to float16."""
    return {f"weights/{name}": value.half().float().cpu().numpy() for name, value in w.items()}
