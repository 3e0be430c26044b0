"""A gateway process from start to end: drain, takeover, reload, workers, TLS, who may bind where."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import ssl
import stat
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
import yaml
from tests.fakes.gateway import Config, StartGateway
from tests.fakes.raw import Raw, once

from penstock.faults.engine import Engine
from penstock.faults.script import Script

pytestmark = pytest.mark.asyncio

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello wide world"}]}).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"


def config(engine: Engine, **more: object) -> Config:
    """One vLLM backend and one alias."""
    return {
        "backends": {"first": {"kind": "vllm", "url": engine.url, "probe": "200ms"}},
        "aliases": {"m": {"targets": [{"backends": ["first"], "model": "m"}]}},
        **more,
    }


class Asker:
    """A client that asks again and again, on kept or on fresh connections, and remembers what went wrong."""

    def __init__(self, port: int, *, keep: bool, body: bytes = BODY) -> None:
        self._port = port
        self._keep = keep
        self._body = body
        self.answered = 0
        self.lost: list[str] = []
        self._stop = False
        self._moved = asyncio.Condition()

    async def run(self) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stop:
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", self._port)
                again = await self._ask(*connection)
                if not again:
                    connection[1].close()
                    connection = None
            except (OSError, asyncio.IncompleteReadError, AssertionError) as problem:
                self.lost.append(repr(problem))
                connection = None
        if connection is not None:
            connection[1].close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        close = b"" if self._keep else b"connection: close\r\n"
        writer.write(HEAD + close + b"content-length: %d\r\n\r\n" % len(self._body) + self._body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b" 200 " in head.split(b"\r\n")[0], head
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(length.split(b":")[1]))
        self.answered += 1
        async with self._moved:
            self._moved.notify_all()
        return self._keep and b"connection: close" not in head

    async def more(self, count: int) -> None:
        """Until it has had so many more answers."""
        wanted = self.answered + count
        async with asyncio.timeout(30), self._moved:
            await self._moved.wait_for(lambda: self.answered >= wanted)

    def stop(self) -> None:
        self._stop = True


@contextlib.asynccontextmanager
async def asking(port: int, clients: int, body: bytes = BODY) -> AsyncIterator[list[Asker]]:
    """Clients of both sorts, busy until the block ends."""
    askers = [Asker(port, keep=index % 2 == 0, body=body) for index in range(clients)]
    async with asyncio.TaskGroup() as group:
        for asker in askers:
            group.create_task(asker.run())
        yield askers
        for asker in askers:
            asker.stop()


def errors_to(log: Path) -> int:
    """A file descriptor for a process's stderr; it lives as long as the test process."""
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)


def port_of(url: str) -> int:
    """The port of a base URL."""
    return int(url.rpartition(":")[2])


