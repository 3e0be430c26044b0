"""Tokens of an identity provider (JWT): signature, issuer, audience and times checked; claims turned into a caller.

Knows no sockets and no clock: keys come from jwks.py, the time with every question. Which algorithm may check with which
key is settled when keys are taken, never by the token: no `none`, no shared secret, no RSA key as one. What a token says
of where its key is (`jku`, `x5u`, `jwk`) is not read. A token that was checked is remembered by its digest, and so is one
that was refused; both memories are bounded, and end when the keys change.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jwt
import msgspec

from penstock.config_auth import Jwt
from penstock.errors import AuthAway, ConfigError, Unauthorized
from penstock.scopes import problem
from penstock.types import Caller

REMEMBERED = 4096
LARGEST = 16 * 1024
"""Bytes of a token."""
MOST_KEYS = 64
LONGEST_NAME = 200

_FAMILIES = {"RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("Ed",)}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

Keys = Mapping[tuple[str, str], jwt.PyJWK]
"""By key id and algorithm."""


def keys_of(document: bytes, algorithms: Sequence[str]) -> Keys:
    """The keys of a JWKS document that may check one of these algorithms; `ConfigError` where there is none."""
    try:
        listed = msgspec.json.decode(document)["keys"]
        entries = [dict(one) for one in listed[:MOST_KEYS]]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"Reading the issuer's keys: it is no JWKS document ({error}).") from None
    found: dict[tuple[str, str], jwt.PyJWK] = {}
    for entry in entries:
        for algorithm in algorithms:
            if _fits(entry, algorithm):
                public = {name: value for name, value in entry.items() if name not in _PRIVATE}
                try:
                    found[str(entry.get("kid", "")), algorithm] = jwt.PyJWK(public, algorithm)
                except (jwt.PyJWTError, ValueError, TypeError):
                    continue  # a key of a sort that we do not know; others may be ours
    if not found:
        raise ConfigError(
            f"Reading the issuer's keys: none of {len(entries)} is for {', '.join(algorithms)}.",
            hint="auth.jwt.algorithms says what is accepted.",
        )
    return found


def _fits(entry: Mapping[str, Any], algorithm: str) -> bool:
    family = _FAMILIES.get(str(entry.get("kty")), ())
    return (
        algorithm.startswith(tuple(family))
        and bool(family)
        and entry.get("alg", algorithm) == algorithm
        and entry.get("use", "sig") == "sig"
        and "verify" in entry.get("key_ops", ("verify",))
    )


class Tokens:
    """Everybody whom one issuer vouches for."""

    def __init__(self, settings: Jwt, missing: Callable[[], None]) -> None:
        self._settings = settings
        self._missing = missing
        """Called for a key that is not known: it may be a new one."""
        self._keys: Keys = {}
        self._known: OrderedDict[bytes, Caller] = OrderedDict()
        self._refused: OrderedDict[bytes, str] = OrderedDict()
        self._checks = jwt.PyJWT()
        self.away = True
        """The issuer's keys are not known, or not known to hold any more."""

    def adopt(self, keys: Keys) -> None:
        """Take the issuer's keys."""
        self._keys = keys
        self._known.clear()
        self._refused.clear()
        self.away = False

    def identify(self, token: bytes, now: float) -> Caller | None:
        """The caller it names at this wall time; None for what is no token. `Unauthorized` says what is wrong with one."""
        digest = hashlib.sha256(token).digest()
        caller = self._known.get(digest)
        if caller is not None:
            return self._still(caller)
        why = self._refused.get(digest)
        if why is not None:
            raise _refusal(why)
        algorithm = self._algorithm(token)
        if algorithm is None:
            return None
        if self.away:
            msg = "Checking the token: the keys of its issuer cannot be read now."
            raise AuthAway(msg, hint="Try again in a moment.", retry_after=2)
        claims = self._verified(token, algorithm, digest)
        caller = self._caller(claims, self._expiry(claims, now))
        _remember(self._known, digest, caller)
        return caller

    def _still(self, caller: Caller) -> Caller:
        if self.away:
            msg = "Checking the token: the keys of its issuer have not been seen for too long."
            raise AuthAway(msg, hint="Try again in a moment.", retry_after=2)
        return caller

    def _algorithm(self, token: bytes) -> tuple[str, str] | None:
        """Key id and algorithm as the token has them."""
        if len(token) > LARGEST:
            return None
        try:
            head = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            return None
        return str(head.get("kid", "")), str(head.get("alg", ""))

    def _verified(self, token: bytes, named: tuple[str, str], digest: bytes) -> dict[str, Any]:
        identity, algorithm = named
        if algorithm not in self._settings.algorithms:
            raise _refusal(f"its algorithm {algorithm[:20]!r} is not accepted")
        key = self._keys.get(named) or self._only(identity, algorithm)
        if key is None:
            self._missing()
            raise _refusal("the issuer has no such key")
        try:
            claims: dict[str, Any] = self._checks.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                # Times are ours to check, by the clock we are given.
                options={
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "enforce_minimum_key_length": True,
                },
            )
        except jwt.PyJWTError as error:
            why = _WORDS.get(type(error), "it is not what its issuer signed")
            _remember(self._refused, digest, why)
            raise _refusal(why) from None
        return claims

    def _only(self, identity: str, algorithm: str) -> jwt.PyJWK | None:
        """A token without a key id means the only key there is."""
        keys = [key for (_, one), key in self._keys.items() if one == algorithm] if not identity else []
        return keys[0] if len(keys) == 1 else None

    def _expiry(self, claims: Mapping[str, Any], now: float) -> float:
        leeway = self._settings.leeway
        exp, nbf, iat = (_time(claims, name) for name in ("exp", "nbf", "iat"))
        if exp is None or exp + leeway <= now:
            raise _refusal("it has expired")
        if any(begins is not None and begins - leeway > now for begins in (nbf, iat)):
            raise _refusal("it is not valid yet; is one of the two clocks wrong?")
        return exp + leeway

    def _caller(self, claims: Mapping[str, Any], until: float) -> Caller:
        settings = self._settings
        name, tenant = (_name(claims, claim) for claim in (settings.name_claim, settings.tenant_claim))
        told = claims.get(settings.scope_claim, "")
        words = told.split() if isinstance(told, str) else told if isinstance(told, list) else []
        scopes = frozenset(one for one in words if isinstance(one, str) and not problem(one))
        return Caller(name=name, tenant=tenant, scopes=scopes, key_id=f"jwt:{name}", until=until)


_WORDS: dict[type[jwt.PyJWTError], str] = {
    jwt.InvalidAudienceError: "it is meant for somebody else",
    jwt.InvalidIssuerError: "another issuer made it",
    jwt.InvalidSignatureError: "its signature is wrong",
    jwt.MissingRequiredClaimError: "it lacks exp, iss or aud",
}


def _refusal(why: str) -> Unauthorized:
    return Unauthorized(f"Checking the token: {why}.", hint="Get a new one from the identity provider.")


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise _refusal(f"its {name} is no time")
    return float(value)


def _name(claims: Mapping[str, Any], claim: str) -> str:
    value = claims.get(claim)
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= LONGEST_NAME
        or not value.isascii()
        or not value.isprintable()
    ):
        raise _refusal(f"its claim {claim!r} is no name")
    return value


def _remember(memory: OrderedDict[bytes, Any], digest: bytes, what: object) -> None:
    memory[digest] = what
    while len(memory) > REMEMBERED:
        memory.popitem(last=False)
