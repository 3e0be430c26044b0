"""One receipt with what proves it, as a file that travels alone (C2SP tlog-proof inside).

Whoever has it and the log's public key needs nothing else, and learns nothing of other receipts.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from penstock.errors import BadLog, BadNote, BadReceipt
from penstock.receipts import checkpoint, merkle, receipt
from penstock.receipts.checkpoint import Checkpoint
from penstock.receipts.folder import CHECKPOINT, Folder, read
from penstock.receipts.merkle import SIZE
from penstock.receipts.note import Verifier
from penstock.receipts.receipt import Receipt
from penstock.receipts.store import Kept

_FIRST = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
MOST = 64
"""Hashes of one proof."""


class Proven(msgspec.Struct, frozen=True):
    """As it is sent and kept: JSON with the receipt byte for byte."""

    receipt: msgspec.Raw
    salt: str
    """In hexadecimal."""
    proof: str
    """C2SP tlog-proof: index, inclusion proof and checkpoint."""


def make(kept: Kept, tree: Folder, head: bytes) -> Proven:
    """Of a receipt that is in the tree that this checkpoint is the head of."""
    lines = [base64.b64encode(one).decode() for one in tree.inclusion(kept.place)]
    text = "\n".join([_FIRST, f"index {kept.place}", *lines, "", head.decode()])
    return Proven(msgspec.Raw(kept.data), kept.salt.hex(), text)


def encode(proven: Proven) -> bytes:
    return msgspec.json.encode(proven)


def decode(data: bytes) -> Proven:
    try:
        return msgspec.json.decode(data, type=Proven)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadReceipt(f"Reading a proven receipt: {error}.") from None


def verify(
    proven: Proven, log: Verifier, witnesses: Sequence[Verifier] = (), need: int = 0
) -> tuple[Receipt, int, Checkpoint]:
    """The receipt, its place and the checkpoint that vouches for it; raises `BadReceipt`, `BadNote` or `BadLog`."""
    index, path, head = _parsed(proven.proof)
    made = checkpoint.verified(head, log, witnesses, need)
    data = bytes(proven.receipt)
    found = receipt.read(data)
    try:
        salt = bytes.fromhex(proven.salt)
    except ValueError:
        salt = b""
    if len(salt) != receipt.SALT:
        raise BadReceipt("Reading a proven receipt: its salt is not 32 bytes in hexadecimal.")
    leaf = merkle.leaf_hash(receipt.entry(salt, data))
    if not merkle.included(leaf, index, made.size, path, made.root):
        raise BadLog(f"Verifying the receipt {found.id}: it is not entry {index} of this log.", at=index)
    return found, index, made


def _parsed(text: str) -> tuple[int, list[bytes], bytes]:
    body, mark, head = text.partition("\n\n")
    lines = body.split("\n")
    if lines and lines[1:2] and lines[1].startswith("extra "):
        del lines[1]
    index = _INDEX.fullmatch(lines[1]) if len(lines) > 1 else None
    if not mark or lines[0] != _FIRST or index is None or len(lines) > MOST + 2:
        raise BadNote(f"Reading a proof: it does not begin with {_FIRST} and an index.")
    try:
        path = [base64.b64decode(line, validate=True) for line in lines[2:]]
    except (binascii.Error, ValueError):
        path = [b""]
    if any(len(one) != SIZE for one in path):
        raise BadNote("Reading a proof: one of its hashes is none.")
    return int(index[1]), path, head.encode()


def head_of(place: Path, log: Verifier) -> tuple[bytes, Folder]:
    """The checkpoint of a log's folder as it is now, and the tree below it."""
    try:
        data = read(place / CHECKPOINT)
    except FileNotFoundError:
        raise BadLog(f"Reading the log in {place}: it has no checkpoint.") from None
    return data, Folder(place, checkpoint.verified(data, log).size)
