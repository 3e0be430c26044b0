"""Bodies that two keys must open: the auditor's own, and one of the tenant that is dropped when the tenant is erased.

The gateway seals to the auditor's public key (HPKE: X25519, HKDF-SHA256, AES-256-GCM) before anything touches a disk; the writer
locks that again with the tenant's key (AES-256-GCM). Without either of them nothing can be read, copies included.
"""

from __future__ import annotations

import base64
import binascii
import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from penstock.errors import BadReceipt

INFO = b"penstock receipt body v1"
KEY = 32
_NONCE = 12
_PUBLIC, _SECRET = "auditor-x25519:", "AUDITOR-SECRET-X25519:"
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class Bodies(msgspec.Struct, frozen=True):
    """What was asked and what was answered, byte for byte."""

    request: bytes
    answer: bytes


def new() -> tuple[str, str]:
    """A pair of an auditor's: public and secret line."""
    made = X25519PrivateKey.generate()
    public, secret = made.public_key().public_bytes_raw(), made.private_bytes_raw()
    return _PUBLIC + base64.b64encode(public).decode(), _SECRET + base64.b64encode(secret).decode()


def public(line: str) -> X25519PublicKey:
    return X25519PublicKey.from_public_bytes(_key(line, _PUBLIC))


def secret(line: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(_key(line, _SECRET))


def _key(line: str, prefix: str) -> bytes:
    try:
        found = base64.b64decode(line.strip().removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not line.startswith(prefix) or len(found) != KEY:
        raise BadReceipt(
            f"Reading an auditor's key: it is not {prefix}BASE64.", hint="`penstock audit keygen --auditor` makes one."
        )
    return found


def seal(text: bytes, to: X25519PublicKey) -> bytes:
    """For the auditor alone."""
    return _SUITE.encrypt(text, to, info=INFO)


def lock(sealed: bytes, key: bytes) -> bytes:
    """With the tenant's key."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, sealed, INFO)


def opened(locked: bytes, key: bytes, auditor: X25519PrivateKey) -> bytes:
    """What `lock` of `seal` was made of; raises `BadReceipt`."""
    try:
        inner = AESGCM(key).decrypt(locked[:_NONCE], locked[_NONCE:], INFO)
        return _SUITE.decrypt(inner, auditor, info=INFO)
    except (InvalidTag, ValueError):
        raise BadReceipt("Opening a sealed body: these are not its keys, or it was changed.") from None
