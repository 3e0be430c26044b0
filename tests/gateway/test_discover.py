"""Which models an engine serves, asked of real sockets; and never of ourselves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from tests.fakes.gateway import StartGateway
from tests.fakes.threads import in_thread

from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.gateway import discover
from penstock.types import Kind


async def asked(kind: Kind, url: str) -> tuple[str, ...]:
    return await in_thread(partial(discover.models, kind, url))


@asynccontextmanager
async def saying(answer: bytes, *, hang: bool = False) -> AsyncIterator[str]:
    """The URL of a server that says these bytes to everybody, and hangs up unless told to hang."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if hang:
            await done.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield "http://{}:{}".format(*server.sockets[0].getsockname())
    finally:
        done.set()
        server.close()
        await server.wait_closed()


async def test_a_vllm_lists_its_models(scripted_engine: Engine) -> None:
    assert await asked(Kind.VLLM, scripted_engine.url) == ("m",)


async def test_an_ollama_lists_its_models(ollama_double: OllamaDouble) -> None:
    assert await asked(Kind.OLLAMA, ollama_double.url) == ("llama3.2:latest",)


async def test_an_openai_server_is_no_vllm(openai_double: Engine) -> None:
    assert await asked(Kind.VLLM, openai_double.url) == ()


async def test_we_never_find_ourselves(gateway: StartGateway, scripted_engine: Engine) -> None:
    """A Penstock on Ollama's or vLLM's port is no engine, whichever of its faces is asked."""
    ours = await gateway(
        {
            "backends": {"gpu": {"kind": "vllm", "url": scripted_engine.url}},
            "aliases": {"m": {"targets": [{"backends": ["gpu"], "model": "m"}]}},
        }
    )
    for kind in (Kind.VLLM, Kind.OLLAMA, Kind.OPENAI):
        assert await asked(kind, ours.url) == ()


async def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert await asked(Kind.OLLAMA, f"http://127.0.0.1:{port}") == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\n\r\n{"models": [{"name": 3}, "x", {}]}',
        b'HTTP/1.1 200 OK\r\n\r\n{"models": "all"}',
        b'HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"models": [{"name": "cut',
        b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (discover.LARGEST + 1) + b'{"models": [{"name": "m"}]}',
        b"\xff\xfe\r\n\r\n",
    ],
)
async def test_what_is_no_list_of_models(body: bytes) -> None:
    async with saying(body) as url:
        assert await asked(Kind.OLLAMA, url) == ()


async def test_somebody_who_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover, "DEADLINE", 0.05)
    async with saying(b"HTTP/1.1 200 OK\r\n\r\n{", hang=True) as url:
        assert await asked(Kind.OLLAMA, url) == ()


async def test_names_are_given_once_and_in_order() -> None:
    async with saying(b'HTTP/1.1 200 OK\r\n\r\n{"models": [{"name": "b"}, {"name": "a"}, {"name": "b"}]}') as url:
        assert await asked(Kind.OLLAMA, url) == ("b", "a")
