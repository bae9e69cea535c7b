"""What the initial weights foretell of a run, and how it turned out: bets on the winners, and the flow.

Only what a record holds is judged: the table of its frames, up to schema.TABLE_NEURONS neurons.
"""

from functools import lru_cache

import numpy as np

from ..frames.schema import FIELDS, Frame
from ..maths import fourier, harmonics, theory
from ..records.record import Record
from ..runs import Init, Run

Z95 = 1.959963984540054  # half-width of the central 95 % of a normal variable
# Where a race ends, in units of the neuron's largest alpha at step 0.  Chosen, not derived: of 1.2, 1.5, 2, 3, 5, 10,
# 20 and 50 it serves ReLU and x^2 well together (p = 23, seeds 42, 0, 1, 2); at 10 ReLU scores 0.50 to 0.55, not 0.60
# to 0.63.  Seeds 3, 4, 5 were kept apart for the test.
FINISH = 1.5
CODED = {name: FIELDS["mlp"][name].coded.size for name in ("alpha", "beta", "phi", "psi")}
SAME = 1.1 * CODED["alpha"]  # a table, of a compact record too, agrees with the weights it was taken from, relative


def start(record: Record) -> dict[str, np.ndarray] | None:
    """alpha, phi, beta, psi of every frequency at step 0, each [M, K], for the neurons of the frames' table.

    The weights are drawn again from the run and must agree with the first frame; where they do not
    (an imported network), the spectra which that frame holds are used, of fewer neurons.  None if
    the record has no frame of step 0.
    """
    if not record.frames or record.frame_steps[0] != 0:
        return None
    frame = record.frames[0]
    held = len(frame.get("frequency", ()))
    drawn = _tables(*(fourier.dft(w) for w in _initial_weights(record.run, held)))
    if held and _same(drawn, frame):
        return drawn
    return _tables(frame["theta_hat"], frame["xi_hat"]) if "theta_hat" in frame else None


def _initial_weights(run: Run, neurons: int):
    return _drawn(run.p, run.d_mlp, run.init, run.init_scale, run.seed, neurons)


@lru_cache(maxsize=2)  # several presets begin with the same weights, and drawing them takes longest of all
def _drawn(p: int, d_mlp: int, init: Init, init_scale: float, seed: int, neurons: int):
    from ..networks.mlp.model import initial_weights  # torch, which reading a record does not need

    both = initial_weights(Run(p=p, d_mlp=d_mlp, init=init, init_scale=init_scale, seed=seed), neurons)
    for weights in both:
        weights.flags.writeable = False
    return both


def _tables(theta_hat_MP, xi_hat_MP) -> dict[str, np.ndarray]:
    (alpha, phi), (beta, psi) = fourier.cosines(theta_hat_MP), fourier.cosines(xi_hat_MP)
    return {"alpha": alpha, "phi": phi, "beta": beta, "psi": psi}


def _same(drawn: Frame, frame: Frame) -> bool:
    k = frame["frequency"].astype(int)[:, None] - 1
    pairs = ((np.take_along_axis(drawn[name], k, 1)[:, 0], frame[name]) for name in ("alpha", "beta"))
    return all(np.allclose(a, b, rtol=SAME, atol=1e-7) for a, b in pairs)


def bets(
    start: dict[str, np.ndarray], p: int, activation: str, finish: float = FINISH, rules=tuple(theory.RULES_TEX)
) -> dict[str, np.ndarray]:
    """The winner that each rule of `theory.RULES_TEX` foretells for each neuron, 1-based [M].

    `finish` is where the race ends, in units of the neuron's largest alpha at step 0.  An activation
    without a flow has no race, and nobody bets on it.
    """
    z = start["alpha"], start["phi"], start["beta"], start["psi"]
    able = [rule for rule in rules if rule != "race" or activation in theory.FLOWS]
    return {rule: theory.predict_winner(rule, *z, p, activation, finish) for rule in able}


