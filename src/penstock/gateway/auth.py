"""Who asks: the key in the headers, or the certificate of the connection. Nothing of a body is read before this has passed.

What is shown is looked up by its digest in memory; no request makes anybody ask a database. Keys are high-entropy secrets,
so a digest and a dictionary leak nothing useful by their timing: an attacker who controls the input of SHA-256 cannot
steer its output byte by byte, and one who does not have the pepper does not know the other digest at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from penstock.config_auth import CallerEntry
from penstock.errors import AuthAway, Forbidden, Unauthorized
from penstock.scopes import opens_alias, opens_route
from penstock.state.key import FORM, digest
from penstock.types import LOCAL, Caller, KeyLimits

if TYPE_CHECKING:
    from penstock.gateway.peer_certificate import PeerCertificate
    from penstock.gateway.tokens import Tokens

ALWAYS = float("-inf")
"""The time where none was given: nothing has expired."""


class Stored(msgspec.Struct, frozen=True):
    """The keys of the state, as this process knows them now."""

    asked: bool = False
    """Whether there are any, or shall be: then nobody comes in without showing something."""
    pepper: bytes = b""
    callers: Mapping[bytes, Caller] = {}
    away: bool = False
    """Nobody knows whether they still hold: they let nobody in."""


NONE_STORED = Stored()


class Keyring:
    """Everybody who may ask, by what they show; made anew with every change, so that what was found under another one is asked again."""

    __slots__ = ("_certificates", "_keys", "_stored", "_tokens", "open")

    def __init__(
        self, callers: Mapping[str, CallerEntry], stored: Stored = NONE_STORED, tokens: Tokens | None = None
    ) -> None:
        known = {name: caller_of(name, entry) for name, entry in callers.items()}
        self._keys = {
            bytes.fromhex(entry.key_sha256): known[name] for name, entry in callers.items() if entry.key_sha256
        }
        self._certificates = {entry.certificate: known[name] for name, entry in callers.items() if entry.certificate}
        self._stored = stored
        self._tokens = tokens
        self.open = not callers and not stored.asked and tokens is None
        """Everybody who reaches us may ask."""

    def identify(
        self, headers: Mapping[bytes, bytes], certificate: PeerCertificate | None = None, now: float = ALWAYS
    ) -> Caller:
        """The caller behind these headers at this wall time; everybody is `LOCAL` where nobody has to show anything."""
        if self.open:
            return LOCAL
        key = _key(headers)
        if not key:
            return self._certified(certificate)
        caller = self._stored.callers.get(digest(self._stored.pepper, key)) if self._may_be_stored(key) else None
        if caller is None and self._tokens is not None and key.count(b".") == 2:
            caller = self._tokens.identify(key, now)
        if caller is None:
            caller = self._keys.get(hashlib.sha256(key).digest())
        if caller is None:
            msg = "Checking the key: no caller has this key."
            raise Unauthorized(msg, hint="Ask the operator for one; it may have been revoked.")
        if caller.until <= now:
            msg = "Checking the key: it has expired."
            raise Unauthorized(msg, hint="Ask the operator for a new one.")
        return caller

    def _may_be_stored(self, key: bytes) -> bool:
        stored = self._stored
        if not stored.asked or not FORM.fullmatch(key):
            return False
        if stored.away and hashlib.sha256(key).digest() not in self._keys:
            msg = "Checking the key: the state that holds the keys cannot be read now."
            raise AuthAway(msg, hint="Try again in a moment.", retry_after=1)
        return not stored.away

    def _certified(self, certificate: PeerCertificate | None) -> Caller:
        if certificate is None or not self._certificates:
            msg = "Checking the key: the request carries none."
            raise Unauthorized(msg, hint="Send it as `Authorization: Bearer sk-…`.")
        shown = (
            f"sha256:{certificate.sha256}",
            f"subject:{certificate.subject}",
            *certificate.names,
            f"CN:{certificate.common_name}",
        )
        found = {caller.name: caller for one in shown if (caller := self._certificates.get(one)) is not None}
        if len(found) == 1:
            return next(iter(found.values()))
        msg = f"Checking the client certificate: {'several callers have' if found else 'no caller has'} a name in it."
        raise Unauthorized(msg, hint="`callers` in penstock.yaml say with `certificate` who is who.")


def caller_of(name: str, entry: CallerEntry) -> Caller:
    """The caller that stands in the configuration."""
    scopes, extras = frozenset(entry.scopes), frozenset(entry.extras)
    limits = KeyLimits(**msgspec.structs.asdict(entry.limits)) if entry.limits is not None else None
    return Caller(
        name=name,
        tenant=entry.tenant,
        scopes=scopes,
        key_id=f"config:{name}",
        limits=limits,
        extras=extras,
        forwards_users=entry.forwards_users,
        free="*" in scopes and "*" in extras,
    )


def _key(headers: Mapping[bytes, bytes]) -> bytes:
    value = headers.get(b"authorization")
    if value is not None:
        return value[7:].strip() if value[:7].lower() == b"bearer " else b""
    return headers.get(b"x-api-key", b"")


def may_use(caller: Caller, alias: str) -> bool:
    """Whether the caller's scopes open this alias; lists show no other."""
    return opens_alias(caller.scopes, alias)


def check_scope(caller: Caller, alias: str) -> None:
    """Refuse an alias that the caller's scopes do not open."""
    if may_use(caller, alias):
        return
    msg = f"The caller {caller.name!r} may not use the model {alias!r}."
    raise Forbidden(msg, hint="Its scopes would have to name this alias.")


def check_route(caller: Caller, operation: str) -> None:
    """Refuse a route that the caller's scopes do not open."""
    if opens_route(caller.scopes, operation):
        return
    msg = f"The caller {caller.name!r} may not ask for {operation}."
    raise Forbidden(msg, hint=f"Its scopes would have to name route:{operation}.")


def check_admin(caller: Caller) -> None:
    """Refuse whoever may not administer; `*` may not."""
    if "admin" not in caller.scopes:
        msg = f"The caller {caller.name!r} may not administer this gateway."
        raise Forbidden(msg, hint="Its scopes would have to name admin.")
