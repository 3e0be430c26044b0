"""The process behind a listening port."""

from __future__ import annotations

import os
import socket

from penstock.gateway.port_owner import port_owner


def test_a_port_of_our_own_names_our_own_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert f"process {os.getpid()}, " in port_owner(listener.getsockname()[1])


def test_a_connection_is_not_a_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        assert port_owner(client.getsockname()[1]) == ""


def test_a_port_that_nobody_holds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert port_owner(port) == ""
