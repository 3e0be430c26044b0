"""A busy port is an error that says who is there and what to try."""

from __future__ import annotations

import os
import socket
from functools import partial

import pytest
from tests.fakes.gateway import StartGateway
from tests.fakes.threads import in_thread

from penstock.address import Address, url_address
from penstock.errors import ConfigError
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.gateway.occupant import refuse_busy


async def refusal(url: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        await in_thread(partial(refuse_busy, url_address(url)))
    return caught.value


async def test_ollama(ollama_double: OllamaDouble) -> None:
    error = await refusal(ollama_double.url)
    port = url_address(ollama_double.url).port
    assert error.message.startswith(f"Listening on 127.0.0.1:{port}: the port is busy. Ollama answers there")
    assert f"process {os.getpid()}, " in error.message
    assert "--port" in error.hint


async def test_vllm(scripted_engine: Engine) -> None:
    assert "A vLLM server answers there" in (await refusal(scripted_engine.url)).message


async def test_another_penstock(gateway: StartGateway, scripted_engine: Engine) -> None:
    ours = await gateway(
        {
            "backends": {"gpu": {"kind": "vllm", "url": scripted_engine.url}},
            "aliases": {"m": {"targets": [{"backends": ["gpu"], "model": "m"}]}},
        }
    )
    assert f"Another Penstock answers there (process {ours.process.pid}, " in (await refusal(ours.url)).message


def test_a_free_port_is_fine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    refuse_busy(Address("127.0.0.1", port))


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(ConfigError, match="Cannot assign requested address") as caught:
        refuse_busy(Address("192.0.2.1", 8000))
    assert "an address of this machine" in caught.value.hint
