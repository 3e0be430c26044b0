"""Limits of callers and tenants through a real gateway: what is refused, what is charged, what lasts.

The scripted engine counts words; what the state holds once the gateway has stopped is what was charged.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import text
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import Answer, Raw, once

from penstock.faults.engine import Engine
from penstock.faults.script import Script
from penstock.gateway.estimate import BYTES_PER_TOKEN
from penstock.state.store import Store
from penstock.state.usage import Usage, Used

pytestmark = pytest.mark.asyncio

ALICE, BOB, CAROL = (f"authorization: Bearer sk-{name}" for name in ("alice", "bob", "carol"))
HELLO = [{"role": "user", "content": "one two three"}]
CHAT = "/v1/chat/completions"


def config(engine: Engine, limits: dict[str, int] | None, **more: object) -> dict[str, Any]:
    """`alice` of tenant red has limits, `bob` of red and `carol` of blue have none of their own."""

    def caller(name: str, tenant: str, **fields: object) -> dict[str, object]:
        return {"tenant": tenant, "key_sha256": hashlib.sha256(f"sk-{name}".encode()).hexdigest(), **fields}

    return {
        "backends": {"a": {"kind": "vllm", "url": engine.url, "probe": "100ms"}},
        "aliases": {"m": {"targets": [{"backends": ["a"], "model": "m"}]}},
        "callers": {
            "alice": caller("alice", "red", **({"limits": limits} if limits else {})),
            "bob": caller("bob", "red"),
            "carol": caller("carol", "blue"),
        },
        **more,
    }


async def chat(one: Gateway, who: str = ALICE, **fields: object) -> Answer:
    return await once(one.url, CHAT, {"model": "m", "messages": HELLO, "max_tokens": 20, **fields}, who)


def state_of(one: Gateway) -> str:
    return str(yaml.safe_load(one.config.read_text())["state"])


def taken(one: Gateway, kind: str, holder: str = "key:config:alice") -> float:
    """What the state counts as spent of a limit, in whichever period."""
    with Store(state_of(one)) as store, store.begin("Looking") as connection:
        found = connection.execute(
            text("SELECT SUM(taken) FROM budgets WHERE holder = :holder AND kind = :kind"),
            {"holder": holder, "kind": kind},
        ).scalar()
    return float(found or 0.0)


def used(one: Gateway) -> Used:
    """What alice has used, as `penstock usage` would show it."""
    with Store(state_of(one)) as store:
        return next(row for row in Usage(store).since("2000-01-01") if row.key == "config:alice")


async def test_requests_a_minute(gateway: StartGateway, scripted_engine: Engine) -> None:
    one = await gateway(config(scripted_engine, {"requests_per_minute": 3}))
    for left in (2, 1, 0):
        answer = await chat(one)
        assert answer.status == 200
        assert answer.header("x-ratelimit-limit-requests") == "3"
        assert answer.header("x-ratelimit-remaining-requests") == str(left)
        assert answer.header("x-ratelimit-limit-tokens") is None
    refused = await chat(one)
    assert refused.status == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert "requests_per_minute" in refused.error
    assert 1 <= int(refused.header("retry-after") or "0") <= 30
    assert refused.header("x-ratelimit-remaining-requests") == "0"
    assert str(refused.header("x-ratelimit-reset-requests")).endswith("s")
    ollama = await once(one.url, "/api/chat", {"model": "m", "messages": HELLO}, ALICE)
    assert ollama.status == 429
    assert list(ollama.json()) == ["error"]
    claude = await once(one.url, "/v1/messages", {"model": "m", "messages": HELLO, "max_tokens": 5}, ALICE)
    assert claude.json()["error"]["type"] == "rate_limit_error"
    other = await chat(one, BOB)
    assert other.status == 200
    assert other.header("x-ratelimit-limit-requests") is None
    metrics = (await once(one.url, "/metrics", None)).body.decode()
    assert 'penstock_quota_refused_total{limit="requests_per_minute"} 3.0' in metrics
    await one.stop()
    row = used(one)
    assert (row.tenant, row.sum.requests, row.sum.refused) == ("red", 3, 3)


async def test_what_the_engine_counted_is_charged(gateway: StartGateway, scripted_engine: Engine) -> None:
    """Whole answers and streams, through both protocols: reserved by estimate, settled with the usage, to the token."""
    one = await gateway(config(scripted_engine, {"tokens_per_day": 100_000, "tokens_per_month": 1_000_000}))
    told = 0
    for number in range(4):
        usage = (await chat(one, max_tokens=number + 1)).json()["usage"]
        told += usage["prompt_tokens"] + usage["completion_tokens"]
    stream = await chat(one, stream=True, stream_options={"include_usage": True})
    assert stream.status == 200
    assert stream.header("x-ratelimit-limit-tokens") == "100000"
    usage = next(Answer(body=event[6:]).json() for event in stream.events if b'"usage":{' in event)["usage"]
    told += usage["prompt_tokens"] + usage["completion_tokens"]
    ollama = (await once(one.url, "/api/chat", {"model": "m", "messages": HELLO, "stream": False}, ALICE)).json()
    told += ollama["prompt_eval_count"] + ollama["eval_count"]
    await one.stop()
    assert taken(one, "tokens_per_day") == told
    assert taken(one, "tokens_per_month") == told
    row = used(one)
    assert row.sum.prompt_tokens + row.sum.completion_tokens == told
    assert row.sum.requests == 6


async def test_a_budget_that_is_spent(gateway: StartGateway, scripted_engine: Engine) -> None:
    """It stays spent after a restart; the tenant's other keys go on."""
    settings = config(scripted_engine, {"tokens_per_day": 300})
    one = await gateway(settings)
    scripted_engine.script = Script(count=90)
    answers = [await chat(one, max_tokens=90) for _ in range(4)]
    statuses = [answer.status for answer in answers]
    assert statuses == [200, 200, 429, 429]
    assert answers[-1].json()["error"]["code"] == "insufficient_quota"
    assert int(answers[-1].header("retry-after") or 0) >= 1
    too_much = await chat(one, max_tokens=1000)
    assert too_much.json()["error"]["code"] == "rate_limit_exceeded"
    assert too_much.header("retry-after") is None
    assert (await chat(one, BOB)).status == 200
    await one.stop()
    spent = taken(one, "tokens_per_day")
    assert spent == 2 * 94
    again = await gateway({**settings, "state": state_of(one)})
    assert (await chat(again, max_tokens=90)).status == 429
    await again.stop()
    assert taken(again, "tokens_per_day") == spent


