"""Ollama requests decoded, and every wrong one refused in Ollama's words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocols.ollama_wire import Json, ask, backend, tried

from penstock.errors import BadRequest, Refusal
from penstock.protocols import ollama_call, ollama_words, table
from penstock.protocols.dialect import Call
from penstock.types import Face, Kind, Operation

PATHS = ("/api/chat", "/api/generate", "/api/embed", "/api/embeddings")
USER = [{"role": "user", "content": "hi"}]


def refused(path: str, body: Json | bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        ask(path, body)
    assert caught.value.sentence()
    return caught.value


@pytest.mark.parametrize(
    ("path", "body", "operation"),
    [
        ("/api/chat", {"messages": USER}, Operation.CHAT),
        ("/api/generate", {"prompt": "hi"}, Operation.COMPLETION),
        ("/api/embed", {"input": "hi"}, Operation.EMBEDDING),
        ("/api/embeddings", {"prompt": "hi"}, Operation.EMBEDDING),
    ],
)
def test_a_request_is_known_by_its_path(path: str, body: Json, operation: Operation) -> None:
    call = ask(path, {"model": "m"} | body)
    assert (call.face, call.path, call.operation, call.model, call.idle) == (Face.OLLAMA, path, operation, "m", None)


@pytest.mark.parametrize(
    ("given_stream", "streams"),
    [({}, True), ({"stream": None}, True), ({"stream": True}, True), ({"stream": False}, False)],
)
@pytest.mark.parametrize(("path", "body"), [("/api/chat", {"messages": USER}), ("/api/generate", {"prompt": "hi"})])
def test_ollama_streams_unless_told_not_to(path: str, body: Json, given_stream: Json, streams: bool) -> None:  # noqa: FBT001
    assert ask(path, {"model": "m"} | body | given_stream).stream is streams


@pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings"])
def test_vectors_never_stream(path: str) -> None:
    assert ask(path, {"model": "m", "input": "a", "prompt": "a"}).stream is False


@pytest.mark.parametrize(
    ("alive", "idle"),
    [
        (None, "load"),
        (300, "load"),
        (-1, "load"),
        ("5m", "load"),
        (0, "unload"),
        ("0", "unload"),
        ("0s", "unload"),
        ("200ms", "unload"),
        ("-1s", "load"),
    ],
)
@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/chat", {"messages": []}), ("/api/chat", {}), ("/api/generate", {"prompt": ""}), ("/api/generate", {})],
)
def test_nothing_to_generate_means_load_or_unload(path: str, body: Json, alive: object, idle: str) -> None:
    assert ask(path, {"model": "m", "keep_alive": alive} | body).idle == idle


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/embed", {"input": []}),
        ("/api/embed", {"input": ""}),
        ("/api/embed", {}),
        ("/api/embeddings", {"prompt": ""}),
    ],
)
def test_nothing_to_embed_is_no_error(path: str, body: Json) -> None:
    call = ask(path, {"model": "m"} | body)
    answer = json.loads(table.IDLERS[path].idle(call, backend()))
    assert answer in ({"model": "engine-model", "embeddings": []}, {"embedding": []})


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [b"", b"  \r\n"])
def test_no_body(path: str, body: bytes) -> None:
    assert refused(path, body).sentence() == "missing request body"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [{}, {"model": ""}, {"model": None} | {"messages": USER}][:2])
def test_no_model(path: str, body: Json) -> None:
    assert refused(path, body).sentence() == "model is required"


@pytest.mark.parametrize("given_input", [5, {"a": 1}, [1], ["a", 2], True])
def test_input_is_text_or_texts(given_input: object) -> None:
    assert refused("/api/embed", {"model": "m", "input": given_input}).sentence() == "invalid input type"


@pytest.mark.parametrize(
    ("alive", "words"),
    [
        ("5", 'time: missing unit in duration "5"'),
        ("5 parsecs", 'time: unknown unit " parsecs" in duration "5 parsecs"'),
        ("soon", 'time: invalid duration "soon"'),
        ("", 'time: invalid duration ""'),
        ("1e3s", 'time: unknown unit "e" in duration "1e3s"'),
        (True, "Unsupported type: 'bool'"),
        ([], "Unsupported type: '[]interface {}'"),
        ({}, "Unsupported type: 'map[string]interface {}'"),
    ],
)
def test_keep_alive_is_seconds_or_a_go_duration(alive: object, words: str) -> None:
    assert refused("/api/chat", {"model": "m", "keep_alive": alive}).sentence() == words


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("300", 300 * 10**9),
        ("1.5", 1_500_000_000),
        ("-1", ollama_words.FOREVER),
        ("1e300", ollama_words.FOREVER),
        ('"5m"', 300 * 10**9),
        ('"1h30m"', 5400 * 10**9),
        ('"1.5h"', 5400 * 10**9),
        ('"100us"', 100_000),
        ('"100µs"', 100_000),
        ('"-5m"', ollama_words.FOREVER),
        ('"0"', 0),
        ("null", None),
    ],
)
def test_durations(text: str, nanoseconds: int | None) -> None:
    request = ollama_call.chat_request(b'{"model":"m","keep_alive":' + text.encode() + b"}")
    assert ollama_words.keep_alive(request.keep_alive) == nanoseconds


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ({"top_k": "many"}, 'option "top_k" must be of type integer'),
        ({"stop": "x"}, 'option "stop" must be of type array'),
        ({"stop": [1]}, 'option "stop" must be of an array of strings'),
    ],
)
def test_options_have_types(options: Json, words: str) -> None:
    for path in PATHS:
        assert refused(path, {"model": "m", "options": options}).sentence() == words
    assert refused("/api/chat", {"model": "m", "options": 3}).param == "options"


def test_other_fields_have_their_words_too() -> None:
    assert refused("/api/chat", {"model": "m", "think": "hard"}).sentence() == (
        'invalid think value: "hard" (must be "high", "medium", "low", "max", true, or false)'
    )
    assert refused("/api/chat", {"model": "m", "format": "xml"}).sentence() == (
        'invalid format: "\\"xml\\""; expected "json" or a valid JSON Schema object'
    )
    assert refused("/api/generate", {"model": "m", "top_logprobs": 21}).sentence() == (
        "top_logprobs must be between 0 and 20"
    )
    assert refused("/api/generate", {"model": "m", "raw": True, "system": "s", "prompt": "p"}).sentence() == (
        "raw mode does not support template, system, or context"
    )
    string = [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]
    assert "not an object" in refused("/api/chat", {"model": "m", "messages": string}).sentence()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"x"',
        b'{"model":"m"} {}',
        b'{"model":"m","options":{"temperature":NaN}}',
        b'{"model":"m","options":{"temperature":1e999}}',
        b'{"model":"m","x":"\xff"}',
        b'{"model":"m","model":"n"}',
        b'{"model":"m","mod\\u0065l":"n"}',
        b'{"model":"m","x":' + b"[" * 200_000 + b"}",
        b'{"model":"m","format":' + b'{"a":' * 200_000 + b"}",
        b'{"model":"m","prompt":"\\ud800"}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_request_is_refused_not_crashed_on(path: str, body: bytes) -> None:
    refused(path, body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system", "x"])},
    optional={
        "content": st.text(max_size=5) | JSON,
        "thinking": st.text(max_size=5),
        "images": st.lists(st.sampled_from(["iVBORw0KGgo=", "R0lGODlh", "x", ""]), max_size=2),
        "tool_calls": st.lists(
            st.fixed_dictionaries(
                {"function": st.fixed_dictionaries({"name": st.text(max_size=3)}, optional={"arguments": JSON})}
            ),
            max_size=2,
        ),
        "tool_name": st.text(max_size=3),
        "tool_call_id": st.text(max_size=3),
    },
)
REQUEST = st.fixed_dictionaries(
    {"model": st.just("m")},
    optional={
        "messages": st.lists(MESSAGE, max_size=3),
        "prompt": st.text(max_size=5),
        "input": JSON,
        "system": st.text(max_size=3),
        "suffix": st.text(max_size=3),
        "template": st.text(max_size=1),
        "raw": st.booleans(),
        "stream": st.booleans(),
        "think": st.booleans() | st.sampled_from(["low", "max", "no"]),
        "format": JSON | st.just("json"),
        "keep_alive": JSON,
        "images": st.lists(st.sampled_from(["iVBORw0KGgo=", "x"]), max_size=1),
        "context": st.lists(st.integers(0, 9), max_size=2),
        "tools": st.lists(JSON, max_size=2),
        "logprobs": st.booleans(),
        "top_logprobs": st.integers(-1, 21),
        "dimensions": st.integers(-1, 4),
        "truncate": st.booleans(),
        "options": st.dictionaries(
            st.sampled_from(
                ["temperature", "top_k", "num_ctx", "stop", "seed", "num_gpu", "top_p", "num_predict", "zz"]
            ),
            JSON,
            max_size=4,
        ),
    },
)


@given(st.sampled_from(PATHS), REQUEST, st.sampled_from(list(Kind)), st.booleans())
def test_every_request_is_written_or_refused(path: str, body: Json, kind: Kind, defaults: bool) -> None:  # noqa: FBT001
    call = tried(lambda: ask(path, body))
    if isinstance(call, Refusal):
        assert call.status == 400
        assert call.sentence()
        return
    to = backend(kind, ollama_defaults=defaults, window=2048)
    pairing = table.PAIRINGS[path, to.kind.wire]
    if call.idle:
        assert json.loads(table.IDLERS[path].idle(call, to))
    outgoing = tried(lambda: pairing.request(call, to))
    if isinstance(outgoing, Refusal):
        assert outgoing.status in {400, 501}
        return
    assert json.loads(outgoing.body)["model"] == "engine-model"
    assert len(set(outgoing.dropped)) == len(outgoing.dropped)


@given(st.sampled_from(PATHS), st.binary(max_size=80))
def test_any_bytes_are_decoded_or_refused(path: str, body: bytes) -> None:
    found = tried(lambda: ask(path, body))
    assert found.model if isinstance(found, Call) else found.sentence()
