"""Connections to an engine, against a server whose every byte, FIN and RST is chosen here."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
import uvloop
from tests.gateway.peer import LIMIT, Link, Peer, Told

from penstock.errors import BrokenAnswer, EngineFault, Unreachable
from penstock.gateway import keepalive, upstream
from penstock.gateway.connection import HEAD_LIMIT
from penstock.gateway.upstream import Exchange, Origin

ASK = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


OTHERS = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nothers"


@pytest_asyncio.fixture
async def peer() -> AsyncIterator[Peer]:
    one = Peer()
    await one.start()
    yield one
    await one.stop()


@pytest_asyncio.fixture
async def origin(peer: Peer) -> AsyncIterator[Origin]:
    one = Origin(peer.url, connect_timeout=LIMIT)
    yield one
    one.close()


def ask(origin: Origin) -> tuple[Told, Exchange]:
    told = Told()
    return told, origin.ask(ASK, told)


async def answered(origin: Origin, peer: Peer, data: bytes, *, fin: bool = False) -> Told:
    """What becomes of one request on a new connection that is answered with these bytes."""
    told, _ = ask(origin)
    link = await peer.link()
    assert await link.request() == ASK
    await link.send(data)
    if fin:
        link.fin()
    return await told.end()


async def warmed(origin: Origin, peer: Peer) -> Link:
    """A connection in the pool, seen from the other end."""
    told, _ = ask(origin)
    link = await peer.link()
    await link.request()
    await link.send(OK)
    assert (await told.end()).body == b"ok"
    return link


async def test_a_connection_with_half_a_request_in_it_is_not_used_again(origin: Origin, peer: Peer) -> None:
    told = Told()
    origin.ask(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 33554432\r\n\r\n" + bytes(32 << 20), told)
    link = await peer.link()
    await link.send(OK)
    assert (await told.end()).body == b"ok"
    ask(origin)
    assert await (await peer.link()).request() == ASK


async def test_errors_show_no_password() -> None:
    one = Origin("http://me:sesame@127.0.0.1:1/v", connect_timeout=LIMIT)
    assert one.url == "http://127.0.0.1:1/v"


async def again(origin: Origin, link: Link) -> None:
    """One more round trip on a connection of the pool."""
    told, _ = ask(origin)
    assert await link.request() == ASK
    await link.send(OK)
    assert (await told.end()).body == b"ok"


@pytest.mark.parametrize(
    ("data", "fin", "status", "body"),
    [
        (OK, False, 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\n\r\n", False, 200, b"ok!"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", False, 200, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, 204, b""),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", True, 200, b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", True, 200, b"until the end"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", True, 200, b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, False, 200, b"ok"),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 1\r\n\r\nx", False, 503, b"x"),
    ],
)
async def test_answers_of_every_framing(
    origin: Origin,
    peer: Peer,
    data: bytes,
    fin: bool,  # noqa: FBT001 - a table of cases
    status: int,
    body: bytes,
) -> None:
    told = await answered(origin, peer, data, fin=fin)
    assert told.fault is None
    assert [head[0] for head in told.heads] == [status]
    assert b"link" not in told.heads[0][1]
    assert (told.body, told.ends) == (body, 1)


async def test_an_answer_byte_by_byte(origin: Origin, peer: Peer) -> None:
    told, _ = ask(origin)
    link = await peer.link()
    await link.request()
    for byte in OK:
        await link.send(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await told.end()).body == b"ok"


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok", Unreachable, "in the middle of its answer"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", Unreachable, "in the middle"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", Unreachable, "before it answered"),
        (b"", Unreachable, "before it answered"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", BrokenAnswer, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", BrokenAnswer, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * (2 * HEAD_LIMIT), BrokenAnswer, "a head over"),
    ],
)
async def test_answers_that_do_not_come_whole(
    origin: Origin, peer: Peer, data: bytes, kind: type[EngineFault], said: str
) -> None:
    told = await answered(origin, peer, data, fin=True)
    assert type(told.fault) is kind
    assert said in told.fault.message
    assert (told.ends, peer.accepted) == (1, 1)


async def test_a_reset_in_the_middle_is_told(origin: Origin, peer: Peer) -> None:
    told, _ = ask(origin)
    link = await peer.link()
    await link.request()
    await link.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
    async with asyncio.timeout(LIMIT):
        await told.more.wait()
    link.reset()
    await told.end()
    assert isinstance(told.fault, Unreachable)
    assert "reset" in told.fault.message


async def test_a_connection_is_used_again(origin: Origin, peer: Peer) -> None:
    link = await warmed(origin, peer)
    for _ in range(3):
        await again(origin, link)
    assert peer.accepted == 1


@pytest.mark.parametrize(
    "end", [b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", b"HTTP/1.0 200 OK\r\n\r\n"]
)
async def test_a_connection_that_says_it_closes_is_not(origin: Origin, peer: Peer, end: bytes) -> None:
    await answered(origin, peer, end, fin=True)
    await warmed(origin, peer)
    assert peer.accepted == 2


async def stale(link: Link, act: Callable[[Link], None]) -> None:
    """The engine gives the connection up just as the next request arrives."""
    await link.request()
    act(link)


@pytest.mark.parametrize("act", [Link.fin, Link.reset])
async def test_a_stale_connection_is_nobodys_fault_once(
    origin: Origin, peer: Peer, act: Callable[[Link], None]
) -> None:
    """An idle connection that the engine closed costs no error."""
    link = await warmed(origin, peer)
    told, _ = ask(origin)
    await stale(link, act)
    fresh = await peer.link()
    assert await fresh.request() == ASK
    await fresh.send(OK)
    await told.end()
    assert (told.fault, told.body, told.ends) == (None, b"ok", 1)


@pytest.mark.parametrize("act", [Link.fin, Link.reset])
async def test_it_is_tried_again_once_and_never_twice(origin: Origin, peer: Peer, act: Callable[[Link], None]) -> None:
    link = await warmed(origin, peer)
    told, _ = ask(origin)
    await stale(link, act)
    await stale(await peer.link(), act)
    await told.end()
    assert isinstance(told.fault, Unreachable)
    assert (told.ends, peer.accepted) == (1, 2)


async def test_a_stale_connection_that_began_to_answer_is_not_asked_again(origin: Origin, peer: Peer) -> None:
    link = await warmed(origin, peer)
    told, _ = ask(origin)
    await link.request()
    await link.send(b"HTTP/1.1 200")
    link.fin()
    await told.end()
    assert isinstance(told.fault, Unreachable)
    assert peer.accepted == 1


async def test_a_new_connection_that_dies_is_not_tried_again(origin: Origin, peer: Peer) -> None:
    told, _ = ask(origin)
    await stale(await peer.link(), Link.reset)
    await told.end()
    assert isinstance(told.fault, Unreachable)
    assert peer.accepted == 1


@pytest.mark.parametrize("length", [1, 20, len(OTHERS)])
async def test_bytes_after_a_whole_answer_reach_nobody(origin: Origin, peer: Peer, length: int) -> None:
    """One caller must never read what was meant for another."""
    told, _ = ask(origin)
    link = await peer.link()
    await link.request()
    await link.send(OK + OTHERS[:length])
    await told.end()
    assert (told.fault, told.body, told.ends) == (None, b"ok", 1)
    assert told.heads == [(200, {b"content-length": b"2"})]
    after, _ = ask(origin)
    fresh = await peer.link()
    await fresh.request()
    await fresh.send(OK)
    assert (await after.end()).body == b"ok"


async def test_bytes_on_an_idle_connection_end_it(origin: Origin, peer: Peer) -> None:
    link = await warmed(origin, peer)
    await link.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
    assert await link.left()
    await warmed(origin, peer)


async def test_whoever_aborts_hears_nothing_and_the_engine_sees_it_leave(origin: Origin, peer: Peer) -> None:
    told, exchange = ask(origin)
    link = await peer.link()
    await link.request()
    exchange.abort()
    assert await link.left()
    assert (told.ends, told.heads) == (0, [])


async def test_an_abort_before_the_connection_is_open(origin: Origin, peer: Peer) -> None:
    told, exchange = ask(origin)
    exchange.abort()
    await warmed(origin, peer)
    assert told.ends == 0


async def test_nobody_at_the_address() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{one.getsockname()[1]}"
        told, _ = ask(Origin(url, connect_timeout=LIMIT))
        await told.end()
    assert isinstance(told.fault, Unreachable)
    assert told.fault.message == "no connection: Connection refused"
    assert told.fault.logged == f"no connection: Connection refused ({url})"


async def test_an_address_that_never_answers_costs_the_connect_limit() -> None:
    """A listener whose queue is full lets nobody in and refuses nobody."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        address = busy.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        try:
            for one in fillers:
                one.setblocking(False)  # noqa: FBT003 - the name is socket's
                one.connect_ex(address)
            told, _ = ask(Origin(f"http://127.0.0.1:{address[1]}", connect_timeout=0.05))
            await told.end()
        finally:
            for one in fillers:
                one.close()
    assert isinstance(told.fault, Unreachable)
    assert told.fault.message == "no connection within 0.05 s"


