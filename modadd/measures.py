"""Numbers about a network, taken once a frame; and the stages of grokking, or None."""

import numpy as np
from array_api_compat import array_namespace

from . import fourier

STAGE_ACCURACY = 0.95  # end of a stage: first step at or above (arXiv:2602.16849, sec. 6, made explicit)
STAGES = ("memorisation", "generalisation", "cleanup")


def neurons(theta_MP, xi_MP) -> dict:
    """One cosine a neuron and layer, plus both spectra; numpy or torch in, the same out.

    `frequency_M` (1-based) is the largest of the input layer; alpha, phi, beta, psi and D are
    taken at it.  `theta_hat_MP` and `xi_hat_MP` are the coefficients in `fourier.basis`.
    """
    xp = array_namespace(theta_MP)
    theta_hat, xi_hat = fourier.dft(theta_MP), fourier.dft(xi_MP)
    (alpha, phi), (beta, psi) = fourier.cosines(theta_hat), fourier.cosines(xi_hat)
    winner = xp.argmax(alpha, axis=-1)
    alpha, phi, beta, psi = (
        xp.take_along_axis(table, winner[:, None], axis=-1)[:, 0] for table in (alpha, phi, beta, psi)
    )
    return {
        "frequency_M": winner + 1, "alpha_M": alpha, "phi_M": phi, "beta_M": beta, "psi_M": psi,
        "D_M": fourier.wrap(2 * phi - psi), "theta_hat_MP": theta_hat, "xi_hat_MP": xi_hat,
    }  # fmt: skip


def scalars(neuron: dict) -> dict[str, float]:
    """Means over all neurons: IPR of both layers, mean |sin D| and mean cos D."""
    xp = array_namespace(neuron["D_M"])
    ipr_in, ipr_out = (
        float(xp.mean(fourier.ipr(fourier.amplitudes(neuron[name])))) for name in ("theta_hat_MP", "xi_hat_MP")
    )
    return {
        "ipr_in": ipr_in,
        "ipr_out": ipr_out,
        "mean_abs_sin_D": float(xp.mean(xp.abs(xp.sin(neuron["D_M"])))),
        "mean_cos_D": float(xp.mean(xp.cos(neuron["D_M"]))),
    }


def frequency_counts(frequency_M: np.ndarray, K: int) -> np.ndarray:
    """Neurons whose dominant frequency is k, for k = 1 .. K, int32 [K]."""
    return np.bincount(np.asarray(frequency_M), minlength=K + 1)[1:].astype(np.int32)


def coherence(frequency_M, phi_M, K: int, orders=(1, 2, 3, 4)) -> np.ndarray:
    """|mean exp(i n phi)| over the neurons of each frequency, [len(orders), K]; NaN where none.

    Small values mean phases that cancel.  Random phases give about 0.886 / sqrt(N_k).
    """
    result = np.full((len(orders), K), np.nan)
    for k in range(1, K + 1):
        phi = phi_M[frequency_M == k]
        if len(phi):
            result[:, k - 1] = [abs(np.exp(1j * n * phi).mean()) for n in orders]
    return result


def leakage(neuron: dict) -> dict[str, float]:
    """Mean amplitude of the harmonics of each neuron's frequency k, relative to that at k: r = 3 and 5
    in the input layer, 2 and 3 in the output layer.  ReLU predicts 1/9 and 1/25 (O(r^-2)), x^2 none
    (arXiv:2602.16849, sec. 5).  NaN where r k is 0 or k itself mod p, up to sign, for every neuron.
    """
    xp = array_namespace(neuron["D_M"])
    result = {}
    for layer, name, harmonics in (("in", "theta_hat_MP", (3, 5)), ("out", "xi_hat_MP", (2, 3))):
        A_MK = fourier.amplitudes(neuron[name])
        p, k_M = neuron[name].shape[-1], neuron["frequency_M"]
        at = lambda k_M, A_MK=A_MK: xp.take_along_axis(A_MK, k_M[:, None] - 1, axis=-1)[:, 0]  # noqa: E731
        own_M = at(k_M)
        for r in harmonics:
            rk_M = r * k_M % p
            folded_M = xp.where(rk_M > p // 2, p - rk_M, rk_M)
            # Where 3 divides p a harmonic can fall back on k itself, which is no leak.
            real = (rk_M > 0) & (folded_M != k_M) & (own_M > 0)
            share_M = at(xp.where(real, folded_M, xp.ones_like(folded_M))) / xp.where(real, own_M, xp.ones_like(own_M))
            count = int(xp.sum(xp.astype(real, xp.int64)))
            total = float(xp.sum(xp.where(real, share_M, xp.zeros_like(share_M))))
            result[f"leak_{layer}_{r}"] = total / count if count else float("nan")
    return result


def first_at_least(steps, values, threshold: float) -> int | None:
    """First step whose value reaches the threshold, or None if none does."""
    reached = np.flatnonzero(np.asarray(values) >= threshold)
    return int(steps[reached[0]]) if len(reached) else None


def stages(record, threshold: float = STAGE_ACCURACY) -> tuple[int | None, int | None]:
    """(end of memorisation, end of generalisation): first steps with train, then test, accuracy
    at the threshold.  None means not reached, or no test pairs."""
    return tuple(first_at_least(record.steps, record.history[f"{g}_accuracy"], threshold) for g in ("train", "test"))


def spans(names, ends, last: int) -> dict[str, tuple[int, int]]:
    """First and last step of each stage that was entered.

    `names` are the stages in order and `ends` the step at which each of them ends: one whose end is None lasts
    until the run ends, at step `last`.
    """
    result, start = {}, 0
    for name, end in zip(names, ends, strict=True):
        stop = last if end is None else max(start, end)
        if stop > start:
            result[name] = (start, stop)
        if end is None:
            break
        start = stop
    return result
