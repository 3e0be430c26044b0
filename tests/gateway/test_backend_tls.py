"""TLS towards engines: always verified, and what is wrong with a certificate is a fault that says so."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from tests.fakes.certificates import Authority, Pair, behind_tls, server
from tests.fakes.gateway import Config, StartGateway
from tests.fakes.raw import once

from penstock.config import Backend, BackendTls
from penstock.config import Config as Tree
from penstock.consistency import mistakes_of
from penstock.errors import BadRequest, ConfigError, Unreachable
from penstock.faults.engine import Engine
from penstock.gateway import replicas, tls
from penstock.gateway.probe import get
from penstock.gateway.upstream import Origin

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello wide world"}]}


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    """The authority that engines' certificates are to come from."""
    return Authority(tmp_path, "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Authority:
    """Another one."""
    return Authority(tmp_path, "theirs")


@contextlib.asynccontextmanager
async def engines(engine: Engine, ours: Authority, theirs: Authority) -> AsyncIterator[Mapping[str, int]]:
    """Ports of one engine behind certificates of every sort."""
    certificates: dict[str, Pair] = {
        "good": ours.issue("good", "127.0.0.1"),
        "stranger": theirs.issue("stranger", "127.0.0.1"),
        "elsewhere": ours.issue("elsewhere", "other.example"),
        "expired": ours.issue("expired", "127.0.0.1", expired=True),
    }
    async with contextlib.AsyncExitStack() as life:
        ports = {
            name: await life.enter_async_context(behind_tls(engine.url, server(pair)))
            for name, pair in certificates.items()
        }
        ports["plain"] = await life.enter_async_context(behind_tls(engine.url, None))
        picky = server(certificates["good"], clients=ours)
        ports["picky"] = await life.enter_async_context(behind_tls(engine.url, picky))
        yield ports


async def test_only_the_right_certificate_is_asked_anything(
    gateway: StartGateway, scripted_engine: Engine, ours: Authority, theirs: Authority
) -> None:
    """S2.27: wrong authority, wrong host, expired, no TLS at all, a certificate wanted of us: clear faults, no request."""
    trust = {"ca": str(ours.file)}
    us = ours.issue("us", "gateway.example")
    async with engines(scripted_engine, ours, theirs) as ports:
        settings: Config = {
            "backends": {
                **{
                    name: {"kind": "vllm", "url": f"https://127.0.0.1:{port}", "probe": "200ms", "tls": trust}
                    for name, port in ports.items()
                },
                "named": {
                    "kind": "vllm",
                    "url": f"https://127.0.0.1:{ports['elsewhere']}",
                    "tls": {**trust, "name": "other.example"},
                },
                "known": {
                    "kind": "vllm",
                    "url": f"https://127.0.0.1:{ports['picky']}",
                    "tls": {**trust, "cert": str(us.cert), "key": str(us.key)},
                },
            },
        }
        names = list(settings["backends"])
        settings["aliases"] = {
            name: {"targets": [{"backends": [name], "model": "m"}], "fallback": "never"} for name in names
        }
        one = await gateway(settings)
        before = len([asked for asked in scripted_engine.requests if asked.method == "POST"])
        told = {}
        for name in names:
            answer = await once(one.url, "/v1/chat/completions", {**CHAT, "model": name})
            told[name] = "" if answer.status == 200 else answer.error
        page = await one.until("/ready", lambda page: all(word(page, name) != "starting" for name in names))
        asked = [asked for asked in scripted_engine.requests if asked.method == "POST"]
    assert {name for name, error in told.items() if not error} == {"good", "named", "known"}
    assert len(asked) - before == 3
    reasons = {name: page["aliases"][name]["targets"][0]["reason"] for name in names}
    assert "not trusted" in reasons["stranger"]
    assert "for another host" in reasons["elsewhere"]
    assert "has expired" in reasons["expired"]
    assert "does not speak TLS" in reasons["plain"]
    assert "wants a certificate of us" in reasons["picky"]
    assert not any("127.0.0.1" in text or "other.example" in text for text in (*reasons.values(), *told.values()))


def word(page: dict[str, dict[str, dict[str, object]]], name: str) -> object:
    """How ready an alias is."""
    return page["aliases"][name]["readiness"]


async def test_the_systems_authorities_do_not_know_a_private_one(ours: Authority, scripted_engine: Engine) -> None:
    """Nothing is trusted because nothing was said."""
    async with behind_tls(scripted_engine.url, server(ours.issue("good", "127.0.0.1"))) as port:
        origin = Origin(f"https://127.0.0.1:{port}", connect_timeout=10.0)
        with pytest.raises(Unreachable, match="not trusted"):
            await get(origin, "/v1/models", b"", 10.0)
        origin.close()


async def test_a_renewed_client_certificate_is_used_for_new_connections(
    ours: Authority, theirs: Authority, scripted_engine: Engine
) -> None:
    """Its files change; what cannot be read leaves the former one in use."""
    pair = theirs.issue("us", "gateway.example")
    settings = BackendTls(ca=str(ours.file), cert=str(pair.cert), key=str(pair.key))
    picky = server(ours.issue("good", "127.0.0.1"), clients=ours)
    async with behind_tls(scripted_engine.url, picky) as port:
        origin = Origin(f"https://127.0.0.1:{port}", connect_timeout=10.0, tls=settings)
        credentials = origin.credentials
        assert credentials is not None
        with pytest.raises(Unreachable, match="wants a certificate of us, or another one"):
            await get(origin, "/v1/models", b"", 10.0)
        assert not credentials.changed()
        ours.issue("us", "gateway.example")
        # once more: what has just changed may still be being written
        assert (credentials.changed(), credentials.changed()) == (False, True)
        credentials.renew()
        assert b'"m"' in await get(origin, "/v1/models", b"", 10.0)
        pair.key.write_text("no key", encoding="ascii")
        with pytest.raises(ConfigError, match=r"tls\.key"):
            credentials.renew()
        origin.drop_idle()
        assert b'"m"' in await get(origin, "/v1/models", b"", 10.0)
        origin.close()


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "without a certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", "does not trust our certificate"),
        ("WRONG_VERSION_NUMBER", "does not speak TLS"),
        ("SOMETHING_NEW", "something new"),
    ],
)
def test_an_alert_is_told_in_words(reason: str, words: str) -> None:
    """Of servers that say why they close."""
    error = ssl.SSLError(1, "told by OpenSSL")
    error.reason = reason
    assert words in tls.why_not(error)


