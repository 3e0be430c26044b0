"""Scenario 4: a client leaves; how long until the engine knows and can stop computing for nobody."""

from __future__ import annotations

import math
import socket
import time
from dataclasses import dataclass

from bench.processes import KEY, body
from bench.samples import Sample, Scenario
from bench.stage import Runner, Stage

LIMIT_SECONDS = 1.5
QUIET_SECONDS = 0.03
"""Between the engine having the request and the client leaving, so that the proxy is truly waiting."""


@dataclass(frozen=True)
class Phase:
    scenario: Scenario
    order: str
    streamed: bool
    events: int
    """How many events the client reads before it leaves."""


def _scenario(name: str, title: str) -> Scenario:
    return Scenario(f"leave-{name}", f"Client leaves {title}: until the engine sees it", "ms", compared=False)


PHASES = (
    Phase(_scenario("tokens", "a token stream"), "bench(chunks=2000,gap=5000,trace=1)", streamed=True, events=5),
    Phase(_scenario("stalled", "a stalled stream"), "bench(hold=stall,trace=1)", streamed=True, events=1),
    Phase(
        _scenario("prefill-stream", "during prefill, streaming"), "bench(hold=prefill,trace=1)", streamed=True, events=0
    ),
    Phase(_scenario("prefill-json", "during prefill, JSON"), "bench(hold=prefill,trace=1)", streamed=False, events=0),
)


def sample(stage: Stage, runner: Runner, phase: Phase, round_number: int) -> Sample:
    name, peer = phase.scenario.name, runner.peer.name
    with socket.create_connection(("127.0.0.1", runner.port), timeout=5) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(_request(phase, runner.port))
        started = stage.trace.wait("start", None, 5)
        if started is None:
            return Sample(name, peer, round_number, None, "the engine never got the request")
        if not _read_events(client, phase.events):
            return Sample(name, peer, round_number, None, f"no {phase.events} events in 5 s")
        time.sleep(QUIET_SECONDS if phase.events < 2 else 0)
        left = time.monotonic_ns()
    aborted = stage.trace.wait("abort", started[0], LIMIT_SECONDS)
    if aborted is None:
        return Sample(name, peer, round_number, math.inf, f"not within {LIMIT_SECONDS} s")
    return Sample(name, peer, round_number, (aborted[1] - left) / 1e6)


def _request(phase: Phase, port: int) -> bytes:
    content = body(phase.order, stream=phase.streamed)
    head = [
        "POST /v1/chat/completions HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Authorization: Bearer {KEY}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + content


def _read_events(client: socket.socket, wanted: int) -> bool:
    received = b""
    while received.count(b"data: ") < wanted:
        try:
            piece = client.recv(65_536)
        except TimeoutError:
            return False
        if not piece:
            return False
        received += piece
    return True
