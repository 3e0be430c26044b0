"""What is new in the spool: requests that ended, requests that are still open, and files that will never say more."""

from __future__ import annotations

from pathlib import Path

from penstock.receipts import spool
from penstock.receipts.spool import Closed, Opened
from penstock.receipts.store import Progress

CHUNK = 4 << 20
"""Bytes of one spool file in one batch."""


class Gathered:
    """One batch; `opened` are the requests that the store knows as begun."""

    def __init__(self, opened: dict[tuple[str, int], bytes]) -> None:
        self._opened = opened
        self.lines: list[Closed | Opened] = []
        self.progress = Progress()
        self.lost = 0
        """Requests whose end nobody saw."""
        self.torn = 0
        """Lines that were none."""

    def read(self, path: Path, place: int) -> None:
        """What a file says from this place on."""
        with path.open("rb", buffering=0) as file:
            # Asked before it is read: then what is in it now is all there will ever be.
            abandoned = spool.abandoned(file.fileno())
            file.seek(place)
            data = file.read(CHUNK) or b""
        end = data.rfind(b"\n") + 1
        if len(data) == CHUNK:
            abandoned = False  # there is more to read first
            end = end or CHUNK  # a line longer than any of ours
        begun = self._lines(path.name, data[:end])
        if end:
            self.progress.places[path.name] = place + end
        if abandoned:
            self.torn += len(data) > end
            self._end(path.name, begun)
        else:
            self.progress.opened.extend((path.name, number, text) for number, text in begun.items())

    def _lines(self, name: str, data: bytes) -> dict[int, bytes]:
        """The requests that these lines leave open."""
        begun: dict[int, bytes] = {}
        for text in data.split(b"\n"):
            line = spool.read(text) if text else None
            if isinstance(line, Opened):
                begun[line.number] = text
            elif line is not None:
                self.lines.append(line)
                if begun.pop(line.number, None) is None and self._opened.pop((name, line.number), None) is not None:
                    self.progress.closed.append((name, line.number))
            elif text:
                self.torn += 1
        return begun

    def _end(self, name: str, begun: dict[int, bytes]) -> None:
        """Nobody writes into this file any more: what is open in it is lost."""
        earlier = [key for key in self._opened if key[0] == name]
        for text in [*(self._opened[key] for key in earlier), *begun.values()]:
            line = spool.read(text)
            if isinstance(line, Opened):
                self.lines.append(line)
                self.lost += 1
        self.progress.closed.extend(earlier)
        self.progress.places.setdefault(name, 0)
        self.progress.done.append(name)
