"""What machines do: power cuts, kills, full and lost disks, jumping clocks, failing devices. No finished Record is
lost, the damage is named in a sentence, the rest works; docs/faults.md tells of each."""

import ast
import contextlib
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import SMALL, assert_same_training, finish

import modadd.jobs.lab
from modadd.jobs.lab import Lab
from modadd.records import index
from modadd.records.store import Damaged, Store, to_bytes
from modadd.training import engine
from modadd.training.loop import train

ROOT = Path(__file__).resolve().parents[1]  # others run this file too, where no script can be imported
PATIENCE = 120  # seconds; what is waited for takes less than one on a quiet machine
BRIEF = replace(SMALL, epochs=30)
OTHER = replace(BRIEF, seed=9)
PLACE = "ab/cd/" + 28 * "e" + ".val"


def lost(store: Store, records) -> int:
    """How many of these records the store does not give back as they were."""
    gone = 0
    for record in records:
        try:
            assert_same_training(store.get(record.run.id), record)
        except (AssertionError, AttributeError, Damaged):
            gone += 1
    return gone


def trained(lab: Lab, run, **how):
    """The job of a run, over."""
    job = lab.submit(run, "cpu", **how)
    assert job.done.wait(PATIENCE)
    return job


@pytest.fixture(scope="module")
def kept(one_thread):
    """Finished records that must not be lost."""
    return [finish(replace(BRIEF, seed=seed)) for seed in range(3)]


@pytest.fixture
def lab(store, kept):
    """A lab over a store that holds these records."""
    for record in kept:
        store.put(record)
    lab = Lab(store)
    yield lab
    lab.close()


# -- power cuts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["no row", "a row that names a lost file", "a row of an earlier checkpoint"])
def test_a_file_without_a_row_is_found_again(store, kept, record, before, tried):
    for one in kept:
        store.put(one)
    if before != "no row":
        store.put(replace(record, provenance=record.provenance | {"steps": 20, "stop_reason": None}))
    if before == "a row that names a lost file":
        store._file(record.run.id).unlink()
    file = store.folder / PLACE
    file.parent.mkdir(parents=True)
    file.write_bytes(to_bytes(record))
    store.close()
    again = Store(store.folder, None)
    missing = lost(again, [*kept, record])
    assert not again._index.strays()
    again.close()
    tried("power cut: the file is on disk, its row in the index is not", 1, "found and entered at the next start",
          missing)  # fmt: skip


@pytest.mark.parametrize("left", [None, 0, 100, -1])
def test_a_row_without_its_file_hides_nobody(store, kept, record, left, tried):
    for one in [*kept, record]:
        store.put(one)
    file = store._file(record.run.id)
    content = file.read_bytes()
    file.unlink() if left is None else file.write_bytes(content[:left])
    store.close()
    again = Store(store.folder, None)
    refused = pytest.raises(Damaged, match=f"^the stored run {record.run.id} cannot be read: .*; delete it or train")
    with contextlib.nullcontext() if left is None else refused:
        assert again.get(record.run.id) is None
    missing = lost(again, kept)
    again.put(record)
    missing += lost(again, [record])
    again.close()
    tried("power cut: the row is in the index, its file is lost or cut off", 1,
          "named, all others read; training it again mends it", missing)  # fmt: skip


def test_a_file_is_on_the_disk_before_its_row(store, record, monkeypatch):
    order = []
    sync, insert = index.os.fsync, store._cache._row_insert
    monkeypatch.setattr(index.os, "fsync", lambda file: (order.append("file"), sync(file)))
    monkeypatch.setattr(store._cache, "_row_insert", lambda *row: (order.append("row"), insert(*row)))
    store.put(record)
    assert order == ["file", "row"]


# -- kills --------------------------------------------------------------------------------------

