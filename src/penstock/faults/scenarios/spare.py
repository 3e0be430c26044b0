"""Row 34: vLLM is gone and an Ollama stands in: another protocol, another name, a smaller window, fewer options."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from penstock.faults.breaking import named
from penstock.faults.faces import FACES
from penstock.faults.ollama import OllamaDouble
from penstock.faults.ollama_shapes import OllamaModel
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import Script
from penstock.faults.seen import Outcome
from penstock.faults.site import MODEL, WORDS, Site, answered, explicit

SMALL = "small:1b"
_WINDOW = 40
_THEIRS = (502, 503)
"""Statuses that blame no caller: by the last of those that were asked, and A is asked first or, known to be gone, last."""
_LONG = " ".join(["water"] * 60)
_UNKNOWN = {"guided_choice": ["a"], "logit_bias": {"1": 2}, "top_k": 3}
"""Two that Ollama has no word for, and one that it has."""


async def answers(site: Site) -> None:
    """A dies: the Ollama answers under the name it knows the model by, in the client's protocol, in every one of them."""
    async with _stood_in(site) as (own, ollama):
        for face in FACES:
            for stream in (True, False):
                with named(f"{face.name}, {'streamed' if stream else 'whole'}"):
                    seen = answered(await own.ask(stream=stream, **face.route))
                    _says(seen.headers, {"x-penstock-backend": "spare", "x-penstock-model": SMALL})
        asked = {json.loads(request.body)["model"] for request in ollama.requests}
        if asked != {SMALL}:
            raise Failed(f"requests for {SMALL} alone were expected, the Ollama saw {asked}")
        paths = {request.path for request in ollama.requests}
        if paths != {"/api/chat", "/api/generate", "/v1/responses", "/v1/messages"}:
            raise Failed(f"Ollama's own routes were expected, it was asked on {paths}")
        await own.counted("penstock_fallback_total", 2 * len(FACES), {"from": "a", "to": "spare"})
        await own.logged(event="request", backend="spare", model=SMALL, outcome="answered")


async def usage(site: Site) -> None:
    """The tokens are those that the Ollama counted, and its own: in the answer, the figures and the record; A has none."""
    async with _stood_in(site) as (own, _):
        wanted = {"include_usage": True}
        streamed = answered(await own.ask(body={"stream_options": wanted}))
        whole = answered(await own.ask(stream=False))
        tokens = len(WORDS.split())
        for seen in (streamed, whole):
            if seen.usage.get("completion_tokens") != tokens:
                raise Failed(f"{tokens} completion tokens were expected, seen {dict(seen.usage)}")
        await own.counted("penstock_tokens_total", 2 * tokens, {"backend": "spare", "direction": "completion"})
        await own.counted("penstock_tokens_total", 0, {"backend": "a"})
        await own.logged(event="request", backend="spare", completion_tokens=tokens, outcome="answered")


async def options(site: Site) -> None:
    """Options that Ollama has no word for are dropped where everybody can see it; those it has are said in its words."""
    async with _stood_in(site) as (own, ollama):
        for stream in (True, False):
            seen = answered(await own.ask(stream=stream, body=_UNKNOWN))
            _says(seen.headers, {"x-penstock-dropped": "guided_choice, logit_bias"})
        told = json.loads(ollama.requests[-1].body)["options"]
        if told != {"top_k": 3}:
            raise Failed(f"options {{'top_k': 3}} were expected, the Ollama saw {told}")
        await own.counted("penstock_options_dropped_total", 2, {"option": "logit_bias", "kind": "ollama"})
        await own.logged(event="request", backend="spare", outcome="answered")


async def window(site: Site) -> None:
    """A prompt that fits A and not the Ollama: an error that names both, never half a prompt answered nor the caller blamed."""
    async with _stood_in(site) as (own, ollama):
        for path in ("/v1/chat/completions", "/v1/completions"):
            body: dict[str, Any] = {"max_tokens": 4}
            if path == "/v1/completions":
                body |= {"messages": None, "prompt": _LONG}
            for stream in (True, False):
                seen = explicit(await own.ask(stream=stream, path=path, body=body, words=_LONG), Outcome.REFUSED)
                if seen.status not in _THEIRS or "context length" not in seen.error or "a: " not in seen.error:
                    raise Failed(f"502 or 503 and what became of both were expected, seen {seen}")
        if ollama.answered:
            raise Failed("no answer to a prompt that does not fit was expected, seen one")
        await own.counted("penstock_attempts_failed_total", 4, {"backend": "spare", "reason": "misfit"})
        await own.counted("penstock_breaker_state", 0, {"backend": "spare"})
        await own.logged(event="request", outcome="refused")


async def inexpressible(site: Site) -> None:
    """Two answers at once, which A would give and Ollama cannot: an error that says so and blames no caller."""
    async with _stood_in(site) as (own, ollama):
        seen = explicit(await own.ask(stream=False, body={"n": 2}), Outcome.REFUSED)
        if seen.status not in _THEIRS or ollama.requests:
            raise Failed(f"502 or 503 without asking the Ollama was expected, seen {seen}")
        await own.counted("penstock_attempts_failed_total", 1, {"backend": "spare", "reason": "misfit"})
        await own.logged(event="request", outcome="refused")


async def breaks(site: Site) -> None:
    """The Ollama that stands in breaks off too, in mid-stream: an explicit error, and nothing of a third model's."""
    async with _stood_in(site) as (own, ollama):
        ollama.script = Script(cut_after=3)
        gate = ollama.hold(before=1)
        asking = own.asking()
        try:
            await asking.until("water")
        finally:
            gate.open()
        explicit(await asking.seen(), Outcome.BROKEN)
        await own.counted("penstock_streams_broken_total", 1, {"backend": "spare", "reason": "connect"})
        await own.logged(event="request", backend="spare", outcome="broken", fallback="connect")


@asynccontextmanager
async def _stood_in(site: Site) -> AsyncIterator[tuple[Site, OllamaDouble]]:
    """A gateway whose vLLM has died, with an Ollama behind it."""
    async with OllamaDouble([OllamaModel(name=SMALL, window=_WINDOW)]) as ollama:
        changes = {
            "backends": {"b": None, "spare": {"kind": "ollama", "url": ollama.url, "probe": "60s"}},
            "aliases": {
                MODEL: {
                    "fallback": "any",
                    "targets": [{"backends": ["a"], "model": MODEL}, {"backends": ["spare"], "model": SMALL}],
                }
            },
        }
        async with site.penstock(changes) as own:
            await site.a.stop()
            yield own, ollama


def _says(headers: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    for name, value in wanted.items():
        if headers.get(name) != value:
            raise Failed(f"{name}: {value} was expected, seen {headers.get(name)!r}")


_OURS = frozenset({Need.PENSTOCK})

SCENARIOS = (
    Scenario(34, "answers", answers, _OURS, own=True),
    Scenario(34, "usage", usage, _OURS, own=True),
    Scenario(34, "options", options, _OURS, own=True),
    Scenario(34, "window", window, _OURS, own=True),
    Scenario(34, "inexpressible", inexpressible, _OURS, own=True),
    Scenario(34, "breaks-too", breaks, _OURS, own=True),
)
