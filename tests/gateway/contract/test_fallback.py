"""Fallback before the first byte, and where it must not happen."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.fakes.gateway import StartGateway
from tests.fakes.raw import once
from tests.gateway.site import HELLO, SHARED, Site, chat

from penstock.faults.condition import Model
from penstock.faults.engine import Engine
from penstock.faults.script import Script

pytestmark = SHARED

FAULTS: dict[str, tuple[Script, str]] = {
    "500": (Script(status=500, message="EngineCore encountered an issue"), "5xx"),
    "502": (Script(status=502), "5xx"),
    "503": (Script(status=503, retry_after="1"), "5xx"),
    "429": (Script(status=429, retry_after="2"), "429"),
    "429 without Retry-After": (Script(status=429), "429"),
    "404 model not loaded": (Script(status=404, message="The model `real-m` does not exist."), "not_loaded"),
    "reset before the head": (Script(reset=True), "connect"),
    "html with 200": (Script(body="<html>sorry</html>"), "broken"),
    "wrong content type": (Script(content_type="text/plain"), "broken"),
    "401 of our own key": (Script(status=401, message="Unauthorized"), "5xx"),
}
STREAM_FAULTS = FAULTS | {
    "reset before content": (Script(cut_after=0), "connect"),
    "end before content": (Script(cut_after=0, cut="fin"), "connect"),
    "clean end before content": (Script(cut_after=0, cut="eos"), "broken"),
    "error event before content": (Script(error_after=0), "5xx"),
    "malformed before content": (Script(malformed_after=0), "broken"),
}
WHOLE_FAULTS = FAULTS | {
    "killed while generating": (Script(cut_after=2), "connect"),
    "truncated against its length": (Script(truncate=40), "connect"),
    "truncated JSON": (Script(cut_json=40), "broken"),
    "not JSON": (Script(body="oops", content_type="application/json"), "broken"),
}


def text(body: bytes, *, stream: bool) -> str:
    """What an OpenAI answer says."""
    if not stream:
        return str(json.loads(body)["choices"][0]["message"]["content"])
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])


@pytest.mark.parametrize("fault", WHOLE_FAULTS)
async def test_a_whole_answer_comes_from_the_next_target(site: Site, fault: str) -> None:
    """S1.34, S3.22."""
    script, reason = WHOLE_FAULTS[fault]
    site.first.script = script
    answer = await site.chat("m2")
    assert answer.status == 200, answer.body
    assert text(answer.body, stream=False) == "hello wide world"
    assert answer.header("x-penstock-backend") == "second"
    assert answer.header("x-penstock-model") == "other"
    assert answer.header("x-penstock-fallback") == reason
    assert answer.json()["model"] == "other"
    # a pooled connection that dies without a byte is tried once more on a fresh one
    assert len(site.first.requests) <= 2
    assert len(site.second.requests) == 1
    assert json.loads(site.second.requests[0].body)["model"] == "other"


@pytest.mark.parametrize("fault", STREAM_FAULTS)
async def test_a_stream_comes_whole_from_the_next_target(site: Site, fault: str) -> None:
    script, reason = STREAM_FAULTS[fault]
    site.first.script = script
    answer = await site.chat("m2", stream=True)
    assert answer.status == 200, answer.body
    assert text(answer.body, stream=True) == "hello wide world"
    assert answer.header("x-penstock-backend") == "second"
    assert answer.header("x-penstock-fallback") == reason
    assert answer.body.count(b"data: [DONE]") == 1
    assert answer.body.count(b'"role":"assistant"') == 1
    assert b"error" not in answer.body


async def test_the_log_line_the_documents_promise(site: Site) -> None:
    """S3.22: `vLLM failed: … , trying Ollama`."""
    site.first.script = Script(status=500, message="out of luck")
    answer = await site.chat("with-spare")
    assert answer.header("x-penstock-backend") == "spare"
    async with asyncio.timeout(10):
        # A thread writes the log; nobody who is answered waits for it.
        while "out of luck" not in site.gateway.log:  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.01)
    line = next(line for line in site.gateway.log.splitlines() if "out of luck" in line and "vLLM failed:" in line)
    told = json.loads(line)["event"]
    assert told.startswith("vLLM failed:")
    assert told.endswith("trying Ollama")


async def test_the_metric_of_a_fallback(site: Site) -> None:
    site.first.script = Script(status=500)
    before = await _fallbacks(site)
    await site.chat("m2")
    after = await _fallbacks(site)
    [row] = [row for row in after if after[row] != before.get(row)]
    assert after[row] - before.get(row, 0.0) == 1
    for part in ('from="first"', 'to="second"', 'reason="5xx"'):
        assert part in row


async def _fallbacks(site: Site) -> dict[str, float]:
    page = (await once(site.url, "/metrics")).body.decode()
    rows = [row.rpartition(" ") for row in page.splitlines() if row.startswith("penstock_fallback")]
    return {name: float(value) for name, _, value in rows if "_created" not in name}


@pytest.mark.parametrize("late_head", [False, True])
async def test_no_first_token_in_time(site: Site, *, late_head: bool) -> None:
    """A head alone is not an answer: the first content decides, and the late engine is aborted."""
    site.first.script = Script(first=60, late_head=late_head)
    answer = await site.chat("impatient", stream=True)
    assert text(answer.body, stream=True) == "hello wide world"
    assert answer.header("x-penstock-backend") == "second"
    assert answer.header("x-penstock-fallback") == "timeout"
    assert (await site.first.aborted()).tokens == 0


async def test_an_engine_that_accepts_and_never_answers(site: Site) -> None:
    site.first.script = Script(silent=True)
    answer = await site.chat("impatient", stream=True)
    assert answer.header("x-penstock-fallback") == "timeout"
    await site.first.aborted()


@pytest.mark.parametrize(
    "fields",
    [{"messages": "wrong type"}, {"max_tokens": 1_000_000}, {"messages": [{"role": "user", "content": "a " * 9000}]}],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_callers_own_mistake_is_answered_by_the_first_engine(
    site: Site, fields: dict[str, Any], *, stream: bool
) -> None:
    """Never a fallback on the caller's 4xx; the engine's own words pass unchanged."""
    answer = await site.post("/v1/chat/completions", {**chat("m2", stream=stream), **fields})
    assert answer.status == 400
    assert answer.header("x-penstock-backend") == "first"
    assert not site.second.requests
    direct = await once(site.first.url, "/v1/chat/completions", {**chat("real-m", stream=stream), **fields})
    assert answer.body == direct.body


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_refusals_of_the_caller_are_not_retried(site: Site, status: int) -> None:
    site.first.script = Script(status=status, message="content filter")
    answer = await site.chat("m2")
    assert (answer.status, answer.error) == (status, "content filter")
    assert len(site.first.requests) == 1
    assert not site.second.requests


async def test_an_engines_refusal_in_the_words_of_ollama_and_anthropic(site: Site) -> None:
    site.first.script = Script(status=400, message="that was too much")
    ollama = await site.post("/api/chat", chat("m2", stream=False))
    assert (ollama.status, ollama.json()) == (400, {"error": "that was too much"})
    anthropic = await site.post("/v1/messages", {"model": "m2", "messages": HELLO, "max_tokens": 3})
    assert anthropic.status == 400
    assert anthropic.json()["error"]["message"] == "that was too much"


async def test_never_means_never(site: Site) -> None:
    """X4."""
    site.first.script = Script(status=500, message="down")
    for stream in (False, True):
        answer = await site.chat("never", stream=stream)
        assert answer.status == 502
        assert "down" in answer.error
        assert answer.complete
    assert not site.second.requests


async def test_same_model_skips_other_models(site: Site) -> None:
    site.first.script = Script(status=500)
    answer = await site.chat("same")
    assert answer.header("x-penstock-backend") == "second"
    assert answer.header("x-penstock-model") == "real-m"
    assert not site.ollama.requests
    site.second.script = Script(status=500)
    assert (await site.chat("same")).status == 502
    assert not site.ollama.requests


EMBEDDING: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"input": "a"},
    "/score": {"text_1": "a", "text_2": "b"},
    "/v1/rerank": {"query": "a", "documents": ["b"]},
    "/tokenize": {"prompt": "a"},
    "/api/embed": {"input": "a"},
    "/api/embeddings": {"prompt": "a"},
}


@pytest.mark.parametrize("path", EMBEDDING)
@pytest.mark.parametrize("alias", ["m2", "with-spare"])
async def test_vectors_never_come_from_another_model(site: Site, path: str, alias: str) -> None:
    """X13: vector spaces don't mix, whatever the policy."""
    site.first.script = Script(status=500, message="no vectors today")
    answer = await site.post(path, {"model": alias, **EMBEDDING[path]})
    assert answer.status == 502
    assert not site.second.requests
    assert not site.ollama.requests