async def test_a_tenant_shares_its_budget(gateway: StartGateway, scripted_engine: Engine) -> None:
    one = await gateway(config(scripted_engine, None, budgets={"red": {"requests_per_minute": 2}}))
    assert [(await chat(one, who)).status for who in (ALICE, BOB, ALICE, CAROL)] == [200, 200, 429, 200]
    refused = await chat(one, BOB)
    assert "tenant" in refused.error
    metrics = (await once(one.url, "/metrics", None)).body.decode()
    assert 'penstock_quota_refused_total{limit="tenant_requests_per_minute"} 2.0' in metrics


async def test_requests_at_the_same_time(gateway: StartGateway, scripted_engine: Engine) -> None:
    one = await gateway(config(scripted_engine, {"concurrent": 2}))
    gate = scripted_engine.hold(0)
    running = [asyncio.create_task(chat(one)) for _ in range(2)]
    await scripted_engine.seen(2)
    refused = await chat(one)
    assert refused.status == 429
    assert "concurrent" in refused.error
    gate.open()
    assert [(await task).status for task in running] == [200, 200]
    assert (await chat(one)).status == 200


async def test_who_leaves_has_had_the_tokens(gateway: StartGateway, scripted_engine: Engine) -> None:
    """A stream that is left is charged by its events, a whole answer that is left by all that was reserved."""
    one = await gateway(config(scripted_engine, {"tokens_per_day": 100_000}))
    scripted_engine.script = Script(tokens=tuple("abcdefgh"))
    gate = scripted_engine.hold(3)
    body = request_body(max_tokens=50, stream=True)
    async with Raw(one.url) as raw:
        raw.ask(CHAT, body, ALICE)
        await gate.reached()
        await raw.times(b'"content":', 3)
    await scripted_engine.aborted()
    gate.open()
    prompt = len(body) // BYTES_PER_TOKEN + 1
    scripted_engine.gates.clear()
    gate = scripted_engine.hold(0)
    async with Raw(one.url) as raw:
        raw.ask(CHAT, whole := request_body(max_tokens=70), ALICE)
        await gate.reached()
    await scripted_engine.aborted(2)
    gate.open()
    await one.stop()
    reserved = len(whole) // BYTES_PER_TOKEN + 1 + 70
    # three pieces of text, and the event with the role before them
    assert prompt + reserved + 3 <= taken(one, "tokens_per_day") <= prompt + reserved + 4


