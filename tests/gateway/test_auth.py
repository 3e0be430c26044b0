"""Who stands behind a key."""

from __future__ import annotations

import hashlib

import pytest

from penstock.config_auth import CallerEntry
from penstock.errors import Forbidden, Unauthorized
from penstock.gateway.auth import Keyring, check_scope
from penstock.types import LOCAL, Caller


def entry(key: str, tenant: str = "t", *scopes: str) -> CallerEntry:
    digest = hashlib.sha256(key.encode()).hexdigest().upper()
    return CallerEntry(tenant=tenant, key_sha256=digest, scopes=scopes or ("*",))


RING = Keyring({"ann": entry("sk-ann", "acme", "alias:m"), "bob": entry("sk-bob")})


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer sk-ann"},
        {b"authorization": b"bearer  sk-ann "},
        {b"x-api-key": b"sk-ann"},
        {b"authorization": b"Bearer sk-ann", b"x-api-key": b"sk-bob"},
    ],
)
def test_the_key_names_the_caller(headers: dict[bytes, bytes]) -> None:
    assert RING.identify(headers) == Caller(
        name="ann", tenant="acme", scopes=frozenset({"alias:m"}), key_id="config:ann"
    )


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "carries none"),
        ({b"authorization": b""}, "carries none"),
        ({b"authorization": b"Basic sk-ann"}, "carries none"),
        ({b"authorization": b"Bearer "}, "carries none"),
        ({b"authorization": b"Bearer sk-other"}, "no caller has this key"),
        ({b"authorization": b"Bearer sk-other", b"x-api-key": b"sk-bob"}, "no caller has this key"),
        ({b"x-api-key": b"\xff"}, "no caller has this key"),
    ],
)
def test_everybody_else_is_refused(headers: dict[bytes, bytes], said: str) -> None:
    with pytest.raises(Unauthorized, match=said) as error:
        RING.identify(headers)
    assert "sk-" not in error.value.message


def test_a_digest_is_not_a_key() -> None:
    with pytest.raises(Unauthorized):
        RING.identify({b"x-api-key": hashlib.sha256(b"sk-ann").hexdigest().encode()})


def test_without_callers_everybody_is_local() -> None:
    assert Keyring({}).identify({b"authorization": b"Bearer anything"}) is LOCAL


def test_scopes() -> None:
    ann, bob = RING.identify({b"x-api-key": b"sk-ann"}), RING.identify({b"x-api-key": b"sk-bob"})
    check_scope(ann, "m")
    check_scope(bob, "other")
    check_scope(LOCAL, "other")
    for alias in ("other", "", "m2", "*"):
        with pytest.raises(Forbidden, match="'ann' may not use"):
            check_scope(ann, alias)
