"""TLS on the listeners: what is spoken, who is let in, and certificates that are renewed while connections go on."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.fakes.certificates import Authority, Pair
from tests.fakes.gateway import Config, Gateway, StartGateway
from tests.fakes.raw import Raw, once

from penstock.config import Tls
from penstock.errors import ConfigError
from penstock.faults.engine import Engine
from penstock.faults.script import Script
from penstock.gateway import tls
from penstock.gateway.peer_certificate import PeerCertificate, presented

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello wide world"}]}


@pytest.fixture(params=["hot", "asgi"])
def lane(request: pytest.FixtureRequest) -> str:
    """Both data planes."""
    name: str = request.param
    return name


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    """The authority that everybody here trusts."""
    return Authority(tmp_path, "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Authority:
    """One that nobody should."""
    return Authority(tmp_path, "theirs")


def config(engine: Engine, own: Pair, **more: object) -> Config:
    """One backend, one alias, this certificate; heads and handshakes have half a second."""
    return {
        "backends": {"first": {"kind": "vllm", "url": engine.url, "probe": "200ms"}},
        "aliases": {"m": {"targets": [{"backends": ["first"], "model": "m"}]}},
        "limits": {"head": "500ms"},
        "tls": {"cert": str(own.cert), "key": str(own.key), **more},
    }


def reached(gateway: Gateway) -> tuple[str, int]:
    host, _, port = gateway.url.removeprefix("https://").rpartition(":")
    return host, int(port)


async def refusals(gateway: Gateway, client: ssl.SSLContext, reason: str) -> float:
    """How many handshakes the gateway says it refused for this reason."""
    page = (await once(gateway.url, "/metrics", tls=client)).body.decode()
    wanted = f'penstock_tls_refused_total{{reason="{reason}"}} '
    return sum(float(line.removeprefix(wanted)) for line in page.splitlines() if line.startswith(wanted))


async def shown(gateway: Gateway, client: ssl.SSLContext) -> bytes | None:
    """The certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection(*reached(gateway), ssl=client)
    try:
        spoken: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return spoken.getpeercert(binary_form=True)
    finally:
        writer.close()


async def becomes_another(gateway: Gateway, client: ssl.SSLContext, former: bytes | None) -> None:
    """Until new connections are shown another certificate."""
    async with asyncio.timeout(20):
        while True:
            if await shown(gateway, client) != former:
                return
            await asyncio.sleep(0.05)


async def test_both_lanes_answer_behind_tls(gateway: StartGateway, scripted_engine: Engine, ours: Authority) -> None:
    """S0.16, S2.27, X16: whole answers, streams and pages."""
    one = await gateway(config(scripted_engine, ours.issue("us", "127.0.0.1")))
    async with Raw(one.url, ours.client()) as raw:
        for _ in range(3):
            raw.ask("/v1/chat/completions", CHAT)
            assert (await raw.answer()).status == 200
        raw.ask("/v1/chat/completions", {**CHAT, "stream": True})
        assert (await raw.answer()).events[-1] == b"data: [DONE]"
        raw.ask("/health")
        assert (await raw.answer()).json()["status"] == "healthy"


@pytest.mark.parametrize("lane", ["hot"], indirect=True)
async def test_what_is_no_proper_handshake_ends_and_holds_up_nobody(
    gateway: StartGateway, scripted_engine: Engine, ours: Authority
) -> None:
    """Plain HTTP, an old version, a weak cipher, and half a handshake that never goes on."""
    one = await gateway(config(scripted_engine, ours.issue("us", "127.0.0.1")))
    good = ours.client()
    address = reached(one)
    halves = [await asyncio.open_connection(*address) for _ in range(20)]
    for _, writer in halves:
        writer.write(b"\x16\x03\x01\x02\x00\x01\x00")  # the begin of a ClientHello
    async with Raw(one.url) as plain:
        plain.ask("/livez")
        assert (await plain.answer()).status == 0
    for weak in (old_version(ours), weak_cipher(ours)):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(*address, ssl=weak)
    assert (await once(one.url, "/v1/chat/completions", CHAT, tls=good)).status == 200
    for reader, writer in halves:
        # the limit of a head, which is 500 ms here
        assert not await asyncio.wait_for(reader.read(), 20)
        writer.close()
    assert await refusals(one, good, "plain") == 1
    assert await refusals(one, good, "version") == 1
    assert await refusals(one, good, "cipher") == 1
    good.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection(*address, ssl=good)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    writer.close()


