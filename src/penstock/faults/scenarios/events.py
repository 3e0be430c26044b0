"""Row 15: events that are oddly written give the whole answer, events that are wrong an explicit error; in any protocol."""

from __future__ import annotations

from typing import get_args

from penstock.faults.breaking import before, begun, broke, came_whole, healthy, named, over_ollama
from penstock.faults.faces import CHAT, FACES, Face, faces
from penstock.faults.scenario import Need, Scenario
from penstock.faults.script import Break, Habit, Script
from penstock.faults.scripted import Scripted
from penstock.faults.site import Site, answered

ODD = (
    Script(line_end="crlf"),
    Script(line_end="cr"),
    *(Script(habits=(habit,)) for habit in get_args(Habit)),
    Script(write=7, line_end="cr", habits=get_args(Habit)),
)
BYTES = (Script(write=1), Script(write=1, line_end="crlf", habits=get_args(Habit)))
ODD_LINES = (Script(line_end="crlf"), Script(write=1), Script(write=7, line_end="crlf"))
ENDS = (Script(done="twice"), Script(done="followed"))
WIDE = "Wasser läuft durch das Druckrohr 🌊 zu den Turbinen — 水力発電 — und zurück in den Fluß"
"""Characters of two, three and four bytes, which writes of few bytes cut through."""
_GIANT = 16 << 20
_TIGHT = frozenset({Need.PENSTOCK})


async def odd(site: Site) -> None:
    """CRLF, CR, no space, data over two lines, comments with NULs, a byte order mark, bytes one by one: the whole answer."""
    await _odd(site, site.a, ODD, faces(site))
    await _odd(site, site.a, BYTES, faces(site)[:1] + faces(site)[-1:])
    await site.counted("penstock_attempts_failed_total", 0, {"backend": "a", "reason": "broken"})
    await site.logged(event="request", backend="a", outcome="answered")


async def odd_ollama(site: Site) -> None:
    """The same of the lines of an Ollama, as far as they can be odd."""
    async with over_ollama(site) as (own, ollama):
        await _odd(own, ollama, ODD_LINES, [face for face in FACES if face.native])
        await own.counted("penstock_attempts_failed_total", 0, {"backend": "a", "reason": "broken"})


async def wide(site: Site) -> None:
    """Characters of several bytes, cut at every place by writes of one byte and of seven: every one of them arrives."""
    for size in (1, 7):
        site.a.script = Script(write=size)
        seen = await site.ask(words=WIDE)
        with named(f"writes of {size}"):
            answered(seen, text=WIDE)
    await site.logged(event="request", backend="a", outcome="answered")


async def ends(site: Site) -> None:
    """The end comes twice, or more of the answer comes behind it: the answer, and one end."""
    for script in ENDS:
        async for face, seen in before(site, site.a, script, faces(site), stream=True):
            came_whole(face, seen)
    await site.counted("penstock_attempts_failed_total", 0, {"backend": "a", "reason": "broken"})
    await site.logged(event="request", backend="a", outcome="answered")


async def no_end(site: Site) -> None:
    """`[DONE]` is missing behind the finish: the whole answer with it; where there is no other end, an explicit error."""
    forgiven = [face for face in faces(site) if face.name not in {"responses", "messages"}]
    missed = [face for face in faces(site) if face not in forgiven]
    async for face, seen in before(site, site.a, Script(done="never"), forgiven, stream=True):
        came_whole(face, seen)
    async for face, seen in begun(site, site.a, Script(done="never"), missed):
        broke(face, seen)
    await site.counted("penstock_streams_broken_total", len(missed), {"backend": "a", "reason": "broken"})
    await site.logged(event="request", backend="a", outcome="broken")


async def wrong(site: Site) -> None:
    """Broken JSON, NULs, half of a character, a line without `data:` after the first token: an explicit error."""
    count = 0
    for how in ("junk", "nul", "utf8", "bare"):
        count += await _wrong(site, site.a, how, faces(site))
    await site.counted("penstock_streams_broken_total", count, {"backend": "a", "reason": "broken"})
    await site.logged(event="request", backend="a", outcome="broken")


async def wrong_ollama(site: Site) -> None:
    """The same of the lines of an Ollama."""
    native = [face for face in FACES if face.native]
    async with over_ollama(site) as (own, ollama):
        count = 0
        for how in ("junk", "nul", "utf8", "bare"):
            count += await _wrong(own, ollama, how, native)
        await own.counted("penstock_streams_broken_total", count, {"backend": "a", "reason": "broken"})
        await own.logged(event="request", backend="a", outcome="broken")


async def wrong_before(site: Site) -> None:
    """A broken event before the first token: B answers."""
    async for face, seen in before(site, site.a, Script(malformed_after=0), faces(site), stream=True):
        came_whole(face, seen, by=site.b)
    await site.counted("penstock_fallback_total", len(faces(site)), {"from": "a", "to": "b", "reason": "broken"})
    await site.logged(event="request", backend="b", fallback="broken", outcome="answered")


async def giant(site: Site) -> None:
    """A line of 16 MB without an end: an explicit error after the first token, B's answer before it; memory stays bounded."""
    async for face, seen in begun(site, site.a, Script(giant_after=3, giant=_GIANT), [CHAT]):
        broke(face, seen)
    async for face, seen in before(site, site.a, Script(giant_after=0, giant=_GIANT), [CHAT], stream=True):
        came_whole(face, seen, by=site.b)
    await site.counted("penstock_streams_broken_total", 1, {"backend": "a", "reason": "broken"})
    await site.logged(
        event="request",
        backend="a",
        outcome="broken",
        error="a: Reading the engine's event stream: one event passed 8388608 bytes without an end.",
    )


async def _odd(site: Site, engine: Scripted, scripts: tuple[Script, ...], asked: tuple[Face, ...] | list[Face]) -> None:
    for script in scripts:
        engine.script = script
        for face in asked:
            came_whole(face, await site.ask(stream=True, **face.route))


async def _wrong(site: Site, engine: Scripted, how: Break, asked: tuple[Face, ...] | list[Face]) -> int:
    with named(how):
        async for face, seen in begun(site, engine, Script(malformed_after=3, malformed=how), asked):
            broke(face, seen)
    await healthy(site, engine)
    return len(asked)


SCENARIOS = (
    Scenario(15, "odd", odd),
    Scenario(15, "odd-ollama", odd_ollama, _TIGHT, own=True),
    Scenario(15, "wide", wide),
    Scenario(15, "ends", ends),
    Scenario(15, "no-end", no_end),
    Scenario(15, "wrong", wrong),
    Scenario(15, "wrong-ollama", wrong_ollama, _TIGHT, own=True),
    Scenario(15, "wrong-before", wrong_before),
    Scenario(15, "giant", giant),
)
