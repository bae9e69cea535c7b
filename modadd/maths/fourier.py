"""A weight row as a sum of cosines, and back.  Works on numpy arrays and torch tensors alike.

Source: arXiv:2602.16849, sec. 3; the real discrete Fourier transform on Z_p.
"""

from functools import lru_cache

import numpy as np
from array_api_compat import array_namespace, is_numpy_array


@lru_cache(maxsize=4)
def _basis(p: int) -> np.ndarray:
    j, k = np.arange(p), np.arange(1, (p - 1) // 2 + 1)[:, None]
    basis = np.empty((p, p))
    basis[0] = 1 / np.sqrt(p)
    basis[1::2] = np.sqrt(2 / p) * np.cos(2 * np.pi * (k * j % p) / p)
    basis[2::2] = np.sqrt(2 / p) * np.sin(2 * np.pi * (k * j % p) / p)
    basis.setflags(write=False)
    return basis


def basis(p: int) -> np.ndarray:
    """Orthonormal rows Const, cos 1, sin 1, cos 2, sin 2, ... of the real DFT, float64 [P, P]."""
    return _basis(p)


def mode_names(p: int) -> list[str]:
    """Names of the rows of `basis(p)`."""
    return ["Const"] + [f"{f} {k}" for k in range(1, (p - 1) // 2 + 1) for f in ("cos", "sin")]


def dft(w_MP):
    """Coefficients of each row in `basis`, float64 [M, P]."""
    xp = array_namespace(w_MP)
    w = xp.astype(w_MP, xp.float64)
    if is_numpy_array(w_MP):
        return w @ basis(w_MP.shape[-1]).T
    return w @ xp.asarray(basis(w_MP.shape[-1]).copy(), device=w_MP.device).T


def amplitudes(coef_MP):
    """A_k = hypot(c_k, s_k) for k = 1 .. K, [M, K]."""
    return array_namespace(coef_MP).hypot(coef_MP[..., 1::2], coef_MP[..., 2::2])


def cosines(coef_MP):
    """(magnitude, phase), each [M, K]: row = const + sum_k magnitude cos(w_k j + phase)."""
    xp = array_namespace(coef_MP)
    phase = xp.atan2(-coef_MP[..., 2::2], coef_MP[..., 1::2])
    return (2 / coef_MP.shape[-1]) ** 0.5 * amplitudes(coef_MP), phase


def from_cosines(magnitude_MK, phase_MK) -> np.ndarray:
    """The rows with these cosines and no constant, [M, P] with p = 2 K + 1."""
    magnitude_MK, phase_MK = np.asarray(magnitude_MK), np.asarray(phase_MK)
    p = 2 * magnitude_MK.shape[-1] + 1
    angle_KP = 2 * np.pi * (np.arange(1, magnitude_MK.shape[-1] + 1)[:, None] * np.arange(p) % p) / p
    return np.einsum("mk,mkj->mj", magnitude_MK, np.cos(angle_KP + phase_MK[..., None]))


def ipr(amplitude_MK):
    """Inverse participation ratio sum A^4 / (sum A^2)^2 of each neuron, [M]; 1 is one frequency.

    A row of zeros has no frequency and gets 0.  At random Gaussian weights the expectation is
    2 / (K + 1).
    """
    xp = array_namespace(amplitude_MK)
    power = amplitude_MK**2
    total = xp.sum(power, axis=-1)
    return xp.sum(power**2, axis=-1) / xp.where(total > 0, total, xp.ones_like(total)) ** 2


def wrap(angle):
    """The same angle in (-pi, pi]."""
    xp = array_namespace(angle)
    half, turn = (xp.asarray(a, dtype=angle.dtype) for a in (np.pi, 2 * np.pi))
    wrapped = half - xp.remainder(half - angle, turn)
    # For an angle a rounding error above pi the remainder is rounded up to the whole turn.
    return xp.where(wrapped <= -half, half, wrapped)
