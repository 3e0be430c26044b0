"""Audio: forms in with only the model renamed, whatever the engine answers out."""

from __future__ import annotations

import json

import pytest
from tests.protocols.ollama_wire import Ticks, backend
from tests.protocols.test_multipart import TYPE, form, part

from penstock.errors import BadRequest, BrokenAnswer
from penstock.protocols import table
from penstock.protocols.dialect import Call, Timing
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


def test_a_streamed_transcription_passes_as_it_comes() -> None:
    timing = Timing()
    one = call(part("model", b"m"), part("stream", b"true"))
    reader = table.PAIRINGS[PATH, Wire.OPENAI].reader(one, backend(), timing, Ticks())
    assert not reader.content
    assert reader.feed(b"data: {") == b"data: {"
    assert (reader.content, reader.finished) == (True, False)
    first = timing.first
    assert reader.feed(b"}\n\n") == b"}\n\n"
    assert timing.last > timing.first == first
    assert reader.close() == b""
    assert reader.finished
    assert reader.fault(BrokenAnswer("cut")).startswith(b'data: {"error"')
