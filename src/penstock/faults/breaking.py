"""What scenarios of broken answers have in common: the same fault asked for in every protocol, and how each may end.

Between two faults the engine answers well a few times, so that no breaker has reason to rest it: the next fault shall meet
a gateway that would still ask it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from penstock.faults.faces import Face
from penstock.faults.ollama import OllamaDouble
from penstock.faults.scenario import Failed
from penstock.faults.script import HEALTHY, Script
from penstock.faults.scripted import Scripted
from penstock.faults.seen import Outcome, Seen
from penstock.faults.site import MODEL, WORDS, Site, answered, explicit

FIRST = "water"
"""The first of the words; a client that has it has seen content."""
_BETWEEN = 2


async def healthy(site: Site, engine: Scripted) -> None:
    """The engine answers; its gateway has no reason to think ill of it."""
    engine.script = HEALTHY
    for _ in range(_BETWEEN):
        answered(await site.ask(stream=False))


async def begun(
    site: Site, engine: Scripted, script: Script, faces: Sequence[Face]
) -> AsyncIterator[tuple[Face, Seen]]:
    """For each face, a stream whose fault happens only after its client has seen the first token."""
    for face in faces:
        await healthy(site, engine)
        engine.script = script
        gate = engine.hold(before=1)
        asking = site.asking(stream=True, **face.route)
        try:
            await asking.until(FIRST)
        finally:
            gate.open()
            engine.gates.remove(gate)
        yield face, await asking.seen()


async def before(
    site: Site, engine: Scripted, script: Script, faces: Sequence[Face], *, stream: bool
) -> AsyncIterator[tuple[Face, Seen]]:
    """For each face, a request whose fault happens before its client can have seen anything."""
    for face in faces:
        await healthy(site, engine)
        engine.script = script
        yield face, await site.ask(stream=stream, **face.route)


@contextmanager
def named(what: str) -> Iterator[None]:
    """Whoever fails in here says at what."""
    try:
        yield
    except Failed as failed:
        raise Failed(f"{what}: {failed}") from None


def broke(face: Face, seen: Seen) -> None:
    """A begun stream that ended in an explicit error, with nothing but the beginning of the answer before it."""
    with named(face.name):
        explicit(seen, Outcome.BROKEN)
        if not seen.text or not WORDS.startswith(seen.text):
            raise Failed(f"the beginning of {WORDS!r} was expected, seen {seen}")


def came_whole(face: Face, seen: Seen, *, by: Scripted | None = None) -> None:
    """The whole answer, from this engine."""
    with named(face.name):
        answered(seen)
        if by is not None and not by.answered:
            raise Failed(f"an answer of the engine at {by.url} was expected, it has answered nothing; seen: {seen}")


@asynccontextmanager
async def over_ollama(site: Site) -> AsyncIterator[tuple[Site, OllamaDouble]]:
    """The same gateway with an Ollama in the place of A."""
    async with OllamaDouble([MODEL]) as ollama:
        backends = {"a": {"kind": "ollama", "url": ollama.url, "probe": "60s"}}
        async with site.penstock({"backends": backends}) as own:
            yield own, ollama
