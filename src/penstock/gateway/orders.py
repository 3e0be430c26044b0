"""What an operator may order of an alias' path, and what it comes to: pure, of the configuration and the switch so far.

Every order ends in a new switch and the event that tells of it, or in a refusal that says what to try.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.config import Alias, Config, Target
from penstock.errors import BadRequest
from penstock.gateway.switched import first, spelled, unusable
from penstock.shape import nearest
from penstock.state.switch import Canary, Event, Rules, Switch

MOST_REQUESTS = 1000
MOST_STEPS = 20
NAMES = 50

Outcome = tuple[Switch, Event]


class Start(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Begin a canary, or change the share or the group of the one that runs."""

    alias: str
    to: str
    """`BACKENDS:MODEL`, the number of a target as `explain-config` shows it, or a backend of one."""
    steps: tuple[float, ...] = ()
    every: float = 0.0
    promote: bool = False
    callers: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    max_error_rate: float | None = None
    max_p95_ratio: float | None = None
    min_requests: int | None = None
    window: float | None = None

    def rules(self, before: Rules) -> Rules:
        """The rules so far with what this order says of them."""
        given = {name: getattr(self, name) for name in before.__struct_fields__ if getattr(self, name) is not None}
        return msgspec.structs.replace(before, **given)


def start(config: Config, before: Switch, order: Start, *, who: str, now: float, identity: str) -> Outcome:
    """A canary where none runs; with the same target, more of the one that does."""
    alias = _alias(config, order.alias)
    present = first(alias, before.override) if before.override is not None else alias
    target = _target(config, alias, order.to)
    if target == present.targets[0]:
        raise BadRequest(
            f"Starting a canary of {order.alias}: {spelled(target)} is its first target already.",
            hint="Choose another with --to.",
        )
    _check_group(config, order)
    _check(order)
    running = before.canary
    if running is not None and running.target != target:
        raise BadRequest(
            f"Starting a canary of {order.alias}: one to {spelled(running.target)} runs already.",
            hint=f"End it with `penstock canary stop {order.alias}`.",
        )
    if running is not None:
        return _widened(before, running, order, who=who, now=now)
    canary = Canary(
        id=identity,
        target=target,
        steps=order.steps or (100.0,),
        since=now,
        every=order.every,
        promote=order.promote,
        callers=order.callers,
        services=order.services,
        rules=order.rules(Rules()),
    )
    return _kept(before, canary), _event("canary start", before.alias, who, canary)


def step(before: Switch, canary: Canary, *, now: float, reason: str) -> Outcome:
    """The next step of a canary that does well."""
    after = msgspec.structs.replace(canary, step=canary.step + 1, since=now)
    return _kept(before, after), _event("canary step", before.alias, "gateway", after, reason)


def stop(before: Switch, *, who: str, reason: str) -> Outcome:
    """No canary; a promoted target stays."""
    canary = _running(before, "Stopping")
    return _kept(before, None), _event("canary stop", before.alias, who, canary, reason)


def promote(before: Switch, *, who: str, reason: str = "") -> Outcome:
    """The canary's target becomes the first one, for everybody, until a rollback."""
    canary = _running(before, "Promoting")
    after = msgspec.structs.replace(before, canary=None, override=canary.target)
    return after, _event("canary promote", before.alias, who, canary, reason)


def rollback(before: Switch, *, who: str) -> Outcome:
    """What the file says, and nothing else."""
    told = [f"the canary to {spelled(before.canary.target)}"] if before.canary is not None else []
    told += [f"the promoted target {spelled(before.override)}"] if before.override is not None else []
    reason = f"removed: {' and '.join(told)}" if told else "nothing was switched"
    after = msgspec.structs.replace(before, canary=None, override=None)
    return after, Event(what="rollback", alias=before.alias, who=who, reason=reason)


def _widened(before: Switch, running: Canary, order: Start, *, who: str, now: float) -> Outcome:
    if (order.callers or order.services) and not (running.callers or running.services):
        raise BadRequest(
            f"Changing the canary of {order.alias}: everybody takes part in it already.",
            hint=f"End it with `penstock canary stop {order.alias}`, then start one for a group.",
        )
    after = msgspec.structs.replace(
        running,
        callers=_joined(running.callers, order.callers),
        services=_joined(running.services, order.services),
        steps=order.steps or running.steps,
        step=0 if order.steps else running.step,
        every=order.every if order.steps else running.every,
        promote=order.promote if order.steps else running.promote,
        rules=order.rules(running.rules),
        since=now,
    )
    return _kept(before, after), _event("canary widen", before.alias, who, after)


