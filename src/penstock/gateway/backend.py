"""One engine as the gateway sees it: what it serves, how it feels, what it carries, and its process where that is ours.

Owns its probe task, its connections and, if it is embedded, its process. Requests only read from here and count
themselves in and out; which engines there are is fleet.py's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from enum import StrEnum
from itertools import islice
from pathlib import PurePath

import msgspec
import structlog

from penstock import config
from penstock.errors import EngineFault, Exhausted, RateLimited
from penstock.gateway import answer
from penstock.gateway.assure import Assurance
from penstock.gateway.breaker import Breaker
from penstock.gateway.child import Child, embedded
from penstock.gateway.child import State as ChildState
from penstock.gateway.prefix import Sent
from penstock.gateway.probe import PROBES, Load, Model, Sighting
from penstock.gateway.upstream import Origin
from penstock.protocols.names import tagged
from penstock.types import Kind

log = structlog.stdlib.get_logger("penstock.fleet")

PROBE_TIMEOUT = 2.0
MOST_LOST = 1000
"""Models of a backend that are remembered as lost."""
EMBEDDED_PATHS = frozenset(
    {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"}
)
"""What llama.cpp's server has in the shape clients expect."""


class State(StrEnum):
    """How a backend is."""

    STARTING = "starting"
    DOWNLOADING = "downloading"
    READY = "ready"
    DEGRADED = "degraded"
    DOWN = "down"


