"""Reads the body of an answer as a client of its protocol would, and says what is missing or wrong in it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LINE = re.compile(r"\r\n|\n|\r")
_ENDS = frozenset({"message_stop", "response.completed", "response.incomplete"})
"""Events that end a stream whose events have types."""


@dataclass(slots=True)
class Story:
    """What an answer says."""

    events: list[Any] = field(default_factory=list)
    text: str = ""
    reasoning: str = ""
    tools: dict[int, tuple[str, str]] = field(default_factory=dict)
    finish: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    done: bool = False
    """The protocol's own end has come."""
    missing: str = ""
    wrong: str = ""


def judge(face: str, status: int, headers: Mapping[str, str], body: bytes, *, stream: bool) -> Story:
    """The story of a body; `face` is openai or ollama."""
    story = Story()
    if status >= 400 or not stream:
        _whole(story, face, status, body)
    elif face == "ollama":
        _lines(story, body)
    else:
        _sse(story, body)
    if stream and status == 200 and not story.error:
        kind = headers.get("content-type", "")
        expected = "application/x-ndjson" if face == "ollama" else "text/event-stream"
        if not kind.startswith(expected):
            story.wrong = story.wrong or f"its content type is {kind or 'missing'}"
    return story


def _whole(story: Story, face: str, status: int, body: bytes) -> None:
    try:
        document = json.loads(body.decode())
    except (ValueError, RecursionError):
        story.missing = "a body of whole JSON"
        return
    story.events.append(document)
    if not isinstance(document, dict):
        story.wrong = "its body is not an object"
        return
    _take(story, document, face)
    if status >= 400 or story.error:
        return
    if not story.finish and ("choices" in document or document.get("object") == "response" or "content" in document):
        story.missing = "a finish reason"
    if face == "ollama" and ("message" in document or "response" in document) and not document.get("done"):
        story.missing = "done: true"


def _lines(story: Story, body: bytes) -> None:
    """Ollama's newline-delimited JSON."""
    *lines, rest = body.split(b"\n")
    for line in lines:
        if story.done:
            story.wrong = story.wrong or "a line after done: true"
        document = _decoded(story, line.decode("utf-8", "replace"), line)
        if document is not None:
            _take(story, document, "ollama")
            story.done = story.done or bool(document.get("done"))
    if rest.strip():
        story.wrong = story.wrong or "a last line without its end"
    if not story.done and not story.error:
        story.missing = "a line with done: true"


def _sse(story: Story, body: bytes) -> None:
    """Server-sent events as the standard reads them: what is not followed by a blank line does not count."""
    text = body.decode("utf-8", "replace")
    if "\N{REPLACEMENT CHARACTER}" in text and "\N{REPLACEMENT CHARACTER}".encode() not in body:
        story.wrong = "bytes that are not UTF-8"
    data: list[str] = []
    *lines, _ = _LINE.split(text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"))
    for line in lines:
        if not line:
            if data:
                _event(story, "\n".join(data))
            data = []
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line.startswith((":", "event:", "id:", "retry:")):
            story.wrong = story.wrong or f"a line that is no field: {line[:60]!r}"
    if story.error:
        return
    if not story.done:
        story.missing = "[DONE]" if story.finish else "a finish reason and [DONE]"
    elif not story.finish:
        story.missing = "a finish reason"


def _event(story: Story, text: str) -> None:
    if story.done:
        story.wrong = story.wrong or "an event after the end"
        return
    if text == "[DONE]":
        story.done = True
        return
    document = _decoded(story, text, text.encode())
    if document is None:
        return
    _take(story, document, "openai")
    if document.get("type") in _ENDS:
        story.done = True


def _decoded(story: Story, text: str, raw: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        story.wrong = story.wrong or f"an event that is not JSON: {raw[:60]!r}"
        return None
    story.events.append(document)
    if not isinstance(document, dict):
        story.wrong = story.wrong or "an event that is not an object"
        return None
    return document


def _take(story: Story, document: dict[str, Any], face: str) -> None:
    """What one document or event adds."""
    error = document.get("error")
    if error:
        story.error = story.error or (str(error.get("message") or error) if isinstance(error, dict) else str(error))
    if isinstance(document.get("usage"), dict):
        story.usage = document["usage"]
    if face == "ollama":
        _take_ollama(story, document)
        return
    for choice in document.get("choices") or ():
        part = choice.get("delta") or choice.get("message") or {}
        story.text += part.get("content") or choice.get("text") or ""
        story.reasoning += part.get("reasoning") or part.get("reasoning_content") or ""
        for place, call in enumerate(part.get("tool_calls") or ()):
            _call(story, call.get("index", place), call.get("function") or {})
        story.finish = choice.get("finish_reason") or story.finish
    _take_typed(story, document)
    delta = document.get("delta")
    if document.get("type") == "response.output_text.delta":
        story.text += str(delta)
    elif isinstance(delta, dict):
        story.text += str(delta.get("text") or "")
        story.finish = delta.get("stop_reason") or story.finish


def _take_typed(story: Story, document: dict[str, Any]) -> None:
    """Whole answers of OpenAI's Responses and Anthropic's Messages, and what the last event of a response says of it."""
    content = document.get("content")
    for block in content if isinstance(content, list) else ():
        story.text += str(block.get("text") or "")
    if document.get("type") == "message":
        story.finish = document.get("stop_reason") or story.finish
    for item in document.get("output") or ():
        story.text += "".join(str(part.get("text") or "") for part in item.get("content") or ())
    response = document if document.get("object") == "response" else document.get("response")
    if isinstance(response, dict):
        if response.get("status") in {"completed", "incomplete"}:
            story.finish = str(response["status"])
        elif response.get("error"):
            story.error = story.error or str(response["error"])


def _take_ollama(story: Story, document: dict[str, Any]) -> None:
    message = document.get("message")
    if isinstance(message, dict):
        story.text += message.get("content") or ""
        story.reasoning += message.get("thinking") or ""
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            _call(story, len(story.tools), {**function, "arguments": json.dumps(function.get("arguments"))})
    story.text += document.get("response") or ""
    if document.get("done"):
        story.finish = document.get("done_reason") or "stop"
        story.usage = {name: document[name] for name in ("prompt_eval_count", "eval_count") if name in document}


def _call(story: Story, index: int, function: dict[str, Any]) -> None:
    name, arguments = story.tools.get(index, ("", ""))
    story.tools[index] = (name or function.get("name") or "", arguments + (function.get("arguments") or ""))
