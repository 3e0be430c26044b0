"""Which tools an answer calls, in any of the protocols that clients speak: names, and digests of the arguments.

Looked for in the bytes a client was sent, after the answer has ended; what does not look like a call is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import msgspec

from penstock.errors import BadReceipt
from penstock.receipts import canonical

MOST = 128
"""Calls of one answer that its receipt names."""
NAME = 128

_Arguments = str | dict[str, Any] | None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: _Arguments = None


class _Call(msgspec.Struct):
    index: int | None = None
    function: _Function | None = None


class _Block(msgspec.Struct):
    """A part of an Anthropic message, or an item of a response."""

    type: str = ""
    name: str | None = None
    input: _Arguments = None
    arguments: _Arguments = None


class _Said(msgspec.Struct):
    """A message, or what a stream adds to one."""

    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None
    partial_json: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Said | None = None
    delta: _Said | None = None


class _Event(msgspec.Struct):
    """An answer or one event of a stream, whoever's it is."""

    type: str = ""
    index: int | None = None
    choices: list[_Choice] | None = None
    message: _Said | None = None
    delta: _Said | str | None = None
    content: list[_Block] | str | None = None
    content_block: _Block | None = None
    output: list[_Block] | str | None = None
    item: _Block | None = None


_decoder = msgspec.json.Decoder(_Event)


def tool_calls(answer: bytes) -> tuple[tuple[str, str], ...]:
    """Name, and SHA-256 of the arguments, of every call in the order in which they began."""
    found = _Calls()
    for event in _events(answer):
        found.take(event)
    return tuple(found.told())[:MOST]


def _events(answer: bytes) -> Iterator[_Event]:
    try:
        yield _decoder.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        for line in answer.split(b"\n"):
            text = line.removeprefix(b"data:").strip()
            if text.startswith(b"{"):
                try:
                    yield _decoder.decode(text)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    continue


class _Calls:
    """Calls put together from their pieces."""

    def __init__(self) -> None:
        self._found: dict[object, tuple[list[str], list[str]]] = {}

    def take(self, event: _Event) -> None:
        for choice in event.choices or ():
            self._said(choice.index, choice.message or choice.delta)
        self._said(0, event.message)
        blocks = [*_blocks(event.content), *_blocks(event.output)]
        if event.type == "response.output_item.done" and event.item is not None:
            blocks.append(event.item)
        for block in blocks:
            self._block(len(self._found), block)
        if event.content_block is not None:
            self._block(event.index, event.content_block)
        if isinstance(event.delta, _Said) and event.delta.partial_json and event.index in self._found:
            self._add(event.index, "", event.delta.partial_json)

    def _said(self, choice: int, said: _Said | None) -> None:
        if said is None:
            return
        for call in said.tool_calls or ():
            if call.function is not None:
                whole = isinstance(call.function.arguments, dict) or call.index is None
                key: object = len(self._found) if whole else (choice, call.index)
                self._add(key, call.function.name, call.function.arguments)
        if said.function_call is not None:
            self._add((choice, "function"), said.function_call.name, said.function_call.arguments)

    def _block(self, key: object, block: _Block) -> None:
        if block.type == "tool_use":
            # A stream begins a block with an empty input and tells it in pieces.
            self._add(key, block.name, block.input or None)
        elif block.type == "function_call":
            self._add(key, block.name, block.arguments)

    def _add(self, key: object, name: str | None, arguments: _Arguments) -> None:
        names, pieces = self._found.setdefault(key, ([], []))
        names.append(name or "")
        if isinstance(arguments, dict):
            try:
                pieces.append(canonical.encode(arguments).decode())
            except BadReceipt:
                pieces.append("")
        elif arguments:
            pieces.append(arguments)

    def told(self) -> Iterator[tuple[str, str]]:
        for names, pieces in self._found.values():
            yield "".join(names)[:NAME], sha256("".join(pieces).encode("utf-8", "replace")).hexdigest()


def _blocks(value: list[_Block] | str | None) -> list[_Block]:
    return value if isinstance(value, list) else []