async def test_vectors_may_come_from_a_replica_of_the_same_model(site: Site) -> None:
    site.first.script = Script(status=500)
    site.second.script = Script()
    for _ in range(4):
        answer = await site.post("/v1/embeddings", {"model": "replicas", "input": "a"})
        assert answer.header("x-penstock-backend") == "second"


async def test_every_target_fails(site: Site) -> None:
    """One answer that says what was tried; no more attempts than allowed."""
    for path, face in (("/v1/chat/completions", "m2"), ("/v1/messages", "m2"), ("/api/chat", "m2")):
        await site.heal()
        site.first.script = Script(status=500, message="first is broken")
        site.second.script = Script(status=503, message="second is busy", retry_after="7")
        answer = await site.post(path, {"model": face, "messages": HELLO, "max_tokens": 5})
        assert answer.status in {502, 503}
        assert "first is broken" in answer.error
        assert "second is busy" in answer.error
        assert (len(site.first.requests), len(site.second.requests)) == (1, 1)


async def test_everybody_is_busy(site: Site) -> None:
    """429 everywhere stays 429, with the engine's own Retry-After."""
    site.first.script = Script(status=429, retry_after="9")
    site.second.script = Script(status=429, retry_after="11")
    answer = await site.chat("m2")
    assert answer.status == 429
    assert answer.header("retry-after") in {"9", "11"}


