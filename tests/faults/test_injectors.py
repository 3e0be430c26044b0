"""What breaks things breaks them as it says."""

from __future__ import annotations

import asyncio

import pytest

from penstock.faults.engine import Engine
from penstock.faults.gateways import free_port
from penstock.faults.injectors.listeners import black_hole, rude
from penstock.faults.injectors.names import Names

QUESTION = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01"


async def test_a_black_hole_answers_no_syn() -> None:
    port = free_port()
    with black_hole(port), pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.parametrize("read", [True, False])
async def test_a_rude_listener_resets_or_closes(read: bool) -> None:  # noqa: FBT001 - a parameter of the test
    port = free_port()
    async with rude(port, "fin", read=read):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x")
        assert await reader.read() == b""
        writer.close()
    async with rude(port, "rst", read=read):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x")
        with pytest.raises(ConnectionError):
            await reader.read()
        writer.close()


async def test_an_engine_may_listen_on_any_loopback_address() -> None:
    engine = Engine()
    engine.host = "127.0.0.9"
    async with engine:
        assert engine.url == f"http://127.0.0.9:{engine.port}"
        _, writer = await asyncio.open_connection("127.0.0.9", engine.port)
        writer.close()


class _Wire(asyncio.DatagramTransport):
    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def sendto(self, data: object, addr: object = None) -> None:
        del addr
        self.sent.append(bytes(data))  # type: ignore[call-overload]  # bytes, as Names sends them


def test_names_are_told_moved_and_denied() -> None:
    names, wire = Names(), _Wire()
    names.connection_made(wire)
    names.addresses["a.test"] = ["127.0.0.7"]
    names.datagram_received(QUESTION, ("127.0.0.1", 1))
    assert wire.sent[-1].endswith(b"\x00\x04\x7f\x00\x00\x07")
    assert wire.sent[-1][3] & 15 == 0
    del names.addresses["a.test"]
    names.datagram_received(QUESTION, ("127.0.0.1", 1))
    assert wire.sent[-1][3] & 15 == 3
    names.silent = True
    names.datagram_received(QUESTION, ("127.0.0.1", 1))
    assert len(wire.sent) == 2
    assert names.asked == ["a.test"] * 3
