"""An Ollama chat history as OpenAI messages: images as parts, tool arguments as strings, tool results with their ids.

Ollama's own client drops the ids of tool calls, so the next turn names the tool or nothing at all; OpenAI engines want
every result to carry the id of its call. Ids are made from the position alone: the same history always gives the same
bytes, which keeps an engine's prefix cache warm. They are nine letters and digits, the only form Mistral's template takes.
"""

from __future__ import annotations

import msgspec

from penstock.protocols import ollama_images
from penstock.protocols.ollama_openai import Called, CalledFunction, ImageUrl, Part, Turn
from penstock.protocols.ollama_types import Message, ToolCall, said
from penstock.types import Kind


class _Pending(msgspec.Struct, frozen=True):
    """A call that no result has answered yet."""

    id: str
    name: str


class History:
    """Translates messages in order; remembers which calls still wait for a result."""

    __slots__ = ("_kind", "_made", "_pending", "lost")

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._made = 0
        self._pending: list[_Pending] = []
        self.lost: set[str] = set()
        """What this kind of engine cannot be told."""

    def turn(self, message: Message) -> Turn:
        """One message."""
        turn = Turn(role=message.role, content=_content(message))
        if message.thinking:
            self._think(turn, message.thinking)
        if message.tool_calls:
            turn.tool_calls = [self._called(call) for call in message.tool_calls]
            if not turn.content:
                turn.content = None
        if message.role == "tool":
            self._answer(turn, message)
        return turn

    def _think(self, turn: Turn, text: str) -> None:
        if self._kind is Kind.VLLM:
            turn.reasoning = text
        elif self._kind is Kind.EMBEDDED:
            turn.reasoning_content = text
        else:
            self.lost.add("thinking")

    def _called(self, call: ToolCall) -> Called:
        function = call.function
        waiting = _Pending(call.id or self._id(), function.name)
        self._pending.append(waiting)
        arguments = bytes(function.arguments).decode() if said(function.arguments) else "{}"
        return Called(id=waiting.id, function=CalledFunction(name=function.name, arguments=arguments))

    def _answer(self, turn: Turn, message: Message) -> None:
        found = self._match(message)
        if found is not None:
            self._pending.remove(found)
        turn.tool_call_id = message.tool_call_id or (found.id if found else self._id())
        name = message.tool_name or (found.name if found else "")
        if name and self._kind is not Kind.OPENAI:
            turn.name = name

    def _match(self, message: Message) -> _Pending | None:
        """The call this result answers: by id, else by name, else the oldest that waits."""
        if message.tool_call_id:
            return next((call for call in self._pending if call.id == message.tool_call_id), None)
        if message.tool_name:
            named = next((call for call in self._pending if call.name == message.tool_name), None)
            if named is not None:
                return named
        return self._pending[0] if self._pending else None

    def _id(self) -> str:
        self._made += 1
        return f"call{self._made:05d}"


def _content(message: Message) -> str | list[Part]:
    text = message.content or ""
    if not message.images:
        return text
    parts = [Part(type="text", text=text)] if text else []
    return parts + [picture(image) for image in message.images]


def picture(image: str) -> Part:
    """One image as a part of a message."""
    return Part(type="image_url", image_url=ImageUrl(ollama_images.uri(image)))


def prompt(system: str | None, text: str, images: list[str] | None) -> list[Turn]:
    """The two turns that `/api/generate` stands for."""
    turns = [Turn(role="system", content=system)] if system else []
    return [*turns, Turn(role="user", content=_content(Message(role="user", content=text, images=images)))]
