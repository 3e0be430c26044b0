"""Whether a copied folder is the log that its key signed: every entry, every tile, every receipt, and other checkpoints.

Needs the folder and the public key alone. What is wrong is named with the first entry of which that is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from penstock.errors import BadLog, BadNote, BadReceipt
from penstock.receipts import checkpoint, folder, merkle, receipt
from penstock.receipts.checkpoint import Checkpoint
from penstock.receipts.export import RECEIPTS, Line
from penstock.receipts.folder import CHECKPOINT, Folder
from penstock.receipts.note import Verifier
from penstock.receipts.tiles import HEIGHT, WIDTH

KINDS = ("checkpoint", "truncated", "forked", "entry", "tile", "root", "receipt")
"""What a finding can be, what says most first."""
MOST = 100
"""Findings after which no more are looked for."""
_line = msgspec.json.Decoder(Line).decode


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it was signed."""

    kind: str
    """One of `KINDS`."""
    message: str
    at: int | None = None
    """The first entry concerned, where that is known."""


class Report(msgspec.Struct):
    """What verifying a folder came to."""

    origin: str = ""
    size: int = 0
    receipts: int = 0
    findings: list[Finding] = msgspec.field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.findings

    @property
    def first(self) -> Finding | None:
        """The one with the first bad entry; one that names none where no other does."""
        return min(self.findings, key=lambda one: (one.at is None, one.at or 0, KINDS.index(one.kind)), default=None)

    def add(self, kind: str, message: str, at: int | None = None) -> None:
        self.findings.append(Finding(kind, message, at))


class Trust(msgspec.Struct, frozen=True):
    """Whom an auditor believes."""

    log: Verifier
    witnesses: tuple[Verifier, ...] = ()
    need: int = 0
    """How many of the witnesses must have signed."""

    def checked(self, data: bytes) -> Checkpoint:
        return checkpoint.verified(data, self.log, self.witnesses, self.need)


def verify(place: Path, trust: Trust, others: Sequence[bytes] = ()) -> Report:
    """Look at everything; `others` are checkpoints of the same log from elsewhere, older or later."""
    report = Report(origin=trust.log.name)
    try:
        head = trust.checked(folder.read(place / CHECKPOINT))
    except FileNotFoundError:
        report.add("checkpoint", f"{place} has no checkpoint.")
        return report
    except (BadNote, BadLog) as error:
        report.add("checkpoint", error.message)
        return report
    report.size = head.size
    tree = Folder(place, head.size)
    roots = _leaves(tree, report, _Receipts(place / RECEIPTS, report))
    _above(tree, report, roots)
    if report.good and tree.root() != head.root:
        report.add("root", f"The tree of these {head.size} entries is not the one that was signed.")
    for data in others:
        _compare(tree, head, data, trust, report)
    if (found := report.first) is not None and found.at is None:
        _narrow(tree, trust, others, report)
    return report