async def test_what_came_to_nothing_costs_nothing(gateway: StartGateway, scripted_engine: Engine) -> None:
    """An engine's error costs its request and no tokens; what reached no engine costs neither."""
    one = await gateway(config(scripted_engine, {"tokens_per_day": 100_000, "requests_per_minute": 1000}))
    scripted_engine.next.append(Script(status=400, message="no"))
    assert (await chat(one)).status == 400
    assert (await once(one.url, CHAT, {"model": "nobody", "messages": HELLO}, ALICE)).status == 404
    await scripted_engine.stop()
    await one.until("/ready", lambda page: page["status"] != "ready")
    assert (await chat(one)).status in {502, 503}
    await one.stop()
    assert taken(one, "tokens_per_day") == 0
    assert (used(one).sum.prompt_tokens, used(one).sum.completion_tokens) == (0, 0)


async def test_the_one_that_answered_is_charged(gateway: StartGateway, scripted_engine: Engine) -> None:
    """After a failover: the usage of the engine that gave the answer, once."""
    async with Engine(["m"]) as spare:
        settings = config(scripted_engine, {"tokens_per_day": 100_000})
        settings["backends"]["b"] = {"kind": "vllm", "url": spare.url, "probe": "100ms"}
        settings["aliases"]["m"]["targets"].append({"backends": ["b"], "model": "m"})
        one = await gateway(settings)
        scripted_engine.next.append(Script(status=500))
        answer = await chat(one)
        assert answer.header("x-penstock-backend") == "b"
        await one.stop()
    usage = answer.json()["usage"]
    assert taken(one, "tokens_per_day") == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_the_state_goes_away_and_comes_back(gateway: StartGateway, scripted_engine: Engine) -> None:
    """Fail-closed for who has limits, nothing for who has none; with the state it comes back by itself."""
    one = await gateway(config(scripted_engine, {"requests_per_minute": 40}))
    assert (await chat(one)).status == 200
    file = Path(state_of(one).removeprefix("sqlite:///"))
    away = file.with_name("away.db")
    await asyncio.to_thread(file.rename, away)
    refused = await chat(one)
    assert refused.status == 503
    assert refused.json()["error"]["code"] == "limits_unavailable"
    assert refused.header("retry-after") == "2"
    assert (await chat(one, BOB)).status == 200
    assert not await asyncio.to_thread(file.exists)
    await asyncio.to_thread(away.rename, file)
    assert (await chat(one)).status == 200
    assert "budgets can be asked for again" in one.log
    await one.stop()
    row = used(one)
    assert (row.sum.requests, row.sum.refused) == (2, 1)


def request_body(**fields: object) -> bytes:
    return json.dumps({"model": "m", "messages": HELLO, **fields}).encode()
