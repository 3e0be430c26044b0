"""The clients of a soak: each request has an id of its own and a text that only it can get back, so that its client knows what is whole.

They ask in every form the line treats differently, and some leave. What one saw is judged from the bytes on its socket alone.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from dataclasses import dataclass, field

from penstock.faults.seen import Asking, Outcome, Seen, request

MODEL = "m"
WORDS = ("water", "runs", "through", "the", "penstock", "größer", "水力", "turbine", "and", "back", "🌊", "river")
LONGEST = 40
LIMIT = 20.0
"""Seconds after which an answer is hung; above every limit of the gateway's configuration."""
LEAVING = 0.1
STARTING_LEAVES = 0.3
"""Of those that leave: without waiting for anything. Whether the gateway ever read their request is the kernel's affair."""
IN_FLIGHT = 200
FACES = (("/v1/chat/completions", "openai"), ("/v1/completions", "openai"), ("/api/chat", "ollama"))


@dataclass(slots=True)
class Tally:
    """What all clients saw."""

    sent: set[str] = field(default_factory=set)
    """Ids that the gateway must have a record of."""
    unsure: set[str] = field(default_factory=set)
    """Ids whose client left before the gateway can have been sure to read them: at most one record each."""
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """What may never happen: silent truncations, mixed or garbled answers, hung requests."""
    skipped: int = 0
    """Requests not sent because too many were under way: the machine could not do more."""


class Clients:
    """Sends `rate` requests a second, whatever becomes of them."""

    def __init__(self, url: str, keys: tuple[str, ...], dice: random.Random) -> None:
        self._url = url
        self._keys = keys
        self._dice = dice
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self.tally = Tally()
        self.rate = 50.0

    async def run(self, until: float) -> None:
        """Until that time of the loop; returns when every request has ended."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while (now := loop.time()) < until:
            if due > now:
                await asyncio.sleep(due - now)
            due = max(due, now - 0.1) + self._dice.expovariate(self.rate)
            if len(self._tasks) >= IN_FLIGHT:
                self.tally.skipped += 1
                continue
            task = loop.create_task(self._one(next(self._numbers)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _one(self, number: int) -> None:
        dice, tally = self._dice, self.tally
        identity = f"soak-{number}"
        path, face = dice.choice(FACES)
        stream = dice.random() < 0.6
        words = " ".join([f"n{number}", *dice.choices(WORDS, k=dice.randrange(1, LONGEST))])
        asked: dict[str, object] = {"model": MODEL, "stream": stream, "max_tokens": 4 * LONGEST}
        asked |= {"prompt": words} if path.endswith("/completions") and "chat" not in path else _said(words)
        headers = {"authorization": f"Bearer {dice.choice(self._keys)}", "x-request-id": identity}
        if dice.random() < 0.5:
            headers["x-session-id"] = f"session-{dice.randrange(50)}"
        asking = Asking(self._url, request(path, asked, headers), stream=stream, face=face).start()
        if dice.random() < LEAVING:
            await self._leave(asking, identity)
            return
        tally.sent.add(identity)
        seen = await asking.seen(limit=LIMIT)
        tally.outcomes[seen.outcome.value] += 1
        if fault := _fault(seen, words):
            tally.wrong.append(f"{identity} {path} stream={stream}: {fault}; {seen}")

    async def _leave(self, asking: Asking, identity: str) -> None:
        """At once, or after a while in which an answer has usually begun."""
        dice, tally = self._dice, self.tally
        tally.outcomes["left"] += 1
        if dice.random() < STARTING_LEAVES:
            tally.unsure.add(identity)
            await asyncio.sleep(0)
        else:
            try:
                await asking.until("{", limit=dice.uniform(0.05, 0.5))
                tally.sent.add(identity)
            except TimeoutError:
                tally.unsure.add(identity)
        await asking.leave()


def _said(words: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": words}]}


def _fault(seen: Seen, words: str) -> str:
    """What may never be; empty where all is well."""
    if seen.outcome is Outcome.ANSWERED:
        return (
            "" if seen.text.split() == words.split() else f"an answer that is not the whole of {words!r}: {seen.text!r}"
        )
    if seen.outcome is Outcome.REFUSED:
        return seen.why
    if seen.outcome is Outcome.BROKEN:
        return "" if words.startswith(seen.text.strip()) and not seen.why else f"a mixed answer: {seen.text!r}"
    return f"{seen.outcome.value} answer"
