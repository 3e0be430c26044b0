"""Who asks: the key in the headers, compared by digest. Nothing of a body is read before this has passed.

Keys are high-entropy secrets, so an unsalted SHA-256 and a dictionary of digests leak nothing useful by their timing:
an attacker who controls the input of SHA-256 cannot steer its output byte by byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from penstock.config import CallerEntry
from penstock.errors import Forbidden, Unauthorized
from penstock.types import LOCAL, Caller


class Keyring:
    """All callers of a configuration, by digest of their key."""

    def __init__(self, callers: Mapping[str, CallerEntry]) -> None:
        self._callers = {
            bytes.fromhex(entry.key_sha256): Caller(name=name, tenant=entry.tenant, scopes=frozenset(entry.scopes))
            for name, entry in callers.items()
        }

    def identify(self, headers: Mapping[bytes, bytes]) -> Caller:
        """The caller behind these headers; everybody is `LOCAL` where no callers are configured."""
        if not self._callers:
            return LOCAL
        key = _key(headers)
        if not key:
            msg = "Checking the key: the request carries none."
            raise Unauthorized(msg, hint="Send it as `Authorization: Bearer sk-…`.")
        caller = self._callers.get(hashlib.sha256(key).digest())
        if caller is None:
            msg = "Checking the key: no caller has this key."
            raise Unauthorized(msg, hint="Ask the operator for one; `callers` in penstock.yaml lists who may ask.")
        return caller


def _key(headers: Mapping[bytes, bytes]) -> bytes:
    value = headers.get(b"authorization")
    if value is not None:
        return value[7:].strip() if value[:7].lower() == b"bearer " else b""
    return headers.get(b"x-api-key", b"")


def may_use(caller: Caller, alias: str) -> bool:
    """Whether the caller's scopes name this alias; lists show no other."""
    return "*" in caller.scopes or f"alias:{alias}" in caller.scopes


def check_scope(caller: Caller, alias: str) -> None:
    """Refuse an alias that the caller's scopes do not name."""
    if may_use(caller, alias):
        return
    msg = f"The caller {caller.name!r} may not use the model {alias!r}."
    raise Forbidden(msg, hint="Its scopes in penstock.yaml would have to name this alias.")
