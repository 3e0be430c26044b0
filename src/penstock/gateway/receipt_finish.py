"""The part of a receipt that takes longer: large digests, tool calls, bodies sealed before they touch a disk. In a thread."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from penstock.gateway.receipt_tools import tool_calls
from penstock.receipts import sealed
from penstock.receipts.writer import SEALED

if TYPE_CHECKING:
    from hashlib import _Hash

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    from penstock.receipts.spool import Closed


class Bodies(msgspec.Struct, frozen=True):
    """What of them is kept."""

    most: int
    auditor: X25519PublicKey | None
    """Who can read them; None where everybody who has the file can."""


def finish(line: Closed, request: bytes | None, answer: bytes, digest: _Hash | None, kept: Bodies | None) -> None:
    """Fill in what a request's end left out."""
    if request is not None and line.prompt is None:
        line.prompt = sha256(request).hexdigest()
    if answer or digest is not None:
        total = digest.copy() if digest is not None else sha256()
        total.update(answer)
        line.answer = total.hexdigest()
    line.tools = tool_calls(answer)
    # What of the answer was digested and forgotten was too long to be kept.
    if kept is not None and request is not None and digest is None and max(len(request), len(answer)) <= kept.most:
        line.bodies = (_body(request, kept), _body(answer, kept))


def _body(text: bytes, kept: Bodies) -> str:
    if kept.auditor is None:
        return base64.b64encode(text).decode()
    return SEALED + base64.b64encode(sealed.seal(text, kept.auditor)).decode()
