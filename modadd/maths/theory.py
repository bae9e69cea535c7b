"""What theory says of training: the flows, their invariants, and the race of frequencies.

Numpy only, in float64.  A flow describes one (neuron, frequency) pair by z = (alpha, phi, beta,
psi), stacked on axis 0; every trailing axis is another, independent pair.  It is the limit of
gradient descent at small weights on all pairs, in the time t = sum of the learning rates.
"""

from collections.abc import Callable

import numpy as np

from ..runs import EPOCHS_MAX, WARMUP, Run, check_p
from .fourier import wrap

PACE = 0.05  # a Runge-Kutta step, in units of the time in which D changes
TINY, BLOW_UP = 1e-12, 1e6  # magnitudes a flow starts from at least, and is followed to at most
FINISH = 10.0  # where a race ends, in units of the largest alpha at first
NEVER = np.pi - 1e-9  # from here on |D| counts as pi, which stays where it is

QUAD_FLOW_TEX = (
    r"\begin{aligned}\dot\alpha &= \tfrac{2}{p}\,\alpha\beta\cos D, & \dot\varphi &= -\tfrac{2}{p}\,\beta\sin D, \\"
    r"\dot\beta &= \tfrac{1}{p}\,\alpha^2\cos D, & \dot\psi &= \tfrac{1}{p}\,\tfrac{\alpha^2}{\beta}\sin D\end{aligned}"
)


def quad_flow(t, z, p: int) -> np.ndarray:
    """dz/dt of the flow for act(h) = h^2, [4, ...]; it does not depend on t.  arXiv:2602.16849, sec. 5."""
    alpha, phi, beta, psi = z
    cos, sin = np.cos(2 * phi - psi), np.sin(2 * phi - psi)
    return np.stack([2 * alpha * beta * cos, -2 * beta * sin, alpha**2 * cos, alpha**2 / beta * sin]) / p


RELU_FLOW_TEX = (
    r"\dot\alpha = c\,\beta\cos D,\quad \dot\varphi = -2c\,\tfrac{\beta}{\alpha}\sin D,\quad"
    r"\dot\beta = c\,\alpha\cos D,\quad \dot\psi = c\,\tfrac{\alpha}{\beta}\sin D,\quad "
    r"c = \tfrac{2}{p}\cdot\tfrac{4}{3\pi^2}"
)


def relu_rate(p: int) -> float:
    """c of the flow for ReLU, per unit of flow time."""
    return 2 / p * 4 / (3 * np.pi**2)


def relu_flow(t, z, p: int) -> np.ndarray:
    """dz/dt of the flow for ReLU, [4, ...], without the leak to harmonics: the limit of a large order p / gcd(k, p)
    of the frequency (`harmonics.coefficient`).  Derived for this project."""
    alpha, phi, beta, psi = z
    cos, sin = np.cos(2 * phi - psi), np.sin(2 * phi - psi)
    return relu_rate(p) * np.stack([beta * cos, -2 * beta / alpha * sin, alpha * cos, alpha / beta * sin])


FLOWS: dict[str, Callable] = {"quad": quad_flow, "relu": relu_flow}

INVARIANTS_TEX = {
    "quad": (r"\alpha^2 - 2\beta^2", r"\alpha^2\beta\sin D"),
    "relu": (r"\alpha^2 - \beta^2", r"\alpha^4\beta\sin D"),
}


def invariants(activation: str, z) -> np.ndarray:
    """The two numbers that the flow of `activation` keeps, [2, ...].  Derived for this project."""
    _check_activation(activation)
    alpha, phi, beta, psi = z
    sin = np.sin(2 * phi - psi)
    if activation == "quad":
        return np.stack([alpha**2 - 2 * beta**2, alpha**2 * beta * sin])
    return np.stack([alpha**2 - beta**2, alpha**4 * beta * sin])


def alignment_rate(activation: str, z, p: int) -> np.ndarray:
    """r in D' = -r sin D, [...]; both magnitudes grow more slowly than exp(r t).  arXiv:2602.16849, sec. 5."""
    alpha, _, beta, _ = z
    if activation == "quad":
        return (4 * beta + alpha**2 / beta) / p
    return relu_rate(p) * (4 * beta / alpha + alpha / beta)


def integrate(activation: str, z0, t, p: int) -> np.ndarray:
    """The flow from z0 [4, ...] at time 0, at the times t [T] in ascending order, [4, ..., T].

    Fourth-order Runge-Kutta; each pair takes steps of its own length.  Magnitudes below TINY
    start at TINY; phases are returned in (-pi, pi].  The quad flow blows up in finite time: from
    there on (a magnitude above BLOW_UP) its values are NaN.  Raises ValueError for an activation
    without a flow and for times that are negative or descend.
    """
    z, t = _start(activation, z0), np.asarray(t, float)
    if np.any(np.diff(t, prepend=0) < 0):
        raise ValueError("the times of a flow must ascend from 0: sort them")
    shape, z = z.shape[1:], z.reshape(4, -1)
    path, clock = np.empty((4, z.shape[1], len(t))), 0.0
    for i, stop in enumerate(t):
        left = np.where(np.isfinite(z[0]), stop - clock, 0.0)
        while len(going := np.flatnonzero(left)):
            h = np.minimum(PACE / alignment_rate(activation, z[:, going], p), left[going])
            z[:, going] = _rk4(activation, z[:, going], h, p)
            left[going] -= h
            blown = np.maximum(z[0], z[2]) > BLOW_UP
            z[:, blown], left[blown] = np.nan, 0.0
        path[:, :, i], clock = z, stop
    path[1], path[3] = wrap(path[1]), wrap(path[3])
    return path.reshape(4, *shape, len(t))


