"""Where a scenario happens: two scripted engines, a gateway in front of them, and what can be asked and looked at.

`site.a` is the preferred and `site.b` the second target of the alias `m`; both serve the model `m`.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from penstock.faults.engine import Engine
from penstock.faults.figures import figures
from penstock.faults.gateways import Config, Gateway, Launched, Penstock
from penstock.faults.scenario import Failed
from penstock.faults.seen import LIMIT, Asking, Outcome, Seen, request
from penstock.faults.turns import align

MODEL = "m"
WORDS = "water runs through the penstock to the turbines and back into the river"
"""What is said in every scenario, and what a healthy engine echoes: thirteen tokens."""
PATHS = {"openai": "/v1/chat/completions", "ollama": "/api/chat"}
LOOK = 8.0
"""Seconds a metric or a record has to show: both are written after the answer."""
_EVERY = 0.05


def configuration(a: str, b: str, folder: Path) -> Config:
    """What the gateway under test is given where it is ours."""
    return {
        "listen": ["127.0.0.1:0"],
        # No probe between the first look and the end of the scenario: what it finds, it finds with its requests.
        "backends": {
            "a": {"kind": "vllm", "url": a, "probe": "60s"},
            "b": {"kind": "vllm", "url": b, "probe": "60s"},
        },
        "aliases": {
            MODEL: {
                "fallback": "any",
                "targets": [{"backends": ["a"], "model": MODEL}, {"backends": ["b"], "model": MODEL}],
            }
        },
        "limits": {
            "connect": "500ms",
            "first_token": "1s",
            "between_tokens": "1s",
            "total": "6s",
            "drain": "2s",
            "head": "2s",
            "upload": "3s",
        },
        "state": f"sqlite:///{folder / 'state.db'}",
        "admin": str(folder / "admin.sock"),
        "log": {"format": "json"},
    }


class Site:
    """Two engines and a gateway."""

    def __init__(self, a: Engine, b: Engine, gateway: Gateway, folder: Path) -> None:
        self.a = a
        self.b = b
        self.gateway = gateway
        self.folder = folder
        """For files of the scenario; it is gone afterwards. Its path is short: sockets may live here."""
        self.notes: list[str] = []
        """What the table says beside the verdict."""
        self.turns = False
        """Whether the gateway takes turns between A and B, as `Stand` found out."""
        self._under_way: list[Asking] = []
        self._before: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        self._lines = 0
        self._count = itertools.count(1)

    @property
    def url(self) -> str:
        return self.gateway.url

    @property
    def _scraped(self) -> str:
        """Where the figures are: beside the clients' address, or where the configuration puts them."""
        apart = self.gateway.config.get("listen_metrics") if isinstance(self.gateway, Penstock) else None
        return f"http://{apart[0]}" if apart else self.url

    @property
    def ours(self) -> bool:
        """Whether the gateway under test is Penstock."""
        return self.gateway.ours

    @property
    def process(self) -> Launched:
        """The gateway as a process that we started; for scenarios that need `PROCESS`."""
        if not isinstance(self.gateway, Launched):
            raise Failed("a gateway process of our own was expected")
        return self.gateway

    @property
    def own(self) -> Penstock:
        """The same where it is Penstock; for scenarios that need `PENSTOCK`."""
        if not isinstance(self.gateway, Penstock):
            raise Failed("a Penstock process of our own was expected")
        return self.gateway

    # asking

    def asking(
        self,
        *,
        stream: bool = True,
        face: str = "openai",
        path: str = "",
        body: Mapping[str, Any] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        words: str = WORDS,
    ) -> Asking:
        """One request on its way; `body` given as a mapping is joined with the usual one."""
        full: object = body
        if not isinstance(body, bytes):
            full = {"model": MODEL, "messages": [{"role": "user", "content": words}], "stream": stream, **(body or {})}
            full = {name: value for name, value in full.items() if value is not None}
        asked = request(path or PATHS[face], full, headers)
        self._under_way = [one for one in self._under_way if not one.ended]
        before = self._align if self.turns and not self._under_way else None
        asking = Asking(self.url, asked, stream=stream, face=face, before=before).start()
        self._under_way.append(asking)
        return asking

    async def _align(self) -> None:
        await align(self.url, MODEL, self.a, self.b)

    async def ask(
        self,
        *,
        stream: bool = True,
        face: str = "openai",
        path: str = "",
        body: Mapping[str, Any] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        words: str = WORDS,
        limit: float = LIMIT,
    ) -> Seen:
        """One request from its first byte to its end, as its client sees it. A `None` in `body` takes a member out."""
        asking = self.asking(stream=stream, face=face, path=path, body=body, headers=headers, words=words)
        return await asking.seen(limit)

    async def get(self, path: str) -> Seen:
        """A page of the gateway."""
        return await Asking(self.url, request(path), stream=False, face="openai").start().seen()

    # looking

    async def metric(self, name: str, labels: Mapping[str, str] | None = None) -> float:
        """How much a figure of ours has grown since the site was opened; all series with these labels together."""
        return await self.figure(name, labels) - sum(
            value for (one, pairs), value in self._before.items() if one == name and _has(pairs, labels or {})
        )

    async def figure(self, name: str, labels: Mapping[str, str] | None = None) -> float:
        """What a figure of ours is now; all series with these labels together."""
        seen = await figures(self._scraped)
        return sum(value for (one, pairs), value in seen.items() if one == name and _has(pairs, labels or {}))

    async def counted(
        self, name: str, expected: float, labels: Mapping[str, str] | None = None, *, at_least: bool = False
    ) -> None:
        """Wait until a counter has grown by so much. Other gateways' figures are their own affair."""
        if not self.ours:
            return
        until = time.monotonic() + LOOK
        while True:
            seen = await self.metric(name, labels)
            if seen == expected or (at_least and seen >= expected):
                return
            if time.monotonic() > until or seen > expected:
                raise Failed(f"{name}{dict(labels or {})} to grow by {expected:g} was expected, seen {seen:g}")
            await asyncio.sleep(_EVERY)

    async def logged(self, **fields: object) -> dict[str, Any]:
        """Wait for a record of the log with these fields; a compiled pattern is searched for. Empty for other gateways."""
        if not self.ours:
            return {}
        until = time.monotonic() + LOOK
        while True:
            found = self.records(**fields)
            if found:
                return found[0]
            if time.monotonic() > until:
                last = "\n".join(map(str, self.records()[-12:]))
                raise Failed(f"a record of the log with {fields} was expected; the last ones were\n{last}")
            await asyncio.sleep(_EVERY)

    def records(self, **fields: object) -> list[dict[str, Any]]:
        """The records of the log with these fields, since the site was opened; none for other gateways."""
        return [
            record
            for record in self.gateway.log[self._lines :]
            if all(_fits(_field(record, name), value) for name, value in fields.items())
        ]

    async def settle(self) -> None:
        """Remember figures and log as they are now: `metric`, `counted` and `logged` tell what comes after."""
        if self.ours:
            self._before = await figures(self._scraped)
            self._lines = len(self.gateway.log)

    # gateways of the scenario's own

    @asynccontextmanager
    async def penstock(
        self,
        changes: Mapping[str, Any] | None = None,
        *,
        prefix: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Site]:
        """The same engines behind a Penstock whose configuration differs by `changes`: mappings are merged, None takes out.

        `prefix` is a command in front of it (`prlimit --nofile=64`, `faketime …`), which must become it (`exec`).
        """
        folder = self.folder / f"g{next(self._count)}"
        folder.mkdir()
        config = merged(configuration(self.a.url, self.b.url, folder), changes or {})
        async with running(Penstock(config, folder, prefix=prefix, env=env)) as gateway:
            own = Site(self.a, self.b, gateway, folder)
            own.notes = self.notes
            await own.settle()
            yield own


