"""The client of a request as the line sees it: where its answer goes. A lane implements it."""

from __future__ import annotations

from typing import Protocol

Headers = list[bytes]
"""Raw lines, `name: value` with CR and LF, cut anywhere."""


class Client(Protocol):
    """Takes an answer; nothing in the line waits for it."""

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer."""

    def begin(self, status: int, headers: Headers) -> None:
        """The head of a streamed answer; may wait for the first `write`."""

    def write(self, data: bytes) -> None:
        """A piece of it."""

    def end(self, data: bytes) -> None:
        """The last piece, possibly empty."""
