"""What looks like an answer and is none: never passed on as one, whatever end stands behind it."""

from __future__ import annotations

import json

import pytest
from tests.protocols.ollama_wire import Json, backend, read_all, reader

from penstock.errors import BrokenAnswer, EngineFault, EngineRefused
from penstock.protocols.dialect import Reader

CHAT, TEXT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"
DONE = b"data: [DONE]\n\n"


def sent(*events: object) -> bytes:
    return b"".join(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n" for event in events)


def stream(path: str = CHAT) -> Reader:
    return reader(path, {"model": "m", "stream": True, "prompt": "x", "messages": []}, backend())[0]


def whole(path: str, body: bytes) -> bytes:
    one = reader(path, {"model": "m", "stream": False, "prompt": "x", "messages": []}, backend())[0]
    one.feed(body)
    return one.close()


def said(text: str, finish: str | None = None) -> Json:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


ERRORS: list[Json] = [
    {"object": "error", "message": "the engine died", "code": 500},
    {"type": "error", "message": "the engine died"},
    {"message": "the engine died"},
    {"detail": "the engine died"},
    {"detail": [{"msg": "the engine died"}]},
    {"choices": [], "message": "the engine died"},
]


@pytest.mark.parametrize("event", ERRORS)
@pytest.mark.parametrize("path", [CHAT, "/api/chat"])
@pytest.mark.parametrize("before", [b"", sent(said("a"))])
def test_errors_in_shapes_of_their_own_are_errors(path: str, event: Json, before: bytes) -> None:
    """In a stream that goes on to its `[DONE]` as if nothing had happened."""
    one = stream(path)
    one.feed(before)
    with pytest.raises(EngineRefused, match="the engine died"):
        one.feed(sent(event))


@pytest.mark.parametrize("path", [CHAT, "/api/chat"])
def test_an_event_that_is_no_part_of_an_answer(path: str) -> None:
    with pytest.raises(BrokenAnswer, match="no part of an answer"):
        stream(path).feed(sent({"id": "x"}))


@pytest.mark.parametrize(
    "event",
    [{"choices": [], "usage": {"prompt_tokens": 1}}, {"choices": [], "prompt_filter_results": []}, {"choices": []}],
)
def test_events_that_merely_say_nothing_pass(event: Json) -> None:
    wire = sent(event, said("a"), said("", "stop")) + DONE
    assert b'"a"' in read_all(stream(), wire)


@pytest.mark.parametrize("reason", ["abort", "error"])
@pytest.mark.parametrize("path", [CHAT, TEXT, "/api/chat", "/api/generate"])
def test_an_answer_given_up_is_no_answer(path: str, reason: str) -> None:
    """vLLM's words for a request that it aborted: before its `[DONE]`, and in a whole answer."""
    with pytest.raises(BrokenAnswer, match="gave the answer up"):
        stream(path).feed(sent({"choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": reason}]}))
    choices = [
        {"index": 0, "message": {"content": "a"}, "text": "a", "finish_reason": each} for each in ("stop", reason)
    ]
    with pytest.raises(BrokenAnswer, match="gave the answer up"):
        whole(path, json.dumps({"choices": choices if path.startswith("/v1") else choices[1:]}).encode())


def test_done_alone_is_no_finish() -> None:
    """Every choice that began must have said why it ended."""
    with pytest.raises(BrokenAnswer, match="without finishing the answer"):
        stream().feed(sent(said("a")) + DONE)
    other: Json = {"choices": [{"index": 1, "delta": {"content": "b"}}]}
    with pytest.raises(BrokenAnswer, match="without finishing the answer"):
        stream().feed(sent(said("a", "stop"), other) + DONE)


def test_an_empty_finish_reason_is_none() -> None:
    """Some engines write "" where they mean null: such a stream is not finished by its first event."""
    one = stream()
    one.feed(sent(said("a", "")))
    with pytest.raises(BrokenAnswer, match="without finishing"):
        one.close()


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
def test_bytes_that_are_no_text_do_not_pass(path: str) -> None:
    """Also where no decoder looks: half of a character in a member that is passed on unread."""
    event = b'data: {"type":"x","choices":[{"index":0,"delta":{"content":"a"},"logprobs":"\xe2\x82"}]}\n\n'
    with pytest.raises(BrokenAnswer, match="malformed"):
        stream(path).feed(event)
    with pytest.raises(BrokenAnswer, match="not the JSON"):
        whole(path, b'{"choices":[{"message":{"content":"\xe2\x82"}}],"output":"\xe2\x82","content":"\xe2\x82"}')


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {}),
        (CHAT, {"choices": []}),
        (TEXT, {"object": "text_completion"}),
        ("/v1/embeddings", {"object": "list"}),
        (RESPONSES, {"id": "resp_1"}),
        (RESPONSES, {"output": [], "status": "cancelled"}),
        (MESSAGES, {"type": "message"}),
        (MESSAGES, {"content": [], "stop_reason": None}),
    ],
)
def test_a_whole_answer_without_what_it_is_for_is_broken(path: str, body: Json) -> None:
    with pytest.raises(BrokenAnswer):
        whole(path, json.dumps(body).encode())