class Backend:
    """One engine process as the gateway sees it."""

    def __init__(self, name: str, settings: config.Backend, connect: float, changed: Callable[[], None]) -> None:
        self.name = name
        self.settings = settings
        self.kind = settings.kind
        self.wire = settings.kind.wire
        self.slots = settings.slots
        self._changed = changed
        self.breaker = Breaker()
        self.busy = 0
        self.sent = Sent()
        """What it may have in its prefix cache."""
        self.state = State.STARTING
        self.reason = "not probed yet"
        self.sighting = Sighting({})
        self.retired = False
        """Taken out of the fleet: it ends what it has begun and takes nothing new."""
        self._lost: frozenset[str] = frozenset()
        """Models that it served once and serves no more."""
        self.cannot_load: dict[str, str] = {}
        self.refuses_rest: set[str] = set()
        """Models of which it goes on with no begun answer; it is not asked twice."""
        self._connect = connect
        self.origin: Origin | None = (
            None if settings.kind is Kind.EMBEDDED else Origin(settings.url, connect_timeout=connect, tls=settings.tls)
        )
        self.key_header = _key_header(settings.key_env)
        if self.origin is not None:
            self.origin.assure = Assurance(self, self.origin)
        self._child: Child | None = None
        self._embedder: Backend | None = None
        self._waiting: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._look = asyncio.Event()
        self.seen = asyncio.Event()
        """Set once it has been looked at, or its process has failed."""
        self._idle: asyncio.Event | None = None
        self._stopped = False

    def take(self, now: float) -> int:
        """One request more; the number to give it back with."""
        self.busy += 1
        return 0 if self.breaker.calm else self.breaker.begin(now)

    def give(self, trial: int) -> None:
        """One less."""
        self.busy -= 1
        if trial:
            self.breaker.released(trial)
        if not self.busy and self._idle is not None:
            self._idle.set()

    def succeeded(self, model: str, trial: int) -> None:
        """A request was answered; `trial` is what it was given with its slot."""
        if not self.breaker.calm and self.breaker.succeeded(time.monotonic(), trial):
            self._changed()
        if self.cannot_load:
            self.cannot_load.pop(model, None)

    def failed(self, fault: EngineFault, now: float) -> None:
        """A request was not, and this is what it did or said; a busy engine or a missing model is not a broken one."""
        opened = answer.counts_against(fault) and self.breaker.failed(now)
        limited = isinstance(fault, RateLimited)
        if limited or fault.retry_after is not None:
            opened = self.breaker.told_to_wait(now, fault.retry_after, limited=limited) or opened
        if opened:
            self._changed()

    async def idle(self) -> None:
        """Until it carries nothing of ours; for one that takes nothing more."""
        if self.busy:
            self._idle = asyncio.Event()
            await self._idle.wait()

    @property
    def load(self) -> Load:
        """The engine's own gauges."""
        return self.sighting.load

    def model(self, name: str) -> Model | None:
        """What it says of a model it serves."""
        models = self.sighting.models
        found = models.get(name)
        if found is None and self.kind is Kind.OLLAMA:
            found = next((one for key, one in models.items() if tagged(key) == tagged(name)), None)
        if found is None and self.kind is Kind.EMBEDDED and models:
            found = next(iter(models.values()))
        return found

    def gone(self, name: str) -> bool:
        """Whether it served this model once and does not any more: it is not to be asked for it, whatever it would answer."""
        if not self._lost or self.model(name) is not None:
            return False
        return name in self._lost or (self.kind is Kind.OLLAMA and tagged(name) in {tagged(one) for one in self._lost})

    def serves(self, path: str) -> bool:
        """Whether it has this route; a backend that does not list its routes is believed to."""
        if self.kind is Kind.EMBEDDED:
            return path in EMBEDDED_PATHS
        routes = self.sighting.routes
        return routes is None or path in routes

    def temperature(self, name: str) -> str:
        """The fallback's own state: warm, cold, or cannot load (X14)."""
        if name in self.cannot_load:
            return "cannot load"
        found = self.model(name)
        return "warm" if found is not None and found.warm and self.state is not State.DOWN else "cold"

    def embedder(self) -> Backend:
        """The instance of an embedded engine that embeds: a process of its own, started on first use."""
        if self._embedder is None:
            self._embedder = Backend(self.name, self.settings, self._connect, self._changed)
            self._embedder.start(embedding=True)
        return self._embedder

    def when_up(self, callback: Callable[[], None]) -> None:
        """Call once the engine process has an address, or has failed to get one."""
        self._waiting.append(callback)

    def forget(self, callback: Callable[[], None]) -> None:
        """The other end of `when_up`: nobody waits any more."""
        if callback in self._waiting:
            self._waiting.remove(callback)

    def start(self, *, embedding: bool = False) -> None:
        """Begin probing; an embedded engine's process is started."""
        if self.kind is Kind.EMBEDDED:
            model = self.settings.model or config.GUIDE
            launch = embedded(
                self.name, model, alias=PurePath(model).stem, slots=self.settings.slots, embedding=embedding
            )
            self._child = Child(launch, on_change=self._child_changed)
            self._child.start()
        self._task = asyncio.create_task(self._run(), name=f"probe {self.name}")

    async def stop(self) -> None:
        """End probing, connections and the engine process, if it is ours."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._embedder is not None:
            await self._embedder.stop()
        if self._child is not None:
            await self._child.stop()
        if self.origin is not None:
            self.origin.close()

    def retire(self) -> None:
        """It was taken out: requests that still have it on their list go elsewhere."""
        self.retired = True
        self.slots = 0

    def suspect(self, name: str) -> None:
        """A request found that this model is not there: believe it of this one until the next probe says otherwise."""
        lost = self.model(name)
        if lost is None and self.sighting.models:
            return
        models = {key: model for key, model in self.sighting.models.items() if model is not lost}
        self.sighting = msgspec.structs.replace(self.sighting, models=models)
        if not models:
            self._become(State.DEGRADED, "a model it should serve is not there")
            return
        log.warning("backend without a model", backend=self.name, model=name)
        self._changed()

    async def _run(self) -> None:
        while True:
            await self.probe()
            if self.origin is not None:
                self.seen.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.probe):
                    await self._look.wait()
            self._look.clear()

    async def probe(self) -> None:
        """Look once."""
        origin = self.origin
        if origin is None:
            return
        doubts = origin.doubts
        try:
            seen = await PROBES[self.kind](origin, self.key_header, PROBE_TIMEOUT, self.sighting)
        except Exhausted:
            # Nothing was asked, so nothing more is known of it than before.
            return
        except EngineFault as fault:
            self.unseen(fault)
            return
        origin.assured(doubts)
        self._saw(seen)

    def glanced(self, seen: Sighting) -> None:
        """A look at the models alone, before a request: what else is known stays, unless another process answers now."""
        if seen.models == self.sighting.models:
            seen = msgspec.structs.replace(self.sighting, models=seen.models)
        else:
            self.sent.forget()
        self._saw(seen)

    def unseen(self, fault: EngineFault) -> None:
        """A look found nobody."""
        self.sighting = Sighting(self.sighting.models)
        self._become(State.DOWN, fault.message, fault.where)

    def _saw(self, seen: Sighting) -> None:
        before, self.sighting = self.sighting, seen
        if seen.load.room:
            self.sent.has_room(seen.load.room)
        if (seen.load.read or 0.0) < (before.load.read or 0.0) and seen.load.read is not None:
            self.sent.forget()  # it began anew between two looks
        if (seen.models, seen.routes) != (before.models, before.routes):
            gone = before.models.keys() - seen.models.keys()
            if gone and seen.models:
                log.warning("backend serves other models", backend=self.name, gone=sorted(gone)[:10])
            self._lost = frozenset(islice((self._lost | gone) - seen.models.keys(), MOST_LOST))
            self.breaker.watch(closely=bool(self._lost))
            self._changed()
        self._settled(seen)

    def _settled(self, seen: Sighting) -> None:
        """How it is, by what it serves."""
        for model in list(self.cannot_load):
            found = self.model(model)
            if found is not None and found.warm and self.kind is Kind.OLLAMA:
                del self.cannot_load[model]
        if seen.load.asleep:
            self._become(State.DEGRADED, "it sleeps")
        elif seen.models:
            self._become(State.READY, "")
        else:
            self._become(State.DEGRADED, "it is up and serves no model")

    def _become(self, state: State, reason: str, where: str = "") -> None:
        if state is not self.state:
            level = log.info if state is State.READY else log.warning
            known = {"where": where} if where else {}
            level("backend " + state.value, backend=self.name, was=self.state.value, reason=reason, **known)
        if state is not State.READY:
            self.sent.forget()
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self._changed()

    def _child_changed(self, child: Child) -> None:
        before, self.origin = self.origin, None
        self.sent.forget()
        if before is not None:
            before.close()
        if child.port is not None:
            self.origin = Origin(f"http://127.0.0.1:{child.port}", connect_timeout=self._connect)
            self._become(State.READY, "")
        elif not self._stopped:
            state = _CHILD_STATES.get(child.state, State.STARTING)
            self._become(state, child.progress or child.last_error or child.state.value)
        if child.port is not None:
            self._look.set()
        if child.state is ChildState.FAILED:
            self.seen.set()
        if child.port is not None or child.state is ChildState.FAILED:
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                callback()


_CHILD_STATES = {ChildState.FAILED: State.DOWN, ChildState.DOWNLOADING: State.DOWNLOADING}


def _key_header(key_env: str) -> bytes:
    key = os.environ.get(key_env, "") if key_env else ""
    return f"authorization: Bearer {key}\r\n".encode() if key else b""