def interval(hits, n) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval of a share of `hits` in `n`; Wilson, J. Am. Stat. Assoc. 22 (1927)."""
    share, n = np.asarray(hits) / n, np.asarray(n)
    middle = share + Z95**2 / (2 * n)
    half = Z95 * np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    low, high = ((middle + sign * half) / (1 + Z95**2 / n) for sign in (-1, 1))
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def score(bet_M: np.ndarray, winner_M: np.ndarray) -> dict[str, np.ndarray]:
    """hits, n, rate, low, high of a bet against the winners [..., M]; low and high bound 95 %."""
    winner_M = np.asarray(winner_M)[..., : len(bet_M)]
    hits, n = (winner_M == bet_M[: winner_M.shape[-1]]).sum(-1), winner_M.shape[-1]
    low, high = interval(hits, n)
    return {"hits": hits, "n": n, "rate": hits / n, "low": low, "high": high}


def confusion(bet_M: np.ndarray, winner_M: np.ndarray, K: int) -> np.ndarray:
    """Neurons by frequency foretold (rows) and frequency kept (columns), [K, K]."""
    count_KK = np.zeros((K, K), int)
    n = min(len(bet_M), len(winner_M))
    np.add.at(count_KK, (bet_M[:n] - 1, np.asarray(winner_M[:n], int) - 1), 1)
    return count_KK


def no_flow(run: Run) -> str | None:
    """Why the flow of single pairs says nothing about this run, in a clause; None if it does."""
    if run.activation not in theory.FLOWS:
        return f"no flow is known for the activation {run.activation}"
    if run.optimizer != "sgd":
        return f"the flow describes gradient descent, and this run uses {run.optimizer}"
    if run.init != "single-freq":
        return "its neurons start with all frequencies at once, which the flow of one pair leaves out"
    if run.frac_train < 1:
        return "some pairs are held back, which couples the frequencies"
    return None


NAMES = ("alpha", "phi", "beta", "psi")


def paths(record: Record) -> dict[str, np.ndarray]:
    """Every neuron of the table at every frame, and the flow from step 0 beside it.

    step_S, frequency_M (of the first frame), and for each of alpha, phi, beta, psi, D the array
    NAME_SM as trained.  Where `no_flow` has no objection and step 0 is held, also z0 [4, M] and
    NAME_flow_SM.  Phases are continuous over the frames, with D in (-pi, pi] at the first.
    """
    run, step_S = record.run, record.series("alpha")[0]
    seen = {name: record.series(name)[1].astype(float) for name in NAMES}
    result = {"step_S": step_S, "frequency_M": record.frames[0]["frequency"].astype(int)}
    ways = {"": [seen[name] for name in NAMES]}
    if not no_flow(run) and (first := start(record)) is not None:
        M = len(first["alpha"])
        result["frequency_M"] = result["frequency_M"][:M]
        k_M1 = result["frequency_M"][:, None] - 1
        result["z0"] = np.stack([np.take_along_axis(first[name], k_M1, 1)[:, 0] for name in NAMES])
        flow = theory.integrate(run.activation, result["z0"], theory.flow_time(run, step_S), run.p)
        ways = {"": [seen[name][:, :M] for name in NAMES], "_flow": [path.T for path in flow]}
    for way, (alpha, phi, beta, psi) in ways.items():
        phi, psi = np.unwrap(phi, axis=0), np.unwrap(psi, axis=0)
        psi = psi + (2 * phi[0] - psi[0] - fourier.wrap(2 * phi[0] - psi[0]))
        columns = {"alpha": alpha, "phi": phi, "beta": beta, "psi": psi, "D": 2 * phi - psi}
        result |= {f"{name}{way}_SM": column for name, column in columns.items()}
    return result


def rounding(record: Record) -> dict[str, float]:
    """How far alpha and beta (relative) and D (radians) of a frame's table may be from what was measured: by its
    coding in a compact record, else by float16 and by phases in units of pi / 32767."""
    phi, psi = (CODED[name] if record.coded else np.pi / 65534 for name in ("phi", "psi"))
    alpha, beta = (CODED[name] if record.coded else 2.0**-11 for name in ("alpha", "beta"))
    return {"alpha": alpha, "beta": beta, "D": 2 * phi + psi}


def flow_errors(path: dict[str, np.ndarray], upto: int | None = None) -> dict[str, np.ndarray]:
    """The worst error of each neuron up to a step: alpha and beta relative, D in radians, each [M]."""
    there = path["step_S"] <= (path["step_S"][-1] if upto is None else upto)
    errors = {}
    for name in ("alpha", "beta", "D"):
        seen, flow = path[f"{name}_SM"][there], path[f"{name}_flow_SM"][there]
        errors[name] = np.abs(fourier.wrap(seen - flow) if name == "D" else seen / flow - 1).max(0)
    return errors


def aligned(path: dict[str, np.ndarray], tolerance: float) -> np.ndarray:
    """Share of the neurons with |D| below the tolerance (radians) at each frame, [S]."""
    return np.mean(np.abs(fourier.wrap(path["D_SM"])) < tolerance, axis=1)


def basin(run: Run, path: dict[str, np.ndarray], size: tuple[int, int] = (28, 48)) -> dict[str, np.ndarray]:
    """Steps that the flow needs to |D| = 0.1 from every place (beta, D) that the run's neurons could be at: beta_A,
    D_B and steps_AB, never below the least that is above 0.

    All neurons begin with equal magnitudes, so the invariant alpha^2 - n beta^2 (n = 2 for x^2, 1 for
    ReLU) is the same for all and gives alpha from beta: two variables are left.
    """
    order = 2 if run.activation == "quad" else 1
    kept = float(np.median(path["z0"][0] ** 2 - order * path["z0"][2] ** 2))
    top = 1.05 * float(max(path["beta_SM"].max(), path["beta_flow_SM"].max()))
    low = np.sqrt(max(0.0, -kept) / order)
    low = max(0.97 * min(low or np.inf, float(path["beta_SM"].min())), 0.0)
    beta_A = low + (np.arange(size[0]) + 0.5) * (top - low) / size[0]
    D_B = ((np.arange(size[1]) + 0.5) * 2 / size[1] - 1) * np.pi
    beta, D = np.meshgrid(beta_A, D_B, indexing="ij")
    alpha = np.sqrt(np.maximum(kept + order * beta**2, theory.TINY))
    steps = theory.alignment_steps(run, np.stack([alpha, D / 2, beta, 0 * D]))
    return {"beta_A": beta_A, "D_B": D_B, "steps_AB": np.maximum(steps, steps[steps > 0].min(initial=np.inf))}


def leaks(frame: Frame, run: Run) -> dict[tuple[str, int], float]:
    """Mean magnitude at the harmonics of each neuron's frequency k over that at k, over all neurons: (layer, r) ->
    value; without those that a frame does not hold.

    Frames from before `same_frequency` counted harmonics that fold back on k: where 3 divides p, 5k in the input
    layer and 2k in the output layer of the neurons at k = p / 3, with 1 each.  They are taken out here.
    """
    result = {}
    for layer, orders in harmonics.HARMONICS.items():
        for r in orders:
            name = f"leak_{layer.removesuffix('put')}_{r}"
            if name not in frame:
                continue
            value, p = float(frame[name]), run.p
            if "same_frequency" not in frame and p % 3 == 0 and r in (2, 5):
                k = np.arange(1, run.K + 1)
                counted = int(frame["counts_K"][r * k % p > 0].sum())
                folded = int(frame["counts_K"][p // 3 - 1])
                value = (value * counted - folded) / (counted - folded) if counted > folded else np.nan
            result[layer, r] = value
    return result


def leakage(record: Record) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]:
    """`leaks` by frame: (layer, r) -> (steps [S], values [S]), over the frames that hold them."""
    seen = [(at, leaks(frame, record.run)) for at, frame in zip(record.frame_steps, record.frames, strict=True)]
    seen = [(at, told) for at, told in seen if told]
    return {
        place: (np.array([at for at, _ in seen]), np.array([told[place] for _, told in seen]))
        for place in (seen[0][1] if seen else ())
    }  # fmt: skip


def settled(alpha_SK: np.ndarray) -> int:
    """The first frame from which on the final leader leads."""
    leader_S = alpha_SK.argmax(-1)
    other = np.flatnonzero(leader_S != leader_S[-1])
    return int(other[-1]) + 1 if len(other) else 0


def decided(record: Record, step: int) -> float:
    """Share of the neurons whose largest frequency at this step is the one that they keep."""
    step_S, winner_SM = record.series("frequency")
    now = max(int(np.searchsorted(step_S, step, side="right")) - 1, 0)
    return float(np.mean(winner_SM[now] == winner_SM[-1]))


def leader_race(record: Record, neuron: int) -> dict[str, np.ndarray] | None:
    """What the tables of the frames know of a race: only the frequency in the lead, step by step; None beyond them."""
    held = [(at, f) for at, f in zip(record.frame_steps, record.frames, strict=True) if neuron < len(f["frequency"])]
    if not held:
        return None
    race = {name: np.full((len(held), record.run.K), -np.inf) for name in ("alpha_SK", "beta_SK", "D_SK")}
    for row, (_, frame) in enumerate(held):
        k = frame["frequency"][neuron] - 1
        race["alpha_SK"][row, k], race["beta_SK"][row, k] = frame["alpha"][neuron], frame["beta"][neuron]
        race["D_SK"][row, k] = fourier.wrap(2 * frame["phi"][neuron] - frame["psi"][neuron])
    return race | {"step_S": np.array([at for at, _ in held])}


WHOLE, MOMENTS, LEADER = "whole", "moments", "leader"


def race(record: Record, neuron: int) -> tuple[dict[str, np.ndarray], str] | None:
    """The race inside a neuron and how much of it the record saw: all K frequencies at many frames (WHOLE) or at
    fewer than 8 (MOMENTS), or only the frequency in the lead (LEADER); None if it knows nothing of this neuron."""
    spectra = record.at(holding="theta_hat")
    if neuron < len(spectra.frame["theta_hat"] if spectra else ()) or len(record.series("theta")[0]) > 1:
        seen = record.race(neuron)
        return (seen, WHOLE if len(seen["step_S"]) >= 8 else MOMENTS) if seen else None
    seen = leader_race(record, neuron)
    return (seen, LEADER) if seen else None


def followed(record: Record) -> int:
    """How many of the first neurons `race` knows something of."""
    if len(record.series("theta")[0]) > 1:
        return record.run.d_mlp
    return max((len(frame["frequency"]) for frame in record.frames), default=0)


def upset(record: Record) -> int:
    """The first neuron with a known spectrum whose largest frequency at first is not the one it keeps; else 0."""
    held = len(record.frames[0].get("theta_hat", ()))
    first_M, last_M = (record.frames[i]["frequency"][:held] for i in (0, -1))
    return int(np.argmax(first_M != last_M)) if held else 0
