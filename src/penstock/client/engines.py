"""The order of a call: attempts at the first engine, then the spare one, until content came. The heart of the library.

Written once over `io.Io`, for threads and for event loops. Which engines there are is decided before; what they are told
and how their words are read stands in the codecs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import NamedTuple, TypeVar

from penstock.client.answer import Answer, Piece, Source
from penstock.client.ask import Ask
from penstock.client.codec import Reader, Served
from penstock.client.counts import Counts
from penstock.client.failures import ConnectFailed, ModelNotServed, TookTooLong
from penstock.client.io import Io, Limits, Opened, Reply, finished, pumped
from penstock.client.place import Place, Target
from penstock.client.retry import SPARE_SHARE, Policy, pause
from penstock.client.transport_async import AsyncTransport
from penstock.client.transport_blocking import BlockingTransport
from penstock.client.wire import tls
from penstock.errors import BrokenAnswer, EngineFault, PenstockError, Unavailable
from penstock.model_names import other_names

logger = logging.getLogger("penstock.client")

T = TypeVar("T")
_ERROR_LIMIT = 256 * 1024
CHECK_SECONDS = 10.0
"""For asking an engine what it serves."""
_LIST_SECONDS = 3.0
"""For asking what is served, after an engine said that it does not have a model."""


class _Begun(NamedTuple):
    """A stream whose first content has arrived."""

    opened: Opened
    reader: Reader
    pieces: list[Piece]


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

    def close(self) -> None:
        self._blocking.close()

    async def aclose(self) -> None:
        await self._async.close()
        self._blocking.close()

    # whole answers

    async def _ask(self, io: Io, ask: Ask) -> Answer:
        answer = await self._tried(io, ask, _whole)
        self._settled(answer.source)
        return answer

    # streams

    async def _stream(self, io: Io, ask: Ask) -> AsyncGenerator[Piece]:
        begun = await self._tried(io, ask, _begin)
        try:
            self._settled(begun.pieces[0].source)
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
            raise _placed(fault, self.first if not self.answered else self._place_of(self.answered)) from fault
        finally:
            await begun.opened.close()

    def _place_of(self, source: Source) -> Place:
        return self.spare if self.spare is not None and self.spare.url == source.url else self.first

    # attempts

    async def _tried(self, io: Io, ask: Ask, once: Once[T]) -> T:
        """What the first engine gives, or the spare one, within one deadline."""
        self.counts.call()
        begin = time.monotonic()
        total = self.policy.timeout if ask.timeout is None else ask.timeout
        spare = self.spare
        if spare is not None and self.first.resting():
            failed, reason = "not asked, it let a call wait in vain a moment ago", "unhealthy"
        else:
            share = total if spare is None or self.first.gateway else total * (1 - SPARE_SHARE)
            try:
                return await self._attempts(io, self.first, ask, once, begin + share, "")
            except EngineFault as fault:
                if spare is None or self.first.gateway:
                    self.counts.failure()
                    raise _placed(fault, self.first) from fault.__cause__
                failed, reason = str(fault), fault.reason
        logger.warning("%s failed: %s, trying %s", self.first.label, failed, spare.label)
        self.counts.fallback(reason)
        try:
            return await self._attempts(io, spare, ask, once, begin + total, reason)
        except EngineFault as fault:
            self.counts.failure()
            raise _neither(self.first, failed, spare, fault) from fault

    async def _attempts(self, io: Io, place: Place, ask: Ask, once: Once[T], until: float, reason: str) -> T:
        """What one engine gives, asked as often as the policy allows."""
        policy = self.policy
        attempt = 1
        spare = place is self.first and self.spare is not None and not place.gateway
        while True:
            begin = time.monotonic()
            limits = Limits(policy.connect, policy.silence, until)
            try:
                return await once(io, place, ask, limits, reason)
            except EngineFault as fault:
                now = time.monotonic()
                if spare and isinstance(fault, TookTooLong | ConnectFailed) and now - begin > policy.connect / 2:
                    place.rest()
                wait = pause(policy, fault, attempt, until - now, spare=spare)
                if wait is None or (place.gateway and fault.retry_after is None and not _lost(fault)):
                    raise
                logger.info("%s failed: %s, attempt %d follows in %.1f s", place.label, fault, attempt + 1, wait)
            attempt += 1
            self.counts.retry()
            await io.sleep(wait)

    def _settled(self, source: Source) -> None:
        self.answered = source
        self.counts.answer(source.fallback if source.gateway else "")

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
        served = await _served(io, place, Limits(self.policy.connect, self.policy.silence, until))
        names = [one.name for one in served]
        if not _among(place.model, names):
            raise ModelNotServed(place.model, place.url, names)
        return served


async def _whole(io: Io, place: Place, ask: Ask, limits: Limits, reason: str) -> Answer:
    model = (ask.model if not reason else "") or place.model
    outgoing = place.codec.request(ask, place.kind, model, stream=False)
    reply = await io.send(place.post(outgoing), limits)
    source = place.source(reply.headers, model, outgoing.dropped, reason)
    if reply.status != 200:
        raise await _refused(io, place, reply, model, limits)
    place.fits(reply.headers, stream=False)
    return place.codec.whole(reply.body, source)


async def _begin(io: Io, place: Place, ask: Ask, limits: Limits, reason: str) -> _Begun:
    """A stream up to its first content; until then another attempt repeats nothing."""
    model = (ask.model if not reason else "") or place.model
    outgoing = place.codec.request(ask, place.kind, model, stream=True)
    opened = await io.open(place.post(outgoing), limits)
    try:
        return await _first_content(io, place, opened, limits, model, outgoing.dropped, reason)
    except BaseException:
        await opened.close()
        raise


async def _first_content(
    io: Io, place: Place, opened: Opened, limits: Limits, model: str, dropped: tuple[str, ...], reason: str
) -> _Begun:
    source = place.source(opened.headers, model, dropped, reason)
    if opened.status != 200:
        reply = Reply(opened.status, opened.headers, await _error_body(opened))
        raise await _refused(io, place, reply, model, limits)
    place.fits(opened.headers, stream=True)
    reader = place.codec.reader(source)
    while data := await opened.read():
        if pieces := reader.feed(data):
            return _Begun(opened, reader, pieces)
    reader.end()
    raise BrokenAnswer("the stream ended without content")


async def _error_body(opened: Opened) -> bytes:
    body = b""
    while len(body) < _ERROR_LIMIT and (data := await opened.read()):
        body += data
    return body


async def _refused(io: Io, place: Place, reply: Reply, model: str, limits: Limits) -> PenstockError:
    """The error of a refusal; where the model is missing, with what is served instead (W31)."""
    error = place.judge(reply, model)
    if not isinstance(error, ModelNotServed):
        return error
    until = min(limits.until, time.monotonic() + _LIST_SECONDS)
    try:
        served = await _served(io, place, limits._replace(until=until))
    except PenstockError:
        return error  # that the model is missing is what matters
    return ModelNotServed(model, place.url, [one.name for one in served])


async def _served(io: Io, place: Place, limits: Limits) -> list[Served]:
    reply = await io.send(place.get(place.codec.models_path), limits)
    if reply.status != 200:
        raise place.judge(reply, place.model)
    place.source(reply.headers, place.model, (), "")
    place.fits(reply.headers, stream=False)
    return place.codec.models(reply.body)


def _among(model: str, names: list[str]) -> bool:
    """Whether it is listed; Ollama's default tag may be left out."""
    return model in names or (":" not in model and f"{model}:latest" in names)


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
