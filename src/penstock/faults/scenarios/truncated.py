"""Row 19: a whole answer of which a part is missing."""

from __future__ import annotations

from penstock.faults.breaking import before, came_whole, named, over_ollama
from penstock.faults.faces import FACES, Face, faces
from penstock.faults.scenario import Need, Scenario
from penstock.faults.script import Script
from penstock.faults.seen import Outcome
from penstock.faults.site import Site, explicit

SHORT = {
    "less than its content-length": Script(truncate=60),
    "nothing after its head": Script(truncate=0),
    "all but its last byte": Script(truncate=-1),
    "JSON that is cut, with the right length": Script(cut_json=60),
    "an empty body": Script(cut_json=0),
    "reset before its end": Script(cut_after=3),
}
_OURS = frozenset({Need.PENSTOCK})


async def truncated(site: Site) -> None:
    """A whole answer comes in part, against its length or with it: B answers, and no part of A's is seen."""
    await _from_b(site)


async def both(site: Site) -> None:
    """The same of A and B: an explicit error, 502, and never a part of JSON."""
    asked = faces(site)[:1] + faces(site)[-1:]
    for what, script in SHORT.items():
        site.a.script = site.b.script = script
        for face in asked:
            with named(f"{what}, {face.name}"):
                explicit(await site.ask(stream=False, **face.route), Outcome.REFUSED)
    await site.counted("penstock_attempts_failed_total", 1, {"backend": "b"}, at_least=True)
    await site.logged(event="request", outcome="refused", status=502)


async def truncated_ollama(site: Site) -> None:
    """The same where A is an Ollama: B answers."""
    async with over_ollama(site) as (own, ollama):
        for what, script in SHORT.items():
            with named(what):
                async for face, seen in before(own, ollama, script, FACES, stream=False):
                    came_whole(face, seen, by=site.b)
        await own.counted("penstock_fallback_total", len(SHORT) * len(FACES), {"from": "a", "to": "b"})
        await own.logged(event="request", backend="b", fallback="broken", outcome="answered")


async def vectors(site: Site) -> None:
    """Embeddings of which a part is missing: an explicit error, because vectors of another model are none of these."""
    face = Face("embeddings", "/v1/embeddings", "openai", {"messages": None, "input": "water", "stream": None})
    for what, script in SHORT.items():
        site.a.script = site.b.script = script
        with named(what):
            explicit(await site.ask(stream=False, **face.route), Outcome.REFUSED)
    await site.logged(event="request", outcome="refused", status=502)


async def _from_b(site: Site) -> None:
    asked = faces(site)
    for what, script in SHORT.items():
        with named(what):
            async for face, seen in before(site, site.a, script, asked, stream=False):
                came_whole(face, seen, by=site.b)
    await site.counted("penstock_fallback_total", len(SHORT) * len(asked), {"from": "a", "to": "b"})
    await site.logged(event="request", backend="b", fallback="broken", outcome="answered")


SCENARIOS = (
    Scenario(19, "truncated", truncated),
    Scenario(19, "both", both),
    Scenario(19, "truncated-ollama", truncated_ollama, _OURS, own=True),
    Scenario(19, "vectors", vectors),
)