def first_passage(activation: str, z0, p: int, gap: Callable, max_steps: int = 20_000) -> np.ndarray:
    """Time at which gap(z [4, n], indices [n]) of each pair first falls to 0, [...]; inf if it never does.

    The gap should change smoothly, for it is interpolated linearly inside a Runge-Kutta step.
    """
    z = _start(activation, z0)
    shape, z = z.shape[1:], z.reshape(4, -1)
    clock, time = np.zeros(z.shape[1]), np.full(z.shape[1], np.inf)
    going = np.arange(z.shape[1])
    before = gap(z, going)
    time[before <= 0] = 0.0
    ahead = before > 0
    z, going, before, clock = z[:, ahead], going[ahead], before[ahead], clock[ahead]
    for _ in range(max_steps):
        if not len(going):
            break
        h = PACE / alignment_rate(activation, z, p)
        z = _rk4(activation, z, h, p)
        after = gap(z, going)
        there = after <= 0
        time[going[there]] = clock[there] + h[there] * before[there] / (before - after)[there]
        on = ~there & (np.maximum(z[0], z[2]) < BLOW_UP)
        z, going, before, clock = z[:, on], going[on], after[on], (clock + h)[on]
    return time.reshape(shape)


def _start(activation: str, z0) -> np.ndarray:
    _check_activation(activation)
    z = np.array(z0, float)
    z[0::2] = np.maximum(z[0::2], TINY)
    return z


def _rk4(activation: str, z, h, p: int) -> np.ndarray:
    flow = FLOWS[activation]
    a = flow(0, z, p)
    b = flow(0, z + h / 2 * a, p)
    c = flow(0, z + h / 2 * b, p)
    return z + h / 6 * (a + 2 * b + 2 * c + flow(0, z + h * c, p))


def _euler(z0, rate: float, steps: int, p: int) -> np.ndarray:
    """The quad flow by Euler's rule, `rate` being the time of a step, [4, ..., steps + 1]; NaN after blow-up."""
    path = [np.array(z0, float)]
    for _ in range(steps):
        z = path[-1] + rate * quad_flow(0, path[-1], p)
        path.append(np.where(np.maximum(np.abs(z[0]), np.abs(z[2])) < BLOW_UP, z, np.nan))
    return np.stack(path, axis=-1)


def _check_activation(activation: str):
    if activation not in FLOWS:
        raise ValueError(f"activation must be one of {', '.join(FLOWS)}, which have a flow, got {activation!r}")


FLOW_TIME_TEX = r"t = \sum_{s < \mathrm{step}} \mathrm{lr}\,\min(s / 10, 1)"


def flow_time(run: Run, steps):
    """Flow time after `steps` updates, in units of loss^-1 (shape of `steps`); meaningful for SGD."""
    n = np.asarray(steps, float)
    return run.lr * np.where(n <= WARMUP, n * np.maximum(n - 1, 0) / (2 * WARMUP), n - (WARMUP + 1) / 2)


def alignment_steps(run: Run, z0, tolerance: float = 0.1) -> np.ndarray:
    """Updates until |D| <= tolerance (radians) for each pair of z0 [4, ...] at step 0: [...], inf for never.

    Raises ValueError where no flow applies: AdamW, or an activation other than x^2 and ReLU.
    Derived for this project.
    """
    if run.optimizer != "sgd":
        raise ValueError(f"the flow describes the optimizer sgd, got {run.optimizer}")
    z0 = np.asarray(z0, float)

    def gap(z, _):  # ln tan(|D| / 2) falls at exactly the alignment rate
        half_D = np.maximum(np.abs(wrap(2 * z[1] - z[3])) / 2, TINY)
        return np.log(np.tan(half_D) / np.tan(tolerance / 2))

    ticks, able = np.full(z0.shape[1:], np.inf), np.abs(wrap(2 * z0[1] - z0[3])) < NEVER
    ticks[able] = first_passage(run.activation, z0[:, able], run.p, gap) / run.lr
    warming = (1 + np.sqrt(1 + 8 * WARMUP * ticks)) / 2
    return np.where(ticks > 0, np.ceil(np.where(warming <= WARMUP, warming, ticks + (WARMUP + 1) / 2)), 0)


