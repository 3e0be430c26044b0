"""The aliases as they are to be served: the file's, with what operators have switched. Pure, of both.

A promoted target stands before the file's own. Vectors, scores and token ids never follow a switch to another model:
what was stored with them would not fit any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from penstock.config import Alias, Config, Target
from penstock.shape import nearest
from penstock.state.switch import Switch
from penstock.types import Operation


def overridden(config: Config, switches: Mapping[str, Switch]) -> dict[str, Alias]:
    """Every alias with its promoted target first, where there is one and it can be asked."""
    aliases = dict(config.aliases)
    for name, switch in switches.items():
        alias = aliases.get(name)
        if alias is not None and switch.override is not None and not unusable(config, switch.override):
            aliases[name] = first(alias, switch.override)
    return aliases


def first(alias: Alias, target: Target) -> Alias:
    """The alias with this target before its others."""
    others = tuple(one for one in alias.targets if one != target)
    return msgspec.structs.replace(alias, targets=(target, *others))


def follows(operation: Operation, alias: Alias, target: Target) -> bool:
    """Whether this operation may go to a target that the file did not put first."""
    return not operation.pinned or target.model == alias.targets[0].model


def unusable(config: Config, target: Target) -> str:
    """Why a target cannot be asked with this configuration; empty where it can."""
    gone = [name for name in target.backends if name not in config.backends]
    if gone:
        return f"{gone[0]!r} is no backend; {nearest(gone[0], list(config.backends))}"
    kinds = sorted({config.backends[name].kind.value for name in target.backends})
    return f"it mixes the kinds {' and '.join(kinds)}" if len(kinds) > 1 else ""


def dead(config: Config, switches: Mapping[str, Switch]) -> Iterator[tuple[Switch, str]]:
    """Running canaries whose target cannot be asked any more, or whose alias is gone, and why."""
    for name, switch in switches.items():
        if switch.canary is None:
            continue
        if name not in config.aliases:
            yield switch, f"the alias {name!r} is not configured any more"
        elif why := unusable(config, switch.canary.target):
            yield switch, f"its target cannot be asked any more: {why}"


def spelled(target: Target) -> str:
    """A target as the command line writes and reads it."""
    return f"{','.join(target.backends)}:{target.model}"
