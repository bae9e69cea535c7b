"""Modular addition as a laboratory: how a two-layer network discovers Fourier analysis.

The network reads two residues and answers with their sum modulo an odd p:

    f(x, y)[j] = sum_m xi[m, j] * act(theta[m, x] + theta[m, y])

Shapes are part of a name, keyed once, here:

    P  residues 0 .. p-1            M  hidden neurons
    N  unordered pairs {x, y}       K  frequencies 1 .. (p-1)/2
    S  frames (moments of training that were measured)

so `theta_MP[m, x]` is the input weight of neuron m at residue x and `xi_MP[m, j]` its output
weight for the answer j.  `step` is an integer, `t` is the time of the gradient flow (the sum of
the learning rates so far), and every phase lies in (-pi, pi].

A weight row is a sum of cosines `magnitude * cos(w_k j + phase)` with `w_k = 2 pi k / p`: in the
input layer (alpha, phi), in the output layer (beta, psi); their misalignment is
`D = wrap(2 phi - psi)`.

Source of the science: He, Wang, Chen, Yang, "On the Mechanism and Dynamics of Modular Addition:
Fourier Features, Lottery Ticket, and Grokking", arXiv:2602.16849.
"""

import os
from importlib import import_module

# Threads that wait in a busy loop for each other lose a factor of ten as soon as anybody else (a browser,
# another run) wants the core; sleeping costs a few per cent. Read when torch loads, so it is set before.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_HOMES = {
    "runs": ("Run", "PRESETS", "preset", "width"),
    "activations": ("register",),
    "training.loop": ("train", "train_many", "Update"),
    "records.record": ("Record",),
    "records.store": ("Store",),
    "jobs.lab": ("Lab", "carry_out"),
    "training.forks": ("fork",),
    "many.sweep": ("Grid",),
    "many.study": ("sweep",),
    "exchange.loading": ("load",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)
__version__ = "0.1.0"


def __getattr__(name):
    """Import a public name on first use, so that reading records never waits for torch."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'modadd' has no attribute {name!r}")
    value = getattr(import_module(f"modadd.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return [*globals(), *__all__]
