"""Where something listens and where an engine is reached: `host:port` and base URLs, in one normal form each.

Pure text: nothing here resolves a name or opens a socket. ValueErrors say what is wrong in words that fit after
"expects …, but"; the caller adds which value stood where.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

_PORTS = {"http": 80, "https": 443}


class Address(NamedTuple):
    """A host, without the brackets of IPv6, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def wildcard(self) -> bool:
        """Whether it stands for every address of this machine."""
        return self.host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound

    def reaches(self, other: Address) -> bool:
        """Whether a connection to `other` would arrive at a listener on this address."""
        if self.port != other.port or not self.port:
            return False
        if self.host == other.host:
            return True
        near = other.loopback or other.wildcard
        return near and (self.wildcard or self.loopback)


def parse_address(text: str) -> Address:
    """An address to listen on: `host:port` or `[::1]:port`."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError("an address as host:port, for example 127.0.0.1:8000")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("an IPv6 address in the brackets, for example [::1]:8000") from None
    elif ":" in host:
        raise ValueError("an IPv6 address in brackets, for example [::1]:8000")
    if any(letter.isspace() or letter in "/@[]" for letter in host):
        raise ValueError("an address as host:port, without a scheme or a path")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("a port from 0 to 65535")
    return Address(host, int(port))


def base_url(text: str) -> str:
    """The base of an engine's URL, without a closing slash and without `/v1` (X2): both spellings give one value.

    What could be meant in two ways is refused, so that no request ever goes to `/v1/v1`.
    """
    parts = _split(text)
    segments = [segment for segment in parts.path.split("/") if segment]
    count = segments.count("v1")
    if count > 1 or (count == 1 and segments[-1] != "v1"):
        raise ValueError("a base URL with /v1 at its end or not at all: this one could be meant in two ways")
    if count:
        segments.pop()
    if segments and segments[-1] == "api":
        raise ValueError("a base URL: leave out /api, it is added for each request")
    return "/".join([f"{parts.scheme}://{_netloc(parts)}", *segments])


def url_address(url: str) -> Address:
    """The host and port that a base URL leads to."""
    parts = urlsplit(url)
    return Address((parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0))


def ollama_url(text: str) -> str:
    """The base URL in OLLAMA_HOST, read as Ollama's own client reads it.

    `host`, `host:port`, `:port` and full URLs are allowed there; a bare host has port 11434, and an address that means
    "listen everywhere" is reached on loopback.
    """
    trimmed = text.strip().strip("\"'")
    scheme, found, rest = trimmed.partition("://")
    if not found:
        scheme, rest = "http", trimmed
    authority, slash, path = rest.partition("/")
    if authority.startswith(":"):
        authority = "127.0.0.1" + authority
    if not authority:
        authority = "127.0.0.1"
    if not found and not _has_port(authority):
        authority += ":11434"
    url = base_url(f"{scheme}://{authority}{slash}{path}")
    address = url_address(url)
    return url.replace(_host_text(address.host), "127.0.0.1", 1) if address.wildcard else url


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as broken:
        raise ValueError(f"a URL that can be read ({broken})") from None
    if parts.scheme not in _PORTS:
        raise ValueError("a URL that begins with http:// or https://")
    if not parts.hostname or port == 0 or any(letter.isspace() or not letter.isprintable() for letter in text):
        raise ValueError("a URL with a host, for example http://127.0.0.1:8001")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL without user or password: name the key's environment variable in key_env")
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise ValueError("a URL without ? or #")
    return parts


def _netloc(parts: SplitResult) -> str:
    host = _host_text((parts.hostname or "").lower())
    if parts.port is None or parts.port == _PORTS[parts.scheme]:
        return host
    return f"{host}:{parts.port}"


def _host_text(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _has_port(authority: str) -> bool:
    if authority.startswith("["):
        return not authority.endswith("]")
    return ":" in authority
