"""A key as it is kept: who may ask with it, for what, for how long; never the secret itself.

    sk-ID-SECRET        ID: 10 letters and digits, public, names the key · SECRET: 192 random bits

What is kept of a key is HMAC-SHA-256 over the whole of it with the pepper of this installation, so that a copy of the
database lets nobody in and cannot be guessed against. Pure: no I/O, and no database library.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import secrets

import msgspec

from penstock.types import Caller, KeyLimits

SECRET_BYTES = 24
_ID_BYTES = 6
FORM = re.compile(rb"sk-[a-z2-7]{10}-[A-Za-z0-9_-]{32}")
"""How a key is written. What has another form is none of ours, and no digest is made of it."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key. Times are wall time in seconds."""

    id: str
    name: str
    tenant: str
    scopes: tuple[str, ...]
    limits: KeyLimits | None = None
    extras: tuple[str, ...] = ()
    forwards_users: bool = False
    made: float
    expires: float | None = None
    revoked: float | None = None
    replaced_by: str = ""

    def caller(self) -> Caller:
        """Who asks with it."""
        scopes, extras = frozenset(self.scopes), frozenset(self.extras)
        return Caller(
            name=self.name,
            tenant=self.tenant,
            scopes=scopes,
            key_id=self.id,
            limits=self.limits,
            extras=extras,
            forwards_users=self.forwards_users,
            free="*" in scopes and "*" in extras,
            until=float("inf") if self.expires is None else self.expires,
        )

    def state(self, now: float) -> str:
        """In one word."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a new key shall be."""

    name: str
    tenant: str
    scopes: tuple[str, ...] = ("*",)
    limits: KeyLimits | None = None
    extras: tuple[str, ...] = ()
    forwards_users: bool = False
    expires_in: float | None = None
    """Seconds from now."""


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key, by its id or its name."""

    key: str


class Rotate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key, and how long, in seconds, it goes on beside its successor."""

    key: str
    overlap: float = 24 * 3600.0


class Made(msgspec.Struct, frozen=True):
    """A new key and its secret, which is told this once."""

    secret: str
    key: Key


def fresh() -> tuple[str, str]:
    """The id and the whole of a new key."""
    identity = base64.b32encode(os.urandom(_ID_BYTES)).decode().rstrip("=").lower()
    return identity, f"sk-{identity}-{secrets.token_urlsafe(SECRET_BYTES)}"


def digest(pepper: bytes, key: bytes) -> bytes:
    """What is kept of a key, and looked up when one is shown."""
    return hmac.digest(pepper, key, "sha256")