APP = """
import sys
import modadd.jobs.lab
from modadd import Lab, Run, Store
modadd.jobs.lab.CHECKPOINT_SECONDS = 0
if __name__ == "__main__":
    store = Store(sys.argv[1], None)
    lab = Lab(store)
    print("here", flush=True)
    for seed in range(3):
        assert lab.submit(Run(p=7, d_mlp=11, lr=1e-3, frac_train=0.7, epochs=1200, seed=seed), "cpu").done.wait(300)
    lab.close()
"""


def strike(tmp_path, kills: int) -> int:
    """Kill a process with a lab that checkpoints at every update, at random moments; how many finished records differ
    from those of an undisturbed training, or were there once and are not any more."""
    script, folder, chance, once = tmp_path / "app.py", tmp_path / "runs", random.Random(kills), set()
    script.write_text(APP)
    missing = 0
    for kill in range(kills + 1):
        process = subprocess.Popen([sys.executable, script, folder], cwd=ROOT, stdout=subprocess.PIPE)
        process.stdout.readline()  # its lab is there
        if kill < kills:
            time.sleep(chance.uniform(0, 1.5))
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
        store = Store(folder, None)
        there = {run_id for run_id, card in store.cards().items() if card["provenance"]["stop_reason"]}
        missing += len(once - there)
        once |= there
        store.close()
    assert process.returncode == 0
    assert len(once) == 3
    store = Store(folder, None)
    missing += lost(store, [finish(replace(SMALL, epochs=1200, seed=seed)) for seed in range(3)])
    store.close()
    return missing


def test_a_lab_that_is_killed_while_it_writes_ends_as_if_it_had_not_been(tmp_path, tried):
    tried("kill -9 of the app while it trains and writes", 2, "goes on from the last checkpoint, bit for bit",
          strike(tmp_path, 2))  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_and_so_it_is_after_forty_kills(tmp_path, tried):
    tried("kill -9 of the app while it trains and writes", 40, "goes on from the last checkpoint, bit for bit",
          strike(tmp_path, 40))  # fmt: skip


# -- folders ------------------------------------------------------------------------------------

FOLDERS = """
import subprocess, sys
from pathlib import Path
sys.path.insert(0, "tests")
import torch
from conftest import assert_same_training, finish
torch.set_num_threads(1)  # as in the lab, for such small runs
from modadd.records.store import Unkept
from test_faults import BRIEF, OTHER, Lab, Store, kept_there, lost, trained
what, folder = sys.argv[1], Path(sys.argv[2])
kept = kept_there(folder)
"""
FULL = """
store = Store(folder, None)
filler = folder / "filler"
with filler.open("wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        pass
one = finish(OTHER)
try:
    store.put(one)
    raise SystemExit("it was not full")
except Unkept as error:
    said = str(error)
assert said.startswith(f"{OTHER.id} could not be kept in {folder} (No space left on device): make room"), said
assert not store._index.strays()
missing = lost(store, kept)
lab = Lab(store)
job = trained(lab, OTHER)
assert (job.status, job.error) == ("failed", said), (job.status, job.error)
assert job.record.finished and job.record.state
again = Store(folder, None)  # a program that starts on a full disk
missing += lost(again, kept)
again.close()
filler.unlink()
job = lab.resume(OTHER.id)
assert job.done.wait(120) and job.status == "finished", job.error
missing += lost(store, [*kept, one])
lab.close()
print(missing)
"""
READ_ONLY = """
subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
store = Store(folder, None)
assert store.fault.startswith(f"the folder of runs, {folder}, cannot be written ("), store.fault
missing = lost(store, kept)
assert len(store.cards()) == len(kept)
lab = Lab(store)
assert trained(lab, OTHER).status == "finished"
missing += lost(store, [*kept, finish(OTHER)])
lab.close()
store.close()
print(missing)
"""


def kept_there(folder: Path):
    """Three finished records in a store in this folder."""
    records, store = [finish(replace(BRIEF, seed=10 + seed)) for seed in range(3)], Store(folder, None)
    for record in records:
        store.put(record)
    store.close()
    return records


