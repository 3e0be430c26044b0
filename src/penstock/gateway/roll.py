"""Who is in the fleet while we run: the fleet file, orders, and the addresses behind names, looked at again and again.

    replicas:                              # state/fleet.yaml
      gpu: [http://10.0.0.5:8000, http://10.0.0.6:8000]

The file gives backends their replicas instead of the one URL of penstock.yaml. An order (`penstock replicas add`) is a change
of that file, so that it holds in every worker and after a restart. A file that cannot be used changes nothing, and neither
does a name that cannot be resolved: an outage of DNS shall not take engines away.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import msgspec
import structlog
import yaml

from penstock.config_noun import Noun, Url
from penstock.errors import BadRequest, ConfigError, PenstockError
from penstock.gateway import replicas
from penstock.gateway.fleet import Fleet
from penstock.shape import check, dotted
from penstock.yaml_file import read_yaml

log = structlog.stdlib.get_logger("penstock.fleet")

EVERY = 1.0
"""Seconds between two looks at the file."""
RESOLVE = 5
"""Looks at the file for one at the addresses behind names."""
RESOLVE_LIMIT = 2.0
_HEADER = "# Written by `penstock replicas`; it may be edited, and is read again when it changes.\n"

Resolve = Callable[[str], Awaitable[frozenset[str]]]
Count = Callable[[str], None]


class _File(Noun, frozen=True, kw_only=True):
    replicas: dict[str, Annotated[tuple[Url, ...], msgspec.Meta(min_length=1)]] = msgspec.field(default_factory=dict)


async def resolved(host: str) -> frozenset[str]:
    """The addresses of a name as this machine resolves it; `OSError` where it has none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return frozenset(str(one[4][0]) for one in found)


class Roll:
    """The lists of one process and where they come from."""

    def __init__(
        self, fleet: Fleet, path: str, count: Count, changed: Callable[[], None], resolve: Resolve = resolved
    ) -> None:
        self._fleet = fleet
        self._path = Path(path)
        self._count = count
        self._changed = changed
        """Tells those who wait for a slot: there may be other engines now."""
        self._resolve = resolve
        self._lists: replicas.Lists = {}
        self._found: replicas.Found = {}
        self._seen: tuple[int, ...] | None = None
        self._unknown: frozenset[str] = frozenset()
        self._started = False
        self._order = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take a first look, so that the fleet starts as it shall be, and go on looking."""
        await self.look()
        await self.ask_names()
        self._started = True
        self._apply()
        self._task = asyncio.create_task(self._run(), name="roll of the fleet")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            for _ in range(RESOLVE):
                await asyncio.sleep(EVERY)
                await self.look()
            await self.ask_names()

    async def look(self) -> None:
        """Read the file if it has changed."""
        async with self._order:
            try:
                stamp = await asyncio.to_thread(_stamp, self._path)
                if stamp == self._seen:
                    return
                self._seen = stamp
                self._lists = await asyncio.to_thread(self._read) if stamp else {}
            except PenstockError as error:
                log.warning("fleet file refused, the replicas stay as they are", problem=error.sentence())
                self._count("refused")
                return
            if stamp or self._fleet.lists:
                self._count("taken")
            self._apply()

    async def ask_names(self) -> None:
        """Resolve every name behind which engines are; drop unused connections to addresses that are gone."""
        names = replicas.hosts(self._fleet.settings, self._lists)
        answers = await asyncio.gather(*(self._addresses(name) for name in sorted(names)))
        found = {name: answer for name, answer in zip(sorted(names), answers, strict=True) if answer}
        self._found = found
        self._apply()
        for backend in self._fleet.backends.values():
            host = replicas.named(backend.settings.url)
            if host in found and backend.origin is not None:
                backend.origin.prune(frozenset(found[host]))

    async def _addresses(self, name: str) -> tuple[str, ...]:
        known = self._found.get(name, ())
        try:
            async with asyncio.timeout(RESOLVE_LIMIT):
                answer = tuple(sorted(await self._resolve(name)))
        except (OSError, TimeoutError) as error:
            if name not in self._unknown:
                log.warning("a name cannot be resolved, its addresses stay", host=name, reason=str(error) or "timeout")
            self._unknown |= {name}
            return known
        self._unknown -= {name}
        if known and answer != known:
            log.info("a name has other addresses", host=name, was=len(known), now=len(answer))
        return answer

    async def add(self, name: str, url: str) -> None:
        """One replica more; `BadRequest` where it cannot be."""
        async with self._order:
            await self._write(replicas.with_replica(self._fleet.settings, self._lists, name, url))

    async def remove(self, name: str, which: str) -> None:
        """One replica less, by its URL or its name: what it does it may end."""
        async with self._order:
            await self._write(replicas.without_replica(self._fleet.settings, self._lists, name, which))

    async def _write(self, lists: replicas.Lists) -> None:
        try:
            await asyncio.to_thread(_write, self._path, lists)
            self._seen = await asyncio.to_thread(_stamp, self._path)
        except OSError as error:
            raise BadRequest(
                f"Writing the fleet file {self._path}: {error.strerror or error}.",
                hint="`fleet` in penstock.yaml names it.",
            ) from None
        self._lists = lists
        self._apply()

    def _apply(self) -> None:
        if self._started and self._fleet.reshape(self._lists, self._found):
            self._changed()

    def _read(self) -> replicas.Lists:
        settings = self._fleet.settings
        clean, mistakes = check(dict(read_yaml(self._path).data), _File)
        if mistakes:
            told = "; ".join(f"{dotted(one.path)}: {one.text}" for one in mistakes)
            raise ConfigError(f"{self._path} cannot be used: {told}.")
        given = msgspec.convert(clean, _File).replicas
        for name in sorted(given.keys() - settings.backends.keys()):
            log.warning("the fleet file names no backend of the configuration", file=str(self._path), backend=name)
        # Kept for a configuration that names them: it may be reloaded at any time.
        lists: replicas.Lists = {name: urls for name, urls in given.items() if name not in settings.backends}
        for name in given.keys() & settings.backends.keys():
            for url in dict.fromkeys(given[name]):
                # one by one, by the same rules as orders
                start = lists if name in lists else {**lists, name: ()}
                lists = replicas.with_replica(settings, start, name, url)
        return lists


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes with the file; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _write(path: Path, lists: replicas.Lists) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    text = _HEADER + yaml.safe_dump({"replicas": {name: list(urls) for name, urls in lists.items()}}, sort_keys=True)
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
