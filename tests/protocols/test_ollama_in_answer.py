"""OpenAI answers told as Ollama's, for any chunking, parsed with the official client's own types."""

from __future__ import annotations

import json
from typing import Any

import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocols.ollama_wire import (
    CUTS,
    SPELLINGS,
    Json,
    Script,
    Spelling,
    Ticks,
    backend,
    cut,
    lines,
    openai_events,
    openai_whole,
    read_all,
    reader,
    scripts,
)

from penstock.errors import BrokenAnswer, EngineRefused, EngineTimeout
from penstock.protocols.ollama_types import moment
from penstock.types import Kind, Usage

CHAT: Json = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
GENERATE: Json = {"model": "m", "prompt": "hi"}
WHOLE: Json = {"stream": False}


def told(data: bytes, body: Json = CHAT, path: str = "/api/chat", cuts: tuple[int, ...] = ()) -> bytes:
    return read_all(reader(path, body, backend())[0], data, cuts)


def sse(*chunks: object) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


def chunk(delta: Json, finish: str | None = None, **more: object) -> Json:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish} | more]}


def calls_of(answers: list[Any]) -> list[tuple[str, Json]]:
    return [
        (call.function.name, dict(call.function.arguments))
        for answer in answers
        for call in answer.message.tool_calls or ()
    ]


@given(scripts(), SPELLINGS, CUTS)
def test_a_streamed_chat_says_all_that_the_engine_said(script: Script, spelling: Spelling, cuts: list[int]) -> None:
    """S1.1, S3.3: text, thoughts, whole tool calls, counts; for any chunking, CRLF, comments, without `[DONE]`."""
    watcher, _ = reader("/api/chat", CHAT, backend())
    data = read_all(watcher, b"".join(openai_events(script, spelling)), cuts)
    answers = [ollama.ChatResponse.model_validate(line) for line in lines(data)]
    assert "".join(answer.message.content or "" for answer in answers) == "".join(script.texts)
    assert "".join(answer.message.thinking or "" for answer in answers) == "".join(script.reasoning)
    assert calls_of(answers) == script.calls
    assert [list(arguments) for _, arguments in calls_of(answers)] == [list(given) for _, given in script.calls]
    *before, last = answers
    assert not any(answer.done for answer in before)
    assert all(answer.done_reason is None and answer.eval_count is None for answer in before)
    assert (last.done, last.message.content, last.message.role) == (True, "", "assistant")
    assert last.done_reason == ("length" if script.reason == "length" else "stop")
    assert (last.prompt_eval_count, last.eval_count) == (script.prompt_tokens, script.completion_tokens)
    for span in (last.total_duration, last.load_duration, last.prompt_eval_duration, last.eval_duration):
        assert span is not None
        assert span >= 1
    assert watcher.usage == Usage(script.prompt_tokens, script.completion_tokens)
    assert (watcher.finished, watcher.content, watcher.finish_reason) == (True, True, script.reason)
    assert watcher.model == "engine-model"
    assert {answer.model for answer in answers} == {"engine-model"}


@given(scripts(), SPELLINGS, CUTS, CUTS)
def test_the_chunking_changes_nothing(script: Script, spelling: Spelling, one: list[int], other: list[int]) -> None:
    data = b"".join(openai_events(script, spelling))
    first, second = (read_all(reader("/api/chat", CHAT, backend())[0], data, cuts) for cuts in (one, other))
    assert [_timeless(line) for line in lines(first)] == [_timeless(line) for line in lines(second)]


def _timeless(line: Json) -> Json:
    return {name: value for name, value in line.items() if name != "created_at"}


@given(scripts(), SPELLINGS, st.integers(0, 1 << 16))
def test_a_truncated_stream_never_looks_complete(script: Script, spelling: Spelling, place: int) -> None:
    """S1.35: whatever was lost, either the finish was seen or the answer is broken."""
    events = openai_events(script, spelling)
    after = next(at for at, event in enumerate(events) if b'"finish_reason": "' in event)
    head = b"".join(events[:after])
    ending = place % (len(events[after]) - len(spelling.end) + len(head))
    watcher, _ = reader("/api/chat", CHAT, backend())
    out = watcher.feed((head + events[after])[:ending])
    with pytest.raises(BrokenAnswer):
        watcher.close()
    assert not watcher.finished
    assert all(not line["done"] for line in lines(out))


