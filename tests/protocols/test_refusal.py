"""Errors in the words of each protocol, and what an engine's error says in any shape."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import errors
from penstock.errors import BadRequest, Overloaded, PenstockError, Unauthorized, UnknownAlias
from penstock.protocols import refusal
from penstock.types import Face, Wire


def classes(root: type[PenstockError] = PenstockError) -> list[type[PenstockError]]:
    return [root, *(one for child in root.__subclasses__() for one in classes(child))]


@pytest.mark.parametrize(
    "kind", [one for one in classes() if one.__module__ == errors.__name__], ids=lambda one: one.code
)
def test_every_error_has_the_shape_of_each_protocol(kind: type[PenstockError]) -> None:
    error = kind("what we did", hint="what to try", param="model")
    openai = json.loads(refusal.body(Face.OPENAI, error))["error"]
    assert openai["message"] == "what we did what to try"
    assert openai["code"] == kind.code
    assert openai["param"] == "model"
    assert openai["type"].endswith("_error")
    anthropic = json.loads(refusal.body(Face.ANTHROPIC, error))
    assert anthropic["type"] == "error"
    assert anthropic["error"].keys() == {"type", "message"}
    assert json.loads(refusal.body(Face.OLLAMA, error)) == {"error": "what we did what to try"}


@pytest.mark.parametrize(
    ("error", "openai", "anthropic"),
    [
        (BadRequest("x"), "invalid_request_error", "invalid_request_error"),
        (Unauthorized("x"), "authentication_error", "authentication_error"),
        (UnknownAlias("x"), "not_found_error", "not_found_error"),
        (Overloaded("x"), "overloaded_error", "overloaded_error"),
        (errors.TooLarge("x"), "invalid_request_error", "request_too_large"),
        (errors.RateLimited("x"), "rate_limit_error", "rate_limit_error"),
        (errors.Unreachable("x"), "server_error", "api_error"),
    ],
)
def test_types_are_those_that_clients_switch_on(error: PenstockError, openai: str, anthropic: str) -> None:
    assert json.loads(refusal.body(Face.OPENAI, error))["error"]["type"] == openai
    assert json.loads(refusal.body(Face.ANTHROPIC, error))["error"]["type"] == anthropic


def test_the_error_that_ends_a_stream() -> None:
    error = errors.BrokenAnswer("cut\nshort")
    assert refusal.stream_error(Face.OPENAI, error).startswith(b'data: {"error":{')
    assert refusal.stream_error(Face.ANTHROPIC, error).startswith(b'event: error\ndata: {"error":{')
    ollama = refusal.stream_error(Face.OLLAMA, error)
    assert ollama.count(b"\n") == 1
    assert json.loads(ollama) == {"error": "cut\nshort"}
    for face in (Face.OPENAI, Face.ANTHROPIC):
        assert refusal.stream_error(face, error).count(b"\n\n") == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"error":{"message":"too long","type":"x"}}', "too long"),
        (b'{"error":"model not found"}', "model not found"),
        (b'{"object":"error","message":"old vLLM","code":400}', "old vLLM"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"detail":[{"loc":["body"],"msg":"field required"}]}', '[{"loc":["body"],"msg":"field required"}]'),
        (b'{"error":null,"message":"m"}', "m"),
        (b'{"error":{"message":5}}', '{"message":5}'),
        (b"Internal Server Error\n", "Internal Server Error"),
        (b"<html>", "<html>"),
        (b"{}", "the engine gave no reason"),
        (b"", "the engine gave no reason"),
        (b'{"error":"caf\xe9"}', '"caf\N{REPLACEMENT CHARACTER}"'),
        (b'{"error":{"message":"\xff"}}', '{"message":"\N{REPLACEMENT CHARACTER}"}'),
    ],
)
def test_what_an_engine_says(answer: bytes, said: str) -> None:
    assert refusal.message_of(answer) == said


@given(
    st.binary(max_size=30)
    | st.builds(
        lambda key, junk: b'{"' + key + b'":"' + junk + b'"}', st.sampled_from([b"error", b"detail"]), st.binary()
    )
)
@settings(max_examples=100)
def test_any_bytes_of_an_engine_can_be_told_in_every_protocol(answer: bytes) -> None:
    for face in Face:
        for wire in Wire:
            told = refusal.translated(face, wire, 500, answer)
            assert told == answer or "error" in json.loads(told)


def test_an_error_already_in_the_clients_protocol_passes_untouched() -> None:
    openai = b'{"error":{"message":"m","type":"t","extra":1}}'
    assert refusal.translated(Face.OPENAI, Wire.OPENAI, 400, openai) == openai
    ollama = b'{"error":"m"}'
    assert refusal.translated(Face.OLLAMA, Wire.OLLAMA, 400, ollama) == ollama
    assert json.loads(refusal.translated(Face.OLLAMA, Wire.OPENAI, 400, openai)) == {"error": "m"}
    assert json.loads(refusal.translated(Face.OPENAI, Wire.OLLAMA, 404, ollama))["error"] == {
        "message": "m",
        "type": "not_found_error",
        "param": None,
        "code": None,
    }
    assert json.loads(refusal.translated(Face.OPENAI, Wire.OPENAI, 502, b"<html>"))["error"]["message"] == "<html>"