def alignment_step(run: Run, z0, tolerance: float = 0.1, share: float = 0.9) -> int | None:
    """The step by which this share of the pairs in z0 [4, ...] has |D| <= tolerance; it may lie beyond
    run.epochs, and is None beyond EPOCHS_MAX.  Raises what `alignment_steps` raises."""
    steps = np.sort(alignment_steps(run, z0, tolerance), axis=None)
    step = steps[max(0, int(np.ceil(share * len(steps))) - 1)]
    return int(step) if step <= EPOCHS_MAX else None


def outcome_contour(p: int = 23, size: int = 30, steps: int = 100, lr: float | None = None) -> dict[str, np.ndarray]:
    """Magnitudes after a short quad flow, over where it began; arXiv:2602.16849, sec. 5.

    Both magnitudes start at magnitude_A in 0.01 .. 0.02, psi at 0 and 2 phi at angle_B in 0 .. 2 pi;
    Euler steps at the rates 2p and p, not averaged over pairs.  `lr` is the published 0.01, and
    0.23 / p above p = 23: the flow depends on p * lr alone and would blow up.  Also returns alpha_AB and beta_AB.
    """
    lr = 0.01 * min(1, 23 / check_p(p)) if lr is None else lr
    magnitude_A, angle_B = np.linspace(0.01, 0.02, size), np.linspace(0, 2 * np.pi, size)
    m, angle = np.broadcast_arrays(magnitude_A[:, None], angle_B)
    alpha, _, beta, _ = _euler([m, angle / 2, m, 0 * m], lr * p**2, steps, p)[..., -1]
    return {"magnitude_A": magnitude_A, "angle_B": angle_B, "alpha_AB": alpha, "beta_AB": beta}


CASES: tuple[dict, ...] = ({"phi": 1.5, "psi": 0.18, "steps": 1400}, {"phi": -0.72, "psi": -2.91, "steps": 700})


def decoupled_cases(p: int, magnitude: float = 0.02) -> list[dict]:
    """The two published simulations of one pair (Euler, lr 1): k, step_S, alpha_S, phi_S, beta_S, psi_S, D_S.

    The frequency k = 2 (K if smaller) names the cosine and does not enter the flow.  A case ends
    early where a magnitude passes 1, no small weight any more (p < 21).  arXiv:2602.16849, sec. 5.
    """
    cases = []
    for case in CASES:
        z = _euler([magnitude, case["phi"], magnitude, case["psi"]], 1.0, case["steps"], check_p(p))
        alpha, phi, beta, psi = z[:, (z[0] <= 1) & (z[2] <= 1)]
        cases.append(
            {
                "k": min(2, (p - 1) // 2),
                "step_S": np.arange(len(alpha)),
                "alpha_S": alpha,
                "phi_S": wrap(phi),
                "beta_S": beta,
                "psi_S": wrap(psi),
                "D_S": wrap(2 * phi - psi),
            }
        )
    return cases


def race(p: int, alpha_MK, phi_MK, beta_MK, psi_MK, activation: str = "quad", growth: float = FINISH) -> dict:
    """Every frequency of every neuron on its own flow until alpha is `growth` times the neuron's largest.

    Returns winner_M (1-based; the first to arrive), time_MK (flow time of arrival, inf for never)
    and level_M (the finish).  Derived for this project from arXiv:2602.16849, sec. 5.
    """
    z0 = np.broadcast_arrays(*(np.asarray(v, float) for v in (alpha_MK, phi_MK, beta_MK, psi_MK)))
    level_M = growth * z0[0].max(-1)
    level_n = np.broadcast_to(level_M[..., None], z0[0].shape).ravel()
    time_MK = first_passage(activation, z0, p, lambda z, pair: np.log(level_n[pair] / z[0]))
    return {"winner_M": time_MK.argmin(-1) + 1, "time_MK": time_MK, "level_M": level_M}


RULES_TEX = {
    "phase": r"\arg\min_k |D_k|",
    "magnitude": r"\arg\max_k \alpha_k",
    "drive": r"\arg\max_k \alpha_k^2\,\beta_k\cos D_k",
    "race": r"\text{first in the decoupled race}",
}


def predict_winner(
    rule: str, alpha_MK, phi_MK, beta_MK, psi_MK, p: int, activation: str = "quad", growth: float = FINISH
) -> np.ndarray:
    """The frequency that each neuron will keep, from its initial weights alone, 1-based [M].

    `rule` is one of RULES_TEX; only `race` looks at the activation and at `growth`, its finish line.
    arXiv:2602.16849, sec. 5 (phase), the others derived for this project.  Raises ValueError for another rule.
    """
    if rule not in RULES_TEX:
        raise ValueError(f"rule must be one of {', '.join(RULES_TEX)}, got {rule!r}")
    if rule == "race":
        return race(p, alpha_MK, phi_MK, beta_MK, psi_MK, activation, growth)["winner_M"]
    alpha, D = np.asarray(alpha_MK, float), wrap(2 * np.asarray(phi_MK, float) - psi_MK)
    score = {"phase": -np.abs(D), "magnitude": alpha, "drive": alpha**2 * beta_MK * np.cos(D)}
    return score[rule].argmax(-1) + 1
