"""The client of a streamed request whose caller has limits: counts the events that pass, for an answer that is left or breaks.

An engine says what it counted at the end; who leaves before that has had the tokens all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.types import Face

if TYPE_CHECKING:
    from penstock.gateway.client import Client, Headers


class Meter:
    """Everything goes on to the client at once."""

    __slots__ = ("_client", "_end", "events")

    def __init__(self, client: Client, face: Face) -> None:
        self._client = client
        self._end = b"\n" if face is Face.OLLAMA else b"\n\n"
        self.events = 0
        """An engine sends one event for each token, as a rule."""

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer."""
        self._client.answer(status, headers, body)

    def begin(self, status: int, headers: Headers) -> None:
        """The head of a stream."""
        self._client.begin(status, headers)

    def write(self, data: bytes) -> None:
        """A piece of it."""
        self.events += data.count(self._end)
        self._client.write(data)

    def end(self, data: bytes) -> None:
        """The last piece."""
        self._client.end(data)
