"""Rows 11 to 14: an engine that dies, closes, ends or falls silent in the middle of its answer."""

from __future__ import annotations

from penstock.faults.breaking import before, begun, broke, came_whole, healthy, over_ollama
from penstock.faults.faces import CHAT, FACES, Face, faces
from penstock.faults.injectors.victim import victim
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import Script
from penstock.faults.scripted import Scripted
from penstock.faults.site import Site, answered, never_silent

RESET = Script(cut_after=4, cut="rst")
CLOSED = Script(cut_after=4, cut="fin")
ENDED = Script(cut_after=4, cut="eos")
STALLED = Script(stall_after=4)
SLOW = Script(gap=0.2)
"""So slow that an answer is far from its end when its client has seen four tokens, however busy the machine is."""


async def killed(site: Site) -> None:
    """SIGKILL to A's process in mid-stream: an explicit error in the client's protocol; what follows comes from B."""
    await _killed(site, CHAT)


async def killed_messages(site: Site) -> None:
    """The same of a client that speaks Anthropic's protocol."""
    async with site.penstock() as own:
        await _killed(own, next(face for face in FACES if face.name == "messages"))


async def killed_ollama(site: Site) -> None:
    """The same of a client that speaks Ollama's."""
    async with site.penstock() as own:
        await _killed(own, next(face for face in FACES if face.name == "ollama-chat"))


async def killed_whole(site: Site) -> None:
    """SIGKILL to A's process while it makes a whole answer: B answers."""
    await site.a.stop()
    async with victim(site.a.port, SLOW) as process:
        await _short(site)
        asking = site.asking(stream=False)
        await process.asked()
        process.kill()
        answered(await asking.seen(), by=site.b)
    await site.counted("penstock_fallback_total", 1, {"from": "a", "to": "b", "reason": "connect"})
    await site.logged(event="request", backend="b", fallback="connect", outcome="answered")


async def reset(site: Site) -> None:
    """A resets the connection after four tokens: an explicit error in the client's protocol."""
    await _broken(site, RESET, reason="connect")


async def reset_ollama(site: Site) -> None:
    """The same where A is an Ollama."""
    await _broken_over_ollama(site, RESET, reason="connect")


async def closed(site: Site) -> None:
    """A closes the connection after four tokens, in the middle of its body: an explicit error in the client's protocol."""
    await _broken(site, CLOSED, reason="connect")


async def closed_ollama(site: Site) -> None:
    """The same where A is an Ollama."""
    await _broken_over_ollama(site, CLOSED, reason="connect")


async def ended(site: Site) -> None:
    """A ends its body cleanly after four tokens, without finish and end: an explicit error in the client's protocol."""
    await _broken(site, ENDED, reason="broken")


async def ended_ollama(site: Site) -> None:
    """The same where A is an Ollama."""
    await _broken_over_ollama(site, ENDED, reason="broken")


async def given_up(site: Site) -> None:
    """A says after all of its tokens that it aborted the answer, and ends properly: an explicit error; whole answers are B's."""
    script = Script(finish="abort")
    known = [face for face in faces(site) if face.path != "/v1/responses"]
    async for face, seen in begun(site, site.a, script, known):
        broke(face, seen)
    async for face, seen in before(site, site.a, script, known, stream=False):
        came_whole(face, seen, by=site.b)
    await site.counted("penstock_streams_broken_total", len(known), {"backend": "a", "reason": "broken"})
    await site.logged(event="request", backend="a", outcome="broken")
    await site.logged(event="request", backend="b", fallback="broken", outcome="answered")


async def before_content(site: Site) -> None:
    """The same three ends before the first token: B answers, and nothing of A's is in it."""
    count = 0
    for script in (Script(cut_after=0, cut="rst"), Script(cut_after=0, cut="fin"), Script(cut_after=0, cut="eos")):
        async for face, seen in before(site, site.a, script, faces(site), stream=True):
            count += 1
            came_whole(face, seen, by=site.b)
    await site.counted("penstock_fallback_total", count, {"from": "a", "to": "b"})
    await site.logged(event="request", backend="b", fallback="broken", outcome="answered")


