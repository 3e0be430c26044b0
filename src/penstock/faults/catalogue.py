"""All thirty-six faults a gateway must survive, and which scenarios there are of each.

A file of scenarios is found by itself; a row without any is not built and is never told as passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules

from penstock.faults import scenarios
from penstock.faults.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Row:
    """One fault of the list."""

    number: int
    title: str
    later: str = ""
    """What of it needs parts of the gateway that are not there yet; empty for a row that can be built whole."""
    weight: float = 1.0
    """1 for a row that can be built whole now, 0.5 for one of which a part can, 0 for one that cannot."""


ROWS = (
    Row(1, "connection refused, host gone: DNS failure, NXDOMAIN, stale DNS after a pod has moved"),
    Row(2, "black hole: no answer to SYN"),
    Row(3, "reset after accept; a pooled connection closed just as we send"),
    Row(4, "accepts and never answers"),
    Row(5, "slow headers, slow first token"),
    Row(6, "500: once, always, in bursts, flapping"),
    Row(7, "429 with Retry-After in seconds and as a date, and without"),
    Row(8, "4xx is the caller's affair and no fault of the engine"),
    Row(9, "engine up, model not there: not loaded, asleep, warming up, adapter missing on this replica"),
    Row(10, "a replica that fails at once attracts the traffic of least-busy routing"),
    Row(11, "engine killed in mid-stream: RST"),
    Row(12, "FIN in mid-stream"),
    Row(13, "clean end of the body without finish"),
    Row(14, "stall with an open socket, pulled cable"),
    Row(15, "malformed events: JSON, UTF-8, line ends, sizes, [DONE] missing or doubled"),
    Row(16, "an error event after 200"),
    Row(17, "the engine that is to continue cannot: no prefill, less context, dies too, tools, reasoning"),
    Row(18, "wrong content type, HTML with 200, compressed events, content-length, smuggling"),
    Row(19, "a truncated whole answer"),
    Row(20, "client leaves: before headers, queued, before the first token, in mid-stream"),
    Row(21, "slow-loris, slow readers, half-open clients"),
    Row(22, "huge and hostile bodies"),
    Row(23, "hostile headers"),
    Row(24, "key flood, revoked and expired keys, tokens of a wrong clock"),
    Row(25, "storms: retries after a reset, one tenant starving others, one huge request blocking small ones, quota race"),
    Row(26, "SIGTERM during streams, SIGKILL, rolling restart"),
    Row(27, "poisoned reload, reload storm"),
    Row(28, "disk full, read-only, slow: the log of receipts"),
    Row(29, "clock jumps"),
    Row(30, "descriptors, ports and memory run out; the loop is blocked; no processor is left"),
    Row(31, "an engine's figures hang, are huge or garbled; its health lies"),
    Row(32, "replicas come and go in mid-request; the same address with another model"),
    Row(33, "retries multiply"),
    Row(34, "fallback from vLLM to Ollama"),
    Row(35, "adapters: load fails on one replica, corrupt, unloaded in use", "needs verified adapters", 0.0),
    Row(36, "two gateways, one store: split brain, lost lease, random kills"),
)  # fmt: skip


def collect() -> tuple[Scenario, ...]:
    """Every scenario there is, by row and in the order of its file."""
    found: list[Scenario] = []
    for module in iter_modules(scenarios.__path__, f"{scenarios.__name__}."):
        found += import_module(module.name).SCENARIOS
    return tuple(sorted(found, key=lambda one: one.row))


def built(found: tuple[Scenario, ...]) -> tuple[float, float]:
    """How many rows there are scenarios of, and of how many there can be: a row that is built in part counts half."""
    there = {one.row for one in found}
    return sum(row.weight for row in ROWS if row.number in there), sum(row.weight for row in ROWS)
