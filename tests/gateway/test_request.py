"""One request against an engine whose every byte is the test's, its limits looked at when the test says so."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import msgspec
import pytest
import pytest_asyncio
from tests.gateway.fleets import Still, config, vllm
from tests.gateway.peer import LIMIT, Link, Peer

from penstock.config import Limits
from penstock.gateway.attempt import Attempt
from penstock.gateway.client import Headers
from penstock.gateway.line import Line
from penstock.gateway.record import Records
from penstock.gateway.request import Request
from penstock.gateway.sink import Sink
from penstock.protocols.table import ROUTES

PATH = b"/v1/chat/completions"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass(slots=True)
class Kept:
    """A client that keeps what it is told."""

    status: int = 0
    body: bytes = b""
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        del headers
        self.status, self.body = status, body
        self.over.set()

    def begin(self, status: int, headers: Headers) -> None:
        del headers
        self.status = status

    def write(self, data: bytes) -> None:
        self.body += data

    def end(self, data: bytes) -> None:
        self.body += data
        self.over.set()


class Site:
    """A line, one engine with one slot, and no clock but the test's."""

    def __init__(self, peer: Peer, **limits: float) -> None:
        settings = msgspec.structs.replace(
            config({"a": msgspec.structs.replace(vllm(peer.url), slots=1)}, [(["a"], "m")]),
            limits=msgspec.structs.replace(Limits(), **limits),
        )
        self.peer = peer
        self.fleet = Still(settings)
        self.fleet.up("a", "m")
        self.line = Line(settings, self.fleet, Records(lines=False, json=True, out=Sink(io.BytesIO())))

    def ask(self, *, stream: bool = True) -> tuple[Request, Kept]:
        request, client = self.line.open(ROUTES[PATH], {}), Kept()
        body = {"model": "a", "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
        request.start(json.dumps(body).encode(), client)
        return request, client

    async def asked(self) -> Link:
        """The engine's end of a request that has arrived."""
        link = await self.peer.link()
        head = (await link.request()).lower()
        await link.reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        return link

    @property
    def free(self) -> bool:
        """Whether nothing is held any more."""
        return not (self.fleet.backends["a"].busy or self.line.admission.aliases["a"].busy or self.line.active)


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Callable[..., Site]]:
    peer, sites = Peer(), list[Site]()
    await peer.start()

    def one(**limits: float) -> Site:
        sites.append(Site(peer, **limits))
        return sites[-1]

    yield one
    for site in sites:
        site.line.break_off()
        site.fleet.close()
    await peer.stop()


def chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


def said(text: str = "", finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return chunk(b"data: " + json.dumps({"model": "m", "choices": [choice]}).encode() + b"\n\n")


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not ready():  # noqa: ASYNC110 - it waits for a clock, or for many things at once
            await asyncio.sleep(0.005)


async def past(request: Request) -> None:
    """The deadline of this request has passed, and nobody has looked yet."""
    await until(lambda: time.monotonic() > request.deadline)


async def test_who_starts_while_limits_are_looked_at_has_all_of_its_time(start: Callable[..., Site]) -> None:
    """One gives its slot up and others, whose time in the queue passed at the same look, get it: a start, no failure."""
    site = start(first_token=0.02, queue_wait=0.02, attempts=1)
    running, _ = site.ask()
    await site.asked()
    waiting = [site.ask() for _ in range(20)]
    await past(waiting[-1][0])
    site.line.tick()
    told = [json.loads(client.body)["error"]["message"] for _, client in waiting if client.over.is_set()]
    assert all("Waiting for a slot" in one for one in told), told
    assert site.fleet.backends["a"].breaker.admits(time.monotonic())
    assert running.attempts == 1


async def test_an_engine_that_has_finished_and_does_not_end_is_let_go(start: Callable[..., Site]) -> None:
    """The caller has all of the answer; the connection is closed, or it would be held for ever."""
    site = start(between_tokens=0.02)
    request, client = site.ask()
    link = await site.asked()
    await link.send(STREAM + said("hello") + said(finish="stop"))
    await until(lambda: b'"stop"' in client.body)
    await past(request)
    site.line.tick()
    await until(client.over.is_set)
    assert client.body.endswith(b"data: [DONE]\n\n")
    assert await link.left()
    assert site.free


async def test_a_request_that_is_over_is_not_broken_off(start: Callable[..., Site]) -> None:
    """Breaking one off may end others: of these nothing more is counted."""
    site = start(queue=30)
    for _ in range(20):
        site.ask()
    link = await site.asked()
    site.line.break_off()
    assert await link.left()
    assert site.free
    failed = dict(site.line.snapshot().counters["penstock_attempts_failed"])
    assert sum(failed.values()) == 1


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_request_that_is_over_goes_at_once(start: Callable[..., Site], *, stream: bool) -> None:
    """Nothing of it waits for the cycle collector: bodies and answers would pile up until that runs."""
    site = start()
    gc.collect()
    gc.disable()
    try:
        client = await _answered(site, stream=stream)
        assert client.status == 200
        assert site.free
        held = [one for one in gc.get_objects() if isinstance(one, Request | Attempt)]
    finally:
        gc.enable()
    assert not held


async def _answered(site: Site, *, stream: bool) -> Kept:
    _, client = site.ask(stream=stream)
    link = await site.asked()
    whole = b'{"model": "m", "choices": [{"finish_reason": "stop"}]}'
    if stream:
        await link.send(STREAM + said("hello") + said(finish="stop") + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    else:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        await link.send(head % len(whole) + whole)
    async with asyncio.timeout(LIMIT):
        await client.over.wait()
    return client
