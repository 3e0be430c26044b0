"""What each tenant asked for and was given, for the metrics: a bounded number of tenants by name, all others together.

Names are given when figures are read, to those with the most requests first, as long as there are places; nobody loses one,
and what was told as `other`'s stays with it, so that no counter ever falls. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.types import Usage

if TYPE_CHECKING:
    from penstock.gateway.metrics import Metrics

OTHER = "other"
KEPT = 4096
"""Tenants without a name of their own that are told apart between two readings."""
LONGEST = 64
"""Characters of a label."""
_REFUSED = 400


class Counts:
    """Of one tenant."""

    __slots__ = ("answered", "completion", "prompt", "refused")

    def __init__(self) -> None:
        self.answered = self.refused = self.prompt = self.completion = 0

    def add(self, other: Counts) -> None:
        """Take over what another one has counted."""
        self.answered += other.answered
        self.refused += other.refused
        self.prompt += other.prompt
        self.completion += other.completion


class TenantFigures:
    """Of one worker."""

    def __init__(self, named: int) -> None:
        self.places = named
        self._named: dict[str, Counts] = {}
        self._rest: dict[str, Counts] = {}
        self._other = Counts()

    def ended(self, tenant: str, status: int, usage: Usage | None) -> None:
        """A request of a tenant is over."""
        found = self._named.get(tenant) or self._rest.get(tenant) or self._new(tenant)
        if status < _REFUSED:
            found.answered += 1
        else:
            found.refused += 1
        if usage is not None:
            found.prompt += usage.prompt_tokens
            found.completion += usage.completion_tokens

    def _new(self, tenant: str) -> Counts:
        if len(self._rest) >= KEPT:
            return self._other
        made = self._rest[tenant] = Counts()
        return made

    def tell(self, metrics: Metrics) -> None:
        """Put the figures where all others are."""
        if self._rest:
            self._name()
        for name, counts in (*self._named.items(), (OTHER, self._other)):
            label = name[:LONGEST]
            if name == OTHER and counts is not self._other:
                label = "other (a tenant)"
            if counts is self._other and not (counts.answered or counts.refused):
                continue
            metrics.total("penstock_tenant_requests", counts.answered, label, "answered")
            metrics.total("penstock_tenant_requests", counts.refused, label, "refused")
            metrics.total("penstock_tenant_tokens", counts.prompt, label, "prompt")
            metrics.total("penstock_tenant_tokens", counts.completion, label, "completion")

    def _name(self) -> None:
        free = max(0, self.places - len(self._named))
        order = sorted(self._rest, key=lambda name: -(self._rest[name].answered + self._rest[name].refused))
        for name in order[:free]:
            self._named[name] = self._rest[name]
        for name in order[free:]:
            self._other.add(self._rest[name])
        self._rest = {}
