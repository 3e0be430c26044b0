"""One tenant's receipt out of the folder of receipts, with the proof that it is in the log. Blocking; for a thread."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from penstock.errors import BadLog, BadNote, PenstockError, Unavailable, UnknownReceipt
from penstock.receipts import keys, proof
from penstock.receipts.folder import CHECKPOINT
from penstock.receipts.store import Store
from penstock.receipts.writer import LOG


def proven(place: Path, request: str, tenant: str) -> bytes:
    """Receipt, salt and proof as one document; raises `UnknownReceipt`, or `Unavailable` where the folder cannot be read."""
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
