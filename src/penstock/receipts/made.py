"""Receipts out of what a gateway noted of a request, each with a salt of its own. Pure but for the salts."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from penstock.receipts import receipt
from penstock.receipts.receipt import LOST, SALT, Receipt, Step, Timings, Tool, Usage, Verdict
from penstock.receipts.spool import Closed, Opened

_NEVER = Timings()


class Made(msgspec.Struct, frozen=True, gc=False):
    """A receipt as the store keeps it."""

    id: str
    tenant: str
    time: int
    entry: bytes
    salt: bytes
    data: bytes
    """Canonical."""
    bodies: tuple[str, str] | None


def made(lines: Sequence[Closed | Opened], salts: bytes = b"") -> list[Made]:
    """In the same order; a request that was only opened is lost. Salts are new ones but for vectors."""
    salts = salts or os.urandom(SALT * len(lines))
    return [_one(line, salts[at * SALT : (at + 1) * SALT]) for at, line in enumerate(lines)]


def _one(line: Closed | Opened, salt: bytes) -> Made:
    found = _closed(line, salt) if isinstance(line, Closed) else _lost(line, salt)
    data = receipt.canonical(found)
    bodies = line.bodies if isinstance(line, Closed) else None
    return Made(line.id, line.tenant, line.time, receipt.entry(salt, data), salt, data, bodies)


def _closed(line: Closed, salt: bytes) -> Receipt:
    return Receipt(
        adapter=line.adapter,
        alias=line.alias,
        answer=receipt.salted(salt, line.answer),
        attempts=line.attempts,
        backend=line.backend,
        caller=line.caller,
        digest=line.digest,
        error=line.error,
        fallback=tuple(Step(*one) for one in line.fallback),
        finish=line.finish,
        id=line.id,
        key=line.key,
        model=line.model,
        outcome=line.outcome,
        path=line.path,
        prompt=receipt.salted(salt, line.prompt),
        status=line.status,
        stream=line.stream,
        target=line.target,
        tenant=line.tenant,
        time=receipt.when(line.time),
        timings=Timings(line.first, line.queued, line.sent, line.total),
        tools=tuple(Tool(receipt.salted(salt, digest) or "", name) for name, digest in line.tools),
        usage=Usage(line.usage[1], line.usage[0]) if line.usage is not None else None,
        verdicts=tuple(Verdict(*one) for one in line.verdicts),
    )


def _lost(line: Opened, salt: bytes) -> Receipt:
    return Receipt(
        adapter=None,
        alias=line.alias,
        answer=None,
        attempts=1,
        backend=line.backend,
        caller=line.caller,
        digest=line.digest,
        error="The gateway's process ended before this request did.",
        fallback=(),
        finish=LOST,
        id=line.id,
        key=line.key,
        model=line.model,
        outcome=LOST,
        path=line.path,
        prompt=receipt.salted(salt, line.prompt),
        status=0,
        stream=line.stream,
        target=line.target,
        tenant=line.tenant,
        time=receipt.when(line.time),
        timings=_NEVER,
        tools=(),
        usage=None,
        verdicts=(),
    )
