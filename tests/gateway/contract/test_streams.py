"""A stream that began and cannot finish ends in an explicit error, in the client's protocol, and never looks complete."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk
from tests.fakes.raw import Answer, Raw
from tests.gateway.site import HELLO, SHARED, Site, chat

from penstock.faults.script import Script

pytestmark = SHARED

FAULTS = {
    "reset": Script(cut_after=2),
    "closed": Script(cut_after=2, cut="fin"),
    "clean end without finish": Script(cut_after=2, cut="eos"),
    "malformed event": Script(malformed_after=2),
    "error event": Script(error_after=2, message="EngineDeadError: the engine died"),
    "stall": Script(stall_after=2),
}
every_fault = pytest.mark.parametrize("fault", FAULTS)


def events_of(answer: Answer) -> list[str]:
    return [event.decode() for event in answer.events]


async def broken(site: Site, path: str, body: dict[str, Any], fault: str) -> Answer:
    """The answer to a request whose stream breaks after the client has seen its first token."""
    engine = site.ollama if body["model"] == "via-ollama" else site.first
    engine.script = FAULTS[fault]
    gate = engine.hold(before=1)
    async with Raw(site.url) as raw:
        raw.ask(path, body)
        await raw.until(b"hello")
        gate.open()
        answer = await raw.answer()
    assert answer.status == 200
    assert answer.complete
    assert answer.header("x-penstock-fallback") is None
    assert not site.second.requests
    return answer


@every_fault
async def test_openai_chat(site: Site, fault: str) -> None:
    """The tokens that came, then an error event; no `[DONE]`, no finish reason, no other model's words."""
    *said, last = events_of(await broken(site, "/v1/chat/completions", chat("m2", stream=True), fault))
    deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"].get("content") for event in said]
    # what shares a segment with the fault may be lost with it
    assert "".join(filter(None, deltas)) in {"hello", "hello wide"}
    error = json.loads(last.removeprefix("data: "))["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert not any("[DONE]" in event or '"finish_reason":"stop"' in event for event in [*said, last])
    site.first.script = Script()
    await site.clean()


@every_fault
async def test_the_official_client_raises(site: Site, fault: str) -> None:
    site.first.script = FAULTS[fault]
    gate = site.first.hold(before=1)
    said = ""
    async with openai.AsyncOpenAI(base_url=f"{site.url}/v1", api_key="x", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="m2", messages=[{"role": "user", "content": "hello wide world"}], stream=True
        )
        chunks = aiter(stream)
        while not said:
            said += (await anext(chunks)).choices[0].delta.content or ""
        gate.open()
        with pytest.raises(openai.APIError):
            said += await rest_of(chunks)
    assert said == "hello"


async def rest_of(chunks: AsyncIterator[ChatCompletionChunk]) -> str:
    return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])


@every_fault
async def test_anthropic_messages(site: Site, fault: str) -> None:
    ask = {"model": "m2", "messages": HELLO, "max_tokens": 9, "stream": True}
    answer = await broken(site, "/v1/messages", ask, fault)
    last = events_of(answer)[-1]
    assert last.startswith("event: error\ndata: ")
    assert json.loads(last.split("data: ")[1])["error"].keys() == {"type", "message"}
    assert "message_stop" not in answer.body.decode()


@every_fault
async def test_responses(site: Site, fault: str) -> None:
    answer = await broken(site, "/v1/responses", {"model": "m2", "input": "hello wide world", "stream": True}, fault)
    assert "error" in events_of(answer)[-1]
    assert "response.completed" not in answer.body.decode()


@every_fault
@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
async def test_ollama_over_vllm(site: Site, fault: str, path: str) -> None:
    """An NDJSON line `{"error": …}` and nothing after it; no `done: true`."""
    ask = chat("m2") if path == "/api/chat" else {"model": "m2", "prompt": "hello wide world"}
    lines = [json.loads(line) for line in (await broken(site, path, ask, fault)).body.splitlines()]
    assert lines[-1].keys() == {"error"}
    assert not any(line.get("done") for line in lines)


@every_fault
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
async def test_either_face_over_ollama(site: Site, fault: str, path: str) -> None:
    answer = await broken(site, path, chat("via-ollama", stream=True), fault)
    last = answer.body.splitlines()[-1] if path == "/api/chat" else answer.events[-1]
    assert "error" in json.loads(last.removeprefix(b"data: "))
    assert b"[DONE]" not in answer.body
    assert b'"done":true' not in answer.body


async def test_a_stall_is_given_up_and_the_engine_let_go(site: Site) -> None:
    site.first.script = Script(stall_after=1)
    answer = await site.chat("m", stream=True)
    assert "error" in events_of(answer)[-1]
    assert (await site.first.aborted()).tokens == 1


async def test_an_engine_that_forgets_done_is_completed(site: Site) -> None:
    """The answer is whole: every choice has its finish."""
    whole = await site.chat(stream=True)
    body = whole.body.decode().replace("data: [DONE]\n\n", "")
    site.first.script = Script(body=body, content_type="text/event-stream")
    answer = await site.chat(stream=True)
    assert answer.body == whole.body


async def test_a_cut_in_the_middle_of_a_tool_call(site: Site) -> None:
    """Half of the arguments never look like a call that can be made."""
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    ask = {"model": "m", "messages": [{"role": "user", "content": 'call weather {"city": "Paris"}'}], "tools": tools}
    site.first.script = Script(cut_after=2)
    gate = site.first.hold(before=1)
    async with Raw(site.url) as raw:
        raw.ask("/v1/chat/completions", {**ask, "stream": True})
        await raw.until(b"weather")
        gate.open()
        answer = await raw.answer()
    assert "error" in events_of(answer)[-1]
    assert b'"finish_reason":"tool_calls"' not in answer.body
    ollama = await site.post("/api/chat", {**ask, "stream": True})
    lines = [json.loads(line) for line in ollama.body.splitlines()]
    assert lines[-1].keys() == {"error"}
    assert not any(line.get("message", {}).get("tool_calls") for line in lines)


async def test_broken_streams_are_counted(site: Site) -> None:
    await broken(site, "/v1/chat/completions", chat("m", stream=True), "reset")
    page = (await site.post("/metrics", None)).body.decode()
    assert any(row.startswith("penstock_streams_broken") and 'backend="first"' in row for row in page.splitlines())
    async with asyncio.timeout(10):
        # A thread writes the log; nobody who is answered waits for it.
        while "vLLM failed:" not in site.gateway.log:  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.01)