def _leaves(tree: Folder, report: Report, receipts: _Receipts) -> list[bytes]:
    """Entries against the tiles above them; the roots of the full tiles."""
    roots = []
    for index in range(-(-tree.size // WIDTH)):
        if len(report.findings) >= MOST:
            break
        begin = index * WIDTH
        try:
            entries, hashes = tree.entries(index), tree.hashes(0, index)
        except BadLog as error:
            report.add("entry", error.message, begin if error.at is None else error.at)
            roots.append(b"")
            receipts.skip(begin + WIDTH)
            continue
        found = [sha256(b"\x00" + one).digest() for one in entries]
        if found != hashes:
            at = begin + next(at for at, pair in enumerate(zip(found, hashes, strict=True)) if pair[0] != pair[1])
            report.add("entry", f"Entry {at} is not the one whose hash its tile has.", at)
        receipts.compare(begin, entries)
        roots.append(merkle.complete_root(hashes) if len(hashes) == WIDTH else b"")
    receipts.rest(tree.size)
    return roots


def _above(tree: Folder, report: Report, roots: list[bytes]) -> None:
    """Every tile against the one above it."""
    level = 1
    while (size := tree.size >> HEIGHT * level) and len(report.findings) < MOST:
        above = []
        for index in range(-(-size // WIDTH)):
            try:
                hashes = tree.hashes(level, index)
            except BadLog as error:
                first = index << HEIGHT * (level + 1)
                report.add("tile", error.message, first if error.at is None else error.at)
                return
            for at, one in enumerate(hashes):
                child = index * WIDTH + at
                if child < len(roots) and roots[child] and roots[child] != one:
                    first = child << HEIGHT * level
                    last = (child + 1 << HEIGHT * level) - 1
                    report.add(
                        "tile",
                        f"The tile of entries {first} to {last} is not the one that the tile above it has.",
                        first,
                    )
            above.append(merkle.complete_root(hashes) if len(hashes) == WIDTH else b"")
        roots = above
        level += 1


def _compare(tree: Folder, head: Checkpoint, data: bytes, trust: Trust, report: Report) -> None:
    """With a checkpoint from elsewhere: it must be of this tree, as it was or as it is; a later one shows what is missing."""
    try:
        other = trust.checked(data)
    except BadNote as error:
        report.add("checkpoint", f"Another checkpoint: {error.message}")
        return
    if other.size > tree.size:
        report.add(
            "truncated",
            f"Entries {tree.size} to {other.size - 1} are missing: a checkpoint of {other.size} entries was signed.",
            tree.size,
        )
    elif other.size == head.size:
        if other.root != head.root:
            report.add("forked", f"Two trees of {head.size} entries were signed.")
    elif report.good and Folder(tree.place, other.size).root() != other.root:
        report.add("forked", f"The first {other.size} entries are not those that were signed before.")


def _narrow(tree: Folder, trust: Trust, others: Sequence[bytes], report: Report) -> None:
    """Nobody knows which entry is bad: older checkpoints say up to where all is as it was."""
    good = 0
    for data in others:
        try:
            other = trust.checked(data)
            if good < other.size <= tree.size and Folder(tree.place, other.size).root() == other.root:
                good = other.size
        except (BadNote, BadLog):
            continue
    if good:
        report.add("root", f"Up to entry {good - 1} all is as it was signed; the first bad one comes after it.", good)


class _Receipts:
    """The receipts of an export, read along with the bundles."""

    def __init__(self, path: Path, report: Report) -> None:
        self._report = report
        self._lines = self._read(path)
        self._next = next(self._lines, None)
        self._last = -1

    def _read(self, path: Path) -> Iterator[Line]:
        if not path.is_file():
            return
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if len(self._report.findings) >= MOST:
                    return
                try:
                    yield _line(text)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    self._report.add("receipt", f"Line {number} of {path.name} is no receipt.")

    def compare(self, begin: int, entries: list[bytes]) -> None:
        """Those whose place is in this bundle."""
        while (line := self._next) is not None and line.place < begin + len(entries):
            self._check(line, entries[line.place - begin] if line.place >= begin else b"")
            self._next = next(self._lines, None)

    def skip(self, end: int) -> None:
        """Those of a bundle that is unreadable."""
        while (line := self._next) is not None and line.place < end:
            self._last = max(self._last, line.place)
            self._next = next(self._lines, None)

    def _check(self, line: Line, entry: bytes) -> None:
        place = line.place
        if place <= self._last:
            self._report.add(
                "receipt", f"The receipt of entry {place} comes after that of entry {self._last}.", max(place, 0)
            )
            return
        self._last = place
        self._report.receipts += 1
        data = bytes(line.receipt)
        try:
            if receipt.entry(bytes.fromhex(line.salt), data) == entry:
                receipt.read(data)
                return
            self._report.add("receipt", f"The receipt of entry {place} is not the one that was logged there.", place)
        except BadReceipt as error:
            self._report.add("receipt", f"Entry {place}: {error.message}", place)
        except ValueError:
            self._report.add("receipt", f"The salt of entry {place} is none.", place)

    def rest(self, size: int) -> None:
        """Receipts of entries that the log does not have."""
        while (line := self._next) is not None and len(self._report.findings) < MOST:
            self._report.add(
                "receipt", f"There is a receipt of entry {line.place}, and the log has {size}.", max(line.place, 0)
            )
            self._next = next(self._lines, None)