async def test_a_retry_after_that_is_a_date(site: Site) -> None:
    """Clients get seconds, bounded, whatever form the engine chose."""
    site.first.script = Script(status=429, retry_after="Thu, 31 Dec 2099 23:59:59 GMT")
    answer = await site.chat()
    assert answer.status == 429
    assert 0 < int(answer.header("retry-after") or 0) <= 3600
    await site.heal()
    site.first.script = Script(status=429, retry_after="soon")
    assert int((await site.chat()).header("retry-after") or 0) >= 1


async def test_an_engine_that_named_a_time_is_asked_by_nobody_until_then(site: Site) -> None:
    """Whoever asks, and whoever else shares it; clients are told the time that is left."""
    site.first.script = Script(status=429, retry_after="30")
    assert (await site.chat()).status == 429
    site.first.script = Script()
    for alias in ("m", "never", "m"):
        answer = await site.chat(alias)
        assert answer.status == 429
        assert 25 <= int(answer.header("retry-after") or 0) <= 30
    assert (await site.chat("m2")).header("x-penstock-backend") == "second"
    assert len(site.first.requests) == 1


async def test_a_model_that_left_the_engine(site: Site) -> None:
    """Up, and not serving our model: the next request goes elsewhere, and back once it is there again."""
    del site.first.models["real-m"]
    site.first.models["something-else"] = Model("something-else")
    first = await site.chat("m2")
    assert first.header("x-penstock-backend") == "second"
    site.first.models["real-m"] = Model("real-m")
    del site.first.models["something-else"]
    await site.gateway.until("/ready", lambda page: page["status"] == "ready")
    assert (await site.chat("m2")).header("x-penstock-backend") == "first"


@pytest.mark.asyncio(loop_scope="function")
async def test_connection_refused(gateway: StartGateway) -> None:
    """S1.35: nobody listens; the answer comes at once, and the log says so."""
    async with Engine(["m"]) as gone, Engine(["m"]) as there:
        running = await gateway(
            {
                "backends": {
                    "gone": {"kind": "vllm", "url": gone.url},
                    "there": {"kind": "vllm", "url": there.url},
                },
                "aliases": {
                    "m": {
                        "targets": [{"backends": ["gone"], "model": "m"}, {"backends": ["there"], "model": "m"}],
                    }
                },
            }
        )
        await gone.stop()
        for stream in (False, True):
            answer = await once(running.url, "/v1/chat/completions", chat(stream=stream))
            assert answer.status == 200
            assert answer.header("x-penstock-backend") == "there"
        assert "vLLM failed: " in running.log
