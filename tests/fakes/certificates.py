"""Authorities, certificates and engines behind TLS, made anew for each test."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import trustme

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key as files."""

    cert: Path
    key: Path


class Authority:
    """One that signs what it is asked to."""

    def __init__(self, folder: Path, name: str) -> None:
        self._ca = trustme.CA(organization_name=name)
        self._folder = folder
        self._name = name
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, name: str, *identities: str, common_name: str | None = None, expired: bool = False) -> Pair:
        """A pair of files called after `name`; those that are there are replaced."""
        leaf = self._ca.issue_cert(
            *identities,
            common_name=common_name,
            not_before=LONG_AGO if expired else None,
            not_after=LONG_AGO + dt.timedelta(days=30) if expired else None,
        )
        pair = Pair(self._folder / f"{name}.cert", self._folder / f"{name}.key")
        pair.cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(pair.key)
        return pair

    def client(self, own: Pair | None = None) -> ssl.SSLContext:
        """A client that trusts this authority alone."""
        context = ssl.create_default_context(cafile=str(self.file))
        if own is not None:
            context.load_cert_chain(own.cert, own.key)
        return context


def server(own: Pair, clients: Authority | None = None) -> ssl.SSLContext:
    """A plain TLS server's side; with `clients` it takes those of this authority and nobody else."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own.cert, own.key)
    if clients is not None:
        context.load_verify_locations(clients.file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextlib.asynccontextmanager
async def behind_tls(engine: str, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """The port of a TLS server that passes everything on to an engine in plain text."""
    parts = urlsplit(engine)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    relay = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield relay.sockets[0].getsockname()[1]
    finally:
        relay.close()
