"""What a replica's prefix cache may still hold, judged by what we sent it. Pure: no clock, no I/O, no task.

An engine keeps what it has read by blocks from the beginning of a prompt, and drops what was used longest ago. So each
replica has a `Sent`: hashes of the beginnings of prompts that went there, in order of their last use, with a bound in
bytes of prompt. It holds no text. Each worker has its own; it is a guess that an engine may disappoint, never a promise.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence

import xxhash

HALF = 30.0
_KIB = 1024
ENDS: tuple[int, ...] = (
    *range(256, 4 * _KIB, 256),
    *range(4 * _KIB, 32 * _KIB, _KIB),
    *range(32 * _KIB, 256 * _KIB, 4 * _KIB),
    *range(256 * _KIB, 1024 * _KIB + 1, 16 * _KIB),
)
"""Where a prompt is cut, in bytes from its beginning: finely at first, where conversations part, then more coarsely.

What lies behind the last of them is not looked at: 1 MiB is longer than any window we know, and bounds the work."""
LIMIT = 4 * 1024 * 1024
"""Bytes of prompts that a replica is taken to hold where it does not tell: about a million tokens of English."""
TOKEN = 4
"""Bytes of a prompt for one token, where an engine tells its room in tokens."""
LOOKED_AT = 4096
"""Bytes of a body in which the beginning of its prompt is looked for."""
_KEYS = (b'"messages"', b'"prompt"', b'"input"', b'"system"', b'"tools"', b'"instructions"')
_SESSION = 1 << 32
"""Added to the seed of a session's hash, so that it never meets a prompt's."""


class Prompt:
    """What routing knows of one request: its length and the hashes of its beginnings, the caller's tenant in each of them."""

    __slots__ = ("length", "marks", "session")

    def __init__(self, marks: Sequence[int], length: int, session: int) -> None:
        self.marks = marks
        """One for each of `ENDS` that the prompt reaches; each covers everything before it."""
        self.length = length
        """Bytes."""
        self.session = session
        """The conversation it says it belongs to; 0 for none."""

    @property
    def key(self) -> int:
        """What ties it to a replica that knows nothing of it: the same in every worker; 0 for what goes where there is room."""
        if self.session:
            return self.session
        return self.marks[_KEY_MARK] if len(self.marks) > _KEY_MARK else 0


_KEY_MARK = ENDS.index(2048)


def prompt(tenant: str, model: str, session: str | None, body: bytes) -> Prompt:
    """Of one request's body, in microseconds. Tenants and models never share a hash."""
    seed = xxhash.xxh3_64_intdigest(f"{tenant}\0{model}")
    start = _start(body)
    length = len(body) - start
    marks: list[int] = []
    digest, begin, mark = xxhash.xxh3_64_intdigest, start, seed
    for end in ENDS[: bisect_right(ENDS, length)]:
        mark = digest(body[begin : start + end], mark)
        marks.append(mark)
        begin = start + end
    return Prompt(marks, length, digest(session, seed ^ _SESSION) if session else 0)


def _start(body: bytes) -> int:
    """Where what the model reads begins; before it stand options, which may differ while the prompt does not."""
    found = [at for at in [body.find(key, 0, LOOKED_AT) for key in _KEYS] if at >= 0]
    return min(found, default=0)


class Sent:
    """What one replica was sent, as far as it may still hold it, and what of it is not read yet."""

    __slots__ = ("_kept", "_flow", "_flow_at", "_lengths", "ahead", "limit", "size")

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._kept: OrderedDict[int, int] = OrderedDict()
        """Hash → bytes it adds to the one before it. What was used longest ago stands first, the end of a prompt before its beginning."""
        self._lengths: dict[int, int] = {}
        """Session → bytes of its last prompt."""
        self.size = 0
        """Bytes of prompts remembered."""
        self.ahead = 0
        """Bytes that it must read before it begins to answer what we have sent it."""

        self._flow = self._flow_at = 0.0

    def inflow(self, now: float) -> float:
        return self._flow * 2.0 ** ((self._flow_at - now) / HALF)

    def flowed(self, by: int, now: float) -> None:
        self._flow = self.inflow(now) + by
        self._flow_at = now

    def __len__(self) -> int:
        return len(self._kept)

    def known(self, asked: Prompt) -> int:
        """Bytes of this prompt that it has probably read before."""
        kept, marks = self._kept, asked.marks
        if asked.session and asked.session in kept:
            return min(self._lengths[asked.session], asked.length)
        # The beginning of a prompt outlives its end, so that the places where it is known form one row.
        low, high = 0, len(marks)
        while low < high:
            middle = (low + high) // 2
            if marks[middle] in kept:
                low = middle + 1
            else:
                high = middle
        return ENDS[low - 1] if low else 0

    def add(self, asked: Prompt) -> None:
        """It is sent this prompt."""
        kept, marks = self._kept, asked.marks
        for place in range(len(marks) - 1, -1, -1):
            mark = marks[place]
            if mark in kept:
                kept.move_to_end(mark)
            else:
                kept[mark] = step = STEPS[place]
                self.size += step
        if asked.session:
            self._add_session(asked)
        while self.size > self.limit:
            self._drop()

    def forget(self) -> None:
        """It went away or began anew: it holds nothing."""
        self._kept.clear()
        self._lengths.clear()
        self.size = 0

    def _add_session(self, asked: Prompt) -> None:
        self._lengths[asked.session] = asked.length
        if asked.session in self._kept:
            self._kept.move_to_end(asked.session)
        else:
            self._kept[asked.session] = STEPS[0]
            self.size += STEPS[0]

    def _drop(self) -> None:
        mark, step = self._kept.popitem(last=False)
        self.size -= step
        self._lengths.pop(mark, None)


STEPS = tuple(end - begin for begin, end in zip((0, *ENDS), ENDS, strict=False))


class Trip:
    """One request's share in what a replica has ahead of it, from being sent until its answer begins or it is over."""

    __slots__ = ("_asked", "_sent", "_unread")

    def __init__(self, asked: Prompt) -> None:
        self._asked = asked
        self._sent: Sent | None = None
        self._unread = 0

    def begin(self, sent: Sent, now: float = 0.0) -> None:
        """It goes there, perhaps after it has failed elsewhere."""
        self.over()
        self._sent = sent
        self._unread = self._asked.length - sent.known(self._asked)
        sent.ahead += self._unread
        sent.flowed(self._unread, now)
        sent.add(self._asked)

    def over(self) -> None:
        """Its answer has begun, or will not come from there."""
        if self._sent is not None:
            self._sent.ahead -= self._unread
            self._sent = None
