"""What is measured of the two-layer network at one moment."""

import numpy as np

from .. import data
from ..maths import ideal, measures
from ..runs import Run
from .schema import SPECTRUM_NEURONS, TABLE_NEURONS, Frame, pack, unpack


def take_frame(theta_MP, xi_MP, logprob_NP, run: Run, with_weights: bool) -> Frame:
    """Measure a network, on whatever device its tensors are.  `logprob_NP` are the log-probabilities over the
    unordered pairs of `data.pairs`."""
    neuron = measures.neurons(theta_MP, xi_MP)
    p, K, host = run.p, run.K, lambda array: array.cpu().numpy()
    label_N, (x_N, y_N) = data.labels(p), data.pairs(p)
    fit = ideal.fit_peaks(logprob_NP, p, x_N, y_N, np.where(x_N == y_N, 1, 2))
    logprob_NP = host(logprob_NP)
    zero = x_N == 0
    logits0 = np.empty((p, p), np.float32)  # centred on 0: a constant over j changes no vote
    logits0[y_N[zero]] = logprob_NP[zero] - logprob_NP[zero].mean(1, keepdims=True)
    zero = y_N == 0
    logits0[x_N[zero]] = logprob_NP[zero] - logprob_NP[zero].mean(1, keepdims=True)
    frequency_M, phi_M, D_M = (host(neuron[f"{name}_M"]) for name in ("frequency", "phi", "D"))
    numbers = measures.scalars(neuron) | measures.layer(neuron, run.activation) | measures.leakage(neuron)
    numbers |= {f"peak_{name}": fit[name] for name in ideal.PEAKS}
    numbers |= {"vote_r2": fit["r2"], "vote_r2_three": fit["r2_three"], "flawed_margin": fit["margin"]}
    if run.activation == "quad":
        numbers["margin_share"] = ideal.margin_share(fit["margin"], theta_MP, xi_MP)
    frame = {name: np.float32(value) for name, value in numbers.items() if value is not None} | {
        "counts_K": measures.frequency_counts(frequency_M, K),
        "coherence": measures.coherence(frequency_M, phi_M, K),
        "abs_sin_D_K": measures.misalignment(frequency_M, D_M, K),
        "frequency": frequency_M[:TABLE_NEURONS].astype(np.uint8),
        **{name: host(neuron[f"{name}_M"])[:TABLE_NEURONS] for name in ("alpha", "phi", "beta", "psi")},
        "theta_hat": host(neuron["theta_hat_MP"][:SPECTRUM_NEURONS]),
        "xi_hat": host(neuron["xi_hat_MP"][:SPECTRUM_NEURONS]),
        "logits0": logits0,
        "correct": logprob_NP.argmax(1) == label_N,
        "probability": np.exp(logprob_NP[np.arange(len(label_N)), label_N]),
    }
    if with_weights:
        frame |= {"theta": host(theta_MP), "xi": host(xi_MP)}
    # Rounded at birth, so that a live frame equals the stored one.
    return {name: unpack(name, pack(name, value)) for name, value in frame.items()}
