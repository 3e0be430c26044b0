"""The client of a request that has a copy: the caller's answer passes through here, and is not held up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.gateway.client import Client, Headers
    from penstock.gateway.shadow_copy import Copy


class Tap:
    """Everything goes on to the client at once, and is remembered afterwards."""

    __slots__ = ("_client", "_copy")

    def __init__(self, client: Client, copy: Copy) -> None:
        self._client = client
        self._copy = copy

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer."""
        self._client.answer(status, headers, body)
        self._copy.saw(body)

    def begin(self, status: int, headers: Headers) -> None:
        """The head of a stream."""
        self._client.begin(status, headers)

    def write(self, data: bytes) -> None:
        """A piece of it."""
        self._client.write(data)
        self._copy.saw(data)

    def end(self, data: bytes) -> None:
        """The last piece."""
        self._client.end(data)
        self._copy.saw(data)
