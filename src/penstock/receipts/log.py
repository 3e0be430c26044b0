"""The log as it is written: entries appended in batches, made durable, and only then a checkpoint that speaks of them.

Whatever lies beyond the checkpoint was never published and is written again: so a torn tail mends itself. Opening reads
the checkpoint and the right edge of the tree alone. One writer at a time: whoever calls holds the lock (writer.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from penstock.errors import BadLog
from penstock.receipts import folder, merkle, tiles
from penstock.receipts.checkpoint import Checkpoint, verified
from penstock.receipts.folder import CHECKPOINT, Folder
from penstock.receipts.note import Signer
from penstock.receipts.tiles import HEIGHT, WIDTH

MODE = 0o644
"""The log shows digests alone; whoever serves it may read it."""


class Log:
    """One log, open for appending."""

    def __init__(self, place: Path, signer: Signer) -> None:
        self.place = place
        self._signer = signer
        self._edge: list[list[bytes]] = [[]]
        """Per level the hashes of its last tile, as long as that is not full."""
        self._entries: list[bytes] = []
        """Of the last bundle."""
        self._dirty: list[Path] = []
        self._folders: set[Path] = set()
        self.size = 0
        """Entries appended, published or not."""
        self.published = Checkpoint(signer.verifier.name, 0, merkle.EMPTY)
        place.mkdir(parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        try:
            data = folder.read(self.place / CHECKPOINT)
        except FileNotFoundError:
            self._begin()
            return
        found = self.published = verified(data, self._signer.verifier)
        self.size = found.size
        tree = Folder(self.place, found.size)
        for level, index, _ in tiles.widths(found.size):
            self._at(level).extend(tree.hashes(level, index))
            if level == 0:
                self._entries = tree.entries(index)
        if self._root() != found.root:
            raise BadLog(
                f"Opening the log in {self.place}: its last tiles do not have the root that its checkpoint of {found.size} entries has.",
                hint="`penstock audit verify` names the first bad entry; put back a copy of the folder that verifies.",
            )

    def _begin(self) -> None:
        if (self.place / "tile" / "0" / "000").exists():
            raise BadLog(
                f"Opening the log in {self.place}: there are tiles and no checkpoint.",
                hint="Put the checkpoint back, or begin a new log in an empty folder.",
            )
        self.publish()

    def _at(self, level: int) -> list[bytes]:
        while len(self._edge) <= level:
            self._edge.append([])
        return self._edge[level]

    def append(self, entries: Sequence[bytes]) -> None:
        """Add digests of 32 bytes. Nothing is durable or published before `publish`."""
        begin = 0
        while begin < len(entries):
            room = WIDTH - len(self._entries)
            some = entries[begin : begin + room]
            begin += len(some)
            self._entries.extend(some)
            self._edge[0].extend([sha256(b"\x00" + one).digest() for one in some])
            self.size += len(some)
            if len(self._entries) == WIDTH:
                self._write(tiles.ENTRIES, self.size // WIDTH - 1, WIDTH, tiles.bundle(self._entries))
                self._entries = []
                self._roll(0)

    def _roll(self, level: int) -> None:
        """The last tile of a level is full: it is written, and its root goes up."""
        hashes = self._edge[level]
        self._write(level, (self.size >> HEIGHT * (level + 1)) - 1, WIDTH, b"".join(hashes))
        above = self._at(level + 1)
        above.append(merkle.complete_root(hashes))
        self._edge[level] = []
        if len(above) == WIDTH:
            self._roll(level + 1)

    def _root(self) -> bytes:
        result = b""
        for hashes in self._edge:
            end = len(hashes)
            while end:
                width = end & -end
                peak = merkle.complete_root(hashes[end - width : end])
                result = merkle.node_hash(peak, result) if result else peak
                end -= width
        return result or merkle.EMPTY

    def publish(self) -> Checkpoint:
        """Make everything appended durable, then say so in a signed checkpoint."""
        before = self.published.size
        published = set(tiles.widths(before))
        for level, index, width in tiles.widths(self.size):
            if (level, index, width) in published:
                continue  # the last checkpoint rests on it: a kill in the middle of writing it again would tear it
            self._write(level, index, width, b"".join(self._edge[level]))
            if level == 0:
                self._write(tiles.ENTRIES, index, width, tiles.bundle(self._entries))
        self._settle()
        made = Checkpoint(self._signer.verifier.name, self.size, self._root())
        replace(self.place / CHECKPOINT, made.signed(self._signer))
        self.published = made
        self._sweep(before)
        return made

    def _write(self, level: int | str, index: int, width: int, data: bytes) -> None:
        place = self.place / tiles.path(level, index, width)
        try:
            place.write_bytes(data)
        except FileNotFoundError:
            self._make(place.parent)
            place.write_bytes(data)
        self._dirty.append(place)
        self._folders.add(place.parent)

    def _make(self, place: Path) -> None:
        missing = []
        while not place.exists():
            missing.append(place)
            place = place.parent
        for one in reversed(missing):
            one.mkdir()
            self._folders.add(one.parent)

    def _settle(self) -> None:
        sync([*self._dirty, *sorted(self._folders)])
        self._dirty.clear()
        self._folders.clear()

    def _sweep(self, before: int) -> None:
        """Partial tiles whose full one is published are of no more use."""
        for level, index, _ in tiles.widths(before):
            if self.size >> HEIGHT * (level + 1) > index:
                for name in (level, tiles.ENTRIES) if level == 0 else (level,):
                    _remove(self.place / f"{tiles.path(name, index)}.p")


def sync(places: Iterable[Path]) -> None:
    """Files and folders to the disk; raises `OSError`."""
    for place in places:
        number = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def replace(place: Path, data: bytes, mode: int = MODE) -> None:
    """A file with this content or the one it had, whatever happens meanwhile."""
    fresh = place.with_name(place.name + ".new")
    number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with open(number, "wb") as file:  # noqa: PTH123 - an open descriptor
        file.write(data)
        file.flush()
        os.fsync(number)
    fresh.replace(place)
    sync([place.parent])


def _remove(place: Path) -> None:
    if not place.is_dir():
        return
    for one in place.iterdir():
        one.unlink(missing_ok=True)
    place.rmdir()
