"""Who a client says it is by its certificate, once TLS has verified it against `tls.client_ca`. Reads one; judges nobody."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from typing import Any

import msgspec

_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "domainComponent": "DC",
    "userId": "UID",
}


class PeerCertificate(msgspec.Struct, frozen=True):
    """What a verified certificate names."""

    subject: str
    """`CN=name,O=organisation`, the most specific part first, with commas and the like in values escaped (RFC 4514)."""
    common_name: str
    names: tuple[str, ...]
    """Its subject alternative names as `DNS:…`, `URI:…`, `email:…` and `IP Address:…`."""
    sha256: str
    """Of the certificate itself, in hexadecimal digits."""


def presented(transport: asyncio.BaseTransport) -> PeerCertificate | None:
    """The certificate of the client at the other end; None where there is no TLS, or it showed none.

    Costs some microseconds: ask once for a connection, when it is first needed, and not for every request.
    """
    spoken: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if spoken is None:
        return None
    raw = spoken.getpeercert(binary_form=True)
    # The standard library's own type of it is too wide to take apart: a tuple of groups of pairs, a tuple of pairs.
    told: dict[str, Any] | None = spoken.getpeercert()
    if not raw or not told:
        # The second is empty for a certificate that nobody has verified.
        return None
    parts = [pair for group in told.get("subject", ()) for pair in group]
    return PeerCertificate(
        subject=",".join(f"{_SHORT.get(name, name)}={_escaped(value)}" for name, value in reversed(parts)),
        common_name=next((value for name, value in parts if name == "commonName"), ""),
        names=tuple(f"{kind}:{value}" for kind, value in told.get("subjectAltName", ())),
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def _escaped(value: str) -> str:
    escaped = "".join(f"\\{letter}" if letter in ',+"\\<>;=' else letter for letter in value)
    if escaped[:1] in {" ", "#"}:
        escaped = "\\" + escaped
    return escaped[:-1] + "\\ " if len(escaped) > 1 and escaped.endswith(" ") else escaped
