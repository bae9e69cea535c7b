"""kill -9 at every single touch of the disk: what was there stays, and doing it again ends as if nothing had been."""

import json
import subprocess
import sys

import pytest
from conftest import finish
from serving import ROOT

from modadd.records.store import to_bytes
from modadd.runs import Run

RUN = Run(p=7, d_mlp=11, frac_train=0.7, epochs=20)
PATIENCE = 300
TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.link", "os.rmdir", "sqlite3.connect"}

# Does an operation in one child after the other, the n-th of which is killed at its n-th touch of the disk, until one
# lives; after each death `look` and then a whole operation must find everything well.  Prints how many died.
STRUCK = f"""
import json, os, shutil, signal, sys, traceback
from pathlib import Path
sys.path.insert(0, "tests")
from conftest import assert_same_training
from modadd.exchange import bundle
from modadd.figures.print import paper
from modadd.jobs.spool import Spool, Progress
from modadd.records.store import Store, from_bytes, to_bytes, write_atlas
from dataclasses import replace
folder, record = Path(sys.argv[1]), from_bytes(Path(sys.argv[2]).read_bytes())
other = replace(record, run=replace(record.run, seed=1))
run_id = record.run.id

def child(do, n=0):
    it = os.fork()
    if not it:
        touched = 0
        def hook(event, given):
            nonlocal touched
            if event in {TOUCHES!r} and str(given[0]).startswith(str(folder)):
                touched += 1
                if touched == n:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        try:
            do()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(it, 0)[1])

def strike(begin, do, look):
    for n in range(1, 200):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        assert child(begin) == 0
        end = child(do, n)
        assert end in (0, -9), end
        assert child(look) == 0, n
        assert child(do) == 0, n
        assert child(lambda: look(True)) == 0, n
        if end == 0:
            print(json.dumps(n - 1))
            return
"""

KEEP = """
def begin():
    store = Store(folder / "runs", None); store.put(other); store.close()
def do():
    store = Store(folder / "runs", None)
    if store.get(run_id) is None:
        WHAT
    store.close()
def look(whole=False):
    store = Store(folder / "runs", None)
    assert_same_training(store.get(other.run.id), other)
    there = store.get(run_id)
    assert there is not None or not whole
    if there is not None:
        assert_same_training(there, record)
    store.close()
strike(begin, do, look)
"""

OPERATIONS = {
    "an import": KEEP.replace("WHAT", "bundle.keep(record, store, 'run.zip')"),
    "a checkpoint": KEEP.replace("WHAT", "store.put(record)"),
    "a delete, and what brings it back": """
def begin():
    store = Store(folder / "runs", None); store.put(record); store.put(other); store.close()
def do():
    store = Store(folder / "runs", None)
    if store.get(run_id) is not None:
        store.delete(run_id)
    for name in store.bin.names()[:1]:
        store.restore(name)
    store.close()
def look(whole=False):
    store = Store(folder / "runs", None)
    assert_same_training(store.get(other.run.id), other)
    there = store.get(run_id)
    if there is None:
        there = from_bytes(store.bin.read(store.bin.names()[0]))
        assert not whole
    assert_same_training(there, record)
    store.close()
strike(begin, do, look)
""",
    "a bundle that is saved": """
file = folder / "run.zip"
def begin(): bundle.save(other, file, with_figures=False)
def do(): bundle.save(record, file, with_figures=False)
def look(whole=False):
    there = bundle.load(file)
    assert_same_training(there, record if whole or there.run == record.run else other)
strike(begin, do, look)
""",
    "an atlas that is written": """
def begin(): write_atlas(folder / "atlas", 7, [other])
def do(): write_atlas(folder / "atlas", 7, [other, record])
def look(whole=False):
    store = Store(folder / "runs", folder / "atlas")
    assert_same_training(store.shipped(other.run.id), other.without_state())
    there = store.shipped(run_id)
    assert there is not None or not whole
    if there is not None:
        assert_same_training(there, record.without_state())
    store.close()
strike(begin, do, look)
""",
    "a sweep that is sent to a cluster": """
def begin(): Spool(folder / "jobs").put(other)
def do():
    spool = Spool(folder / "jobs")
    spool.write(spool.record_file(run_id), to_bytes(record))
    spool.report(run_id, Progress(record.step))
def look(whole=False):
    spool = Spool(folder / "jobs")
    assert_same_training(spool.sibling(other.run), other)
    there = spool.sibling(record.run)
    assert there is not None or not whole
    if there is not None:
        assert_same_training(there, record)
    assert spool.progress(run_id).step in ((record.step,) if whole else (0, record.step))
strike(begin, do, look)
""",
    "figures that are drawn": """
from matplotlib.figure import Figure
def picture():
    figure = Figure(); figure.add_subplot().plot([1, 2]); return figure
made = {"a.json": lambda: {"x": [1, 2]}, "b.png": picture, "c.svg": picture}
def begin(): (folder / "out").mkdir()
def do():
    for name, make in made.items():
        paper.save(make(), folder / "out" / name)
def look(whole=False):
    there = {file.name: file.read_bytes() for file in (folder / "out").iterdir() if file.name in made}
    assert not whole or there.keys() == made.keys()
    ends = {"a.json": b"}", "b.png": b"\\xaeB`\\x82", "c.svg": b"</svg>"}
    assert all(content.rstrip().endswith(ends[name]) for name, content in there.items()), there
strike(begin, do, look)
""",
}


QUICK = ("an import", "a delete, and what brings it back", "a bundle that is saved")


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=[] if what in QUICK else pytest.mark.slow) for what in OPERATIONS]
)
def test_a_kill_at_any_touch_of_the_disk_loses_nothing(tmp_path, what, tried):
    (tmp_path / "record").write_bytes(to_bytes(finish(RUN)))
    told = subprocess.run(
        [sys.executable, "-c", STRUCK + OPERATIONS[what], tmp_path / "place", tmp_path / "record"],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-3000:]
    assert json.loads(told.stdout) > 0  # so many were killed
    tried(
        "kill -9 at every touch of the disk: an import, a checkpoint, a delete, a bundle, an atlas, figures, a sweep",
        json.loads(told.stdout),
        "what was there stays, and doing it again ends as if nothing had been",
    )
