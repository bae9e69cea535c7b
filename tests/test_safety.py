"""Safe to show: how the server is bound, what a server for strangers refuses, that nothing stored is ever run."""

import ast
import base64
import contextlib
import logging
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import serving
from conftest import SMALL, assert_same_training
from serving import ROOT
from streamlit import config
from streamlit.testing.v1 import AppTest

from modadd import preset, ui
from modadd.jobs import hosting
from modadd.jobs import lab as lab_module
from modadd.jobs.lab import Lab
from modadd.records.store import Store, default_folder
from modadd.runs import Run
from modadd.training.loop import train
from modadd.ui.bin import CHOSEN
from pages import press

SOURCES = sorted(
    file for folder in ("modadd", "pages", "scripts") for file in (ROOT / folder).rglob("*.py")
) + [ROOT / "streamlit_app.py"]  # fmt: skip
TASKS_TRAVEL = {"cluster.py", "spool.py"}  # submitit pickles a task into a folder of its own
ERROR_DETAILS = "client.showErrorDetails"


@pytest.fixture
def host(monkeypatch):
    """Turns this process into a server for strangers, with these limits."""

    def become(**limits):
        monkeypatch.setenv("MODADD_HOSTED", "1")
        for name, value in limits.items():
            monkeypatch.setenv(f"MODADD_HOSTED_{name.upper()}", str(value))

    config.set_option(ERROR_DETAILS, "full")  # it belongs to the process, and other tests host pages too
    yield become
    config.set_option(ERROR_DETAILS, "full")


@pytest.fixture
def app(app, monkeypatch):
    """Opens a page without the atlas."""
    monkeypatch.setattr(ui.lab().store, "atlas", None)
    return app


def refusal(test: AppTest) -> str:
    assert not test.exception, [error.message for error in test.exception]
    return " ".join(element.value for element in test.error)


# -- the server ---------------------------------------------------------------------------------


