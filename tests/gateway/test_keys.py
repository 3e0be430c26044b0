"""Keys that were made while the gateway runs: known at once, on every worker, and gone at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from tests.fakes.gateway import Config, Gateway, StartGateway
from tests.fakes.raw import Answer, Raw, once
from tests.gateway.canaries import until_workers
from tests.gateway.keyed import Orders, bearer
from tests.gateway.site import chat
from tests.gateway.test_life import free_port

from penstock.faults.engine import Engine
from penstock.gateway.admin_keys import Keys

pytestmark = pytest.mark.asyncio

PATH = "/v1/chat/completions"
CONNECTIONS = 12


def config(engine: Engine, **more: object) -> Config:
    return {
        "backends": {"a": {"kind": "vllm", "url": engine.url, "probe": "200ms"}},
        "aliases": {
            "m": {"targets": [{"backends": ["a"], "model": "m"}]},
            "secret": {"also": ["hidden"], "targets": [{"backends": ["a"], "model": "m"}]},
        },
        **more,
    }


@contextlib.asynccontextmanager
async def connections(gateway: Gateway, count: int = CONNECTIONS) -> AsyncIterator[list[Raw]]:
    async with contextlib.AsyncExitStack() as life:
        yield [await life.enter_async_context(Raw(gateway.url)) for _ in range(count)]


async def statuses(open_: list[Raw], key: str) -> set[int]:
    """One request on each."""
    for raw in open_:
        raw.ask(PATH, chat(), key)
    return {(await raw.answer()).status for raw in open_}


async def test_a_key_begins_and_ends_with_the_next_request(gateway: StartGateway, scripted_engine: Engine) -> None:
    """On every worker, also where the head of an open connection was known already (S2.8, X16)."""
    one = await gateway(config(scripted_engine, workers=2, listen=[f"127.0.0.1:{free_port()}"]))
    await until_workers(one, 2)
    assert "no keys: everybody on this machine may ask" in one.log
    orders = Orders(one)
    async with connections(one) as open_:
        assert await statuses(open_, "x-a: b") == {200}
        made = await orders("create", name="ann", tenant="acme", scopes=["*"])
        assert made["late"] == []
        key = bearer(made)
    async with connections(one) as refused, connections(one) as open_:
        assert await statuses(refused, "x-a: b") == {401}
        for _ in range(3):
            assert await statuses(open_, key) == {200}
        gone = await orders("revoke", key=made["id"])
        assert (gone["state"], gone["late"]) == ("revoked", [])
        asked = len(scripted_engine.requests)
        assert await statuses(open_, key) == {401}
        assert len(scripted_engine.requests) == asked
    assert made["secret"] not in one.log
    assert [(key["name"], key["state"]) for key in await orders.listed()] == [("ann", "revoked")]


async def test_a_key_expires_by_the_clock_on_an_open_connection(gateway: StartGateway, scripted_engine: Engine) -> None:
    """Its head is known, and nobody has told anybody anything."""
    one = await gateway(config(scripted_engine))
    key = await Orders(one).key(expires_in=3.0)
    async with Raw(one.url) as raw:
        seen: list[Answer] = []
        async with asyncio.timeout(30):
            while not seen or seen[-1].status == 200:
                raw.ask(PATH, chat(), key)
                seen.append(await raw.answer())
    assert seen[0].status == 200
    assert seen[-1].status == 401
    assert "has expired" in seen[-1].error


async def test_a_rotated_key_and_its_successor(gateway: StartGateway, scripted_engine: Engine) -> None:
    one = await gateway(config(scripted_engine))
    orders = Orders(one)
    made = await orders("create", name="ann", tenant="acme", scopes=["alias:m"], extras=["priority"])
    new = await orders("rotate", key="ann", overlap=60.0)
    for each in (made, new):
        assert (await once(one.url, PATH, chat(), bearer(each))).status == 200
        assert (await once(one.url, PATH, chat("secret"), bearer(each))).status == 403
    ended = await orders("rotate", key=new["id"], overlap=0.0)
    assert (await once(one.url, PATH, chat(), bearer(new))).status == 401
    assert (await once(one.url, PATH, chat(), bearer(ended))).status == 200


async def test_another_machine_sees_it_by_the_generation(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    """Two gateways that share nothing but the state."""
    state = f"sqlite:///{tmp_path / 'shared.db'}"
    here, there = [await gateway(config(scripted_engine, state=state, auth={"keys": "always"})) for _ in range(2)]
    made = await Orders(here)("create", name="ann", tenant="acme")
    async with asyncio.timeout(20):
        while (await once(there.url, PATH, chat(), bearer(made))).status != 200:
            pass
    await Orders(there)("revoke", key="ann")
    async with asyncio.timeout(20):
        while (await once(here.url, PATH, chat(), bearer(made))).status != 401:
            pass


async def test_a_state_that_cannot_be_read_lets_no_stored_key_in(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    """Fail closed: 503 for what might be a key, 401 for what cannot be one; who stands in the file goes on (W32)."""
    state = tmp_path / "away.db"
    state.mkdir()
    digest = "2f1e8a1bd2e3a1e4a1ad8f8eae6a6e7e0c0c0e1a8a4b5b8a4be7f8f1a5c4d3e2"
    one = await gateway(
        config(
            scripted_engine,
            state=f"sqlite:///{state}",
            auth={"keys": "always"},
            callers={"file": {"tenant": "t", "key_sha256": digest}},
        )
    )
    (tmp_path / "away.pepper").write_text("ab" * 32)
    (tmp_path / "away.pepper").chmod(0o600)
    looks_like_one = f"authorization: Bearer sk-{'a' * 10}-{'b' * 32}"
    async with asyncio.timeout(20):
        while (answer := await once(one.url, PATH, chat(), looks_like_one)).status != 503:
            pass
    assert answer.header("retry-after") == "1"
    assert answer.json()["error"]["code"] == "auth_unavailable"
    assert (await once(one.url, PATH, chat(), "authorization: Bearer sk-other")).status == 401
    assert (await once(one.url, PATH, chat())).status == 401
    assert not scripted_engine.requests
    state.rmdir()
    async with asyncio.timeout(20):
        while (await once(one.url, PATH, chat(), looks_like_one)).status != 401:
            pass
    assert (await once(one.url, PATH, chat(), await Orders(one).key())).status == 200
    assert "keys cannot be read" in one.log
    assert "keys can be read again" in one.log


async def test_keys_outlive_the_process(gateway: StartGateway, scripted_engine: Engine, tmp_path: Path) -> None:
    state = f"sqlite:///{tmp_path / 'shared.db'}"
    one = await gateway(config(scripted_engine, state=state))
    key, gone = [await Orders(one).key(name=name) for name in ("ann", "bob")]
    await Orders(one)("revoke", key="bob")
    assert await one.stop() == 0
    other = await gateway(config(scripted_engine, state=state))
    assert (await once(other.url, PATH, chat())).status == 401
    assert (await once(other.url, PATH, chat(), gone)).status == 401
    assert (await once(other.url, PATH, chat(), key)).status == 200


async def test_a_copy_of_the_database_opens_nothing(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    """Without the pepper beside it nobody is known, and no new pepper is made over the old keys."""
    one = await gateway(config(scripted_engine, state=f"sqlite:///{tmp_path / 'first.db'}"))
    key = await Orders(one).key()
    assert await one.stop() == 0
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "first.db")) as source,
        contextlib.closing(sqlite3.connect(tmp_path / "stolen.db")) as copy,
    ):
        source.backup(copy)
    state = f"sqlite:///{tmp_path / 'stolen.db'}"
    other = await gateway(config(scripted_engine, state=state, auth={"keys": "always"}))
    assert (await once(other.url, PATH, chat(), key)).status == 401
    refused = await Orders(other)("create", name="eve", tenant="t")
    assert "is gone, and no key that was made is known without it" in refused["error"]
    assert not (tmp_path / "stolen.pepper").exists()


async def test_orders_that_make_no_sense_are_refused(gateway: StartGateway, scripted_engine: Engine) -> None:
    orders = Orders(await gateway(config(scripted_engine)))
    wrong: list[tuple[str, dict[str, object], str]] = [
        ("create", {"name": "ann"}, "tenant"),
        ("create", {"name": "ann", "tenant": "t", "scopes": ["alias:mm"]}, "'mm' is no alias"),
        ("create", {"name": "ann", "tenant": "t", "scopes": ["root"]}, "expects *, alias:NAME"),
        ("create", {"name": "ann", "tenant": "t", "secret": "sk-mine"}, "secret"),
        ("create", {"name": "ann", "tenant": "t", "limits": {"concurrent": 0}}, "concurrent is 0"),
        ("revoke", {"key": "nobody"}, "there is none"),
        ("rotate", {"key": "nobody", "overlap": -1.0}, "overlap is negative"),
    ]
    for verb, order, said in wrong:
        assert said in (await orders(verb, **order))["error"]
    assert await orders.listed() == []


async def test_nobody_administers_from_outside(gateway: StartGateway, scripted_engine: Engine) -> None:
    """What the admin socket offers is on no listener, for no key, and the socket is its owner's alone."""
    one = await gateway(config(scripted_engine, listen_metrics=["127.0.0.1:0"]))
    key = await Orders(one).key("*", "admin")
    paths = {str(route.path) for route in Keys.routes(Keys.__new__(Keys))}
    for path in sorted(
        paths | {"/stop", "/reload", "/snapshot", "/status", "/rollback", "/admin/stop", "/admin/keys/again"}
    ):
        for shown in (key, "x-a: b"):
            assert (await once(one.url, path, {"key": "ann"}, shown)).status == 404
    admin = await asyncio.to_thread(os.stat, yaml.safe_load(one.config.read_text())["admin"])
    assert admin.st_mode & 0o777 == 0o600
    assert [each["state"] for each in await Orders(one).listed()] == ["valid"]


