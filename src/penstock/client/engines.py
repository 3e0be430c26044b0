"""The order of a call: attempts at the first engine, then the spare one, until content came. The heart of the library.

Written once over `io.Io`, for threads and for event loops. Which engines there are is decided before; what they are told
and how their words are read stands in the codecs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar

import msgspec

from penstock.client.answer import Answer, Piece, Source
from penstock.client.ask import Ask, Message
from penstock.client.attempt import among, begin, measure, served_by, whole
from penstock.client.codec import Served
from penstock.client.counts import Counts
from penstock.client.failures import ConnectFailed, ModelNotServed, TookTooLong
from penstock.client.io import Io, Limits, finished, pumped
from penstock.client.place import Place, Target
from penstock.client.retry import SPARE_SHARE, Policy, pause
from penstock.client.transport_async import AsyncTransport
from penstock.client.transport_blocking import BlockingTransport
from penstock.client.window import Room, exchanges, kept, too_long
from penstock.client.wire import tls
from penstock.errors import EngineFault, PenstockError, Unavailable
from penstock.model_names import other_names
from penstock.types import Usage

logger = logging.getLogger("penstock.client")

T = TypeVar("T")
CHECK_SECONDS = 10.0
"""For asking an engine what it serves."""


Count: TypeAlias = Callable[[Sequence[Message]], int]
"""The tokens of a conversation, counted by whoever calls."""
Once = Callable[[Io, Place, Ask, Limits, str], Awaitable[T]]


class Engines:
    """One engine or two, asked with one policy."""

    def __init__(
        self,
        first: Target,
        spare: Target | None = None,
        *,
        policy: Policy | None = None,
        fallback: str = "any",
        verify: bool | str = True,
    ) -> None:
        self.first = Place(first)
        self.spare = _allowed(first, spare, fallback)
        self.policy = policy or Policy()
        self.counts = Counts()
        self.answered: Source | None = None
        """Who gave the last answer."""
        secure = self.first.secure or (self.spare is not None and self.spare.secure)
        context = tls(verify=verify) if secure else None
        self._blocking = BlockingTransport(context)
        self._async = AsyncTransport(context)

    def ask(self, ask: Ask) -> Answer:
        return finished(self._ask(self._blocking, ask))

    async def aask(self, ask: Ask) -> Answer:
        return await self._ask(self._async, ask)

    def stream(self, ask: Ask) -> Iterator[Piece]:
        return pumped(self._stream(self._blocking, ask))

    def astream(self, ask: Ask) -> AsyncGenerator[Piece]:
        return self._stream(self._async, ask)

    def check(self) -> list[Served]:
        """What the first engine serves; raises where it does not answer or lacks the model (S1.16, S1.36)."""
        return finished(self._check(self._blocking))

    async def acheck(self) -> list[Served]:
        return await self._check(self._async)

    def trial(self) -> PenstockError | None:
        """What a check finds wrong, in few words; None: nothing."""
        return finished(self._trial(self._blocking))

    def fit(self, ask: Ask, *, reserve: int, count: Count | None = None, window: int | None = None) -> list[int]:
        """The indices of the ask's messages that fit beside `reserve` tokens of an answer: see window.py."""
        return finished(self._fit(self._blocking, ask, reserve, count, window))

    async def afit(self, ask: Ask, *, reserve: int, count: Count | None = None, window: int | None = None) -> list[int]:
        return await self._fit(self._async, ask, reserve, count, window)

    def close(self) -> None:
        self._blocking.close()

    async def aclose(self) -> None:
        await self._async.close()
        self._blocking.close()

    # whole answers

    async def _ask(self, io: Io, ask: Ask) -> Answer:
        started = time.monotonic()
        answer = await self._tried(io, ask, whole)
        self._settled(answer.source, time.monotonic() - started, "answered", answer.usage)
        return answer

    # streams

    async def _stream(self, io: Io, ask: Ask) -> AsyncGenerator[Piece]:
        started = time.monotonic()
        begun = await self._tried(io, ask, begin)
        source = begun.pieces[0].source
        try:
            self._settled(source, time.monotonic() - started, "began to answer")
            begun.opened.begun()
            for piece in begun.pieces:
                yield piece
            while data := await begun.opened.read():
                for piece in begun.reader.feed(data):
                    yield piece
            begun.reader.end()
        except EngineFault as fault:
            # Content was given out: another attempt would repeat it.
            self.counts.failure()
            raise _placed(fault, self._place_of(source)) from fault.__cause__
        finally:
            await begun.opened.close()

    def _place_of(self, source: Source) -> Place:
        return self.spare if self.spare is not None and self.spare.url == source.url else self.first

    # attempts

    async def _tried(self, io: Io, ask: Ask, once: Once[T]) -> T:
        """What the first engine gives, or the spare one, within one deadline."""
        self.counts.call()
        started = time.monotonic()
        total = self.policy.timeout if ask.timeout is None else ask.timeout
        spare = self.spare
        if spare is not None and self.first.resting():
            failed, reason = "not asked, it let a call wait in vain a moment ago", "unhealthy"
        else:
            share = total if spare is None or self.first.gateway else total * (1 - SPARE_SHARE)
            try:
                return await self._attempts(io, self.first, ask, once, started + share, "")
            except EngineFault as fault:
                if spare is None or self.first.gateway:
                    self.counts.failure()
                    raise _placed(fault, self.first) from fault.__cause__
                failed, reason = str(fault), fault.reason
        logger.warning("%s failed: %s, trying %s", self.first.label, failed, spare.label)
        self.counts.fallback(reason)
        try:
            return await self._attempts(io, spare, ask, once, started + total, reason)
        except EngineFault as fault:
            self.counts.failure()
            raise _neither(self.first, failed, spare, fault) from fault

    async def _attempts(self, io: Io, place: Place, ask: Ask, once: Once[T], until: float, reason: str) -> T:
        """What one engine gives, asked as often as the policy allows."""
        policy = self.policy
        attempt = 1
        spare = place is self.first and self.spare is not None and not place.gateway
        while True:
            started = time.monotonic()
            limits = Limits(policy.connect, policy.silence, until)
            try:
                return await once(io, place, ask, limits, reason)
            except EngineFault as fault:
                now = time.monotonic()
                if spare and isinstance(fault, TookTooLong | ConnectFailed) and now - started > policy.connect / 2:
                    place.rest()
                wait = pause(policy, fault, attempt, until - now, spare=spare)
                if wait is None or (place.gateway and fault.retry_after is None and not _lost(fault)):
                    raise
                logger.info("%s failed: %s, attempt %d follows in %.1f s", place.label, fault, attempt + 1, wait)
            attempt += 1
            self.counts.retry()
            await io.sleep(wait)

    def _settled(self, source: Source, seconds: float, what: str, usage: Usage | None = None) -> None:
        """An answer is there: who gave it, what it cost (S1.37)."""
        self.answered = source
        self.counts.answer(source.fallback if source.gateway else "")
        if logger.isEnabledFor(logging.INFO):
            tokens = f", {usage.prompt_tokens} + {usage.completion_tokens} tokens" if usage else ""
            logger.info("%s %s in %.3f s%s", source.backend or source.kind.label, what, seconds, tokens)

    # the window

    async def _fit(self, io: Io, ask: Ask, reserve: int, count: Count | None, window: int | None) -> list[int]:
        async def room(dropped: int) -> Room:
            turns = tuple(ask.messages[index] for index in kept(ask.messages, dropped))
            if count is not None and window is not None:
                return Room(count(turns), window)
            fewer = msgspec.structs.replace(ask, messages=turns)
            return await self._attempts(io, self.first, fewer, measure, time.monotonic() + self.policy.timeout, "")

        most = len(exchanges(ask.messages))
        low, high = 0, most + 1  # of the exchanges to drop: `high` fits, or is past the end
        while low < high:
            middle = low if low == 0 else (low + high) // 2  # nothing has to go, mostly
            taken = await room(middle)
            if taken.tokens + reserve <= taken.window:
                high = middle
            elif middle == most:
                raise too_long(taken, reserve)
            else:
                low = middle + 1
        return kept(ask.messages, high)

    # checks

    async def _check(self, io: Io) -> list[Served]:
        try:
            return await self._listed(io)
        except EngineFault as fault:
            raise _placed(fault, self.first) from fault.__cause__

    async def _trial(self, io: Io) -> PenstockError | None:
        try:
            await self._listed(io)
        except PenstockError as failed:
            return failed
        return None

    async def _listed(self, io: Io) -> list[Served]:
        """What the first engine serves; raises where its model is not among it."""
        place = self.first
        until = time.monotonic() + min(self.policy.timeout, CHECK_SECONDS)
        served = await served_by(io, place, Limits(self.policy.connect, self.policy.silence, until))
        names = [one.name for one in served]
        if not among(place.model, names):
            raise ModelNotServed(place.model, place.url, names)
        return served


def _allowed(first: Target, spare: Target | None, fallback: str) -> Place | None:
    """The spare engine, where the policy lets it answer in the first one's place."""
    if spare is None or fallback == "never":
        return None
    same = spare.model == first.model or spare.model in other_names(first.model)
    return Place(spare) if fallback == "any" or same else None


def _lost(fault: EngineFault) -> bool:
    """Whether nothing came back: a gateway's own answers are its last word."""
    return fault.reason == "connect"


def _neither(first: Place, failed: str, spare: Place, fault: EngineFault) -> Unavailable:
    return Unavailable(
        f"Neither engine answered. {first.label} at {first.url}: {failed}. {spare.label} at {spare.url}: {fault}.",
        hint=fault.hint,
        retry_after=fault.retry_after,
    )


def _placed(fault: EngineFault, place: Place) -> EngineFault:
    """The same fault, saying who was asked."""
    if not isinstance(fault, ModelNotServed) and place.url not in fault.message:
        fault.message = f"Asking {place.label} at {place.url} for {place.model!r}: {fault.message}"
        fault.args = (fault.message,)
    return fault
