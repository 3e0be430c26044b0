"""A receipt: what happened to one request, as one frozen value with one spelling (specs/receipts.md).

Its members stand in the order of RFC 8785, and it holds no fractions, so that msgspec's compact JSON is its canonical form.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

import msgspec

from penstock.errors import BadReceipt

VERSION = 1
SALT = 32
LOST = "lost"
"""The finish of a request whose end nobody saw: the process was killed."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """A backend that was asked and did not answer, and why."""

    backend: str
    reason: str


class Timings(msgspec.Struct, frozen=True, gc=False):
    """Whole microseconds since the request arrived; null where it has not happened."""

    first: int | None = None
    queued: int = 0
    sent: int | None = None
    total: int | None = None


class Tool(msgspec.Struct, frozen=True, gc=False):
    """A tool the answer calls, and the salted digest of the arguments it gives."""

    arguments: str
    name: str


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens as the engine counted them."""

    completion: int
    prompt: int


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What a policy said."""

    step: str
    verdict: str


class Receipt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request. Every member is always there, null where there is nothing to say."""

    adapter: str | None
    """Digest of the adapter, `sha256:…`."""
    alias: str
    answer: str | None
    """Salted digest of the bytes the client was sent as a body."""
    attempts: int
    backend: str
    caller: str
    digest: str | None
    """Digest of the model, as its engine tells it."""
    error: str | None
    fallback: tuple[Step, ...]
    finish: str
    """Why the answer ended, in the engine's word; `lost`, or empty where no answer ended."""
    id: str
    key: str
    model: str
    """The model asked of the backend."""
    outcome: str
    """answered, refused, broken, client gone or lost."""
    path: str
    prompt: str | None
    """Salted digest of the request's body."""
    status: int
    stream: bool
    target: int
    """Which target of the alias answered, from 0; -1 where none was asked."""
    tenant: str
    time: str
    """When it arrived: RFC 3339 in UTC, microseconds. By the clock of the machine; the order is that of the log."""
    timings: Timings
    tools: tuple[Tool, ...]
    usage: Usage | None
    v: int = VERSION
    verdicts: tuple[Verdict, ...]


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Receipt)


def canonical(receipt: Receipt) -> bytes:
    return _encode(receipt)


def read(data: bytes) -> Receipt:
    """A receipt from its canonical bytes; any other spelling, or another version, raises `BadReceipt`."""
    try:
        found = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadReceipt(f"Reading a receipt: {error}.") from None
    if found.v != VERSION:
        raise BadReceipt(f"Reading a receipt: its version is {found.v}.", hint="A newer Penstock may read it.")
    if _encode(found) != data:
        raise BadReceipt("Reading a receipt: these bytes are not its canonical form.")
    return found


def entry(salt: bytes, data: bytes) -> bytes:
    """What the log holds of a receipt."""
    return sha256(salt + data).digest()


def salted(salt: bytes, digest: str | None) -> str | None:
    """The digest that a receipt shows of a text whose SHA-256 this is; nobody without the salt can try texts on it."""
    return None if digest is None else "sha256:" + sha256(salt + bytes.fromhex(digest)).hexdigest()


def when(microseconds: int) -> str:
    """Of microseconds since 1970."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"
