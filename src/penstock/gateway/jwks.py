"""The public keys of an issuer: read from the configured file or URL, again and again, bounded in size and time.

Only the configured place is ever asked: no redirect is followed, and nothing that a token says leads anywhere. A key that
nobody knows makes us look sooner, but never more often than `FLOOR`: a flood of made-up tokens is no flood of requests.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import structlog

from penstock.config_auth import Jwt
from penstock.errors import ConfigError
from penstock.gateway.line import Line
from penstock.gateway.tokens import Tokens, keys_of

log = structlog.stdlib.get_logger("penstock.auth")

FLOOR = 10.0
"""Seconds between two looks, whoever wants one."""
AGAIN = 5.0
"""Seconds after a look that failed."""
WAIT = 5.0
"""Seconds for one look, from first to last."""
LARGEST = 512 * 1024


class Jwks:
    """Owned by a gateway process; keeps the keys of `Tokens` fresh."""

    def __init__(self, settings: Jwt, line: Line) -> None:
        self._settings = settings
        self._line = line
        self._wanted = asyncio.Event()
        self._document = b""
        self._seen = 0.0
        self._task: asyncio.Task[None] | None = None
        self.tokens = Tokens(settings, self._wanted.set)
        self.looks = 0

    async def open(self) -> None:
        """Look once before the first request; go on looking."""
        self._line.tokens = self.tokens
        self._line.renew()
        await self._look()
        self._task = asyncio.create_task(self._watch(), name="issuer's keys")

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            well = time.monotonic() - self._seen < self._settings.refresh
            rest = self._settings.refresh if well else min(AGAIN, self._settings.refresh)
            floor = min(FLOOR, rest)
            await asyncio.sleep(floor)
            # What was asked for while we rested is answered by this look; a later wish by the next.
            try:
                async with asyncio.timeout(rest - floor):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            await self._look()

    async def _look(self) -> None:
        self.looks += 1
        try:
            async with asyncio.timeout(WAIT):
                document = await _read(self._settings.jwks)
            if document != self._document:
                self.tokens.adopt(keys_of(document, self._settings.algorithms))
                self._document = document
                self._line.renew()
            elif self.tokens.away:
                self.tokens.away = False
            self._seen = time.monotonic()
        except (ConfigError, OSError, TimeoutError) as error:
            log.warning("the issuer's keys cannot be read", place=self._settings.jwks, problem=str(error) or "too slow")
            self._grow_stale()

    def _grow_stale(self) -> None:
        if not self.tokens.away and time.monotonic() - self._seen > self._settings.stale:
            self.tokens.away = True
            self._line.renew()
            log.error("tokens are refused: the issuer's keys have not been seen for too long")


async def _read(place: str) -> bytes:
    if "://" not in place:
        return await asyncio.to_thread(_file, Path(place))
    return await _fetched(place)


def _file(path: Path) -> bytes:
    with path.open("rb") as file:
        document = file.read(LARGEST + 1)
    return _bounded(document)


async def _fetched(url: str) -> bytes:
    import httpcore2  # noqa: PLC0415 - only where an issuer is configured

    document = b""
    timeout = dict.fromkeys(("connect", "read", "write", "pool"), WAIT)
    try:
        async with (
            httpcore2.AsyncConnectionPool(ssl_context=ssl.create_default_context(), max_connections=1) as pool,
            pool.stream("GET", url, headers={"accept": "application/json"}, extensions={"timeout": timeout}) as answer,
        ):
            if answer.status != 200:
                raise ConfigError(f"it answered {answer.status}, and no redirect is followed")
            async for piece in answer.aiter_stream():
                document = _bounded(document + piece)
    except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError) as error:
        raise ConfigError(str(error) or type(error).__name__) from None
    return document


def _bounded(document: bytes) -> bytes:
    if len(document) > LARGEST:
        raise ConfigError(f"it has more than {LARGEST} bytes")
    return document