async def stalled(site: Site) -> None:
    """A falls silent after four tokens with its connection open: an explicit error in time, and A is let go."""
    await _stalled(site, site.a, faces(site))


async def stalled_ollama(site: Site) -> None:
    """The same where A is an Ollama."""
    async with over_ollama(site) as (own, ollama):
        await _stalled(own, ollama, FACES)


async def stalled_whole(site: Site) -> None:
    """A falls silent in the middle of making a whole answer: B answers or an explicit error comes, in time; A is let go."""
    await healthy(site, site.a)
    site.a.script = STALLED
    seen = never_silent(await site.ask(stream=False))
    await site.a.aborted()
    await site.counted("penstock_attempts_failed_total", 1, {"backend": "a", "reason": "timeout"})
    await site.logged(event="request", outcome=seen.outcome.value, status=seen.status)


async def _killed(site: Site, face: Face) -> None:
    await site.a.stop()
    async with victim(site.a.port, SLOW) as process:
        await _short(site)
        asking = site.asking(stream=True, **face.route)
        await asking.until("penstock")
        process.kill()
        broke(face, await asking.seen())
    for stream in (True, False):
        came_whole(face, await site.ask(stream=stream, **face.route), by=site.b)
    await site.counted("penstock_streams_broken_total", 1, {"backend": "a", "reason": "connect"})
    await site.logged(event="request", backend="a", outcome="broken", status=200)
    await site.logged(event="request", backend="b", outcome="answered")


async def _short(site: Site) -> None:
    """Two small answers of a slow engine, so that no breaker has reason to rest it."""
    for _ in range(2):
        answered(await site.ask(stream=False, body={"max_tokens": 2}), text=None)


async def _broken(site: Site, script: Script, *, reason: str) -> None:
    asked = faces(site)
    async for face, seen in begun(site, site.a, script, asked):
        broke(face, seen)
    await site.counted("penstock_streams_broken_total", len(asked), {"backend": "a", "reason": reason})
    await site.logged(event="request", backend="a", outcome="broken", status=200)
    if site.ours and site.b.requests:
        raise Failed("no request to B was expected after content, seen one")


async def _broken_over_ollama(site: Site, script: Script, *, reason: str) -> None:
    async with over_ollama(site) as (own, ollama):
        async for face, seen in begun(own, ollama, script, FACES):
            broke(face, seen)
        await own.counted("penstock_streams_broken_total", len(FACES), {"backend": "a", "reason": reason})
        await own.logged(event="request", backend="a", outcome="broken", status=200)


async def _stalled(site: Site, engine: Scripted, asked: tuple[Face, ...]) -> None:
    async for face, seen in begun(site, engine, STALLED, asked):
        broke(face, seen)
        await engine.aborted()
        engine.aborts.clear()
    await site.counted("penstock_streams_broken_total", len(asked), {"backend": "a", "reason": "timeout"})
    await site.logged(event="request", backend="a", outcome="broken", status=200)


_OURS = frozenset({Need.PENSTOCK})

SCENARIOS = (
    Scenario(11, "killed", killed),
    Scenario(11, "killed-messages", killed_messages, _OURS, own=True),
    Scenario(11, "killed-ollama-face", killed_ollama, _OURS, own=True),
    Scenario(11, "killed-whole", killed_whole),
    Scenario(11, "reset", reset),
    Scenario(11, "reset-ollama", reset_ollama, _OURS, own=True),
    Scenario(12, "closed", closed),
    Scenario(12, "closed-ollama", closed_ollama, _OURS, own=True),
    Scenario(13, "ended", ended),
    Scenario(13, "ended-ollama", ended_ollama, _OURS, own=True),
    Scenario(13, "given-up", given_up),
    Scenario(13, "before-content", before_content),
    Scenario(14, "stalled", stalled),
    Scenario(14, "stalled-ollama", stalled_ollama, _OURS, own=True),
    Scenario(14, "stalled-whole", stalled_whole),
)
