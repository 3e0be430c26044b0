"""What an auditor takes away: the log as it is, and the receipts of whom it is about, in a folder of plain files.

checkpoint              signed note
tile/…                  hashes and entries
receipts.jsonl          {"place": 17, "salt": "…", "receipt": {…}}, in the order of the log
bodies.jsonl, keys.json where bodies are kept
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from penstock.errors import BadLog
from penstock.receipts import log as writing
from penstock.receipts import tiles
from penstock.receipts.folder import CHECKPOINT, Folder
from penstock.receipts.note import Verifier
from penstock.receipts.proof import head_of
from penstock.receipts.store import Store
from penstock.receipts.tiles import HEIGHT, WIDTH

RECEIPTS, BODIES, KEYS = "receipts.jsonl", "bodies.jsonl", "keys.json"


class Line(msgspec.Struct, frozen=True):
    """One receipt of an export."""

    place: int
    salt: str
    receipt: msgspec.Raw


class BodyLine(msgspec.Struct, frozen=True):
    """The bodies of one receipt: base64, after `sealed:` where they are."""

    place: int
    bodies: tuple[str, str]


def export(store: Store, log: Path, key: Verifier, to: Path, tenant: str | None) -> tuple[int, int]:
    """Write the folder; how many entries and how many receipts are in it."""
    if to.exists() and any(to.iterdir()):
        raise BadLog(f"Exporting to {to}: there is something already.", hint="Name a new folder.")
    head, tree = head_of(log, key)
    to.mkdir(parents=True, exist_ok=True)
    for name, data in _files(tree):
        place = to / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    count = _receipts(store, to, tenant, tree.size)
    writing.replace(to / CHECKPOINT, head)
    return tree.size, count


def _files(tree: Folder) -> Iterator[tuple[str, bytes]]:
    level = 0
    while size := tree.size >> HEIGHT * level:
        for index in range(-(-size // WIDTH)):
            width = tree.width(level, index)
            yield tiles.path(level, index, width), b"".join(tree.hashes(level, index))
            if level == 0:
                yield tiles.path(tiles.ENTRIES, index, width), tiles.bundle(tree.entries(index))
        level += 1


def _receipts(store: Store, to: Path, tenant: str | None, size: int) -> int:
    count = 0
    encode = msgspec.json.encode
    bodies: list[bytes] = []
    with (to / RECEIPTS).open("wb") as file:
        for kept in store.all(tenant, 0, size):
            file.write(encode(Line(kept.place, kept.salt.hex(), msgspec.Raw(kept.data))) + b"\n")
            count += 1
            if kept.bodies is not None:
                bodies.append(
                    encode(BodyLine(kept.place, msgspec.json.decode(kept.bodies, type=tuple[str, str]))) + b"\n"
                )
    if bodies:
        (to / BODIES).write_bytes(b"".join(bodies))
        keys = {name: secret.hex() for name, secret in store.secrets(tenant).items()}
        writing.replace(to / KEYS, encode(keys), 0o600)
    return count
