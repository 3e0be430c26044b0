"""Histories in both directions: images, tool calls, and results that have lost their ids."""

from __future__ import annotations

import json

import ollama
import pytest
from tests.protocols.ollama_wire import Json, ask, backend, write

from penstock.errors import BadRequest
from penstock.protocols import table
from penstock.types import Kind

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def for_engine(messages: list[Json], kind: Kind = Kind.VLLM) -> list[Json]:
    written, _ = write("/api/chat", {"model": "m", "messages": messages}, backend(kind))
    found: list[Json] = written["messages"]
    return found


def for_ollama(messages: list[Json]) -> list[Json]:
    written, _ = write("/v1/chat/completions", {"model": "m", "messages": messages}, backend(Kind.OLLAMA))
    found: list[Json] = written["messages"]
    for message in found:
        # The client's own type takes images only as paths or bytes.
        ollama.Message.model_validate({name: value for name, value in message.items() if name != "images"})
    return found


def called(*names: str, **ids: str) -> Json:
    calls = [
        {"function": {"name": name, "arguments": {"of": name}}} | ({"id": ids[name]} if name in ids else {})
        for name in names
    ]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def test_plain_turns_pass() -> None:
    turns = [{"role": role, "content": f"é {role}"} for role in ("system", "user", "assistant", "user")]
    assert for_engine(turns) == turns
    assert for_ollama(turns) == turns


def test_images_become_parts_and_parts_become_images() -> None:
    uri = f"data:image/png;base64,{PNG}"
    [turn] = for_engine([{"role": "user", "content": "what is this", "images": [PNG, uri]}])
    picture = {"type": "image_url", "image_url": {"url": uri}}
    assert turn["content"] == [{"type": "text", "text": "what is this"}, picture, picture]
    assert for_engine([{"role": "user", "images": [PNG]}])[0]["content"] == [picture]
    assert for_ollama([turn]) == [{"role": "user", "content": "what is this", "images": [PNG, PNG]}]


@pytest.mark.parametrize(
    ("start", "mime"),
    [
        ("/9j/4AAQSkZJRg==", "image/jpeg"),
        ("R0lGODlhAQABAAAA", "image/gif"),
        ("UklGRiQAAABXRUJQVlA4", "image/webp"),
        ("Qk0eAAAAAAAA", "image/bmp"),
        ("SUkqAAgAAAA=", "image/tiff"),
        ("AAAAIGZ0eXBhdmlm", "image/avif"),
        ("AAAAGGZ0eXBoZWlj", "image/heic"),
    ],
)
def test_the_kind_of_an_image_is_read_from_its_first_bytes(start: str, mime: str) -> None:
    [turn] = for_engine([{"role": "user", "content": "", "images": [start]}])
    assert turn["content"][0]["image_url"]["url"] == f"data:{mime};base64,{start}"


@pytest.mark.parametrize(
    ("image", "words"),
    [("a?b=", "illegal base64 data at input byte 1"), ("abc", "illegal base64"), ("aGVsbG8=", "no image format")],
)
def test_what_is_no_image_is_refused(image: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        for_engine([{"role": "user", "content": "", "images": [image]}])


def test_ollama_fetches_no_addresses() -> None:
    for url in ("https://example.org/cat.png", "data:image/png,plain", "file:///etc/passwd"):
        with pytest.raises(BadRequest, match="fetches no addresses"):
            for_ollama([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])
    with pytest.raises(BadRequest, match="input_audio"):
        for_ollama([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}])


def test_texts_of_one_message_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert for_ollama([{"role": "developer", "content": parts}]) == [{"role": "system", "content": "a\nb"}]


def test_results_are_joined_to_their_calls_by_name() -> None:
    """The official client drops ids: the results say the tool's name, in any order."""
    turns = for_engine(
        [
            called("add", "sub"),
            {"role": "tool", "tool_name": "sub", "content": "1"},
            {"role": "tool", "tool_name": "add", "content": "2"},
        ]
    )
    first, second = (call["id"] for call in turns[0]["tool_calls"])
    assert first != second
    assert [(turn["tool_call_id"], turn["name"], turn["content"]) for turn in turns[1:]] == [
        (second, "sub", "1"),
        (first, "add", "2"),
    ]
    assert turns[0]["content"] is None
    assert [call["function"]["arguments"] for call in turns[0]["tool_calls"]] == ['{"of": "add"}', '{"of": "sub"}']