def old_version(authority: Authority) -> ssl.SSLContext:
    """A client that speaks TLS 1.1 and nothing later."""
    context = authority.client()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with deprecated():
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def weak_cipher(authority: Authority) -> ssl.SSLContext:
    """A client of TLS 1.2 that knows no cipher that authenticates what it hides."""
    context = authority.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0")
    return context


@contextlib.contextmanager
def deprecated() -> Iterator[None]:
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        yield


@pytest.mark.parametrize("lane", ["hot"], indirect=True)
async def test_only_certificates_of_the_named_authority_are_let_in(
    gateway: StartGateway, scripted_engine: Engine, ours: Authority, theirs: Authority
) -> None:
    """S0.16: mTLS. Without one, of another authority, expired: no request of theirs is read."""
    own = ours.issue("us", "127.0.0.1")
    one = await gateway(config(scripted_engine, own, client_ca=str(ours.file)))
    friend = ours.client(ours.issue("friend", "friend.example"))
    strangers = [
        ours.client(),
        ours.client(theirs.issue("stranger", "friend.example")),
        ours.client(ours.issue("late", "friend.example", expired=True)),
    ]
    for stranger in strangers:
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            # In TLS 1.3 a client takes the handshake for done before its certificate has been judged.
            assert (await once(one.url, "/v1/chat/completions", CHAT, tls=stranger)).status
    assert not [one for one in scripted_engine.requests if one.method == "POST"]
    assert (await once(one.url, "/v1/chat/completions", CHAT, tls=friend)).status == 200
    assert await refusals(one, friend, "no_certificate") == 1
    assert await refusals(one, friend, "certificate") == 2


@pytest.mark.parametrize("lane", ["hot"], indirect=True)
async def test_an_authority_that_was_taken_out_is_out(
    gateway: StartGateway, scripted_engine: Engine, ours: Authority, theirs: Authority
) -> None:
    """Its file is read again like the certificate's; addresses for figures ask for no certificate."""
    port = free_port()
    settings = config(scripted_engine, ours.issue("us", "127.0.0.1"), client_ca=str(ours.file))
    one = await gateway({**settings, "listen_metrics": [f"127.0.0.1:{port}"]})
    former = ours.client(ours.issue("former", "former.example"))
    latter = ours.client(theirs.issue("latter", "latter.example"))
    assert (await once(one.url, "/v1/models", tls=former)).status == 200
    assert (await once(f"https://127.0.0.1:{port}", "/livez", tls=ours.client())).status == 200
    ours.file.write_bytes(theirs.file.read_bytes())
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(ssl.SSLError, ConnectionError, AssertionError):
                if (await once(one.url, "/v1/models", tls=latter)).status == 200:
                    break
            await asyncio.sleep(0.05)
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        assert (await once(one.url, "/v1/models", tls=former)).status


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_certificate_is_renewed_and_what_runs_goes_on(
    gateway: StartGateway, scripted_engine: Engine, ours: Authority
) -> None:
    """By its file alone, without a signal or a restart; a stream that was begun before ends as it should."""
    one = await gateway(config(scripted_engine, ours.issue("us", "127.0.0.1")))
    client = ours.client()
    scripted_engine.script = Script(count=5)
    gate = scripted_engine.hold(before=2)
    async with Raw(one.url, client) as raw:
        raw.ask("/v1/chat/completions", {**CHAT, "stream": True})
        await raw.until(b"data: ")
        former = await shown(one, client)
        ours.issue("us", "127.0.0.1")
        await becomes_another(one, client, former)
        gate.open()
        assert (await raw.answer()).events[-1] == b"data: [DONE]"
        raw.ask("/livez")
        assert (await raw.answer()).status == 200
    assert "certificate renewed" in one.log