def _joined(before: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*before, *more)))


def _kept(before: Switch, canary: Canary | None) -> Switch:
    return msgspec.structs.replace(before, canary=canary)


def _running(before: Switch, doing: str) -> Canary:
    if before.canary is None:
        raise BadRequest(
            f"{doing} the canary of {before.alias}: none runs.",
            hint="`penstock canary status` shows what does; `penstock rollback` removes a promoted target.",
        )
    return before.canary


def _event(what: str, alias: str, who: str, canary: Canary, reason: str = "") -> Event:
    detail = {"canary": canary.id, "to": spelled(canary.target), "percent": f"{canary.percent:g}"}
    if canary.callers:
        detail["callers"] = " ".join(canary.callers)
    if canary.services:
        detail["services"] = " ".join(canary.services)
    return Event(what=what, alias=alias, who=who, reason=reason, detail=detail)


# ── what is asked for ────────────────────────────────────────────────────────────────────────────────────────────────


def alias_named(config: Config, name: str) -> str:
    """The alias of this name or further name."""
    for alias, one in config.aliases.items():
        if name == alias or name in one.also:
            return alias
    raise BadRequest(
        f"{name!r} is no alias of this gateway.", hint=f"It has: {nearest(name, list(config.aliases))}".rstrip("?")
    )


def _alias(config: Config, name: str) -> Alias:
    return config.aliases[alias_named(config, name)]


def _target(config: Config, alias: Alias, to: str) -> Target:
    if to.isdigit() and int(to) < len(alias.targets):
        return alias.targets[int(to)]
    names, colon, model = to.partition(":")
    if colon and model:
        target = Target(backends=tuple(one.strip() for one in names.split(",")), model=model)
    else:
        having = [one for one in alias.targets if to in one.backends]
        if len(having) != 1:
            raise BadRequest(
                f"{to!r} names no target of this alias.",
                hint=f"--to takes BACKENDS:MODEL, such as {spelled(alias.targets[-1])}, or a number from 0 to "
                f"{len(alias.targets) - 1} for one that the file gives.",
            )
        target = having[0]
    if why := unusable(config, target):
        raise BadRequest(f"The target {to!r} cannot be asked: {why}.", hint="Add the backend to penstock.yaml first.")
    return target


def _check(order: Start) -> None:
    rules = order.rules(Rules())
    for wrong, says, hint in (
        (
            not (order.steps or order.callers or order.services),
            "neither a share nor a group",
            "Give --percent, --step, --caller or --service.",
        ),
        (len(order.steps) > MOST_STEPS, f"{len(order.steps)} steps", f"{MOST_STEPS} at most."),
        (any(not 0 <= one <= 100 for one in order.steps), "a share beyond 0 to 100 percent", "Try --percent 5."),
        (
            any(one >= other for one, other in zip(order.steps, order.steps[1:], strict=False)),
            "steps that do not rise",
            "Try --step 5,25,50,100.",
        ),
        (len(order.steps) > 1 and order.every <= 0, "several steps and no time for each", "Try --every 10m."),
        (order.promote and not order.every, "promotion, but no time to wait for", "Give --every, such as 10m."),
        (not 0 <= rules.max_error_rate < 1, "a share of failures beyond 0 to 1", "Try --max-error-rate 0.02."),
        (rules.max_p95_ratio < 1, "a P95 below the old path's", "Try --max-p95-ratio 1.5."),
        (
            not 1 <= rules.min_requests <= MOST_REQUESTS,
            f"{rules.min_requests} requests for a step",
            f"1 to {MOST_REQUESTS}.",
        ),
        (rules.window <= 0, "a window without length", "Try --window 5m."),
    ):
        if wrong:
            raise BadRequest(f"Starting a canary of {order.alias}: the order has {says}.", hint=hint)


def _check_group(config: Config, order: Start) -> None:
    if len(order.callers) > NAMES or len(order.services) > NAMES:
        raise BadRequest(f"Starting a canary of {order.alias}: more than {NAMES} names.", hint="Name fewer.")
    for name in order.callers:
        if name not in config.callers:
            known = nearest(name, list(config.callers)) if config.callers else "none are configured"
            raise BadRequest(f"{name!r} is no caller of this gateway: {known}.", hint="Or use --service.")
    for name in order.services:
        if not name or not name.isprintable() or len(name) > 100:
            raise BadRequest(f"{name!r} cannot be a service's name.", hint="Up to 100 printable characters.")
