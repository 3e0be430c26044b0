"""Signed notes (C2SP signed-note): a text, and lines with signatures of whoever stands for it. Ed25519 alone.

Keys are lines as well: `name+id+base64` for verifiers, `PRIVATE+KEY+name+id+base64` for signers.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from hashlib import sha256

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from penstock.errors import BadNote

ED25519 = 0x01
COSIGNATURE = 0x04
"""A witness' signature over the note and the time it gave it (C2SP tlog-cosignature)."""
MOST = 64
"""Signature lines of one note."""
LONGEST = 256 * 1024
_DASH = "— "
_NAME = re.compile(r"[^\s+\x00-\x1f]+")
_KEY = 32
_STAMP = 8


class Signature(msgspec.Struct, frozen=True):
    """One line below a note."""

    name: str
    id: bytes
    data: bytes

    def line(self) -> str:
        return f"{_DASH}{self.name} {base64.b64encode(self.id + self.data).decode()}\n"


class Note(msgspec.Struct, frozen=True):
    """A text with its signatures; nothing is verified yet."""

    text: str
    """With its final newline."""
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        return f"{self.text}\n{''.join(one.line() for one in self.signatures)}".encode()


class Verifier(msgspec.Struct, frozen=True):
    """Whose signatures count."""

    name: str
    kind: int
    key: bytes

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.key).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.key).decode()}"

    def accepts(self, note: Note) -> bool:
        """Whether the note carries a signature of this key; one that carries a bad one raises `BadNote`."""
        found = [one for one in note.signatures if (one.name, one.id) == (self.name, self.id)]
        for one in found:
            if not self._verifies(note.text, one.data):
                raise BadNote(f"Verifying a note: the signature of {self.name} is not of this text.")
        return bool(found)

    def _verifies(self, text: str, data: bytes) -> bool:
        message = text.encode()
        if self.kind == COSIGNATURE:
            if len(data) < _STAMP:
                return False
            message = _cosigned(text, int.from_bytes(data[:_STAMP], "big"))
            data = data[_STAMP:]
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(data, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer:
    """Who signs: a log, or a witness that says when."""

    def __init__(self, name: str, secret: bytes, kind: int = ED25519) -> None:
        if not _NAME.fullmatch(name):
            raise BadNote(f"Making a key: {name!r} is no name for one: no spaces and no plus.")
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self._secret = secret
        self.verifier = Verifier(name, kind, self._key.public_key().public_bytes_raw())

    @classmethod
    def new(cls, name: str, kind: int = ED25519) -> Signer:
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw(), kind)

    @classmethod
    def read(cls, line: str) -> Signer:
        """From its line."""
        marks = line.strip().split("+", 4)
        if len(marks) != 5 or marks[:2] != ["PRIVATE", "KEY"]:
            raise BadNote("Reading a signing key: it does not look like PRIVATE+KEY+name+id+….")
        data = _decoded(marks[4], "a signing key")
        if len(data) != 1 + _KEY or data[0] not in {ED25519, COSIGNATURE}:
            raise BadNote("Reading a signing key: it is not one of Ed25519.")
        made = cls(marks[2], data[1:], data[0])
        if made.verifier.id.hex() != marks[3]:
            raise BadNote("Reading a signing key: its id is of another key.")
        return made

    def secret(self) -> str:
        """Its line. Never print it."""
        data = base64.b64encode(bytes([self.verifier.kind]) + self._secret).decode()
        return f"PRIVATE+KEY+{self.verifier.name}+{self.verifier.id.hex()}+{data}"

    def sign(self, text: str, at: int = 0) -> Signature:
        """Over a text; `at` is the time a witness gives, in seconds since 1970."""
        if self.verifier.kind == COSIGNATURE:
            data = at.to_bytes(_STAMP, "big") + self._key.sign(_cosigned(text, at))
        else:
            data = self._key.sign(text.encode())
        return Signature(self.verifier.name, self.verifier.id, data)


def _cosigned(text: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def verifier(line: str) -> Verifier:
    """From its line; raises `BadNote`."""
    name, _, rest = line.strip().partition("+")
    number, _, data = rest.partition("+")
    decoded = _decoded(data, "a public key")
    if not _NAME.fullmatch(name) or len(decoded) != 1 + _KEY or decoded[0] not in {ED25519, COSIGNATURE}:
        raise BadNote(f"Reading a public key: {line[:80]!r} is not one of Ed25519, name+id+base64.")
    made = Verifier(name, decoded[0], decoded[1:])
    if made.id.hex() != number.lower():
        raise BadNote(f"Reading a public key: the id in {line[:80]!r} is of another key.")
    return made


def parse(data: bytes) -> Note:
    """Cut a note from its signatures; raises `BadNote`."""
    if len(data) > LONGEST:
        raise BadNote(f"Reading a note: {len(data)} bytes are more than {LONGEST}.")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise BadNote("Reading a note: it is no UTF-8.") from None
    text, mark, below = whole.rpartition("\n\n")
    if not mark or not below.endswith("\n") or any(ord(one) < 0x20 and one != "\n" for one in whole):
        raise BadNote("Reading a note: no text with an empty line and signatures below it.")
    lines = below[:-1].split("\n")
    if len(lines) > MOST:
        raise BadNote(f"Reading a note: more than {MOST} signatures.")
    return Note(text + "\n", tuple(_signature(line) for line in lines))


def _signature(line: str) -> Signature:
    name, _, data = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not _NAME.fullmatch(name):
        raise BadNote(f"Reading a note: {line[:80]!r} is no signature line.")
    decoded = _decoded(data, "a signature")
    if len(decoded) < 5:
        raise BadNote("Reading a note: a signature is too short.")
    return Signature(name, decoded[:4], decoded[4:])


def _decoded(text: str, what: str) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not found or base64.b64encode(found).decode() != text:
        raise BadNote(f"Reading {what}: {text[:40]!r} is no base64.")
    return found


def vouched(note: Note, witnesses: Sequence[Verifier], need: int) -> None:
    """Raise `BadNote` unless `need` of these witnesses have signed."""
    seen = [one.name for one in witnesses if one.accepts(note)]
    if len(seen) < need:
        told = ", ".join(seen) or "none"
        raise BadNote(f"Verifying a checkpoint: {need} of its witnesses must have signed, and {told} did.")
