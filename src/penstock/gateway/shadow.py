"""Shadow traffic: a share of an alias' requests is asked of a second target as well, and the two answers are compared.

Nothing in here may cost a caller a byte, a slot or an error: copies begin after the request itself was sent off, take no
slot of a backend, tell no breaker, and are dropped, by a counted reason, where anything is scarce. Which requests are
chosen depends on their ids alone. One owner, `Shadows`, holds every copy, every byte and the one thread that compares.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import structlog
import xxhash

from penstock.config import Config, Shadow
from penstock.errors import ConfigError
from penstock.gateway import shadow_pair
from penstock.gateway.salts import Salted, Salts, salts_for
from penstock.gateway.shadow_copy import LARGEST, Copy, Where
from penstock.gateway.shadow_pair import Seen
from penstock.gateway.shadow_room import Room, Slots
from penstock.gateway.shadow_tap import Tap
from penstock.gateway.ways import UPSTREAM, supports
from penstock.protocols.dialect import Destination, Pairing
from penstock.protocols.repeatable import wish_of
from penstock.protocols.table import PAIRINGS, ROUTES
from penstock.types import Kind

if TYPE_CHECKING:
    from penstock.gateway.backend import Backend
    from penstock.gateway.fleet import Fleet
    from penstock.gateway.metrics import Labels, Metrics
    from penstock.gateway.request import Request
    from penstock.state.store import Store

log = structlog.stdlib.get_logger("penstock.shadow")

HELD = 64 * 2**20
"""Bytes of bodies and answers that all copies of a process hold together."""
WAITING = 256
"""Pairs that may wait to be compared."""
CLOSE = 2.0
"""Seconds that pairs have to be written when the process ends."""
SWITCH = 0.0001
"""Seconds that the loop may have to wait for the thread that compares."""
_ALL = 2**64


class Shadows:
    """Every shadow of a process."""

    def __init__(self, fleet: Fleet, metrics: Metrics, store: Callable[[], Store]) -> None:
        self._fleet = fleet
        self._metrics = metrics
        self._store = store
        self._aliases: dict[str, tuple[Shadow, float]] = {}
        self._ollama_defaults = True
        self._room = Room(HELD)
        self._slots: defaultdict[str, Slots] = defaultdict(Slots)
        self._copies: set[Copy] = set()
        self._comparing: set[asyncio.Future[str]] = set()
        self._thread: ThreadPoolExecutor | None = None
        self._stopped = False
        self._writes = True
        self.salts: Salts | None = None

    def adopt(self, config: Config) -> None:
        """Take a configuration; copies whose backend it has no more are dropped."""
        self._aliases = {
            name: (alias.shadow, alias.shadow.total or alias.total or config.limits.total)
            for name, alias in config.aliases.items()
            if alias.shadow is not None
        }
        self._ollama_defaults = config.ollama.defaults
        for copy in list(self._copies):
            backend = copy.asking
            if backend is not None and self._fleet.backends.get(backend.name) is not backend:
                copy.drop("reloaded")

    def stop(self) -> None:
        """The process drains: what is left of its time belongs to callers."""
        self._stopped = True
        for copy in list(self._copies):
            copy.drop("drained")

    async def close(self) -> None:
        """After `stop`: give what is to be written a moment, and end."""
        self.stop()
        if self._comparing:
            await asyncio.wait(self._comparing, timeout=CLOSE)
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def gauge(self) -> list[tuple[Labels, float]]:
        """Copies that engines work on, by alias."""
        return [((name,), float(self._slots[name].taken)) for name in self._aliases]

    # ── one request ──────────────────────────────────────────────────────────────────────────────────────────────────

    def see(self, request: Request) -> Copy | None:
        """A request of an alias with a shadow was sent off: choose it or not. The copy itself is sent a moment later."""
        alias = request.alias_name
        found = self._aliases.get(alias)
        if found is None or self._stopped or not chosen(request.id, alias, found[0].share):
            return None
        slots = self._slots[alias]
        if slots.taken >= found[0].slots:
            self._metrics.count("penstock_shadow_skipped", alias, "slots")
            return None
        copy = Copy(request.call, request.id, alias, request.caller.tenant, slots, self._room, self._over)
        copy.caller = request.caller
        self._copies.add(copy)
        if request.client is not None:
            request.client = Tap(request.client, copy)
        asyncio.get_running_loop().call_soon(self._begin, copy)
        return copy

    def _begin(self, copy: Copy) -> None:
        if copy.over:
            return
        try:
            reason = self._send(copy)
        except Exception:
            # An error of ours: told as loudly as any, but it must not keep what the copy holds.
            copy.drop("fault")
            raise
        if reason:
            copy.drop(reason)

    def _send(self, copy: Copy) -> str:
        """Send the copy; else why not, by the word that a metric counts."""
        shadow, limit = self._aliases.get(copy.alias, (None, 0.0))
        if shadow is None:
            return "reloaded"
        if reason := self._against(copy):
            return reason
        found = self._where(copy, shadow)
        if isinstance(found, str):
            return found
        copy.send(found, limit, asyncio.get_running_loop())
        if not copy.over:
            self._metrics.count("penstock_shadow_sent", copy.alias, found.backend.name)
        return ""

    def _against(self, copy: Copy) -> str:
        """What speaks against a copy of this request."""
        if len(self._comparing) >= WAITING:
            return "memory"
        if len(copy.call.body) > LARGEST:
            return "too_large"
        copy.wish = wish_of(copy.call)
        return copy.wish.effect

    def _where(self, copy: Copy, shadow: Shadow) -> Where | str:
        """The backend with the fewest requests that can take one more; else why none can."""
        route = ROUTES[copy.call.path.encode()]
        able = [one for one in self._fleet.of(shadow.backends) if supports(route, one) and not one.gone(shadow.model)]
        if not able:
            return "unsupported"
        ours = Counter(backend.name for copy in self._copies if (backend := copy.asking) is not None)
        loads = {one.name: one.busy + ours[one.name] for one in able}
        free = sorted((one for one in able if loads[one.name] < one.slots), key=lambda one: loads[one.name])
        if not free:
            return "busy"
        embeds = UPSTREAM.get(copy.call.path, copy.call.path) == "/v1/embeddings"
        for backend in free:
            instance = backend.embedder() if embeds and backend.kind is Kind.EMBEDDED else backend
            if instance.origin is not None:
                model = backend.model(shadow.model)
                to = Destination(
                    kind=backend.kind,
                    model=shadow.model,
                    window=model.window if model else None,
                    ollama_defaults=self._ollama_defaults,
                )
                return Where(backend, instance.origin, self._pairing(copy, backend), to)
        return "starting"

    def _pairing(self, copy: Copy, backend: Backend) -> Pairing:
        path = copy.call.path
        found = PAIRINGS[path, backend.wire]
        salts = salts_for(UPSTREAM.get(path, path), backend.kind, self.salts)
        return found if salts is None else Salted(found, salts, copy.caller)

    # ── what becomes of it ───────────────────────────────────────────────────────────────────────────────────────────

    def _over(self, copy: Copy, what: Seen | str) -> None:
        self._copies.discard(copy)
        if isinstance(what, str):
            self._metrics.count("penstock_shadow_skipped", copy.alias, what)
        else:
            self._compare(copy, what)

    def _compare(self, copy: Copy, seen: Seen) -> None:
        found = self._aliases.get(copy.alias)
        if found is None:
            copy.release()
            self._metrics.count("penstock_shadow_skipped", copy.alias, "reloaded")
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="shadow", initializer=_give_way)
        work = partial(shadow_pair.keep, seen, text=found[0].keep == "text", most=found[0].pairs, store=self._store)
        comparing = asyncio.get_running_loop().run_in_executor(self._thread, work)
        self._comparing.add(comparing)
        comparing.add_done_callback(partial(self._compared, copy))

    def _compared(self, copy: Copy, comparing: asyncio.Future[str]) -> None:
        self._comparing.discard(comparing)
        copy.release()
        if comparing.cancelled():
            self._metrics.count("penstock_shadow_skipped", copy.alias, "drained")
            return
        error = comparing.exception()
        if error is None:
            self._metrics.count("penstock_shadow_pairs", copy.alias, comparing.result())
            self._writes = True
            return
        self._metrics.count("penstock_shadow_skipped", copy.alias, "state")
        if not isinstance(error, ConfigError):
            log.critical("a pair could not be compared: an error of the gateway itself", exc_info=error)
        elif self._writes:
            self._writes = False
            log.warning("pairs of shadows cannot be written", problem=error.sentence())


def _give_way() -> None:
    """A thread that computes lets the event loop wait for as long as this before it steps aside; Python's own is 5 ms."""
    sys.setswitchinterval(SWITCH)


def without_state() -> Store:
    """For a line that has no state to write to."""
    raise ConfigError("Writing a shadow's pair: this gateway keeps no state.")


def chosen(request_id: bytes, alias: str, share: float) -> bool:
    """Whether the request with this id is among the share; the same id always is, or never."""
    return xxhash.xxh3_64_intdigest(request_id, xxhash.xxh3_64_intdigest(alias)) < share * _ALL
