"""Gateways that know no order of upstreams: requests take turns, and a fault of A would be met by every other one alone.

Before each request of a scenario the next turn is made A's, with small requests that the scenario does not see: engines are
healthy for them, and journals are as they were before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.faults.engine import Engine
from penstock.faults.script import HEALTHY
from penstock.faults.seen import Asking, request

TURNS = 3
"""Requests after which a gateway that has not asked B is one that prefers A."""
_LIMIT = 1.5


async def align(url: str, model: str, a: Engine, b: Engine) -> bool:
    """Make the next turn A's; whether the gateway was seen to take turns."""
    if a.running or b.running:
        return True
    asked = request(
        "/v1/chat/completions",
        {"model": model, "messages": [{"role": "user", "content": "whose turn is it?"}], "max_tokens": 1},
    )
    with _unseen(a), _unseen(b):
        for _ in range(TURNS):
            before = len(b.requests)
            await Asking(url, asked, stream=False, face="openai").start().seen(_LIMIT)
            if len(b.requests) > before:
                return True
    return False


@contextmanager
def _unseen(engine: Engine) -> Iterator[None]:
    script, following, gates, answered = engine.script, list(engine.next), list(engine.gates), engine.answered
    journals: tuple[deque[object], ...] = (engine.requests, engine.probes, engine.aborts)  # type: ignore[assignment]
    before = [list(journal) for journal in journals]
    engine.script = HEALTHY
    engine.next.clear()
    engine.gates.clear()
    try:
        yield
    finally:
        engine.script, engine.answered = script, answered
        engine.next.extend(following)
        engine.gates.extend(gates)
        for journal, entries in zip(journals, before, strict=True):
            journal.clear()
            journal.extend(entries)
