"""How the bytes of a stream are written: odd and valid, or wrong. Pure; when it is done and how it ends is `play`'s affair."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator

from penstock.faults.reply import Reply
from penstock.faults.script import Script

_BOM = b"\xef\xbb\xbf"
_SPACE = re.compile(rb"^data: ", re.MULTILINE)
_ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
_COMMENTS = b": keep-alive\n\n:\n\n: \x00\x00\n\n"
_DEAD = b'"EngineCore encountered an issue. See stack trace (above) for the root cause."'
_BROKEN = {
    "nul": b'\x00data: {"choices":[{"index":0,"delta":{"content":" lost"}}]}\n\n',
    "utf8": b'data: {"choices":[{"index":0,"delta":{"content":" lost"},"logprobs":{"content":"\xe2\x82"}}]}\n\n',
    "bare": b'{"choices":[{"index":0,"delta":{"content":" lost"}}]}\n\n',
    "error": b'data: {"object":"error","message":' + _DEAD + b',"type":"InternalServerError","code":500}\n\n',
    "bare-error": b'{"error":{"message":' + _DEAD + b',"code":500}}\n\n',
    "named-error": b'event: error\ndata: {"message":' + _DEAD + b"}\n\n",
}
_BROKEN_LINES = {
    "nul": b'\x00{"message":{"role":"assistant","content":" lost"},"response":" lost","done":false}\n',
    "utf8": b'{"message":{"role":"assistant","content":"\xe2\x82"},"response":"\xe2\x82","done":false}\n',
    "bare": b"Internal Server Error\n",
    "error": b'{"error":{"message":' + _DEAD + b"}}\n",
    "bare-error": b'data: {"error":' + _DEAD + b"}\n",
    "named-error": b"event: error\n",
}


def malformed(script: Script, reply: Reply) -> bytes:
    """The wrong event of a script."""
    if script.malformed == "junk":
        return reply.malformed
    return (_BROKEN_LINES if reply.lines else _BROKEN)[script.malformed]


def closing(script: Script, reply: Reply) -> tuple[bytes, ...]:
    """The last events of a stream, with as many ends as the script wants."""
    if not reply.closing or script.done == "once":
        return reply.closing
    *before, end = reply.closing
    if script.done == "never":
        return tuple(before)
    return (*before, end, end if script.done == "twice" else (reply.pieces[-1] if reply.pieces else end))


class Pen:
    """Writes one stream the way its script says; a compressed one is one stream of gzip."""

    def __init__(self, script: Script, reply: Reply) -> None:
        self._script = script
        self._events = not reply.lines
        self._begun = False
        self.small = bool(script.write)
        """Whether events are written in parts."""
        self._gzip = zlib.compressobj(wbits=31) if script.gzip else None

    def parts(self, event: bytes) -> Iterator[bytes]:
        """The writes of one event."""
        data = self._dressed(event)
        if self._gzip is not None:
            data = self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        size = self._script.write or len(data)
        return (data[at : at + size] for at in range(0, len(data), size))

    def end(self) -> bytes:
        """What closes a compressed stream."""
        return self._gzip.flush() if self._gzip is not None else b""

    def _dressed(self, event: bytes) -> bytes:
        habits = self._script.habits if self._events else ()
        if "split-data" in habits:
            event = _split(event)
        if "fields" in habits:
            event = b"retry: 1000\nevent: message\n" + event
        if "no-space" in habits:
            event = _SPACE.sub(b"data:", event)
        if "comments" in habits:
            event = _COMMENTS + event
        event = event.replace(b"\n", _ENDS[self._script.line_end])
        if "bom" in habits and not self._begun:
            event = _BOM + event
        self._begun = True
        return event


def zipped(body: bytes) -> bytes:
    """A whole body, compressed; the same bytes every time."""
    return gzip.compress(body, mtime=0)


def _split(event: bytes) -> bytes:
    """The JSON of an event over two lines, at a place where JSON may hold a line break."""
    head, found, rest = event.partition(b"data: {")
    return head + b"data: {\ndata: " + rest if found else event
