"""The line of a request: what every request of this process shares, and its first step.

    bytes in ─ auth ─ decode head ─ admit ─ route ─ upstream ─ relay ─ record ─ bytes out

Knows no sockets: a lane (lane.py, asgi.py) opens a `Request` here from the head alone, hands it the body and a place
to answer, and `upstream` reports to it. The steps themselves stand in request.py in the order they happen.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from penstock.address import Address
from penstock.config import Alias, Config
from penstock.errors import Encoded, Forbidden, Unsupported
from penstock.gateway import users
from penstock.gateway.admit import Admission
from penstock.gateway.aliases import Names
from penstock.gateway.answers import Answers
from penstock.gateway.auth import NONE_STORED, Keyring
from penstock.gateway.backend import State
from penstock.gateway.breaker import State as BreakerState
from penstock.gateway.fleet import Fleet
from penstock.gateway.guards import prepared
from penstock.gateway.keeper import Keeper
from penstock.gateway.metrics import Gauges, Metrics, Snapshot
from penstock.gateway.quotas import Quotas, budgets_of
from penstock.gateway.record import Records
from penstock.gateway.request import Request
from penstock.gateway.retries import Budgets
from penstock.gateway.room import Room
from penstock.gateway.salts import Salts
from penstock.gateway.shadow import Shadows, without_state
from penstock.gateway.split import Plan, Sides, planned
from penstock.gateway.switched import overridden
from penstock.gateway.tenant_figures import TenantFigures
from penstock.gateway.traces import Traces
from penstock.gateway.ways import Ways, supports
from penstock.protocols.dialect import Call
from penstock.protocols.table import Route
from penstock.state.switch import Switch
from penstock.types import Caller, Operation

if TYPE_CHECKING:
    from penstock.gateway.peer_certificate import PeerCertificate
    from penstock.gateway.receipts import Receipts
    from penstock.gateway.tokens import Tokens
    from penstock.state.store import Store

WANTED = {
    name: name
    for name in (
        b"authorization", b"x-api-key", b"content-type", b"content-length", b"content-encoding", b"expect", b"origin", b"host", b"x-request-id",
        b"x-session-id", b"x-openwebui-chat-id", b"x-penstock-service", b"traceparent", b"tracestate", b"anthropic-version", b"anthropic-beta",
        *users.HEADERS,
    )
}  # fmt: skip
"""The headers any step looks at; all others end here."""
OPTION_LABELS = 200
"""Names of dropped options that get a label of their own; what comes after them is `other`."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._\-]{1,128}")
_BREAKER = {BreakerState.CLOSED: 0.0, BreakerState.HALF_OPEN: 1.0, BreakerState.OPEN: 2.0}


