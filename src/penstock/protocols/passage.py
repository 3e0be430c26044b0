"""Events through a codec one by one; a fault in one of them keeps what the ones before it became."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from penstock.errors import EngineFault


def passed(events: Iterable[bytes], take: Callable[[bytes], bytes]) -> bytes:
    """What goes on to the client of these events; an `EngineFault` carries the part that is good as `before`."""
    parts: list[bytes] = []
    try:
        for event in events:
            parts.append(take(event))  # noqa: PERF401 - a comprehension would lose the parts when one raises
    except EngineFault as fault:
        fault.before = b"".join(parts)
        raise
    return b"".join(parts)
