"""Where the hashes and entries of a log lie: C2SP's tlog-tiles, tiles of 256 hashes and bundles of 256 entries.

Names and bytes only; who reads and writes files is log.py and folder.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.errors import BadLog
from penstock.receipts.merkle import SIZE

HEIGHT = 8
WIDTH = 1 << HEIGHT
FULL = WIDTH * SIZE
ENTRIES = "entries"
ENTRY = 32
"""Bytes of an entry of ours: a digest of a receipt."""
_LENGTH = ENTRY.to_bytes(2, "big")
_HIGH, _LOW = _LENGTH[:1], _LENGTH[1:]
RECORD = 2 + ENTRY


def path(level: int | str, index: int, width: int = WIDTH) -> str:
    """Below the folder of the log, with `/`; a width below 256 names a partial tile."""
    parts = [f"{index % 1000:03d}"]
    while index := index // 1000:
        parts.append(f"x{index % 1000:03d}")
    name = f"tile/{level}/{'/'.join(reversed(parts))}"
    return name if width == WIDTH else f"{name}.p/{width}"


def widths(size: int) -> list[tuple[int, int, int]]:
    """The partial tiles of a tree of this size: (level, index, width)."""
    found, level = [], 0
    while size:
        if size % WIDTH:
            found.append((level, size // WIDTH, size % WIDTH))
        size //= WIDTH
        level += 1
    return found


def bundle(entries: Sequence[bytes]) -> bytes:
    """Entries of 32 bytes, each after its length."""
    return _LENGTH + _LENGTH.join(entries) if entries else b""


def entries_of(data: bytes, width: int, name: str) -> list[bytes]:
    """What a bundle holds; a bundle of another shape is refused with the number of the first bad entry in it."""
    if len(data) == width * RECORD and data[::RECORD] == _HIGH * width and data[1::RECORD] == _LOW * width:
        return [data[at : at + ENTRY] for at in range(2, len(data), RECORD)]
    for number in range(width):
        one = data[number * RECORD : (number + 1) * RECORD]
        if len(one) != RECORD or not one.startswith(_LENGTH):
            raise BadLog(f"Reading {name}: its entry {number} is not one of 32 bytes.", at=number)
    raise BadLog(f"Reading {name}: it holds more than {width} entries.", at=width)


def hashes_of(data: bytes, width: int, name: str) -> list[bytes]:
    """What a tile holds."""
    if len(data) != width * SIZE:
        raise BadLog(f"Reading {name}: {len(data)} bytes are not {width} hashes.", at=min(len(data) // SIZE, width))
    return [data[at : at + SIZE] for at in range(0, len(data), SIZE)]
