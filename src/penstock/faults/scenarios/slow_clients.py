"""Row 21: clients that send slowly, read nothing, stay away or vanish."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from contextlib import AsyncExitStack

from penstock.faults.bare import Bare
from penstock.faults.memory import held
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import HEALTHY, Script
from penstock.faults.seen import request
from penstock.faults.site import PATHS, Site, answered

MANY = 200
"""Slow clients at a time."""
OFFERED = 100 * 1024 * 1024
"""Bytes an engine has for a client that reads none of them."""
GROWTH = 1024 * 1024
"""Bytes a gateway may hold more because of it."""
IDLE = 10_000
PIECE = 32 * 1024
WHOLE = 256 * 1024
_CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


async def slow_heads(site: Site) -> None:
    """200 clients send a head a byte at a time: others are answered meanwhile, and each of the slow ones is ended."""
    await _slow(site, b"", request(PATHS["openai"], _CHAT, close=False))


async def slow_bodies(site: Site) -> None:
    """200 clients send a body a byte at a time: others are answered meanwhile, and each of the slow ones is ended."""
    head, end, body = request(PATHS["openai"], {**_CHAT, "padding": "x" * 5000}, close=False).partition(b"\r\n\r\n")
    await _slow(site, head + end, body)


async def _slow(site: Site, at_once: bytes, slowly: bytes) -> None:
    """A byte at a time, ten a second at most: it would take longer than any limit allows."""
    async with AsyncExitStack() as life:
        clients = [await life.enter_async_context(Bare(site.url)) for _ in range(MANY)]
        for client in clients:
            await client.send(at_once)
        began, asked, slowest = time.monotonic(), 0, 0.0
        while time.monotonic() < began + 30.0 and not all(one.closed for one in clients):
            # never so many that it would be whole
            piece = slowly[asked : asked + 1] if asked < len(slowly) - 2 else b""
            for client in [one for one in clients if not one.closed]:
                client.closed = not await client.send(piece, limit=1.0) or client.ended
            await asyncio.sleep(0.1)
            seen = answered(await site.ask())
            asked, slowest = asked + 1, max(slowest, seen.seconds)
        took = time.monotonic() - began
    site.notes.append(f"ended after {took:.1f} s; {asked} others answered, the slowest in {slowest:.2f} s")
    if took >= 30.0:
        raise Failed(f"the end of {MANY} slow clients within 30 s was expected")


async def reads_nothing(site: Site) -> None:
    """A stream of 100 MB for a client that reads nothing: 1 MB more memory at most, and the engine waits."""
    await _reads_nothing(site, stream=True)


async def reads_no_whole_answer(site: Site) -> None:
    """400 whole answers of 256 KiB for a client that reads nothing: 1 MB more memory at most."""
    await _reads_nothing(site, stream=False)


async def reference(site: Site) -> None:
    """Both behind the reference lane (http: asgi): the same."""
    for stream in (True, False):
        async with site.penstock({"http": "asgi"}) as own:
            await _reads_nothing(own, stream=stream)


async def _reads_nothing(site: Site, *, stream: bool) -> None:
    script, requests = _offer(stream=stream)
    site.a.script = site.b.script = script  # A that is too slow to begin on a busy machine is no matter here
    for _ in range(3):
        # What a gateway takes for its first large answers it keeps; that is no leak.
        async with Bare(site.url) as bare:
            await bare.send(requests[0])
            await (bare.end(limit=0.5) if stream else bare.answers(1, limit=1.0))
    for _ in range(3):
        await _idle(site)
        before = held(site.process.pid)
        most, received = await _offered(site, requests)
        if received.startswith(b"HTTP/1.1 200") and len(received) > PIECE:
            break
    else:
        raise Failed(f"the beginning of an answer was expected, seen {received[:300]!r}")
    site.a.script = site.b.script = HEALTHY
    answered(await site.ask())
    site.notes.append(f"{'stream' if stream else 'whole'}: {(most - before) / 1024:+.0f} KiB of {before >> 20} MiB")
    if most - before > GROWTH:
        raise Failed(f"at most 1 MB more was expected, {(most - before) / 1e6:.1f} MB more were held")
    await _idle(site)


async def _offered(site: Site, requests: list[bytes]) -> tuple[int, bytes]:
    """What the process holds while nothing is read, and how what was not read begins."""
    async with Bare(site.url, buffer=4096) as bare:
        sending = asyncio.create_task(_send_all(bare, requests))
        most = await _settled(site, 4.0)
        sending.cancel()
        await asyncio.wait([sending])
        return most, await bare.end(limit=0.5)


def _offer(*, stream: bool) -> tuple[Script, list[bytes]]:
    if stream:
        # Ready made: an engine that wrote a hundred megabytes token by token would be slower than a first token may be.
        event = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        piece = {**event, "choices": [{"index": 0, "delta": {"content": "x" * PIECE}, "finish_reason": None}]}
        last = {**event, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        body = f"data: {json.dumps(piece)}\n\n" * (OFFERED // PIECE) + f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n"
        script = Script(body=body, content_type="text/event-stream; charset=utf-8")
        return script, [request(PATHS["openai"], {**_CHAT, "stream": True}, close=False)]
    document = {
        "id": "x", "object": "chat.completion", "created": 1, "model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * WHOLE}, "finish_reason": "stop"}],
    }  # fmt: skip
    script = Script(body=json.dumps(document), content_type="application/json")
    return script, [request(PATHS["openai"], _CHAT, close=False)] * (OFFERED // WHOLE)


async def _send_all(bare: Bare, requests: list[bytes]) -> None:
    for one in requests:
        if not await bare.send(one, limit=30.0):
            return


async def _settled(site: Site, seconds: float) -> int:
    """What the process holds when nothing moves any more: the most in the last of so many seconds."""
    await asyncio.sleep(seconds - 1.0)
    most = 0
    for _ in range(10):
        most = max(most, held(site.process.pid))
        await asyncio.sleep(0.1)
    return most


async def _idle(site: Site) -> None:
    """Until both engines do nothing."""
    for engine in (site.a, site.b):
        await engine.until(lambda engine=engine: not engine.running, "an idle engine", 20.0)  # type: ignore[misc]


async def idle(site: Site) -> None:
    """10,000 connections that were served and stay: the gateway answers on, and each costs little memory."""
    room = 2 * IDLE
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < IDLE + 1000:
        raise Failed(f"{IDLE + 1000} open files were expected to be allowed, {most} are")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(room, hard), hard))
    try:
        async with site.penstock({"limits": {"idle": "5m", "head": "1m"}}, prefix=_raised(min(room, hard))) as own:
            await _many_idle(own)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _raised(files: int) -> tuple[str, ...]:
    return ("prlimit", f"--nofile={files}")


async def _many_idle(site: Site) -> None:
    answered(await site.ask())
    before = held(site.process.pid)
    hello = request("/livez", close=False)
    async with AsyncExitStack() as life:
        for _ in range(IDLE // 100):
            some = [await life.enter_async_context(Bare(site.url)) for _ in range(100)]
            for bare in some:
                await bare.send(hello)
            for bare in some:
                if [status for status, _ in await bare.answers(1)] != [200]:
                    raise Failed(f"an answer on each of {IDLE} connections was expected, seen {bytes(bare.received)!r}")
        each = (held(site.process.pid) - before) / IDLE
        seen = [answered(await site.ask(stream=stream)) for stream in (True, False)]
    site.notes.append(
        f"{IDLE} idle connections: {each / 1024:.1f} KiB each; answered in {seen[0].seconds * 1000:.0f} ms"
    )
    await site.logged(event="request", status=200)


async def half_closed(site: Site) -> None:
    """A client that says it will send nothing more: it is answered whole or ended, and holds no engine for longer."""
    async with Bare(site.url) as bare:
        await bare.send(request(PATHS["openai"], {**_CHAT, "stream": True}))
        bare.socket.shutdown(1)
        received = await bare.end()
    if not bare.closed:
        raise Failed(f"an answer or an end was expected, the connection hangs after {received[-200:]!r}")
    await _idle(site)
    answered(await site.ask())


_OURS = frozenset({Need.PROCESS})
SCENARIOS = (
    Scenario(21, "slow-heads", slow_heads),
    Scenario(21, "slow-bodies", slow_bodies),
    Scenario(21, "reads-nothing", reads_nothing, _OURS, alone=True),
    Scenario(21, "reads-no-whole-answer", reads_no_whole_answer, _OURS, alone=True),
    Scenario(21, "reference-lane", reference, _OURS | {Need.PENSTOCK}, own=True, alone=True),
    Scenario(21, "idle", idle, frozenset({Need.PROCESS, Need.PENSTOCK}), own=True, alone=True, limit=120.0),
    Scenario(21, "half-closed", half_closed),
)
