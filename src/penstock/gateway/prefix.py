"""What a replica's prefix cache may still hold, judged by what we sent it. Pure: no clock, no I/O, no task.

An engine keeps what it has read by blocks from the beginning of a prompt, and drops what was used longest ago. So each
replica has a `Sent`: hashes of the beginnings of prompts that went there, what was not used for longest dropped first, with
a bound in bytes of prompt. It holds no text. Each worker has its own; it is a guess that an engine may disappoint, never a promise.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from math import exp2

from xxhash import xxh3_64_intdigest as digest

_KIB = 1024
ENDS: tuple[int, ...] = (
    *range(512, 4 * _KIB, 512),
    *range(4 * _KIB, 16 * _KIB, _KIB),
    *range(16 * _KIB, 64 * _KIB, 4 * _KIB),
    *range(64 * _KIB, 256 * _KIB, 16 * _KIB),
    *range(256 * _KIB, 1024 * _KIB + 1, 64 * _KIB),
)
"""Where a prompt is cut, in bytes from its beginning: finely at first, where conversations part, then more coarsely.

What lies behind the last of them is not looked at, which bounds the work for one request."""
_STEPS = tuple(end - begin for begin, end in zip((0, *ENDS), ENDS, strict=False))
LIMIT = 4 * 1024 * _KIB
"""Bytes of prompts that a replica is taken to hold where it does not tell: about a million tokens of English."""
MOST = 64 * 1024 * _KIB
"""Bytes of prompts that a replica is taken to hold at most, whatever it tells: at most 262,144 hashes in both generations."""
TOKEN = 4
"""Bytes of a prompt for one token, where an engine tells its room in tokens."""
REQUEST = 1536
"""Bytes of reading that one request weighs beside its prompt: its answer takes a share of every step of the engine."""
HALF = 30.0
"""Seconds after which work that a replica was given counts half."""
_AGED = 0.5
"""Seconds for which it is not counted anew."""
LOOKED_AT = 4096
"""Bytes of a body in which the beginning of its prompt is looked for."""
_KEYS = re.compile(rb'"(?:messages|prompt|input|system|tools|instructions)"')
_KEY = ENDS.index(2048)
_SEEDS = tuple(digest(b"", end) for end in ENDS)
"""A piece has another hash at another place, so that the sum of the hashes of all pieces says in which order they stand."""
_BEGINNINGS = 256
"""Places where prompts begin for which the cuts are kept."""
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
    seed = _seed(tenant, model)
    # Where what the model reads begins; before it stand options, which may differ while the prompt does not.
    found = _KEYS.search(body, 0, LOOKED_AT)
    begin = found.start() if found is not None else 0
    length = len(body) - begin
    # No loop of ours: this is done for every request, and a long prompt has many pieces.
    pieces = map(body.__getitem__, _cuts(begin)[: bisect_right(ENDS, length)])
    marks = list(accumulate(map(digest, pieces, _SEEDS), initial=seed))
    del marks[0]
    return Prompt(marks, length, digest(session, seed ^ _SESSION) if session else 0)


@lru_cache(maxsize=1024)
def _seed(tenant: str, model: str) -> int:
    return digest(f"{tenant}\0{model}")


@lru_cache(maxsize=_BEGINNINGS)
def _cuts(begin: int) -> tuple[slice, ...]:
    return tuple(slice(begin + end - step, begin + end) for end, step in zip(ENDS, _STEPS, strict=True))


class Sent:
    """What one replica was sent: as far as it may still hold it, how much of it lately, and what of it is not read yet.

    Two generations stand for the order of last use: what is used again moves to the younger one, and when that is full, the
    older one is forgotten at once. So a prompt that was here lately costs one look, however long it is.
    """

    __slots__ = ("_at", "_given", "_lengths", "_old", "_old_lengths", "_old_size", "_size", "ahead", "limit", "young")

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        """Bytes of prompts that it is taken to hold, and that each generation remembers."""
        self.young: set[int] = set()
        """Hashes of beginnings, and of sessions. Where one of a beginning stands here, so do those of shorter ones."""
        self._old: set[int] = set()
        self._lengths: dict[int, int] = {}
        """Session → bytes of its last prompt, as young as its hash."""
        self._old_lengths: dict[int, int] = {}
        self._size = self._old_size = 0
        self.ahead = 0
        """Bytes that it must read before it has begun all answers that we wait for."""
        self._given = self._at = 0.0

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    @property
    def size(self) -> int:
        """Bytes of prompts remembered."""
        return self._size + self._old_size

    def has_room(self, tokens: int) -> None:
        """The engine says what its cache holds."""
        self.limit = min(tokens * TOKEN, MOST)

    def given(self, now: float) -> float:
        """Bytes of work that it was given lately: what was new to it, and the requests themselves."""
        if not 0.0 <= now - self._at < _AGED:
            self._given *= exp2((self._at - now) / HALF)
            self._at = now
        return self._given

    def knows(self, session: int) -> bool:
        """Whether this conversation was here last, or lately."""
        return session in self.young or session in self._old

    def known(self, asked: Prompt) -> int:
        """Bytes of this prompt that it has probably read before."""
        session = asked.session
        if session and self.knows(session):
            length = self._lengths.get(session) or self._old_lengths[session]
            return min(length, asked.length)
        marks = asked.marks
        # Most prompts are new from their beginning, or asked again.
        if not marks or not (marks[0] in self.young or marks[0] in self._old):
            return 0
        return max(_reach(self.young, marks), _reach(self._old, marks))

    def add(self, asked: Prompt, now: float) -> tuple[int, bool]:
        """It is sent this prompt; the bytes of it, and whether the session, that it knew before."""
        session, marks, young = asked.session, asked.marks, self.young
        if not session and marks and marks[-1] in young:
            known, heard = ENDS[len(marks) - 1], False
        else:
            known, heard = self.known(asked), bool(session) and self.knows(session)
            self._keep(asked)
        unread = asked.length - known
        self._given = self.given(now) + unread + REQUEST
        self.ahead += unread
        return known, heard

    def withdraw(self, asked: Prompt, known: int, *, session: bool) -> None:
        """It did not read the prompt after all, of which it knew so many bytes before, and its `session` or not."""
        for place in range(bisect_right(ENDS, known), len(asked.marks)):
            if asked.marks[place] in self.young:
                self.young.discard(asked.marks[place])
                self._size -= _STEPS[place]
        if asked.session in self.young and not session:
            self.young.discard(asked.session)
            self._lengths.pop(asked.session, None)
            self._size -= REQUEST

    def forget(self) -> None:
        """It went away or began anew: it holds nothing."""
        self.young, self._old = set(), set()
        self._lengths, self._old_lengths = {}, {}
        self._size = self._old_size = 0

    def _keep(self, asked: Prompt) -> None:
        """All of it is young from now on."""
        session, marks = asked.session, asked.marks
        fresh = (ENDS[len(marks) - 1] - _reach(self.young, marks) if marks else 0) + (REQUEST if session else 0)
        if self.young and self._size + fresh > self.limit:
            self._old, self._old_lengths, self._old_size = self.young, self._lengths, self._size
            self.young, self._lengths, self._size = set(), {}, 0
            fresh = (ENDS[len(marks) - 1] if marks else 0) + (REQUEST if session else 0)
        if session:
            if session in self.young:
                fresh -= REQUEST
            self.young.add(session)
            self._lengths[session] = asked.length
        self.young.update(marks)
        self._size += fresh


def _reach(kept: set[int], marks: Sequence[int]) -> int:
    """Bytes of the longest beginning among those kept."""
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
        if self._sent is not None:
            self.over()
        self._sent = sent
        self._known, self._session = sent.add(self._asked, now)
        self._unread = self._asked.length - self._known

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