async def start_beside(file: Path, log: Path, *arguments: str) -> asyncio.subprocess.Process:
    """A second gateway process with the same configuration."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "penstock.gateway", "--config", str(file), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=errors_to(log),
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        line = await process.stdout.readline()
    assert line, f"the gateway ended instead of starting, see {log}"
    return process


async def test_a_new_process_takes_the_port_over_without_a_lost_request(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    """S1.32: switch by restarting; here without an outage: SO_REUSEPORT, drain, and nobody notices."""
    first = await gateway(config(scripted_engine))
    port = port_of(first.url)
    settings = yaml.safe_load(first.config.read_text()) | {"listen": [f"127.0.0.1:{port}"]}
    first.config.write_text(yaml.safe_dump(settings))
    async with asking(port, 6) as askers:
        await asyncio.gather(*(asker.more(20) for asker in askers))
        second = await start_beside(first.config, tmp_path / "second.log", "--takeover")
        async with asyncio.timeout(30):
            assert await first.process.wait() == 0
        await asyncio.gather(*(asker.more(20) for asker in askers))
    second.terminate()
    assert await second.wait() == 0
    assert [asker.lost for asker in askers] == [[] for _ in askers]


async def test_sigterm_lets_a_stream_end(gateway: StartGateway, scripted_engine: Engine) -> None:
    """The drain finishes what runs before the process ends with status 0."""
    scripted_engine.script = Script(count=30, gap=0.02)
    one = await gateway(config(scripted_engine))
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(one.url))
    body = BODY[:-1] + b', "stream": true}'
    writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
    await reader.readuntil(b"data: ")
    one.process.send_signal(signal.SIGTERM)
    rest = await asyncio.wait_for(reader.read(), 20)
    assert b"data: [DONE]" in rest
    assert await one.process.wait() == 0
    writer.close()


@pytest.mark.parametrize("path", ["/livez", "/v1/chat/completions"])
async def test_who_asks_again_and_again_does_not_hold_up_the_drain(
    gateway: StartGateway, scripted_engine: Engine, path: str
) -> None:
    """A probe on a kept connection gets its answer, and is told that it is the last one there."""
    one = await gateway(config(scripted_engine))
    body = None if path == "/livez" else json.loads(BODY)
    async with Raw(one.url) as asker:
        asker.ask(path, body)
        assert (await asker.answer()).keep_alive
        one.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            while '"draining"' not in one.log:  # noqa: ASYNC110 - the log of another process
                await asyncio.sleep(0.01)
        asker.ask(path, body)
        answer = await asker.answer()
        assert answer.status == 200
        assert not answer.keep_alive
        await asker.end()
    assert await one.process.wait() == 0


async def test_the_drain_deadline_ends_a_stream_in_an_explicit_error(
    gateway: StartGateway, scripted_engine: Engine
) -> None:
    """What outlasts the deadline is told so in the client's protocol, never cut."""
    scripted_engine.script = Script(count=3000, gap=0.02)
    one = await gateway(config(scripted_engine, limits={"drain": "300ms"}))
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(one.url))
    body = BODY[:-1] + b', "stream": true}'
    writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
    await reader.readuntil(b"data: ")
    one.process.send_signal(signal.SIGTERM)
    rest = await asyncio.wait_for(reader.read(), 20)
    assert b'"error"' in rest
    assert b"shutting down" in rest
    assert b"[DONE]" not in rest
    assert await one.process.wait() == 0
    writer.close()


async def test_a_poisoned_reload_keeps_the_last_good_configuration(
    gateway: StartGateway, scripted_engine: Engine
) -> None:
    """S1.26: a change of configuration; one that cannot be used changes nothing and is reported."""
    one = await gateway(config(scripted_engine))
    good = yaml.safe_load(one.config.read_text())

    async def reloads(result: str) -> int:
        text = (await once(one.url, "/metrics")).body.decode()
        return sum(
            int(float(line.split()[1])) for line in text.splitlines() if f'reloads_total{{result="{result}"' in line
        )

    one.config.write_text("aliases: {m: {targets: []}}\nlissten: [x]\n")
    one.process.send_signal(signal.SIGHUP)
    await one.until("/ready", lambda _: "reload refused" in one.log)
    assert await reloads("refused") == 1
    assert (await once(one.url, "/v1/chat/completions", json.loads(BODY))).status == 200

    good["aliases"]["second"] = {"targets": [{"backends": ["first"], "model": "m"}]}
    one.config.write_text(yaml.safe_dump(good))
    one.process.send_signal(signal.SIGHUP)
    await one.until("/ready", lambda _: "configuration reloaded" in one.log)
    models = (await once(one.url, "/v1/models")).json()
    assert [card["id"] for card in models["data"]] == ["m", "second"]
    assert (await once(one.url, "/v1/chat/completions", json.loads(BODY) | {"model": "second"})).status == 200


async def test_a_key_that_a_reload_takes_away_ends_with_it_on_open_connections_too(
    gateway: StartGateway, scripted_engine: Engine
) -> None:
    """Also where the head that carries it was seen before."""
    digest = hashlib.sha256(b"sk-mine").hexdigest()
    callers = {"me": {"tenant": "t", "key_sha256": digest}}
    one = await gateway(config(scripted_engine, callers=callers))
    async with Raw(one.url) as raw:
        for _ in range(3):
            raw.ask("/v1/chat/completions", json.loads(BODY), "authorization: Bearer sk-mine")
            assert (await raw.answer()).status == 200
        settings = yaml.safe_load(one.config.read_text())
        settings["callers"]["me"]["key_sha256"] = hashlib.sha256(b"sk-other").hexdigest()
        one.config.write_text(yaml.safe_dump(settings))
        one.process.send_signal(signal.SIGHUP)
        await one.until("/ready", lambda _: "configuration reloaded" in one.log)
        raw.ask("/v1/chat/completions", json.loads(BODY), "authorization: Bearer sk-mine")
        assert (await raw.answer()).status == 401