@pytest.mark.parametrize("event", ERRORS)
@pytest.mark.parametrize("path", [CHAT, TEXT, "/v1/embeddings", RESPONSES, MESSAGES])
def test_an_error_with_status_200_is_an_error(path: str, event: Json) -> None:
    with pytest.raises(EngineFault):
        whole(path, json.dumps(event).encode())


def test_other_answers_are_not_looked_into() -> None:
    assert whole("/rerank", b'[{"index":0}]') == b'[{"index":0}]'
    assert whole("/tokenize", b'{"tokens":[]}') == b'{"tokens":[]}'
    assert whole("/v1/embeddings", b'{"data":[]}') == b'{"data":[]}'


def test_a_response_that_fails_before_it_says_anything_may_be_asked_of_another() -> None:
    failed: Json = {"type": "response.failed", "response": {"error": {"message": "no blocks"}}}
    with pytest.raises(EngineRefused, match="no blocks"):
        stream(RESPONSES).feed(sent({"type": "response.created"}, failed))
    begun = stream(RESPONSES)
    begun.feed(sent({"type": "response.output_text.delta", "delta": "a"}))
    assert b"response.failed" in begun.feed(sent(failed))


@pytest.mark.parametrize("status", ["cancelled", "failed", "in_progress"])
def test_completed_with_another_status_is_not_complete(status: str) -> None:
    with pytest.raises(BrokenAnswer, match=status):
        stream(RESPONSES).feed(sent({"type": "response.completed", "response": {"status": status}}))


def test_a_message_that_gives_no_reason_to_stop_was_given_up() -> None:
    """So vLLM tells an abort."""
    with pytest.raises(BrokenAnswer, match="no reason to stop"):
        stream(MESSAGES).feed(sent({"type": "message_delta", "delta": {"stop_reason": None}}, {"type": "message_stop"}))


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
def test_events_without_a_type_are_no_part_of_such_an_answer(path: str) -> None:
    with pytest.raises(EngineRefused, match="died"):
        stream(path).feed(sent({"error": {"message": "it died"}}))
    with pytest.raises(EngineRefused, match="died"):
        stream(path).feed(sent({"object": "error", "type": "InternalServerError", "message": "it died"}))
    with pytest.raises(BrokenAnswer, match="no part"):
        stream(path).feed(sent({"id": "x"}))


@pytest.mark.parametrize(
    ("path", "end"),
    [
        (CHAT, sent(said("a", "stop")) + DONE),
        (RESPONSES, sent({"type": "response.completed", "response": {"status": "completed"}})),
        (MESSAGES, sent({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"})),
    ],
)
@pytest.mark.parametrize(
    "more", [DONE, sent({"error": "late"}), b"rubbish\n\n", b"data: {\n\n", b": ping\n\n", b"x" * 99]
)
def test_nothing_after_the_end_matters(path: str, end: bytes, more: bytes) -> None:
    """In the same read or in a later one."""
    together, apart = stream(path), stream(path)
    assert read_all(together, end + more) == end
    assert apart.feed(end) + apart.feed(more) + apart.close() == end


@pytest.mark.parametrize(
    ("path", "events"),
    [
        (CHAT, [said("a"), said("", "stop"), "[DONE]"]),
        ("/api/chat", [said("a"), said("", "stop"), "[DONE]"]),
        (MESSAGES, [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}]),
        (RESPONSES, [{"type": "response.completed"}]),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 7, 9999])
def test_every_line_end_gives_the_whole_answer(path: str, events: list[object], end: str, size: int) -> None:
    """A bare CR at the end of the body may be the last byte of the last event."""
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    wire = "".join(f"data:{text}{end}{end}" for text in texts).encode()
    one = stream(path)
    passed = b"".join(one.feed(wire[at : at + size]) for at in range(0, len(wire), size)) + one.close()
    assert one.finished
    assert path == "/api/chat" or passed == wire