async def test_a_paused_exchange_stops_the_engine(origin: Origin, peer: Peer) -> None:
    size = 32 << 20
    told, exchange = ask(origin)
    link = await peer.link()
    await link.request()
    await link.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x")
    async with asyncio.timeout(LIMIT):
        await told.more.wait()
    exchange.pause()
    sending = asyncio.ensure_future(link.send(b"x" * (size - 1)))
    # Round trips on another connection, in which a reader that is not paused would have read on.
    other = await warmed(origin, peer)
    held = len(told.body)
    for _ in range(100):
        await again(origin, other)
    assert not sending.done()
    assert len(told.body) == held < size
    exchange.resume()
    async with asyncio.timeout(LIMIT):
        await sending
    assert len((await told.end()).body) == size


async def test_a_pause_before_the_connection_is_open_holds_too(origin: Origin, peer: Peer) -> None:
    told, exchange = ask(origin)
    exchange.pause()
    link = await peer.link()
    await link.request()
    await link.send(OK)
    await warmed(origin, peer)
    assert told.heads == []
    exchange.resume()
    assert (await told.end()).body == b"ok"


async def test_idle_connections_are_given_up_before_the_engine_does(
    origin: Origin, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "IDLE", 0.05)
    link = await warmed(origin, peer)
    assert await link.left()
    await warmed(origin, peer)
    assert peer.accepted == 2


