"""Certificates that are renewed while we run: their files are looked at, and read again when they have changed.

A connection keeps what its handshake was made with. What cannot be used is refused, loudly, and the former one stays.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from penstock.config import BackendTls, Config, Tls
from penstock.errors import ConfigError
from penstock.gateway import tls

if TYPE_CHECKING:
    from penstock.gateway.line import Line

log = structlog.stdlib.get_logger("penstock.tls")

POLL = 1.0
"""Seconds between two looks at the files. What has changed is read at the next look: it may just be being written."""

Stamps = tuple[tuple[int, int, int] | None, ...]


class Current(ssl.SSLContext):
    """Stands for a context that may be replaced by another one, for the handshakes from then on."""

    now: ssl.SSLContext

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:  # noqa: ANN401 - the standard library's
        """Every connection, to us and from us, is begun by this."""
        return self.now.wrap_bio(*args, **kwargs)


class Credentials:
    """What one side of TLS is spoken with, out of files."""

    def __init__(self, what: str, files: Iterable[str], build: Callable[[], ssl.SSLContext], protocol: int) -> None:
        self.what = what
        self._files = tuple(files)
        self._build = build
        self._taken = self._seen = self._stamps()
        self.context = Current(protocol)
        self.context.now = build()

    def changed(self) -> bool:
        """Whether the files are others than those in use, and the same as at the last look."""
        before, self._seen = self._seen, self._stamps()
        return self._seen == before != self._taken

    def renew(self) -> None:
        """Read the files; raises `ConfigError`, and leaves everything as it was, where they cannot be used."""
        self._taken = self._seen = self._stamps()
        self.context.now = self._build()

    def _stamps(self) -> Stamps:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: str) -> tuple[int, int, int] | None:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def of_listener(settings: Tls, refused: tls.Refused) -> Credentials:
    """Of the addresses that we serve."""
    files = (settings.cert, settings.key, settings.client_ca)
    return Credentials("listen", filter(None, files), lambda: tls.listening(settings, refused), ssl.PROTOCOL_TLS_SERVER)


def of_backend(name: str, settings: BackendTls | None) -> Credentials:
    """Of the connections to one engine."""
    files = (settings.ca, settings.cert, settings.key) if settings is not None else ()
    return Credentials(name, filter(None, files), lambda: tls.towards(settings), ssl.PROTOCOL_TLS_CLIENT)


class Certificates:
    """Those of one process, and the task that looks at them."""

    def __init__(self, config: Config, line: Line) -> None:
        self._line = line
        settings = config.tls
        self._count = partial(line.metrics.count, "penstock_certificate_reloads")
        refused = partial(line.metrics.count, "penstock_tls_refused")
        self.listener = of_listener(settings, refused) if settings is not None else None
        self._metrics: Credentials | None = None
        """Of `listen_metrics`, whose scrapers and probes have no certificates to show."""
        if settings is not None and config.listen_metrics:
            self._metrics = of_listener(msgspec.structs.replace(settings, client_ca=""), refused)
        self._watching: asyncio.Task[None] | None = None

    def for_uvicorn(self, *, ops: bool = False) -> Callable[..., ssl.SSLContext] | None:
        """Its `ssl_context_factory`; None where TLS is not spoken."""
        spoken = self._metrics if ops else self.listener
        return None if spoken is None else lambda *_: spoken.context

    def watch(self) -> None:
        """Begin to look at the files."""
        self._watching = asyncio.create_task(self._watch(), name="certificates")

    async def close(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    def renew(self) -> None:
        """Read all of them now: an operator said so."""
        for one in self._all():
            self._renew(one)

    def _all(self) -> list[Credentials]:
        """The listeners', and those of the engines that there are now."""
        origins = [one.origin for one in self._line.fleet.backends.values() if one.origin is not None]
        found = [origin.credentials for origin in origins if origin.credentials is not None]
        return [*(one for one in (self.listener, self._metrics) if one is not None), *found]

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL)
            there = self._all()
            # A file may lie where looking at it takes a while.
            for one in await asyncio.to_thread(_changed, there):
                await asyncio.to_thread(self._renew, one)

    def _renew(self, one: Credentials) -> None:
        try:
            one.renew()
        except ConfigError as error:
            self._count("refused")
            problem = error.sentence()
            log.error("certificate refused, the former one stays", of=one.what, problem=problem)  # noqa: TRY400
        else:
            self._count("done")
            log.info("certificate renewed", of=one.what)


def _changed(there: list[Credentials]) -> list[Credentials]:
    return [one for one in there if one.changed()]
