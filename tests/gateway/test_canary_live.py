"""Canaries through the real gateway: how they grow, how they are stopped, and what outlasts what."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import yaml
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import Answer, once
from tests.gateway.canaries import (
    Traffic,
    admin,
    config,
    figure,
    happened,
    many,
    start,
    stopped,
    talk,
    until,
    until_workers,
)
from tests.gateway.test_life import free_port

from penstock.faults.condition import Model
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def old() -> AsyncIterator[Engine]:
    async with Engine(["m"]) as engine:
        yield engine


@pytest_asyncio.fixture
async def new() -> AsyncIterator[Engine]:
    async with Engine(["m"]) as engine:
        yield engine


async def test_a_share_goes_to_the_canary_and_a_conversation_stays(
    gateway: StartGateway, old: Engine, new: Engine
) -> None:
    """S3.25: staged rollout: a part of the requests, each conversation on one side."""
    one = await gateway(config(old, new))
    assert (await start(one, steps=[50])).status == 200
    event = happened((await admin(one, "/switches")).data, "canary start")
    assert event["who"].startswith(f"uid {os.getuid()}")
    found = await many(one.url, 200)
    assert found["old"] + found["new"] == 200
    assert 60 <= found["new"] <= 140
    sides = {
        session: {(await talk(one.url, turn, session=session)).header("x-penstock-canary") for turn in range(3)}
        for session in map(str, range(25))
    }
    assert all(len(sides[session]) == 1 for session in sides)
    assert set.union(*sides.values()) == {"canary", "old"}
    assert await figure(one, 'penstock_canary_share_percent{alias="m"}') == 50
    told = await figure(one, 'penstock_canary_requests_total{alias="m",outcome="good",side="canary"}')
    assert told >= found["new"]


async def test_failures_stop_it_with_the_reason(gateway: StartGateway, old: Engine, new: Engine) -> None:
    """S3.25, X5: errors of the new engine end the canary by themselves; callers got answers from the old one meanwhile."""
    one = await gateway(config(old, new))
    await start(one, steps=[50])
    assert (await many(one.url, 40))["new"] > 0
    new.script = Script(status=500)
    async with Traffic(one.url) as traffic:
        told = await until(one, stopped)
    event = happened(told, "canary stop")
    assert event["who"] == "gateway"
    assert "of its requests failed, allowed are 2 %; on the old path 0 of" in event["reason"]
    assert set(traffic.found) <= {"old", "new"}
    assert (await many(one.url, 20, begin=1000)) == {"old": 20}
    assert '"canary stop"' in one.log
    assert await figure(one, 'penstock_canary_events_total{alias="m",event="stop"}') == 1
    assert await figure(one, "penstock_canary_share_percent") == 0


async def test_slowness_stops_it_with_the_reason(gateway: StartGateway, old: Engine, new: Engine) -> None:
    """S3.25: P95 beside that of the old path."""
    new.script = Script(first=0.8)
    one = await gateway(config(old, new))
    await start(one, steps=[50], max_p95_ratio=1.5)
    async with Traffic(one.url, stream=True):
        told = await until(one, stopped)
    assert "the P95 of its time to the first token is" in happened(told, "canary stop")["reason"]


async def test_a_healthy_one_grows_and_is_promoted(gateway: StartGateway, old: Engine, new: Engine) -> None:
    """S3.25: test, canary, full; the promotion outlasts the process."""
    one = await gateway(config(old, new))
    await start(one, steps=[25, 50, 100], every=0.1, promote=True)
    async with Traffic(one.url) as traffic:
        told = await until(one, lambda told: any(view["override"] for view in told["switched"]))
    assert [event["what"] for event in reversed(told["events"])] == [
        "canary start",
        "canary step",
        "canary step",
        "canary promote",
    ]
    assert [event["detail"]["percent"] for event in reversed(told["events"])] == ["25", "50", "100", "100"]
    assert told["switched"][0]["override"] == {"to": "new:m", "problem": ""}
    assert set(traffic.found) == {"old", "new"}
    assert await many(one.url, 10) == {"new": 10}
    assert await figure(one, 'penstock_override{alias="m"}') == 1
    again = await restarted(gateway, one)
    assert await many(again.url, 10) == {"new": 10}
    await admin(again, "/rollback", {"alias": "m"})
    assert await many(again.url, 10) == {"old": 10}
    assert (
        happened((await admin(again, "/switches")).data, "rollback")["reason"] == "removed: the promoted target new:m"
    )


async def restarted(gateway: StartGateway, before: Gateway) -> Gateway:
    """The same gateway, as a new process with the same configuration and state."""
    await before.stop()
    return await gateway(yaml.safe_load(before.config.read_text()))


async def test_a_canary_outlasts_a_restart(gateway: StartGateway, old: Engine, new: Engine) -> None:
    """S1.32: what was ordered is in the state and goes on where it was."""
    one = await gateway(config(old, new))
    await start(one, steps=[5, 50], every=3600, services=["rag"])
    before = (await admin(one, "/switches")).data["switched"][0]["canary"]
    again = await restarted(gateway, one)
    after = (await admin(again, "/switches")).data["switched"][0]["canary"]
    assert {**after, "progress": None} == {**before, "progress": None}
    assert after["progress"]["held"] >= before["progress"]["held"]


async def test_service_by_service(gateway: StartGateway, old: Engine, new: Engine) -> None:
    """S3.14: RAG first, then Notes, then NER; the old engine serves the others, and all of it can be taken back."""
    one = await gateway(config(old, new))
    moved: list[str] = []
    for service in ("rag", "notes", "ner"):
        assert (await start(one, services=[service])).status == 200
        moved.append(service)
        for asking in ("rag", "notes", "ner", "other"):
            answer = await talk(one.url, 1, f"x-penstock-service: {asking}")
            assert answer.header("x-penstock-backend") == ("new" if asking in moved else "old")
    answer = await talk(one.url, 1)
    assert (answer.header("x-penstock-backend"), answer.header("x-penstock-canary")) == ("old", None)
    events = (await admin(one, "/switches")).data["events"]
    assert [event["detail"]["services"] for event in reversed(events)] == ["rag", "rag notes", "rag notes ner"]
    await admin(one, "/rollback", {"alias": "m"})
    assert (await talk(one.url, 1, "x-penstock-service: rag")).header("x-penstock-backend") == "old"


async def test_caller_by_caller(gateway: StartGateway, old: Engine, new: Engine) -> None:
    """S3.14: by key, where applications have keys of their own."""
    callers = {
        name: {"tenant": name, "key_sha256": hashlib.sha256(f"sk-{name}".encode()).hexdigest()}
        for name in ("rag", "ner")
    }
    one = await gateway(config(old, new, callers=callers))
    assert (await start(one, callers=["nobody"])).data["error"].startswith("'nobody' is no caller of this gateway")
    assert (await start(one, callers=["rag"])).status == 200
    for name, backend in (("rag", "new"), ("ner", "old")):
        answer = await talk(one.url, 1, f"authorization: Bearer sk-{name}")
        assert answer.header("x-penstock-backend") == backend


async def test_an_answer_is_continued_on_the_side_that_made_it(gateway: StartGateway, old: Engine, new: Engine) -> None:
    """Every turn has another body and there is no session: which engine has the answer before it decides alone."""
    one = await gateway(config(old, new))
    await start(one, steps=[50])

    async def turn(number: int, **fields: object) -> Answer:
        ask = {"model": "m", "input": f"question {number}", **fields}
        answer = await once(one.url, "/v1/responses", ask)
        assert answer.status == 200, answer.body
        assert answer.header("x-penstock-fallback") is None
        return answer

    sides = set()
    for number in range(12):
        answer = await turn(number)
        sides.add(side := answer.header("x-penstock-canary"))
        for later in range(4):
            answer = await turn(100 * number + later, previous_response_id=answer.json()["id"])
            assert answer.header("x-penstock-canary") == side
    assert sides == {"canary", "old"}
    assert await figure(one, "penstock_canary_requests_total") == 60
    assert not await figure(one, 'penstock_canary_requests_total{alias="m",outcome="failed"')


async def test_a_canary_on_the_same_engine_takes_nobody_who_is_not_of_its_share(
    gateway: StartGateway, old: Engine, new: Engine
) -> None:
    """Another model of an engine, as an adapter is: that the engine has the answer before this one says nothing."""
    old.models["tuned"] = Model("tuned")
    one = await gateway(config(old, new))
    await start(one, to="old:tuned", steps=[0])
    first = await once(one.url, "/v1/responses", {"model": "m", "input": "a"})
    ask = {"model": "m", "input": "b", "previous_response_id": first.json()["id"]}
    second = await once(one.url, "/v1/responses", ask)
    assert [answer.header("x-penstock-model") for answer in (first, second)] == ["m", "m"]


async def test_vectors_never_move_to_another_model(gateway: StartGateway, old: Engine, new: Engine) -> None:
    """X13: neither a canary nor a promotion changes who embeds, unless it is the same model."""
    async with Engine(["bigger"]) as bigger:
        settings = config(old, bigger)
        one = await gateway(settings)
        await admin(one, "/canary/start", {"alias": "m", "to": "new:bigger", "steps": [100]})
        assert (await talk(one.url, 1)).header("x-penstock-backend") == "new"
        vectors = {"model": "m", "input": "hello"}
        assert (await once(one.url, "/v1/embeddings", vectors)).header("x-penstock-backend") == "old"
        await admin(one, "/canary/promote", {"alias": "m"})
        assert (await talk(one.url, 1)).header("x-penstock-backend") == "new"
        assert (await once(one.url, "/v1/embeddings", vectors)).header("x-penstock-backend") == "old"
    del new


async def test_all_workers_obey_and_count_also_one_that_was_killed(
    gateway: StartGateway, old: Engine, new: Engine
) -> None:
    """S3.25: an order reaches every worker and outlasts it, and what stops a canary may be seen by any of them."""
    one = await gateway(config(old, new, workers=2, listen=[f"127.0.0.1:{free_port()}"]))
    await until_workers(one, 2)
    await start(one, steps=[100])
    second = (await admin(one, "/status", worker=1)).data["pid"]
    os.kill(second, signal.SIGKILL)
    await started_again(one, second)
    assert (await admin(one, "/switches", worker=1)).data["switched"][0]["canary"]["to"] == "new:m"
    for number in range(30):
        assert (await talk(one.url, number)).header("x-penstock-backend") == "new"
    told = await until(one, lambda told: told["switched"][0]["canary"]["progress"]["seen"] >= 30)
    assert told["switched"][0]["canary"]["progress"]["canary"]["failed"] == 0
    new.script = Script(status=500)
    async with Traffic(one.url) as traffic:
        told = await until(one, stopped)
    assert happened(told, "canary stop")["who"] == "gateway"
    await until(one, lambda told: not told["switched"], worker=1)
    assert set(traffic.found) <= {"old", "new"}
    for number in range(30):
        assert (await talk(one.url, number)).header("x-penstock-backend") == "old"


async def test_what_was_promoted_has_the_old_path_behind_it(
    gateway: StartGateway, new: Engine, ollama_double: OllamaDouble
) -> None:
    """S3.16, S3.25: vLLM first, Ollama kept behind it, for when vLLM fails."""
    one = await gateway(
        {
            "backends": {
                "spare": {"kind": "ollama", "url": ollama_double.url, "probe": "200ms"},
                "gpu": {"kind": "vllm", "url": new.url, "probe": "200ms"},
            },
            "aliases": {"m": {"targets": [{"backends": ["spare"], "model": "llama3.2"}]}},
        }
    )
    assert (await talk(one.url, 1)).header("x-penstock-backend") == "spare"
    await start(one, to="gpu:m", steps=[100])
    await admin(one, "/canary/promote", {"alias": "m"})
    assert (await talk(one.url, 1)).header("x-penstock-backend") == "gpu"
    await new.stop()
    answer = await talk(one.url, 1)
    assert (answer.status, answer.header("x-penstock-backend")) == (200, "spare")
    assert answer.header("x-penstock-fallback") in {"connect", "unhealthy"}
    assert "vLLM failed" in one.log
    await new.start()


async def started_again(gateway: Gateway, before: int) -> None:
    """Until the second worker is another process that can be asked."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OSError, ValueError, IndexError):
                if (await admin(gateway, "/status", worker=1)).data["pid"] != before:
                    return
            await asyncio.sleep(0.05)


