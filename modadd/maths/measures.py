"""Numbers about a network, taken once a frame; and the stages of grokking, or None."""

import numpy as np
from array_api_compat import array_namespace

from . import fourier

STAGE_ACCURACY = 0.95  # end of a stage: first step at or above (arXiv:2602.16849, sec. 6, made explicit)
ALIGNED = 0.1  # radians: a neuron this close to psi = 2 phi counts as aligned
ORDERS = (1, 2, 3, 4)  # of exp(i n phi): the noise of the vote contains no higher one (arXiv:2602.16849, sec. 4)
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
        "frequency_M": winner + 1,
        "alpha_M": alpha,
        "phi_M": phi,
        "beta_M": beta,
        "psi_M": psi,
        "D_M": fourier.wrap(2 * phi - psi),
        "theta_hat_MP": theta_hat,
        "xi_hat_MP": xi_hat,
    }


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


def coherence(frequency_M, phi_M, K: int, orders=ORDERS) -> np.ndarray:
    """|mean exp(i n phi)| over the neurons of each frequency, [len(orders), K]; NaN where none."""
    count_K = np.where(counts := frequency_counts(frequency_M, K), counts, np.nan)
    turn_M = np.exp(1j * np.asarray(phi_M, float))
    total = lambda part_M: np.bincount(frequency_M, part_M, K + 1)[1:]  # noqa: E731
    return np.stack([np.hypot(total((turn_M**n).real), total((turn_M**n).imag)) / count_K for n in orders])


def evenness(coherence_nK, counts_K) -> tuple[np.ndarray, np.ndarray]:
    """N |mean exp(i n phi)|^2 of each order n, mean over the frequencies with neurons, and its standard error, [n]
    each.  Random phases give 1 at any N, phases that cancel less.  The error is NaN for a single frequency."""
    value_nK = np.asarray(counts_K) * np.asarray(coherence_nK, float) ** 2
    value_nK = value_nK[:, np.isfinite(value_nK).all(0)]
    count = value_nK.shape[1]
    if not count:
        return (np.full(len(value_nK), np.nan),) * 2
    spread_n = value_nK.std(1, ddof=1) if count > 1 else np.full(len(value_nK), np.nan)
    return value_nK.mean(1), spread_n / np.sqrt(count)


def layer(neuron: dict, activation: str) -> dict[str, float]:
    """Statistics of all neurons that no sample of them can replace.

    same_frequency: share whose largest frequency is the same in both layers.  aligned: share with |D| < ALIGNED.
    vote_cos_D: mean cos D in which a neuron counts by the size of its vote, alpha^2 beta for x^2 and alpha beta
    for the other activations.  cv_alpha, cv_beta: standard deviation over mean of the magnitudes.
    """
    xp = array_namespace(neuron["D_M"])
    alpha_M, beta_M, D_M = neuron["alpha_M"], neuron["beta_M"], neuron["D_M"]
    out_M = xp.argmax(fourier.amplitudes(neuron["xi_hat_MP"]), axis=-1) + 1
    vote_M = (alpha_M**2 if activation == "quad" else alpha_M) * beta_M
    share = lambda there_M: float(xp.mean(xp.astype(there_M, xp.float64)))  # noqa: E731
    ratio = lambda a, b: float(a) / float(b) if float(b) else float("nan")  # noqa: E731
    return {
        "same_frequency": share(out_M == neuron["frequency_M"]),
        "aligned": share(xp.abs(D_M) < ALIGNED),
        "vote_cos_D": ratio(xp.sum(vote_M * xp.cos(D_M)), xp.sum(vote_M)),
        "cv_alpha": ratio(xp.std(alpha_M), xp.mean(alpha_M)),
        "cv_beta": ratio(xp.std(beta_M), xp.mean(beta_M)),
    }


def misalignment(frequency_M, D_M, K: int) -> np.ndarray:
    """Mean |sin D| over the neurons of each frequency, [K]; NaN where none."""
    count_K = frequency_counts(frequency_M, K)
    total_K = np.bincount(frequency_M, np.abs(np.sin(np.asarray(D_M, float))), K + 1)[1:]
    return total_K / np.where(count_K, count_K, np.nan)


def leakage(neuron: dict) -> dict[str, float]:
    """Mean amplitude of the harmonics of each neuron's frequency k, relative to that at k: r = 3 and 5
    in the input layer, 2 and 3 in the output layer.  Neurons for which r k is 0 or k itself mod p, up to sign, have
    no such harmonic and are left out; NaN if that leaves none.  What to expect is in `theory.harmonics`.
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
    first, second = (
        first_at_least(record.steps, record.history[f"{g}_accuracy"], threshold) for g in ("train", "test")
    )
    return first, second


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
