"""What must hold at the end of a soak. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.soak.clients import Tally
from bench.soak.gateway import Records, Sample

FLAT = 5_000_000
"""Bytes that memory may differ between the beginning and the end, after the warm-up."""
WARM = 0.2
"""Share of the time that warms up: pools, caches and the allocator's arenas reach their size."""
EDGE = 0.1
"""Share of what follows that makes its beginning, and its end."""
CORE = (0.6, 0.8)
"""Share of a core that the gateway must have used in the median, or the soak was not the one that was asked for."""
WHOLE = 0.7
"""Share of the requests whose clients stayed that must have been answered: else little was tried."""
SHOWN = 5


@dataclass(frozen=True)
class Check:
    """One claim and whether it held."""

    claim: str
    seen: str
    held: bool


@dataclass(frozen=True)
class Steady:
    """What the load generator in C saw of its streams."""

    connections: int
    sent: int
    whole: int
    refused: int
    """Answered with an error status: a gateway without enough of its processor says so."""
    wrong: int


@dataclass(frozen=True)
class Rest:
    """Of the gateway when nobody asks anything."""

    descriptors: int
    tasks: int


def growth(samples: Sequence[Sample]) -> tuple[float, float]:
    """Median of its own memory in bytes at the beginning and at the end, once warm."""
    warm = [one.own for one in samples if one.at >= WARM * samples[-1].at]
    part = max(1, round(EDGE * len(warm)))
    return statistics.median(warm[:part]), statistics.median(warm[-part:])


def checks(
    samples: Sequence[Sample], rests: tuple[Rest, Rest], tally: Tally, steady: Steady, records: Records
) -> list[Check]:
    """All claims, in the order they are told."""
    before, after = rests
    begin, end = growth(samples)
    share = statistics.median(one.share for one in samples)
    several = [identity for identity, count in (records.ids + records.steady).items() if count > 1]
    none = sorted(tally.sent - records.ids.keys())
    unknown = sorted(one for one in records.ids.keys() - tally.sent - tally.unsure if one.startswith("soak-"))
    stayed = tally.outcomes.total() - tally.outcomes["left"]
    whole = tally.outcomes["answered"] / max(1, stayed)
    unread = steady.sent - len(records.steady)
    return [
        Check("the gateway used about 70 % of a core", f"{share:.0%} in the median", CORE[0] <= share <= CORE[1]),
        Check("most requests were answered", f"{whole:.1%} of those whose client stayed", whole >= WHOLE),
        Check(
            f"memory is flat within {FLAT / 1e6:.0f} MB after the warm-up",
            f"its own {begin / 1e6:.1f} MB, then {end / 1e6:.1f} MB ({(end - begin) / 1e6:+.1f} MB)",
            abs(end - begin) <= FLAT,
        ),
        Check(
            "no descriptor is left behind",
            f"{before.descriptors} before, {after.descriptors} after",
            after.descriptors <= before.descriptors,
        ),
        Check("no task is left behind", f"{before.tasks} before, {after.tasks} after", after.tasks <= before.tasks),
        Check(
            "every request has exactly one record",
            f"{len(tally.sent):,} requests: {len(several)} with several, {len(none)} with none{_some(several + none)}; "
            f"{len(unknown)} records of none{_some(unknown)}; of {len(tally.unsure):,} whose client left at once, "
            f"{len(tally.unsure & records.ids.keys()):,} were read",
            not several and not none and not unknown,
        ),
        Check(
            "every steady stream has exactly one record",
            f"{steady.sent:,} asked for, {len(records.steady):,} records; {steady.connections} connections were closed at the end",
            0 <= unread <= steady.connections,
        ),
        Check(
            "no answer was silently truncated, mixed or hung",
            f"{sum(tally.outcomes.values()):,} requests: {len(tally.wrong)}{_some(tally.wrong)}; "
            f"{steady.whole:,} steady streams, {steady.refused:,} refused: {steady.wrong}",
            not tally.wrong and not steady.wrong,
        ),
        Check("nothing in the log is an error", f"{len(records.odd)} lines{_some(records.odd)}", not records.odd),
    ]


def _some(things: Sequence[str]) -> str:
    return f" ({'; '.join(things[:SHOWN])})" if things else ""