async def test_an_administrator_is_a_caller_whose_scopes_say_so(gateway: StartGateway, scripted_engine: Engine) -> None:
    """`*` is none, nor is everybody on a machine without keys."""
    one = await gateway(config(scripted_engine))
    assert (await once(one.url, "/admin/keys", None)).status == 403
    admin, user = await Orders(one).key("admin", name="root"), await Orders(one).key("*", name="user")
    for path, order in (("/admin/keys", None), ("/admin/keys/create", {"name": "eve", "tenant": "t"})):
        assert (await once(one.url, path, order)).status == 401
        assert (await once(one.url, path, order, user)).status == 403
    made = (await once(one.url, "/admin/keys/create", {"name": "ann", "tenant": "t"}, admin)).json()
    assert (await once(one.url, PATH, chat(), bearer(made))).status == 200
    assert (await once(one.url, PATH, chat(), admin)).status == 403
    listed = (await once(one.url, "/admin/keys", None, admin)).json()["keys"]
    assert [key["name"] for key in listed] == ["root", "user", "ann"]
    assert not any("secret" in key for key in listed)
    gone = await once(one.url, "/admin/keys/revoke", {"key": "ann"}, admin)
    assert gone.json()["state"] == "revoked"
    assert (await once(one.url, PATH, chat(), bearer(made))).status == 401
    refused = await once(one.url, "/admin/keys/revoke", {"key": "nobody"}, admin)
    assert (refused.status, refused.json()["error"]["code"]) == (400, "invalid_request")
    assert (await once(one.url, "/admin/keys/show", b"x" * 100_000, admin, method="POST")).status == 400
    assert '"who": "root (' in one.log


@pytest.mark.parametrize(("where", "near", "far"), [("loopback", 200, 404), ("anywhere", 200, 200), ("off", 404, 404)])
async def test_where_an_administrator_is_heard(
    gateway: StartGateway, scripted_engine: Engine, where: str, near: int, far: int
) -> None:
    """By itself on loopback alone: elsewhere there is no such route, and a `Host` header makes no difference."""
    addresses = [f"127.0.0.1:{free_port()}", f"{own_address()}:{free_port()}"]
    one = await gateway(config(scripted_engine, listen=addresses, auth={"keys": "always", "admin": where}))
    key = await Orders(one).key("admin")
    for address, status in zip(addresses, (near, far), strict=True):
        for more in ((), ("host: 127.0.0.1",), ("x-forwarded-for: 127.0.0.1",)):
            assert (await once(f"http://{address}", "/admin/keys", None, key, *more)).status == status


def own_address() -> str:
    """An address of this machine that is not loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
