"""The weight rows of chosen neurons: which a record can show, in what order, and the one cosine nearest to each."""

import re

import numpy as np

from ..frames.schema import Frame
from ..maths import fourier
from .record import Moment, Record

LAYERS = ("input", "output")
SORTS = ("frequency", "magnitude", "IPR", "neuron")
SHOWN = 20


def parse(text: str, most: int = 60) -> list[int] | None:
    """Numbers and ranges such as "0, 5, 17-25" as a list; None where it is empty or anything else."""
    spans = [re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", word) for word in re.split(r"[,\s]+", text.strip(", \n"))]
    if not all(spans):
        return None
    ends = [(int(span[1]), int(span[2] or span[1])) for span in spans]
    return [m for first, final in ends for m in range(first, min(final, first + most) + 1)][:most] or None


def showing(record: Record, step: int | None, wanted: list[int] | None = None) -> Moment | None:
    """The nearest moment that shows these neurons in full, of those with spectra if these can, else with weights.
    None if this record holds neither spectra nor weights."""
    spectra, weights = (record.at(step, name, "nearest") for name in ("theta_hat", "theta"))
    if spectra is None:
        return weights
    beyond = wanted and "theta" not in spectra.frame and max(wanted) >= len(spectra.frame["theta_hat"])
    return weights if beyond and weights else spectra


def round_robin(frequency_M: np.ndarray, held: int, count: int = SHOWN) -> np.ndarray:
    """Up to `count` of the first `held` neurons, one a frequency in turn, sorted by frequency."""
    frequency = np.asarray(frequency_M[:held])
    turn = np.zeros(len(frequency), int)
    for k in np.unique(frequency):
        mine = frequency == k
        turn[mine] = np.arange(mine.sum())
    chosen = np.lexsort((frequency, turn))[:count]
    return chosen[np.argsort(frequency[chosen], kind="stable")]


def showcase(record: Record, count: int = SHOWN) -> np.ndarray:
    """`count` neurons that every frame with spectra can show, one a frequency in turn by what they keep at the end:
    the same ones at every step, so that time can be played."""
    _, spectra = record.series("theta_hat")
    return round_robin(record.frames[-1]["frequency"], spectra.shape[1] if len(spectra) else record.run.d_mlp, count)


def choose(frame: Frame, wanted) -> np.ndarray:
    """The wanted neurons that the frame can show in full."""
    here = len(frame["theta"]) if "theta" in frame else len(frame["theta_hat"])
    return np.array([m for m in dict.fromkeys(wanted) if 0 <= m < here], int)


def coefficients(frame: Frame, neurons: np.ndarray) -> dict[str, np.ndarray]:
    """DFT rows of these neurons in both layers, [len(neurons), P] each."""
    if "theta" in frame:
        return {"input": fourier.dft(frame["theta"][neurons]), "output": fourier.dft(frame["xi"][neurons])}
    return {"input": frame["theta_hat"][neurons].astype(float), "output": frame["xi_hat"][neurons].astype(float)}


def order(coef: dict[str, np.ndarray], neurons: np.ndarray, by: str) -> np.ndarray:
    """Places of the neurons sorted by one of SORTS of their input layer; strongest and purest first."""
    amplitude = fourier.amplitudes(coef["input"])
    key = {"frequency": amplitude.argmax(1), "magnitude": -amplitude.max(1), "IPR": -fourier.ipr(amplitude)}
    return np.lexsort((neurons, key.get(by, neurons)))


def best_cosine(coef_P: np.ndarray) -> dict:
    """The single cosine nearest to a row: k, magnitude, phase, the row, the fit [P], and R^2 about the row's mean
    (None for a row that is constant)."""
    p = len(coef_P)
    magnitude, phase = (part[0] for part in fourier.cosines(coef_P[None]))
    k = int(magnitude.argmax()) + 1
    row = coef_P @ fourier.basis(p)
    fit = magnitude[k - 1] * np.cos(2 * np.pi * (k * np.arange(p) % p) / p + phase[k - 1])
    total = ((row - row.mean()) ** 2).sum()
    r2 = float(1 - ((row - fit) ** 2).sum() / total) if total > 0 else None
    found = {"k": k, "magnitude": float(magnitude[k - 1]), "phase": float(phase[k - 1])}
    return found | {"row": row, "fit": fit, "r2": r2}
