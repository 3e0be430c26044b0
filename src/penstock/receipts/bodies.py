"""Requests and answers of an export, opened by an auditor and held against their receipts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from penstock.errors import BadReceipt
from penstock.receipts import receipt, sealed
from penstock.receipts.export import BODIES, KEYS, RECEIPTS, BodyLine, Line
from penstock.receipts.receipt import Receipt
from penstock.receipts.writer import SEALED


class Opened(msgspec.Struct, frozen=True):
    """What was asked and what was answered, as the receipt says."""

    place: int
    receipt: Receipt
    request: bytes
    answer: bytes


def opened(place: Path, auditor: X25519PrivateKey | None) -> Iterator[Opened]:
    """Every body of an export, in the order of the log; raises `BadReceipt` for the first that is not its receipt's."""
    keys = _keys(place / KEYS)
    receipts = _receipts(place / RECEIPTS)
    with (place / BODIES).open("rb") as file:
        for text in file:
            line = msgspec.json.decode(text, type=BodyLine)
            salt, found = receipts[line.place]
            request, answer = (_open(one, keys.get(found.tenant), auditor) for one in line.bodies)
            for said, body in ((found.prompt, request), (found.answer, answer)):
                if body and said != receipt.salted(salt, sha256(body).hexdigest()):
                    raise BadReceipt(f"Opening the bodies of entry {line.place}: they are not those of its receipt.")
            yield Opened(line.place, found, request, answer)


def _open(text: str, key: bytes | None, auditor: X25519PrivateKey | None) -> bytes:
    try:
        data = base64.b64decode(text.removeprefix(SEALED), validate=True)
    except (binascii.Error, ValueError):
        raise BadReceipt("Opening a body: it is no base64.") from None
    if not text.startswith(SEALED):
        return data
    if key is None or auditor is None:
        raise BadReceipt(
            "Opening a body: it is sealed.", hint="It takes the auditor's secret key, and keys.json of the export."
        )
    return sealed.opened(data, key, auditor)


def _keys(path: Path) -> dict[str, bytes]:
    if not path.is_file():
        return {}
    return {
        name: bytes.fromhex(one) for name, one in msgspec.json.decode(path.read_bytes(), type=dict[str, str]).items()
    }


def _receipts(path: Path) -> dict[int, tuple[bytes, Receipt]]:
    with path.open("rb") as file:
        lines = [msgspec.json.decode(text, type=Line) for text in file]
    return {line.place: (bytes.fromhex(line.salt), receipt.read(bytes(line.receipt))) for line in lines}
