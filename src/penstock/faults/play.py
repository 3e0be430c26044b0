"""Puts a reply on the wire the way its script says. The only place where faults happen."""

from __future__ import annotations

import asyncio

from penstock.faults.record import Journal
from penstock.faults.refused import Refused
from penstock.faults.reply import JSON, Reply, failure
from penstock.faults.script import Script
from penstock.faults.wire import Exchange, Head


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
    if script.body is not None:
        await exchange.send(200, script.body.encode(), [("content-type", script.content_type or "text/html")])
        return False
    complete = await (_stream if reply.stream else _whole)(exchange, script, reply, journal)
    if complete and script.close:
        exchange.close()
    return complete


async def _stream(exchange: Exchange, script: Script, reply: Reply, journal: Journal) -> bool:
    headers: Head = [("content-type", script.content_type or reply.stream_type)]
    if not script.late_head:
        await exchange.begin(200, headers, gap=script.head_gap)
    for place, piece in enumerate(reply.pieces):
        if await _fault(exchange, script, reply, place):
            return False
        await _produce(script, journal, place)
        if place == 0:
            await _open(exchange, script, reply, headers)
        await exchange.write(piece)
        exchange.tokens = place + 1
    if not reply.pieces:
        await _open(exchange, script, reply, headers)
    if await _fault(exchange, script, reply, len(reply.pieces)):
        return False
    for event in reply.closing:
        await exchange.write(event)
    await exchange.finish()
    return True


async def _open(exchange: Exchange, script: Script, reply: Reply, headers: Head) -> None:
    if script.late_head:
        await exchange.begin(200, headers, gap=script.head_gap)
    for event in reply.opening:
        await exchange.write(event)


async def _whole(exchange: Exchange, script: Script, reply: Reply, journal: Journal) -> bool:
    for place in range(reply.tokens):
        if script.stall_after == place:
            await exchange.forever()
        if script.cut_after == place:
            _cut(exchange, script)
            return False
        await _produce(script, journal, place)
        exchange.tokens = place + 1
    body, length = reply.whole, len(reply.whole)
    if script.cut_json is not None:
        body, length = body[: script.cut_json], script.cut_json
    if script.truncate is not None:
        body = body[: script.truncate]
    headers: Head = [("content-type", script.content_type or reply.whole_type)]
    await exchange.send(200, body, headers, length=length, gap=script.head_gap)
    if script.truncate is not None:
        exchange.close()
    return body is reply.whole


async def _produce(script: Script, journal: Journal, place: int) -> None:
    await asyncio.sleep(script.gap if place else script.first)
    await journal.before_token(place)


async def _fault(exchange: Exchange, script: Script, reply: Reply, place: int) -> bool:
    """What the script wants to happen after `place` tokens; True: the answer ends here."""
    if script.malformed_after == place:
        await exchange.write(reply.malformed)
    if script.error_after == place:
        error = Refused(
            500, script.message or "EngineCore encountered an issue. See stack trace (above) for the root cause."
        )
        for event in failure(reply, error):
            await exchange.write(event)
        await exchange.finish()
        return True
    if script.stall_after == place:
        await exchange.forever()
    if script.cut_after == place:
        if script.cut == "eos":
            await exchange.finish()
        else:
            _cut(exchange, script)
        return True
    return False


def _cut(exchange: Exchange, script: Script) -> None:
    if script.cut == "rst":
        exchange.reset()
    else:
        exchange.close()
