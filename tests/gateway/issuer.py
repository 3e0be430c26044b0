"""An identity provider: keys of several sorts, tokens of any shape, and a page of keys that can be broken."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from types import TracebackType
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER, AUDIENCE = "https://idp.example", "penstock"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
PUBLIC_PEM = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def jwk(private: Any, kid: str, **more: object) -> dict[str, Any]:  # noqa: ANN401 - keys of three sorts
    """The public half."""
    algorithm = {"RSA": "RS256", "ECP": "ES256", "Ed2": "EdDSA"}[type(private).__name__[:3]]
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
    return {**made, "kid": kid, **more}


def document(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


USUAL = document(jwk(RSA, "r"), jwk(EC, "e"), jwk(ED, "d"))


def claims(now: float, **more: object) -> dict[str, Any]:
    """What a good token says; None takes a claim out."""
    usual = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ann",
        "tenant": "acme",
        "scope": "openid alias:m",
        "iat": now,
        "exp": now + 300,
    }
    return {name: value for name, value in {**usual, **more}.items() if value is not None}


def token(now: float, *, key: Any = RSA, algorithm: str = "RS256", kid: str | None = "r", **more: object) -> bytes:  # noqa: ANN401
    head = {} if kid is None else {"kid": kid}
    return jwt.encode(claims(now, **more), key, algorithm=algorithm, headers=head).encode()


def raw(head: dict[str, Any], said: dict[str, Any], secret: bytes = b"") -> bytes:
    """A token of any head; signed with HMAC where there is a secret."""
    body = b".".join(_part(json.dumps(one).encode()) for one in (head, said))
    return body + b"." + (_part(hmac.digest(secret, body, hashlib.sha256)) if secret else b"")


def _part(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Page:
    """Where an issuer's keys are; tests change what it answers."""

    def __init__(self, body: bytes = USUAL, tls: ssl.SSLContext | None = None) -> None:
        self.body = body
        self.status = "200 OK"
        self.more = ""
        self.asked: list[str] = []
        self.silent = False
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._over = asyncio.Event()

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{port}/keys"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.split(b" ")[1].decode())
            if self.silent:
                await self._over.wait()
                return
            answer = (
                f"HTTP/1.1 {self.status}\r\ncontent-length: {len(self.body)}\r\nconnection: close\r\n{self.more}\r\n"
            )
            writer.write(answer.encode() + self.body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
