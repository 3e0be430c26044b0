"""Audio: forms in with only the model renamed, whatever the engine answers out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from tests.protocols.ollama_wire import CUTS, Ticks, backend, read_all
from tests.protocols.test_multipart import TYPE, form, part

from penstock.errors import BadRequest, BrokenAnswer, EngineFault
from penstock.protocols import table
from penstock.protocols.dialect import Call, Reader, Timing
from penstock.types import Operation, Usage, Wire

PATH = "/v1/audio/transcriptions"
SOUND = b"RIFF\r\n\x00--X\r\n-"


def call(*parts: bytes, path: str = PATH) -> Call:
    return table.ROUTES[path.encode()].decode(form(*parts), TYPE)


def test_a_transcription_is_read_from_its_form() -> None:
    one = call(part("file", SOUND, "a.wav"), part("model", b" whisper "), part("stream", b"1"))
    assert (one.operation, one.model, one.stream) == (Operation.TRANSCRIPTION, "whisper", True)
    assert call(part("file", SOUND, "a.wav")).model == ""
    assert call(part("model", b"m"), path="/v1/audio/translations").operation is Operation.TRANSLATION


def test_only_the_model_is_renamed() -> None:
    file = part("file", SOUND, "a.wav")
    pairing = table.PAIRINGS[PATH, Wire.OPENAI]
    one = call(file, part("model", b"alias"), part("language", b"en"))
    sent = pairing.request(one, backend())
    assert sent.body == form(file, part("model", b"engine-model"), part("language", b"en"))
    assert (sent.path, sent.content_type) == (PATH, TYPE)
    same = call(file, part("model", b"engine-model"))
    assert pairing.request(same, backend()).body is same.body


def test_a_form_without_a_model_says_so() -> None:
    with pytest.raises(BadRequest, match="no field `model`") as error:
        table.PAIRINGS[PATH, Wire.OPENAI].request(call(part("file", SOUND, "a.wav")), backend())
    assert error.value.param == "model"


def test_speech_is_asked_in_json_and_answered_in_sound() -> None:
    one = table.ROUTES[b"/v1/audio/speech"].decode(b'{"model":"alias","input":"hi"}', "application/json")
    pairing = table.PAIRINGS["/v1/audio/speech", Wire.OPENAI]
    assert json.loads(pairing.request(one, backend()).body) == {"model": "engine-model", "input": "hi"}
    reader = pairing.reader(one, backend(), Timing(), Ticks())
    assert reader.feed(SOUND) == reader.feed(b"\x00") == b""
    assert reader.close() == SOUND + b"\x00"
    assert reader.finished


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"text":"hi","usage":{"type":"tokens","input_tokens":3,"output_tokens":4}}', Usage(3, 4)),
        (b'{"text":"hi","usage":{"type":"duration","seconds":2}}', Usage(0, 0)),
        (b'{"text":"hi"}', None),
        (b'{"text":"hi', None),
        (b"WEBVTT", None),
    ],
)
def test_a_transcription_passes_as_it_came_and_is_counted_where_it_says(body: bytes, usage: Usage | None) -> None:
    reader = table.PAIRINGS[PATH, Wire.OPENAI].reader(call(part("model", b"m")), backend(), Timing(), Ticks())
    reader.feed(body)
    assert reader.close() == body
    assert reader.usage == usage


def events(*told: object) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in told)


def transcript() -> tuple[Reader, Timing]:
    timing = Timing()
    one = call(part("model", b"m"), part("stream", b"true"))
    return table.PAIRINGS[PATH, Wire.OPENAI].reader(one, backend(), timing, Ticks()), timing


CHUNK = {"object": "transcription.chunk", "model": "whisper", "choices": [{"delta": {"content": "hear"}}]}
TOTALS = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
DELTA = {"type": "transcript.text.delta", "delta": "hear"}


@pytest.mark.parametrize(
    ("wire", "usage"),
    [
        (events(CHUNK, CHUNK, TOTALS) + b"data: [DONE]\n\n", Usage(3, 4)),
        (events(DELTA, {"type": "transcript.text.done", "text": "hear"}), None),
    ],
)
@given(cuts=CUTS)
@settings(max_examples=20)
def test_a_streamed_transcription_passes_as_it_comes(wire: bytes, usage: Usage | None, cuts: list[int]) -> None:
    reader, timing = transcript()
    assert not reader.content
    assert read_all(reader, wire, cuts) == wire
    assert (reader.content, reader.finished, reader.usage) == (True, True, usage)
    assert timing.last >= timing.first > 0
    assert reader.fault(BrokenAnswer("cut")).startswith(b'data: {"error"')


@pytest.mark.parametrize("wire", [b"", events(CHUNK), events(DELTA), events(TOTALS), events(DELTA)[:-9]])
def test_a_transcript_that_merely_stops_is_broken(wire: bytes) -> None:
    reader, _ = transcript()
    reader.feed(wire)
    with pytest.raises(BrokenAnswer, match="without finishing"):
        reader.close()


@pytest.mark.parametrize(
    "event",
    [
        {"error": {"message": "it died"}},
        {"type": "error", "message": "it died"},
        {"object": "error", "type": "InternalServerError", "message": "it died"},
        {"choices": [], "error": {"message": "it died"}, "usage": {}},
        {"id": "x"},
    ],
)
def test_what_is_no_part_of_a_transcript_is_a_fault(event: object) -> None:
    reader, _ = transcript()
    reader.feed(events(DELTA))
    with pytest.raises(EngineFault):
        reader.feed(events(event))


@pytest.mark.parametrize(
    "wire", [b"data: {\n\n", b"Internal Server Error\n\n", b'data: {"type":"transcript.x\xe2\x82"}\n\n']
)
def test_a_malformed_event_of_a_transcript_is_broken(wire: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        transcript()[0].feed(wire)


def test_nothing_follows_the_end_of_a_transcript() -> None:
    reader, _ = transcript()
    end = events({"type": "transcript.text.done"})
    assert reader.feed(end + events(DELTA)) == end
    assert reader.feed(b"rubbish\n\n") + reader.close() == b""
