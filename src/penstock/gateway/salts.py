"""A salt for each tenant in what vLLM is asked, so that nobody learns from its prefix cache what another tenant asked.

vLLM shares the cache of equal beginnings among all who ask; how soon an answer begins tells whether somebody had asked the
same before. With a `cache_salt` only those share who have the same. It is made from a secret of this gateway and the tenant:
never the tenant's name, and the same in every worker and after a restart where the secret is. Made once for each tenant; a
request pays for one splice.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import structlog

from penstock.errors import ConfigError
from penstock.protocols import splice
from penstock.protocols.dialect import Call, Clock, Destination, Outgoing, Pairing, Reader, Timing
from penstock.state import pepper
from penstock.types import LOCAL, Caller, Kind

if TYPE_CHECKING:
    from penstock.config import Config

log = structlog.stdlib.get_logger("penstock.tenants")

ROUTES = frozenset(
    {
        "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings", "/score", "/v1/score",
        "/rerank", "/v1/rerank", "/v2/rerank",
    }
)  # fmt: skip
"""Where vLLM takes a `cache_salt`; looked at in 0.33's request types. The others keep nothing of a prompt."""
KEPT = 10_000
"""Tenants whose salt is remembered."""
_PURPOSE = b"penstock cache salt 1\0"
_NAME = "cache_salt"


class _Own(msgspec.Struct):
    cache_salt: msgspec.Raw = msgspec.Raw()


_own = msgspec.json.Decoder(_Own)


class Salts:
    """The salts of one process."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._members: dict[str, bytes] = {}

    def salted(self, outgoing: Outgoing, caller: Caller) -> Outgoing:
        """The same with the salt of the caller's tenant. Everybody on this machine, without any caller, is nobody's tenant."""
        if caller is LOCAL:
            return outgoing
        member = self._members.get(caller.tenant) or self._make(caller.tenant)
        # Of callers that may not send one of their own, a body with one was refused before (allowed.py).
        if "*" in caller.extras or _NAME in caller.extras:
            body = self._beside_own(outgoing.body, caller.tenant, member)
        else:
            body = splice.insert(outgoing.body, member)
        return Outgoing(outgoing.path, body, outgoing.content_type, outgoing.dropped)

    def _make(self, tenant: str) -> bytes:
        if len(self._members) >= KEPT:
            self._members.clear()
        made = self._members[tenant] = b'"cache_salt":"' + self._salt(tenant, b"") + b'"'
        return made

    def _beside_own(self, body: bytes, tenant: str, member: bytes) -> bytes:
        """One that a caller sends divides its tenant's cache further, and opens nobody else's."""
        own = bytes(_own.decode(body).cache_salt)
        if not own:
            return splice.insert(body, member)
        salt = self._salt(tenant, b"" if own == b"null" else b"\0" + own)
        return splice.replace(body, {_NAME: b'"' + salt + b'"'})

    def _salt(self, tenant: str, own: bytes) -> bytes:
        name = tenant.encode("utf-8", "surrogatepass")
        data = _PURPOSE + len(name).to_bytes(4, "big") + name + own
        return hmac.new(self._secret, data, hashlib.sha256).hexdigest().encode()


def salts_for(path: str, kind: Kind, salts: Salts | None) -> Salts | None:
    """Those to use for a route of an engine; None where it takes none."""
    return salts if kind is Kind.VLLM and path in ROUTES else None


class Salted:
    """A pairing that salts for one caller: for copies to a shadow."""

    def __init__(self, inner: Pairing, salts: Salts, caller: Caller) -> None:
        self._inner = inner
        self._salts = salts
        self._caller = caller

    def request(self, call: Call, to: Destination) -> Outgoing:
        """The request with its salt."""
        return self._salts.salted(self._inner.request(call, to), self._caller)

    def reader(self, call: Call, to: Destination, timing: Timing, clock: Clock) -> Reader:
        """The pairing's own."""
        return self._inner.reader(call, to, timing, clock)


def secret(config: Config, environ: Mapping[str, str]) -> bytes:
    """What salts are made with: from the pepper of keys. Where there is none, one for the life of this process. Blocks."""
    try:
        find = pepper.make if config.callers else pepper.read
        found = find(config.state, config.auth.pepper_env, environ)
    except ConfigError as error:
        log.warning("salts of tenants change with every start, and differ between workers", problem=error.message)
        found = None
    return hmac.new(found, _PURPOSE, hashlib.sha256).digest() if found else os.urandom(32)
