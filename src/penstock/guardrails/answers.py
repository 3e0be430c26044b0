"""Answers of each protocol, kept to the rules of their alias as they pass: bytes in, bytes out.

What comes in is what would go to the client: whole events or lines, or one whole document. Texts of a stream go through the
same steps as texts that are there at once, and what a step held back stands in the event that ends its text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Protocol

from penstock.errors import Withheld
from penstock.guardrails import walk
from penstock.guardrails.said import SECOND, Said, read
from penstock.guardrails.walk import Json, Object
from penstock.protocols import ndjson, sse

TEXTS = ("content", "reasoning", "reasoning_content", "refusal", "thinking")
ANSWER = "content"
"""Of those, the answer itself."""


class Answer(Protocol):
    """One answer in one protocol."""

    given: bytes
    """What of a piece could still go on, where a step refused the rest of it."""

    def piece(self, data: bytes) -> bytes:
        """What goes on of a piece of a stream."""
        ...

    def whole(self, body: bytes) -> bytes:
        """What becomes of a whole document."""
        ...


def through(answer: Answer, parts: Iterator[bytes]) -> bytes:
    """All of them; where one is refused, those before it are kept."""
    done: list[bytes] = []
    try:
        for part in parts:
            done.append(part)  # noqa: PERF402 - a list of them all would lose the parts when one raises
    except Withheld:
        answer.given = b"".join(done)
        raise
    return b"".join(done)


class Events(ABC):
    """A stream of events; a subclass says what one of them means."""

    def __init__(self, said: Said) -> None:
        self.said = said
        self.given = b""
        self._splitter = sse.Splitter()

    def piece(self, data: bytes) -> bytes:
        """Event by event."""
        return through(self, (part for event in self._splitter.feed(data) for part in self._event(event)))

    def _event(self, event: bytes) -> Iterator[bytes]:
        data = sse.payload(event)
        if data is None:
            yield b":\n\n"
        elif data == b"[DONE]":
            yield event
        else:
            found = read(data)
            if found.get("error") is not None and found.get("type") in {None, "error"}:
                yield event  # how a stream ends that broke; what was held of it stays held
                return
            for one in self.take(found):
                yield sse.event(walk.encode(one), self.name(one))

    def name(self, event: Object) -> str:
        """What stands in its `event:` line."""
        del event
        return ""

    @abstractmethod
    def take(self, event: Object) -> Iterator[Object]:
        """What one event becomes."""

    def whole(self, body: bytes) -> bytes:
        """The document, changed."""
        return walk.encode(self.document(read(body)))

    @abstractmethod
    def document(self, found: Object) -> Object:
        """What a whole answer becomes."""


class Choices:
    """What has begun of one choice."""

    __slots__ = ("calls", "texts")

    def __init__(self) -> None:
        self.texts: set[str] = set()
        self.calls: dict[int, Object] = {}


class Chat(Events):
    """`/v1/chat/completions` and `/v1/completions`."""

    def __init__(self, said: Said) -> None:
        super().__init__(said)
        self._begun: dict[int, Choices] = {}

    def take(self, event: Object) -> Iterator[Object]:
        """One chunk."""
        choices = [one for each in walk.items(event.get("choices")) if (one := self._choice(walk.members(each)))]
        if choices or event.get("usage") is not None or not walk.items(event.get("choices")):
            others = walk.members(self.said.others({name: one for name, one in event.items() if name != "choices"}))
            yield {**others, "choices": [*choices]}

    def _choice(self, choice: Object) -> Object:
        """Nothing where all of it is held."""
        index = choice.get("index")
        place = index if isinstance(index, int) else 0
        begun = self._begun.setdefault(place, Choices())
        finish = choice.get("finish_reason")
        told: Object = {"index": place, "finish_reason": finish}
        if "text" in choice:
            text = self.said.feed((place, "text"), walk.text(choice["text"]), answer=True)
            told["text"] = text + (self.said.end((place, "text"), answer=True) if finish else "")
            told["logprobs"] = None
            return told if told["text"] or finish else {}
        delta = self._delta(place, begun, walk.members(choice.get("delta")))
        if finish:
            self._end(place, begun, delta)
        told["delta"] = delta
        return told if finish or any(delta.values()) else {}

    def _delta(self, place: int, begun: Choices, delta: Object) -> Object:
        told: Object = {}
        for name, value in delta.items():
            if name in TEXTS:
                if isinstance(value, str):
                    begun.texts.add(name)
                    told[name] = self.said.feed((place, name), value, answer=name == ANSWER)
            elif name == "tool_calls":
                for call in walk.items(value):
                    _collect(begun.calls, walk.members(call))
            elif name == "function_call":
                _collect(begun.calls, {"index": 0, "function": value})
            elif name not in SECOND:
                told[name] = value if name == "role" else self.said.others(value)
        return told

    def _end(self, place: int, begun: Choices, delta: Object) -> None:
        if begun.calls:
            delta["tool_calls"] = [self._called(call) for _, call in sorted(begun.calls.items())]
        else:
            begun.texts.add(ANSWER)
        for name in TEXTS:
            if name in begun.texts and (rest := self.said.end((place, name), answer=name == ANSWER)):
                delta[name] = walk.text(delta.get(name)) + rest
        begun.texts, begun.calls = set(), {}

    def _called(self, call: Object) -> Json:
        function = walk.members(call.get("function"))
        self.said.tool(walk.text(function.get("name")))
        arguments = self.said.arguments(walk.text(function.get("arguments")))
        return {**call, "function": {"name": function.get("name"), "arguments": arguments}}

    def document(self, found: Object) -> Object:
        """One whole answer."""
        others = walk.members(self.said.others({name: one for name, one in found.items() if name != "choices"}))
        return {**others, "choices": [self._full(walk.members(one)) for one in walk.items(found.get("choices"))]}

    def _full(self, choice: Object) -> Json:
        told: Object = {name: choice[name] for name in ("index", "finish_reason") if name in choice}
        if "text" in choice:
            return {**told, "text": self.said.whole(walk.text(choice["text"]), answer=True), "logprobs": None}
        message = walk.members(choice.get("message"))
        calls: dict[int, Object] = {}
        full: Object = {}
        for name, value in message.items():
            if name in TEXTS:
                full[name] = self.said.whole(value, answer=name == ANSWER) if isinstance(value, str) else None
            elif name == "tool_calls":
                for place, call in enumerate(walk.items(value)):
                    calls[place] = walk.members(call)
            elif name == "function_call" and value is not None:
                calls[-1] = {"function": value}
            elif name not in SECOND:
                full[name] = value if name == "role" else self.said.others(value)
        if calls:
            full["tool_calls"] = [self._called(call) for call in calls.values()]
        elif not isinstance(message.get(ANSWER), str):
            self.said.end((), answer=True)
        return {**told, "message": full, "logprobs": None}


def _collect(calls: dict[int, Object], part: Object) -> None:
    """One call out of the pieces that it comes in."""
    index = part.get("index")
    place = index if isinstance(index, int) else len(calls)
    call = calls.setdefault(place, {"index": place})
    function = walk.members(part.get("function"))
    before = walk.members(call.get("function"))
    call["function"] = {
        name: walk.text(before.get(name)) + walk.text(function.get(name)) for name in ("name", "arguments")
    }
    for name in ("id", "type"):
        if isinstance(part.get(name), str):
            call[name] = part[name]


class OllamaLines:
    """`/api/chat` and `/api/generate`."""

    def __init__(self, said: Said) -> None:
        self.said = said
        self.given = b""
        self._splitter = ndjson.Splitter()
        self._texts: set[str] = set()
        self._called = False

    def piece(self, data: bytes) -> bytes:
        """Line by line."""
        return through(self, (part for line in self._splitter.feed(data) for part in self._line(line)))

    def _line(self, data: bytes) -> Iterator[bytes]:
        found = read(data)
        if found.get("error") is not None:
            yield data + b"\n"
            return
        done = found.get("done") is True
        told = self._told(found, lambda name, text, answer: self._fed(name, text, answer=answer, done=done))
        if done or self._says(told):
            yield walk.encode(told) + b"\n"

    def _fed(self, name: str, text: str | None, *, answer: bool, done: bool) -> str:
        said = ""
        if text is not None:
            self._texts.add(name)
            said = self.said.feed(name, text, answer=answer)
        if done and (name in self._texts or (answer and not self._called)):
            said += self.said.end(name, answer=answer)
        return said

    def _told(self, found: Object, change: Callable[[str, str | None, bool], str]) -> Object:
        known = {"message", "response", "thinking", *SECOND}
        told = walk.members(self.said.others({name: one for name, one in found.items() if name not in known}))
        if "response" in found:
            told["response"] = change("response", _or_none(found["response"]), True)  # noqa: FBT003 - it is the answer
            if thinking := change("thinking", _or_none(found.get("thinking")), False):  # noqa: FBT003 - it is not
                told["thinking"] = thinking
            return told
        message = walk.members(found.get("message"))
        turn: Object = {"role": message.get("role", "assistant")}
        calls = [self._call(walk.members(one)) for one in walk.items(message.get("tool_calls"))]
        turn["content"] = change("content", _or_none(message.get("content")), True)  # noqa: FBT003
        if thinking := change("thinking", _or_none(message.get("thinking")), False):  # noqa: FBT003
            turn["thinking"] = thinking
        if calls:
            turn["tool_calls"] = calls
        told["message"] = turn
        return told

    def _call(self, call: Object) -> Json:
        self._called = True
        function = walk.members(call.get("function"))
        self.said.tool(walk.text(function.get("name")))
        return {**call, "function": {**function, "arguments": self.said.values(function.get("arguments"))}}

    def _says(self, told: Object) -> bool:
        turn = walk.members(told.get("message"))
        return bool(
            told.get("response")
            or told.get("thinking")
            or any(turn.get(name) for name in ("content", "thinking", "tool_calls"))
        )

    def whole(self, body: bytes) -> bytes:
        """One object."""
        found = read(body)
        if "message" not in found and "response" not in found:
            return walk.encode(self.said.others(found))
        return walk.encode(
            self._told(found, lambda name, text, answer: self._fed(name, text, answer=answer, done=True))
        )


def _or_none(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None
