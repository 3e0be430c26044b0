"""Row 17: an answer has begun, its engine goes away, and another of the same target is asked for the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec

from penstock.faults.condition import Model
from penstock.faults.engine import Engine
from penstock.faults.gateways import eventually
from penstock.faults.record import Received
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import Script, ToolUse
from penstock.faults.seen import Outcome, Seen
from penstock.faults.site import MODEL, Site, answered, explicit, never_silent

TOKENS = ("The", " gate", " opens", ",", " and", " the", " drop", " falls", " down", " the", " shaft", ".")
TEXT = "".join(TOKENS)
DROPLETS = (
    "One",
    " ",
    "<0xF0>",
    "<0x9F>",
    "<0x92>",
    "<0xA7>",
    " and",
    " ",
    "<0xF0>",
    "<0x9F>",
    "<0x8C>",
    "<0x8A>",
    "!",
)
THOUGHT = ("Let", " me", " think", ".")
TOOL = {
    "type": "function",
    "function": {"name": "turn", "parameters": {"type": "object", "properties": {"by": {"type": "string"}}}},
}
CALL = ToolUse(name="turn", arguments='{"by": "a quarter to the left"}')
GREEDY: dict[str, Any] = {"temperature": 0}
USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}
SAID = Script(tokens=TOKENS)


Queue = deque[Script]
"""Scripts of the next requests, whichever engine gets them."""


@asynccontextmanager
async def _pair(site: Site, policy: str = "continue", **limits: object) -> AsyncIterator[tuple[Site, Queue]]:
    """A gateway whose one target has both engines. They say the same, and the next requests go by one queue of scripts."""
    target = {"backends": ["a", "b"], "model": MODEL}
    changes = {"aliases": {MODEL: {"midstream": policy, "fallback": None, "targets": [target]}}, "limits": limits}
    async with site.penstock(changes) as own:
        site.a.script = site.b.script = SAID
        scripts = site.a.next = site.b.next = deque[Script]()
        yield own, scripts


async def _well(own: Site) -> None:
    """Answers without a fault, or the breakers would keep others away from the engines."""
    for _ in range(2):
        answered(await own.ask(), text=None)
    for engine in (own.a, own.b):
        engine.requests.clear()


def _rest(own: Site) -> Received:
    """The last request: the one for the rest."""
    return max([*own.a.requests, *own.b.requests], key=lambda one: one.at)


async def _killed(own: Site, words: str) -> tuple[Seen, Engine, Engine]:
    """An engine is killed before its fifth token; what came of it, who died, and the other."""
    gates = {engine: engine.hold(before=5) for engine in (own.a, own.b)}
    asking = own.asking(words=words)
    await asking.until(TOKENS[4])
    dead = own.a if own.a.running else own.b
    other = own.b if dead is own.a else own.a
    await gates[dead].reached()
    gates[other].open()
    await dead.stop()
    seen = await asking.seen()
    for engine, gate in gates.items():
        gate.open()
        engine.gates.clear()
    return seen, dead, other


def _dying(after: int, cut: Literal["rst", "fin", "eos"] = "rst", **more: Any) -> Script:  # noqa: ANN401 - fields of a script
    return msgspec.structs.replace(SAID, cut_after=after, cut=cut, **more)


def _same(seen: Seen, text: str = TEXT, finish: str = "stop") -> Seen:
    answered(seen, text=text)
    if seen.finish != finish:
        raise Failed(f"the finish {finish} was expected, seen {seen.finish}")
    heads = {(one.get("id"), one.get("created"), one.get("model")) for one in seen.events if "choices" in one}
    if len(heads) > 1:
        raise Failed(f"one id, `created` and model were expected, seen {heads}")
    roles = sum("role" in choice.get("delta", {}) for one in seen.events for choice in one.get("choices", ()))
    if roles > 1:
        raise Failed(f"one role was expected, seen {roles}")
    return seen


async def any_gateway(site: Site) -> None:
    """A dies in its answer: what B adds, if anything, gives the whole answer; else an explicit error."""
    site.a.script, site.b.script = _dying(5), SAID
    for face in ("openai", "ollama"):
        never_silent(await site.ask(face=face, body=GREEDY), TEXT)


async def goes_on(site: Site) -> None:
    """The first dies after any token: the other says the rest, and the joined answer is the whole one, counted once."""
    async with _pair(site) as (own, scripts):
        for after in range(1, len(TOKENS)):
            scripts.append(_dying(after))
            seen = _same(await own.ask(body={**GREEDY, **USAGE}))
            if seen.usage["completion_tokens"] != len(TOKENS):
                raise Failed(f"{len(TOKENS)} tokens were expected, seen {seen.usage}")
            body = msgspec.json.decode(_rest(own).body)
            if len(body["prompt"]) != seen.usage["prompt_tokens"] + after:
                raise Failed(f"the prompt and {after} tokens of the answer were expected, seen {body}")
            await _well(own)
        await own.counted("penstock_midstream_total", len(TOKENS) - 1, {"how": "tokens", "outcome": "joined"})
        await own.logged(event="request", midstream="tokens", outcome="answered", attempts=2)


async def every_end(site: Site) -> None:
    """However it dies (reset, close, end without finish, silence, an event that is none, its own error): the whole answer."""
    ends = [_dying(4, cut) for cut in ("rst", "fin", "eos")]
    ends += [msgspec.structs.replace(SAID, **{name: 4}) for name in ("stall_after", "malformed_after", "error_after")]
    for script in ends:
        async with _pair(site) as (own, scripts):
            for face in ("openai", "ollama"):
                scripts.append(script)
                _same(await own.ask(face=face, body=GREEDY))
                await _well(own)


async def refuses(site: Site) -> None:
    """Engines that refuse to go on (400): an explicit error, and none is asked so twice; a greedy answer is asked again whole."""
    unwilling = Script(status=400, message="prompts of token ids are not supported")
    async with _pair(site) as (own, scripts):
        for asked in (3, 1):
            scripts.extend([_dying(5), unwilling, unwilling])
            explicit(await own.ask(), Outcome.BROKEN)
            seen = len(own.a.requests) + len(own.b.requests)
            if seen != asked:
                raise Failed(f"{asked} requests in all were expected, seen {seen}")
            scripts.clear()
            await _well(own)
        await own.counted("penstock_midstream_total", 2, {"outcome": "nobody"})
        scripts.append(_dying(5))
        _same(await own.ask(body=GREEDY))
        await own.logged(event="request", midstream="replay", outcome="answered")


async def smaller(site: Site) -> None:
    """B has less context than the rest may need, and A is killed: B is not asked, and the stream ends in an explicit error."""
    site.b.models[MODEL] = Model(MODEL, 60)
    async with _pair(site) as (own, _):
        for number in range(20):
            seen, dead, other = await _killed(own, f"{number} words")
            if dead is own.a:
                break
            _same(seen)
            await dead.start()
        explicit(seen, Outcome.BROKEN)
        if dead is not own.a or other.requests:
            raise Failed(f"an engine that cannot take it was expected not to be asked, seen {other.requests}")


async def dies_too(site: Site) -> None:
    """The other dies as well: a third attempt ends the answer; when all are used up, an explicit error."""
    async with _pair(site, attempts=3) as (own, scripts):
        scripts.extend([_dying(3), _dying(4)])
        _same(await own.ask(body=GREEDY))
        await _well(own)
        scripts.extend([_dying(3), _dying(2), _dying(1)])
        explicit(await own.ask(body=GREEDY), Outcome.BROKEN)
        await eventually(lambda: not own.a.running and not own.b.running, "no request left on an engine")


async def at_the_limit(site: Site) -> None:
    """Near `max_tokens`: the whole answer keeps to it, finish `length`; and where all had come, nobody is asked."""
    async with _pair(site) as (own, scripts):
        for limit in (6, 7):
            for after in range(limit - 2, limit + 1):
                scripts.append(_dying(after))
                seen = _same(await own.ask(body={"max_tokens": limit, **USAGE}), "".join(TOKENS[:limit]), "length")
                if seen.usage["completion_tokens"] != limit:
                    raise Failed(f"{limit} tokens were expected, seen {seen.usage}")
                asked = len(own.a.requests) + len(own.b.requests)
                if asked != (2 if after < limit else 1):
                    raise Failed(f"a request for the rest only where there is one was expected, seen {asked}")
                await _well(own)


async def in_a_character(site: Site) -> None:
    """Between the bytes of a character: it comes once and whole, and never the prompt with it."""
    said = msgspec.structs.replace(SAID, tokens=DROPLETS)
    async with _pair(site) as (own, scripts):
        site.a.script = site.b.script = said
        for after in range(1, len(DROPLETS)):
            scripts.append(msgspec.structs.replace(said, cut_after=after))
            _same(await own.ask(), "One 💧 and 🌊!")
            await _well(own)


async def in_a_call(site: Site) -> None:
    """Inside a call's arguments: the same call once and whole; one that comes out differently is an explicit error."""
    body: Mapping[str, Any] = {"tools": [TOOL], **GREEDY}
    said = Script(tools=(CALL,))
    async with _pair(site) as (own, scripts):
        site.a.script = site.b.script = said
        for after in (1, 2, 3):
            scripts.append(msgspec.structs.replace(said, cut_after=after))
            seen = answered(await own.ask(body=body), text="")
            if dict(seen.tools) != {0: (CALL.name, CALL.arguments)} or seen.finish != "tool_calls":
                raise Failed(f"the call {CALL} was expected, seen {dict(seen.tools)} {seen.finish}")
            await _well(own)
        # no tools at all, and other arguments
        for other in (SAID, Script(tools=(ToolUse(name="turn", arguments='{"by": "half to the right"}'),))):
            scripts.extend([msgspec.structs.replace(said, cut_after=3), other])
            explicit(await own.ask(body=body), Outcome.BROKEN)
        await own.counted("penstock_midstream_total", 2, {"how": "replay", "outcome": "diverged"})


