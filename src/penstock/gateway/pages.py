"""What holds for pages that people and scrapers look at: headers of HTML, and who sees the figures of everybody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.address import Address
from penstock.errors import Forbidden
from penstock.scopes import ADMIN
from penstock.types import Caller

_HTML = b"text/html"
_POLICY = b"content-security-policy"
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        _POLICY,
        b"default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""Of every HTML answer that does not say otherwise itself: nothing from elsewhere, in nobody's frame, in no cache."""


def hardening(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What is missing among the headers of an answer; nothing where it is no HTML."""
    own = dict(headers)
    if not own.get(b"content-type", b"").lower().startswith(_HTML):
        return []
    return [(name, value) for name, value in HEADERS if name not in own]


def from_here(scope: Mapping[str, Any]) -> bool:
    """Whether a request came in on an address that only this machine reaches."""
    server = scope.get("server")
    return server is not None and Address(str(server[0]), 0).loopback


def check_figures(caller: Caller) -> None:
    """Figures tell of all tenants, aliases and engines: beyond this machine a key is needed that may see them."""
    if ADMIN not in caller.scopes:
        msg = f"The caller {caller.name!r} may not see the figures of everybody."
        raise Forbidden(msg, hint="Give its key the scope `admin`, or scrape an address of listen_metrics.")
