"""The order of a call: attempts, one deadline, the spare engine, and what is never done."""

from __future__ import annotations

import asyncio
import json
import logging
import re

import pytest
from tests.client.conftest import FAST, Ways
from tests.fakes.threads import in_thread

from penstock.client import transport_async
from penstock.client.failures import ConnectFailed, ModelNotServed, TookTooLong, WrongPath
from penstock.client.plain import ChatVLLM, OllamaClient, VLLMClient
from penstock.errors import (
    BadRequest,
    BrokenAnswer,
    EngineRefused,
    PenstockError,
    RateLimited,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script
from penstock.types import Kind

WORDS = "one two three four five six seven"
NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there


def with_spare(engine: Engine | str, spare: OllamaDouble | str, **options: object) -> VLLMClient:
    url = engine if isinstance(engine, str) else engine.url
    other = spare if isinstance(spare, str) else spare.url
    return VLLMClient("m", base_url=url, fallback=other, fallback_model="llama3.2", **{**FAST, **options})  # type: ignore[arg-type]


async def test_an_answer(ways: Ways, scripted_engine: Engine) -> None:
    """S1.11: the same call as OllamaLLM's."""
    client = VLLMClient(model="m", temperature=0.0, base_url=scripted_engine.url)
    assert await ways.ask(client, "What is RAG?") == "What is RAG?"
    assert client.counts.answers == client.counts.calls == 1


async def test_a_stream(ways: Ways, scripted_engine: Engine) -> None:
    """S3.3: tokens as they are generated."""
    assert await ways.stream(VLLMClient("m", base_url=scripted_engine.url), "a b c") == ["a", " b", " c"]


async def test_a_stream_gives_each_piece_as_it_comes(scripted_engine: Engine) -> None:
    """S3.3: the first token is given out while the engine has not made the second."""
    gate = scripted_engine.hold(before=1)
    client = VLLMClient("m", base_url=scripted_engine.url)
    pieces = client.astream("a b c")
    assert await anext(pieces) == "a"
    await gate.reached()
    gate.open()
    assert [piece async for piece in pieces] == [" b", " c"]
    await client.aclose()


async def test_async_is_real_async(scripted_engine: Engine) -> None:
    """S1.12: fifty calls at once in one thread, all of them at the engine before the first is answered."""
    gate = scripted_engine.hold(before=0)
    client = VLLMClient("m", base_url=scripted_engine.url)
    calls = [asyncio.create_task(client.ainvoke(f"question {number}")) for number in range(50)]
    await scripted_engine.seen(50)
    gate.open()
    assert await asyncio.gather(*calls) == [f"question {number}" for number in range(50)]
    await client.aclose()


async def test_a_caller_that_leaves_ends_the_engines_work(scripted_engine: Engine) -> None:
    """H6: cancelling a call closes its connection."""
    scripted_engine.hold(before=0)
    client = VLLMClient("m", base_url=scripted_engine.url)
    call = asyncio.create_task(client.ainvoke("question"))
    await scripted_engine.seen(1)
    call.cancel()
    await scripted_engine.aborted(1)
    await client.aclose()


async def test_a_stream_that_is_dropped_ends_the_engines_work(ways: Ways, scripted_engine: Engine) -> None:
    """H6, in the middle of a stream."""
    scripted_engine.script = Script(count=1000, gap=0.001)
    client = ways.made(VLLMClient("m", base_url=scripted_engine.url))
    if ways.blocking:
        pieces = client.stream("a b c")
        await in_thread(lambda: next(pieces))
        await in_thread(pieces.close)
    else:
        later = client.astream("a b c")
        await anext(later)
        await later.aclose()
    await scripted_engine.aborted(1)


# fallback


async def test_connection_refused_falls_back_at_once(
    ways: Ways, ollama_double: OllamaDouble, caplog: pytest.LogCaptureFixture
) -> None:
    """S3.22, X5: per request, with the document's warning, and without an attempt again."""
    client = with_spare(NOBODY, ollama_double)
    assert await ways.ask(client, "hello") == "hello"
    assert "vLLM failed: Connection refused, trying Ollama" in caplog.messages
    assert client.counts.fallbacks == {"connect": 1}
    assert client.counts.retries == 0
    assert client.engines.answered is not None
    assert client.engines.answered.kind is Kind.OLLAMA
    assert client.engines.answered.fallback == "connect"


async def test_a_stream_falls_back_before_its_first_token(ways: Ways, ollama_double: OllamaDouble) -> None:
    """S1.4: streams too."""
    assert await ways.stream(with_spare(NOBODY, ollama_double), "a b") == ["a", " b"]


async def test_each_call_asks_vllm_again(ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble) -> None:
    """S1.34: "Next request will try again"; an engine that comes back is used at once."""
    client = with_spare(scripted_engine, ollama_double)
    await scripted_engine.stop()
    assert await ways.ask(client, "one") == "one"
    await scripted_engine.start()
    assert await ways.ask(client, "two") == "two"
    assert (len(ollama_double.requests), len(scripted_engine.requests)) == (1, 1)


async def test_an_engine_that_dies_mid_life(ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble) -> None:
    """S1.4: the call under way when the engine dies is answered by Ollama."""
    scripted_engine.script = Script(reset=True)
    client = with_spare(scripted_engine, ollama_double)
    assert await ways.ask(client, "hello") == "hello"
    assert client.counts.fallbacks == {"connect": 1}


async def test_invalid_answers_are_asked_again_then_fall_back(
    ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """S1.35: the shape is checked, the call repeated, and Ollama asked if it persists."""
    scripted_engine.script = Script(body="<html>502</html>", content_type="text/html")
    client = with_spare(scripted_engine, ollama_double)
    assert await ways.ask(client, "hello") == "hello"
    assert len(scripted_engine.requests) == 3
    assert client.counts.fallbacks == {"broken": 1}


@pytest.mark.parametrize(
    "script",
    [
        Script(body="{}"),
        Script(body='{"choices": []}'),
        Script(body='{"choices": [{"index": 0}]}'),
        Script(body='{"choices": [{"message": {"content": 7}}]}'),
        Script(body="[]"),
        Script(body=""),
        Script(cut_json=40),
        Script(truncate=40),
    ],
    ids=["object", "no-choice", "no-message", "number", "list", "empty", "cut", "truncated"],
)
async def test_an_answer_of_a_wrong_shape_is_none(ways: Ways, scripted_engine: Engine, script: Script) -> None:
    """S1.35: never a truncated or foreign answer that looks complete; one good answer later, all is well."""
    scripted_engine.next.append(script)
    client = VLLMClient("m", base_url=scripted_engine.url, **FAST)  # type: ignore[arg-type]
    assert await ways.ask(client, "hello") == "hello"
    assert client.counts.retries == 1
    scripted_engine.script = script
    with pytest.raises(BrokenAnswer):
        await ways.ask(client, "hello")


async def test_policy_never(ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble) -> None:
    """X4: where fallback is forbidden, an error names the engine and Ollama is not asked."""
    await scripted_engine.stop()
    client = with_spare(scripted_engine, ollama_double, fallback_policy="never", retry_attempts=2)
    with pytest.raises(ConnectFailed, match="Connection refused") as caught:
        await ways.ask(client, "hello")
    assert scripted_engine.url in str(caught.value)
    assert isinstance(caught.value, ConnectionError)
    assert not ollama_double.requests
    assert client.counts.failures == 1


async def test_policy_same_model(ways: Ways, ollama_double: OllamaDouble) -> None:
    """X4: another model may not answer; the same model under Ollama's name may."""
    other = with_spare(NOBODY, ollama_double, fallback_policy="same-model", retry_attempts=1)
    with pytest.raises(ConnectFailed):
        await ways.ask(other, "hello")
    same = VLLMClient(
        "meta-llama/Llama-3.2-3B-Instruct",
        base_url=NOBODY,
        fallback=ollama_double.url,
        fallback_model="llama3.2",
        fallback_policy="same-model",
    )
    assert await ways.ask(same, "hello") == "hello"


async def test_both_down(ways: Ways) -> None:
    """Neither answers: the error names both and what each of them said."""
    client = with_spare(NOBODY, "http://127.0.0.1:10", retry_attempts=2)
    with pytest.raises(Unavailable, match=r"vLLM at http://127.0.0.1:9: Connection refused. Ollama at .*:10: Conn"):
        await ways.ask(client, "hello")


async def test_a_missing_model_falls_back(ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble) -> None:
    """S1.36 in mid-life: the log says what is served."""
    client = VLLMClient("gone", base_url=scripted_engine.url, fallback=ollama_double.url, fallback_model="llama3.2")
    assert await ways.ask(client, "hello") == "hello"
    assert client.counts.fallbacks == {"not_loaded": 1}


async def test_an_engine_that_hangs_leaves_time_for_the_spare(
    ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """X5: one deadline for the whole call, a third of it kept for Ollama; the next call does not wait for vLLM at all."""
    scripted_engine.script = Script(silent=True)
    client = with_spare(scripted_engine, ollama_double, timeout=1.5, connect_timeout=0.5)
    assert await ways.ask(client, "hello") == "hello"
    assert await ways.ask(client, "again") == "again"
    assert client.counts.fallbacks == {"timeout": 1, "unhealthy": 1}
    assert len(scripted_engine.requests) == 1


# retries


async def test_five_hundreds_are_asked_again(ways: Ways, scripted_engine: Engine) -> None:
    """S1.13: three attempts."""
    scripted_engine.next.extend([Script(status=500), Script(status=503)])
    client = VLLMClient("m", base_url=scripted_engine.url, **FAST)  # type: ignore[arg-type]
    assert await ways.ask(client, "hello") == "hello"
    assert len(scripted_engine.requests) == 3
    scripted_engine.script = Script(status=500, message="out of luck")
    with pytest.raises(EngineRefused, match="it answered 500: out of luck"):
        await ways.ask(client, "hello")
    assert len(scripted_engine.requests) == 6


async def test_retry_after_is_honoured(ways: Ways, scripted_engine: Engine) -> None:
    """The engine says when; a time past the deadline ends the call at once."""
    scripted_engine.next.append(Script(status=429, retry_after="1"))
    client = VLLMClient("m", base_url=scripted_engine.url, **FAST)  # type: ignore[arg-type]
    assert await ways.ask(client, "hello") == "hello"
    first, second = scripted_engine.requests
    assert second.at - first.at >= 1_000_000_000
    scripted_engine.script = Script(status=429, retry_after="3600")
    with pytest.raises(RateLimited) as caught:
        await ways.ask(client, "hello")
    assert caught.value.retry_after == 3600
    assert len(scripted_engine.requests) == 3


@pytest.mark.parametrize(
    ("status", "expected"), [(400, BadRequest), (401, Unauthorized), (413, TooLarge), (422, BadRequest)]
)
async def test_the_callers_own_mistakes_are_told_once(
    ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble, status: int, expected: type[PenstockError]
) -> None:
    """Neither repeated nor taken to another engine."""
    scripted_engine.script = Script(status=status, message="your fault")
    with pytest.raises(expected, match="your fault"):
        await ways.ask(with_spare(scripted_engine, ollama_double), "hello")
    assert (len(scripted_engine.requests), len(ollama_double.requests)) == (1, 0)


async def test_nothing_is_repeated_after_content(
    ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """Never a retry after content was given out, and never an end that looks complete."""
    scripted_engine.script = Script(cut_after=2)
    with pytest.raises(BrokenAnswer):
        await ways.stream(with_spare(scripted_engine, ollama_double), "a b c d")
    assert (len(scripted_engine.requests), len(ollama_double.requests)) == (1, 0)


@pytest.mark.parametrize("cut", ["fin", "eos"])
async def test_a_stream_that_just_ends_is_not_complete(ways: Ways, scripted_engine: Engine, cut: str) -> None:
    """A clean end without a finish reason is an error."""
    scripted_engine.script = Script(cut_after=2, cut=cut)  # type: ignore[arg-type]
    with pytest.raises(BrokenAnswer):
        await ways.stream(VLLMClient("m", base_url=scripted_engine.url), "a b c d")


@pytest.mark.parametrize(
    "script", [Script(error_after=0, message="no"), Script(cut_after=0), Script(malformed_after=0)]
)
async def test_a_stream_that_fails_before_content_is_asked_again(
    ways: Ways, scripted_engine: Engine, script: Script
) -> None:
    scripted_engine.next.append(script)
    client = VLLMClient("m", base_url=scripted_engine.url, **FAST)  # type: ignore[arg-type]
    assert await ways.stream(client, "a b") == ["a", " b"]
    assert client.counts.retries == 1


async def test_the_deadline_holds_for_a_whole_answer(ways: Ways, scripted_engine: Engine) -> None:
    """S1.14: an engine that sends a byte now and then does not keep the call beyond its time."""
    scripted_engine.script = Script(head_gap=0.05)
    client = VLLMClient("m", base_url=scripted_engine.url, timeout=0.6)
    with pytest.raises(TookTooLong) as caught:
        await ways.ask(client, "hello")
    assert isinstance(caught.value, TimeoutError)


async def test_a_stalled_stream_ends(ways: Ways, scripted_engine: Engine) -> None:
    """Every wait has a limit."""
    scripted_engine.script = Script(stall_after=1)
    client = VLLMClient("m", base_url=scripted_engine.url, timeout=20.0)
    client.engines.policy = type(client.engines.policy)(silence=0.3)
    with pytest.raises((TookTooLong, BrokenAnswer)):
        await ways.stream(client, "a b c")


async def test_calls_given_up_leave_their_connections(scripted_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls are cancelled, wherever they are: the pool has room again."""
    monkeypatch.setattr(transport_async, "CONNECTIONS", 4)
    scripted_engine.script = Script(gap=0.002)
    client = VLLMClient("m", base_url=scripted_engine.url, timeout=20.0)
    for round_ in range(12):
        calls = [asyncio.create_task(client.ainvoke(f"{WORDS} {number}")) for number in range(10)]
        for _ in range(round_):
            await asyncio.sleep(0.001)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    assert await asyncio.gather(*(client.ainvoke(f"{number}") for number in range(8))) == [str(n) for n in range(8)]
    await client.aclose()


async def test_what_an_answer_took_is_logged(
    ways: Ways, scripted_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """S1.37: performance figures, for whoever wants them."""
    caplog.set_level(logging.INFO, "penstock.client")
    client = VLLMClient("m", base_url=scripted_engine.url)
    await ways.ask(client, "hello there")
    await ways.stream(client, "hello there")
    whole, streamed = caplog.messages
    assert re.fullmatch(r"vLLM answered in \d+\.\d{3} s, 3 \+ 2 tokens", whole)
    assert re.fullmatch(r"vLLM began to answer in \d+\.\d{3} s", streamed)


# whose 404


async def test_a_wrong_model_is_told_from_a_wrong_path(ways: Ways, scripted_engine: Engine) -> None:
    """W31: a 404 for the model names what is served; one for the path asks for the base URL."""
    with pytest.raises(ModelNotServed, match="does not serve the model 'n'; it serves m") as caught:
        await ways.ask(VLLMClient("n", base_url=scripted_engine.url), "hello")
    assert caught.value.served == ("m",)
    with pytest.raises(WrongPath, match="404 for the path"):
        await ways.ask(VLLMClient("m", base_url=f"{scripted_engine.url}/deeper"), "hello")
    assert [one.path for one in scripted_engine.requests] == ["/v1/chat/completions"]


async def test_ollamas_missing_model(ways: Ways, ollama_double: OllamaDouble) -> None:
    with pytest.raises(ModelNotServed) as caught:
        await ways.ask(OllamaClient("n", base_url=ollama_double.url), "hello")
    assert caught.value.served == ("llama3.2:latest",)


async def test_check(ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble) -> None:
    """S1.16: the health check raises what is wrong, instead of a False that nobody reads (W30)."""
    served = await ways.check(VLLMClient("m", base_url=scripted_engine.url))
    assert (served[0].name, served[0].window) == ("m", 4096)
    assert await ways.check(OllamaClient("llama3.2", base_url=ollama_double.url))
    with pytest.raises(ModelNotServed):
        await ways.check(VLLMClient("n", base_url=scripted_engine.url))
    with pytest.raises(Unreachable):
        await ways.check(VLLMClient("m", base_url=NOBODY))


# connections


async def test_connections_are_pooled(ways: Ways, scripted_engine: Engine) -> None:
    """S1.15: one connection for calls one after the other."""
    client = VLLMClient("m", base_url=scripted_engine.url)
    for _ in range(5):
        await ways.ask(client, "hello")
    assert scripted_engine.accepted == 1


async def test_an_idle_connection_that_the_engine_closed(ways: Ways, scripted_engine: Engine) -> None:
    """A kept connection that is gone costs no attempt of the policy."""
    client = VLLMClient("m", base_url=scripted_engine.url, retry_attempts=1)
    await ways.ask(client, "hello")
    assert scripted_engine.close_idle() == 1
    assert await ways.ask(client, "again") == "again"
    assert client.counts.retries == 0


async def test_a_kept_connection_that_dies_under_a_request(ways: Ways, scripted_engine: Engine) -> None:
    """Once more on another connection, but only if it was not a fresh one."""
    client = VLLMClient("m", base_url=scripted_engine.url, retry_attempts=1)
    await ways.ask(client, "hello")
    scripted_engine.next.append(Script(reset=True))
    assert await ways.ask(client, "again") == "again"
    await ways.close()
    scripted_engine.next.append(Script(reset=True))
    with pytest.raises(Unreachable):
        await ways.ask(client, "fresh")


async def test_a_client_serves_one_loop_after_another(scripted_engine: Engine) -> None:
    """`asyncio.run` twice: each loop has connections of its own, closed with it."""
    client = VLLMClient("m", base_url=scripted_engine.url)
    for text in ("one", "two"):
        assert await in_thread(lambda text=text: asyncio.run(client.ainvoke(text))) == text  # type: ignore[misc]
    assert scripted_engine.accepted == 2


async def test_what_a_request_looks_like(ways: Ways, scripted_engine: Engine) -> None:
    """The key goes along, the host is named, nothing is compressed."""
    await ways.ask(VLLMClient("m", base_url=f"{scripted_engine.url}/v1", api_key="secret"), "hello")
    request = scripted_engine.requests[0]
    assert request.path == "/v1/chat/completions"
    assert request.header("authorization") == "Bearer secret"
    assert request.header("host") == f"127.0.0.1:{scripted_engine.port}"
    assert request.header("accept-encoding") == "identity"
    assert json.loads(request.body)["messages"] == [{"role": "user", "content": "hello"}]


async def test_the_key_is_in_no_repr_and_no_log(
    ways: Ways, scripted_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = VLLMClient("m", base_url=scripted_engine.url, api_key="secret-key")
    await ways.ask(client, "hello")
    assert "secret-key" not in repr(client) + caplog.text


async def test_messages(ways: Ways, scripted_engine: Engine) -> None:
    """The chat form takes a conversation in any of the usual spellings, and gives text, finish and usage."""
    client = ChatVLLM("m", base_url=scripted_engine.url)
    answer = await ways.ask(client, [("system", "be brief"), {"role": "user", "content": "hello there"}])
    assert (answer.content, answer.finish, answer.usage.completion_tokens) == ("hello there", "stop", 2)
    assert answer.details["object"] == "chat.completion"
    pieces = await ways.stream(client, "a b")
    assert "".join(piece.content for piece in pieces) == "a b"
    assert [piece.finish for piece in pieces if piece.finish] == ["stop"]
    assert pieces[-1].usage.completion_tokens == 2
