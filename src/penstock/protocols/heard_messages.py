"""What an answer of Anthropic's `/v1/messages` says: its blocks, whole or put together from events. Pure; see heard.py.

Thinking is no part of it, like everywhere: blocks of any other sort than text and tool use are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

NOTHING = msgspec.Raw(b"{}")


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    name: str | None = None
    input: msgspec.Raw = NOTHING


class _Message(msgspec.Struct):
    content: list[_Block] = []
    stop_reason: str | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    content_block: _Block | None = None
    delta: _Delta | None = None


_message = msgspec.json.Decoder(_Message)
_event = msgspec.json.Decoder(_Event)


class Blocks(msgspec.Struct):
    """The answer as it is put together."""

    text: list[str] = []
    calls: list[tuple[str, str]] = []
    finish: str = ""


def whole(body: bytes) -> Blocks:
    """An answer that came at once."""
    found = _message.decode(body)
    said = Blocks(finish=found.stop_reason or "")
    for block in found.content:
        _add(said, block, bytes(block.input).decode())
    return said


def streamed(events: Iterable[bytes]) -> Blocks:
    """One that came as events; `events` are their data."""
    said = Blocks()
    blocks: dict[int, tuple[_Block, list[str]]] = {}
    for event in map(_event.decode, events):
        if event.content_block is not None:
            blocks[event.index] = (event.content_block, [])
        if event.delta is None:
            continue
        said.finish = event.delta.stop_reason or said.finish
        if event.index in blocks:
            blocks[event.index][1].append(event.delta.text or event.delta.partial_json or "")
    for _, (block, parts) in sorted(blocks.items()):
        joined = "".join(parts)
        if block.type == "text":
            _add(said, msgspec.structs.replace(block, text=(block.text or "") + joined), "")
        else:
            _add(said, block, joined or bytes(block.input).decode())
    return said


def _add(said: Blocks, block: _Block, arguments: str) -> None:
    if block.type == "text":
        said.text.append(block.text or "")
    elif block.type == "tool_use":
        said.calls.append((block.name or "", arguments))
