"""The connections: TLS, bounds, processes that fork."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import trustme
from tests.client.conftest import FAST, Ways

from penstock.client import transport_async, transport_blocking, wire
from penstock.client.failures import ConnectFailed, TookTooLong
from penstock.client.plain import VLLMClient
from penstock.errors import BrokenAnswer
from penstock.faults.engine import Engine
from penstock.faults.script import Script

BODY = b'{"choices": [{"index": 0, "message": {"content": "safe"}, "finish_reason": "stop"}]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY


@pytest_asyncio.fixture
async def secure(tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """A server with a certificate of its own authority: its URL, and the authority's file."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", str(file)


async def test_tls(ways: Ways, secure: tuple[str, str]) -> None:
    """An authority of one's own, none at all, and the refusal of a certificate that nobody vouches for."""
    url, authority = secure
    assert await ways.ask(VLLMClient("m", base_url=url, verify=authority), "hello") == "safe"
    assert await ways.ask(VLLMClient("m", base_url=url, verify=False), "hello") == "safe"
    with pytest.raises(ConnectFailed, match="certificate"):
        await ways.ask(VLLMClient("m", base_url=url, retry_attempts=1), "hello")


async def test_an_answer_without_end_is_bounded(
    ways: Ways, scripted_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_blocking, "BODY_LIMIT", 1000)
    monkeypatch.setattr(transport_async, "BODY_LIMIT", 1000)
    scripted_engine.script = Script(body="x" * 200_000, content_type="application/json")
    with pytest.raises(BrokenAnswer, match="passed 1000 bytes"):
        await ways.ask(VLLMClient("m", base_url=scripted_engine.url, **{**FAST, "retry_attempts": 1}), "hello")  # type: ignore[arg-type]


async def test_waiting_for_a_connection_is_bounded(scripted_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all are in use, the deadline holds for the wait too."""
    monkeypatch.setattr(transport_async, "CONNECTIONS", 1)
    gate = scripted_engine.hold(before=0)
    client = VLLMClient("m", base_url=scripted_engine.url)
    first = asyncio.create_task(client.ainvoke("one"))
    await scripted_engine.seen(1)
    with pytest.raises(TookTooLong, match="no connection was free"):
        await client.ainvoke("two", timeout=0.2)
    gate.open()
    assert await first == "one"
    await client.aclose()


def test_the_keep_alive_is_shorter_than_vllms() -> None:
    """S1.15: vLLM closes idle connections after 5 s; ours are gone before."""
    assert wire.KEEP_ALIVE < 5


async def test_an_idle_connection_is_not_kept_for_ever(
    ways: Ways, scripted_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_blocking, "KEEP_ALIVE", 0.0)
    monkeypatch.setattr(transport_async, "KEEP_ALIVE", 0.0)
    client = VLLMClient("m", base_url=scripted_engine.url)
    await ways.ask(client, "one")
    await ways.ask(client, "two")
    assert scripted_engine.accepted == 2


FORKING = """
import os, sys
from penstock.client.plain import VLLMClient
client = VLLMClient("m", base_url=sys.argv[1])
assert client.invoke("parent") == "parent"
child = os.fork()
assert client.invoke("both") == "both"
if child:
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
"""


async def test_a_forked_process_has_connections_of_its_own(scripted_engine: Engine) -> None:
    """Parent and child never write on one connection."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", FORKING, scripted_engine.url), stderr=subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, said) == (0, b"")
    assert scripted_engine.accepted == 2
    assert len(scripted_engine.requests) == 3
