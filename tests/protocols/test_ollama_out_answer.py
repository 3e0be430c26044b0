"""Ollama's answers told as OpenAI's, for any chunking, parsed with OpenAI's own types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from tests.protocols.ollama_wire import (
    CUTS,
    SPELLINGS,
    WALL,
    Json,
    Script,
    Spelling,
    Ticks,
    ask,
    backend,
    events,
    ollama_lines,
    ollama_whole,
    read_all,
    reader,
    scripts,
    still,
)

from penstock.errors import BrokenAnswer, EngineRefused, EngineTimeout
from penstock.protocols import ollama_out
from penstock.protocols.dialect import Reader, Timing
from penstock.types import Kind, Usage

CHAT: Json = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STREAM: Json = CHAT | {"stream": True}
USAGE: Json = STREAM | {"stream_options": {"include_usage": True}}
TEXT: Json = {"model": "m", "prompt": "hi"}


def watch(body: Json, path: str = "/v1/chat/completions") -> Reader:
    return reader(path, body, backend(Kind.OLLAMA))[0]


def said(message: Json, **more: object) -> bytes:
    row = {"model": "e", "created_at": "x", "message": {"role": "assistant", "content": ""} | message, "done": False}
    return json.dumps(row | more).encode() + b"\n"


END = said({}, done=True, done_reason="stop", prompt_eval_count=3, eval_count=2)


def calls_of(chunks: list[Any]) -> list[tuple[str, Json]]:
    return [
        (call.function.name, json.loads(call.function.arguments))
        for chunk in chunks
        for choice in chunk.choices
        for call in choice.delta.tool_calls or ()
    ]


@given(scripts(), SPELLINGS, CUTS, st.booleans())
def test_a_streamed_chat_says_all_that_ollama_said(
    script: Script,
    spelling: Spelling,
    cuts: list[int],
    usage: bool,  # noqa: FBT001
) -> None:
    """S3.3, S3.22: one id, one time, role first, finish last, usage only for who asked."""
    watcher = watch(USAGE if usage else STREAM)
    found = events(read_all(watcher, b"".join(ollama_lines(script, spelling)), cuts))
    chunks = [ChatCompletionChunk.model_validate(event) for event in found]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == "".join(script.texts)
    assert "".join(getattr(delta, "reasoning", None) or "" for delta in deltas) == "".join(script.reasoning)
    assert calls_of(chunks) == script.calls
    indices = [call.index for delta in deltas for call in delta.tool_calls or ()]
    assert indices == list(range(len(script.calls)))
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    assert chunks[0].model == "engine-model"
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons[-1] == script.reason
    assert not any(reasons[:-1])
    assert [chunk.usage is not None for chunk in chunks] == [False] * len(reasons) + [True] * usage
    if usage:
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.total_tokens == script.prompt_tokens + script.completion_tokens
    assert watcher.usage == Usage(script.prompt_tokens, script.completion_tokens)
    assert (watcher.finished, watcher.finish_reason, watcher.model) == (True, script.reason, "engine-model")


@given(scripts(), SPELLINGS, CUTS)
def test_the_chunking_changes_nothing(script: Script, spelling: Spelling, cuts: list[int]) -> None:
    data = b"".join(ollama_lines(script, spelling))
    pairing = ollama_out.Chat(wall=lambda: WALL, new_id=lambda: "id")
    call, to = ask("/v1/chat/completions", USAGE), backend(Kind.OLLAMA)
    one, other = (read_all(pairing.reader(call, to, Timing(), still), data, given_cuts) for given_cuts in ((), cuts))
    assert one == other


@given(scripts(), SPELLINGS, st.integers(0, 1 << 16))
def test_a_truncated_stream_never_looks_complete(script: Script, spelling: Spelling, place: int) -> None:
    """S1.35."""
    found = ollama_lines(script, spelling)
    data = b"".join(found)[: -1 - len(spelling.end)]
    watcher = watch(STREAM)
    out = watcher.feed(data[: place % (len(data) + 1)])
    with pytest.raises(BrokenAnswer):
        watcher.close()
    assert b"[DONE]" not in out
    assert not watcher.finished


@given(scripts(), SPELLINGS)
def test_a_whole_chat_says_all_that_ollama_said(script: Script, spelling: Spelling) -> None:
    watcher = watch(CHAT)
    assert watcher.content_type == "application/json"
    answer = ChatCompletion.model_validate_json(read_all(watcher, ollama_whole(script, spelling)))
    [choice] = answer.choices
    assert (choice.message.content or "") == "".join(script.texts)
    assert (getattr(choice.message, "reasoning", None) or "") == "".join(script.reasoning)
    calls: list[Any] = list(choice.message.tool_calls or ())
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == script.calls
    assert len({call.id for call in calls}) == len(calls)
    assert choice.finish_reason == script.reason
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == script.prompt_tokens
    assert answer.usage.completion_tokens == script.completion_tokens


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_an_answer_or_broken(data: bytes, stream: bool) -> None:  # noqa: FBT001
    for prefix in (b"", said({"content": "a"})):
        with pytest.raises((BrokenAnswer, EngineRefused)):
            read_all(watch(CHAT | {"stream": stream}), prefix + data)


def test_ids_and_shapes() -> None:
    data = said({"tool_calls": [{"id": "call_x", "function": {"name": "f", "arguments": {"z": 1}}}]}) + END
    first, call, last = events(read_all(watch(STREAM), data))
    assert first["id"].startswith("chatcmpl-")
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    ]
    assert call["choices"][0]["delta"] == {
        "tool_calls": [
            {"id": "call_x", "function": {"name": "f", "arguments": '{"z": 1}'}, "index": 0, "type": "function"}
        ]
    }
    assert last["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "tool_calls"}


def test_a_call_without_an_id_gets_one() -> None:
    data = said({"tool_calls": [{"function": {"name": "f"}}, {"function": {"name": "g", "arguments": None}}]}) + END
    calls = events(read_all(watch(STREAM), data))[1]["choices"][0]["delta"]["tool_calls"]
    assert all(call["id"].startswith("call_") for call in calls)
    assert calls[0]["id"] != calls[1]["id"]
    assert [call["function"]["arguments"] for call in calls] == ["{}", "{}"]


def test_completions_stream_and_whole() -> None:
    """S1.10."""
    rows = [{"model": "e", "response": "a", "done": False}, {"model": "e", "response": "b", "done": False}]
    end = {"model": "e", "response": "", "done": True, "done_reason": "length", "prompt_eval_count": 3, "eval_count": 2}
    data = b"".join(json.dumps(row).encode() + b"\n" for row in [*rows, end])
    body = TEXT | {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, counted = events(read_all(watch(body, "/v1/completions"), data))
    said_by = [(chunk["choices"][0]["text"], chunk["choices"][0]["finish_reason"]) for chunk in chunks]
    assert said_by == [("a", None), ("b", None), ("", "length")]
    assert (counted["choices"], counted["usage"]["total_tokens"]) == ([], 5)
    assert Completion.model_validate(chunks[-1]).id == counted["id"]
    assert counted["id"].startswith("cmpl-")
    whole = Completion.model_validate_json(
        read_all(watch(TEXT, "/v1/completions"), json.dumps(end | {"response": "ab"}).encode())
    )
    assert (whole.choices[0].text, whole.choices[0].finish_reason, whole.object) == ("ab", "length", "text_completion")


def test_logprobs() -> None:
    token = {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": [{"token": "e", "logprob": -1.5}]}
    chunk = ChatCompletionChunk.model_validate(
        events(read_all(watch(STREAM), said({"content": "é"}, logprobs=[token]) + END))[1]
    )
    logprobs = chunk.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert (logprobs.content[0].token, logprobs.content[0].bytes, logprobs.content[0].top_logprobs[0].token) == (
        "é",
        [195, 169],
        "e",
    )
    row = json.dumps({"response": "é", "done": True, "logprobs": [token, token]}).encode()
    text = Completion.model_validate_json(read_all(watch(TEXT, "/v1/completions"), row)).choices[0].logprobs
    assert text is not None
    assert (text.tokens, text.token_logprobs, text.text_offset) == (["é", "é"], [-0.5, -0.5], [0, 1])
    assert text.top_logprobs == [{"e": -1.5}, {"e": -1.5}]
    rows = b"".join(
        json.dumps({"response": "aé", "logprobs": [token], "done": done}).encode() + b"\n" for done in (False, True)
    )
    found = events(read_all(watch(TEXT | {"stream": True}, "/v1/completions"), rows))
    assert [chunk["choices"][0]["logprobs"]["text_offset"] for chunk in found[:2]] == [[0], [2]]


def test_the_first_content_is_stamped() -> None:
    watcher, timing = reader("/v1/chat/completions", STREAM, backend(Kind.OLLAMA), Ticks())
    assert watcher.feed(said({"content": ""}))
    assert (watcher.content, timing.first) == (False, 0)
    watcher.feed(said({"thinking": "hm"}))
    assert watcher.content
    watcher.feed(said({"content": "a"}))
    assert 0 < timing.first < timing.last


@pytest.mark.parametrize("stream", [True, False])
def test_an_error_line_is_ollamas(stream: bool) -> None:  # noqa: FBT001
    """S1.35."""
    with pytest.raises(EngineRefused, match="model runner has unexpectedly stopped"):
        read_all(watch(CHAT | {"stream": stream}), b'{"error":"model runner has unexpectedly stopped"}\n')


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{\n",
        b"[]\n",
        said({"content": "a"}),
        said({"content": 5}),
        b'{"message":' + b"[" * 200_000 + b"\n",
        b'{"message":{"content":"\xff"}}\n',
        said({"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}),
        b"x" * (8 * 1024 * 1024 + 2),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_what_is_not_an_answer_is_broken(data: bytes, stream: bool) -> None:  # noqa: FBT001
    with pytest.raises(BrokenAnswer):
        read_all(watch(CHAT | {"stream": stream}), data)


def test_the_last_line_may_lack_its_end_and_nothing_follows_it() -> None:
    assert len(events(read_all(watch(STREAM), said({"content": "a"}) + END.strip()))) == 3
    assert len(events(read_all(watch(STREAM), said({"content": "a"}) + END + said({"content": "late"})))) == 3


def test_an_old_ollama_says_less() -> None:
    """Without a reason and without the prompt's count, as when the prompt was cached."""
    watcher = watch(STREAM)
    last = events(read_all(watcher, said({"content": "a"}) + said({}, done=True, eval_count=1)))[-1]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert watcher.usage == Usage(0, 1)


def test_a_begun_stream_ends_in_an_error_event() -> None:
    watcher = watch(STREAM)
    watcher.feed(said({"content": "a"}))
    event = watcher.fault(EngineTimeout("No token for 15 s."))
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert "No token for 15 s." in json.loads(event[6:])["error"]["message"]
    assert watcher.content_type.startswith("text/event-stream")
    assert "error" in json.loads(watch(CHAT).fault(EngineTimeout("late")))
