"""Runs on a cluster end as they do here; against a real Slurm of one node, which the tests start themselves."""

import json
import logging
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import precompute
import pytest
import tyro
from conftest import EXACT, SMALL, assert_same_training, finish
from hypothesis import given
from hypothesis import strategies as st

from modadd.jobs import cluster
from modadd.jobs.spool import ArrayTask, Progress, Spool
from modadd.records.store import Store, to_bytes
from modadd.runs import Run, preset
from modadd.training import cost
from modadd.training.forks import fork
from modadd.training.loop import train

pytestmark = pytest.mark.xdist_group("slurm")  # one cluster at a time
PATIENCE = 90  # seconds; a task here starts within ten of them
HOUSE = Path(__file__).parents[1]
DAEMONS = {name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
           for name in ("munged", "slurmctld", "slurmd", "sbatch")}  # fmt: skip
BRIEF = Run(p=7, d_mlp=11, lr=1e-3, frac_train=0.7, epochs=8_000)  # about two seconds
ENDLESS = replace(BRIEF, epochs=2_000_000)

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
# A job that was requeued starts again after so many seconds; less is refused.
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
KillWait=2
OverTimeLimit=0
GresTypes=gpu
# More than there is, so that no test waits for what another one left to end.
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=64 RealMemory=999000 Gres=gpu:8
PartitionName=usual Nodes=ALL Default=YES MaxTime=600 State=UP
PartitionName=other Nodes=ALL MaxTime=600 State=UP
"""


@contextmanager
def daemon(*command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_ports(count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def run_out(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def cancel(*which):
    run_out("scancel", "--quiet", *(which or ("--user", str(os.getuid()))))


def until(condition, seconds=PATIENCE):
    """What the condition returns once that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.2)
    pytest.fail(f"not within {seconds} s")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A Slurm of this machine alone: own key, socket, ports and folders; its daemons end with the session."""
    if missing := [name for name, found in DAEMONS.items() if not found]:
        pytest.skip(
            f"no Slurm here ({', '.join(missing)} missing): apt-get install munge slurmctld slurmd slurm-client"
        )
    if os.geteuid() != 0:
        pytest.skip("slurmd starts jobs as root only")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    conf = CONF.format(host=socket.gethostname().partition(".")[0], ports=free_ports(2), folder=folder)
    (folder / "slurm.conf").write_text(conf)
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-7]\n")
    for i in range(8):
        (folder / f"gpu{i}").touch()
    ends = {"key-file": "key", "socket": "sock", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    own = [f"--{name}={folder}/munge.{end}" for name, end in ends.items()]
    with pytest.MonkeyPatch.context() as patch, ExitStack() as daemons:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        daemons.enter_context(daemon(DAEMONS["munged"], "--foreground", "--force", *own))
        until((folder / "munge.sock").exists)
        daemons.enter_context(daemon(DAEMONS["slurmctld"], "-D", "-c"))
        daemons.enter_context(daemon(DAEMONS["slurmd"], "-D"))
        until(lambda: "idle" in subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True).stdout)
        yield
        until(lambda: cancel() or not run_out("squeue", "-h"))  # what just went back into the queue, too


@pytest.fixture
def jobs(slurm, tmp_path):
    """An empty job folder; what of it is left in the queue at the end is cancelled."""
    yield tmp_path / "jobs"
    if left := [task.job for task in cluster.status(tmp_path / "jobs") if task.active]:
        cancel(*left)


def state(jobs, place=-1):
    return cluster.status(jobs)[place].state


def said(log, words):
    return log.exists() and words in log.read_text()


def one_each(runs, *room):
    return [[run] for run in runs]


# -- against a real Slurm -----------------------------------------------------------------------


def test_an_array_leaves_the_cache_that_a_local_run_leaves(jobs, store, monkeypatch):
    runs = [preset("grokking", 19, epochs=200), *(preset(name, 5, epochs=300) for name in (
        "standard", "quad_random", "quad_single_freq", "relu_single_freq"))]  # fmt: skip
    monkeypatch.setattr(cluster, "pack", lambda runs, *room: [runs[:1], runs[1:]])
    sent = cluster.submit(runs, store, jobs, minutes=5)
    (array,) = {job.partition("_")[0] for job in sent}
    assert list(sent.values()) == [[runs[0].id], [run.id for run in runs[1:]]]
    assert list(sent) == [f"{array}_0", f"{array}_1"]
    assert cluster.submit(runs, store, jobs) == {}  # they are on their way already
    until(lambda: not any(task.active for task in cluster.status(jobs)))
    assert [task.state for task in cluster.status(jobs)] == ["finished", "finished"]
    assert sorted(cluster.collect(jobs, store)) == sorted(run.id for run in runs)
    for run in runs:
        assert_same_training(store.mine(run.id), finish(run))
    assert cluster.collect(jobs, store) == []
    for task in cluster.status(jobs):
        log = task.err.read_text()
        for run_id, (epochs, word) in task.runs.items():
            assert f"{run_id} left at step {epochs}: epochs" in log
            assert (word.step, word.stop_reason, word.error) == (epochs, "epochs", None)


@pytest.fixture(scope="module")
def interrupted(slurm, tmp_path_factory):
    """(job folder, store, task of BRIEF, task of ENDLESS) after both began to train, were told that their time is
    nearly up, and left; they are about to come back."""
    folder = tmp_path_factory.mktemp("interrupted")
    with closing(Store(folder / "runs")) as store:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cluster, "pack", one_each)
            cluster.submit([BRIEF, ENDLESS], store, folder)
        for task in cluster.status(folder):  # BRIEF first, while it still has a way to go
            until(lambda log=task.err: said(log, " trains from step "))
            run_out("scancel", "--signal=USR2", task.job)
        assert cluster.collect(folder, store) == []
        until(lambda: all(said(task.out, "Requeued job") for task in cluster.status(folder)))
        yield folder, store, *cluster.status(folder)


def test_a_cancelled_task_is_shown_as_such_and_its_run_goes_on_when_sent_again(interrupted):
    folder, store, _, task = interrupted
    cancel(task.job)
    until(lambda: cluster.status(folder)[-1].state == "cancelled")
    assert not cluster.status(folder)[-1].active
    assert cluster.collect(folder, store) == [ENDLESS.id]  # the other one still needs its checkpoint
    step = store.mine(ENDLESS.id).step
    assert task.runs[ENDLESS.id][1].step <= step < ENDLESS.epochs
    (again,) = cluster.submit([ENDLESS], store, folder)
    assert [other.job for other in cluster.status(folder) if ENDLESS.id in other.runs] == [again] != [task.job]
    assert cluster.status(folder)[-1].runs[ENDLESS.id][1].step == Spool(folder).sibling(ENDLESS).step == step
    cancel(again)


@pytest.mark.slow
def test_a_task_whose_time_runs_out_is_requeued_and_ends_as_if_never_stopped(interrupted):
    folder, store, task, _ = interrupted
    word = task.runs[BRIEF.id][1]
    assert 0 < word.step < BRIEF.epochs
    assert task.active
    assert until(lambda: cluster.collect(folder, store)) == [BRIEF.id]
    assert f"{BRIEF.id} trains from step {word.step}" in task.err.read_text()
    assert_same_training(store.mine(BRIEF.id), finish(BRIEF))


def test_what_a_node_cannot_train_fails_with_its_reason(jobs, store):
    cluster.submit([SMALL], store, jobs, gpus=1)  # granted by Slurm, absent in truth
    until(lambda: state(jobs) == "failed")
    (task,) = cluster.status(jobs)
    assert task.runs[SMALL.id][1].error == "ValueError: device 'cuda' is not on this machine: use cpu or auto"
    assert "Traceback" in task.err.read_text()
    assert cluster.collect(jobs, store) == []
    cluster.submit([SMALL], store, jobs)
    assert cluster.status(jobs)[-1].runs[SMALL.id] == (SMALL.epochs, Progress())


def test_a_task_gets_what_was_asked_for(jobs, store, monkeypatch):
    monkeypatch.setenv("SBATCH_ACCOUNT", "mine")
    monkeypatch.setattr(cluster, "pack", one_each)
    tasks = cluster.submit(
        [ENDLESS, replace(ENDLESS, seed=1)], store, jobs, minutes=7, partition="other", gpus=1, cpus=2
    )
    fields = ["partition", "timelimit", "minmemory", "numcpus", "account", "tres-per-node", "name"]
    # By id, because a task of an earlier test may still be leaving the queue.
    rows = run_out(
        "squeue", "-h", "-r", "-j", ",".join(tasks), "-O", ",".join(f"{name}:30" for name in fields)
    ).splitlines()
    memory = -(-(cost.memory_and_disk(ENDLESS)[0] + cluster.BASE_MEMORY) // 2**20)
    wanted = ["other", "7:00", f"{memory}M", "2", "mine", "gres:gpu:1", "modadd"]
    assert [row.split() for row in rows] == [wanted, wanted]


def test_a_partition_that_is_not_there_is_told_in_a_sentence(jobs, store, capfd):
    with pytest.raises(ValueError, match=r"^Slurm refused the job: invalid partition specified: nowhere$"):
        cluster.submit([SMALL], store, jobs, partition="nowhere")
    assert cluster.status(jobs) == []
    assert capfd.readouterr().err == ""  # said once, by whoever catches it


@pytest.mark.slow
def test_a_run_longer_than_its_time_limit_finishes_all_the_same(jobs, store):
    run = Run(p=23, epochs=40_000)  # about a minute, under a limit of one minute of which a quarter is warned of
    cluster.submit([run], store, jobs, minutes=1)
    until(lambda: state(jobs) == "finished", 270)
    (task,) = cluster.status(jobs)
    log = task.err.read_text()
    assert log.count(f"{run.id} trains from step ") > 1
    assert cluster.collect(jobs, store) == [run.id]
    record = store.mine(run.id)
    assert record.finished
    assert len(record.steps) == run.epochs + 1


def test_a_task_that_slurm_forgot_is_gone_and_its_checkpoint_is_kept(jobs, store, record):
    spool = Spool(jobs)
    spool.write(spool.folder / "arrays/000999999.json", json.dumps(
        [{"job": "999999", "runs": {SMALL.id: SMALL.epochs}, "out": "o", "err": "e"}]).encode())  # fmt: skip
    checkpoint = next(train(SMALL, device="cpu", every=0)).checkpoint()
    spool.put(checkpoint)
    (task,) = cluster.status(jobs)
    assert (task.state, task.active, task.runs[SMALL.id][1].step) == ("gone", False, checkpoint.step)
    assert cluster.collect(jobs, store) == [SMALL.id]
    assert_same_training(store.mine(SMALL.id), checkpoint)
    store.put(record)
    spool.put(checkpoint)
    assert cluster.collect(jobs, store) == []  # what is older than the cache is no gain
    assert store.mine(SMALL.id).finished


def test_a_damaged_record_is_set_aside_and_the_others_are_collected(jobs, store, record):
    spool = Spool(jobs)
    other = replace(SMALL, seed=1)
    spool.write(spool.folder / "arrays/000999999.json", json.dumps(
        [{"job": "999999", "runs": {run.id: run.epochs for run in (SMALL, other)}, "out": "o", "err": "e"}]
    ).encode())  # fmt: skip
    spool.put(record)
    spool.put(replace(record, run=other))
    file = spool.record_file(SMALL.id)
    file.write_bytes(file.read_bytes()[:-1])
    assert cluster.collect(jobs, store) == [other.id]
    (task,) = cluster.status(jobs)
    assert task.runs[SMALL.id][1].error == "its record is damaged: its checksum does not match its content"
    assert task.state == "gone"
    assert not file.exists()


def test_the_command_line_sends_tells_and_collects(jobs, tmp_path, capsys):
    cache, run = tmp_path / "cache", preset("quad_single_freq", 3, epochs=50)

    def say(*flags):
        precompute.main(
            tyro.cli(precompute.Flags, args=["--slurm", "--cache", str(cache), "--jobs", str(jobs), *flags])
        )
        out, err = capsys.readouterr()
        return err, json.loads(out) if out else None

    wanted = ("--p", "3", "--presets", "quad_single_freq", "--epochs", "50", "--minutes", "5")
    assert "1 run wanted, 1 to train, 0 sent to Slurm now" in say(*wanted, "--dry-run")[0]
    assert cluster.status(jobs) == []
    said, _ = say(*wanted)
    (task,) = cluster.status(jobs)
    assert f"1 run wanted, 1 to train, 1 sent to Slurm now\n{task.job}  {run.id}\n" in said
    assert "1 run wanted, 1 to train, 0 sent to Slurm now" in say(*wanted)[0]
    until(lambda: state(jobs) == "finished")
    said, report = say("--status", "--json")
    assert said.splitlines() == [
        f"1 record collected from {jobs}", f"{task.job}  finished", f"    {run.id}  50 of 50 steps: epochs",
        f"    log  {task.err}", "1 finished",
    ]  # fmt: skip
    assert (report["collected"], report["tasks"][0]["state"]) == ([run.id], "finished")
    assert report["tasks"][0]["runs"][run.id]["step"] == 50
    assert "1 run wanted, 0 to train, 0 sent to Slurm now" in say(*wanted)[0]
    with closing(Store(cache)) as shelf:
        assert_same_training(shelf.mine(run.id), finish(run))


# -- without Slurm ------------------------------------------------------------------------------


@given(st.lists(st.floats(0.1, 1000), max_size=30), st.floats(1, 500))
def test_packing_sends_every_run_once_the_longest_first(prices, seconds):
    price = {replace(SMALL, seed=i): seconds for i, seconds in enumerate(prices)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "estimate", lambda run, *where: cost.Cost(price[run], 0, 0, 0))
        groups = cluster.pack(price, seconds)
    order = [price[run] for group in groups for run in group]
    assert order == sorted(prices, reverse=True)
    assert len({run for group in groups for run in group}) == len(prices)
    for group in groups:
        assert len(group) == 1 or sum(price[run] for run in group) <= seconds * (1 + EXACT)


def test_accounting_remembers_what_the_queue_forgot_and_the_queue_knows_better(tmp_path, monkeypatch):
    answers = {
        "sacct": [
            "7_0|COMPLETED|node1",
            "7_1|CANCELLED by 1000|None assigned",
            "7_2|RUNNING|node1",
            "7_[3-4]|PENDING|",
        ],
        "squeue": ["7_2|PENDING|(BeginTime)", "7_3|RUNNING|node2", "8|RUNNING|node2"],
    }
    monkeypatch.setattr(cluster, "_ask", lambda command, *flags, **how: answers[command])
    spool, jobs = Spool(tmp_path), [f"7_{i}" for i in range(5)]
    array = [{"job": job, "runs": {job: 10}, "out": "o", "err": "e"} for job in jobs]
    spool.write(spool.folder / "arrays/000000007.json", json.dumps(array).encode())
    spool.report("7_0", Progress(10, 2.5, "epochs"))
    spool.report("7_2", Progress(3, 2.5))
    tasks = cluster.status(tmp_path)
    assert [task.job for task in tasks] == jobs
    assert [task.state for task in tasks] == ["finished", "cancelled", "pending", "running", "gone"]
    assert [task.active for task in tasks] == [False, False, True, True, False]
    lines = list(cluster.told(tasks))
    assert lines[:2] == ["7_0  finished", "    7_0  10 of 10 steps: epochs"]
    assert lines[6:8] == ["7_2  pending  BeginTime", "    7_2  3 of 10 steps, 2.50 a second"]
    assert lines[-1] == "1 finished, 1 cancelled, 1 pending, 1 running, 1 gone"


def a_task(folder, *runs):
    return ArrayTask(list(runs), folder, "cpu", 1, PATIENCE)


def test_a_run_that_fails_does_not_take_the_others_of_its_task_along(tmp_path):
    bad = replace(SMALL, seed=1)
    spool = Spool(tmp_path)
    spool.write(spool.record_file(bad.id), to_bytes(finish(replace(SMALL, epochs=20))))  # of another trajectory
    with pytest.raises(RuntimeError, match=f"^failed: {bad.id}$"):
        a_task(tmp_path, bad, SMALL)()
    assert "cannot go on as" in spool.progress(bad.id).error
    assert (spool.progress(SMALL.id).step, spool.progress(SMALL.id).stop_reason) == (SMALL.epochs, "epochs")


def test_a_task_that_comes_back_passes_over_what_is_finished(tmp_path, record):
    spool = Spool(tmp_path)
    spool.put(record)
    spool.record_file(SMALL.id).unlink()  # collected meanwhile
    other = replace(SMALL, seed=1)
    a_task(tmp_path, SMALL, other)()
    assert not spool.record_file(SMALL.id).exists()
    assert_same_training(spool.sibling(other), finish(other))


def test_a_task_that_is_told_to_leave_keeps_a_checkpoint_and_comes_back_as_it_was(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    task = a_task(tmp_path, ENDLESS, SMALL)
    threading.Thread(target=task).start()
    until(lambda: f"{ENDLESS.id} trains from step 0" in caplog.text)
    assert task.checkpoint().function == a_task(tmp_path, ENDLESS, SMALL)
    spool = Spool(tmp_path)
    assert 0 < spool.sibling(ENDLESS).step == spool.progress(ENDLESS.id).step < ENDLESS.epochs
    assert spool.progress(SMALL.id) == Progress()  # it did not come to that


def test_a_task_that_is_told_to_leave_before_it_began_comes_back_as_it_was(tmp_path):
    task = a_task(tmp_path, SMALL)
    assert task.checkpoint().function == task


def test_a_job_folder_is_for_its_owner_alone(tmp_path):
    folder = Spool(tmp_path / "some/where").folder
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_record_is_in_the_spool_whole_or_not_at_all(tmp_path, record, monkeypatch):
    spool = Spool(tmp_path)

    def torn(file, content):
        with file.open("wb") as opened:
            opened.write(content[: len(content) // 2])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", torn)
    with pytest.raises(OSError, match="no space"):
        spool.put(record)
    assert not spool.record_file(SMALL.id).exists()
    assert spool.sibling(SMALL) is None
    assert spool.progress(SMALL.id) == Progress()


def test_a_folder_from_which_nothing_was_sent_asks_nobody(tmp_path, store, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert cluster.status(tmp_path / "jobs") == []
    assert cluster.collect(tmp_path / "jobs", store) == []
    assert not (tmp_path / "jobs").exists()


def test_a_machine_without_slurm_says_so(tmp_path, store, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"^there is no Slurm here \(sbatch is not found\): use a machine that"):
        cluster.submit([SMALL], store, tmp_path / "jobs")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match=r"^submitit, which talks to Slurm, is not installed: pip install -e"):
        cluster.submit([SMALL], store, tmp_path / "jobs")


@pytest.mark.parametrize(("name", "value"), [("gpus", 2), ("gpus", -1), ("minutes", 0), ("cpus", 0), ("workers", 0)])
def test_what_no_task_can_have_is_refused(tmp_path, store, name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .* got {value}$"):
        cluster.submit([SMALL], store, tmp_path / "jobs", **{name: value})
    assert not (tmp_path / "jobs").exists()


def test_a_fork_is_not_for_a_cluster(tmp_path, store):
    child = fork(SMALL, 100, lr=1e-2)
    with pytest.raises(ValueError, match=f"^a fork begins in the cache, which no node opens: train {child.id} on"):
        cluster.submit([child], store, tmp_path / "jobs")


def test_what_is_for_this_machine_is_refused_with_slurm(tmp_path, capsys):
    for flags in (["--verify"], ["--devices", "cpu"], ["--atlas", "a"], ["--figures", "f"]):
        with pytest.raises(SystemExit, match="2"):
            precompute.main(tyro.cli(precompute.Flags, args=["--slurm", "--all", "--cache", str(tmp_path), *flags]))
        assert "are for this machine: give them without --slurm." in capsys.readouterr().err


def test_every_command_of_the_guide_is_understood():
    guide = (HOUSE / "docs/cluster.md").read_text()
    commands = [shlex.split(line) for line in guide.splitlines() if line.strip().startswith("python scripts/")]
    assert len(commands) > 4
    for _, script, *flags in commands:
        assert script == "scripts/precompute.py"
        tyro.cli(precompute.Flags, args=flags)
