"""Server-sent events, read exactly: bytes in, whole events out, whatever the chunking.

Raw blocks are kept as they came so that a relay can forward them untouched. Line ends may be LF, CRLF or CR; a BOM at
the start is dropped; comments and unknown fields are kept in the block and ignored in the payload; a line that is no
field at all is the engine's fault, because what it meant to say would be lost without a trace. No JSON here.
"""

from __future__ import annotations

import re

from penstock.errors import BrokenAnswer

LIMIT = 8 * 1024 * 1024
"""Bytes one event may have; past it the engine is at fault rather than our memory."""

_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
"""Two line ends in a row, of any sorts; atomic, so that a CRLF is never read as a CR and an LF."""
_LINE = re.compile(rb"\r\n|\n|\r")
_NAME = re.compile(rb"[A-Za-z0-9_.\-]+")
"""What may be the name of a field; the standard would take nearly anything, and engines send none of that on purpose."""
_BOM = b"\xef\xbb\xbf"
_OVERLAP = 3
"""Bytes of what is held that may belong to an end: a CRLF and the CR of a second one."""


class Splitter:
    """Cuts a byte stream into raw events; keeps what is incomplete. Every byte is looked at once, however it is cut."""

    __slots__ = ("_begun", "_parts", "_tail", "held")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._tail = b""
        self._begun = False
        self.held = 0
        """Bytes that have arrived of an event that is not complete."""

    def feed(self, data: bytes) -> list[bytes]:
        """Whole raw events, each with its terminator; raises `BrokenAnswer` past `LIMIT`."""
        if not self._begun:
            data = self.rest + data
            self._hold(b"")
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._hold(data)
                return []
            self._begun = True
            data = data.removeprefix(_BOM)
        if self.held:
            seam = self._tail + data
            end = _END.search(seam)
            if end is None or _undecided(seam, end):
                self._keep(data)
                return []
            data = self.rest + data
            self._hold(b"")
        # The usual case costs two searches: one write of the engine is exactly one event.
        if data.endswith(b"\n\n") and b"\r" not in data:
            if data.find(b"\n\n") == len(data) - 2:
                return [data]
            if b"\n\n\n" not in data:
                return [part + b"\n\n" for part in data[:-2].split(b"\n\n")]
        return self._cut(data)

    def last(self) -> list[bytes]:
        """The event that the end of the body completes: one whose last CR could have been half of a CRLF."""
        rest = self.rest
        if not _END.search(rest):
            return []
        self._hold(b"")
        return [rest]

    @property
    def rest(self) -> bytes:
        """What has arrived of an event that is not complete."""
        return b"".join(self._parts)

    def _cut(self, data: bytes) -> list[bytes]:
        events = []
        start = 0
        for match in _END.finditer(data):
            if _undecided(data, match):
                break
            events.append(data[start : match.end()])
            start = match.end()
        self._keep(data[start:])
        return events

    def _keep(self, data: bytes) -> None:
        if self.held + len(data) > LIMIT:
            msg = f"Reading the engine's event stream: one event passed {LIMIT} bytes without an end."
            raise BrokenAnswer(msg)
        if data:
            self._parts.append(data)
            self.held += len(data)
            self._tail = (self._tail + data)[-_OVERLAP:]

    def _hold(self, data: bytes) -> None:
        """Just this, instead of what was held."""
        self._parts, self._tail, self.held = ([data], data[-_OVERLAP:], len(data)) if data else ([], b"", 0)


def _undecided(data: bytes, end: re.Match[bytes]) -> bool:
    """A CR at the very end may be half of a CRLF: the next byte tells."""
    return end.end() == len(data) and data.endswith(b"\r")


def payload(event: bytes) -> bytes | None:
    """The data of one raw event, lines joined with LF; None where it carries none (comments, keep-alives).

    Raises `BrokenAnswer` for a line that is neither a comment nor a field, and beside such lines for what is not UTF-8: clients
    decode comments too.
    """
    if event.startswith(b"data: ") and event.find(b"\n") >= len(event) - 2 and b"\r" not in event:
        return event[6:-2]
    if not event.isascii():
        _check_text(event)
    lines = []
    for line in _LINE.split(event):
        name, colon, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" ") if colon else b"")
        elif name and _NAME.fullmatch(name) is None:
            msg = f"Reading the engine's event stream: a line that is no field: {line[:60]!r}."
            raise BrokenAnswer(msg)
    return b"\n".join(lines) if lines else None


def _check_text(event: bytes) -> None:
    try:
        event.decode()
    except UnicodeDecodeError as error:
        msg = f"Reading the engine's event stream: it is not UTF-8 ({error})."
        raise BrokenAnswer(msg) from None


def event(data: bytes, name: str = "") -> bytes:
    """One event around data without line breaks."""
    head = b"event: " + name.encode() + b"\n" if name else b""
    return head + b"data: " + data + b"\n\n"