def test_results_without_any_name_are_joined_by_order() -> None:
    turns = for_engine([called("a", "b", "a"), *({"role": "tool", "content": text} for text in "123")])
    ids = [call["id"] for call in turns[0]["tool_calls"]]
    assert [turn["tool_call_id"] for turn in turns[1:]] == ids
    assert [turn["name"] for turn in turns[1:]] == ["a", "b", "a"]


def test_two_calls_of_one_tool_are_answered_in_turn_over_several_rounds() -> None:
    result = {"role": "tool", "tool_name": "f", "content": "x"}
    turns = for_engine([called("f", "f"), result, result, called("f"), result])
    ids = [call["id"] for turn in turns for call in turn.get("tool_calls", ())]
    assert len(set(ids)) == 3
    assert [turn["tool_call_id"] for turn in turns if turn["role"] == "tool"] == ids


def test_ids_that_a_client_kept_are_kept() -> None:
    """langchain_ollama makes its own ids and sends them back."""
    turns = for_engine(
        [
            called("f", "g", f="abc"),
            {"role": "tool", "tool_call_id": "abc", "content": "1"},
            {"role": "tool", "content": "2"},
        ]
    )
    assert turns[0]["tool_calls"][0]["id"] == turns[1]["tool_call_id"] == "abc"
    assert turns[2]["tool_call_id"] == turns[0]["tool_calls"][1]["id"]
    assert for_engine([{"role": "tool", "tool_call_id": "zz", "content": "1"}])[0]["tool_call_id"] == "zz"
    assert for_engine([{"role": "tool", "content": "1"}])[0]["tool_call_id"]


def test_made_ids_suit_mistral_and_never_change() -> None:
    """Mistral's template wants nine letters or digits; the same history must give the same prompt for the prefix cache."""
    history = [called("f", "g"), {"role": "tool", "content": "1"}]
    ids = [call["id"] for call in for_engine(history)[0]["tool_calls"]]
    assert all(len(made) == 9 and made.isalnum() for made in ids)
    assert for_engine(history) == for_engine(history)


@pytest.mark.parametrize(("kind", "field"), [(Kind.VLLM, "reasoning"), (Kind.EMBEDDED, "reasoning_content")])
def test_earlier_thoughts_go_where_the_engine_reads_them(kind: Kind, field: str) -> None:
    assert for_engine([{"role": "assistant", "content": "a", "thinking": "hm"}], kind)[0][field] == "hm"


def test_an_openai_server_is_not_shown_thoughts_nor_told_tool_names() -> None:
    body = {
        "model": "m",
        "messages": [called("f") | {"thinking": "hm"}, {"role": "tool", "tool_name": "f", "content": "1"}],
    }
    written, outgoing = write("/api/chat", body, backend(Kind.OPENAI))
    assert outgoing.dropped == ("thinking",)
    assert "name" not in written["messages"][1]


def test_arguments_keep_their_order_and_numbers_both_ways() -> None:
    text = '{"z": 1.50, "a": {"y": 1e3, "b": [1,2]}}'
    raw = '{"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":%s}}]}]}'
    call = ask("/api/chat", (raw % text).encode())
    body = json.loads(table.PAIRINGS["/api/chat", Kind.VLLM.wire].request(call, backend()).body)
    arguments = body["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert arguments == text
    back = ask("/v1/chat/completions", json.dumps({"model": "m", "messages": body["messages"]}).encode())
    assert (
        text.encode()
        in table.PAIRINGS["/v1/chat/completions", Kind.OLLAMA.wire].request(back, backend(Kind.OLLAMA)).body
    )


def test_openai_results_are_given_their_tools_name() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    messages = for_ollama(
        [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "7"},
        ]
    )
    assert messages[0]["tool_calls"] == [{"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}]
    assert messages[1] == {"role": "tool", "content": "7", "tool_name": "f", "tool_call_id": "c1"}


@pytest.mark.parametrize("arguments", ["{", "[]", "1", '"x"', '{"a":NaN}'])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    with pytest.raises(BadRequest, match="not a JSON object"):
        for_ollama([{"role": "assistant", "tool_calls": [call]}])