def tree(**backend: object) -> Tree:
    """One backend of kind vllm."""
    return Tree(
        backends={"b": Backend(kind="vllm", **backend)},  # type: ignore[arg-type]
        aliases={},
    )


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ({"url": "http://a:1", "tls": BackendTls(ca="x")}, "plain text"),
        ({"url": "https://a:1", "tls": BackendTls(cert="x")}, "without its key"),
        ({"url": "https://a:1", "resolve": "each", "tls": BackendTls(ca="x")}, "tls.name"),
    ],
)
def test_what_says_nothing_or_half_is_a_mistake(backend: dict[str, object], words: str) -> None:
    assert any(words in mistake.text for mistake in mistakes_of(tree(**backend)))


def test_every_address_of_a_name_may_bear_one_certificate() -> None:
    """`resolve: each` behind https, where the configuration says what the certificates name."""
    found = tree(url="https://engines.example:1", resolve="each", tls=BackendTls(name="engines.example"))
    assert not [mistake for mistake in mistakes_of(found) if "resolve" in mistake.path]


def test_no_replica_of_an_engine_behind_tls_is_asked_in_plain_text() -> None:
    """A fleet file, or an order, cannot take the encryption away."""
    with pytest.raises(BadRequest, match="plain text"):
        replicas.with_replica(tree(url="https://a:1"), {}, "b", "http://c:2")


def test_a_start_names_the_backend_whose_files_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Backend b.*tls\.ca.*No such file"):
        tls.check(tree(url="https://a:1", tls=BackendTls(ca=os.fspath(tmp_path / "missing"))))
