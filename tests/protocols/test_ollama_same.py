"""Ollama to Ollama: bytes pass, and are watched."""

from __future__ import annotations

import json

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
    ask,
    backend,
    ollama_lines,
    ollama_whole,
    read_all,
    reader,
    scripts,
)

from penstock.errors import BrokenAnswer, EngineRefused, EngineTimeout
from penstock.protocols import table
from penstock.types import Kind, Usage, Wire

CHAT: Json = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
OLLAMA = backend(Kind.OLLAMA)


def test_only_the_model_is_replaced() -> None:
    """Unknown members, number formats and white space reach Ollama as the client wrote them."""
    body = b'{ "options": {"temperature": 0.70, "warp": 9},\n "model" : "m", "future": [1e3] }'
    outgoing = table.PAIRINGS["/api/chat", Wire.OLLAMA].request(ask("/api/chat", body), OLLAMA)
    assert outgoing.body == body.replace(b'"m"', b'"engine-model"')
    assert (outgoing.path, outgoing.dropped) == ("/api/chat", ())
    same = b'{"model":"engine-model"}'
    assert table.PAIRINGS["/api/generate", Wire.OLLAMA].request(ask("/api/generate", same), OLLAMA).body is same


@given(scripts(), SPELLINGS, CUTS)
def test_lines_pass_as_they_came(script: Script, spelling: Spelling, cuts: list[int]) -> None:
    watcher, _ = reader("/api/chat", CHAT, OLLAMA)
    data = b"".join(ollama_lines(script, spelling))
    assert read_all(watcher, b"\n\r\n" + data, cuts) == data.replace(b"\r\n", b"\n")
    assert watcher.usage == Usage(script.prompt_tokens, script.completion_tokens)
    assert (watcher.finished, watcher.content) == (True, True)
    assert watcher.finish_reason == ("length" if script.reason == "length" else "stop")
    assert watcher.model == "engine-model"
    assert watcher.content_type == "application/x-ndjson"


@given(scripts(), SPELLINGS, st.integers(0, 1 << 16))
def test_a_truncated_stream_never_looks_complete(script: Script, spelling: Spelling, place: int) -> None:
    """S1.35."""
    data = b"".join(ollama_lines(script, spelling))[: -1 - len(spelling.end)]
    watcher, _ = reader("/api/chat", CHAT, OLLAMA)
    watcher.feed(data[: place % (len(data) + 1)])
    with pytest.raises(BrokenAnswer):
        watcher.close()


@given(scripts(), SPELLINGS, CUTS)
def test_a_whole_answer_passes_as_it_came(script: Script, spelling: Spelling, cuts: list[int]) -> None:
    watcher, _ = reader("/api/chat", CHAT | {"stream": False}, OLLAMA)
    data = ollama_whole(script, spelling)
    assert read_all(watcher, data, cuts) == data
    assert watcher.usage == Usage(script.prompt_tokens, script.completion_tokens)
    assert watcher.content_type == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("/api/embed", {"model": "m", "input": "a"}, b'{"model":"m","embeddings":[[1.50]],"prompt_eval_count":3}'),
        ("/api/embed", {"model": "m", "input": []}, b'{"model":"m","embeddings":[]}'),
        ("/api/embeddings", {"model": "m", "prompt": "a"}, b'{"embedding":[1.50]}'),
    ],
)
def test_vectors_pass(path: str, body: Json, answer: bytes) -> None:
    watcher, _ = reader(path, body, OLLAMA)
    assert read_all(watcher, answer) == answer
    assert watcher.finished
    with pytest.raises(BrokenAnswer):
        read_all(reader(path, body, OLLAMA)[0], b'{"model":"m"}')


def test_loading_is_one_object_whatever_stream_says() -> None:
    watcher, _ = reader("/api/chat", {"model": "m", "messages": []}, OLLAMA)
    body = (
        b'{"model":"m","created_at":"x","message":{"role":"assistant","content":""},"done_reason":"load","done":true}'
    )
    assert read_all(watcher, body) == body
    assert watcher.content_type == "application/json; charset=utf-8"


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_an_answer_or_broken(data: bytes, stream: bool) -> None:  # noqa: FBT001
    watcher, _ = reader("/api/chat", CHAT | {"stream": stream}, OLLAMA)
    with pytest.raises((BrokenAnswer, EngineRefused)):
        read_all(watcher, data)


@pytest.mark.parametrize("stream", [True, False])
def test_errors(stream: bool) -> None:  # noqa: FBT001
    watcher, _ = reader("/api/chat", CHAT | {"stream": stream}, OLLAMA)
    with pytest.raises(EngineRefused, match="an error was encountered"):
        read_all(watcher, b'{"error":"an error was encountered while running the model"}\n')
    assert json.loads(watcher.fault(EngineTimeout("late"))) == {"error": "late"}


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"x":"\xff","done":true}', b'{"x":' + b"[" * 200_000])
def test_a_malformed_line_is_never_passed_on(line: bytes) -> None:
    watcher, _ = reader("/api/chat", CHAT, OLLAMA)
    with pytest.raises(BrokenAnswer):
        watcher.feed(line + b"\n")


def test_content_is_stamped_and_nothing_follows_the_last_line() -> None:
    watcher, timing = reader("/api/generate", {"model": "m", "prompt": "a"}, OLLAMA, Ticks())
    watcher.feed(b'{"response":"","done":false}\n')
    assert (watcher.content, timing.first) == (False, 0)
    watcher.feed(b'{"response":"a","done":false}\n')
    assert watcher.content
    assert timing.first
    assert watcher.feed(b'{"response":"","done":true}\n{"response":"late","done":false}\n').count(b"\n") == 1
    assert watcher.close() == b""
