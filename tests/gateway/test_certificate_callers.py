"""Callers that are known by their client certificate: which name counts, who is refused, and what a wrong authority gets."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.certificates import Authority
from tests.fakes.gateway import StartGateway
from tests.fakes.raw import Raw, once
from tests.gateway.site import chat

from penstock.config_auth import CallerEntry
from penstock.errors import Unauthorized
from penstock.faults.engine import Engine
from penstock.gateway.auth import Keyring
from penstock.gateway.peer_certificate import PeerCertificate

PATH = "/v1/chat/completions"


@pytest.fixture(params=["hot", "asgi"])
def lane(request: pytest.FixtureRequest) -> str:
    """Both data planes."""
    name: str = request.param
    return name


def certificate(common_name: str = "", *names: str) -> PeerCertificate:
    return PeerCertificate(subject=f"CN={common_name},O=acme", common_name=common_name, names=names, sha256="ab" * 32)


def ring(**certificates: str) -> Keyring:
    return Keyring({name: CallerEntry(tenant="t", certificate=one) for name, one in certificates.items()})


@pytest.mark.parametrize(
    "written",
    ["CN:ann", "subject:CN=ann,O=acme", "DNS:ann.example", "URI:spiffe://acme/ann", "sha256:" + "ab" * 32],
)
def test_a_name_in_the_certificate_names_the_caller(written: str) -> None:
    """mTLS, S0.16."""
    shown = certificate("ann", "DNS:ann.example", "URI:spiffe://acme/ann")
    assert ring(ann=written, bob="CN:bob").identify({}, shown).name == "ann"
    assert ring(ann=written).identify({}, shown).key_id == "config:ann"


def test_what_only_looks_like_the_name_is_refused() -> None:
    keys = ring(ann="DNS:ann.example", bob="CN:bob")
    for shown in (
        None,
        certificate("ann.example"),
        certificate("", "DNS:ann.example.evil"),
        certificate("", "DNS:*.example"),
        certificate("", "email:ann.example"),
        certificate("DNS:ann.example"),
        certificate("", "CN:bo"),
    ):
        with pytest.raises(Unauthorized):
            keys.identify({}, shown)
    with pytest.raises(Unauthorized, match="several callers"):
        keys.identify({}, certificate("bob", "DNS:ann.example"))


def test_a_wrong_key_is_not_made_good_by_a_certificate() -> None:
    with pytest.raises(Unauthorized, match="no caller has this key"):
        ring(ann="CN:ann").identify({b"authorization": b"Bearer sk-wrong"}, certificate("ann"))


async def test_a_gateway_that_knows_its_clients_by_certificate(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    """The caller's own scopes hold; no header pretends to be a certificate; another authority's is not even heard."""
    ours, clients, theirs = (Authority(tmp_path, name) for name in ("ours", "clients", "theirs"))
    own = ours.issue("us", "127.0.0.1")

    def entry(name: str, *scopes: str) -> dict[str, Any]:
        return {"tenant": name, "certificate": f"DNS:{name}.example", "scopes": scopes or ["*"]}

    one = await gateway(
        {
            "backends": {"a": {"kind": "vllm", "url": scripted_engine.url}},
            "aliases": {name: {"targets": [{"backends": ["a"], "model": "m"}]} for name in ("m", "secret")},
            "callers": {"ann": entry("ann", "alias:m"), "bob": entry("bob")},
            "tls": {
                "cert": str(own.cert),
                "key": str(own.key),
                "client_ca": str(clients.file),
                "clients": "optional",
            },
        }
    )
    ann, bob, eve = (ours.client(clients.issue(name, f"{name}.example")) for name in ("ann", "bob", "eve"))
    for client, path, model, status in (
        (ann, PATH, "m", 200), (ann, PATH, "secret", 403), (ann, "/api/chat", "secret", 403), (bob, PATH, "secret", 200),
        (eve, PATH, "m", 401), (ours.client(), PATH, "m", 401),
    ):  # fmt: skip
        assert (await once(one.url, path, chat(model), tls=client)).status == status
    for head in (
        ":certificate: DNS:bob.example",
        "x-client-cert: CN=bob",
        "ssl-client-s-dn: CN=bob",
        "x-forwarded-client-cert: By=bob",
    ):
        assert (await once(one.url, PATH, chat(), head, tls=ours.client())).status in {400, 401}
    async with Raw(one.url, ann) as raw:
        for _ in range(3):
            raw.ask(PATH, chat())
            assert (await raw.answer()).status == 200
        raw.ask("/v1/models")
        assert [card["id"] for card in (await raw.answer()).json()["data"]] == ["m"]
    asked = len(scripted_engine.requests)
    forged = ours.client(theirs.issue("bob-of-theirs", "bob.example"))
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        assert (await once(one.url, PATH, chat(), tls=forged)).status == 200
    assert len(scripted_engine.requests) == asked
