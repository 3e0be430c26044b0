"""The ways an alias can be answered on one route: everything about a candidate that does not depend on the request.

Built once per (route, alias) and again when the fleet changes, so that a request only picks. How to pick is route.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.gateway import route
from penstock.gateway.salts import salts_for
from penstock.protocols.dialect import Destination, Pairing
from penstock.protocols.midstream import resumable
from penstock.protocols.table import PAIRINGS, Route
from penstock.types import Kind, Operation, Wire

if TYPE_CHECKING:
    from penstock.config import Alias
    from penstock.gateway.admit import Alias as Queue
    from penstock.gateway.backend import Backend
    from penstock.gateway.fleet import Fleet
    from penstock.gateway.line import Line
    from penstock.gateway.metrics import Series
    from penstock.gateway.prefix import Prompt
    from penstock.gateway.salts import Salts
    from penstock.gateway.split import Side

UPSTREAM = {
    "/api/chat": "/v1/chat/completions",
    "/api/generate": "/v1/chat/completions",
    "/api/embed": "/v1/embeddings",
    "/api/embeddings": "/v1/embeddings",
}
"""The engine route behind an Ollama path, where the engine speaks OpenAI."""


class Way:
    """One backend that may answer, and the model to ask of it."""

    __slots__ = ("backend", "embeds", "head", "model", "pairing", "path", "queue", "rank", "salts", "series", "to")

    def __init__(
        self,
        asked: Route,
        backend: Backend,
        model: str,
        rank: int,
        *,
        queue: Queue,
        series: Series,
        defaults: bool,
        side: Side | None,
    ) -> None:
        self.backend = backend
        self.model = model
        self.rank = rank
        """Position of its target in the alias: above 0 is a fallback."""
        self.pairing: Pairing = PAIRINGS[asked.path, backend.wire]
        self.path = UPSTREAM.get(asked.path, asked.path)
        self.embeds = backend.kind is Kind.EMBEDDED and self.path == "/v1/embeddings"
        self.salts: Salts | None = None
        """What keeps tenants' caches apart there; None for most."""
        self.head = (
            b"x-penstock-backend: " + backend.name.encode() + b"\r\nx-penstock-model: " + model.encode() + b"\r\n"
        )
        if side is not None:
            self.head += b"x-penstock-canary: " + side.name.encode() + b"\r\n"
        found = backend.model(model)
        self.to = Destination(
            kind=backend.kind, model=model, window=found.window if found else None, ollama_defaults=defaults
        )
        self.series = series
        self.queue = queue
        """The slots of its alias."""


class Ways:
    """All ways of one alias on one route, and the order to try them in."""

    __slots__ = (
        "_fleet", "_groups", "_until", "alias", "between_tokens", "connect", "first_token", "generation", "lost", "name",
        "rules", "side", "simple", "total", "whole",
    )  # fmt: skip

    def __init__(
        self, asked: Route, name: str, alias: Alias, operation: Operation, line: Line, side: Side | None = None
    ) -> None:
        self.side = side
        """Where the ends of its requests are noted while a canary runs."""
        self.name = name
        self.alias = alias
        self.rules = line.guards.get(name)
        """What its requests and answers are held to; None for most."""
        self.connect = alias.connect or line.limits.connect
        """Seconds for a new connection."""
        self.first_token = alias.first_token or line.limits.first_token
        """Seconds until an engine must have begun to answer."""
        self.between_tokens = alias.between_tokens or line.limits.between_tokens
        """Seconds between two pieces of a stream."""
        self.total = alias.total or line.limits.total
        """Seconds a request may take."""
        self.whole = alias.whole or line.limits.whole or self.total / 2
        """Seconds an engine has for an answer that is not streamed, while another could still be asked."""
        fleet = self._fleet = line.fleet
        queue = line.admission.aliases[name]
        self.generation = fleet.generation
        defaults = line.config.ollama.defaults
        self.lost: list[str] = []
        """Backends that served its model once and do not any more."""
        groups: list[Group] = []
        for rank in route.eligible(alias, operation):
            group: dict[str, Way] = {}
            target = alias.targets[rank]
            for backend in fleet.of(target.backends):
                if not supports(asked, backend):
                    continue
                if backend.gone(target.model):
                    self.lost.append(backend.name)
                else:
                    series = line.metrics.series(name, backend.name, operation.value)
                    way = group[backend.name] = Way(
                        asked, backend, target.model, rank, queue=queue, series=series, defaults=defaults, side=side
                    )
                    way.salts = salts_for(way.path, backend.kind, line.salts)
                    if alias.midstream != "error":
                        way.pairing = resumable(asked.path, backend.wire, way.pairing, alias.midstream)
            if group:
                groups.append(Group(group, fleet))
        self._groups = groups
        single = all(len(group.names) == 1 for group in groups)
        self.simple = self._ordered(None, 0.0) if single else ()
        """The whole order where no target has a choice of replicas; else empty."""
        self._until = min((one.breaker.until for one in self.backends()), default=0.0)

    def backends(self) -> list[Backend]:
        """Everybody who may be asked."""
        return [way.backend for group in self._groups for way in group.ways.values()]

    def fresh(self, now: float) -> bool:
        """Whether the fleet is as it was: nothing changed, and no resting backend is due for a trial."""
        return self.generation == self._fleet.generation and now < self._until

    def order(self, asked: Prompt | None = None, now: float = 0.0) -> Sequence[Way]:
        """Ways in the order to try: healthy ones by target, in each as `route.order` has them, then the others."""
        return self.simple or self._ordered(asked, now)

    def _ordered(self, asked: Prompt | None, now: float) -> Sequence[Way]:
        healthy: list[Way] = []
        others: list[Way] = []
        for group in self._groups:
            ways, well = group.ways, group.well
            names = route.order(group.names, asked, self._fleet.load, well, group.sent, now)
            if len(well) == len(names):
                healthy += [ways[name] for name in names]
            else:
                for name in names:
                    (healthy if name in well else others).append(ways[name])
        return healthy + others if others else healthy


class Group:
    """The ways to one target, one for each of its replicas, as the fleet is now."""

    __slots__ = ("names", "sent", "ways", "well")

    def __init__(self, ways: dict[str, Way], fleet: Fleet) -> None:
        self.ways = ways
        self.names = tuple(ways)
        self.well = frozenset(name for name, way in ways.items() if fleet.healthy(name, way.model))
        self.sent = {name: way.backend.sent for name, way in ways.items()}


def supports(asked: Route, backend: Backend) -> bool:
    """Whether this backend has what the route needs."""
    if (asked.path, backend.wire) not in PAIRINGS:
        return False
    return backend.wire is Wire.OLLAMA or backend.serves(UPSTREAM.get(asked.path, asked.path))
