"""vllm-router, a real process, as a policy of the simulation: it picks among eight real sockets, on the simulation's clock.

Each simulated arrival is sent to it as a real request, and the socket it comes out at is its choice. The answer is held back
until the simulated one is whole, so that the load it sees is the simulated fleet's. What runs on its own clock all the same
(health checks, eviction from its tree) does not know that simulated minutes pass in seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import xxhash

from bench.fleet.simulation import REPLICAS
from bench.fleet.work import BLOCK, MODEL, TOKEN, Ask, read
from bench.peers import ROUTER
from bench.processes import free_port, running

ANSWER = b'{"id":"x","object":"chat.completion","created":0,"model":"m","choices":[]}'
PAGES = {b"/v1/models": b'{"object":"list","data":[{"id":"m","object":"model"}]}', b"/health": b"{}"}
WAIT = 30.0
"""Seconds of the real clock for anything the router does."""
READY = 45.0


@dataclass(slots=True)
class _Held:
    """A request of the router's at one of the sockets."""

    replica: int
    writer: asyncio.StreamWriter


class Sockets:
    """Eight engines that hold every request until they are told to answer."""

    def __init__(self) -> None:
        self._rendered = (b"", b"")
        self.ports: list[int] = []
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.StreamWriter] = set()
        self._closed = asyncio.Event()
        self.came: asyncio.Queue[_Held] = asyncio.Queue()

    async def open(self) -> None:
        for replica in range(REPLICAS):
            serve = partial(self._serve, replica)
            server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 22)
            self._servers.append(server)
            self.ports.append(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """After the router has ended, and with it its connections."""
        for server in self._servers:
            server.close()
        async with asyncio.timeout(WAIT):
            await self._closed.wait()

    async def _serve(self, replica: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        self._closed.clear()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                path, body = await _request(reader)
                if path == b"/v1/chat/completions":
                    self.came.put_nowait(_Held(replica, writer))
                elif path == b"/v1/chat/completions/render":
                    # all eight are asked for the same
                    if body != self._rendered[0]:
                        self._rendered = (body, _rendered(body))
                    _answer(writer, self._rendered[1])
                else:
                    _answer(writer, PAGES.get(path, b"{}"))
        self._open.discard(writer)
        if not self._open:
            self._closed.set()
        writer.close()


class Router:
    """One vllm-router with one of its policies; the simulation's `Policy`."""

    def __init__(self, port: int, loop: asyncio.AbstractEventLoop, sockets: Sockets) -> None:
        self._port = port
        self._loop = loop
        self._sockets = sockets
        self._held: dict[int, tuple[_Held, asyncio.StreamReader, asyncio.StreamWriter]] = {}
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    def pick(self, number: int, ask: Ask, now: float) -> int:
        del now
        return self._loop.run_until_complete(self._pick(number, ask))

    def began(self, number: int, replica: int) -> None:
        """A whole answer is one piece: it begins when it ends."""

    def over(self, number: int, replica: int) -> None:
        del replica
        self._loop.run_until_complete(self._over(number))

    def seen(self, replica: int, running: int, waiting: int) -> None:
        """It does not look at engines' gauges."""

    async def _pick(self, number: int, ask: Ask) -> int:
        reader, writer = self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._port)
        session = b"x-session-id: " + ask.session.encode() + b"\r\n" if ask.session else b""
        # Not as a stream: the router is told of the end either way, and one piece is less to pass on.
        body = ask.body.replace(b'"stream":true', b'"stream":false')
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: router\r\ncontent-type: application/json\r\n%b"
            b"content-length: %d\r\n\r\n%b" % (session, len(body), body)
        )
        async with asyncio.timeout(WAIT):
            held = await self._sockets.came.get()
        self._held[number] = (held, reader, writer)
        return held.replica

    async def _over(self, number: int) -> None:
        held, reader, writer = self._held.pop(number)
        _answer(held.writer, ANSWER)
        async with asyncio.timeout(WAIT):
            head, _ = await _message(reader)
        if not head.startswith(b"HTTP/1.1 200"):
            message = f"vllm-router answered {head[:200]!r}"
            raise SystemExit(message)
        self._free.append((reader, writer))


@contextmanager
def router(policy: str) -> Iterator[Router]:
    """A fresh process, its tree empty."""
    loop = asyncio.new_event_loop()
    sockets = Sockets()
    loop.run_until_complete(sockets.open())
    port = free_port()
    argv = [str(ROUTER), "--host", "127.0.0.1", "--port", str(port), "--policy", policy, "--log-level", "error"]
    argv += ["--worker-urls", *(f"http://127.0.0.1:{one}" for one in sockets.ports)]
    argv += ["--prometheus-port", str(free_port()), "--max-concurrent-requests", "8192"]
    argv += ["--health-check-interval-secs", "3600", "--disable-retries"]
    with tempfile.TemporaryDirectory() as place, running(argv, cpu=0, log=Path(place) / "log") as process:
        if not loop.run_until_complete(_ready(port, process.poll)):
            message = f"vllm-router did not become ready\n{(Path(place) / 'log').read_text()[-2000:]}"
            raise SystemExit(message)
        yield Router(port, loop, sockets)
    loop.run_until_complete(sockets.close())
    loop.close()


async def _ready(port: int, ended: Callable[[], int | None]) -> bool:
    """Until it has found its engines and takes requests."""
    deadline = time.monotonic() + READY
    while time.monotonic() < deadline and ended() is None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health HTTP/1.1\r\nhost: router\r\n\r\n")
            head, _ = await _message(reader)
            writer.close()
            if head.startswith(b"HTTP/1.1 200"):
                return True
        await asyncio.sleep(0.05)
    return False


async def _request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Path and body of the next request."""
    head, body = await _message(reader)
    return head.split(b" ", 2)[1], body


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of the next message, by its length or its chunks."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:-2])
    if fields.get(b"transfer-encoding", b"").strip() == b"chunked":
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        return head, body
    return head, await reader.readexactly(int(fields.get(b"content-length", b"0")))


def _rendered(body: bytes) -> bytes:
    """The prompt as ids, as vLLM answers; the router's cache_aware asks for them.

    One id for each block of the cache instead of one for each token: it finds what an engine would, and asks all eight
    engines for the ids of every prompt, which is most of what it does.
    """
    text, size = read(body), BLOCK * TOKEN
    tokens = [xxhash.xxh32_intdigest(text[at : at + size]) >> 1 for at in range(0, len(text), size)]
    return msgspec.json.encode({"request_id": "x", "token_ids": tokens, "sampling_params": {}, "model": MODEL})


def _answer(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )
