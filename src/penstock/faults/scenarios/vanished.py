"""Row 21, half-open clients: the client's machine goes away without a FIN or a RST, as if somebody had pulled its cable."""

from __future__ import annotations

import hashlib
import time

from penstock.faults.bare import Bare
from penstock.faults.gateways import free_port
from penstock.faults.injectors.cable import Cable, cable
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import HEALTHY, Script
from penstock.faults.seen import request
from penstock.faults.site import PATHS, Site

IDLE = 3
"""Seconds of `limits.idle`: after so long without a sign of life a client counts as gone."""
NOTICED = 20.0
_KEY = {"authorization": "Bearer sk-far"}


async def vanished(site: Site) -> None:
    """A client's cable is pulled, in mid-stream and before the first token: its engine is free within seconds."""
    digest = hashlib.sha256(b"sk-far").hexdigest()
    async with cable(site.a.port) as (line, _):
        changes = {
            "listen": [f"{line.here}:0"],
            "listen_metrics": [f"127.0.0.1:{free_port()}"],  # beyond loopback they are for keys that may see them
            "callers": {"far": {"tenant": "far", "key_sha256": digest}},
            "limits": {"idle": f"{IDLE}s", "total": "2m", "first_token": "1m", "between_tokens": "1m"},
        }
        async with site.penstock(changes) as own:
            own.a.script = Script(count=3000, gap=0.02)
            await _pulled(own, line, 1, "streaming")
            own.a.script = HEALTHY
            gate = own.a.hold(before=0)
            await _pulled(own, line, 2, "asked")
            gate.open()
            await own.counted("penstock_clients_gone_total", 2)
            await own.logged(event="request", status=499, outcome="client gone", caller="far")


async def _pulled(site: Site, line: Cable, count: int, phase: str) -> None:
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "water runs"}]}
    async with Bare(site.url, sock=await line.socket()) as bare:
        await bare.send(request(PATHS["openai"], body, _KEY))
        await site.a.seen(count)
        if phase == "streaming":
            await bare.end(limit=0.5)
            if b"water" not in bare.received:
                raise Failed(f"the beginning of a stream was expected, seen {bytes(bare.received)!r}")
        await line.pull()
        began = time.monotonic()
        try:
            await site.a.aborted(count, timeout=NOTICED)
        except AssertionError:
            raise Failed(f"the engine to be free within {NOTICED:g} s was expected, it works on") from None
        site.notes.append(f"{phase}: free after {time.monotonic() - began:.1f} s, limits.idle {IDLE} s")
    await line.plug()


SCENARIOS = (Scenario(21, "vanished", vanished, frozenset({Need.PENSTOCK, Need.ROOT}), own=True, limit=90.0),)
