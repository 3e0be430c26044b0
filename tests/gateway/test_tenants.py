"""What one caller may see of others: no model outside its scopes, no answer of another tenant."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import Answer, once

from penstock.faults.engine import Engine
from penstock.faults.script import Script

pytestmark = pytest.mark.asyncio

ALICE, BOB = "authorization: Bearer sk-alice", "authorization: Bearer sk-bob"


async def start(gateway: StartGateway, engine: Engine, **more: object) -> Gateway:
    def caller(name: str, scope: str) -> dict[str, object]:
        digest = hashlib.sha256(f"sk-{name}".encode()).hexdigest()
        return {"tenant": f"{name}-corp", "key_sha256": digest, "scopes": [scope]}

    return await gateway(
        {
            "backends": {"first": {"kind": "vllm", "url": engine.url, "probe": "100ms"}},
            "aliases": {
                "shared": {"also": ["common"], "targets": [{"backends": ["first"], "model": "m"}]},
                "secret": {"also": ["hidden"], "targets": [{"backends": ["first"], "model": "m"}]},
            },
            "callers": {"alice": caller("alice", "*"), "bob": caller("bob", "alias:shared")},
            **more,
        }
    )


async def test_lists_show_what_the_scopes_name(gateway: StartGateway, scripted_engine: Engine) -> None:
    one = await start(gateway, scripted_engine)

    async def names(path: str, key: str) -> set[str]:
        page = (await once(one.url, path, None, key)).json()
        return {str(card.get("id", card.get("name"))) for card in page.get("data", page.get("models"))}

    for path in ("/v1/models", "/api/tags"):
        assert {"shared", "common", "secret", "hidden"} <= {name.split(":")[0] for name in await names(path, ALICE)}
        assert {name.split(":")[0] for name in await names(path, BOB)} == {"shared", "common"}
    assert not {name for name in await names("/api/ps", BOB) if "secret" in name}
    assert (await once(one.url, "/v1/models/hidden", None, BOB)).status == 403
    assert (await once(one.url, "/api/show", {"model": "hidden"}, BOB)).status == 403
    unknown = await once(one.url, "/v1/completions", {"model": "secre", "prompt": "a"}, BOB)
    assert unknown.status == 404
    assert b"shared" in unknown.body
    assert b"secret" not in unknown.body


async def test_an_answer_belongs_to_its_tenant(gateway: StartGateway, scripted_engine: Engine) -> None:
    one = await start(gateway, scripted_engine)

    async def ask(key: str, **fields: object) -> Answer:
        return await once(one.url, "/v1/responses", {"model": "shared", "input": "a b", **fields}, key)

    made = (await ask(ALICE)).json()["id"]
    path = f"/v1/responses/{made}"
    assert (await once(one.url, path, None, ALICE)).status == 200
    asked = len(scripted_engine.requests)
    assert (await once(one.url, path, None, BOB)).status == 404
    assert (await once(one.url, path, None, BOB, method="DELETE")).status == 404
    assert (await once(one.url, path + "/cancel", b"", BOB, method="POST")).status == 404
    assert (await ask(BOB, previous_response_id=made)).status == 404
    assert len(scripted_engine.requests) == asked
    assert (await ask(ALICE, previous_response_id=made)).status == 200


@pytest.mark.parametrize("restarted", [True, False])
async def test_an_answer_belongs_to_its_tenant_in_every_process(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path, *, restarted: bool
) -> None:
    """After a restart, and in another worker: both have the state and nothing else of the process that made it."""
    state = f"sqlite:///{tmp_path / 'shared.db'}"
    one = await start(gateway, scripted_engine, state=state)
    made = (await once(one.url, "/v1/responses", {"model": "shared", "input": "a b"}, ALICE)).json()["id"]
    if restarted:
        assert await one.stop() == 0
    other = await start(gateway, scripted_engine, state=state)
    path = f"/v1/responses/{made}"
    async with asyncio.timeout(10):
        while (await once(other.url, path, None, ALICE)).status != 200:
            pass
    third = await start(gateway, scripted_engine, state=state)
    asked = len(scripted_engine.requests)
    for running in (other, third):
        ask = {"model": "shared", "input": "and then?", "previous_response_id": made}
        refused = await once(running.url, "/v1/responses", ask, BOB)
        assert refused.status == 404
        assert "was made through this gateway" in refused.error
        assert (await once(running.url, path, None, BOB)).status == 404
    assert len(scripted_engine.requests) == asked
    assert (await once(third.url, "/v1/responses", ask, ALICE)).status == 200


async def test_a_state_that_does_not_tell_lets_nobody_go_on(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    """Where there are tenants, an answer of nobody knows whom is not continued."""
    one = await start(gateway, scripted_engine, state=f"sqlite:///{tmp_path}")
    ask = {"model": "shared", "input": "and then?", "previous_response_id": "resp_1"}
    refused = await once(one.url, "/v1/responses", ask, BOB)
    assert refused.status == 503
    assert not scripted_engine.requests


async def test_an_id_that_another_tenant_has_stays_that_tenants(gateway: StartGateway, scripted_engine: Engine) -> None:
    """Whatever an engine calls its answers: one that was restarted may begin to count anew."""
    one = await start(gateway, scripted_engine)
    made = (await once(one.url, "/v1/responses", {"model": "shared", "input": "a"}, ALICE)).json()["id"]
    scripted_engine.next.append(
        Script(body=f'{{"id": "{made}", "model": "m", "output": []}}', content_type="application/json")
    )
    assert (await once(one.url, "/v1/responses", {"model": "shared", "input": "b"}, BOB)).json()["id"] == made
    assert (await once(one.url, f"/v1/responses/{made}", None, BOB)).status == 404
    assert (await once(one.url, f"/v1/responses/{made}", None, ALICE)).status == 200


async def test_a_state_whose_folder_cannot_be_made_lets_nobody_wait(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    """The folder is a file: the request is refused, and the log of requests goes on."""
    (tmp_path / "file").write_text("")
    one = await start(gateway, scripted_engine, state=f"sqlite:///{tmp_path / 'file' / 'state.db'}")
    made = await once(one.url, "/v1/responses", {"model": "shared", "input": "a"}, ALICE)
    assert made.status == 200
    ask = {"model": "shared", "input": "and then?", "previous_response_id": "resp_1"}
    assert (await once(one.url, "/v1/responses", ask, ALICE)).status == 503
    async with asyncio.timeout(10):
        while one.log.count('"path":"/v1/responses"') < 2:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