def test_the_configuration_is_that_of_a_careful_server():
    told = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    server, client = told["server"], told["client"]
    assert server["address"] == "127.0.0.1"
    assert set(server["allowedHosts"]) == {"127.0.0.1", "localhost"}
    assert server["enableXsrfProtection"] is server["enableCORS"] is True
    assert server["enableStaticServing"] is server["enableAgentApi"] is False
    assert 0 < server["maxUploadSize"] <= 20
    assert told["browser"]["gatherUsageStats"] is False
    assert client["allowedOrigins"] == []
    assert client["showErrorLinks"] is False
    config.get_config_options()
    for section in ("global", "server", "browser", "client", "runner"):  # streamlit passes over what it does not know
        for name in told[section]:
            assert f"{section}.{name}" in config._config_options_template


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Of a server started as the README says, over an empty cache."""
    with serving.server(tmp_path_factory.mktemp("cache")) as lab:
        yield lab.port


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux")
def test_the_server_listens_on_this_machine_alone(port):
    listening = []
    for table in ("tcp", "tcp6"):
        rows = [line.split() for line in Path("/proc/net", table).read_text().splitlines()[1:]]
        listening += [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")]
    assert listening == [f"0100007F:{port:04X}"]


@pytest.mark.parametrize(
    ("host", "origin", "answer"),
    [
        ("127.0.0.1", "http://127.0.0.1", b"101"),
        ("localhost", "http://localhost", b"101"),
        ("127.0.0.1", "http://evil.example", b"403"),
        ("evil.example", "http://evil.example", b"403"),  # a name that somebody points at this machine
        ("evil.example", "http://127.0.0.1", b"403"),
    ],
)
def test_a_page_of_another_site_gets_no_connection(port, host, origin, answer, tried):
    request = (
        f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {origin}:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(request.encode())
        assert line.recv(300).split(b" ")[1] == answer
    tried("connections of other sites, and under other names of this machine", 1, "refused; its own pages connect")


# -- a server for strangers ---------------------------------------------------------------------


@pytest.mark.parametrize(("text", "meant"), [("", False), ("0", False), ("1", True), ("yes", True), ("no", True)])
def test_only_nothing_and_0_leave_the_house_open(monkeypatch, text, meant):
    monkeypatch.setenv("MODADD_HOSTED", text)
    assert hosting.hosted() is meant


@pytest.mark.parametrize("text", ["0", "-1", "many", "1e3", "٣", "9" * 50, "1.5"])
def test_a_limit_that_is_no_number_is_named_and_closes_the_house(host, app, text):
    host(p=text)
    with pytest.raises(ValueError, match=r"^MODADD_HOSTED_P must be a whole number from 1 to 1,000,000,000, got "):
        hosting.limits()
    test = app("pages/Live.py")
    assert "must be a whole number" in refusal(test)
    assert not test.title
    assert not test.button


LARGE = {
    "p": preset("standard", 63),
    "steps": Run(p=5, epochs=50_001),
    "d_mlp": Run(p=5, d_mlp=4097),
    "floating-point operations": preset("addpow", 61, epochs=50_000),
    "memory": replace(preset("add3", 61), batch=2**18, layers=8, epochs=1),
}


@pytest.mark.parametrize("what", LARGE)
def test_a_run_that_is_too_large_is_refused_with_its_limit(host, what):
    with pytest.raises(ValueError, match=rf"{what}.* and this server allows .*: choose less"):
        hosting.check(LARGE[what], hosting.Limits())
    hosting.admit(LARGE[what], [], None, Path("nowhere"))  # where nobody is hosted, everything goes
    host()
    with pytest.raises(ValueError, match="this server allows"):
        hosting.admit(LARGE[what], [], None, Path("nowhere"))


def test_every_preset_fits_a_server_at_the_modulus_in_view_first():
    for name in ("standard", "grokking", "quad_random", "quad_single_freq", "relu_single_freq", "addition"):
        hosting.check(preset(name, 23), hosting.Limits())


def test_a_variable_of_the_environment_moves_a_limit(host):
    host(p=199, steps=7, queue_all=3)
    assert hosting.limits() == hosting.Limits(p=199, steps=7, queue_all=3)


def waiting(owner, count):
    return [lab_module.Job(replace(SMALL, seed=seed), "cpu", asked=owner) for seed in range(count)]


def test_one_visitor_cannot_take_the_whole_queue(host, tmp_path):
    host(queue=2, queue_all=5)
    active = waiting("she", 2)
    with pytest.raises(ValueError, match="you have 2 runs waiting or training and this server allows 2"):
        hosting.admit(SMALL, active, "she", tmp_path)
    hosting.admit(SMALL, active, "he", tmp_path)
    with pytest.raises(ValueError, match="5 runs are waiting or training, as many as this server takes"):
        hosting.admit(SMALL, active + waiting("they", 3), "he", tmp_path)


def test_a_full_cache_takes_no_further_run(host, tmp_path):
    host(cache=1)
    (tmp_path / "ab.val").write_bytes(bytes(999_999))
    hosting.admit(SMALL, [], None, tmp_path)
    (tmp_path / "cd.val").write_bytes(b"x")
    with pytest.raises(ValueError, match="stored runs take 1 MB and this server allows 1: delete some"):
        hosting.admit(SMALL, [], None, tmp_path)


def test_a_refused_run_is_never_queued(store):
    def admit(run, active):
        if active or run.seed == 1:
            raise ValueError("no")
        return "she"

    lab = Lab(store, admit)
    try:
        with pytest.raises(ValueError, match=r"^no$"):
            lab.submit(replace(SMALL, seed=1), "cpu")
        assert not lab.jobs()
        job = lab.submit(SMALL, "cpu")
        assert job.owner == "she"
        assert job.done.wait(60)
    finally:
        lab.close()


def test_the_lab_does_not_grow_with_every_run_it_ever_trained(store, monkeypatch):
    monkeypatch.setattr(lab_module, "REMEMBERED", 1)
    lab = Lab(store)
    try:
        for seed in range(4):
            assert lab.submit(replace(SMALL, seed=seed, epochs=5), "cpu").done.wait(60)
        assert len(lab.jobs()) == 2
        assert len(store.cards()) == 4
    finally:
        lab.close()


@pytest.mark.parametrize(
    ("page", "button"),
    [("pages/Live.py", "Train"), ("pages/Weights.py", "Train this here"), ("pages/Tasks.py", "Train it"),
     ("pages/Seeds.py", "Train 5 runs")],
)  # fmt: skip
def test_a_page_says_in_a_sentence_what_the_server_refuses(host, app, page, button):
    host(p=5)
    test = app(page, p="7")
    press(test, next(one.label for one in test.button if one.label.startswith(button)))
    assert "the modulus p is 7 and this server allows 5: choose less" in re.sub(r"\\", "", refusal(test))
    assert not ui.lab().jobs()


@pytest.fixture
def training(monkeypatch):
    """Lets jobs begin, and holds them at their first update until the test is over."""
    go = threading.Event()

    def held(run, *given, **how):
        for update in train(run, *given, **how | {"every": 0}):
            yield update
            assert go.wait(60)

    monkeypatch.setattr(sys.modules["modadd.training.loop"], "train", held)
    yield
    go.set()


@pytest.mark.parametrize("strangers", [False, True])
def test_only_who_began_a_run_steers_it_among_strangers(host, app, training, monkeypatch, strangers, tried):
    if strangers:
        host()
    run = preset("standard", 7, epochs=100)
    monkeypatch.setattr(ui.lookup, "visitor", lambda: "she")
    job = ui.lab().submit(run, "cpu")
    assert job.owner == "she"
    seen = {}
    for who in ("she", "he"):
        monkeypatch.setattr(ui.progress, "visitor", lambda who=who: who)
        seen[who] = {button.label for button in app("pages/Live.py", run=run.id, p="7").button}
        assert ui.steers(run.id) == (who == "she" or not strangers)
    assert {"Pause", "Stop"} <= seen["she"]
    assert ({"Pause", "Stop"} & seen["he"] == set()) == strangers
    assert not strangers or not ui.steers("p007-custom-0123456789")  # whose it was nobody knows
    tried("visitors who would pause, stop or delete the run of another, on a server for strangers", 1,
          "are not offered to")  # fmt: skip


@pytest.fixture
def visit(host, app, monkeypatch):
    """visit(who, page, **query) opens a page of a server for strangers as this visitor."""
    host()

    def come(who, page, **query):
        for module in (ui.progress, ui.lookup):
            monkeypatch.setattr(module, "visitor", lambda: who)
        return app(page, p="7", **query)

    return come


def labels(test):
    return {button.label for button in test.button}


@pytest.mark.parametrize("state", ["finished", "paused", "failed"])
def test_a_run_stays_with_who_began_it_whoever_asks_for_it_again(visit, training, state, tried):
    run = preset("standard", 7, epochs=100)
    visit("she", "pages/Live.py")
    job = ui.lab().submit(run, "cpu")
    job.status, job.wish = state, "stopped"  # as if it had come to this
    visit("he", "pages/Live.py", run=run.id)
    again = ui.lab().submit(run, "cpu")  # the same settings, or Resume
    assert again is not job
    assert (again.owner, again.asked) == ("she", "he")
    assert not {"Pause", "Stop", f"Delete {run.id}"} & labels(visit("he", "pages/Live.py", run=run.id))
    assert {"Pause", "Stop"} <= labels(visit("she", "pages/Live.py", run=run.id))
    tried("visitors who ask again for the run of another, to own it", 1, "it stays with who began it")


def test_a_stored_run_that_nobody_here_began_is_nobodys(visit, record, tried):
    visit("he", "pages/Live.py")
    ui.lab().store.put(record)
    job = ui.lab().submit(record.run, "cpu")
    assert job.done.wait(60)
    assert job.owner is None
    test = visit("he", "pages/Runs.py", run=record.run.id)
    test.session_state[CHOSEN] = record.run.id
    assert not {"Train it again", f"Delete {record.run.id}"} & labels(test.run())
    tried("visitors who ask again for the run of another, to own it", 1, "it stays with who began it")


def test_only_who_paused_a_run_is_offered_to_resume_it(visit, record, tried):
    visit("she", "pages/Live.py")
    job = ui.lab().submit(SMALL, "cpu")
    assert job.done.wait(60)
    paused = replace(record, provenance=record.provenance | {"stop_reason": None, "steps": 100})
    ui.lab().store.put(paused)
    job.status, job.record = "paused", paused
    assert "Resume" in labels(visit("she", "pages/Live.py", run=SMALL.id))
    assert "Resume" not in labels(visit("he", "pages/Live.py", run=SMALL.id))
    tried("visitors who ask again for the run of another, to own it", 1, "it stays with who began it")


def test_what_a_visitor_deleted_is_in_the_bin_of_that_visitor_alone(visit):
    run = replace(SMALL, epochs=5)
    visit("she", "pages/Runs.py")
    assert ui.lab().submit(run, "cpu").done.wait(60)
    hers = visit("she", "pages/Runs.py")
    hers.session_state[CHOSEN] = run.id
    hers = press(hers.run(), f"Delete {run.id}")
    assert "Undo" in labels(hers)
    assert not {"Undo", "Put back", "Remove for good"} & labels(visit("he", "pages/Runs.py"))


def test_every_button_that_ends_or_deletes_a_run_asks_whose_it_is():
    for file in [*(ROOT / "pages").glob("*.py"), ROOT / "streamlit_app.py", ROOT / "modadd" / "ui" / "progress.py"]:
        text = file.read_text()
        if re.search(r"lab(\(\))?\.(stop|pause|delete)\(|store\.delete\(|ui\.delete\(|afresh=True", text):
            assert "steers(" in text, file.name


def test_the_home_page_lives_without_its_network(host, app):
    host(p=5)
    test = app("pages/Home.py")
    assert "the modulus p is 13" in refusal(test)
    assert test.title


def test_nothing_is_lost_where_training_it_again_is_refused(host, app, record):
    ui.lab().store.put(record)
    host(p=5)
    with pytest.raises(ValueError, match="modulus p is 7"):
        ui.lab().submit(record.run, afresh=True)
    assert_same_training(ui.lab().store.get(record.run.id), record)


def test_an_error_tells_strangers_nothing(host, app, monkeypatch):
    def fail():
        raise RuntimeError("the key is under the mat")

    lab = ui.lab()
    with monkeypatch.context() as broken:
        broken.setattr(ui, "lab", fail)
        (at_home,) = app("pages/Home.py").exception
        host()
        (shown,) = app("pages/Home.py").exception
    assert ui.lab() is lab
    assert "under the mat" in at_home.message
    assert at_home.stack_trace
    assert "under the mat" not in shown.message
    assert not shown.stack_trace


# -- nothing stored is run ----------------------------------------------------------------------


def calls(file):
    """(dotted name, call) of every call in a file."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def said(call, name):
    return next((ast.literal_eval(k.value) for k in call.keywords if k.arg == name), None)


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_here_can_run_what_it_reads(file):
    for node in ast.walk(ast.parse(file.read_text())):
        named = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
        named |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
        roots = {name.partition(".")[0] for name in named}
        assert not roots & {
            "pickle",
            "cPickle",
            "_pickle",
            "cloudpickle",
            "dill",
            "joblib",
            "shelve",
            "marshal",
            "yaml",
        }
        assert "submitit" not in roots or file.name in TASKS_TRAVEL
    for name, call in calls(file):
        last = name.rpartition(".")[2]
        if name in ("np.load", "numpy.load") or last == "read_array":
            assert said(call, "allow_pickle") is False, f"{file.name}: {name}"
        if name == "torch.load":
            assert said(call, "weights_only") is True, file.name
        assert name not in ("eval", "exec", "__import__", "os.system", "pd.read_pickle", "np.fromfile"), file.name
        assert said(call, "shell") is not True, file.name


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_page_writes_html(file):
    for name, call in calls(file):
        assert said(call, "unsafe_allow_html") is not True, file.name
        if name == "st.html":  # a line of style, made of the program's own names
            assert file.name in ("links.py", "navigation.py", "Home.py"), file.name
            assert re.match("f['\"]<style>", ast.unparse(call.args[0])), file.name
        assert name not in ("st.iframe", "st.components.v1.html", "st.components.v1.iframe"), file.name


