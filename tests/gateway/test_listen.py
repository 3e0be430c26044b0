"""Listening sockets: how many connections wait for somebody to take them in."""

from __future__ import annotations

import contextlib
import socket

from penstock.gateway.listen import bind, waiting


def test_the_accept_queue_is_told() -> None:
    """A process that leaves must know that nobody it was promised to is left in it."""
    with contextlib.ExitStack() as life:
        (listener,) = map(life.enter_context, bind(["127.0.0.1:0"], takeover=False))
        listener.listen(8)
        assert waiting(listener) == 0
        for _ in range(3):
            life.enter_context(socket.create_connection(listener.getsockname(), 10))
        assert waiting(listener) == 3
        life.enter_context(listener.accept()[0])
        assert waiting(listener) == 2