async def test_connections_to_an_engine_whose_answer_was_none_are_not_used_again(origin: Origin, peer: Peer) -> None:
    """What an engine has written behind it would be taken for the answer to the next request."""
    told, exchange = ask(origin)
    link = await peer.link()
    await link.request()
    await link.send(OK)
    await told.end()
    exchange.distrust()
    assert await link.left()
    await warmed(origin, peer)
    assert peer.accepted == 2


@pytest.mark.parametrize("times", [1, 3])
async def test_a_connection_that_was_to_carry_one_request_carries_no_other(
    origin: Origin, peer: Peer, times: int
) -> None:
    """Whether or not the engine closes it when it is told that it is the last one."""
    for _ in range(times):
        told = Told()
        origin.ask_anew(ASK, told)
        link = await peer.link()
        assert await link.request() == ASK
        await link.send(OK)
        assert (await told.end()).body == b"ok"
        assert await link.left()
    await warmed(origin, peer)
    assert peer.accepted == times + 1


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_kernel_watches_the_other_end(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A machine that goes away without a word is noticed, whatever is being waited for."""

    async def run() -> dict[str, int]:
        async with asyncio.timeout(LIMIT):
            peer = Peer()
            await peer.start()
            origin = Origin(peer.url, connect_timeout=LIMIT)
            raw = (await origin.connect())._transport.get_extra_info("socket")
            names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
            told = {name: raw.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names}
            told["on"] = raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            origin.close()
            await (await peer.link()).left()
            await peer.stop()
            return told

    with asyncio.Runner(loop_factory=loop) as runner:
        told = runner.run(run())
    assert told["on"]
    assert told["TCP_KEEPIDLE"] + told["TCP_KEEPINTVL"] * told["TCP_KEEPCNT"] == keepalive.SILENCE
    assert told["TCP_USER_TIMEOUT"] == keepalive.SILENCE * 1000


async def test_a_closed_origin_leaves_no_connection(origin: Origin, peer: Peer) -> None:
    links = [await warmed(origin, peer)]
    _, exchange = ask(origin)
    await links[0].request()
    origin.close()
    exchange.abort()
    assert [await link.left() for link in links] == [True]


async def test_whoever_waits_for_an_origin_that_is_closed_is_told(origin: Origin, peer: Peer) -> None:
    """An engine of ours that is stopped or started anew: its callers need not wait for a limit."""
    link = await warmed(origin, peer)
    told, _ = ask(origin)
    await link.request()
    origin.close()
    await told.end()
    assert isinstance(told.fault, Unreachable)
    assert (told.ends, peer.accepted) == (1, 1)


def test_an_engine_that_resets_every_connection_is_told_each_time() -> None:
    """On uvloop, which the gateway runs on: a reset that comes together with the connection is not overlooked."""

    async def run() -> None:
        def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Awaitable[None] | None:
            Link(reader, writer).reset()
            return None

        server = await asyncio.start_server(dies, "127.0.0.1", 0)
        origin = Origin(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", connect_timeout=LIMIT)
        for _ in range(100):
            told, _ = ask(origin)
            assert isinstance((await told.end()).fault, Unreachable)
        origin.close()
        server.close()
        await server.wait_closed()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