def wanted(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers that steps look at; the first of a repeated one counts."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        own = WANTED.get(name)  # not the one that was read: many connections have it
        if own is not None and own not in found:
            found[own] = value
    return found


def check_encoding(coding: bytes) -> None:
    """Bodies are taken as they are: a hundred kilobytes may unpack to a hundred megabytes."""
    if coding.strip().lower() not in {b"", b"identity"}:
        raise Encoded(
            f"Reading the request: its body is encoded as {coding[:40].decode('latin-1')!r}.",
            hint="Send it without content-encoding.",
        )


class Line:
    """One configuration, one fleet, one set of queues and counters."""

    def __init__(
        self, config: Config, fleet: Fleet, records: Records, store: Callable[[], Store] = without_state
    ) -> None:
        self.fleet = fleet
        self.records = records
        self.metrics = Metrics(lambda: fleet.backends)
        self.admission = Admission()
        self.shadows = Shadows(fleet, self.metrics, store)
        self.salts: Salts | None = None
        """What keeps tenants' caches apart; None where nothing does."""
        self.salting = Salts(os.urandom(32))
        self.tenants = TenantFigures(config.tenants.named)
        self.active: set[Request] = set()
        self.draining = False
        """Shutting down: every answer closes its connection, so that clients open their next one elsewhere."""
        self.answers = Answers(records)
        self.retries = Budgets(self.metrics.ended)
        self.quotas = Quotas(Keeper(store), self.metrics)
        self.receipts: Receipts | None = None
        self.started = time.time()
        self.began = time.monotonic()
        self.switches: Mapping[str, Switch] = {}
        self.sides: Mapping[str, Sides] = {}
        self.room = Room(partial(self.metrics.count, "penstock_exhausted"))
        self.traces: Traces | None = None
        """Where requests that are traced are kept; None where nothing is exported."""
        self.untraced = b""
        """What engines are told, in place of a trace, of requests that are not."""
        self.served = self.find_served
        """Stands for `find_served` unless there is too much to do."""
        self.stored = NONE_STORED
        self.tokens: Tokens | None = None
        self.more: Callable[[], Gauges] = dict
        """What the process tells of itself (vitals.py)."""
        self._options: set[str] = set()
        self._prefix = b"req-" + os.urandom(6).hex().encode()
        self._numbers = count(1)
        self.adopt(config)

    def adopt(self, config: Config) -> None:
        """Take a configuration; requests under way keep what they began with."""
        self.guards = prepared(config)
        self.config = config
        self.limits = config.limits
        self.tenants.places = config.tenants.named
        self.salts = self.shadows.salts = self.salting if config.tenants.cache_salts else None
        self.renew()
        self.switch(self.switches, self.sides)
        self._origins = frozenset(config.cors)
        self.certified = config.tls is not None and bool(config.tls.client_ca)
        """Whether clients may show certificates."""
        slots = {name: alias.slots for name, alias in config.aliases.items()}
        self.retries.adopt(config.limits.retries, config.limits.retries_reserve)
        self.admission.reshape(slots, config.limits.queue)
        self.shadows.adopt(config)
        if self.receipts is not None:
            self.receipts.adopt(config)
        self.quotas.adopt(budgets_of(config))

    def renew(self) -> None:
        """Somebody may ask now who could not, or the other way round: what was found out with the old keyring is asked again."""
        self.keyring = Keyring(self.config.callers, self.stored, self.tokens)

    def salt(self, secret: bytes) -> None:
        """Make tenants' salts with this from now on."""
        self.salting = Salts(secret)
        self.salts = self.shadows.salts = self.salting if self.config.tenants.cache_salts else None

    def switch(self, switches: Mapping[str, Switch], sides: Mapping[str, Sides]) -> None:
        """Take what operators have switched, and where the ends of each canary's requests are noted."""
        self.switches, self.sides = switches, sides
        self.names = Names(overridden(self.config, switches), self.config.default_alias)
        self._ways: dict[tuple[str, str], Plan] = {}
        self._served: dict[tuple[str, str], Plan] = {}

    def open(self, route: Route, headers: Mapping[bytes, bytes], certificate: PeerCertificate | None = None) -> Request:
        """The step before any body is read: who asks, and from where."""
        if b"origin" in headers:
            self.check_origin(headers)
        if b"content-encoding" in headers:
            check_encoding(headers[b"content-encoding"])
        caller = self.keyring.identify(headers, certificate, time.time())
        return Request(self, route, headers, self.request_id(headers), caller)

    def request_id(self, headers: Mapping[bytes, bytes]) -> bytes:
        """The client's own id where it has a harmless shape, else a new one."""
        given = headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        return b"%b-%x" % (self._prefix, next(self._numbers))

    def identify(self, headers: Mapping[bytes, bytes], certificate: PeerCertificate | None = None) -> Caller:
        """Who asks, for routes that no model answers."""
        if b"origin" in headers:
            self.check_origin(headers)
        return self.keyring.identify(headers, certificate, time.time())

    def check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        """Pages of other origins may not use their visitor's loopback address."""
        origin = headers[b"origin"].decode("latin-1")
        if not self.allows_origin(origin, headers.get(b"host", b"").decode("latin-1")):
            msg = f"Pages of {origin[:200]!r} may not call this gateway."
            raise Forbidden(msg, hint="Add the origin to `cors` in penstock.yaml.")

    def allows_origin(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may call us: our own, or one that `cors` lists.

        Our own is not simply the one that equals `Host`: a page whose name was made to point at this machine (DNS
        rebinding) sends both alike. So without callers only names that always mean this machine count.
        """
        if "*" in self._origins or origin in self._origins:
            return True
        try:
            own = urlsplit(origin)
        except ValueError:
            return False
        return own.netloc == host and (not self.keyring.open or _is_loopback(own.hostname or ""))

    def find_served(self, asked: Route, call: Call, caller: Caller, now: float) -> Plan:
        """Who can answer what this call asks for, by the name its caller used."""
        found = self._served.get((asked.path, call.model))
        if found is None or not found.fresh(now):
            name = self.names.find(call.model, call.face, caller)
            found = self.ways(asked, name, self.names.aliases[name], call.operation)
            # as many as the names of aliases have spellings: `find` refuses every other
            self._served[asked.path, call.model] = found
        return found

    def ways(self, asked: Route, name: str, alias: Alias, operation: Operation) -> Plan:
        """Who can answer this alias on this route, as the fleet is now."""
        found = self._ways.get((asked.path, name))
        if found is None or not found.fresh(time.monotonic()):
            switched = name in self.switches
            found = planned(asked, name, operation, self) if switched else Ways(asked, name, alias, operation, self)
            self._ways[asked.path, name] = found
        return found

    def unsupported(self, asked: Route, alias: str) -> Unsupported:
        """The refusal that names who could."""
        able = sorted(one.name for one in self.fleet.backends.values() if supports(asked, one))
        msg = f"{asked.path} cannot be answered by any backend of the model {alias!r}."
        hint = f"Backends here that can: {', '.join(able)}." if able else "No backend here can."
        return Unsupported(msg, hint=hint)

    def option_label(self, name: str) -> str:
        """The label of a dropped option: its name, as long as there are not too many of them."""
        if len(self._options) < OPTION_LABELS:
            self._options.add(name)
        return name if name in self._options else "other"

    def tick(self) -> None:
        """Let every request whose limit has passed know. Called many times a second by one task of the server."""
        now = time.monotonic()
        for request in [one for one in self.active if one.deadline <= now]:
            # The one before may have ended or started this one.
            if request.deadline <= now:
                request.expire(now)

    def break_off(self) -> None:
        """The drain deadline passed: what still runs ends in an explicit error."""
        # Those that wait go first: whoever gives a slot up would start them.
        for request in sorted(self.active, key=lambda one: not one.waiting):
            request.break_off()

    def snapshot(self) -> Snapshot:
        """All counters and gauges of this worker."""
        self.tenants.tell(self.metrics)
        return self.metrics.snapshot(self._gauges() | self.more())

    def _gauges(self) -> Gauges:
        now = time.monotonic()
        backends = list(self.fleet.backends.values())
        uses = [one.load.kv_use for one in backends if one.load.kv_use is not None]
        return {
            "penstock_requests_active": [((one.name,), float(one.busy)) for one in backends],
            "penstock_queue_depth": [((), float(self.admission.waiting))],
            "penstock_queue_tenant_depth": self.admission.depths(),
            "penstock_backend_up": [((one.name, one.kind.value), float(one.state is State.READY)) for one in backends],
            "penstock_replicas": [((name,), float(len(self.fleet.of((name,))))) for name in self.config.backends],
            "penstock_breaker_state": [((one.name,), _BREAKER[one.breaker.state(now)]) for one in backends],
            "penstock_engine_requests_running": [((one.name,), one.load.running) for one in backends],
            "penstock_engine_requests_waiting": [((one.name,), one.load.waiting) for one in backends],
            "penstock_engine_kv_cache_usage_ratio": [
                ((one.name,), one.load.kv_use) for one in backends if one.load.kv_use is not None
            ],
            "penstock_canary_share_percent": [
                ((name,), one.canary.percent) for name, one in self.switches.items() if one.canary is not None
            ],
            "penstock_override": [((name,), 1.0) for name, one in self.switches.items() if one.override is not None],
            "penstock_shadow_active": self.shadows.gauge(),
            "penstock_workers": [((), 1.0)],
            "tensafe_vllm_kv_cache_utilization": [((), max(uses))] if uses else [],
        }


def _is_loopback(host: str) -> bool:
    return Address(host, 0).loopback or host.endswith(".localhost")
