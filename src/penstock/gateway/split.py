"""The ways of an alias while a canary runs: two plans, and which of them a request takes.

Takes the place of `Ways` in the line for that alias alone, so an alias without a canary pays nothing. A conversation stays
on its side: what decides is a hash of its session, else of how it begins; and whoever took part at 5 % does at 50 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import xxhash

from penstock.gateway.canary import Outcome, Sample
from penstock.gateway.switched import first, follows, unusable
from penstock.gateway.ways import Way, Ways
from penstock.protocols.dialect import Call
from penstock.protocols.table import Route
from penstock.state.switch import Canary
from penstock.types import Caller, Operation

if TYPE_CHECKING:
    from penstock.gateway.backend import Backend
    from penstock.gateway.line import Line
    from penstock.gateway.metrics import Metrics

BEGINNING = 4096
"""Bytes of a request that is no JSON we know which stand for the conversation."""
PARTS = 10_000
KEPT = 5_000
"""Ends of requests that wait to be collected; with nobody to collect them the oldest go."""


class Side:
    """One side of a running canary, of one worker: where the ends of its requests are noted."""

    __slots__ = ("_alias", "_ended", "_metrics", "name")

    def __init__(self, alias: str, name: str, metrics: Metrics) -> None:
        self.name = name
        """`canary` or `old`."""
        self._alias = alias
        self._metrics = metrics
        self._ended: list[Sample] = []

    def over(self, sample: Sample) -> None:
        """A request of this side has ended."""
        self._metrics.count("penstock_canary_requests", self._alias, self.name, sample.outcome.value)
        self._ended.append(sample)
        if len(self._ended) > KEPT:
            del self._ended[: KEPT // 2]

    def taken(self) -> list[Sample]:
        """What has ended since it was asked last."""
        ended, self._ended = self._ended, []
        return ended


class Sides(msgspec.Struct, frozen=True):
    """Both of one canary."""

    canary: Side
    old: Side


class Split:
    """Two plans for one alias on one route; the same face as `Ways`."""

    __slots__ = (
        "_canary", "_new", "_old", "_outside", "alias", "between_tokens", "connect", "first_token", "name", "rules", "side", "simple",
        "total", "whole",
    )  # fmt: skip

    def __init__(self, canary: Canary, new: Ways, old: Ways, outside: Ways) -> None:
        self._canary = canary
        self._new = new
        self._old = old
        self._outside = outside
        """The old plan for those who take no part: their answers are compared with nothing."""
        self.name, self.alias, self.rules = old.name, old.alias, old.rules
        self.connect, self.first_token, self.between_tokens = old.connect, old.first_token, old.between_tokens
        self.total, self.whole = old.total, old.whole
        self.side: Side | None = None
        self.simple: Sequence[Way] = ()

    def backends(self) -> list[Backend]:
        """Everybody who may be asked, on either side."""
        return [*self._new.backends(), *self._old.backends()]

    def fresh(self, now: float) -> bool:
        """Whether all plans are."""
        return self._new.fresh(now) and self._old.fresh(now) and self._outside.fresh(now)

    def plan(self, call: Call, caller: Caller, session: str | None, service: str, made_by: str | None) -> Ways:
        """The one for this request; `made_by` is the backend of the answer that it continues."""
        canary = self._canary
        on_canary = made_by is not None and made_by in canary.target.backends
        if on_canary and made_by not in self._old.alias.targets[0].backends:
            return self._new
        if (canary.callers or canary.services) and not (caller.name in canary.callers or service in canary.services):
            return self._outside
        if made_by is not None and not on_canary:
            return self._old
        # No answer before this one, or one of an engine that serves both sides: which of them made it is not known.
        return self._new if picked(canary, conversation(call, caller.tenant, session)) else self._old


Plan = Ways | Split
"""What the line knows of an alias on a route."""


def planned(asked: Route, name: str, operation: Operation, line: Line) -> Plan:
    """The plan of an alias that somebody has switched."""
    switch, alias = line.switches[name], line.names.aliases[name]
    written = line.config.aliases[name]
    if switch.override is not None and not follows(operation, written, switch.override):
        alias = written
    canary = switch.canary
    sides = line.sides.get(canary.id) if canary is not None else None
    if canary is None or sides is None or unusable(line.config, canary.target):
        return Ways(asked, name, alias, operation, line)
    if not follows(operation, alias, canary.target):
        return Ways(asked, name, alias, operation, line)
    return Split(
        canary,
        new=Ways(asked, name, first(alias, canary.target), operation, line, side=sides.canary),
        old=Ways(asked, name, alias, operation, line, side=sides.old),
        outside=Ways(asked, name, alias, operation, line),
    )


def picked(canary: Canary, key: bytes) -> bool:
    """Whether this conversation belongs to the share; once in, it stays in while the share grows."""
    seed = xxhash.xxh3_64_intdigest(canary.id)
    return xxhash.xxh3_64_intdigest(key, seed) % PARTS < canary.percent * PARTS / 100


class _Body(msgspec.Struct):
    """How every protocol spells the beginning of a conversation."""

    messages: list[msgspec.Raw] = []
    input: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()


class _Turn(msgspec.Struct):
    role: str = ""


_body = msgspec.json.Decoder(_Body)
_turn = msgspec.json.Decoder(_Turn)


def conversation(call: Call, tenant: str, session: str | None) -> bytes:
    """What all requests of a conversation share: its session, else everything before the first answer in it."""
    if session:
        return f"{tenant}\0{session}".encode()
    return tenant.encode() + b"\0" + _beginning(call.body)


def _beginning(body: bytes) -> bytes:
    try:
        found = _body.decode(body)
        turns = []
        for raw in found.messages:
            if _turn.decode(raw).role in {"assistant", "tool"}:
                break
            turns.append(bytes(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body[:BEGINNING]
    return b"\0".join(turns) or bytes(found.input or found.prompt) or body[:BEGINNING]


def ending(status: int, told: str, rank: int) -> Outcome:
    """How a request ended for its side: `told` is the record's word, `rank` above 0 an answer of another target."""
    if status == 499:
        return Outcome.LEFT
    if rank or told == "broken" or status >= 500 or status == 429:
        return Outcome.FAILED
    return Outcome.REFUSED if status >= 400 else Outcome.GOOD