def on_a_small_disk(folder: Path, script: str) -> int:
    """Run a script over a disk of 1 MB of its own, mounted for it alone; what it prints last."""
    folder.mkdir()
    apart = ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "mount", "-t", "tmpfs", "x", folder],
                                                        capture_output=True).returncode:  # fmt: skip
        pytest.skip("no disk can be mounted here")
    line = 'mount -t tmpfs -o size=1m tmpfs "$2" && exec "$0" -c "$3" "$1" "$2"'
    told = subprocess.run(
        [*apart, "sh", "-c", line, sys.executable, "-", folder, FOLDERS + script],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-3000:]
    return int(told.stdout.split()[-1])


def test_a_full_disk_keeps_what_it_has_and_takes_the_rest_once_there_is_room(tmp_path, tried):
    missing = on_a_small_disk(tmp_path / "disk", FULL)
    tried("a full disk, while writing, while training, at the start", 3,
          "named; the new record waits in memory, and one press keeps it once there is room", missing)  # fmt: skip


def test_a_folder_that_cannot_be_written_is_read_all_the_same(tmp_path, tried):
    missing = on_a_small_disk(tmp_path / "disk", READ_ONLY)
    tried("a cache folder that is read-only", 1, "named on every page; its records are read, new ones live as long as "
          "the program", missing)  # fmt: skip


def test_a_folder_that_is_missing_is_made(tmp_path, kept, tried):
    store = Store(tmp_path / "not" / "yet" / "there", None)
    for record in kept:
        store.put(record)
    missing = lost(store, kept)
    store.close()
    tried("a cache folder that is missing", 1, "made, for its owner alone", missing)


def test_a_folder_that_is_deleted_under_a_running_lab_is_made_anew(lab, store, kept, monkeypatch, tried):
    there, go = threading.Event(), threading.Event()

    def held(*what, **how):
        for update in train(*what, **how | {"every": 0}):
            there.set()
            assert go.wait(PATIENCE)
            yield update

    monkeypatch.setattr(sys.modules["modadd.training.loop"], "train", held)
    job = lab.submit(OTHER, "cpu")
    assert there.wait(PATIENCE)
    shutil.rmtree(store.folder)
    go.set()
    assert job.done.wait(PATIENCE)
    assert (job.status, job.error) == ("finished", None)
    another = Store(store.folder, None)
    missing = lost(another, [finish(OTHER)])
    for record in kept:
        assert store.get(record.run.id) is None
        store.put(record)
    missing += lost(another, kept)
    another.close()
    tried("the cache folder is deleted while a run trains", 1, "made anew; the run ends and is kept", missing)


def test_an_index_that_breaks_under_a_running_lab_is_rebuilt(lab, store, kept, tried):
    for damage in range(2):
        store._cache._sql("PRAGMA wal_checkpoint(TRUNCATE)")
        file = store.folder / "cache.db"
        content = bytearray(file.read_bytes())
        content[4096 * damage : 4096 * damage + 9000] = b"\xff" * 9000
        file.write_bytes(content)
        store._cache.close()  # nobody remembers the pages that were sound
        missing = lost(store, kept)
        assert missing == 0
        assert (store.folder / "damaged-cache.db").exists()
    tried("the index is overwritten while the lab is open", 2, "set aside and rebuilt from the files", missing)


def test_a_slow_disk_holds_nobody_up(lab, store, kept, monkeypatch, tried):
    write, go, waits = index.BytesOnly._write, threading.Event(), threading.Event()

    def slow(self, *what):
        waits.set()
        assert go.wait(PATIENCE)
        return write(self, *what)

    monkeypatch.setattr(index.BytesOnly, "_write", slow)
    job = lab.submit(OTHER, "cpu")
    assert waits.wait(PATIENCE)
    missing = lost(store, kept)  # while the disk is at it
    assert len(store.cards()) == len(kept)
    assert lab.job(OTHER.id).record.step == OTHER.epochs
    go.set()
    assert job.done.wait(PATIENCE)
    missing += lost(store, [*kept, finish(OTHER)])
    tried("a disk that takes its time", 1, "everything else is read meanwhile", missing)


