"""A shadow is beside the caller's path: nothing it does or suffers is felt there, and nothing has a side effect twice."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from typing import Any

import pytest
from tests.fakes.raw import Answer, Raw
from tests.gateway.shadow.site import HELLO, SHARED, Site, chat, counted, until

from penstock.faults.script import Script
from penstock.gateway.shadow import chosen

pytestmark = SHARED

FAULTS = {
    "500": Script(status=500, message="EngineCore encountered an issue"),
    "429": Script(status=429, retry_after="1"),
    "404": Script(status=404, message="The model `m` does not exist."),
    "reset": Script(reset=True),
    "html": Script(body="<html>sorry</html>"),
    "wrong content type": Script(content_type="text/plain"),
    "cut": Script(cut_after=1),
    "not JSON": Script(body="oops", content_type="application/json"),
}
STREAM_FAULTS = FAULTS | {"malformed": Script(malformed_after=1), "an error inside": Script(error_after=1)}


def told(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """What a client got, but for what is different every time."""
    own = {"x-penstock-request-id"}
    body = answer.body
    for line in body.splitlines():
        for prefix in (b"", b"data: "):
            if line.startswith(prefix + b"{"):
                whole = json.loads(line.removeprefix(prefix))
                body = body.replace(str(whole.get("id")).encode(), b"ID")
                body = body.replace(str(whole.get("created")).encode(), b"CREATED")
    return answer.status, [header for header in answer.headers if header[0] not in own], body


@pytest.mark.parametrize(
    ("fault", "stream"), [*((fault, False) for fault in FAULTS), *((fault, True) for fault in STREAM_FAULTS)]
)
async def test_a_shadow_that_fails_is_not_noticed(site: Site, fault: str, *, stream: bool) -> None:
    """S3.25: the old engine stays in charge, byte for byte."""
    watched = await site.watch("m")
    site.second.script = STREAM_FAULTS[fault]
    shadowed = await site.post("/v1/chat/completions", chat("m", stream=stream))
    plain = await site.post("/v1/chat/completions", chat("plain", stream=stream))
    assert told(shadowed)[:2] == told(plain)[:2]
    assert len(told(shadowed)[2]) == len(told(plain)[2])
    assert site.first.requests[0].body == site.first.requests[1].body
    assert await watched.over(1) == {"second_failed": 1}
    (pair,) = watched.pairs()
    assert pair.second.error
    assert pair.first.text == "hello wide world"
    assert len(site.second.requests) <= 2, "no retry but that of a kept connection that had died"


async def test_a_shadow_that_hangs_is_given_up(site: Site) -> None:
    watched = await site.watch("brief")
    site.second.script = Script(silent=True)
    answer = await site.post("/v1/chat/completions", chat("brief"))
    assert answer.status == 200
    assert await watched.over(1) == {"second_failed": 1}
    await site.second.aborted()
    assert "no whole answer within the total limit" in watched.pairs()[0].second.error


async def test_a_shadow_that_is_gone_is_an_error_of_its_own(site: Site) -> None:
    watched = await site.watch("nobody")
    assert (await site.post("/v1/chat/completions", chat("nobody"))).status == 200
    assert await watched.over(1) == {"second_failed": 1}
    second = watched.pairs()[0].second
    assert "refused" in second.error
    assert (second.status, second.backend) == (0, "gone")


async def test_the_shadow_takes_nothing_from_callers(site: Site) -> None:
    """No slot, no breaker: `second` serves nobody else here, and its failures are told nowhere but in pairs."""
    watched = await site.watch("m")
    gate = site.second.hold(before=0)
    answers = await asyncio.gather(*(site.post("/v1/chat/completions", chat()) for _ in range(8)))
    assert {answer.status for answer in answers} == {200}
    await site.second.seen(8)
    assert (await counted(site.url, "penstock_requests_active"))["second",] == 0
    assert (await counted(site.url, "penstock_shadow_active"))["m",] == 8
    site.second.script = Script(status=500)
    for _ in range(8):
        await site.post("/v1/chat/completions", chat())
    gate.open()
    ends = await watched.over(16)
    assert sum(ends.values()) == 16
    assert (await counted(site.url, "penstock_breaker_state"))["second",] == 0
    assert ("second", "5xx") not in await counted(site.url, "penstock_attempts_failed_total")


async def test_copies_are_bounded(site: Site) -> None:
    watched = await site.watch("narrow")
    gate = site.second.hold(before=0)
    answers = await asyncio.gather(*(site.post("/v1/chat/completions", chat("narrow")) for _ in range(9)))
    assert [answer.status for answer in answers] == [200] * 9
    await site.second.seen(2)
    assert await watched.count("skipped") == {"slots": 7}
    gate.open()
    assert await watched.over(9) == {"agreed": 2, "slots": 7}
    assert await watched.count("sent") == {"second": 2}
    assert len(site.second.requests) == 2


async def test_no_backend_gets_more_copies_than_it_has_slots(site: Site) -> None:
    watched = await site.watch("tight")
    gate = site.second.hold(before=0)
    for _ in range(3):
        assert (await site.post("/v1/chat/completions", chat("tight"))).status == 200
    await site.second.seen(1)
    assert await watched.over(2) == {"busy": 2}
    gate.open()
    assert await watched.over(3) == {"agreed": 1, "busy": 2}


async def test_callers_come_first_on_a_backend_that_is_shared(site: Site) -> None:
    """Its one slot is the caller's own while the copy could be sent, so there is none."""
    watched = await site.watch("shared")
    gate = site.second.hold(before=0)
    asking = asyncio.create_task(site.post("/v1/chat/completions", chat("shared")))
    await site.second.seen(1)
    assert await watched.over(1) == {"busy": 1}
    gate.open()
    assert (await asking).status == 200
    assert len(site.second.requests) == 1


