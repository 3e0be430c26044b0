"""An engine is killed under twenty requests, four at a time: who saw what, and whether the metrics say the same.

The scenario is the same for scripted engines and for a real vLLM; only the engine and the questions differ.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from tests.fakes.gateway import Gateway
from tests.fakes.raw import Answer, Raw, once

REQUESTS = 20
AT_ONCE = 4
BEGUN = 2
"""Streams that must have begun before the engine is killed."""
LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class Question:
    """One request; a stream has begun once `content` is among its bytes."""

    path: str
    body: dict[str, Any]
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the client of one request saw."""

    question: Question
    answer: Answer

    @property
    def backend(self) -> str:
        return self.answer.header("x-penstock-backend") or ""

    @property
    def fallback(self) -> str:
        return self.answer.header("x-penstock-fallback") or ""

    @property
    def broken(self) -> bool:
        """It ended in an explicit error after it had begun."""
        return self.answer.status == 200 and _error(self.last) is not None

    @property
    def whole(self) -> bool:
        """It ended as its protocol says that an answer ends."""
        if self.answer.status != 200 or not self.answer.complete:
            return False
        if not self.question.content:
            return bool(self.answer.json()["choices"][0]["finish_reason"])
        return self.last == b"[DONE]" or json.loads(self.last).get("done") is True

    @property
    def last(self) -> bytes:
        """The last event or line of a stream; nothing of a whole answer."""
        if not self.question.content:
            return b""
        return self.answer.body.rstrip(b"\n").rpartition(b"\n")[2].removeprefix(b"data: ")


def _error(data: bytes) -> object:
    if data in {b"", b"[DONE]"}:
        return None
    return json.loads(data).get("error")


@dataclass(slots=True)
class Siege:
    """Twenty requests on one gateway, and the kill in their midst."""

    gateway: Gateway
    question: Callable[[int], Question]
    kill: Callable[[], Awaitable[None]]
    seen: list[Seen] = field(default_factory=list)
    _begun: int = 0
    _enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Ask all twenty; the engine dies when streams have begun and others wait for their first token."""
        waiting = iter(range(REQUESTS))
        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            group.create_task(self._kill())
            for _ in range(AT_ONCE):
                group.create_task(self._work(waiting))

    async def _kill(self) -> None:
        await self._enough.wait()
        await self.kill()

    async def _work(self, waiting: Any) -> None:  # noqa: ANN401 - an iterator that the workers share
        for number in waiting:
            question = self.question(number)
            async with Raw(self.gateway.url) as raw:
                raw.ask(question.path, question.body)
                if question.content:
                    await raw.until(question.content)
                    self._begin()
                self.seen.append(Seen(question, await raw.answer()))

    def _begin(self) -> None:
        self._begun += 1
        if self._begun >= BEGUN:
            self._enough.set()


async def judge(siege: Siege, first: str, second: str) -> None:
    """Nobody failed who had not begun; who had begun was told; the metrics and the log say what the clients saw."""
    seen = siege.seen
    assert len(seen) == REQUESTS
    assert {one.answer.status for one in seen} == {200}
    broken = [one for one in seen if one.broken]
    fallen = [one for one in seen if one.fallback]
    assert broken, "the engine died too late: no stream was broken"
    assert fallen, "the engine died too late: nobody had to go elsewhere"
    for one in seen:
        assert one.broken != one.whole, one
        assert one.backend == (second if one.fallback else first)
    assert {one.backend for one in broken} == {first}
    counted = await _metrics(siege.gateway.url)
    requests = _sums(counted, "penstock_requests_total", "backend", "status")
    assert requests == Counter((one.backend, "200") for one in seen)
    assert _sums(counted, "penstock_streams_broken_total", "backend") == {(first,): len(broken)}
    fallbacks = _sums(counted, "penstock_fallback_total", "from", "to", "reason")
    assert fallbacks == Counter((first, second, one.fallback) for one in fallen)
    lines = [json.loads(line) for line in siege.gateway.log.splitlines()]
    events = [line["event"] for line in lines if line.get("event", "").startswith("vLLM failed: ")]
    assert len([event for event in events if ", trying " in event]) == len(fallen)
    assert len([event for event in events if event.endswith("the stream ended in an error")]) == len(broken)


async def _metrics(url: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The page, once every request has been counted: a client may have its last byte before its request is closed."""
    async with asyncio.timeout(LIMIT):
        while True:
            text = (await once(url, "/metrics")).body.decode()
            samples: dict[str, list[tuple[dict[str, str], float]]] = {}
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    samples.setdefault(sample.name, []).append((sample.labels, sample.value))
            if sum(value for _, value in samples.get("penstock_requests_total", [])) >= REQUESTS:
                return samples
            await asyncio.sleep(0.02)


def _sums(
    samples: dict[str, list[tuple[dict[str, str], float]]], name: str, *labels: str
) -> dict[tuple[str, ...], float]:
    found: Counter[tuple[str, ...]] = Counter()
    for given, value in samples[name]:
        found[tuple(given[label] for label in labels)] += int(value)
    return dict(found)
