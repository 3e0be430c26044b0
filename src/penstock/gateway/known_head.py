"""A message head that was parsed before is recognised by its bytes instead of being parsed again.

A client on a kept connection sends the same head with every request, and an engine with every answer, but for the digits
of `content-length`. What the parser made of such a head holds for the next one with the same bytes, so nothing here
parses HTTP: a message is either the same, whole and alone in what was read, or it goes to the parser as all do.
"""

from __future__ import annotations

import re
from typing import Generic, TypeVar

Found = TypeVar("Found")

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,15})\r\n", re.IGNORECASE)
_FRAMING = re.compile(rb"content-length|transfer-encoding|trailer|upgrade|expect", re.IGNORECASE)
_DIGITS = 16
"""Bytes in which a length and the CR behind it must stand."""


class KnownHead(Generic[Found]):
    """The bytes of a head around its content-length, and what became of the message that had it."""

    __slots__ = ("_after", "_before", "_end", "_start", "found")

    def __init__(self, before: bytes, after: bytes, found: Found) -> None:
        self._before = before
        self._after = after
        self._start = len(before)
        self._end = len(after)
        self.found = found
        """Whatever the one who parsed it wants to remember."""

    def body(self, data: bytes) -> bytes | None:
        """The body, if the data is exactly one message with this head; else None."""
        start = self._start
        if not data.startswith(self._before):
            return None
        end = data.find(b"\r", start, start + _DIGITS)
        if end < 0 or not data.startswith(self._after, end):
            return None
        length = data[start:end]
        body = data[end + self._end :]
        # isdigit: int would also take signs, spaces and underscores
        return body if length.isdigit() and len(body) == int(length) else None


def learn(data: bytes, size: int, found: Found) -> KnownHead[Found] | None:
    """The head of one whole message, which a parser said has a body of this size; None where it is not that simple.

    That the parser's size, the head's own figure and the length of what was read agree, proves where the head ends.
    """
    head = data[: len(data) - size] if size else data
    if head.find(b"\r\n\r\n") != len(head) - 4 or len(_FRAMING.findall(head)) != 1:
        return None
    length = _LENGTH.search(head)
    if length is None or int(length[1]) != size:
        return None
    return KnownHead(head[: length.start(1)], head[length.end(1) :], found)
