"""Row 32: replicas come and go while answers are under way, and an address gets another model."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import yaml

from penstock.faults.condition import Model
from penstock.faults.engine import Engine
from penstock.faults.gateways import Penstock, free_port
from penstock.faults.injectors.names import names
from penstock.faults.record import Gate
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.seen import Outcome, Seen
from penstock.faults.site import MODEL, Site, answered, explicit

NAME = "engines.penstock.test"
SESSIONS = 60
_OURS = frozenset({Need.PENSTOCK})
_ROOT = frozenset({Need.PENSTOCK, Need.ROOT})
_ONE = {
    "aliases": {MODEL: {"targets": [{"backends": ["a"], "model": MODEL}]}},
    # answers are held while the fleet changes
    "limits": {"first_token": "30s", "between_tokens": "30s", "total": "60s"},
}


async def another_model(site: Site) -> None:
    """A comes back at its address with another model: no request is sent to it, B answers; without B it is an error."""
    answered(await site.ask(), by=site.a)
    await _again_with(site.a, "other")
    for stream in (True, False):
        answered(await site.ask(stream=stream), by=site.b)
    await site.b.stop()
    explicit(await site.ask(), Outcome.REFUSED)
    if len(site.a.requests) != 1:
        raise Failed(f"no request to A after its restart was expected, seen {len(site.a.requests) - 1}")
    if site.ours:
        await site.logged(event="request", backend="b", fallback="not_loaded", outcome="answered")
        await site.logged(event="backend serves other models", backend="a", gone=[MODEL])


async def same_model(site: Site) -> None:
    """A comes back at its address with the same model: A answers the next request."""
    answered(await site.ask(), by=site.a)
    await _again_with(site.a, MODEL)
    answered(await site.ask())
    if site.b.requests:
        raise Failed("an answer of A was expected, seen one of B")


async def many_at_once(site: Site) -> None:
    """Thirty requests meet an A that came back with another model: not one of them is sent to it."""
    answered(await site.ask(), by=site.a)
    await _again_with(site.a, "other")
    for seen in await asyncio.gather(*(site.ask(stream=number % 2 == 0) for number in range(30))):
        answered(seen, by=site.b)
    if len(site.a.requests) != 1:
        raise Failed(f"no request to A after its restart was expected, seen {len(site.a.requests) - 1}")


async def by_file(site: Site) -> None:
    """The fleet file brings a replica and takes it away: its answer under way ends whole, and it gets no other."""
    async with _third() as third, _filed(site, [site.a.url]) as own:
        await _list(own, [own.a.url, third.url])
        stream, gate = await _under_way(own, third)
        await _list(own, [own.a.url])
        asked = len(third.requests)
        for _ in range(20):
            answered(await own.ask(stream=False))
        if len(third.requests) != asked:
            raise Failed("nothing new for a replica that was taken away was expected")
        gate.open()
        answered(await stream)
        await own.counted("penstock_fleet_file_total", 2, {"result": "taken"}, at_least=True)


async def by_broken_file(site: Site) -> None:
    """A fleet file that cannot be used, or that is gone, takes nobody away: what was last good serves on."""
    async with _third() as third, _filed(site, [site.a.url, third.url]) as own:
        await _list(own, [third.url])
        for wrong in ("replicas: [", "replicas: {a: []}", "replicas: {a: [ftp://x]}", "replica: {}"):
            (own.folder.parent / "fleet.yaml").write_text(wrong, encoding="utf-8")
            await own.counted("penstock_fleet_file_total", 1, {"result": "refused"}, at_least=True)
            await own.settle()
            answered(await own.ask(stream=False))
        if own.a.requests:
            raise Failed("the replica of the last good file alone was expected to answer, A was asked")


async def by_order(site: Site) -> None:
    """An order over the admin socket of one of two workers holds in both, at once; so does the one that takes it back."""
    async with (
        _third() as third,
        _filed(site, [site.a.url], {"workers": 2, "listen": [f"127.0.0.1:{free_port()}"]}) as own,
    ):
        await _ordered(own, "add", third.url)
        await _in_every_worker(own, {own.a.url, third.url})
        await _ordered(own, "remove", own.a.url)
        await _in_every_worker(own, {third.url})
        asked = len(own.a.requests)
        for _ in range(10):
            answered(await own.ask(stream=False), by=third)
        if len(own.a.requests) != asked:
            raise Failed("nothing new for a replica that was taken away was expected, in either worker")
        await own.logged(event="replica removed", backend="a", replica=own.a.url, who=re.compile("uid"))


async def taken_while_waiting(site: Site) -> None:
    """A replica is taken away while requests wait for its slot: they go to the others, none is lost."""
    changes = {"backends": {"a": {"slots": 1}}}
    async with _third() as third, _filed(site, [third.url], changes) as own:
        gate = third.hold(before=1)
        first = own.asking()
        await third.seen(1)
        waiting = [own.asking(stream=False) for _ in range(5)]
        await _queued(own, 5)
        await _list(own, [own.a.url], wait=False)
        for one in waiting:
            answered(await one.seen(), by=own.a)
        gate.open()
        answered(await first.seen())
        if len(third.requests) != 1:
            raise Failed(f"nothing new for a replica that was taken away was expected, seen {len(third.requests) - 1}")


async def by_name(site: Site) -> None:
    """A name with two addresses is two replicas; one address goes: its replica ends what it has begun and gets nothing new."""
    async with names(site.folder) as (server, prefix), _third("127.0.0.2", site.a.port) as third:
        server.addresses[NAME] = [site.a.host, third.host]
        one = {"a": {"url": f"http://{NAME}:{site.a.port}", "resolve": "each"}}
        async with site.penstock({"backends": one, **_ONE}, prefix=prefix) as own:
            stream, gate = await _under_way(own, third)
            server.addresses[NAME] = [own.a.host]
            await _replicas(own, 1)
            asked = len(third.requests)
            for _ in range(10):
                answered(await own.ask(stream=False), by=own.a)
            gate.open()
            answered(await stream)
            if len(third.requests) != asked:
                raise Failed("nothing new for an address that the name lost was expected")
            server.addresses[NAME] = [own.a.host, third.host]
            await _replicas(own, 2)


async def names_fail(site: Site) -> None:
    """The name server forgets the name of running replicas, or fails: they go on serving."""
    async with names(site.folder) as (server, prefix):
        server.addresses[NAME] = [site.a.host]
        one = {"a": {"url": f"http://{NAME}:{site.a.port}", "resolve": "each"}}
        async with site.penstock({"backends": one, **_ONE}, prefix=prefix) as own:
            answered(await own.ask(), by=own.a)
            server.addresses.clear()
            await own.logged(event="a name cannot be resolved, its addresses stay")
            answered(await own.ask(), by=own.a)


async def moved_under_connections(site: Site) -> None:
    """A name moves while its old address still answers: within seconds requests go to the new one."""
    async with names(site.folder) as (server, prefix), _third("127.0.0.2", site.a.port) as third:
        server.addresses[NAME] = [site.a.host]
        async with site.penstock(
            {"backends": {"a": {"url": f"http://{NAME}:{site.a.port}"}}, **_ONE}, prefix=prefix
        ) as own:
            answered(await own.ask(), by=own.a)
            server.addresses[NAME] = [third.host]
            async with asyncio.timeout(20):
                while not third.requests:
                    answered(await own.ask(stream=False))
                    await asyncio.sleep(0.05)
            asked = len(own.a.requests)
            for _ in range(5):
                answered(await own.ask(stream=False), by=third)
            if len(own.a.requests) != asked:
                raise Failed("no request to the address that the name lost was expected")


async def only_its_own(site: Site) -> None:
    """One of three replicas is taken away under load: its sessions move and hardly any other; no request is lost."""
    async with _third() as third, _third() as fourth, _filed(site, [site.a.url, third.url, fourth.url]) as own:
        await _list(own, [own.a.url, third.url, fourth.url])
        before = await _owners(own)
        await _list(own, [own.a.url, third.url])
        after = await _owners(own)
        lost = {session for session, owner in before.items() if owner not in after.values()}
        moved = {session for session, owner in after.items() if before[session] != owner} - lost
        own.notes.append(f"{len(lost)} of {SESSIONS} sessions lost their replica, {len(moved)} others moved")
        if len(moved) > SESSIONS // 10:
            raise Failed(f"other replicas' sessions to stay was expected, {len(moved)} of {SESSIONS - len(lost)} moved")


async def _queued(own: Site, count: int) -> None:
    """Until so many requests wait for a slot."""
    async with asyncio.timeout(10):
        while await own.metric("penstock_queue_depth") < count:  # noqa: ASYNC110 - a figure of another process
            await asyncio.sleep(0.02)


async def _owners(own: Site) -> dict[str, str]:
    """Who answers each session."""
    owners = {}
    for number in range(SESSIONS):
        seen = answered(await own.ask(stream=False, headers={"x-session-id": f"s{number}"}))
        owners[f"s{number}"] = seen.headers.get("x-penstock-backend", "")
    return owners


async def _again_with(engine: Engine, model: str) -> None:
    """The process ends, and another one with this model gets its port."""
    await engine.stop()
    engine.models = {model: Model(model)}
    await engine.start()


async def _ordered(own: Site, verb: str, url: str) -> None:
    """What `penstock replicas` asks of the first worker."""
    order = json.dumps({"backend": "a", "replica": url}).encode()
    told = await _admin(own, "", f"POST /replicas/{verb}", order)
    if "backends" not in told:
        raise Failed(f"an order that is taken was expected, seen {told}")


async def _in_every_worker(own: Site, urls: set[str]) -> None:
    """Until both workers say that backend `a` stands for these."""
    async with asyncio.timeout(20):
        for socket in ("", ".1"):
            while True:
                told = await _admin(own, socket, "GET /replicas")
                members = told["backends"]["a"]
                if {one["url"] for one in members} == urls and all(one["state"] == "ready" for one in members):
                    break
                await asyncio.sleep(0.05)


async def _admin(own: Site, socket: str, line: str, body: bytes = b"") -> Any:  # noqa: ANN401 - a document
    """One question to an admin socket; a worker opens its own a moment after the first one serves."""
    if not isinstance(own.gateway, Penstock):
        raise Failed("a Penstock was expected")
    reader, writer = await _opened(f"{own.gateway.admin}{socket}")
    head = f"{line} HTTP/1.1\r\nhost: penstock\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    try:
        async with asyncio.timeout(10):
            return json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
    finally:
        writer.close()


async def _opened(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(20):
        while True:
            try:
                return await asyncio.open_unix_connection(path)
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def _third(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Engine]:
    engine = Engine([MODEL], port=port)
    engine.host = host
    async with engine:
        yield engine
        for gate in engine.gates:
            gate.open()


@asynccontextmanager
async def _filed(site: Site, urls: Sequence[str], changes: Mapping[str, object] | None = None) -> AsyncIterator[Site]:
    """A gateway with one backend, `a`, and these replicas of it in its fleet file."""
    path = site.folder / "fleet.yaml"
    path.write_text(yaml.safe_dump({"replicas": {"a": list(urls)}}), encoding="utf-8")
    async with site.penstock({**_ONE, "fleet": str(path), **(changes or {})}) as own:
        yield own


async def _list(own: Site, urls: Sequence[str], *, wait: bool = True) -> None:
    """Write the fleet file, and wait until it holds."""
    path = own.folder.parent / "fleet.yaml"
    beside = path.with_suffix(".new")
    beside.write_text(yaml.safe_dump({"replicas": {"a": list(urls)}}), encoding="utf-8")
    beside.replace(path)
    if wait:
        await _replicas(own, len(urls))


async def _replicas(own: Site, count: int) -> None:
    """Until backend `a` stands for so many engines, all of them ready."""
    async with asyncio.timeout(20):
        while True:
            page = (await own.get("/ready")).events[0]
            targets = page["aliases"][MODEL]["targets"]
            if len(targets) == count and all(one["state"] == "ready" for one in targets):
                return
            await asyncio.sleep(0.05)


async def _under_way(own: Site, engine: Engine) -> tuple[asyncio.Task[Seen], Gate]:
    """An answer of this engine, held in the middle, and what holds it."""
    gate = engine.hold(before=2)
    async with asyncio.timeout(20):
        for number in itertools.count():
            answer = asyncio.create_task(own.ask(headers={"x-session-id": f"u{number}"}))
            while not answer.done() and not engine.running:  # noqa: ASYNC110 - whichever of two things comes first
                await asyncio.sleep(0.01)
            if engine.running:
                await gate.reached()
                return answer, gate
            answered(await answer)
    raise Failed("a request to the new replica was expected")


SCENARIOS = (
    Scenario(32, "another-model", another_model),
    Scenario(32, "same-model", same_model),
    Scenario(32, "another-model-for-many", many_at_once),
    Scenario(32, "by-file", by_file, _OURS, own=True),
    Scenario(32, "by-order", by_order, _OURS, own=True),
    Scenario(32, "broken-file", by_broken_file, _OURS, own=True),
    Scenario(32, "taken-while-waiting", taken_while_waiting, _OURS, own=True),
    Scenario(32, "only-its-own", only_its_own, _OURS, own=True),
    Scenario(32, "by-name", by_name, _ROOT, own=True),
    Scenario(32, "names-fail", names_fail, _ROOT, own=True),
    Scenario(32, "moved", moved_under_connections, _ROOT, own=True),
)