@given(scripts(), SPELLINGS)
def test_a_whole_chat_says_all_that_the_engine_said(script: Script, spelling: Spelling) -> None:
    watcher, _ = reader("/api/chat", CHAT | WHOLE, backend())
    assert watcher.content_type == "application/json; charset=utf-8"
    answer = ollama.ChatResponse.model_validate_json(read_all(watcher, openai_whole(script, spelling)))
    assert answer.message.content == "".join(script.texts)
    assert (answer.message.thinking or "") == "".join(script.reasoning)
    assert calls_of([answer]) == script.calls
    assert (answer.done, answer.done_reason) == (True, "length" if script.reason == "length" else "stop")
    assert (answer.prompt_eval_count, answer.eval_count) == (script.prompt_tokens, script.completion_tokens)
    assert watcher.usage == Usage(script.prompt_tokens, script.completion_tokens)


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_an_answer_or_broken(data: bytes, stream: bool) -> None:  # noqa: FBT001
    for prefix in (b"", b"data: ", b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: '):
        watcher, _ = reader("/api/chat", CHAT | {"stream": stream}, backend())
        with pytest.raises((BrokenAnswer, EngineRefused)):
            read_all(watcher, prefix + data + b"\n\n")


def test_generate_stream_and_whole() -> None:
    data = sse(
        chunk({"reasoning": "hm"}),
        chunk({"content": "é"}, "stop"),
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    )
    answers = [ollama.GenerateResponse.model_validate(line) for line in lines(told(data, GENERATE, "/api/generate"))]
    assert [(answer.response, answer.thinking, answer.done) for answer in answers] == [
        ("", "hm", False),
        ("é", None, False),
        ("", None, True),
    ]
    assert (answers[-1].prompt_eval_count, answers[-1].eval_count, answers[-1].context) == (3, 2, None)
    body = {
        "choices": [{"index": 0, "message": {"content": "é", "reasoning_content": "hm"}, "finish_reason": "length"}]
    }
    whole = ollama.GenerateResponse.model_validate_json(
        told(json.dumps(body).encode(), GENERATE | WHOLE, "/api/generate")
    )
    assert (whole.response, whole.thinking, whole.done_reason, whole.eval_count) == ("é", "hm", "length", None)


def test_raw_generate_reads_completions() -> None:
    """S1.10: `raw` goes through /v1/completions."""
    raw = GENERATE | {"raw": True}
    data = sse(
        {"choices": [{"index": 0, "text": "a"}]}, {"choices": [{"index": 0, "text": "b", "finish_reason": "length"}]}
    )
    assert [line["response"] for line in lines(told(data, raw, "/api/generate"))] == ["a", "b", ""]
    whole = b'{"choices":[{"index":0,"text":"ab","finish_reason":"stop"}]}'
    assert json.loads(told(whole, raw | WHOLE, "/api/generate"))["response"] == "ab"


def test_the_first_bytes_decide_nothing() -> None:
    """A role chunk is not content: until text, a thought, a call or the finish, another backend may still answer."""
    watcher, timing = reader("/api/chat", CHAT, backend(), Ticks())
    assert watcher.feed(b": ping\n\n" + sse(chunk({"role": "assistant", "content": ""}))[:-14]) == b""
    assert (watcher.content, timing.first) == (False, 0)
    assert watcher.feed(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
    assert watcher.content
    assert timing.first == timing.last > 0


def test_durations_from_our_own_clock() -> None:
    clock = Ticks(3_000_000_000)
    watcher, timing = reader("/api/chat", CHAT, backend(), clock)
    watcher.feed(sse(chunk({"content": "a"}))[:-14])
    clock.now = 7_000_000_000
    watcher.feed(sse(chunk({"content": "b"}))[:-14])
    last = lines(watcher.feed(sse(chunk({}, "stop"))))[-1]
    assert timing.first == 3_001_000_000
    assert timing.last == 7_001_000_000
    assert last["load_duration"] == 1_000_000_000
    assert last["prompt_eval_duration"] == timing.first - 2_000_000_000
    assert last["eval_duration"] == 4_000_000_000
    assert last["total_duration"] == clock.now - 1_000_000_000
    assert "eval_count" not in last


@pytest.mark.parametrize(
    "measured",
    [
        {"timings": {"prompt_n": 1, "prompt_ms": 85.2, "predicted_ms": 1240.5}},
        {"metrics": {"time_to_first_token_ms": 85.2, "generation_time_ms": 1240.5, "queue_time_ms": 12.3}},
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_the_engines_own_measurement_is_preferred(measured: Json, stream: bool) -> None:  # noqa: FBT001
    whole = {"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]} | measured
    data = sse(chunk({"content": "a"}, "stop"), {"choices": []} | measured) if stream else json.dumps(whole).encode()
    last = json.loads(told(data, CHAT | {"stream": stream}).splitlines()[-1])
    assert (last["prompt_eval_duration"], last["eval_duration"]) == (85_200_000, 1_240_500_000)


def test_a_whole_answer_invents_no_split() -> None:
    """Reading the prompt and writing the answer cannot be told apart without the engine: one span for both."""
    watcher, _ = reader("/api/chat", CHAT | WHOLE, backend(), Ticks(4_000_000_000))
    answer = json.loads(read_all(watcher, b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}'))
    assert "prompt_eval_duration" not in answer
    assert answer["eval_duration"] == 2_001_000_000


def test_times_are_written_as_go_writes_them() -> None:
    assert moment(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456789Z"
    assert moment(1_700_000_000_120_000_000) == "2023-11-14T22:13:20.12Z"
    assert moment(1_700_000_000_000_000_000) == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize("error", [{"message": "out of memory", "code": 500}, "out of memory"])
@pytest.mark.parametrize("stream", [True, False])
def test_an_error_in_the_answer_is_the_engines(error: object, stream: bool) -> None:  # noqa: FBT001
    """S1.35."""
    data = json.dumps({"error": error}).encode()
    with pytest.raises(EngineRefused, match="out of memory"):
        told(b"data: " + data + b"\n\n" if stream else data, CHAT | {"stream": stream})


@pytest.mark.parametrize(
    "data",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b"data: [DONE]\n\n",
        b'data: {"choices":[{"delta":{"content":5}}]}\n\n',
        b'data: {"choices":' + b"[" * 200_000 + b"\n\n",
        b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
        sse(chunk({"content": "a"}, "abort")),
        sse(chunk({"content": "a"}, "error")),
        sse(chunk({"content": "a"})),
        b"data: " + b"x" * (8 * 1024 * 1024 + 1),
        b"",
    ],
)
def test_what_is_not_an_answer_is_broken(data: bytes) -> None:
    """S1.35: never a truncated answer that looks complete."""
    with pytest.raises(BrokenAnswer):
        told(data)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"{}", b'{"choices":[]}', b"[]", b'{"choices":[{"index":1,"message":{}}]}']
)
def test_a_whole_answer_without_one_is_broken(data: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        told(data, CHAT | WHOLE)


@pytest.mark.parametrize("arguments", ['{"a":', "[]", "5", "not json", '{"a":NaN}', '"x"'])
def test_arguments_that_are_no_object_break_the_answer(arguments: str) -> None:
    piece = {"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}}
    with pytest.raises(BrokenAnswer, match="arguments"):
        told(sse(chunk({"tool_calls": [piece]}), chunk({}, "tool_calls")))


def test_a_call_cut_at_the_token_limit_is_left_out_and_the_reason_says_so() -> None:
    piece = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a":'}}
    found = lines(told(sse(chunk({"tool_calls": [piece]}), chunk({}, "length"))))
    assert [(line["done"], line.get("done_reason"), line["message"].get("tool_calls")) for line in found] == [
        (True, "length", None)
    ]


def test_calls_are_shown_whole_as_soon_as_they_are() -> None:
    """S4.5: arguments are an object in the order in which the model wrote them, on one line."""
    first = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"z": 1.50,\n "a": [1, 2]}'}}
    second = {"index": 1, "id": "b", "function": {"name": "g"}}
    data = sse(chunk({"tool_calls": [first]}), chunk({"tool_calls": [second]}), chunk({}, "tool_calls"))
    found = told(data).splitlines()
    assert len(found) == 3
    assert b'"arguments":{"z":1.50,"a":[1,2]}' in found[0]
    assert json.loads(found[1])["message"]["tool_calls"] == [
        {"id": "b", "function": {"name": "g", "arguments": {}, "index": 1}}
    ]


def test_calls_of_engines_that_number_nothing() -> None:
    pieces = [
        {"id": "a", "function": {"name": "f", "arguments": '{"a"'}},
        {"function": {"arguments": ":1}"}},
        {"id": "b", "function": {"name": "g", "arguments": "{}"}},
    ]
    found = lines(told(sse(*(chunk({"tool_calls": [piece]}) for piece in pieces), chunk({}, "tool_calls"))))
    calls = [call for line in found for call in line["message"].get("tool_calls", ())]
    assert [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls] == [
        ("a", "f", {"a": 1}),
        ("b", "g", {}),
    ]


def test_servers_that_write_odd_nothings() -> None:
    """An empty finish reason is no finish, null choices are no choices."""
    data = sse({"choices": None}, chunk({"content": "a", "tool_calls": None}, ""), chunk({"content": None}, "stop"))
    assert [line["message"]["content"] for line in lines(told(data))] == ["a", ""]
    with pytest.raises(BrokenAnswer):
        told(sse(chunk({"content": "a"}, "")))


def test_other_choices_are_not_mixed_in() -> None:
    data = sse(
        {"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]},
        chunk({}, "stop"),
    )
    assert [line["message"]["content"] for line in lines(told(data))] == ["a", ""]


def test_nothing_follows_done() -> None:
    data = sse(chunk({"content": "a"}, "stop")) + sse(chunk({"content": "late"}, "stop"))
    assert [line["message"]["content"] for line in lines(told(data))] == ["a", ""]


def test_logprobs_of_chat() -> None:
    token = {
        "token": "é",
        "logprob": -0.5,
        "bytes": [195, 169],
        "top_logprobs": [{"token": "e", "logprob": -1.5, "bytes": [101]}],
    }
    data = sse(chunk({"content": "é"}, logprobs={"content": [token]}), chunk({}, "stop"))
    first = ollama.ChatResponse.model_validate(lines(told(data))[0])
    assert first.logprobs is not None
    assert first.logprobs[0].token == "é"
    assert first.logprobs[0].top_logprobs is not None
    assert first.logprobs[0].top_logprobs[0].logprob == -1.5
    assert lines(told(data))[0]["logprobs"] == [token]


def test_logprobs_of_completions() -> None:
    given_ = {
        "tokens": ["a", "é"],
        "token_logprobs": [None, -0.25],
        "top_logprobs": [None, {"é": -0.25, "e": -2.0}],
        "text_offset": [0, 1],
    }
    data = sse({"choices": [{"index": 0, "text": "aé", "finish_reason": "stop", "logprobs": given_}]})
    assert lines(told(data, GENERATE | {"raw": True}, "/api/generate"))[0]["logprobs"] == [
        {
            "token": "é",
            "logprob": -0.25,
            "bytes": [195, 169],
            "top_logprobs": [{"token": "é", "logprob": -0.25}, {"token": "e", "logprob": -2.0}],
        }
    ]


def test_a_begun_stream_ends_in_an_error_line() -> None:
    """The official client raises `ResponseError` for it."""
    watcher, _ = reader("/api/chat", CHAT, backend())
    watcher.feed(sse(chunk({"content": "a"}))[:-14])
    [line] = lines(watcher.fault(EngineTimeout("No token for 15 s.", hint="Try again.")))
    assert line == {"error": "No token for 15 s. Try again."}
    assert watcher.content_type == "application/x-ndjson"


def test_every_kind_of_engine_is_read_alike() -> None:
    for kind in (Kind.VLLM, Kind.EMBEDDED, Kind.OPENAI):
        watcher, _ = reader("/api/chat", CHAT, backend(kind))
        parts = cut(sse(chunk({"content": "a"}, "stop")), [9, 30])
        assert len(lines(b"".join(watcher.feed(part) for part in parts) + watcher.close())) == 2