@asynccontextmanager
async def running(gateway: Launched) -> AsyncIterator[Launched]:
    """Start it, wait until it serves, and end it."""
    try:
        await gateway.start()
        await gateway.ready(MODEL)
    except BaseException:
        await gateway.kill()
        raise
    async with ending(gateway):
        yield gateway


@asynccontextmanager
async def ending(gateway: Launched) -> AsyncIterator[None]:
    """End a gateway that runs: cleanly after what went well, at once after what did not."""
    try:
        yield
    except BaseException:
        await gateway.kill()
        raise
    await gateway.stop()


@asynccontextmanager
async def engines(ports: tuple[int, int] = (0, 0)) -> AsyncIterator[tuple[Engine, Engine]]:
    """A and B."""
    a, b = Engine([MODEL], port=ports[0]), Engine([MODEL], port=ports[1])
    await a.start()
    await b.start()
    try:
        yield a, b
    finally:
        for engine in (a, b):
            for gate in engine.gates:
                gate.open()
            await engine.stop()


@asynccontextmanager
async def folder() -> AsyncIterator[Path]:
    """A folder with a short path: a socket's may have 107 characters."""
    path = Path(tempfile.mkdtemp(prefix="pf"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def merged(config: Mapping[str, Any], changes: Mapping[str, Any]) -> Config:
    """A configuration with changes; None takes a member out."""
    result = dict(config)
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(result.get(name), Mapping):
            result[name] = merged(result[name], value)
        else:
            result[name] = dict(value) if isinstance(value, Mapping) else value
    return result


def answered(seen: Seen, *, by: Engine | None = None, text: str | None = WORDS) -> Seen:
    """It was answered whole, with this text, by this engine (the journal of the other one is no business of this)."""
    if seen.outcome is not Outcome.ANSWERED or (text is not None and seen.text != text):
        raise Failed(f"the whole answer {text!r} was expected, seen: {seen}")
    if by is not None and not by.answered:
        raise Failed(f"an answer of the engine at {by.url} was expected, it has answered nothing; seen: {seen}")
    return seen


def explicit(seen: Seen, *outcomes: Outcome) -> Seen:
    """It ended in an error that says so in the client's protocol: refused before, or broken inside."""
    if seen.outcome not in (outcomes or (Outcome.REFUSED, Outcome.BROKEN)) or not seen.error:
        raise Failed(f"an explicit error in the client's protocol was expected, seen: {seen}")
    return seen


def never_silent(seen: Seen, text: str = WORDS) -> Seen:
    """A complete answer or an explicit error; nothing in between."""
    if seen.outcome is Outcome.ANSWERED and seen.text == text:
        return seen
    return explicit(seen)


def _has(pairs: frozenset[tuple[str, str]], labels: Mapping[str, str]) -> bool:
    return pairs >= set(labels.items())


_UNSAID: dict[str, object] = {"outcome": "answered"}
"""Fields that a record leaves out where they are as usual; others are empty then."""


def _field(record: Mapping[str, Any], name: str) -> object:
    return record.get(name, _UNSAID.get(name, ""))


def _fits(value: object, wanted: object) -> bool:
    if isinstance(wanted, re.Pattern):
        return isinstance(value, str) and wanted.search(value) is not None
    return value == wanted
