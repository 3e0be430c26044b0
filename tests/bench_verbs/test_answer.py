"""Streamed answers of both protocols, however their bytes come."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.answer import OllamaReading, OpenAIReading, Reading, Sample, reason_of
from penstock.errors import BrokenAnswer, EngineFault, EngineRefused, EngineTimeout


def event(**members: object) -> bytes:
    return b"data: " + json.dumps(members).encode() + b"\n\n"


def delta(text: str, key: str = "content") -> bytes:
    return event(choices=[{"index": 0, "delta": {key: text}, "finish_reason": None}])


USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
OPENAI = (
    event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}]),
    delta("Hm", "reasoning"),
    b": keep-alive\n\n",
    delta("one"),
    delta(" two"),
    event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    event(choices=[], usage=USAGE),
    b"data: [DONE]\n\n",
)


def line(**members: object) -> bytes:
    return json.dumps({"model": "m", **members}).encode() + b"\n"


OLLAMA = (
    line(message={"role": "assistant", "content": "", "thinking": "Hm"}, done=False),
    line(message={"role": "assistant", "content": "one"}, done=False),
    line(message={"role": "assistant", "content": " two"}, done=False),
    line(
        message={"role": "assistant", "content": ""}, done=True, done_reason="stop", prompt_eval_count=9, eval_count=4
    ),
)


def read(reading: Reading, pieces: list[bytes], status: int = 200) -> Sample:
    """Each piece a hundred nanoseconds after the one before."""
    reading.sent(1000)
    reading.head(status, {})
    at = 1000
    for piece in pieces:
        at += 100
        reading.received(piece, at)
    reading.complete(at + 1)
    return reading.sample()


def cut(whole: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(whole) + 1) for place in places), len(whole)]
    return [whole[start:end] for start, end in pairwise(edges) if start != end]


@pytest.mark.parametrize(("kind", "pieces"), [(OpenAIReading, OPENAI), (OllamaReading, OLLAMA)])
def test_when_the_pieces_came(kind: type[OpenAIReading | OllamaReading], pieces: tuple[bytes, ...]) -> None:
    found = read(kind(3, 7, 900), list(pieces))
    assert (found.place, found.prompt, found.due, found.sent) == (3, 7, 900, 1000)
    assert (found.prompt_tokens, found.completion_tokens, found.finish, found.fault) == (9, 4, "stop", "")
    if kind is OpenAIReading:
        assert (found.first, found.last, list(found.gaps)) == (1200, 1500, [200, 100])
    else:
        assert (found.first, found.last, list(found.gaps)) == (1100, 1300, [100, 100])


@given(places=st.lists(st.integers(0, 2000), max_size=12), kind=st.sampled_from([OpenAIReading, OllamaReading]))
def test_any_chunking_holds_the_same_pieces(places: list[int], kind: type[OpenAIReading | OllamaReading]) -> None:
    whole = b"".join(OPENAI if kind is OpenAIReading else OLLAMA)
    found = read(kind(0, 1, 0), cut(whole, places))
    assert len(found.gaps) == 2
    assert (found.completion_tokens, found.finish) == (4, "stop")
    assert sum(found.gaps) == found.last - found.first


@given(st.binary(max_size=200), st.sampled_from([OpenAIReading, OllamaReading]))
def test_any_bytes_are_an_answer_or_a_fault(raw: bytes, kind: type[OpenAIReading | OllamaReading]) -> None:
    with pytest.raises(EngineFault):
        read(kind(0, 1, 0), [raw])


@pytest.mark.parametrize("kind", [OpenAIReading, OllamaReading])
@pytest.mark.parametrize("upto", [0, 1, 3])
def test_a_stream_that_ends_early_is_broken(kind: type[OpenAIReading | OllamaReading], upto: int) -> None:
    pieces = (OPENAI if kind is OpenAIReading else OLLAMA)[:upto]
    reading = kind(0, 1, 0)
    with pytest.raises(BrokenAnswer):
        read(reading, list(pieces))
    assert reading.failed(BrokenAnswer("x")).fault == "broken"


def test_an_error_inside_a_stream() -> None:
    reading = OpenAIReading(0, 1, 0)
    with pytest.raises(EngineRefused, match="the engine fell over") as fault:
        read(reading, [OPENAI[0], event(error={"message": "the engine fell over", "code": 500})])
    assert reading.failed(fault.value).fault == "in stream"
    other = OllamaReading(0, 1, 0)
    with pytest.raises(EngineRefused, match="out of memory"):
        read(other, [OLLAMA[0], b'{"error":"out of memory"}\n'])


def test_a_refusal_is_told_by_its_status_and_its_words() -> None:
    reading = OpenAIReading(0, 1, 0)
    with pytest.raises(EngineRefused, match="no such model") as fault:
        read(reading, [b'{"error":{"message":"no such', b' model"}}'], status=404)
    found = reading.failed(fault.value)
    assert (found.fault, found.message) == ("status 404", "no such model")


def test_what_failed_before_any_answer_has_the_kind_of_its_error() -> None:
    reading = OpenAIReading(0, 1, 0)
    reading.sent(5)
    assert reading.failed(EngineTimeout("too late")).fault == "timeout"


def test_an_answer_without_counts_has_none() -> None:
    found = read(OpenAIReading(0, 1, 0), [*OPENAI[:6], OPENAI[7]])
    assert (found.prompt_tokens, found.completion_tokens) == (None, None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"error":{"message":"a"}}', "a"),
        (b'{"error":"b"}', "b"),
        (b'{"detail":"c"}', "c"),
        (b'{"message":"d"}', "d"),
        (b"<html>\n  no\n</html>", "<html> no </html>"),
        (b"[]", "[]"),
        (b'{"error":"\\u001b[31mred\\u001b[0m\\u0007"}', "[31mred [0m"),
        (b"", ""),
    ],
)
def test_reasons_as_engines_spell_them(body: bytes, reason: str) -> None:
    assert reason_of(body) == reason
