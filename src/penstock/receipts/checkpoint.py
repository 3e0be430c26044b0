"""The head of a log (C2SP tlog-checkpoint): who, how many entries, and the root of their tree, as a signed note."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

import msgspec

from penstock.errors import BadNote
from penstock.receipts import note
from penstock.receipts.merkle import SIZE

_LINES = 3
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


class Checkpoint(msgspec.Struct, frozen=True):
    """What a log says of itself."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def signed(self, signer: note.Signer) -> bytes:
        text = self.text()
        return note.Note(text, (signer.sign(text),)).encode()


def read(text: str) -> Checkpoint:
    """The first three lines of a note; extension lines are signed, and mean nothing here."""
    lines = text.split("\n")
    if len(lines) < _LINES + 1 or not all(lines[:-1]) or not _DECIMAL.fullmatch(lines[1]):
        raise BadNote("Reading a checkpoint: it does not begin with an origin, a size and a root.")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except (binascii.Error, ValueError):
        root = b""
    if len(root) != SIZE or base64.b64encode(root).decode() != lines[2]:
        raise BadNote(f"Reading a checkpoint: {lines[2][:60]!r} is no root.")
    return Checkpoint(lines[0], int(lines[1]), root)


def verified(data: bytes, log: note.Verifier, witnesses: Sequence[note.Verifier] = (), need: int = 0) -> Checkpoint:
    """The checkpoint behind these bytes, signed by this log and by `need` of these witnesses; else `BadNote`."""
    parsed = note.parse(data)
    if log.kind != note.ED25519 or not log.accepts(parsed):
        raise BadNote(f"Verifying a checkpoint: it is not signed by {log.name}.", hint="Is this the key of this log?")
    note.vouched(parsed, witnesses, need)
    found = read(parsed.text)
    if found.origin != log.name:
        raise BadNote(f"Verifying a checkpoint: it is of the log {found.origin!r}, not of {log.name!r}.")
    return found