PLANT = """
import contextlib, os, pickle, sqlite3, sys
from pathlib import Path
import numpy as np
from modadd.records.record import Record
from modadd.runs import Run
from modadd.records.store import Store, from_bytes, to_bytes
folder, trace = Path(sys.argv[1]), sys.argv[2]
loaded = []
class Bomb:
    def __reduce__(self):
        return os.mkdir, (trace,)
bomb = pickle.dumps(Bomb())
run = Run(p=5, d_mlp=4, epochs=3)
about = {"steps": 3, "stop_reason": "epochs", "seconds": 1.0, "steps_per_second": 3.0, "device": "cpu", "torch": "2",
         "finished": "2026-01-01"}
names = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "held_out_accuracy", "rare_accuracy", "norm")
record = Record(run, np.arange(4), {name: np.ones(4, np.float32) for name in names}, (), (), about)
planted = ["raw = 0, key = :bomb", "mode = 4, filename = NULL, value = :bomb", "mode = 4", "tag = :bomb",
           "mode = 1, filename = NULL, value = :bomb", "file"]
sys.addaudithook(lambda event, args: loaded.append(args) if event.startswith("pickle.") else None)
for number, where in enumerate(planted):
    store = Store(folder / str(number), folder / "atlas")
    store.put(record)
    if where == "file" or where == "mode = 4":
        for file in store.folder.rglob("*.val"):
            file.write_bytes(bomb)
    if where != "file":
        with contextlib.closing(sqlite3.connect(store.folder / "cache.db")) as index, index:
            index.execute(f"UPDATE Cache SET {where}", {"bomb": bomb} if ":bomb" in where else {})
    for ask in (store.get, store.mine, store.intact, store.where, store.version, store.shipped):
        with contextlib.suppress(ValueError):
            ask(run.id)
    for look in (store.cards, store.rebuild, lambda: store.sibling(run)):
        with contextlib.suppress(ValueError):
            look()
    store.close()
    with contextlib.suppress(ValueError):
        Store(folder / str(number), None).close()
    with contextlib.suppress(ValueError):
        store.put(record)
    store.delete(run.id)
for blob in (bomb, to_bytes(record)[:40] + bomb):
    with contextlib.suppress(ValueError):
        from_bytes(blob)
assert not loaded, loaded
assert not os.path.exists(trace)
pickle.loads(bomb)
assert loaded and os.path.exists(trace)  # the hook would have seen it
"""


