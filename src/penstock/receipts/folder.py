"""A log's folder as it is read: its checkpoint, tiles and bundles, wherever it was copied to. Writes nothing."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

from penstock.errors import BadLog
from penstock.receipts import merkle, tiles
from penstock.receipts.merkle import SIZE
from penstock.receipts.tiles import HEIGHT, WIDTH

CHECKPOINT = "checkpoint"
CACHED = 64
"""Tiles kept in memory, of 8 KiB."""


class Folder:
    """The files of one log, as a tree of a given size needs them."""

    def __init__(self, place: Path, size: int) -> None:
        self.place = place
        self.size = size
        self._cache: OrderedDict[tuple[int, int], list[bytes]] = OrderedDict()

    def width(self, level: int, index: int) -> int:
        """How many hashes of this tile belong to the tree."""
        return max(0, min(WIDTH, (self.size >> HEIGHT * level) - index * WIDTH))

    def hashes(self, level: int, index: int) -> list[bytes]:
        """A tile; raises `BadLog`."""
        found = self._cache.get((level, index))
        if found is None:
            width = self.width(level, index)
            name, data = self._bytes(level, index, width, SIZE)
            found = self._cache[level, index] = tiles.hashes_of(data, width, name)
            if len(self._cache) > CACHED:
                self._cache.popitem(last=False)
        return found

    def entries(self, index: int) -> list[bytes]:
        """A bundle; raises `BadLog` with the number of the first entry that is wrong."""
        width = self.width(0, index)
        name, data = self._bytes(tiles.ENTRIES, index, width, tiles.RECORD)
        try:
            return tiles.entries_of(data, width, name)
        except BadLog as error:
            raise BadLog(error.message, at=index * WIDTH + (error.at or 0)) from None

    def _bytes(self, level: int | str, index: int, width: int, each: int) -> tuple[str, bytes]:
        name = tiles.path(level, index, width)
        try:
            return name, read(self.place / name)
        except FileNotFoundError:
            if width == WIDTH:
                raise self._missing(name, level, index) from None
        # It may be gone once a wider one is published: the full one, or that of a later checkpoint.
        for wider in (WIDTH, *self._wider(level, index, width)):
            whole = tiles.path(level, index, wider)
            try:
                return whole, read(self.place / whole)[: width * each]
            except FileNotFoundError:
                continue
        raise self._missing(name, level, index)

    def _wider(self, level: int | str, index: int, width: int) -> list[int]:
        try:
            names = {one.name for one in (self.place / f"{tiles.path(level, index)}.p").iterdir()}
        except OSError:
            return []
        return [one for one in range(width + 1, WIDTH) if str(one) in names][:1]

    def _missing(self, name: str, level: int | str, index: int) -> BadLog:
        first = index << HEIGHT * ((level if isinstance(level, int) else 0) + 1)
        return BadLog(f"Reading {self.place}: {name} is missing; a tree of {self.size} entries has it.", at=first)

    def subtree(self, level: int, index: int) -> bytes:
        """`merkle.Subtree` over the tiles."""
        tile, inside = divmod(level, HEIGHT)
        first = index << inside
        hashes = self.hashes(tile, first // WIDTH)
        begin = first % WIDTH
        return merkle.complete_root(hashes[begin : begin + (1 << inside)])

    def root(self) -> bytes:
        return merkle.root(self.size, self.subtree)

    def inclusion(self, index: int) -> list[bytes]:
        return merkle.inclusion(index, self.size, self.subtree)

    def consistency(self, old: int) -> list[bytes]:
        """That the first `old` entries are an older tree's."""
        return merkle.consistency(old, self.size, self.subtree)


LONGEST = 1 << 20


def read(place: Path) -> bytes:
    """A small file as it is now; a link is not followed and a long one is not read: a copied folder may hold anything."""
    try:
        number = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadLog(f"Reading {place}: {error.strerror}.") from None
    parts, size = [], 0
    try:
        while size <= LONGEST and (part := os.read(number, LONGEST + 1 - size)):
            parts.append(part)
            size += len(part)
    except OSError as error:
        raise BadLog(f"Reading {place}: {error.strerror}.") from None
    finally:
        os.close(number)
    data = b"".join(parts)
    if len(data) > LONGEST:
        raise BadLog(f"Reading {place}: it is longer than {LONGEST} bytes.")
    return data
