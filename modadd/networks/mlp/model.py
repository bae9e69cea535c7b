"""The network: initial weights, and the plain forward pass."""

from collections.abc import Callable

import numpy as np
import torch

from ...maths import fourier
from ...runs import Run


def initial_weights(run: Run, neurons: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(theta_MP, xi_MP) at step 0, float32, the same on every device; of the first so many neurons alone.

    `random`: init_scale * N(0, 1) / sqrt(p).  `single-freq`: each neuron one frequency, the same
    in both layers, every frequency equally often, phases uniform (arXiv:2602.16849, sec. 5).
    `equal`: each neuron all frequencies, at equal magnitudes, phases uniform: where the phase rule is proved.
    """
    M, P, K = run.d_mlp, run.p, run.K
    if run.init == "random":
        # The order of the published code's draws, so that a seed means the same weights here.
        draw = torch.Generator().manual_seed(run.seed)
        theta_MP = torch.randn(M, P, generator=draw).numpy()
        xi_PM = torch.randn(P, M, generator=draw).numpy()
        scale = np.float32(run.init_scale / np.sqrt(P))
        return scale * theta_MP[:neurons], scale * np.ascontiguousarray(xi_PM.T[:neurons])
    rng = np.random.default_rng([run.seed, 0])
    if run.init == "equal":
        phase_2MK = rng.uniform(-np.pi, np.pi, (2, M, K))[:, :neurons]
        same_MK = np.full(phase_2MK.shape[1:], run.init_scale)
        theta, xi = (fourier.from_cosines(same_MK, phase_MK) for phase_MK in phase_2MK)
        return theta.astype(np.float32), xi.astype(np.float32)
    frequency_M = rng.permutation(np.arange(M) % K)[:neurons]
    phase_2M1 = rng.uniform(-np.pi, np.pi, (2, M, 1))[:, :neurons]
    turn_MP = 2 * np.pi / P * ((frequency_M[:, None] + 1) * np.arange(P) % P)
    theta, xi = (run.init_scale * np.cos(turn_MP + phase_M1) for phase_M1 in phase_2M1)
    return theta.astype(np.float32), xi.astype(np.float32)


def initial_factors(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(embed_PD, into_DM, xi_MP) at step 0 of a network with a trainable embedding of width D, float32.

    theta = (embed into)^T then has entries of the same variance as without an embedding.
    """
    M, P, D = run.d_mlp, run.p, run.d_model
    draw = torch.Generator().manual_seed(run.seed)
    embed_PD, into_DM, xi_MP = (torch.randn(shape, generator=draw).numpy() for shape in ((P, D), (D, M), (M, P)))
    scale = np.float32(run.init_scale / np.sqrt(P))
    return embed_PD / np.float32(np.sqrt(D)), scale * into_DM, scale * xi_MP


def logits(theta_MP, xi_MP, x, y, act: Callable = torch.relu):
    """f(x, y)[j] for residues x and y of equal shape, [..., P]: the definition, read literally."""
    hidden = act(theta_MP.T[x] + theta_MP.T[y])
    return hidden @ xi_MP
