"""Row 16: an engine that answers 200 and then says that it failed."""

from __future__ import annotations

from penstock.faults.breaking import before, begun, broke, came_whole, named, over_ollama
from penstock.faults.faces import FACES, faces
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import Break, Script
from penstock.faults.site import Site

DEAD = "EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause."
SHAPES: tuple[Break, ...] = ("error", "bare-error", "named-error")
_OURS = frozenset({Need.PENSTOCK})


async def error_event(site: Site) -> None:
    """EngineDeadError as an event after three tokens, and `[DONE]` behind it: an explicit error with the engine's words."""
    async for face, seen in begun(site, site.a, Script(error_after=3, message=DEAD), faces(site)):
        broke(face, seen)
        if site.ours and "EngineDeadError" not in seen.error:
            with named(face.name):
                raise Failed(f"the engine's words in the error were expected, seen {seen.error!r}")
    await site.counted("penstock_streams_broken_total", len(faces(site)), {"backend": "a", "reason": "5xx"})
    await site.logged(event="request", backend="a", outcome="broken", status=200)


async def error_event_ollama(site: Site) -> None:
    """A line with an error after three tokens of an Ollama: an explicit error with its words."""
    async with over_ollama(site) as (own, ollama):
        async for face, seen in begun(own, ollama, Script(error_after=3, message=DEAD), FACES):
            broke(face, seen)
        await own.counted("penstock_streams_broken_total", len(FACES), {"backend": "a", "reason": "5xx"})
        await own.logged(event="request", backend="a", outcome="broken", status=200)


async def odd_errors(site: Site) -> None:
    """Errors in shapes of their own after three tokens, and the answer goes on behind them: an explicit error."""
    for shape in SHAPES:
        with named(shape):
            async for face, seen in begun(site, site.a, Script(malformed_after=3, malformed=shape), faces(site)):
                broke(face, seen)
    await site.counted("penstock_streams_broken_total", len(SHAPES) * len(faces(site)), {"backend": "a"})
    await site.logged(event="request", backend="a", outcome="broken")


async def before_content(site: Site) -> None:
    """Any of these errors before the first token: B answers, and nothing of A's is in it."""
    scripts = (
        Script(error_after=0, message=DEAD),
        *(Script(malformed_after=0, malformed=shape) for shape in SHAPES),
    )
    for script in scripts:
        with named(script.malformed):
            async for face, seen in before(site, site.a, script, faces(site), stream=True):
                came_whole(face, seen, by=site.b)
    await site.counted("penstock_fallback_total", len(scripts) * len(faces(site)), {"from": "a", "to": "b"})
    await site.logged(event="request", backend="b", fallback="5xx", outcome="answered")


async def whole(site: Site) -> None:
    """An error with status 200 in the place of a whole answer: B answers."""
    for body in ('{"error":{"message":"%s"}}', '{"object":"error","message":"%s"}', '{"detail":"%s"}', "{}"):
        script = Script(body=body.replace("%s", DEAD), content_type="application/json")
        with named(body):
            async for face, seen in before(site, site.a, script, faces(site), stream=False):
                came_whole(face, seen, by=site.b)
    await site.counted("penstock_fallback_total", 4 * len(faces(site)), {"from": "a", "to": "b"})
    await site.logged(event="request", backend="b", fallback="5xx", outcome="answered")


SCENARIOS = (
    Scenario(16, "error-event", error_event),
    Scenario(16, "error-event-ollama", error_event_ollama, _OURS, own=True),
    Scenario(16, "odd-errors", odd_errors),
    Scenario(16, "before-content", before_content),
    Scenario(16, "whole", whole),
)
