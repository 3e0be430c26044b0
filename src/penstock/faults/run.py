"""Runs scenarios, several at a time where they allow it, and says how each ended."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Iterable
from enum import StrEnum

import msgspec

from penstock.faults.catalogue import ROWS
from penstock.faults.scenario import Failed, NotHere, Scenario
from penstock.faults.stand import Stand

_UNEXPECTED = (Failed, AssertionError, OSError, ValueError, LookupError, EOFError)
"""What comes of a gateway that does not do its part: a wait of the journal that ended, or a connection that did."""
_WORDS = 1500
"""Characters of a reason that are kept."""


class State(StrEnum):
    """How a scenario or a row ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"
    NOT_BUILT = "not built"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario."""

    row: int
    name: str
    expected: str
    state: State
    reason: str = ""
    """What was expected and seen, or what is missing."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


class RowResult(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the catalogue."""

    row: int
    title: str
    state: State
    later: str
    """What of it is not built yet."""
    scenarios: tuple[Result, ...] = ()


async def run(
    scenarios: Iterable[Scenario],
    stand: Stand,
    *,
    jobs: int,
    began: Callable[[Scenario], None],
    ended: Callable[[Result], None],
) -> tuple[Result, ...]:
    """All of them; those that want to be alone come last."""
    results: list[Result] = []
    together = [one for one in scenarios if not (one.alone or stand.shared)]
    # The longest first, so that none of them is what the others have been waiting for in the end.
    together.sort(key=lambda one: -one.limit)
    alone = [one for one in scenarios if one.alone or stand.shared]
    allowed = stand.allows

    async def work(waiting: list[Scenario]) -> None:
        while waiting:
            scenario = waiting.pop(0)
            began(scenario)
            result = await one(scenario, stand, lacking(scenario, allowed))
            results.append(result)
            ended(result)

    async with asyncio.TaskGroup() as group:
        for _ in range(max(1, jobs)):
            group.create_task(work(together))
    await work(alone)
    return tuple(sorted(results, key=lambda result: (result.row, result.name)))


def lacking(scenario: Scenario, allowed: frozenset[object]) -> str:
    """What a scenario needs that is not to be had."""
    return "; ".join(need.value for need in sorted(scenario.needs) if need not in allowed)


async def one(scenario: Scenario, stand: Stand, missing: str = "") -> Result:
    """One scenario, within its limit; whatever it raises is what came of it."""
    begin = time.monotonic()
    notes: list[str] = []

    def result(state: State, reason: str = "") -> Result:
        return Result(
            row=scenario.row, name=scenario.name, expected=scenario.expected, state=state, reason=reason if len(reason) <= _WORDS else f"{reason[: _WORDS // 3]} … {reason[-2 * _WORDS // 3 :]}",
            notes=tuple(notes), seconds=round(time.monotonic() - begin, 2),
        )  # fmt: skip

    clock: asyncio.Timeout | None = None
    if missing:
        return result(State.NOT_APPLICABLE, f"needs {missing}")
    try:
        async with stand.site(scenario) as site:
            site.notes = notes
            async with asyncio.timeout(scenario.limit) as clock:
                await scenario.run(site)
    except NotHere as reason:
        return result(State.NOT_APPLICABLE, str(reason))
    except TimeoutError as error:
        late = f"the end within {scenario.limit:g} s" if clock is not None and clock.expired() else "something in time"
        return result(State.FAILED, f"{late} was expected {_where()}: {error}")
    except _UNEXPECTED as error:
        return result(State.FAILED, _said(error))
    except ExceptionGroup as several:
        # Tasks of one scenario: the first says it for all, unless one of them is a mistake in the scenario itself.
        mine, others = several.split(_UNEXPECTED)
        if others is not None or mine is None:
            raise
        return result(State.FAILED, _said(_first(mine)))
    return result(State.PASSED)


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error} {_where()}"


def _first(several: BaseExceptionGroup[Exception]) -> BaseException:
    first: BaseException = several
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


def _where() -> str:
    """Where in a scenario the exception that is being handled was raised."""
    lines = [line.strip() for line in traceback.format_exc().splitlines() if "/scenarios/" in line]
    return f"({lines[-1].rpartition('/')[2]})" if lines else ""


def by_row(results: Iterable[Result]) -> tuple[RowResult, ...]:
    """All rows of the catalogue, those without a scenario as not built."""
    found: dict[int, list[Result]] = {}
    for result in results:
        found.setdefault(result.row, []).append(result)
    return tuple(
        RowResult(row=row.number, title=row.title, later=row.later, state=_state(of), scenarios=tuple(of))
        for row in ROWS
        for of in [found.get(row.number, [])]
    )


def _state(results: list[Result]) -> State:
    states = {result.state for result in results}
    for state in (State.FAILED, State.PASSED, State.NOT_APPLICABLE):
        if state in states:
            return state
    return State.NOT_BUILT
