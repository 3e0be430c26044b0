"""Puts a reply on the wire the way its script says. The only place where faults happen."""

from __future__ import annotations

import asyncio

from penstock.faults.dress import Pen, closing, malformed, zipped
from penstock.faults.record import Journal
from penstock.faults.refused import Refused
from penstock.faults.reply import JSON, Reply, failure
from penstock.faults.script import Script
from penstock.faults.wire import Exchange, Head

_GIANT_PART = 65536


async def refuse(exchange: Exchange, script: Script, body: bytes, status: int) -> None:
    """An error answer, with the script's Retry-After where it has one."""
    headers: Head = [("content-type", script.content_type or JSON)]
    if script.retry_after is not None:
        headers.append(("retry-after", script.retry_after))
    await exchange.send(status, body, headers, gap=script.head_gap)
    if script.close:
        exchange.close()


async def play(exchange: Exchange, script: Script, reply: Reply, journal: Journal) -> bool:
    """Write the reply; whether it went out complete and as the protocol wants it."""
    if script.silent:
        await exchange.forever()
    if script.reset:
        exchange.reset()
        return False
    if script.raw is not None:
        await exchange.verbatim(script.raw.encode("latin-1"))
        if script.close:
            exchange.close()
        return False
    if script.body is not None:
        await exchange.send(200, script.body.encode(), [("content-type", script.content_type or "text/html")])
        return False
    complete = await (_stream if reply.stream else _whole)(exchange, script, reply, journal)
    if complete and script.close:
        exchange.close()
    return complete


async def _stream(exchange: Exchange, script: Script, reply: Reply, journal: Journal) -> bool:
    headers: Head = [("content-type", script.content_type or reply.stream_type), *_coding(script)]
    pen = Pen(script, reply)
    if not script.late_head:
        await exchange.begin(200, headers, gap=script.head_gap)
    for place, piece in enumerate(reply.pieces):
        if await _fault(exchange, script, reply, place, pen):
            return False
        await _produce(script, journal, place)
        if place == 0:
            await _open(exchange, script, reply, headers, pen)
        await _write(exchange, pen, piece)
        exchange.tokens = place + 1
    if not reply.pieces:
        await _open(exchange, script, reply, headers, pen)
    if await _fault(exchange, script, reply, len(reply.pieces), pen):
        return False
    for event in closing(script, reply):
        await _write(exchange, pen, event)
    await _finish(exchange, pen)
    return True


async def _open(exchange: Exchange, script: Script, reply: Reply, headers: Head, pen: Pen) -> None:
    if script.late_head:
        await exchange.begin(200, headers, gap=script.head_gap)
    for event in reply.opening:
        await _write(exchange, pen, event)


async def _write(exchange: Exchange, pen: Pen, event: bytes) -> None:
    for part in pen.parts(event):
        await exchange.write(part)
        if pen.small:
            await asyncio.sleep(0)  # a part of an event must have left before the next one


async def _finish(exchange: Exchange, pen: Pen) -> None:
    if rest := pen.end():
        await exchange.write(rest)
    await exchange.finish()


def _coding(script: Script) -> Head:
    return [("content-encoding", "gzip")] if script.gzip else []


async def _whole(exchange: Exchange, script: Script, reply: Reply, journal: Journal) -> bool:
    for place in range(reply.tokens):
        if script.stall_after == place:
            await exchange.forever()
        if script.cut_after == place:
            _cut(exchange, script)
            return False
        await _produce(script, journal, place)
        exchange.tokens = place + 1
    body = zipped(reply.whole) if script.gzip else reply.whole
    length = len(body)
    if script.cut_json is not None:
        body, length = body[: script.cut_json], script.cut_json
    if script.truncate is not None:
        body = body[: script.truncate]
    headers: Head = [("content-type", script.content_type or reply.whole_type), *_coding(script)]
    await exchange.send(200, body, headers, length=length, gap=script.head_gap)
    if script.truncate is not None:
        exchange.close()
    return body is reply.whole


async def _produce(script: Script, journal: Journal, place: int) -> None:
    await asyncio.sleep(script.gap if place else script.first)
    await journal.before_token(place)


async def _fault(exchange: Exchange, script: Script, reply: Reply, place: int, pen: Pen) -> bool:
    """What the script wants to happen after `place` tokens; True: the answer ends here."""
    if script.malformed_after == place:
        await _write(exchange, pen, malformed(script, reply))
    if script.giant_after == place:
        await _write_giant(exchange, script, reply)
    if script.error_after == place:
        error = Refused(
            500, script.message or "EngineCore encountered an issue. See stack trace (above) for the root cause."
        )
        for event in failure(reply, error):
            await _write(exchange, pen, event)
        await _finish(exchange, pen)
        return True
    if script.stall_after == place:
        await exchange.forever()
    if script.cut_after == place:
        if script.cut == "eos":
            await _finish(exchange, pen)
        else:
            _cut(exchange, script)
        return True
    return False


def _cut(exchange: Exchange, script: Script) -> None:
    if script.cut == "rst":
        exchange.reset()
    else:
        exchange.close()


async def _write_giant(exchange: Exchange, script: Script, reply: Reply) -> None:
    await exchange.write(b'{"x":"' if reply.lines else b'data: {"x":"')
    for at in range(0, script.giant, _GIANT_PART):
        await exchange.write(b"x" * min(_GIANT_PART, script.giant - at))
    await exchange.write(b'"}\n' if reply.lines else b'"}\n\n')