async def in_reasoning(site: Site) -> None:
    """Inside reasoning, whose raw text the engine's parser eats: exact where the answer can be asked again, else an error."""
    said = msgspec.structs.replace(SAID, reasoning=THOUGHT)
    async with _pair(site) as (own, scripts):
        site.a.script = site.b.script = said
        for after in (2, 6):
            scripts.append(msgspec.structs.replace(said, cut_after=after))
            seen = _same(await own.ask(body=GREEDY))
            if seen.reasoning != "".join(THOUGHT):
                raise Failed(f"the reasoning {THOUGHT} was expected, seen {seen.reasoning!r}")
            await _well(own)
            scripts.append(msgspec.structs.replace(said, cut_after=after))
            explicit(await own.ask(), Outcome.BROKEN)
            await _well(own)


async def restarts(site: Site) -> None:
    """`restart`: the same request elsewhere, without what was sent; the first difference is an explicit error."""
    async with _pair(site, "restart") as (own, scripts):
        for after in (1, 5, len(TOKENS) - 1):
            scripts.append(_dying(after))
            _same(await own.ask())
            await _well(own)
        scripts.extend([_dying(7), Script(tokens=(*TOKENS[:3], " but", *TOKENS[4:]))])
        seen = explicit(await own.ask(), Outcome.BROKEN)
        if seen.text != "".join(TOKENS[:7]):
            raise Failed(f"nothing of another answer was expected, seen {seen.text!r}")
        await own.counted("penstock_midstream_total", 3, {"how": "replay", "outcome": "joined"})
        await own.logged(event="request", midstream="replay", outcome="broken")


async def leaves(site: Site) -> None:
    """The client leaves while the other goes on: that one is told at once."""
    async with _pair(site) as (own, scripts):
        scripts.append(_dying(3))
        gates = [engine.hold(before=4) for engine in (own.a, own.b)]
        asking = own.asking(body=GREEDY)
        await asking.until(TOKENS[6])
        other = own.a if own.a.running else own.b
        await asking.leave()
        await other.aborted()
        for gate in gates:
            gate.open()
        await own.logged(event="request", outcome="client gone", midstream="tokens")
        await eventually(lambda: not own.a.running and not own.b.running, "no request left on an engine")


_OURS = frozenset({Need.PENSTOCK})
SCENARIOS = (
    Scenario(17, "any-gateway", any_gateway),
    *(
        Scenario(17, run.__name__.replace("_", "-"), run, _OURS, own=True)
        for run in (
            goes_on, every_end, refuses, smaller, dies_too, at_the_limit, in_a_character, in_a_call, in_reasoning,
            restarts, leaves,
        )
    ),
)  # fmt: skip
