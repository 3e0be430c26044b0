"""The line against everything at once: what clients do, what engines do and when limits pass, in any order.

Whatever the order, a request is closed and recorded once, no slot is lost, nobody is told anything after the end, and a
client gets one engine's answer whole, or an explicit error.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.gateway.fleets import Still, config, vllm
from tests.gateway.memory import Asked, Client, Engine, Kept, Link

from penstock.config import Limits
from penstock.gateway.breaker import Breaker
from penstock.gateway.line import Line
from penstock.gateway.phase import Phase
from penstock.protocols.table import ROUTES

PATHS = {b"/v1/chat/completions": "openai", b"/api/chat": "ollama"}
SLOTS = 2
QUEUE = 3
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
REFUSALS = (
    (500, "internal error", ""),
    (503, "overloaded", "retry-after: 1\r\n"),
    (429, "too many", "retry-after: 2\r\n"),
    (400, "bad request", ""),
    (404, "the model is not here", ""),
)
EVENTS = (b"data: {\n\n", b'data: {"error": {"message": "died"}}\n\n', b"event: what\n\n", b"")
"""Malformed, an error, none, and the end of the body too soon."""


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


def _said(engine: str, text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return _chunk(b"data: " + json.dumps({"id": "c", "model": engine, "choices": [choice]}).encode() + b"\n\n")


def _whole(body: bytes, status: str = "200 OK", headers: str = "content-type: application/json\r\n") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body


class Machine(RuleBasedStateMachine):
    """Engines `a` and `b` of one target and `c` of a second; few slots, a short queue."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.all: list[Asked] = []
        self._do(self._set_up)

    def _set_up(self) -> None:
        backends = {name: msgspec.structs.replace(vllm(), slots=SLOTS) for name in "abc"}
        tree = config(backends, [(["a", "b"], "m"), (["c"], "m")])
        limits = msgspec.structs.replace(Limits(), queue=QUEUE, attempts=2)
        tree = msgspec.structs.replace(tree, limits=limits)
        self.fleet = Still(tree)
        self.engines = {name: Engine(name, self.loop) for name in "abc"}
        for name, engine in self.engines.items():
            self.fleet.up(name, "m")
            self.fleet.backends[name].origin = engine
        self.records = Kept()
        self.line = Line(tree, self.fleet, self.records)

    def _do(self, what: Callable[..., object], *arguments: object) -> None:
        """Inside the loop, which then takes the rounds that connecting needs."""

        async def done() -> None:
            what(*arguments)
            for _ in range(4):
                await asyncio.sleep(0)

        self.loop.run_until_complete(done())

    @property
    def links(self) -> list[Link]:
        """Connections on which a request waits."""
        return [link for engine in self.engines.values() for link in engine.links if link.asked]

    def _live(self, place: int) -> Asked:
        live = [one for one in self.all if one.request in self.line.active]
        return live[place % len(live)]

    def _link(self, place: int) -> Link:
        return self.links[place % len(self.links)]

    # ── clients ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(stream=st.booleans(), path=st.sampled_from(sorted(PATHS)), words=st.integers(1, 3))
    def ask(self, stream: bool, path: bytes, words: int) -> None:  # noqa: FBT001 - drawn by name
        def asking() -> None:
            one = Asked(self.line.open(ROUTES[path], {}), Client(PATHS[path], stream))
            self.all.append(one)
            messages = [{"role": "user", "content": "word " * words}]
            one.request.start(json.dumps({"model": "a", "stream": stream, "messages": messages}).encode(), one.client)

        self._do(asking)

    @precondition(lambda self: self.line.active)
    @rule(place=st.integers(0, 9))
    def leave(self, place: int) -> None:
        one = self._live(place)
        one.client.gone = True
        self._do(one.request.leave)

    @precondition(lambda self: self.line.active)
    @rule(place=st.integers(0, 9))
    def read_slowly(self, place: int) -> None:
        one = self._live(place)
        if not one.request.paused:
            self._do(one.request.pause)

    @precondition(lambda self: any(one.paused for one in self.line.active))
    @rule()
    def catch_up(self) -> None:
        for one in [one for one in self.line.active if one.paused]:
            self._do(one.resume)

    # ── engines ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.links)
    @rule(place=st.integers(0, 9), cut=st.integers(0, 60), wanted=st.booleans())
    def say_something(self, place: int, cut: int, wanted: bool) -> None:  # noqa: FBT001 - drawn by name
        """Another piece of a stream, in two reads; seldom where nobody asked for a stream."""
        link = self._link(place)
        if wanted and b'"stream":false' in link.pipe.sent.replace(b": ", b":"):
            return
        data = b"" if link.streaming else STREAM
        link.streaming = True
        data += _said(link.engine, f"{link.engine} ")
        self._do(link.say, data[:cut])
        if link.pipe.reading:  # what was not read would come later, and this engine would have to remember it
            self._do(link.say, data[cut:])
        elif cut:
            self._do(link.lose, ConnectionResetError())

    @rule(stream=st.booleans(), path=st.sampled_from(sorted(PATHS)))
    def ask_and_hear(self, stream: bool, path: bytes) -> None:  # noqa: FBT001 - drawn by name
        """A request that goes well, at least at first."""
        before = {id(link) for link in self.links}
        self.ask(stream, path, 1)
        for link in [link for link in self.links if id(link) not in before]:
            if stream:
                link.streaming = True
                self._do(link.say, STREAM + _said(link.engine, f"{link.engine} "))
            else:
                self._answer(link, 0)

    @precondition(lambda self: any(link.streaming for link in self.links))
    @rule(place=st.integers(0, 9), done=st.booleans())
    def finish(self, place: int, done: bool) -> None:  # noqa: FBT001 - drawn by name
        link = self._streaming(place)
        end = _said(link.engine, "", "stop") + (_chunk(b"data: [DONE]\n\n") if done else b"") + b"0\r\n\r\n"
        self._say_last(link, end)

    @precondition(lambda self: any(not link.streaming for link in self.links))
    @rule(place=st.integers(0, 9), cut=st.sampled_from([0, 0, 0, 1, 20]), wanted=st.booleans())
    def answer_whole(self, place: int, cut: int, wanted: bool) -> None:  # noqa: FBT001 - drawn by name
        """A whole JSON answer; or one that is shorter than its JSON, as it says itself."""
        link = self._silent(place)
        if wanted and b'"stream":true' in link.pipe.sent.replace(b": ", b":"):
            return
        self._answer(link, cut)

    def _answer(self, link: Link, cut: int) -> None:
        message = {"role": "assistant", "content": f"{link.engine} "}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = json.dumps({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]}).encode()
        self._say_last(link, _whole(body[: len(body) - cut]))

    @precondition(lambda self: self.links)
    @rule(place=st.integers(0, 9), trouble=st.integers(0, 9), refusal=st.sampled_from(REFUSALS))
    def go_wrong(self, place: int, trouble: int, refusal: tuple[int, str, str]) -> None:
        """One of the ways in which an engine's answer is none, as far as it has come."""
        link = self._link(place)
        if trouble < 3:
            self._do(link.lose, ConnectionResetError(104, "Connection reset") if trouble else None)
        elif link.streaming:
            event = EVENTS[trouble % len(EVENTS)]
            if event:
                self._do(link.say, _chunk(event))
            else:
                self._say_last(link, b"0\r\n\r\n")
        elif trouble == 3:
            self._say_last(link, _whole(b"<html>", headers="content-type: text/html\r\n"))
        else:
            status, message, more = refusal
            body = json.dumps({"error": {"message": message, "type": "x", "param": None, "code": status}}).encode()
            self._say_last(link, _whole(body, f"{status} No", f"content-type: application/json\r\n{more}"))

    @rule(name=st.sampled_from("abc"), listening=st.sampled_from([True, True, True, False]))
    def listen(self, name: str, listening: bool) -> None:  # noqa: FBT001 - drawn by name
        self.engines[name].listening = listening

    # ── clock and fleet ──────────────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: any(one.deadline < float("inf") for one in self.line.active))
    @rule(place=st.integers(0, 9))
    def limit_passes(self, place: int) -> None:
        due = sorted((one for one in self.line.active if one.deadline < float("inf")), key=lambda one: one.id)
        one = due[place % len(due)]
        self._do(one.expire, one.deadline)

    @rule()
    def tick(self) -> None:
        self._do(self.line.tick)

    @rule(name=st.sampled_from("abc"))
    def found_well(self, name: str) -> None:
        def well() -> None:
            backend = self.fleet.backends[name]
            if not backend.busy:
                backend.breaker = Breaker()  # as if it had rested for long enough
            self.engines[name].listening = True
            self.fleet.up(name, "m")
            self.line.admission.wake()

        self._do(well)

    # ── what always holds ────────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def slots_are_those_of_live_requests(self) -> None:
        holding = [one for one in self.line.active if one._slot]
        assert sum(backend.busy for backend in self.fleet.backends.values()) == len(holding)
        assert self.line.admission.aliases["a"].busy == len(holding)
        assert all(0 <= backend.busy <= SLOTS for backend in self.fleet.backends.values())

    @invariant()
    def waiting_are_counted(self) -> None:
        queued = [one for one in self.line.active if one.phase is Phase.QUEUED]
        assert self.line.admission.waiting == len(queued) <= QUEUE
        if queued:
            # nobody waits while everything is free
            assert self.line.admission.aliases["a"].busy or not any(
                backend.breaker.calm for backend in self.fleet.backends.values()
            )

    @invariant()
    def each_is_recorded_once_when_it_is_over(self) -> None:
        recorded = [record.request for record in self.records.all]
        over = [one.request.id.decode() for one in self.all if one.request not in self.line.active]
        assert sorted(recorded) == sorted(over)

    @invariant()
    def nobody_goes_on_for_who_has_left(self) -> None:
        assert not any(one.client.gone for one in self.all if one.request in self.line.active)
        # every connection that waits for an answer waits for somebody's
        assert len(self.links) <= len(self.line.active)

    @invariant()
    def whoever_stays_is_told_an_end(self) -> None:
        for one in self.all:
            if one.request in self.line.active:
                assert not one.client.over
            elif not one.client.gone:
                assert one.client.over
                self._check(one.client)

    def _check(self, client: Client) -> None:
        story = client.story
        if client.status >= 400:
            assert story.error, bytes(client.body)
            return
        assert len(set(story.text.split())) <= 1, f"answers of two engines: {story.text!r}"
        if not story.error:
            assert not story.missing, (story.missing, bytes(client.body))
            assert not story.wrong, (story.wrong, bytes(client.body))
            assert story.finish

    def teardown(self) -> None:
        if not hasattr(self, "line"):
            self.loop.close() if hasattr(self, "loop") else None
            return
        self._do(self.line.break_off)
        assert not self.line.active
        self.slots_are_those_of_live_requests()
        self.each_is_recorded_once_when_it_is_over()
        self.whoever_stays_is_told_an_end()
        assert not self.line.admission.waiting
        self._do(self.fleet.close)
        self.loop.close()

    # ── helpers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _streaming(self, place: int) -> Link:
        able = [link for link in self.links if link.streaming]
        return able[place % len(able)]

    def _silent(self, place: int) -> Link:
        able = [link for link in self.links if not link.streaming]
        return able[place % len(able)]

    def _say_last(self, link: Link, data: bytes) -> None:
        """The end of an answer: the next request on this connection begins anew."""
        if not link.pipe.reading:
            self._do(link.lose, None)
            return

        def say() -> None:
            link.pipe.sent.clear()
            link.streaming = False
            link.say(data)

        self._do(say)
