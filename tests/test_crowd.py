"""Twenty visitors of one server on a processor, five of whom train: who waits for how long, and what they leave."""

import asyncio
import contextlib
import itertools
import os
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import soak
from serving import Server, server
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import connect

PATIENCE = 120
TICK = 0.5  # seconds between two looks of a page at a run that trains
VISITORS, TRAINING, ROUNDS = 20, 5, 2
FORGOTTEN = 125  # seconds after which the server forgets a tab that was closed
FEW = 24  # threads, files and sockets of a visitor who looks, and of a worker; SQLite keeps a few to use again
PAGES = ("Overview", "Weights", "Phases", "Logits", "Lottery", "Gradient_flow", "Grokking", "Claims", "Runs", "Atlas")


class Tab:
    """What a browser tab is to the server: a connection that asks for pages and hears of their elements."""

    def __init__(self, port: int):
        self.port, self.widgets, self.fragments, self.said = port, {}, {}, []
        self.page, self.query = "", ""

    async def __aenter__(self):
        here = f"127.0.0.1:{self.port}"
        self.line = await connect(f"ws://{here}/_stcore/stream", origin=f"http://{here}", subprotocols=["streamlit"],
                                  max_size=None, open_timeout=PATIENCE, ping_interval=None)  # fmt: skip
        return self

    async def __aexit__(self, *_):
        await self.line.close()

    async def ask(self, fragment: str = "", press: str = "", **numbers) -> float:
        """Run the page, or a fragment of it, with these numbers typed and this button pressed; the seconds it took."""
        state = ClientState(query_string=self.query, page_name=self.page, fragment_id=fragment,
                            is_auto_rerun=bool(fragment))  # fmt: skip
        for label, value in numbers.items():
            state.widget_states.widgets.add(id=self.widgets[label], double_value=value)
        if press:
            state.widget_states.widgets.add(id=self.widgets[press], trigger_value=True)
        clock = time.perf_counter()
        await self.line.send(BackMsg(rerun_script=state).SerializeToString())
        while True:
            message = ForwardMsg.FromString(await asyncio.wait_for(self.line.recv(), PATIENCE))
            kind = message.WhichOneof("type")
            if kind == "delta" and message.delta.WhichOneof("type") == "new_element":
                self.hear(message.delta.new_element)
            elif kind == "page_info_changed":
                self.query = message.page_info_changed.query_string
            elif kind == "auto_rerun":
                self.fragments[message.auto_rerun.fragment_id] = message.auto_rerun.interval
            elif kind == "new_session" and not fragment:
                self.widgets, self.fragments, self.said = {}, {}, []
            elif kind == "script_finished" and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                return time.perf_counter() - clock

    def hear(self, element):
        kind = element.WhichOneof("type")
        content = getattr(element, kind)
        assert kind != "exception", content.message
        if getattr(content, "id", "") and getattr(content, "label", ""):
            self.widgets[content.label] = content.id
        if kind == "alert":
            self.said.append(content.body)

    async def open(self, page: str, query: str) -> float:
        self.page, self.query = page, query
        return await self.ask()


async def train(tab: Tab, seed: int) -> list[float]:
    """Begin a run on the Live page and watch it until told to leave off; the seconds of every look."""
    await tab.open("Live", "p=13")
    await tab.ask(Seed=seed, **{"Training steps": 40_000})
    await tab.ask(press="Train", Seed=seed, **{"Training steps": 40_000})
    assert "Stop" in tab.widgets
    looks = []
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(TICK)
            if not tab.fragments:
                await asyncio.sleep(TICK)
            for fragment in list(tab.fragments):
                looks.append(await tab.ask(fragment))
    return looks


async def read(tab: Tab, seed: int, pages: int) -> list[float]:
    """Read one page after another; the seconds until each was there."""
    chance, answers = random.Random(seed), []
    for page in itertools.islice(itertools.cycle(chance.sample(PAGES, len(PAGES))), pages):
        answers.append(await tab.open(page, "p=23"))
        await asyncio.sleep(chance.uniform(5, 15))  # a quick reader
    return answers


async def lecture(lab: Server, number: int, pages: int) -> tuple[list[float], list[float], soak.Sample]:
    """(seconds of pages, of looks at runs, what the server takes with everybody there) of one lecture."""
    async with contextlib.AsyncExitStack() as tabs:
        everybody = [await tabs.enter_async_context(Tab(lab.port)) for _ in range(VISITORS)]
        learners = [
            asyncio.create_task(train(tab, 10 * number + seed)) for seed, tab in enumerate(everybody[:TRAINING])
        ]
        answers = await asyncio.gather(*(read(tab, seed, pages) for seed, tab in enumerate(everybody[TRAINING:])))
        taken = soak.sample(lab.pid)
        for learner in learners:
            learner.cancel()
        looks = await asyncio.gather(*learners)
    return [s for one in answers for s in one], [s for one in looks for s in one], taken


async def look_in(port: int):
    """One visitor, for one page; whoever left two minutes ago is forgotten then."""
    async with Tab(port) as tab:
        await tab.open("Runs", "p=23")


def apart(visit):
    """What a coroutine returns, in a thread of its own: a browser test before may have left a loop running in this."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, visit).result()


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_twenty_visitors_of_whom_five_train_are_answered_and_leave_nothing(tmp_path, tried, capsys):
    answers, looks, busy = [], [], os.getloadavg()[0] > (os.cpu_count() or 1)
    with server(tmp_path / "runs", tmp_path / "log", MODADD_HOSTED="1") as lab:
        apart(look_in(lab.port))
        before = soak.sample(lab.pid)
        for number in range(ROUNDS):
            seen, watched, most = apart(lecture(lab, number, pages=4))
            if number:  # the first lecture loads the libraries
                answers += seen
                looks += watched
        for _ in range(3):
            time.sleep(FORGOTTEN)
            apart(look_in(lab.port))
            after = soak.sample(lab.pid)
            if after.files <= before.files + FEW and after.threads <= before.threads + FEW:
                break
    told = (
        f"pages in {statistics.median(answers):.2f} s (median; the slowest of {len(answers)} {max(answers):.1f} s); "
        f"{most.memory:.0f} MB and {most.threads} threads with all of them; of {most.files} open files and sockets "
        f"{after.files} are left, and {before.files} were there before" + busy * " (beside other work on the machine)"
    )
    with capsys.disabled():
        print("\n", told, f"looks at runs: {statistics.median(looks):.2f} s, {max(looks):.1f} s;", before, most, after)
    assert busy or statistics.median(answers) < 2
    assert most.threads < 3 * VISITORS
    assert after.files <= before.files + FEW
    assert after.threads <= before.threads + FEW
    assert "Traceback" not in (tmp_path / "log").read_text()
    tried("20 visitors at once on a processor, five of them training", VISITORS * ROUNDS, told)
