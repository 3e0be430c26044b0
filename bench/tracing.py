"""What telemetry costs a request: `python -m bench.tracing`.

Requests go through the gateway's own line, from the head to the log's record, between a client and an engine in memory. Three lines
take turns, a few thousand requests each time: one that exports nothing, one whose requests are not chosen, one whose requests all are.
Told is the processor time of this thread for a request, as the median of all turns, and what is between it and the first line, turn by
turn. The last figures are those of the thread that exports, which no request waits for.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Mapping

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from penstock.config import Alias, Backend, Config, Target
from penstock.gateway import backend as engines
from penstock.gateway.client import Headers
from penstock.gateway.fleet import Fleet
from penstock.gateway.line import Line
from penstock.gateway.otel import spans
from penstock.gateway.probe import Model, Sighting
from penstock.gateway.record import Records
from penstock.gateway.traces import Traces, traceparent
from penstock.gateway.upstream import Exchange, Listener, Origin
from penstock.protocols.table import ROUTES
from penstock.types import Kind

TARGET = 2.0
"""Microseconds that a request which is not chosen may cost."""
ROOM = 1 << 20
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "How tall is the dam?"}]}'
HEADERS: Mapping[bytes, bytes] = {b"content-type": b"application/json"}
ANSWER = (
    b'{"id": "c-1", "object": "chat.completion", "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", '
    b'"content": "221 m"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}}'
)


class _Client:
    """Takes the answer."""

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        b"".join((b"%d" % status, *headers, body))

    def begin(self, status: int, headers: Headers) -> None:
        """Nothing is streamed here."""

    def write(self, data: bytes) -> None:
        """Nothing is streamed here."""

    def end(self, data: bytes) -> None:
        """Nothing is streamed here."""


class _Engine(Origin):
    """Answers in memory, once it has been asked."""

    def ask(self, request: bytes, listener: Listener) -> Exchange:
        exchange = Exchange(self, request, listener)
        self.asked = exchange
        return exchange


class Side:
    """One line, with or without telemetry."""

    def __init__(self, traces: Traces | None) -> None:
        config = Config(
            backends={"gpu": Backend(kind=Kind.VLLM, url="http://127.0.0.1:9")},
            aliases={"m": Alias(targets=(Target(backends=("gpu",), model="m"),))},
        )
        fleet = Fleet(config)
        gpu = engines.Backend("gpu", config.backends["gpu"], 1.0, lambda: None)
        gpu.sighting = Sighting({"m": Model(id="m")})
        gpu.state, gpu.reason = engines.State.READY, ""
        self.engine = gpu.origin = _Engine("http://127.0.0.1:9", connect_timeout=1.0)
        fleet.backends["gpu"] = gpu
        self.records = Records(lines=True, json=True)
        self.line = Line(config, fleet, self.records)
        self.line.traces = self.traces = traces
        self.line.untraced = traceparent(sampled=False) if traces is not None else b""
        self.client = _Client()

    def turn(self, count: int) -> float:
        """Microseconds of this thread for each of so many requests."""
        route = ROUTES[b"/v1/chat/completions"]
        began = time.thread_time_ns()
        for _ in range(count):
            request = self.line.open(route, HEADERS)
            request.start(BODY, self.client)
            self.engine.asked.finish_whole({b"content-type": b"application/json"}, ANSWER)
        took = time.thread_time_ns() - began
        if self.traces is not None:
            self.traces.queue.clear()
        self.records._buffer.clear()  # noqa: SLF001 - written by another thread as a rule
        return took / count / 1000


def exported(side: Side, count: int) -> float:
    """Microseconds of the exporting thread for each request: its two spans, made and in bytes."""
    if side.traces is None:
        return 0.0
    route = ROUTES[b"/v1/chat/completions"]
    for _ in range(count):
        request = side.line.open(route, HEADERS)
        request.start(BODY, side.client)
        side.engine.asked.finish_whole({b"content-type": b"application/json"}, ANSWER)
    began = time.thread_time_ns()
    for one in side.traces.queue:
        spans.request_of([one], Resource(), InstrumentationScope()).SerializeToString()
    return (time.thread_time_ns() - began) / count / 1000


def quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:7.2f} µs   half of all turns between {low:.2f} and {high:.2f}"


async def measure(turns: int, count: int) -> None:
    sides = {"nothing exported": Side(None), "not chosen": Side(Traces(0.0, ROOM)), "chosen": Side(Traces(1.0, ROOM))}
    told: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(turns + 1):
        for name, side in sides.items():
            took = side.turn(count)
            if number:  # the first turn fills what is learnt once
                told[name].append(took)
    base = told["nothing exported"]
    print(f"{turns} turns of {count} requests each")
    for name, values in told.items():
        print(f"  {name:18} {quartiles(values)}")
    for name in ("not chosen", "chosen"):
        print(f"  {name} costs {quartiles([one - other for one, other in zip(told[name], base, strict=True)])}")
    print(f"  the thread that exports takes {exported(sides['chosen'], count):.1f} µs for a request")
    cost = statistics.median(one - other for one, other in zip(told["not chosen"], base, strict=True))
    print(f"not chosen: {'within' if cost <= TARGET else 'BEYOND'} the {TARGET:g} µs that it may cost")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.tracing", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--count", type=int, default=500, help="requests in each turn")
    options = parser.parse_args()
    asyncio.run(measure(options.turns, options.count))


if __name__ == "__main__":
    main()
