"""Answers of Anthropic's `/v1/messages`, kept to the rules: blocks that begin, grow and end."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.guardrails import walk
from penstock.guardrails.answers import Events
from penstock.guardrails.said import Said
from penstock.guardrails.text import stopped
from penstock.guardrails.walk import Json, Object

_TEXTS = {"text_delta": "text", "thinking_delta": "thinking"}
_SILENT = frozenset({"signature_delta"})


class Messages(Events):
    """One message."""

    def __init__(self, said: Said) -> None:
        super().__init__(said)
        self._blocks: dict[Json, tuple[str, list[str]]] = {}
        """Of open blocks: the type of their texts, and what tools are called with."""
        self._called = self._spoke = False

    def name(self, event: Object) -> str:
        """Events here have names."""
        return walk.text(event.get("type"))

    def take(self, event: Object) -> Iterator[Object]:
        """One event."""
        kind, index = event.get("type"), event.get("index")
        place = index if isinstance(index, int) else 0
        if kind == "content_block_start":
            yield self._start(place, event)
        elif kind == "content_block_delta":
            yield from self._delta(place, walk.members(event.get("delta")))
        elif kind == "content_block_stop":
            yield from self._stop(place)
            yield event
        else:
            if kind == "message_stop" and not self._called and not self._spoke:
                self.said.end((), answer=True)
            yield walk.members(self.said.others(event))

    def _start(self, place: int, event: Object) -> Object:
        block = walk.members(event.get("content_block"))
        if block.get("type") == "tool_use":
            self._called = True
            self.said.tool(walk.text(block.get("name")))
            self._blocks[place] = ("input_json_delta", [])
            return {**event, "content_block": {**block, "input": {}}}
        name = "thinking" if block.get("type") == "thinking" else "text"
        if block.get("type") not in {"text", "thinking"}:
            raise stopped("coverage", "output", self.said.verdicts, "it has a block of an unknown type")
        self._blocks[place] = (f"{name}_delta", [])
        begun = self.said.feed(place, walk.text(block.get(name)), answer=name == "text")
        return {**event, "content_block": {**block, name: begun}}

    def _delta(self, place: int, delta: Object) -> Iterator[Object]:
        kind = walk.text(delta.get("type"))
        if kind in _TEXTS:
            name = _TEXTS[kind]
            text = self.said.feed(place, walk.text(delta.get(name)), answer=name == "text")
            if text:
                yield _grown(place, {"type": kind, name: text})
        elif kind == "input_json_delta":
            self._blocks.setdefault(place, (kind, []))[1].append(walk.text(delta.get("partial_json")))
        elif kind not in _SILENT:
            raise stopped("coverage", "output", self.said.verdicts, "it has a part of an unknown type")

    def _stop(self, place: int) -> Iterator[Object]:
        kind, parts = self._blocks.pop(place, ("text_delta", []))
        if kind == "input_json_delta":
            whole = self.said.arguments("".join(parts))
            if whole:
                yield _grown(place, {"type": kind, "partial_json": whole})
            return
        name = _TEXTS[kind]
        self._spoke = self._spoke or name == "text"
        rest = self.said.end(place, answer=name == "text")
        if rest:
            yield _grown(place, {"type": kind, name: rest})

    def document(self, found: Object) -> Object:
        """One whole message."""
        others = walk.members(self.said.others({name: one for name, one in found.items() if name != "content"}))
        blocks = [self._block(walk.members(one)) for one in walk.items(found.get("content"))]
        if not self._called and not self._spoke and found.get("type") == "message":
            self.said.end((), answer=True)
        return {**others, "content": blocks} if "content" in found else others

    def _block(self, block: Object) -> Json:
        kind = block.get("type")
        if kind == "tool_use":
            self._called = True
            self.said.tool(walk.text(block.get("name")))
            return {**block, "input": self.said.values(block.get("input"))}
        if kind == "text":
            self._spoke = True
            return {"type": "text", "text": self.said.whole(walk.text(block.get("text")), answer=True)}
        return self.said.others(block)


def _grown(place: int, delta: Object) -> Object:
    return {"type": "content_block_delta", "index": place, "delta": delta}