async def test_workers_share_a_port_and_one_page_of_figures(gateway: StartGateway, scripted_engine: Engine) -> None:
    """S0.25: /metrics tells of all workers, whichever of them is asked."""
    settings = config(scripted_engine, workers=2, listen=[f"127.0.0.1:{free_port()}"])
    one = await gateway(settings)

    async def figure(name: str) -> float:
        text = (await once(one.url, "/metrics")).body.decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    async with asyncio.timeout(30):
        while (
            await figure("penstock_workers") != 2
        ):  # the first worker announces itself; the second may still be starting
            await one.until("/livez", lambda _: True)
    for _ in range(40):
        assert (await once(one.url, "/v1/chat/completions", json.loads(BODY))).status == 200
    assert await figure("penstock_requests_total") == 40


async def test_the_admin_socket_is_for_its_owner_alone(gateway: StartGateway, scripted_engine: Engine) -> None:
    """The command line's verbs go through a Unix socket with mode 0600, removed at the end."""
    one = await gateway(config(scripted_engine))
    path = yaml.safe_load(one.config.read_text())["admin"]
    assert mode(path) == 0o600
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET /status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    answer = (await reader.read()).partition(b"\r\n\r\n")[2]
    assert json.loads(answer)["pid"] == one.process.pid
    writer.close()
    await one.stop()
    assert mode(path) is None


async def test_a_second_gateway_does_not_take_the_admin_socket(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    """Two gateways with one admin socket: the second is refused instead of being drained in place of the first."""
    one = await gateway(config(scripted_engine))
    again = tmp_path / "again.yaml"
    again.write_text(one.config.read_text())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "penstock.gateway", "--config", str(again)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert b"another gateway has it" in errors
    assert (await once(one.url, "/livez")).status == 200


async def test_a_busy_port_names_who_answers_there(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    """A second gateway on the same port is refused with a sentence, not started beside the first."""
    one = await gateway(config(scripted_engine))
    again = tmp_path / "again.yaml"
    settings = yaml.safe_load(one.config.read_text())
    again.write_text(yaml.safe_dump(settings | {"listen": [f"127.0.0.1:{port_of(one.url)}"]}))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "penstock.gateway", "--config", str(again)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert b"Another Penstock answers there" in errors
    assert b"--port" in errors


async def test_tls_on_the_listener(
    scripted_engine: Engine, certificate: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """S0.16, S2.27: the same lane behind TLS, streams included."""
    root, cert, key = certificate
    port = free_port()
    own = {
        "listen": [f"127.0.0.1:{port}"],
        "state": f"sqlite:///{tmp_path}/s.db",
        "admin": f"{tempfile.mkdtemp()}/a.sock",
    }
    file = tmp_path / "tls.yaml"
    file.write_text(yaml.safe_dump(config(scripted_engine, tls={"cert": str(cert), "key": str(key)}, **own)))
    process = await start_beside(file, tmp_path / "tls.log")
    context = ssl.create_default_context(cafile=str(root))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    body = BODY[:-1] + b', "stream": true}'
    writer.write(HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    answer = await asyncio.wait_for(reader.read(), 20)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"data: [DONE]" in answer
    writer.close()
    process.terminate()
    assert await process.wait() == 0


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Authority, chain and key for localhost."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    root, cert, key = tmp_path / "root.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.cert_pem.write_to_path(root)
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    return root, cert, key


def mode(path: str) -> int | None:
    """Permission bits of a file; None where there is none."""
    try:
        return stat.S_IMODE(Path(path).stat().st_mode)
    except FileNotFoundError:
        return None


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
