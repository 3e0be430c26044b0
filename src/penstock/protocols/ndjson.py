"""Newline-delimited JSON, cut exactly: bytes in, whole lines out, whatever the chunking.

Lines come without their end (LF or CRLF); blank lines are dropped, because Ollama's own client takes every line it
sees for JSON. No JSON here.
"""

from __future__ import annotations

from penstock.errors import BrokenAnswer

LIMIT = 8 * 1024 * 1024
"""Bytes one line may have; past it the engine is at fault rather than our memory."""


class Splitter:
    """Cuts a byte stream into lines; keeps what is incomplete."""

    __slots__ = ("_parts", "_size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Whole lines; raises `BrokenAnswer` past `LIMIT`."""
        head, end, rest = data.partition(b"\n")
        if not end:
            self._keep(data)
            return []
        lines = [b"".join([*self._parts, head]), *rest.split(b"\n")]
        self._parts, self._size = [], 0
        self._keep(lines.pop())
        whole = [line.removesuffix(b"\r") for line in lines]
        if max(map(len, whole)) > LIMIT:
            raise _too_long()
        return [line for line in whole if line and not line.isspace()]

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        # One more: the byte may be the CR of a line that is exactly as long as it may be.
        if self._size > LIMIT + 1:
            raise _too_long()
        if data:
            self._parts.append(data)

    def rest(self) -> bytes:
        """What has arrived of a line that has no end yet; the last line of a body may lack one."""
        return b"".join(self._parts).strip()


def _too_long() -> BrokenAnswer:
    msg = f"Reading the engine's lines: one line passed {LIMIT} bytes without an end."
    return BrokenAnswer(msg)
