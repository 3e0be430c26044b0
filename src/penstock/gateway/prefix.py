"""What a replica's prefix cache may still hold, judged by what we sent it. Pure: no clock, no I/O, no task.

An engine keeps what it has read by blocks from the beginning of a prompt, and drops what was used longest ago. So each
replica has a `Sent`: hashes of the beginnings of prompts that went there, in order of their last use, with a bound in
bytes of prompt. It holds no text. Each worker has its own; it is a guess that an engine may disappoint, never a promise.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from math import exp2

from xxhash import xxh3_64_intdigest as digest

_KIB = 1024
ENDS: tuple[int, ...] = (
    *range(256, 4 * _KIB, 256),
    *range(4 * _KIB, 32 * _KIB, _KIB),
    *range(32 * _KIB, 256 * _KIB, 4 * _KIB),
    *range(256 * _KIB, 1024 * _KIB + 1, 16 * _KIB),
)
"""Where a prompt is cut, in bytes from its beginning: finely at first, where conversations part, then more coarsely.

What lies behind the last of them is not looked at, which bounds the work for one request."""
_STEPS = tuple(end - begin for begin, end in zip((0, *ENDS), ENDS, strict=False))
LIMIT = 4 * 1024 * _KIB
"""Bytes of prompts that a replica is taken to hold where it does not tell: about a million tokens of English."""
MOST = 64 * 1024 * _KIB
"""Bytes of prompts that are remembered of one replica at most, whatever it tells: at most 262,144 hashes."""
TOKEN = 4
"""Bytes of a prompt for one token, where an engine tells its room in tokens."""
REQUEST = 1536
"""Bytes of reading that one request weighs beside its prompt: its answer takes a share of every step of the engine."""
HALF = 30.0
"""Seconds after which work that a replica was given counts half."""
LOOKED_AT = 4096
"""Bytes of a body in which the beginning of its prompt is looked for."""
_KEYS = re.compile(rb'"(?:messages|prompt|input|system|tools|instructions)"')
_KEY = ENDS.index(2048)
_SESSION = 1 << 32
"""Changes the seed of a session's hash, so that it never meets a prompt's."""


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
        """What ties it to a replica where none knows it, the same in every worker; 0: it goes where there is room."""
        if self.session:
            return self.session
        return self.marks[_KEY] if len(self.marks) > _KEY else 0


def prompt(tenant: str, model: str, session: str | None, body: bytes) -> Prompt:
    """Of one request's body, in microseconds. Tenants and models never share a hash."""
    seed = mark = _seed(tenant, model)
    # Where what the model reads begins; before it stand options, which may differ while the prompt does not.
    found = _KEYS.search(body, 0, LOOKED_AT)
    begin = found.start() if found is not None else 0
    length = len(body) - begin
    marks: list[int] = []
    for step in _STEPS[: bisect_right(ENDS, length)]:
        end = begin + step
        mark = digest(body[begin:end], mark)
        marks.append(mark)
        begin = end
    return Prompt(marks, length, digest(session, seed ^ _SESSION) if session else 0)


@lru_cache(maxsize=1024)
def _seed(tenant: str, model: str) -> int:
    return digest(f"{tenant}\0{model}")


class Sent:
    """What one replica was sent: as far as it may still hold it, how much of it lately, and what of it is not read yet."""

    __slots__ = ("_at", "_given", "_kept", "_lengths", "ahead", "limit", "size")

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        """Bytes of prompts remembered at most."""
        self._kept: OrderedDict[int, int] = OrderedDict()
        """Hash → bytes that it adds. What was used longest ago stands first, the end of a prompt before its beginning."""
        self._lengths: dict[int, int] = {}
        """Session → bytes of its last prompt."""
        self.size = 0
        """Bytes of prompts remembered."""
        self.ahead = 0
        """Bytes that it must read before it has begun all answers that we wait for."""
        self._given = self._at = 0.0

    def __len__(self) -> int:
        return len(self._kept)

    def has_room(self, tokens: int) -> None:
        """The engine says what its cache holds."""
        self.limit = min(tokens * TOKEN, MOST)

    def given(self, now: float) -> float:
        """Bytes of work that it was given lately: what was new to it, and the requests themselves."""
        return self._given * exp2((self._at - now) / HALF)

    def knows(self, session: int) -> bool:
        """Whether this conversation was here last, or lately."""
        return session in self._kept

    def known(self, asked: Prompt) -> int:
        """Bytes of this prompt that it has probably read before."""
        kept, marks = self._kept, asked.marks
        if asked.session and asked.session in kept:
            return min(self._lengths[asked.session], asked.length)
        # The beginning of a prompt outlives its end, so that the places where it is known form one row. Most prompts are
        # new from their beginning, or asked again.
        if not marks or marks[0] not in kept:
            return 0
        if marks[-1] in kept:
            return ENDS[len(marks) - 1]
        low, high = 1, len(marks) - 1
        while low < high:
            middle = (low + high) // 2
            if marks[middle] in kept:
                low = middle + 1
            else:
                high = middle
        return ENDS[low - 1]

    def add(self, asked: Prompt, unread: int, now: float) -> None:
        """It is sent this prompt, of which so many bytes are new to it."""
        self._given = self.given(now) + unread + REQUEST
        self._at = now
        self.ahead += unread
        kept, marks = self._kept, asked.marks
        if asked.session:
            self._lengths[asked.session] = asked.length
            self._keep(asked.session, REQUEST)
        for place in range(len(marks) - 1, -1, -1):
            mark = marks[place]
            if mark in kept:
                kept.move_to_end(mark)
            else:
                self._keep(mark, _STEPS[place])
        while self.size > self.limit:
            mark, step = kept.popitem(last=False)
            self.size -= step
            self._lengths.pop(mark, None)

    def withdraw(self, asked: Prompt, known: int, *, session: bool) -> None:
        """It did not read the prompt after all, of which it knew so many bytes before, and its `session` or not."""
        gone = list(asked.marks[bisect_right(ENDS, known) :])
        if asked.session and not session:
            gone.append(asked.session)
            self._lengths.pop(asked.session, None)
        for mark in gone:
            self.size -= self._kept.pop(mark, 0)

    def forget(self) -> None:
        """It went away or began anew: it holds nothing."""
        self._kept.clear()
        self._lengths.clear()
        self.size = 0

    def _keep(self, mark: int, step: int) -> None:
        if mark in self._kept:
            self._kept.move_to_end(mark)
        else:
            self._kept[mark] = step
            self.size += step


class Trip:
    """One request's share in what a replica has ahead of it, from being sent until its answer begins or it is over."""

    __slots__ = ("_asked", "_known", "_sent", "_session", "_unread")

    def __init__(self, asked: Prompt) -> None:
        self._asked = asked
        self._sent: Sent | None = None
        self._known = self._unread = 0
        self._session = False

    def begin(self, sent: Sent, now: float) -> None:
        """It goes there, perhaps after it has failed elsewhere."""
        self.over()
        asked = self._asked
        self._sent = sent
        self._known = sent.known(asked)
        self._session = sent.knows(asked.session)
        self._unread = asked.length - self._known
        sent.add(asked, self._unread, now)

    def failed(self) -> None:
        """It did not begin to answer: nothing was learnt there."""
        if self._sent is not None:
            self._sent.withdraw(self._asked, self._known, session=self._session)
            self.over()

    def over(self) -> None:
        """Its answer has begun, or nobody waits for it any more."""
        if self._sent is not None:
            self._sent.ahead -= self._unread
            self._sent = None
