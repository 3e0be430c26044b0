"""An event of a stream that differs from an earlier one in nothing but its piece of text need not be decoded again.

Engines write every event of a stream alike. Where all bytes around the text are those of an event that was decoded, and
the text holds nothing that could end a JSON string or be wrong in one, the event says what that one said.
"""

from __future__ import annotations

_PLAIN = bytes(one for one in range(0x20, 0x7F) if one not in b'"\\')
"""Bytes that stand in a JSON string for themselves."""
_KEYS = (b'"content":', b'"content": ', b'"text":', b'"text": ')


class KnownEvent:
    """The bytes around the text, as they come and as they go on."""

    __slots__ = ("_after", "_before", "_passed_after", "_passed_before", "_same", "_size")

    def __init__(self, before: bytes, after: bytes, passed_before: bytes, passed_after: bytes) -> None:
        self._before = before
        self._after = after
        self._passed_before = passed_before
        self._passed_after = passed_after
        self._same = (before, after) == (passed_before, passed_after)
        self._size = len(before) + len(after)

    def passed(self, data: bytes) -> bytes | None:
        """What goes on to the client of such an event with a text that is not empty; None for any other."""
        if len(data) <= self._size or not data.startswith(self._before) or not data.endswith(self._after):
            return None
        text = data[len(self._before) : -len(self._after)]
        if text.translate(None, _PLAIN):
            return None
        return data if self._same else self._passed_before + text + self._passed_after


def learn(data: bytes, passed: bytes, text: str) -> KnownEvent | None:
    """The shape of one whole raw event, of what was passed on of it, and of its text as it was decoded."""
    quoted = b'"' + text.encode() + b'"'
    if b"\\" in data or quoted[1:-1].translate(None, _PLAIN) or data.count(quoted) != 1 or passed.count(quoted) != 1:
        return None
    before, _, after = data.partition(quoted)
    if not before.endswith(_KEYS):
        return None
    before, after = before + b'"', b'"' + after
    if passed == data:
        return KnownEvent(before, after, before, after)
    passed_before, _, passed_after = passed.partition(quoted)
    return KnownEvent(before, after, passed_before + b'"', b'"' + passed_after)
