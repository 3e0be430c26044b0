"""One attempt at one engine: written, sent, judged, read. What follows when it fails is `engines.py`."""

from __future__ import annotations

import time
from typing import NamedTuple

from penstock.client.answer import Answer, Piece
from penstock.client.ask import Ask
from penstock.client.codec import Reader, Served
from penstock.client.failures import ModelNotServed
from penstock.client.io import Io, Limits, Opened, Reply
from penstock.client.place import Place
from penstock.client.window import Room, measured
from penstock.errors import BrokenAnswer, PenstockError

_ERROR_LIMIT = 256 * 1024
_LIST_SECONDS = 3.0
"""For asking what is served, after an engine said that it does not have a model."""


class Begun(NamedTuple):
    """A stream whose first content has arrived."""

    opened: Opened
    reader: Reader
    pieces: list[Piece]


async def measure(io: Io, place: Place, ask: Ask, limits: Limits, _: str) -> Room:
    return await measured(io, place, ask, limits)


async def whole(io: Io, place: Place, ask: Ask, limits: Limits, reason: str) -> Answer:
    model = (ask.model if not reason else "") or place.model
    outgoing = place.codec.request(ask, place.kind, model, stream=False)
    reply = await io.send(place.post(outgoing), limits)
    source = place.source(reply.headers, model, outgoing.dropped, reason)
    if reply.status != 200:
        raise await _refused(io, place, reply, model, limits)
    place.fits(reply.headers, stream=False)
    return place.codec.whole(reply.body, source)


async def begin(io: Io, place: Place, ask: Ask, limits: Limits, reason: str) -> Begun:
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
) -> Begun:
    source = place.source(opened.headers, model, dropped, reason)
    if opened.status != 200:
        reply = Reply(opened.status, opened.headers, await _error_body(opened))
        raise await _refused(io, place, reply, model, limits)
    place.fits(opened.headers, stream=True)
    reader = place.codec.reader(source)
    while data := await opened.read():
        if pieces := reader.feed(data):
            return Begun(opened, reader, pieces)
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
        served = await served_by(io, place, limits._replace(until=until))
    except PenstockError:
        return error  # that the model is missing is what matters
    return ModelNotServed(model, place.url, [one.name for one in served])


async def served_by(io: Io, place: Place, limits: Limits) -> list[Served]:
    reply = await io.send(place.get(place.codec.models_path), limits)
    if reply.status != 200:
        raise place.judge(reply, place.model)
    place.source(reply.headers, place.model, (), "")
    place.fits(reply.headers, stream=False)
    return place.codec.models(reply.body)


def among(model: str, names: list[str]) -> bool:
    """Whether it is listed; Ollama's default tag may be left out."""
    return model in names or (":" not in model and f"{model}:latest" in names)
