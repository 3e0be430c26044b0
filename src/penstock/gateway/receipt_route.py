"""`GET /receipts/{id}`: a tenant's own receipt, with the proof that it is in the log.

A request whose receipt is on its way to the log is told to ask again. Nobody learns whether another tenant has that id.
"""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from penstock.errors import BadLog, BadNote, PenstockError, Unavailable, UnknownReceipt, UnknownRoute
from penstock.gateway.line import Line
from penstock.receipts import keys, proof
from penstock.receipts.folder import CHECKPOINT
from penstock.receipts.store import Store
from penstock.receipts.writer import LOG
from penstock.types import Caller


class ReceiptRoutes:
    """What the application asks of the folder of receipts."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def one(self, request: Request) -> Response:
        """The receipt, its salt and its proof."""
        settings = self._line.config.receipts
        if settings is None:
            raise UnknownRoute("This gateway writes no receipts.", hint="`receipts` in penstock.yaml turns them on.")
        caller: Caller = request.scope["penstock.caller"]
        found = await asyncio.to_thread(_proven, Path(settings.folder), request.path_params["id"], caller.tenant)
        return Response(found, media_type="application/json", headers={"cache-control": "no-store"})


def _proven(place: Path, request: str, tenant: str) -> bytes:
    try:
        found = _found(place, request, tenant) if (place / LOG / CHECKPOINT).exists() else None
    except (BadLog, BadNote, sqlite3.Error, OSError) as error:
        told = error.message if isinstance(error, PenstockError) else str(error)
        raise Unavailable(f"Reading the receipt {request[:128]!r}: {told}", retry_after=1) from None
    if found is None:
        hint = "A request is logged within a second of its end."
        raise UnknownReceipt(f"There is no receipt {request[:128]!r} of yours.", hint=hint, retry_after=1)
    return found


def _found(place: Path, request: str, tenant: str) -> bytes | None:
    store = Store(place)
    try:
        kept = store.find(request, tenant)
    finally:
        store.close()
    if kept is None:
        return None
    head, tree = proof.head_of(place / LOG, keys.public(place))
    return proof.encode(proof.make(kept, tree, head)) if kept.place < tree.size else None
