"""How a run is doing: progress with the buttons that steer it, and its numbers of the moment."""

import streamlit as st

from ..jobs import hosting
from ..records.record import Record
from .lookup import Found, lab, refusals, visitor
from .words import count, duration, not_reached, number, plain, provenance


def steers(run_id: str) -> bool:
    """May who looks stop, pause or delete this run?  Where strangers are served, only whoever began it."""
    job = lab().job(run_id)
    return not hosting.hosted() or (job is not None and job.owner == visitor())


def status(run_id: str, now: Found):
    """Progress, speed and time left of a run, with the buttons that steer it; one block, whatever is in it, so that
    what follows keeps its place when the run ends."""
    with st.container(key="status"):
        _status(run_id, now)


def _status(run_id: str, now: Found):
    job, record = now.job, now.record
    if not now.live:
        if job is not None and job.status == "failed":
            st.error(f"{plain(job.error, 400)}. The lab goes on; change the settings or try again.")
            if st.button("Try again", icon=":material/replay:", key="again"):
                with refusals():
                    lab().resume(run_id)
                    st.rerun()
        elif record is not None and record.finished:
            why = {"epochs": "ran to its last step", "plateau": "stopped on a plateau", "diverged": "diverged"}
            ended = "was imported" if record.run.preset == "imported" else why[record.provenance["stop_reason"]]
            st.success(f"Run {record.run.id} {ended} at step {record.step:,}.")
        elif record is not None:
            st.progress(record.step / record.run.epochs, f"Paused at step {record.step:,} of {record.run.epochs:,}")
            if job is not None and not steers(run_id):
                st.caption("Another visitor paused this run: you can watch it.")
            elif st.button("Resume", icon=":material/play_arrow:", key="resume", type="primary"):
                with refusals():
                    lab().submit(
                        record.run, job.device if job else "auto", resume=record if record.state else None,
                        afresh=job is not None and job.afresh,
                    )  # fmt: skip
                    st.rerun()
        return
    if job.status == "queued":
        st.progress(0.0, f"Waiting for {count(lab().waiting_before(job), 'run')} on {job.device}")
    else:
        step = record.step if record else 0
        speed = record.provenance["steps_per_second"] if record else 0
        about = "about " if job.end < job.run.epochs else ""  # a plateau ends it sooner
        left = f"{about}{duration(job.seconds_left)} left"
        st.progress(min(1.0, step / job.end), f"Step {step:,} of {about}{job.end:,} · {speed:,.0f} steps/s · {left}")
    if not steers(run_id):
        st.caption("Another visitor began this run: you can watch it.")
        return
    pause, stop, _ = st.columns([1, 1, 4])
    if pause.button("Pause", icon=":material/pause:", key="pause", width="stretch"):
        lab().pause(run_id)
    if stop.button("Stop", icon=":material/stop:", key="stop", width="stretch"):
        lab().stop(run_id)


def stop_all(run_ids: list[str], place=st):
    """Where some of these are the visitor's to stop: a button that leaves them all at a checkpoint."""
    mine = [run_id for run_id in run_ids if steers(run_id)]
    if not mine or not place.button("Stop all", icon=":material/stop:"):
        return
    for run_id in reversed(mine):  # those that wait first, or the next one would begin
        lab().stop(run_id)
    for run_id in mine:
        if job := lab().job(run_id):
            job.done.wait(10)  # a worker leaves at its next look, with a checkpoint
    st.rerun()


def headline(record: Record):
    """The numbers of the moment, in one row."""
    now = record.summary
    shown = {
        "step": f"{record.step:,}",
        "train loss": number(now["train_loss"]),
        "train accuracy": number(now["train_accuracy"], ".1%"),
        "test accuracy": number(now["test_accuracy"], ".1%"),
        "IPR": number(now["ipr"], ".3f"),
        "mean |sin D|": number(now["mean_abs_sin_D"], ".3f"),
    }
    with st.container(horizontal=True, key="numbers"):
        for label, value in shown.items():
            st.metric(label, value, width=120)


def stage_line(record: Record):
    """How far a record got, in a line."""
    now = record.summary
    if record.run.frac_train < 1:
        text = (
            f"Memorisation ends: **{not_reached(now['stage1_end'])}**; generalisation ends: "
            f"**{not_reached(now['stage2_end'])}**; held out {number(now['held_out_accuracy'], '.1%')} right."
        )
    else:
        end = now["stage1_end"]
        right = "are not right yet" if end is None else f"are right from step {end:,} on"
        text = f"95\u00a0% of the sums {right}; the loss ends at {number(now['train_loss'])}."
    st.caption(f"{text} {provenance(record)[:1].upper()}{provenance(record)[1:]}.")
