"""Tokens of an identity provider: whom they name, and every way in which one is none."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as some
from tests.gateway.issuer import (
    AUDIENCE,
    EC,
    ED,
    ISSUER,
    OTHER_RSA,
    PUBLIC_PEM,
    RSA,
    USUAL,
    claims,
    document,
    jwk,
    raw,
    token,
)

from penstock.config_auth import Jwt, TokenAlgorithm
from penstock.errors import AuthAway, ConfigError, Unauthorized
from penstock.gateway import tokens
from penstock.gateway.auth import Keyring
from penstock.gateway.tokens import Tokens, keys_of

NOW = 1_800_000_000.0
ALGORITHMS: tuple[TokenAlgorithm, ...] = ("RS256", "ES256", "EdDSA")
SETTINGS = Jwt(issuer=ISSUER, audience=AUDIENCE, jwks="keys.json", algorithms=ALGORITHMS)


class Issuer:
    """Tokens with keys, and whoever missed one."""

    def __init__(self, page: bytes = USUAL, settings: Jwt = SETTINGS) -> None:
        self.missed = 0
        self.tokens = Tokens(settings, self._miss)
        self.tokens.adopt(keys_of(page, settings.algorithms))

    def _miss(self) -> None:
        self.missed += 1

    def refuses(self, one: bytes, now: float = NOW) -> str:
        with pytest.raises(Unauthorized) as refused:
            self.tokens.identify(one, now)
        return refused.value.message


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(RSA, "RS256", "r"), (EC, "ES256", "e"), (ED, "EdDSA", "d"), (RSA, "RS256", None)]
)
def test_a_token_names_its_caller(key: object, algorithm: str, kid: str | None) -> None:
    caller = Issuer().tokens.identify(token(NOW, key=key, algorithm=algorithm, kid=kid), NOW)
    assert caller is not None
    assert (caller.name, caller.tenant, caller.key_id) == ("ann", "acme", "jwt:ann")
    assert caller.scopes == {"alias:m"}
    assert caller.until == NOW + 330
    assert not caller.free


def test_scopes_are_those_we_know() -> None:
    """Whatever else an issuer writes there opens nothing, and no scope at all opens nothing either."""
    issuer = Issuer()
    for said, scopes in (
        ("openid profile", set()),
        (["alias:m", "route:chat", 7, "email"], {"alias:m", "route:chat"}),
        ("* admin", {"*", "admin"}),
        ({"alias:m": 1}, set()),
        (None, set()),
    ):
        caller = issuer.tokens.identify(token(NOW, scope=said), NOW)
        assert caller is not None
        assert caller.scopes == scopes


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": None}, "lacks exp, iss or aud"),
        ({"aud": "another-service"}, "somebody else"),
        ({"aud": None}, "lacks exp, iss or aud"),
        ({"exp": None}, "lacks exp, iss or aud"),
        ({"exp": NOW - 31}, "expired"),
        ({"exp": "tomorrow"}, "exp is no time"),
        ({"exp": True}, "exp is no time"),
        ({"exp": 1e300}, "exp is no time"),
        ({"nbf": NOW + 31}, "not valid yet"),
        ({"iat": NOW + 31}, "not valid yet"),
        ({"iat": []}, "iat is no time"),
        ({"tenant": None}, "'tenant' is no name"),
        ({"tenant": ""}, "'tenant' is no name"),
        ({"tenant": ["acme"]}, "'tenant' is no name"),
        ({"tenant": "a\r\nx: y"}, "'tenant' is no name"),
        ({"sub": "x" * 201}, "'sub' is no name"),
        ({"sub": "caf\u00e9"}, "'sub' is no name"),
    ],
)
def test_a_token_that_says_the_wrong_thing_is_refused(more: dict[str, Any], said: str) -> None:
    assert said in Issuer().refuses(token(NOW, **more))


def test_clocks_may_differ_by_the_leeway() -> None:
    """An issuer half a minute ahead or behind is believed; what is remembered still ends (fault 24)."""
    issuer = Issuer()
    assert issuer.tokens.identify(token(NOW, exp=NOW - 29), NOW)
    ahead = token(NOW, iat=NOW + 29, nbf=NOW + 29)
    assert issuer.tokens.identify(ahead, NOW)
    ring = Keyring({}, tokens=issuer.tokens)
    shown = {b"authorization": b"Bearer " + ahead}
    assert ring.identify(shown, None, NOW + 329).name == "ann"
    with pytest.raises(Unauthorized, match="expired"):
        ring.identify(shown, None, NOW + 330)


def test_algorithms_cannot_be_confused() -> None:
    """No `none`, no public key as a shared secret, no algorithm that is not configured, no key of another family."""
    issuer = Issuer()
    said = claims(NOW)
    for algorithm in ("none", "None", "NONE", ""):
        assert "is not accepted" in issuer.refuses(raw({"alg": algorithm, "kid": "r"}, said))
    for secret in (PUBLIC_PEM, USUAL, json.dumps(jwk(RSA, "r")).encode()):
        for algorithm in ("HS256", "hs256"):
            assert "is not accepted" in issuer.refuses(raw({"alg": algorithm, "kid": "r"}, said, secret))
        assert "RS256" not in issuer.refuses(raw({"alg": "RS256", "kid": "r"}, said, secret))
    assert "is not accepted" in issuer.refuses(token(NOW, algorithm="RS512"))
    assert "no such key" in issuer.refuses(token(NOW, key=EC, algorithm="ES256", kid="r"))
    assert "no such key" in issuer.refuses(token(NOW, kid="e"))
    assert "signature is wrong" in issuer.refuses(token(NOW, key=OTHER_RSA))


def test_a_token_brings_no_key_of_its_own() -> None:
    """`jwk`, `jku` and `x5u` lead nowhere."""
    own = jwk(OTHER_RSA, "r")
    for head in ({"jwk": own}, {"jku": "http://127.0.0.1:9/keys"}, {"x5u": "http://127.0.0.1:9/cert"}):
        forged = jwt.encode(claims(NOW), OTHER_RSA, algorithm="RS256", headers={"kid": "r", **head})
        assert "signature is wrong" in Issuer().refuses(forged.encode())


def test_what_a_document_of_keys_may_hold() -> None:
    secret = {"kty": "oct", "kid": "s", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}
    found = keys_of(
        document(jwk(RSA, "r"), secret, jwk(EC, "x", use="enc"), jwk(EC, "y", key_ops=["sign"])), ALGORITHMS
    )
    assert set(found) == {("r", "RS256")}
    assert set(keys_of(document(jwk(RSA, "r", alg="RS256")), ("RS256", "PS256"))) == {("r", "RS256")}
    whole = jwt.get_algorithm_by_name("RS256").to_jwk(RSA, as_dict=True)
    assert set(keys_of(document({**whole, "kid": "p", "key_ops": ["verify"]}), ALGORITHMS)) == {("p", "RS256")}
    for wrong in (
        b"",
        b"[]",
        b"{}",
        b'{"keys": 3}',
        b'{"keys": [3]}',
        b'{"keys": []}',
        document(secret),
        b"\xff",
        b"[" * 9999,
    ):
        with pytest.raises(ConfigError, match="issuer's keys"):
            keys_of(wrong, ALGORITHMS)


def test_a_key_that_nobody_knows_makes_somebody_look() -> None:
    issuer = Issuer(document(jwk(EC, "e")))
    assert "no such key" in issuer.refuses(token(NOW))
    assert issuer.missed == 1
    issuer.tokens.adopt(keys_of(USUAL, ALGORITHMS))
    assert issuer.tokens.identify(token(NOW), NOW)


def test_new_keys_end_what_the_old_ones_said() -> None:
    issuer = Issuer()
    good = token(NOW)
    assert issuer.tokens.identify(good, NOW)
    issuer.tokens.adopt(keys_of(document(jwk(EC, "e")), ALGORITHMS))
    assert "no such key" in issuer.refuses(good)


def test_nobody_is_known_while_the_keys_are_away() -> None:
    issuer = Issuer()
    known = token(NOW)
    assert issuer.tokens.identify(known, NOW)
    issuer.tokens.away = True
    for one in (known, token(NOW, sub="bob")):
        with pytest.raises(AuthAway):
            issuer.tokens.identify(one, NOW)


def test_memory_of_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Good and bad ones; one that is remembered costs no signature."""
    monkeypatch.setattr(tokens, "REMEMBERED", 4)
    issuer = Issuer(settings=Jwt(issuer=ISSUER, audience=AUDIENCE, jwks="k", algorithms=("EdDSA",)))
    for number in range(9):
        assert issuer.tokens.identify(token(NOW, key=ED, algorithm="EdDSA", kid="d", sub=f"s{number}"), NOW)
        issuer.refuses(token(NOW, key=ED, algorithm="EdDSA", kid="d", aud=f"a{number}"))
    assert len(issuer.tokens._known) == len(issuer.tokens._refused) == 4
    last = token(NOW, key=ED, algorithm="EdDSA", kid="d", sub="s8")
    assert issuer.tokens.identify(last, NOW) is issuer.tokens.identify(last, NOW)


@given(some.binary(max_size=200) | some.text(max_size=80).map(str.encode))
def test_what_is_no_token_is_left_to_others(noise: bytes) -> None:
    """And never ends in anything but a refusal."""
    issuer = Issuer()
    for one in (noise, noise + b"." + noise + b"." + noise):
        with contextlib.suppress(Unauthorized):
            assert issuer.tokens.identify(one, NOW) is None


def test_a_token_that_is_too_long_is_not_read() -> None:
    assert Issuer().tokens.identify(token(NOW, sub="a", more="x" * tokens.LARGEST), NOW) is None
