"""What TLS is spoken with, on our listeners and towards engines: contexts made of files, and never one that trusts anybody.

TLS 1.2 is the oldest there is, and of it only key exchanges with forward secrecy and ciphers that authenticate. Nothing here
opens a socket or watches a file; certificates.py does the latter.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from penstock.config import BackendTls, Config, Tls
from penstock.errors import ConfigError

Refused = Callable[[str], None]
"""Told in one word why a client's handshake failed."""

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL"
"""Of TLS 1.2; all ciphers of 1.3 are of this kind."""

_WHY = {
    "HTTP_REQUEST": "plain",
    "HTTPS_PROXY_REQUEST": "plain",
    "UNSUPPORTED_PROTOCOL": "version",
    "UNKNOWN_PROTOCOL": "version",
    "WRONG_VERSION_NUMBER": "version",
    "VERSION_TOO_LOW": "version",
    "NO_SHARED_CIPHER": "cipher",
    "CERTIFICATE_VERIFY_FAILED": "certificate",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no_certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "distrusted",
    "SSLV3_ALERT_BAD_CERTIFICATE": "distrusted",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "distrusted",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "distrusted",
}
_VERIFIED = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    62: "its certificate is for another host",
    64: "its certificate is for another host",
}
"""By X509_V_ERR_* of OpenSSL."""
_WANTED = "it refuses us without a certificate that it trusts"
_DISTRUSTED = "it does not trust our certificate"
_PLAIN = "it does not speak TLS"
_SAID = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTED,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _WANTED,
    "TLSV1_ALERT_UNKNOWN_CA": _DISTRUSTED,
    "SSLV3_ALERT_BAD_CERTIFICATE": _DISTRUSTED,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _DISTRUSTED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _DISTRUSTED,
    "WRONG_VERSION_NUMBER": _PLAIN,
    "RECORD_LAYER_FAILURE": _PLAIN,
    "HTTP_REQUEST": _PLAIN,
    "UNSUPPORTED_PROTOCOL": "it speaks no TLS later than 1.1",
}
"""By the reason that OpenSSL gives."""


def listening(tls: Tls, refused: Refused | None = None) -> ssl.SSLContext:
    """For the listeners; `ConfigError` where a file is not what it should be."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    _load_pair(context, "tls", tls.cert, tls.key)
    # One round trip more for nobody: a list of our own order is the one thing that keeps a client from the weakest it knows.
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.client_ca:
        _load_authorities(context, "tls.client_ca", tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if tls.clients == "required" else ssl.CERT_OPTIONAL
        # A session that is resumed was verified when it began, perhaps against an authority that is no longer trusted.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    if refused is not None:
        _tell(context, refused)
    return context


def towards(tls: BackendTls | None) -> ssl.SSLContext:
    """For connections to an engine; with nothing given the system's authorities are believed."""
    given = tls or BackendTls()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    if given.ca:
        _load_authorities(context, "tls.ca", given.ca)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if given.cert:
        _load_pair(context, "tls", given.cert, given.key)
    return context


def check(config: Config) -> None:
    """Whether TLS can be spoken as configured: a `ConfigError` now, instead of a traceback from deep inside the server."""
    if config.tls is not None:
        listening(config.tls)
    for name, backend in config.backends.items():
        if backend.tls is not None:
            try:
                towards(backend.tls)
            except ConfigError as error:
                raise ConfigError(f"Backend {name}: {error.message}", hint=error.hint) from None


def why_not(error: ssl.SSLError) -> str:
    """Why no TLS could be spoken with an engine, in words that name no address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _VERIFIED.get(error.verify_code)
        return known or f"its certificate is not trusted ({error.verify_message})"
    reason = error.reason or ""
    return _SAID.get(reason) or f"TLS failed ({reason.replace('_', ' ').lower() or 'without a word'})"


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])


def _load_pair(context: ssl.SSLContext, where: str, cert: str, key: str) -> None:
    _readable(f"{where}.cert", cert)
    _readable(f"{where}.key", key)
    try:
        # A password is given so that nobody is asked for one at a terminal.
        context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        msg = f"Reading {where}.cert {cert!r} and {where}.key {key!r}: {error.reason or 'not what they should be'}."
        raise ConfigError(
            msg, hint="Both are PEM files, and the key is the one of the certificate and has no password."
        ) from None


def _load_authorities(context: ssl.SSLContext, where: str, path: str) -> None:
    _readable(where, path)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        msg = f"Reading {where} {path!r}: {error.reason or 'no certificate is in it'}."
        raise ConfigError(msg, hint="It is a PEM file with the certificates of the authorities to trust.") from None


def _readable(where: str, path: str) -> None:
    try:
        Path(path).open("rb").close()
    except OSError as error:
        msg = f"Reading {where} {path!r}: {error.strerror}."
        raise ConfigError(msg, hint="Name a file that the user of this process may read.") from None


def _tell(context: ssl.SSLContext, refused: Refused) -> None:
    class Told(ssl.SSLObject):
        """A handshake whose failure is counted: the loop closes such connections without a word."""

        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                refused(_WHY.get(error.reason or "", "other"))
                raise

    context.sslobject_class = Told