def test_a_clock_that_jumps_confuses_nobody(lab, store, kept, monkeypatch, tried):
    chance, real = random.Random(5), time.time
    monkeypatch.setattr(time, "time", lambda: real() + chance.uniform(-1e9, 1e9))
    monkeypatch.setattr(modadd.jobs.lab, "CHECKPOINT_SECONDS", 0)
    versions = set()
    for _ in range(5):
        lab.store.delete(OTHER.id)
        lab.forget(OTHER.id)
        assert trained(lab, OTHER).status == "finished"
        versions.add(store.version(OTHER.id))
    assert len(versions) == 5
    tried("a clock that jumps by years, back and forth", 5, "order and checkpoints do not depend on it",
          lost(store, [*kept, finish(OTHER)]))  # fmt: skip


# -- training -----------------------------------------------------------------------------------

FAILURES = {
    "CUDA out of memory": (
        lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has ..."),
        "cpu has too little free memory for this run: free some of it, or train on the cpu",
    ),
    "a GPU that disappears": (
        lambda: RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might ..."),
        "cpu failed (CUDA error: device-side assert triggered): start the program again to use it, or train on the cpu",
    ),
    "a worker thread that raises": (
        lambda: ZeroDivisionError("division by zero\nand more"), "ZeroDivisionError: division by zero"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FAILURES)
def test_a_failing_step_is_told_and_the_lab_goes_on(lab, store, kept, what, monkeypatch, tried):
    error, told = FAILURES[what]
    monkeypatch.setattr(modadd.jobs.lab, "CHECKPOINT_SECONDS", 0)
    run = replace(SMALL, epochs=400, seed=5)
    kind = engine.CompiledEngine if engine.compiled.covers(run) else engine.Engine
    advance = kind.advance

    def fail(self, n):
        if self.step > 200:
            raise error()
        advance(self, n)

    eager = lambda *given, **how: train(*given, **how | {"every": 0})  # noqa: E731
    with monkeypatch.context() as broken:
        broken.setattr(sys.modules["modadd.training.loop"], "train", eager)
        broken.setattr(kind, "advance", fail)
        job = trained(lab, run)
        assert (job.status, job.error) == ("failed", told)
        assert 0 < job.record.step <= 300
        assert trained(lab, OTHER).status == "finished"  # the lab goes on
    assert lab.resume(run.id).done.wait(PATIENCE)
    missing = lost(store, [*kept, finish(run), finish(OTHER)])
    tried("a step that fails: CUDA out of memory, a GPU that disappears, any error in the worker", 1,
          "the job says so; the next one runs, and the failed one goes on where it was", missing)  # fmt: skip


def test_a_diverging_run_ends_with_its_last_good_frame(lab, store, kept, tried):
    wild = replace(SMALL, lr=10.0, optimizer="sgd", activation="quad", init_scale=1.0)
    job = trained(lab, wild)
    assert (job.status, job.error) == ("finished", None)
    record = store.get(wild.id)
    assert record.provenance["stop_reason"] == "diverged"
    assert record.frames
    assert all(abs(frame["theta_hat"]).max() < 1e30 for frame in record.frames)
    tried("a training that diverges to NaN", 1, "stopped, marked diverged, its last good frame kept",
          lost(store, kept))  # fmt: skip


# -- many at once -------------------------------------------------------------------------------

CLERK = """
import random, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, "tests")
from conftest import SMALL
from modadd.records.store import Store, from_bytes
number, folder, operations = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
store, chance = Store(folder / "runs", None), random.Random(number)
record = from_bytes((folder / "record").read_bytes())
done = {}
for turn in range(operations):
    mine = replace(record.run, seed=1000 * number + chance.randrange(20))
    shared = replace(record.run, seed=500 + chance.randrange(5))
    what = chance.choice(["put", "put", "share", "get", "cards", "delete", "version", "sibling", "lock"])
    if what == "put":
        done[mine.id] = turn
        store.put(replace(record, run=mine, provenance=record.provenance | {"seconds": float(turn)}))
        assert store.get(mine.id).provenance["seconds"] == turn
    elif what == "share":
        store.put(replace(record, run=shared))
    elif what == "get":
        seen = store.get(mine.id)
        assert (seen and seen.provenance["seconds"]) == done.get(mine.id)
    elif what == "cards":
        assert done.keys() <= store.cards().keys()
    elif what == "delete":
        assert bool(store.delete(mine.id)) == (done.pop(mine.id, None) is not None)
    elif what == "version":
        assert bool(store.version(mine.id)) == (mine.id in done)
    elif what == "sibling":
        store.sibling(shared)
    else:
        with store.lock(mine.id):
            pass
import json
print(json.dumps(done))
"""


def crowd(tmp_path, operations: int, whole: bool) -> int:
    """A lab, perhaps a precompute and a sweep too, on one cache, and clerks that put, read and delete beside them; how
    many records or updates were lost."""
    (tmp_path / "record").write_bytes(to_bytes(finish(BRIEF)))
    runs = tmp_path / "runs"
    scripts = [
        ["scripts/precompute.py", "--p", "5", "7", "--epochs", "300", "--devices", "cpu", "--workers", "1",
         "--cache", runs, "--json"],
        ["scripts/sweep.py", "--p", "7", "--preset", "standard", "--weight-decay", "0", "1", "--seeds", "1", "2",
         "--epochs", "300", "--cache", runs, "--out", tmp_path / "sweep", "--json"],
    ]  # fmt: skip
    (tmp_path / "app.py").write_text(APP)
    clerks = [["-c", CLERK, number, tmp_path, operations // 3] for number in (1, 2, 3)]
    crew = [
        subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True)
        for command in (*clerks, [tmp_path / "app.py", runs], *(scripts if whole else ()))
    ]  # fmt: skip
    missing, store = 0, Store(runs, None)
    said = [process.communicate(timeout=1500) for process in crew]
    for process, (_, err) in zip(crew, said, strict=True):
        assert process.returncode == 0, err[-3000:]
        assert "locked" not in err
    for out, _ in said[: len(clerks)]:
        for run_id, turn in json.loads(out).items():
            seen = store.get(run_id)
            missing += seen is None or seen.provenance["seconds"] != turn
    finished = [card for card in store.cards().values() if card["provenance"]["steps"] in (300, 1200)]
    assert len(finished) == whole * (8 + 4) + 3
    missing += sum(card["provenance"]["stop_reason"] != "epochs" for card in finished)
    missing += lost(store, [finish(replace(SMALL, epochs=1200, seed=seed)) for seed in range(3)])
    assert not store._index.strays()
    store.close()
    return missing


def test_programs_that_share_a_cache_lose_nothing(tmp_path, tried):
    tried("an app, a precompute, a sweep and three more programs on one cache: operations", 300,
          "no update lost, no locked database", crowd(tmp_path, 300, whole=False))  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_and_so_it_is_in_ten_thousand_operations(tmp_path, tried):
    tried("an app, a precompute, a sweep and three more programs on one cache: operations", 10_000,
          "no update lost, no locked database", crowd(tmp_path, 10_002, whole=True))  # fmt: skip


# -- the table ----------------------------------------------------------------------------------


def faults() -> list[str]:
    """The faults that tests of this suite try, in the order of their files and lines."""
    found = []
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "tried":
                found.append((file.name, node.lineno, ast.literal_eval(node.args[0])))
    return list(dict.fromkeys(fault for *_, fault in sorted(found)))


def test_the_table_tells_of_exactly_the_faults_that_are_tried():
    rows = re.findall(
        r"^\| (.+?) \| ([\d,]+) \| (.+?) \| ([\d-]*) \|$", (ROOT / "docs" / "faults.md").read_text(), re.M
    )
    assert [row[0] for row in rows] == faults()
