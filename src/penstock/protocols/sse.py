"""Server-sent events, read exactly: bytes in, whole events out, whatever the chunking.

Raw blocks are kept as they came so that a relay can forward them untouched. Line ends may be LF, CRLF or CR; a BOM at
the start is dropped; comments and unknown fields are kept in the block and ignored in the payload. No JSON here.
"""

from __future__ import annotations

import re

from penstock.errors import BrokenAnswer

LIMIT = 8 * 1024 * 1024
"""Bytes one event may have; past it the engine is at fault rather than our memory."""

_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
"""Two line ends in a row, of any sorts; atomic, so that a CRLF is never read as a CR and an LF."""
_LINE = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Splitter:
    """Cuts a byte stream into raw events; keeps what is incomplete."""

    __slots__ = ("_begun", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False

    def feed(self, data: bytes) -> list[bytes]:
        """Whole raw events, each with its terminator; raises `BrokenAnswer` past `LIMIT`."""
        if self._rest:
            data = self._rest + data
        if not self._begun:
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._rest = data
                return []
            self._begun = True
            data = data.removeprefix(_BOM)
        # The usual case costs two searches: one write of the engine is exactly one event.
        if data.endswith(b"\n\n") and b"\r" not in data:
            self._rest = b""
            if data.find(b"\n\n") == len(data) - 2:
                return [data]
            return [part + b"\n\n" for part in data[:-2].split(b"\n\n")]
        return self._cut(data)

    def _cut(self, data: bytes) -> list[bytes]:
        events = []
        start = 0
        for match in _END.finditer(data):
            # A CR at the very end may be half of a CRLF: wait for the next byte.
            if match.end() == len(data) and data.endswith(b"\r"):
                break
            events.append(data[start : match.end()])
            start = match.end()
        self._rest = data[start:]
        if len(self._rest) > LIMIT:
            msg = f"Reading the engine's event stream: one event passed {LIMIT} bytes without an end."
            raise BrokenAnswer(msg)
        return events

    @property
    def rest(self) -> bytes:
        """What has arrived of an event that is not complete."""
        return self._rest


def payload(event: bytes) -> bytes | None:
    """The data of one raw event, lines joined with LF; None where it carries none (comments, keep-alives)."""
    if event.startswith(b"data: ") and event.find(b"\n") >= len(event) - 2 and b"\r" not in event:
        return event[6:-2]
    lines = []
    for line in _LINE.split(event):
        name, colon, value = line.partition(b":")
        if name == b"data" and (colon or line == b"data"):
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines) if lines else None


def event(data: bytes, name: str = "") -> bytes:
    """One event around data without line breaks."""
    head = b"event: " + name.encode() + b"\n" if name else b""
    return head + b"data: " + data + b"\n\n"