def test_the_interpreter_itself_saw_no_pickle_whatever_was_planted(tmp_path, tried):
    (tmp_path / "atlas").mkdir()
    told = subprocess.run(
        [sys.executable, "-c", PLANT, str(tmp_path), str(tmp_path / "trace")], cwd=ROOT, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    tried("pickles planted in rows, keys, tags and files of the cache, under an audit hook of the interpreter", 8,
          "the interpreter unpickled nothing")  # fmt: skip


def test_an_index_that_points_outside_the_cache_touches_nothing_there(store, record, tmp_path):
    import sqlite3

    secret = tmp_path / "secret.val"
    secret.write_bytes(b"mine")
    store.put(record)
    with contextlib.closing(sqlite3.connect(store.folder / "cache.db")) as index, index:
        index.execute("UPDATE Cache SET filename = ?", (os.path.relpath(secret, store.folder),))
    with pytest.raises(ValueError, match="not one of its own"):
        store.get(record.run.id)
    store.delete(record.run.id)
    store.put(record)
    assert secret.read_bytes() == b"mine"


# -- what is kept, and what is told -------------------------------------------------------------


def test_records_are_for_their_owner_alone(tmp_path, record):
    before = os.umask(0)
    try:
        store = Store(tmp_path / "a" / "runs", None)
        store.put(record)
        with store.lock(record.run.id):
            folders = [store.folder, store.folder / "locks"]
            modes = {folder.name: stat.S_IMODE(folder.stat().st_mode) for folder in folders}
        store.close()
    finally:
        os.umask(before)
    assert modes == {"runs": 0o700, "locks": 0o700}


def test_the_environment_is_read_for_a_few_names_only():
    read = set()
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "os.environ":
                read.add(file.relative_to(ROOT).as_posix())
    for name in read:
        text = (ROOT / name).read_text()
        assert not re.search(r"os\.environ(?!\.get\(|\.setdefault\(|\.pop\(|\[| \|)", text), f"{name} hands it on"
        assert not re.search(r"(?i)environ[^\n]*(key|token|secret|passw|cookie)", text), name


def test_a_failed_run_logs_no_secret(store, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "a1b2c3d4e5")

    def fail(*_, **__):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(lab_module, "carry_out", fail)
    lab = Lab(store)
    with caplog.at_level(logging.DEBUG):
        job = lab.submit(SMALL, "cpu")
        assert job.done.wait(60)
    lab.close()
    assert "out of luck" in caplog.text
    assert "a1b2c3d4e5" not in caplog.text + job.error


def test_the_cache_is_where_it_was_told_to_be(monkeypatch, tmp_path):
    monkeypatch.setenv("MODADD_CACHE", str(tmp_path))
    assert default_folder() == tmp_path


# -- what is installed --------------------------------------------------------------------------


def pins(text):
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", text, re.MULTILINE))


def test_the_lock_holds_every_pin_with_its_hashes():
    lock = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", re.sub(r"^\s*#.*\n", "", lock, flags=re.MULTILINE).strip())
    for block in blocks:
        assert re.match(r"[a-z0-9-]+==\S+", block), block[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block[:80]
    locked = pins(lock)
    for name, version in pins((ROOT / "requirements.txt").read_text()).items():
        assert locked.get(name.lower()) == version, f"{name}: run `make lock`"


def test_the_lock_names_no_place_to_download_from():
    lock = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"https?:|file:|index-url|find-links|@ |/work|/opt", lock)
