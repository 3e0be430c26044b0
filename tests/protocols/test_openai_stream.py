"""Watchers: what an engine streams passes as it came, and only a finished answer ends well."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocols.ollama_wire import CUTS, Json, Ticks, backend, cut, read_all, reader

from penstock.errors import BrokenAnswer, EngineRefused
from penstock.protocols.dialect import Reader
from penstock.types import Usage

CHAT = "/v1/chat/completions"
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
ASKED: Json = {"stream_options": {"include_usage": True}}


def watcher(path: str = CHAT, body: Json | None = None) -> Reader:
    return reader(path, {"model": "m", "stream": True, **(body or {})}, backend())[0]


def sent(*chunks: object) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n" for chunk in chunks)


def said(content: str, index: int = 0, **more: object) -> Json:
    return {"model": "real", "choices": [{"index": index, "delta": {"content": content}}], **more}


def finish(reason: str = "stop", index: int = 0, **more: object) -> Json:
    return {"model": "real", "choices": [{"index": index, "delta": {}, "finish_reason": reason}], **more}


TOTALS: Json = {"model": "real", "choices": [], "usage": USAGE}


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes, bool]:
    """A whole answer of up to three choices, what the client shall see of it, and whether usage was asked for."""
    asked = draw(st.booleans())
    pieces = st.lists(st.text(max_size=6), max_size=4)
    columns = [
        [said("", n)] + [said(text, n) for text in draw(pieces)] + [finish(index=n)]
        for n in range(draw(st.integers(1, 3)))
    ]
    chunks = [one for row in itertools.zip_longest(*columns) for one in row if one]
    nulls = [{**chunk, "usage": None} for chunk in chunks] if draw(st.booleans()) else chunks
    comment = b": keep-alive\n\n" if draw(st.booleans()) else b""
    wire = comment + sent(*nulls, TOTALS) + DONE
    client = comment + (sent(*nulls, TOTALS) if asked else sent(*chunks)) + DONE
    return wire, client, asked


@given(answers(), CUTS)
@settings(max_examples=100)
def test_any_chunking_gives_the_same_bytes(answer: tuple[bytes, bytes, bool], cuts: list[int]) -> None:
    """Usage that only we asked for is taken out again, with its nulls; usage the client asked for stays."""
    wire, client, asked = answer
    one = watcher(body=ASKED if asked else None)
    assert read_all(one, wire, cuts) == client
    assert (one.usage, one.model, one.finish_reason, one.finished) == (Usage(3, 4), "real", "stop", True)


@given(answers(), CUTS)
@settings(max_examples=50)
def test_only_whole_events_go_on(answer: tuple[bytes, bytes, bool], cuts: list[int]) -> None:
    one = watcher()
    for part in cut(answer[0], cuts):
        passed = one.feed(part)
        assert not passed or passed.endswith(b"\n\n")


@given(answers(), st.data())
@settings(max_examples=80)
def test_an_answer_cut_before_its_last_finish_is_broken(answer: tuple[bytes, bytes, bool], data: st.DataObject) -> None:
    wire = answer[0]
    end = wire.rindex(b'"finish_reason":"stop"')
    one = watcher()
    one.feed(wire[: data.draw(st.integers(0, end))])
    with pytest.raises(BrokenAnswer, match="without finishing"):
        one.close()


def test_a_choice_that_begins_after_another_finished_must_finish_too() -> None:
    one = watcher(body={"n": 2})
    one.feed(sent(said("a"), finish(), said("b", 1)))
    with pytest.raises(BrokenAnswer):
        one.close()
    two = watcher(body={"n": 2})
    assert read_all(two, sent(said("a"), finish(), said("b", 1), finish(index=1))).endswith(DONE)


def test_a_choice_that_has_not_begun_is_missing() -> None:
    """Two were asked for, and the engine closes after the first: no `[DONE]` makes that an answer."""
    first = sent(said("a"), finish())
    with pytest.raises(BrokenAnswer, match="without finishing"):
        read_all(watcher(body={"n": 2}), first)
    both = first + sent(said("b", 1), finish(index=1))
    assert read_all(watcher(body={"n": 2}), both) == both + DONE


def test_choices_that_only_the_engine_can_count_end_with_done() -> None:
    prompts = {"prompt": ["one", "two"]}
    text = sent({"model": "real", "choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]})
    with pytest.raises(BrokenAnswer, match="without finishing"):
        read_all(watcher("/v1/completions", prompts), text)
    assert read_all(watcher("/v1/completions", prompts), text + DONE) == text + DONE
    assert read_all(watcher("/v1/completions", {"prompt": "one"}), text) == text + DONE
    odds: tuple[object, ...] = ("2", 2.0, True, [])
    for odd in odds:
        with pytest.raises(BrokenAnswer):
            read_all(watcher(body={"n": odd}), sent(said("a"), finish()))


def test_a_forgotten_done_is_added() -> None:
    assert read_all(watcher(), sent(said("a"), finish())) == sent(said("a"), finish()) + DONE


def test_no_event_follows_done() -> None:
    one = watcher()
    assert (
        read_all(one, sent(said("a"), finish()) + DONE + sent(said("more")) + DONE) == sent(said("a"), finish()) + DONE
    )


def test_a_done_without_any_answer_is_broken() -> None:
    with pytest.raises(BrokenAnswer, match="without an answer"):
        watcher().feed(DONE)


@pytest.mark.parametrize("wire", [b"", b": ping\n\n", sent({"choices": []}), sent(said("half"))])
def test_a_clean_end_without_a_finish_is_broken(wire: bytes) -> None:
    one = watcher()
    one.feed(wire)
    with pytest.raises(BrokenAnswer):
        one.close()


@pytest.mark.parametrize(
    "data",
    [b"{", b"not json", b"[]", b'{"choices":5}', b'{"choices":[{"delta":"x"}]}', b'{"model":"\xff"}', b"[" * 9000],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses", "/v1/messages"])
def test_a_malformed_event_is_broken(path: str, data: bytes) -> None:
    if path in {"/v1/responses", "/v1/messages"} and data[:1] == b"{":
        data = b'{"type":5}'
    with pytest.raises(BrokenAnswer, match="malformed"):
        watcher(path).feed(b"data: " + data + b"\n\n")


@pytest.mark.parametrize(
    ("path", "event"),
    [
        (CHAT, {"error": {"message": "out of blocks", "code": 500}}),
        (CHAT, {"error": "out of blocks"}),
        ("/v1/completions", {"error": {"message": "out of blocks"}, "choices": []}),
        ("/v1/responses", {"type": "error", "message": "out of blocks"}),
        ("/v1/responses", {"error": {"message": "out of blocks"}}),
        ("/v1/messages", {"type": "error", "error": {"type": "api_error", "message": "out of blocks"}}),
    ],
)
def test_an_error_in_the_stream_is_the_engines_fault(path: str, event: Json) -> None:
    with pytest.raises(EngineRefused, match="out of blocks"):
        watcher(path).feed(sent(event))


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "a"}, {"reasoning": "a"}, {"reasoning_content": "a"}, {"refusal": "a"},
        {"tool_calls": [{"index": 0, "function": {"name": "f"}}]},
    ],
)  # fmt: skip
def test_everything_a_person_could_have_seen_is_content(delta: Json) -> None:
    one, timing = reader(CHAT, {"model": "m", "stream": True}, backend(), Ticks())
    one.feed(sent({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}))
    assert (one.content, timing.first) == (False, 0)
    one.feed(sent({"choices": [{"index": 0, "delta": delta}]}))
    assert one.content
    first = timing.first
    one.feed(sent({"choices": [{"index": 0, "delta": delta}]}))
    assert timing.last > timing.first == first > 0


def test_completions_are_watched_by_their_text() -> None:
    one = watcher("/v1/completions")
    chunks = [
        {"choices": [{"index": 0, "text": "a"}]},
        {"choices": [{"index": 0, "text": "", "finish_reason": "length"}]},
    ]
    assert read_all(one, sent(*chunks) + DONE) == sent(*chunks) + DONE
    assert (one.content, one.finish_reason) == (True, "length")


@pytest.mark.parametrize("spelling", [b',"usage":null', b', "usage": null'])
def test_text_that_looks_like_usage_is_left_alone(spelling: bytes) -> None:
    text = json.dumps(spelling.decode())
    event = b'data: {"choices":[{"index":0,"delta":{"content":' + text.encode() + b"}}]" + spelling + b"}\n\n"
    assert watcher().feed(event) == event.replace(spelling, b"")


def test_usage_beside_a_choice_is_passed_and_counted() -> None:
    one = watcher()
    wire = sent(said("a"), finish(usage=USAGE)) + DONE
    assert read_all(one, wire) == wire
    assert one.usage == Usage(3, 4)


RESPONSES = [
    {"type": "response.created", "response": {"id": "resp_1", "model": "real", "status": "in_progress"}},
    {"type": "response.output_text.delta", "delta": "hello"},
    {"type": "response.completed", "response": {"id": "resp_1", "usage": {"input_tokens": 3, "output_tokens": 4}}},
]
MESSAGES = [
    {"type": "message_start", "message": {"model": "real", "usage": {"input_tokens": 3, "output_tokens": 1}}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
    {"type": "message_stop"},
]


@pytest.mark.parametrize(
    ("path", "events", "reason"),
    [("/v1/responses", RESPONSES, "completed"), ("/v1/messages", MESSAGES, "end_turn")],
)
@given(cuts=CUTS)
@settings(max_examples=25)
def test_other_streams_pass_unchanged(path: str, events: Sequence[Json], reason: str, cuts: list[int]) -> None:
    wire = b"".join(b"event: " + str(one["type"]).encode() + b"\n" + sent(one) for one in events)
    one = watcher(path)
    assert read_all(one, wire, cuts) == wire
    assert (one.usage, one.model, one.finish_reason, one.content) == (Usage(3, 4), "real", reason, True)


@pytest.mark.parametrize(("path", "events"), [("/v1/responses", RESPONSES), ("/v1/messages", MESSAGES)])
def test_other_streams_without_their_last_event_are_broken(path: str, events: Sequence[Json]) -> None:
    for length in range(len(events)):
        one = watcher(path)
        one.feed(sent(*events[:length]))
        with pytest.raises(BrokenAnswer):
            one.close()


@pytest.mark.parametrize("end", ["response.incomplete", "response.failed", "response.cancelled"])
def test_every_end_of_a_response_is_an_end(end: str) -> None:
    one = watcher("/v1/responses")
    read_all(one, sent(*RESPONSES[:2], {"type": end, "response": {"id": "resp_1"}}))
    assert one.finish_reason == end.removeprefix("response.")
