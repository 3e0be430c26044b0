"""Children of the gateway: the real embedded engine, and small processes that misbehave on purpose."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.engine.wire import chat
from tests.fakes.hub import Hub, serving

from penstock.engine.guide import model_file
from penstock.errors import Unreachable
from penstock.gateway.child import LAST_LINES, LINE_LENGTH, Child, Launch, State, embedded, pause_before

WITHIN = 30.0
HELLO = "import sys, time; print('{\"port\": 4}', flush=True); "


def python(script: str, **limits: float) -> Launch:
    return replace(Launch("scripted", (sys.executable, "-c", script)), **limits)  # type: ignore[arg-type]


@dataclass(slots=True)
class Diary:
    """Every state that a child went through, and a way to wait for one."""

    states: list[State] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, child: Child) -> None:
        self.states.append(child.state)
        self.changed.set()

    async def until(self, holds: Callable[[list[State]], bool]) -> None:
        async with asyncio.timeout(WITHIN):
            while not holds(self.states):
                self.changed.clear()
                await self.changed.wait()


async def test_a_model_of_the_hub_is_downloaded_while_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H5: readiness is honest while weights download; nothing is served before they are here."""
    guide = model_file("guide").read_bytes()
    with serving(Hub("water/drop-GGUF", {"drop-q8_0.gguf": guide})) as hub:
        for name, value in {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "no_proxy": "*"}.items():
            monkeypatch.setenv(name, value)
        diary = Diary()
        async with Child(embedded("local", "water/drop-GGUF"), diary.note) as child:
            await diary.until(lambda states: State.DOWNLOADING in states)
            ready = await child.ready()
            answer = await asyncio.to_thread(chat, ready.port, "Count to five.")
            assert child.progress == ""
    assert answer.status == 200
    assert diary.states.index(State.DOWNLOADING) < diary.states.index(State.READY)


async def test_the_embedded_engine_serves_and_ends() -> None:
    diary = Diary()
    async with Child(embedded("local", "guide", slots=2), diary.note) as child:
        ready = await child.ready()
        assert (ready.model, ready.context, ready.slots, ready.embedding) == ("guide", 2048, 2, False)
        assert child.url == f"http://127.0.0.1:{ready.port}"
        answer = await asyncio.to_thread(chat, ready.port, "Count to five.")
        assert answer.json()["choices"][0]["message"]["content"] == "One, two, three, four, five."
        pid = child.pid
    assert diary.states == [State.STARTING, State.READY, State.STOPPED]
    assert child.announced is None
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_killed_engine_is_started_again() -> None:
    diary = Diary()
    async with Child(embedded("local", "guide"), diary.note) as child:
        await child.ready()
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        await diary.until(lambda states: states.count(State.READY) == 2)
        assert (child.restarts, child.last_error) == (1, "")
        answer = await asyncio.to_thread(chat, (await child.ready()).port, "Count to five.")
        assert answer.status == 200
    assert diary.states == [State.STARTING, State.READY, State.RESTARTING, State.READY, State.STOPPED]


async def test_a_model_that_cannot_be_loaded_fails_for_good() -> None:
    diary = Diary()
    async with Child(embedded("local", "/nowhere/none.gguf"), diary.note) as child:
        with pytest.raises(Unreachable, match=r"engine local: .*there is no such file\. Check the path"):
            await child.ready()
        assert child.state is State.FAILED
        assert child.restarts == 0
    assert diary.states == [State.STARTING, State.FAILED, State.STOPPED]
    assert "there is no such file" in child.last_error


async def test_a_command_that_does_not_exist_says_so() -> None:
    async with Child(Launch("nothing", ("/nowhere/engine",))) as child:
        with pytest.raises(Unreachable, match="could not be started: No such file"):
            await child.ready(within=0.5)
        assert child.state is State.RESTARTING


async def test_one_that_keeps_dying_is_tried_again_and_explained() -> None:
    diary = Diary()
    script = "import sys; sys.exit('the boiler is cold')"
    async with Child(python(script), diary.note) as child:
        await diary.until(lambda _: child.restarts >= 2)
        assert child.last_error == "it ended with status 1; its last words: the boiler is cold"
    assert set(diary.states) == {State.STARTING, State.RESTARTING, State.STOPPED}


async def test_a_silent_one_is_killed() -> None:
    diary = Diary()
    async with Child(python("import time; time.sleep(600)", ready_within=0.2), diary.note) as child:
        await diary.until(lambda states: State.RESTARTING in states)
        assert child.last_error.endswith("(It did not announce itself within 0.2 s and was killed.)")


async def test_one_that_says_something_else_is_killed() -> None:
    diary = Diary()
    async with Child(python("import time; print('ready!', flush=True); time.sleep(600)"), diary.note) as child:
        await diary.until(lambda states: State.RESTARTING in states)
        assert "It announced itself with b'ready!\\n'" in child.last_error


async def test_one_that_ignores_sigterm_is_killed() -> None:
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + HELLO + "time.sleep(600)"
    child = Child(python(script, stop_within=0.2))
    child.start()
    await child.ready()
    pid = child.pid
    assert pid is not None
    async with asyncio.timeout(WITHIN):
        await child.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_what_it_writes_is_kept_within_bounds() -> None:
    diary = Diary()
    script = HELLO + "sys.stderr.write('x' * 3_000_000 + '\\n' + 'line\\n' * 5000 + 'last'); sys.exit(1)"
    async with Child(python(script), diary.note) as child:
        await diary.until(lambda states: State.RESTARTING in states)
        lines = child.last_lines()
    assert len(lines) <= LAST_LINES
    assert max(map(len, lines)) <= LINE_LENGTH


async def test_stopping_while_it_starts_leaves_nothing() -> None:
    child = Child(python("import time; time.sleep(600)"))
    child.start()
    await asyncio.sleep(0)
    await child.stop()
    assert (child.state, child.pid) == (State.STOPPED, None)


async def test_it_can_be_started_again_after_it_failed() -> None:
    async with Child(python("import sys; sys.exit(2)")) as child:
        with pytest.raises(Unreachable):
            await child.ready()
        child.launch = python(HELLO + "time.sleep(600)", stop_within=5.0)
        child.start()
        assert (await child.ready()).port == 4


def test_pauses_double_up_to_ten_seconds() -> None:
    assert [pause_before(restart, 1.0) for restart in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert pause_before(3, 0.0) == 0.8
    assert pause_before(10**6, 0.0) == 5.0