async def test_the_share_is_chosen_by_id(site: Site) -> None:
    watched = await site.watch("third")
    ids = [f"shared-{number}" for number in range(60)]
    expected = {one for one in ids if chosen(one.encode(), "third", 0.3)}
    assert 8 <= len(expected) <= 30
    async with Raw(site.url) as raw:
        for one in [*ids, *ids[:10]]:
            raw.ask("/v1/chat/completions", chat("third"), f"x-request-id: {one}")
            assert (await raw.answer()).status == 200
    again = len(expected & set(ids[:10]))
    assert await watched.over(len(expected) + again) == {"agreed": len(expected) + again}
    sent = {str(request.header("x-request-id")) for request in site.second.requests}
    assert sent == {f"{one}-shadow" for one in expected}


async def test_a_share_of_nothing(site: Site) -> None:
    watched = await site.watch("none")
    await site.post("/v1/chat/completions", chat("none"))
    assert not site.second.requests
    assert await watched.count("skipped") == {}


TWICE: dict[str, tuple[str, dict[str, Any], str]] = {
    "a stored answer": ("/v1/chat/completions", {"messages": HELLO, "store": True}, "stored"),
    "a tool of the server": (
        "/v1/chat/completions",
        {"messages": HELLO, "tools": [{"type": "mcp", "server_label": "s", "server_url": "http://127.0.0.1:9"}]},
        "server_tools",
    ),
    "work that goes on": ("/v1/responses", {"input": "hello", "background": True, "store": True}, "route"),
    "a response": ("/v1/responses", {"input": "hello"}, "route"),
    "a search by the server": (
        "/v1/messages",
        {"messages": HELLO, "max_tokens": 5, "tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        "server_tools",
    ),
    "tokens": ("/tokenize", {"prompt": "hello"}, "route"),
    "an unload": ("/api/chat", {"messages": HELLO, "keep_alive": 0, "stream": False}, "engine_state"),
    "numbers of a tokenizer": ("/v1/completions", {"prompt": [1, 2, 3]}, "token_ids"),
}


@pytest.mark.parametrize("what", TWICE)
async def test_nothing_has_a_side_effect_twice(site: Site, what: str) -> None:
    """S3.25."""
    path, body, reason = TWICE[what]
    watched = await site.watch("m")
    await site.post(path, {"model": "m", **body})
    assert await watched.over(1) == {reason: 1}
    assert not site.second.requests


async def test_what_was_refused_is_not_copied(site: Site) -> None:
    watched = await site.watch("m")
    assert (await site.post("/v1/chat/completions", b"{")).status == 400
    assert (await site.post("/v1/chat/completions", chat("unknown"))).status == 404
    assert (await site.post("/v1/chat/completions", chat())).status == 200
    assert await watched.over(1) == {"agreed": 1}
    assert len(site.second.requests) == 1


async def test_a_client_that_leaves_ends_both(site: Site) -> None:
    watched = await site.watch("m")
    gates = [engine.hold(before=1) for engine in (site.first, site.second)]
    async with Raw(site.url) as raw:
        raw.ask("/v1/chat/completions", chat(stream=True))
        for gate in gates:
            await gate.reached()
    await site.first.aborted()
    await site.second.aborted()
    assert await watched.over(1) == {"left": 1}


async def test_a_body_that_is_too_large_to_hold(site: Site) -> None:
    watched = await site.watch("m")
    answer = await site.post("/v1/chat/completions", chat(padding="x" * (9 * 2**20)))
    assert answer.status in {200, 400}
    assert await watched.over(1) == {"too_large": 1}
    assert not site.second.requests


async def test_an_answer_that_is_too_large_to_hold(site: Site) -> None:
    watched = await site.watch("m")
    site.second.script = Script(body='"' + "x" * (9 * 2**20) + '"', content_type="application/json")
    assert (await site.post("/v1/chat/completions", chat())).status == 200
    assert await watched.over(1) == {"too_large": 1}


async def test_the_callers_id_reaches_no_engine_twice(site: Site) -> None:
    watched = await site.watch("m")
    await site.post("/v1/chat/completions", chat(), "x-request-id: mine", "authorization: Bearer caller")
    await watched.over(1)
    (own,) = site.first.requests
    (copy,) = site.second.requests
    assert (own.header("x-request-id"), copy.header("x-request-id")) == ("mine", "mine-shadow")
    assert copy.header("authorization") is None
    assert json.loads(copy.body) == json.loads(own.body)


async def test_an_alias_without_a_shadow_has_none(site: Site) -> None:
    await site.post("/v1/chat/completions", chat("plain"))
    assert not site.second.requests
    assert ("plain",) not in await counted(site.url, "penstock_shadow_active")


async def test_whatever_happens_nothing_is_left_over(site: Site) -> None:
    """Engines that fail in every way on both sides, and clients that leave: each copy ends once, and frees its slot."""
    watched = await site.watch("narrow")
    order = random.Random(7)
    scripts = [*STREAM_FAULTS.values(), Script(gap=0.002), Script(first=0.01), Script(close=True), *[Script()] * 40]
    for engine in (site.first, site.second):
        engine.next.extend(order.choice(scripts) for _ in range(150))

    async def client() -> None:
        for _ in range(12):
            async with Raw(site.url) as raw:
                raw.ask("/v1/chat/completions", chat("narrow", stream=order.random() < 0.6))
                if order.random() < 0.3:
                    await asyncio.sleep(order.random() * 0.01)
                else:
                    assert (await raw.answer()).status

    await asyncio.gather(*(client() for _ in range(6)))
    await until(site.url, "penstock_shadow_active", lambda now: not any(now.values()))
    for engine in (site.first, site.second):
        engine.next.clear()
    sent = sum((await watched.count("sent")).values())
    assert sent > 10
    ends = await watched.over(int(sent), besides="slots")
    assert sum(ends.values()) <= 6 * 12
    assert len(watched.pairs()) == sum((await watched.count("pairs")).values())
    gate = site.second.hold(before=0)
    before = ends.get("slots", 0.0)
    await asyncio.gather(*(site.post("/v1/chat/completions", chat("narrow")) for _ in range(3)))
    await gate.reached()
    assert (await watched.count("skipped"))["slots"] == before + 1, "both slots are free again, and there are two"


async def test_a_reload_changes_the_shadow(site: Site) -> None:
    """The last test of its gateway but for none: the configuration is put back."""
    before = site.gateway.config.read_text(encoding="utf-8")
    try:
        watched = await site.watch("m")
        gate = site.second.hold(before=0)
        assert (await site.post("/v1/chat/completions", chat())).status == 200
        await gate.reached()
        # another probe interval makes it another backend, so the old one's connections close
        other = before.replace(f"url: {site.second.url}\n    probe: 200ms", f"url: {site.second.url}\n    probe: 300ms")
        assert other != before
        await _reload(site, other)
        assert await watched.over(1) == {"reloaded": 1}
        await site.second.aborted()
        gate.open()
        await site.post("/v1/chat/completions", chat())
        assert await watched.over(2) == {"agreed": 1, "reloaded": 1}
    finally:
        await _reload(site, before)


async def _reload(site: Site, text: str) -> None:
    done = await counted(site.url, "penstock_config_reloads_total")
    site.gateway.config.write_text(text, encoding="utf-8")
    site.gateway.process.send_signal(signal.SIGHUP)
    await until(site.url, "penstock_config_reloads_total", lambda now: now != done)
