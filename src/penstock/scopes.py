"""What scopes say: `*`, `alias:NAME`, `route:OPERATION`, `admin`, and how several of them add up.

A caller may use an alias on a route if both are named. What is not spoken of is not restricted as long as the other is:
`alias:m` is m on every route, `route:chat` is chat with every alias. `admin` opens no model, and `*` is no `admin`. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from penstock.types import Operation

EVERYTHING, ADMIN = "*", "admin"
_ALIAS, _ROUTE = "alias:", "route:"
_OPERATIONS = frozenset(one.value for one in Operation)
LONGEST = 300


def problem(scope: str) -> str:
    """What is wrong with how one scope is written; empty for nothing."""
    if scope in {EVERYTHING, ADMIN}:
        return ""
    if scope.startswith(_ALIAS) and len(_ALIAS) < len(scope) <= LONGEST and scope.isprintable():
        return ""
    if scope.startswith(_ROUTE):
        known = ", ".join(sorted(_OPERATIONS))
        return "" if scope.removeprefix(_ROUTE) in _OPERATIONS else f"expects route: with one of {known}, not {scope!r}"
    return f"expects *, alias:NAME, route:OPERATION or admin, not {scope!r}"


def aliases_named(scopes: Iterable[str]) -> Iterator[str]:
    """The aliases that scopes speak of."""
    return (one.removeprefix(_ALIAS) for one in scopes if one.startswith(_ALIAS))


def opens_alias(scopes: Collection[str], alias: str) -> bool:
    """Whether an alias may be used on some route."""
    if EVERYTHING in scopes or f"alias:{alias}" in scopes:
        return True
    return _speak(scopes, _ROUTE) and not _speak(scopes, _ALIAS)


def opens_route(scopes: Collection[str], operation: str) -> bool:
    """Whether a route may be asked for some alias."""
    if EVERYTHING in scopes or f"route:{operation}" in scopes:
        return True
    return _speak(scopes, _ALIAS) and not _speak(scopes, _ROUTE)


def _speak(scopes: Iterable[str], of: str) -> bool:
    return any(one.startswith(of) for one in scopes)
