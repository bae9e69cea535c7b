"""Single pairs and whole neurons on the decoupled flow, without any network.  arXiv:2602.16849, sec. 5."""

import numpy as np

from . import fourier, theory

POINTS = 160  # of a path that is drawn


def pair(activation: str, p: int, alpha: float, phi: float, beta: float, psi: float, steps: int) -> dict:
    """The exact flow of one pair over `steps` steps of rate 1: step_S, alpha_S, phi_S, beta_S, psi_S, D_S.

    It ends where a magnitude passes 1, no small weight any more."""
    step_S = np.unique(np.linspace(0, steps, 400).round().astype(int))
    alpha_S, phi_S, beta_S, psi_S = theory.integrate(activation, [alpha, phi, beta, psi], step_S, p)
    small = (alpha_S <= 1) & (beta_S <= 1)
    end = len(small) if small.all() else max(int(np.argmin(small)), 1)
    D_S = fourier.wrap(2 * phi_S - psi_S)
    names = {"step": step_S, "alpha": alpha_S, "phi": phi_S, "beta": beta_S, "psi": psi_S, "D": D_S}
    return {f"{name}_S": column[:end] for name, column in names.items()}


def drift(activation: str, path: dict) -> np.ndarray:
    """The largest relative change of each of the two invariants along a path, [2]."""
    z = np.array([path[f"{name}_S"] for name in ("alpha", "phi", "beta", "psi")])
    kept = theory.invariants(activation, z)
    size = np.maximum(np.abs(kept[:, 0]), z[0, 0] ** 2 * z[2, 0] ** 2)  # one that starts at 0 has no size of its own
    return np.abs(kept - kept[:, :1]).max(1) / size


def random_race(activation: str, p: int, scale: float, seed: int) -> dict:
    """All K frequencies of one neuron with Gaussian weights of this scale, each on its own flow (rate 1), until the
    first has grown theory.FINISH-fold: `start` (each [1, K]) and, as Record.race, step_S, NAME_SK."""
    weights = scale * np.random.default_rng(seed).standard_normal((2, p)) / np.sqrt(p)
    (alpha, phi), (beta, psi) = (fourier.cosines(fourier.dft(w[None])) for w in weights)
    time_K = theory.race(p, alpha, phi, beta, psi, activation)["time_MK"][0]
    first = time_K[np.isfinite(time_K)].min(initial=np.inf)
    step_S = np.unique(np.linspace(0, first if np.isfinite(first) else 1000.0, POINTS).round())
    path = theory.integrate(activation, [a[0] for a in (alpha, phi, beta, psi)], step_S, p)
    a, f, b, s = (way.T for way in path)
    return {
        "start": {"alpha": alpha, "phi": phi, "beta": beta, "psi": psi},
        "step_S": step_S.astype(int),
        "alpha_SK": a,
        "beta_SK": b,
        "D_SK": fourier.wrap(2 * f - s),
    }