@pytest.mark.parametrize("lane", ["hot"], indirect=True)
async def test_a_bad_new_certificate_is_refused_and_the_old_one_stays(
    gateway: StartGateway, scripted_engine: Engine, ours: Authority
) -> None:
    """By its file and by SIGHUP; a good one afterwards is taken."""
    pair = ours.issue("us", "127.0.0.1")
    one = await gateway(config(scripted_engine, pair))
    client = ours.client()
    former = await shown(one, client)
    pair.cert.write_text("no certificate", encoding="ascii")
    await logged(one, "certificate refused, the former one stays")
    one.process.send_signal(signal.SIGHUP)
    await logged(one, "reload refused, the last good configuration stays")
    assert await shown(one, client) == former
    page = (await once(one.url, "/metrics", tls=client)).body
    assert b'penstock_certificate_reloads_total{result="refused"} 1.0' in page
    ours.issue("us", "127.0.0.1")
    await becomes_another(one, client, former)


async def logged(gateway: Gateway, words: str) -> None:
    """Until the log has these words."""
    async with asyncio.timeout(20):
        while True:
            if words in gateway.log:
                return
            await asyncio.sleep(0.05)


async def test_a_client_certificate_is_told_with_its_names(ours: Authority) -> None:
    """What a caller can be found by: the subject, the alternative names, the digest; nothing where none was shown."""
    own = ours.issue("us", "127.0.0.1")
    asked = Tls(cert=str(own.cert), key=str(own.key), client_ca=str(ours.file), clients="optional")
    seen: asyncio.Queue[PeerCertificate | None] = asyncio.Queue()

    async def look(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        seen.put_nowait(presented(writer.transport))
        writer.close()

    listener = await asyncio.start_server(look, "127.0.0.1", 0, ssl=tls.listening(asked))
    address = listener.sockets[0].getsockname()
    friend = ours.issue("friend", "a.example", "10.1.2.3", "who@b.example", common_name="a, b+c")
    for pair in (friend, None):
        _, writer = await asyncio.open_connection(*address, ssl=ours.client(pair))
        writer.close()
    found = await asyncio.wait_for(seen.get(), 20)
    assert found is not None
    assert found.common_name == "a, b+c"
    assert found.subject.startswith("CN=a\\, b\\+c,")
    assert set(found.names) == {"DNS:a.example", "IP Address:10.1.2.3", "email:who@b.example"}
    assert len(found.sha256) == 64
    assert await asyncio.wait_for(seen.get(), 20) is None
    listener.close()


def test_a_context_is_hardened(ours: Authority) -> None:
    """No renegotiation, no compression; with clients' certificates no resumed session that nobody verified anew."""
    own = ours.issue("us", "127.0.0.1")
    context = tls.listening(Tls(cert=str(own.cert), key=str(own.key), client_ca=str(ours.file)))
    for option in (ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_COMPRESSION, ssl.OP_NO_TICKET):
        assert context.options & option
    assert context.num_tickets == 0
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    with socket.socket() as nobody:
        assert presented_by(nobody) is None


def presented_by(sock: socket.socket) -> PeerCertificate | None:
    """Of a transport without TLS."""

    class Bare(asyncio.BaseTransport):
        pass

    return presented(Bare({"socket": sock}))


@pytest.mark.parametrize("wrong", ["cert", "key", "client_ca"])
def test_a_file_that_cannot_be_used_is_named(ours: Authority, tmp_path: Path, wrong: str) -> None:
    own = ours.issue("us", "127.0.0.1")
    paths = {"cert": str(own.cert), "key": str(own.key), "client_ca": str(ours.file)}
    junk = tmp_path / "junk"
    junk.write_text("junk", encoding="ascii")
    for path in (str(junk), str(tmp_path / "missing")):
        with pytest.raises(ConfigError, match=wrong):
            tls.listening(msgspec.convert({**paths, wrong: path}, Tls))
