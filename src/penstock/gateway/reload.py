"""A new configuration for a gateway that runs: all of it in every worker, or nothing of it in any.

Whoever is told, by SIGHUP or over its admin socket, leaves it to the first worker that answers. That one reads the file,
asks the others whether they could take what it found, and only then are all told to. So workers never differ because one
of them read the file a moment later, or found another engine asleep. A worker that is started again takes what the
others serve, whatever stands in the file by then; one that was not there is told once it listens.

What cannot be used changes nothing: the last good configuration stays, and the log, the answer and the figures say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from penstock.config import Config, Loaded
from penstock.errors import ConfigError, PenstockError, Unavailable
from penstock.gateway import guards, tls
from penstock.gateway.certificates import Certificates
from penstock.gateway.line import Line
from penstock.gateway.peers import Peers, ask

log = structlog.stdlib.get_logger("penstock.server")

Source = Callable[[], Loaded]

ORDERED = 60.0
"""Seconds that a worker waits for one before it that carries out its order: engines may have to be asked what they serve."""
ANSWER = 5.0
"""Seconds that one waits for another to look at a configuration, or to take it."""
TELL_FOR = 30.0
"""Seconds for which a worker that was not there is told again; one that starts later has read the same file."""
AGAIN = 0.5

_FIXED = (
    "listen",
    "listen_metrics",
    "state",
    "admin",
    "fleet",
    "tls",
    "workers",
    "http",
    "auth",
    "log",
    "otel",
    "receipts",
)


class Reloads:
    """The configuration of one worker, and how it changes."""

    def __init__(self, config: Config, source: Source, line: Line, peers: Peers, worker: int) -> None:
        self.config = config
        self._source = source
        self._line = line
        self._peers = peers
        self._before = peers.paths[:worker]
        """The admin sockets of the workers before this one."""
        self._reading = asyncio.Lock()
        self._wanted = False
        self._working: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self.certificates: Certificates | None = None
        """Read again with every configuration: their files may have changed though their names have not."""
        self.well = True
        """Whether the last attempt succeeded."""
        self.taken = time.time()
        """Wall time at which the configuration in use was taken."""

    # ── orders ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def hang_up(self) -> None:
        """SIGHUP: as many as may come while one is carried out are one more, which sees what the last of them meant."""
        self._wanted = True
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work(), name="reload")
            self._working.add_done_callback(_ended)

    async def _work(self) -> None:
        while self._wanted:
            self._wanted = False
            await self.order()

    async def order(self) -> str:
        """Read the configuration again, in all workers; why not, where it cannot be used."""
        for path in self._before:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, msgspec.DecodeError):
                async with asyncio.timeout(ORDERED):
                    return _problem(await ask(path, "POST", "/reload"))
        async with self._reading:
            try:
                loaded = await asyncio.to_thread(self._source)
                self._check(loaded.config)
                await self._everywhere(loaded.config)
            except PenstockError as error:
                return self._refuse(error)
        self._line.metrics.count("penstock_config_reloads", "done")
        log.info("configuration reloaded", aliases=list(loaded.config.aliases))
        return ""

    def _refuse(self, error: PenstockError) -> str:
        self.well = False
        self._line.metrics.count("penstock_config_reloads", "refused")
        log.warning("reload refused, the last good configuration stays", problem=error.sentence())
        return error.sentence()

    async def close(self) -> None:
        """Order nothing more."""
        tasks = [task for task in (self._working, self._telling) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ── all workers ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _everywhere(self, config: Config) -> None:
        body = msgspec.json.encode(config)
        there = await self._ask(self._peers.paths, "/reload/check", body)
        for path, problem in there.items():
            if problem:
                raise Unavailable(f"Reloading: the worker at {path} cannot take it: {problem}")
        absent = [path for path in self._peers.paths if path not in there]
        told = await self._ask(there, "/reload/take", body)
        self._take(config)
        late = [*absent, *(path for path in there if told.get(path, "not there"))]
        if self._telling is not None:
            self._telling.cancel()
        self._telling = asyncio.create_task(self._tell_late(late, body), name="reload late workers") if late else None

    async def _ask(self, paths: Iterable[str], route: str, body: bytes) -> dict[str, str]:
        """What those say that listen: nothing, or why not."""
        asked = list(paths)
        answers = await asyncio.gather(*(_asked(path, route, body) for path in asked))
        return {path: answer for path, answer in zip(asked, answers, strict=True) if answer is not None}

    async def _tell_late(self, late: list[str], body: bytes) -> None:
        until = time.monotonic() + TELL_FOR
        while late and time.monotonic() < until:
            await asyncio.sleep(AGAIN)
            told = await self._ask(late, "/reload/take", body)
            late = [path for path in late if told.get(path, "not there")]
        if late:
            log.error("workers that may not have the new configuration", admin=late)

    def _check(self, config: Config) -> None:
        changed = [name for name in _FIXED if getattr(self.config, name) != getattr(config, name)]
        if changed:
            msg = f"Reloading: {', '.join(changed)} cannot change while the process runs."
            raise ConfigError(msg, hint="Start a new process with `penstock serve --takeover`; it replaces this one.")
        tls.check(config)
        guards.prepared(config)

    def _take(self, config: Config) -> None:
        self.config = config
        self._line.fleet.adopt(config)
        self._line.adopt(config)
        if self.certificates is not None:
            self.certificates.renew()
        self.well, self.taken = True, time.time()

    # ── the admin socket ─────────────────────────────────────────────────────────────────────────────────────────────

    def routes(self) -> list[Route]:
        """For an operator, and for the other workers."""
        return [
            Route("/reload", self._ordered, methods=["POST"]),
            Route("/reload/served", self._served, methods=["GET"]),
            Route("/reload/check", self._checked, methods=["POST"]),
            Route("/reload/take", self._told, methods=["POST"]),
        ]

    async def _ordered(self, request: Request) -> Response:
        del request
        return _answer(await self.order())

    async def _served(self, request: Request) -> Response:
        del request
        return Response(msgspec.json.encode(self.config), media_type="application/json")

    async def _checked(self, request: Request) -> Response:
        return _answer(self._offered(await request.body(), take=False))

    async def _told(self, request: Request) -> Response:
        problem = self._offered(await request.body(), take=True)
        if not problem:
            log.info("configuration reloaded", aliases=list(self.config.aliases))
        return _answer(problem)

    def _offered(self, body: bytes, *, take: bool) -> str:
        try:
            config = msgspec.json.decode(body, type=Config)
            self._check(config)
        except PenstockError as error:
            return error.sentence()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return f"It is of another version: {error}."
        if take:
            self._take(config)
        return ""


def served_by(path: str) -> Config | None:
    """The configuration of the worker at this admin socket; None where nobody tells. Blocks: for a process that starts."""

    async def asked() -> bytes:
        async with asyncio.timeout(ANSWER):
            return await ask(path, "GET", "/reload/served")

    try:
        return msgspec.json.decode(asyncio.run(asked()), type=Config)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, msgspec.DecodeError, PenstockError):
        return None


async def _asked(path: str, route: str, body: bytes) -> str | None:
    """Its answer; None where nobody listens there."""
    try:
        async with asyncio.timeout(ANSWER):
            return _problem(await ask(path, "POST", route, body))
    except TimeoutError:
        return f"it does not answer within {ANSWER:g} s"
    except (OSError, asyncio.IncompleteReadError):
        return None
    except msgspec.DecodeError:
        return "it is of another version"


class _Told(msgspec.Struct):
    problem: str


def _problem(answer: bytes) -> str:
    return msgspec.json.decode(answer, type=_Told).problem


def _answer(problem: str) -> Response:
    if problem:
        return JSONResponse({"reloaded": False, "problem": problem, "error": problem}, status_code=409)
    return JSONResponse({"reloaded": True, "problem": ""})


def _ended(task: asyncio.Task[None]) -> None:
    """What nobody foresaw: the last good configuration stays, and it is said."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("reload ended in an error of the gateway itself", exc_info=error)
