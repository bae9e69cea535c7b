"""What the tests share: tolerances with names, a small run, a store, and the plain reading of the network."""

import json
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import settings

from modadd.activations import ACTIVATIONS
from modadd.networks.mlp.model import logits
from modadd.records.store import Store
from modadd.runs import Run
from modadd.training.loop import train

pytest_plugins = ["browser", "pages"]  # the fixtures of tests in a browser, and of pages without one

EXACT = 1e-12  # float64 against float64, relative to numbers of order one
FLOAT32 = 1e-5  # float32 against float64, relative
HALF = 2**-10  # kept as float16: half of it is rounding, half is room for a product
PHASE = 5e-5  # kept as a 16-bit fraction of pi: pi / 65534 rounded up, radians

# Sizes differ pairwise, so that a swapped axis fails; some pairs are left out, so that every group has members.
SMALL = Run(p=7, d_mlp=11, lr=1e-3, frac_train=0.7, epochs=300)
SMALL_SGD = Run(
    p=7, d_mlp=11, lr=0.1, frac_train=0.7, epochs=300, optimizer="sgd", activation="quad", init="single-freq"
)

settings.register_profile("quick", max_examples=40, deadline=None, derandomize=True, database=None)
settings.load_profile("quick")


def pytest_addoption(parser):
    parser.addoption("--faults", metavar="FILE", help="append a line of JSON to FILE for every fault that was tried")


def pytest_configure(config):
    config.addinivalue_line("markers", "fault: tries a fault or an attack that docs/faults.md tells of")


def pytest_collection_modifyitems(items):
    for item in items:
        if "tried" in item.fixturenames:
            item.add_marker("fault")


@pytest.fixture
def tried(request):
    """tried(fault, cases, result, lost=0): called at the end of a test, makes a line of docs/faults.md.

    `lost` counts the finished Records that cannot be had any more."""

    def tell(fault: str, cases: int, result: str, lost: int = 0):
        assert lost == 0
        if file := request.config.getoption("--faults"):
            with open(file, "a") as lines:
                told = {
                    "fault": fault,
                    "cases": cases,
                    "result": result,
                    "on": time.strftime("%Y-%m-%d", time.gmtime()),
                }
                lines.write(json.dumps(told) + "\n")

    return tell


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Bit-identity is promised at equal thread counts, and small networks gain nothing from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def last(updates):
    """The last update of a training, all others passed by."""
    update = None
    for update in updates:  # noqa: B007
        pass
    return update


def finish(run, resume=None, **how):
    """The final checkpoint of a run on the CPU."""
    return last(train(run, resume, device="cpu", **how)).checkpoint()


@pytest.fixture(scope="session")
def record(one_thread):
    """SMALL, trained to its end, with state.  Shared: nobody may write into its arrays."""
    return finish(SMALL)


@pytest.fixture
def store(tmp_path):
    """An empty store with an empty atlas beside it."""
    (tmp_path / "atlas").mkdir()
    store = Store(tmp_path / "runs", tmp_path / "atlas")
    yield store
    store.close()


@pytest.fixture
def run_script(capsys):
    """run_script(module, *flags) runs a script in this process: (exit status, the JSON object or None, stderr)."""
    import cli  # programs that the tests start import this file without the scripts

    def run(module, *flags) -> tuple[int, dict | None, str]:
        status = 0
        try:
            module.main(cli.flags(module.Flags, line=[*map(str, flags), "--json"]))
        except SystemExit as end:
            status = end.code
        told = capsys.readouterr()
        return status, json.loads(told.out) if told.out else None, told.err

    return run


@pytest.fixture(scope="session")
def shipped(tmp_path_factory):
    """The atlas as it comes, without anything of the user's."""
    store = Store(tmp_path_factory.mktemp("empty"))
    yield store
    store.close()


def weights(record):
    """(theta_MP, xi_MP) of a checkpoint, float32 as trained."""
    p, M = record.run.p, record.run.d_mlp
    w = record.state["w"]
    return w[: p * M].reshape(p, M).T, w[p * M :].reshape(M, p)


def every_pair(p):
    """All ordered pairs, as (x, y) of shape [P, P]."""
    return np.meshgrid(np.arange(p), np.arange(p), indexing="ij")


def plain_logits(theta_MP, xi_MP, activation):
    """Logits of all ordered pairs [P, P, P] by the definition, in float64."""
    theta, xi = (torch.tensor(np.asarray(w), dtype=torch.float64) for w in (theta_MP, xi_MP))
    x, y = (torch.tensor(a) for a in every_pair(theta.shape[1]))
    return logits(theta, xi, x, y, ACTIVATIONS[activation])


def plain_metrics(theta_MP, xi_MP, activation):
    """(loss, correct) of every ordered pair, [P, P] each, by the definition."""
    table = plain_logits(theta_MP, xi_MP, activation)
    p = table.shape[-1]
    x, y = (torch.tensor(a) for a in every_pair(p))
    answer = (x + y) % p
    loss = F.cross_entropy(table.reshape(-1, p), answer.ravel(), reduction="none").reshape(p, p)
    return loss.numpy(), (table.argmax(-1) == answer).numpy()


def assert_same_arrays(one, other):
    """Two mappings of arrays, equal in names, types and every bit that counts (NaN equals NaN)."""
    assert one.keys() == other.keys()
    for name in one:
        a, b = np.asarray(one[name]), np.asarray(other[name])
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)


def assert_same_training(one, other):
    """Two records that saw the same training: run, history, frames and state, not the clock."""
    assert one.run == other.run
    assert one.step == other.step
    assert one.provenance["stop_reason"] == other.provenance["stop_reason"]
    assert one.frame_steps == other.frame_steps
    np.testing.assert_array_equal(one.steps, other.steps)
    assert_same_arrays(one.history, other.history)
    for a, b in zip(one.frames, other.frames, strict=True):
        assert_same_arrays(a, b)
    assert (one.state is None) == (other.state is None)
    if one.state is not None:
        assert_same_arrays(one.state, other.state)