async def test_a_reload_goes_on_with_it_and_ends_it_when_its_backend_is_gone(
    gateway: StartGateway, old: Engine, new: Engine
) -> None:
    """S1.26: the file may change while a canary runs."""
    one = await gateway(config(old, new))
    settings = yaml.safe_load(one.config.read_text())
    await start(one, steps=[100])
    settings["aliases"]["second"] = {"targets": [{"backends": ["new"], "model": "m"}]}
    one.config.write_text(yaml.safe_dump(settings))
    one.process.send_signal(signal.SIGHUP)
    await one.until("/v1/models", lambda page: len(page["data"]) == 2)
    assert (await talk(one.url, 1)).header("x-penstock-backend") == "new"
    del settings["aliases"]["second"], settings["backends"]["new"]
    one.config.write_text(yaml.safe_dump(settings))
    one.process.send_signal(signal.SIGHUP)
    told = await until(one, stopped)
    assert "'new' is no backend" in happened(told, "canary stop")["reason"]
    assert (await talk(one.url, 1)).header("x-penstock-backend") == "old"


async def test_the_new_engine_is_asked_before_any_caller_is_sent_there(
    gateway: StartGateway, old: Engine, new: Engine, ollama_double: OllamaDouble
) -> None:
    """X5: the first call, which may take long, is nobody's; what cannot answer it gets no canary."""
    settings = config(old, new)
    settings["backends"]["spare"] = {"kind": "ollama", "url": ollama_double.url}
    one = await gateway(settings)
    assert (await start(one, steps=[100])).status == 200
    assert json.loads(new.requests[0].body)["max_tokens"] == 1
    assert len(new.requests) == 1
    await admin(one, "/rollback", {"alias": "m"})
    assert (await start(one, to="spare:llama3.2", steps=[100])).status == 200
    assert [request.path for request in ollama_double.requests] == ["/api/chat"]
    await admin(one, "/rollback", {"alias": "m"})
    wrong = await start(one, to="new:n", steps=[100])
    assert "its target does not answer. new: it answered 404: The model `n` does not exist" in wrong.data["error"]
    await new.stop()
    gone = await start(one, steps=[100])
    assert "its target does not answer. new: " in gone.data["error"]
    assert (gone.status, (await admin(one, "/switches")).data["switched"]) == (400, [])
    await new.start()


async def test_orders_that_make_no_sense_change_nothing(gateway: StartGateway, old: Engine, new: Engine) -> None:
    one = await gateway(config(old, new))
    for route, order, words in (
        ("/canary/start", {"alias": "n", "to": "new:m", "steps": [5]}, "'n' is no alias"),
        ("/canary/start", {"alias": "m", "to": "newer:m", "steps": [5]}, "did you mean 'new'?"),
        ("/canary/start", {"alias": "m", "to": "old:m", "steps": [5]}, "is its first target already"),
        ("/canary/start", {"alias": "m", "to": "new:m"}, "neither a share nor a group"),
        ("/canary/start", {"alias": "m", "to": "new:m", "steps": [50, 5], "every": 1}, "steps that do not rise"),
        ("/canary/start", {"alias": "m", "to": "new:m", "percent": 5}, "Reading the order"),
        ("/canary/stop", {"alias": "m"}, "none runs"),
        ("/canary/promote", {"alias": "m"}, "none runs"),
    ):
        told = await admin(one, route, order)
        assert told.status == 400
        assert words in json.dumps(told.data, ensure_ascii=False)
    assert (await admin(one, "/switches")).data == {"switched": [], "events": []}
