"""Every page at small, composite, middling and large p, with the atlas alone: it opens, and it answers at once.

And over each state a run can be in: training, missing, imported.
"""

import os
import time
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from conftest import SMALL, weights
from serving import ROOT
from streamlit.testing.v1 import AppTest

from modadd import ui
from modadd.exchange import importing, reading
from modadd.exchange.files import File
from modadd.jobs.lab import Job
from pages import errors, forget, said

SERVER_SECONDS = 2.0  # of processor time that a page may take to answer, its libraries loaded
LIBRARIES_SECONDS = 6.0  # no page takes longer only because torch and scipy load
QUICK = (15, 101)
SLOW = (3, 5, 175)
MODULI = [*QUICK, *(pytest.param(p, marks=pytest.mark.slow) for p in SLOW)]


def timed(app, page: str, p: int) -> tuple[AppTest, float]:
    """The page, and the processor time that it took."""
    clock = time.process_time()
    test = app(page, p=str(p))
    return test, time.process_time() - clock


@pytest.mark.parametrize("p", MODULI)
@pytest.mark.parametrize("page", ui.PAGES)
def test_every_page_opens_at_once_at_every_size_of_p(app, page, p):
    test, seconds = timed(app, page, p)
    if SERVER_SECONDS < seconds < LIBRARIES_SECONDS:  # they load once: the second visitor does not wait for them
        forget()
        test, seconds = timed(app, page, p)
    assert not test.exception, [error.message for error in test.exception]
    assert not errors(test)
    assert test.title
    assert seconds < SERVER_SECONDS, f"{page} at p = {p} took {seconds:.1f} s"


def test_every_page_is_listed_and_there():
    files = {f"pages/{name}" for name in os.listdir(ROOT / "pages") if name.endswith(".py")}
    assert files == set(ui.PAGES)


WITH_A_RUN = [
    f"pages/{name}.py" for name in ("Live", "Overview", "Weights", "Phases", "Logits", "Surgery", "Lottery",
                                    "Gradient_flow", "Claims", "Grokking", "Surfaces", "Forks")
]  # fmt: skip


def training(record) -> str:
    """SMALL as it is in mid-training."""
    run = replace(SMALL, epochs=10**6)
    job = Job(run, "cpu", "running", replace(record, run=run, provenance=record.provenance | {"stop_reason": None}))
    ui.lab()._jobs[run.id] = job
    return run.id


def missing(record) -> str:
    """Nothing at all."""
    ui.lab().store.atlas = None
    return ""


def imported(record) -> str:
    """The weights of SMALL alone, from a file that says no step."""
    tensors = {name: np.ascontiguousarray(w) for name, w in zip(("theta", "xi"), weights(record), strict=True)}
    found = reading.find([File("net.safetensors", lambda: safetensors.numpy.save(tensors))])
    ui.lab().store.put(brought := importing.record(found, "net.safetensors"))
    return brought.run.id


@pytest.mark.parametrize("state", [training, missing, imported])
def test_every_page_opens_whatever_state_its_run_is_in(app, record, state):
    run_id = state(record)
    for page in ui.PAGES if state is missing else WITH_A_RUN:
        test = app(page, p=str(SMALL.p), **({"run": run_id} if run_id else {}))
        assert not test.exception, (page, [error.message for error in test.exception])
        assert not errors(test), (page, errors(test))
        assert test.title, page
        if state is imported:
            assert not any(claim in said(test) for claim in ("after 0 steps", "learning rate × steps")), page
