"""How well each alias can be served now, in the words people and probes read: starting, downloading, ready, degraded.

Derived from the fleet at the moment of asking; nothing is kept.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from penstock.config import Alias
from penstock.gateway import route
from penstock.gateway.backend import Backend, State
from penstock.gateway.fleet import Fleet
from penstock.types import Operation


class Readiness(StrEnum):
    """One word per alias."""

    STARTING = "starting"
    DOWNLOADING = "downloading"
    READY = "ready"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


class TargetView(msgspec.Struct, frozen=True):
    """One backend of one target."""

    backend: str
    kind: str
    model: str
    state: str
    reason: str
    model_state: str
    """cold, warm or cannot load: the fallback's own readiness (X14)."""


class AliasView(msgspec.Struct, frozen=True):
    """One alias."""

    readiness: Readiness
    targets: list[TargetView]


def of_alias(alias: Alias, fleet: Fleet) -> AliasView:
    """Ready when its first target can answer, degraded when only a fallback can."""
    targets = [_target(one, target.model) for target in alias.targets for one in fleet.of(target.backends)]
    return AliasView(_word(alias, fleet), targets)


def _word(alias: Alias, fleet: Fleet) -> Readiness:
    able = [[one for one in fleet.of(target.backends) if _able(fleet, one, target.model)] for target in alias.targets]
    if able[0]:
        return Readiness.READY
    if any(able[rank] for rank in route.eligible(alias, Operation.CHAT)):
        return Readiness.DEGRADED
    states = {one.state for target in alias.targets for one in fleet.of(target.backends)}
    if State.DOWNLOADING in states:
        return Readiness.DOWNLOADING
    return Readiness.STARTING if State.STARTING in states else Readiness.UNAVAILABLE


def _able(fleet: Fleet, backend: Backend, model: str) -> bool:
    return backend.state is State.READY and fleet.healthy(backend.name, model)


def _target(backend: Backend, model: str) -> TargetView:
    return TargetView(
        backend=backend.name,
        kind=backend.kind.value,
        model=model,
        state=backend.state.value,
        reason=backend.reason,
        model_state=backend.temperature(model),
    )
