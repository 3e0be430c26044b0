"""The judge of `penstock faults`: asked of the scripted engine itself, whose every byte is known."""

from __future__ import annotations

import pytest

from penstock.faults.engine import Engine
from penstock.faults.gateways import Gateway
from penstock.faults.judge import judge
from penstock.faults.scenario import Failed
from penstock.faults.script import Script, ToolUse
from penstock.faults.seen import Asking, Outcome, Seen, request
from penstock.faults.site import WORDS, answered, explicit, never_silent

SSE = {"content-type": "text/event-stream"}
BODY = {"model": "m", "messages": [{"role": "user", "content": WORDS}]}


async def ask(engine: Engine, *, stream: bool = True, limit: float = 10.0, **body: object) -> Seen:
    asked = request("/v1/chat/completions", {**BODY, "stream": stream, **body})
    return await Asking(engine.url, asked, stream=stream, face="openai").start().seen(limit)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_healthy_answer_is_answered(scripted_engine: Engine, stream: bool) -> None:  # noqa: FBT001 - a parameter of the test
    seen = answered(await ask(scripted_engine, stream=stream), by=scripted_engine)
    assert (seen.status, seen.finish, seen.error, seen.why) == (200, "stop", "", "")
    assert len(seen.events) == (15 if stream else 1)
    assert 0 < seen.first <= seen.seconds


@pytest.mark.parametrize(
    ("script", "stream", "outcome"),
    [
        (Script(status=500, message="no"), True, Outcome.REFUSED),
        (Script(reset=True), True, Outcome.CLOSED),
        (Script(silent=True), True, Outcome.HUNG),
        (Script(cut_after=3, cut="rst"), True, Outcome.TRUNCATED),
        (Script(cut_after=3, cut="fin"), True, Outcome.TRUNCATED),
        (Script(cut_after=3, cut="eos"), True, Outcome.TRUNCATED),
        (Script(stall_after=3), True, Outcome.HUNG),
        (Script(malformed_after=3), True, Outcome.GARBLED),
        (Script(error_after=3), True, Outcome.BROKEN),
        (Script(body="<html>"), True, Outcome.TRUNCATED),
        (Script(content_type="text/html"), True, Outcome.GARBLED),
        (Script(truncate=40), False, Outcome.TRUNCATED),
        (Script(cut_json=40), False, Outcome.TRUNCATED),
        (Script(body="<html>"), False, Outcome.TRUNCATED),
    ],
)
async def test_what_an_engine_does_is_what_is_seen(
    scripted_engine: Engine,
    script: Script,
    stream: bool,  # noqa: FBT001 - a parameter of the test
    outcome: Outcome,
) -> None:
    scripted_engine.script = script
    seen = await ask(scripted_engine, stream=stream, limit=0.5 if outcome is Outcome.HUNG else 10.0)
    assert seen.outcome is outcome, seen
    assert bool(seen.error) == (outcome in {Outcome.REFUSED, Outcome.BROKEN})
    with pytest.raises(Failed, match="expected"):
        answered(seen)
    if seen.error:
        assert explicit(seen) is never_silent(seen)
    else:
        with pytest.raises(Failed, match="explicit error"):
            never_silent(seen)


async def test_calls_and_thoughts_are_read_from_their_pieces(scripted_engine: Engine) -> None:
    scripted_engine.script = Script(reasoning=("hm", " so"), tokens=("yes",))
    seen = await ask(scripted_engine)
    assert (seen.reasoning, seen.text) == ("hm so", "yes")
    scripted_engine.script = Script(tools=(ToolUse(name="f", arguments='{"x": 1}'),))
    seen = await ask(scripted_engine, tools=[{"type": "function", "function": {"name": "f"}}])
    assert (seen.tools, seen.finish) == ({0: ("f", '{"x": 1}')}, "tool_calls")


async def test_a_client_may_wait_for_words_and_leave(scripted_engine: Engine) -> None:
    gate = scripted_engine.hold(4)
    asked = request("/v1/chat/completions", {**BODY, "stream": True})
    asking = Asking(scripted_engine.url, asked, stream=True, face="openai").start()
    await asking.until("through")
    await gate.reached()
    await asking.leave()
    assert (await scripted_engine.aborted()).tokens == 4


@pytest.mark.parametrize(
    ("body", "missing", "wrong"),
    [
        ('{"message": {"content": "a"}, "done": false}\n{"done": true}\n', "", ""),
        ('{"message": {"content": "a"}, "done": false}\n', "a line with done: true", ""),
        ('{"done": true}\n{"done": true}\n', "", "a line after done: true"),
        ('{"mess\n{"done": true}\n', "", "an event that is not JSON: b'{\"mess'"),
        ('{"done": true}\n{"do', "", "a last line without its end"),
    ],
)
def test_lines_of_ollama(body: str, missing: str, wrong: str) -> None:
    story = judge("ollama", 200, {"content-type": "application/x-ndjson"}, body.encode(), stream=True)
    assert (story.missing, story.wrong) == (missing, wrong)


@pytest.mark.parametrize(
    ("body", "missing", "wrong"),
    [
        (b'data: {"choices": [{"finish_reason": "stop"}]}\r\n\r\ndata: [DONE]\r\n\r\n', "", ""),
        (b'data: {"choices": [{"finish_reason": "stop"}]}\n\ndata: [DONE]\n', "[DONE]", ""),
        (b'data: {"choices": [{"finish_reason": "stop"}]}\n\n', "[DONE]", ""),
        (b'data: {"choices": [{}]}\n\ndata: [DONE]\n\n', "a finish reason", ""),
        (
            b'data: {"choices": [{"finish_reason": "stop"}]}\n\ndata: [DONE]\n\ndata: {}\n\n',
            "",
            "an event after the end",
        ),
        (
            b'data: {"choices": [{"finish_reason": "stop", "text": "\xc3"}]}\n\ndata: [DONE]\n\n',
            "",
            "bytes that are not UTF-8",
        ),
    ],
)
def test_events_of_openai(body: bytes, missing: str, wrong: str) -> None:
    story = judge("openai", 200, SSE, body, stream=True)
    assert (story.missing, story.wrong) == (missing, wrong)


async def test_a_gateway_that_never_serves_is_said_to() -> None:
    with pytest.raises(Failed, match=r"within 0\.2 s was expected"):
        await Gateway("http://127.0.0.1:9").ready("m", limit=0.2)
