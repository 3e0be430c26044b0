"""A gateway between an old engine and a new one, its admin socket, and many conversations: what tests of canaries share."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import yaml
from tests.fakes.gateway import Config, Gateway
from tests.fakes.raw import Answer, Raw, once

from penstock.faults.engine import Engine
from penstock.gateway.peers import socket_path

HASTY = {"min_requests": 20, "window": 60.0, "max_p95_ratio": 50.0}
"""Rules that need no hundreds of requests, and do not mind that the machine is busy with something else for a moment."""


def config(old: Engine, new: Engine, **more: object) -> Config:
    """The alias `m` goes to `old`; `new` stands ready."""
    return {
        "backends": {
            "old": {"kind": "vllm", "url": old.url, "probe": "200ms"},
            "new": {"kind": "vllm", "url": new.url, "probe": "200ms"},
        },
        "aliases": {"m": {"targets": [{"backends": ["old"], "model": "m"}]}},
        **more,
    }


@dataclass(slots=True)
class Told:
    """What the admin socket answered."""

    status: int
    data: Any


async def admin(gateway: Gateway, route: str, order: object = None, *, worker: int = 0) -> Told:
    """One order or question, as the gateway's owner."""
    path = socket_path(yaml.safe_load(gateway.config.read_text())["admin"], worker)
    body = json.dumps(order).encode() if order is not None else b""
    verb = "GET" if order is None else "POST"
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_unix_connection(path)
        head = f"{verb} {route} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
    head_bytes, _, rest = answer.partition(b"\r\n\r\n")
    return Told(int(head_bytes.split()[1]), json.loads(rest))


async def start(gateway: Gateway, **order: object) -> Told:
    """A canary of `m` to `new:m`."""
    return await admin(gateway, "/canary/start", {"alias": "m", "to": "new:m", **HASTY, **order})


async def until(gateway: Gateway, holds: Callable[[Any], bool], *, worker: int = 0) -> Any:  # noqa: ANN401
    """What is switched, once `holds` of it."""
    told: Any = None
    try:
        async with asyncio.timeout(30):
            while True:
                told = (await admin(gateway, "/switches", worker=worker)).data
                if holds(told):
                    return told
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"it did not become what was waited for: {told}\n{gateway.log[-3000:]}") from None


def stopped(told: Any) -> bool:  # noqa: ANN401
    """Nothing is switched any more, and what is told of it has been written."""
    return not told["switched"] and happened(told, "canary stop") is not None


def happened(told: Any, what: str) -> Any:  # noqa: ANN401
    """The newest event of this sort, if there is one."""
    return next((one for one in told["events"] if one["what"] == what), None)


async def talk(url: str, number: int, *headers: str, session: str = "", **fields: object) -> Answer:
    """One request of one conversation."""
    lines = (f"x-session-id: {session}", *headers) if session else headers
    messages = [{"role": "user", "content": f"question {number}"}]
    return await once(url, "/v1/chat/completions", {"model": "m", "messages": messages, **fields}, *lines)


async def many(url: str, count: int, *headers: str, begin: int = 0, **fields: object) -> Counter[str]:
    """So many conversations, a few at a time; how many each backend answered, refusals under their status."""
    found: Counter[str] = Counter()
    numbers = iter(range(begin, begin + count))

    async def one() -> None:
        async with Raw(url) as raw:
            for number in numbers:
                messages = [{"role": "user", "content": f"question {number}"}]
                raw.ask("/v1/chat/completions", {"model": "m", "messages": messages, **fields}, *headers)
                answer = await raw.answer()
                found[(answer.header("x-penstock-backend") or "-") if answer.status == 200 else str(answer.status)] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(one())
    return found


async def figure(gateway: Gateway, line: str) -> float:
    """One line of /metrics; 0 where it is not there."""
    text = (await once(gateway.url, "/metrics")).body.decode()
    return sum(float(one.split()[-1]) for one in text.splitlines() if one.startswith(line))


async def until_workers(gateway: Gateway, count: int) -> None:
    """The first worker announces itself; the others may still be starting."""
    while await figure(gateway, "penstock_workers") != count:
        await gateway.until("/livez", lambda _: True)


class Traffic:
    """Requests without end, until the block does."""

    def __init__(self, url: str, *headers: str, **fields: object) -> None:
        self._url, self._headers, self._fields = url, headers, fields
        self.found: Counter[str] = Counter()
        self._begin = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="traffic")
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self.found += await many(self._url, 20, *self._headers, begin=self._begin, **self._fields)
            self._begin += 20
