"""A stream that is cut at any byte: a whole answer or an explicit error, as a judge sees it that shares no code with ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocols.ollama_wire import backend, reader

from penstock.errors import EngineFault
from penstock.faults import asked as reading
from penstock.faults import chat, messages, ollama_asked, ollama_shapes
from penstock.faults.dress import Pen
from penstock.faults.judge import Story, judge
from penstock.faults.reply import Reply
from penstock.faults.script import Script
from penstock.faults.spoken import speak
from penstock.types import Kind

WORDS = "Wasser läuft durch das Druckrohr 🌊"
TURN = [{"role": "user", "content": WORDS}]
ASKS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": TURN},
    "/v1/completions": {"prompt": WORDS, "max_tokens": 64},
    "/v1/responses": {"input": WORDS},
    "/v1/messages": {"messages": TURN, "max_tokens": 64},
    "/api/chat": {"messages": TURN},
    "/api/generate": {"prompt": WORDS},
}
WIRES = [(path, Kind.VLLM) for path in ASKS] + [
    (path, Kind.OLLAMA) for path in ASKS if path not in {"/v1/responses", "/v1/messages"}
]


def reply(path: str, kind: Kind, body: Mapping[str, Any]) -> Reply:
    """What the scripted engine streams for the request that goes to it, made by pure functions of its own."""
    script = Script()
    if kind is Kind.OLLAMA:
        if "messages" in body:
            asked = ollama_asked.chat(body)
            return ollama_shapes.chat(asked, speak(script, asked), 0)
        asked = ollama_asked.generate(body)
        return ollama_shapes.generate(asked, speak(script, asked), 0, raw=False)
    if path == "/v1/responses":
        asked = reading.responses(body)
        return messages.responses(asked, speak(script, asked), "resp_1")
    if path == "/v1/messages":
        asked = reading.messages_api(body)
        return messages.messages(asked, speak(script, asked), 1)
    if "messages" in body:
        asked = reading.chat(body)
        return chat.chat(script, asked, speak(script, asked), 1)
    asked = reading.completion(body)
    return chat.completion(script, asked, speak(script, asked), 1)


def wire(path: str, kind: Kind, script: Script) -> bytes:
    """The bytes of the engine's whole stream."""
    told = reply(path, kind, {"model": "m", "stream": True, "stream_options": {"include_usage": True}, **ASKS[path]})
    pen = Pen(script, told)
    events = [*told.opening, *told.pieces, *told.closing]
    return b"".join(part for event in events for part in pen.parts(event))


def heard(path: str, kind: Kind, data: bytes, size: int) -> tuple[Story, bool]:
    """What a client gets of these bytes and a clean end behind them; whether the reader took it for whole."""
    one, _ = reader(path, {"model": "m", "stream": True, **ASKS[path]}, backend(kind))
    passed, whole = b"", True
    try:
        for at in range(0, len(data), size):
            passed += one.feed(data[at : at + size])
        passed += one.close()
    except EngineFault as fault:
        passed += fault.before + one.fault(fault)
        whole = False
    face = "ollama" if path.startswith("/api/") else "openai"
    kind_of = "application/x-ndjson" if face == "ollama" else "text/event-stream"
    return judge(face, 200, {"content-type": kind_of}, passed, stream=True), whole


STYLES = [
    Script(),
    Script(line_end="crlf"),
    Script(line_end="cr", habits=("comments", "no-space")),
    Script(habits=("bom", "split-data", "fields")),
]


@pytest.mark.parametrize(("path", "kind"), WIRES)
@given(st.data())
@settings(max_examples=40)
def test_a_stream_that_is_cut_anywhere(path: str, kind: Kind, data: st.DataObject) -> None:
    script = data.draw(st.sampled_from(STYLES[:2] if kind is Kind.OLLAMA else STYLES))
    full = wire(path, kind, script)
    size = data.draw(st.sampled_from([len(full), 100, 7, 1]))
    story, whole = heard(path, kind, full, size)
    assert (whole, story.error, story.missing, story.wrong, story.text) == (True, "", "", "", WORDS)
    cut = data.draw(st.integers(0, len(full) - 1) | st.integers(max(len(full) - 200, 0), len(full) - 1))
    story, whole = heard(path, kind, full[:cut], size)
    if whole:
        assert (story.error, story.missing, story.wrong, story.text) == ("", "", "", WORDS), cut
    else:
        assert story.error, cut
        assert not story.done, cut
        assert WORDS.startswith(story.text), cut


def test_the_wires_are_what_they_are_taken_for() -> None:
    """Every one of them says the words, and the judge hears them from the engine itself where client and engine agree."""
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/messages"):
        story = judge(
            "openai", 200, {"content-type": "text/event-stream"}, wire(path, Kind.VLLM, Script()), stream=True
        )
        assert (story.text, story.done, story.wrong) == (WORDS, True, "")
    lines = wire("/api/chat", Kind.OLLAMA, Script()).splitlines()
    assert json.loads(lines[-1])["done"]
