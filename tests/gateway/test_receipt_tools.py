"""Tool calls are found in the bytes a client was sent, whole or in pieces, in each protocol."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from penstock.gateway.receipt_tools import tool_calls

ARGUMENTS = '{"city":"Basel"}'
DIGEST = sha256(ARGUMENTS.encode()).hexdigest()


def events(*said: object) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in said) + b"data: [DONE]\n\n"


def lines(*said: object) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in said)


def delta(**call: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **call}]}}]}


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps({"choices": [{"message": {"tool_calls": [{"function": {"name": "weather", "arguments": ARGUMENTS}}]}}]}).encode(),
        events(delta(function={"name": "weather", "arguments": ""}), delta(function={"arguments": ARGUMENTS[:5]}), delta(function={"arguments": ARGUMENTS[5:]})),
        json.dumps({"choices": [{"message": {"function_call": {"name": "weather", "arguments": ARGUMENTS}}}]}).encode(),
        json.dumps({"message": {"tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Basel"}}}]}, "done": True}).encode(),
        lines({"message": {"content": "I ask"}}, {"message": {"tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Basel"}}}]}}, {"done": True}),
        json.dumps({"content": [{"type": "text", "text": "I ask"}, {"type": "tool_use", "name": "weather", "input": {"city": "Basel"}}]}).encode(),
        events(
            {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "weather", "input": {}}},
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": ARGUMENTS[:4]}},
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": ARGUMENTS[4:]}},
        ),
        json.dumps({"output": [{"type": "function_call", "name": "weather", "arguments": ARGUMENTS}]}).encode(),
        events({"type": "response.output_item.done", "item": {"type": "function_call", "name": "weather", "arguments": ARGUMENTS}}),
    ],
    ids=["openai", "openai stream", "openai old", "ollama", "ollama stream", "anthropic", "anthropic stream", "responses", "responses stream"],
)  # fmt: skip
def test_a_call(answer: bytes) -> None:
    assert tool_calls(answer) == (("weather", DIGEST),)


@pytest.mark.parametrize(
    "answer", [b"", b"{", b'{"choices": 5}', b'{"message": null}', b'data: {"choices": [null]}\n\n', b"[" * 5000]
)
def test_what_is_none_is_passed_over(answer: bytes) -> None:
    assert tool_calls(answer) == ()
