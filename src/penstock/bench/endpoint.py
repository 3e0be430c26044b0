"""One side of a measurement: where it is, what it speaks, what it says it is, and whether it still answers.

What an engine is gets asked before anything is measured, so that a wrong URL or model name is an error then and not a report full
of refusals. The key never leaves `Origin`: nothing of it can get into a report.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import msgspec

from penstock.address import base_url
from penstock.bench.answer import one_line, reason_of
from penstock.bench.wire import Collected, Origin, get
from penstock.errors import ConfigError, EngineFault, EngineRefused
from penstock.types import Wire

ASKED: Final = 10.0
"""Seconds an endpoint has to say what it is."""
GONE: Final = 3.0
"""Seconds it has to answer again before it counts as down."""
NAMED: Final = 12


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Who is measured, as it goes into reports."""

    name: str
    """What people call it: `vLLM`, `Ollama`."""
    url: str
    wire: Wire
    model: str
    engine: str = ""
    """What it says it is, with its version where it tells."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says of one endpoint; empty where it leaves something to be found out."""

    url: str
    key: str = ""
    model: str = ""
    name: str = ""
    wire: Wire | None = None
    side: str = ""
    """`-a` or `-b`: how the options of this endpoint end."""


class _Card(msgspec.Struct):
    id: str = ""
    name: str = ""
    owned_by: str = ""


class _Cards(msgspec.Struct):
    data: list[_Card] | None = None
    models: list[_Card] | None = None


class _Version(msgspec.Struct):
    version: str = ""


def origin_of(wanted: Wanted) -> Origin:
    """The connections to an endpoint; a `ConfigError` for what is no URL."""
    try:
        url = base_url(wanted.url)
    except ValueError as expected:
        raise ConfigError(
            f"Measuring {wanted.url}: its URL has to be {expected}.", hint="Try http://127.0.0.1:8000."
        ) from None
    return Origin(url, wanted.key)


async def find(origin: Origin, wanted: Wanted) -> Endpoint:
    """Ask an endpoint what it is and serves; an error where it does not answer or does not serve the model."""
    wire, cards = await _served(origin, wanted)
    model = wanted.model or _only(origin, [card.id or card.name for card in cards], wanted.side)
    name, engine = await _engine(origin, cards)
    return Endpoint(name=wanted.name or name, url=origin.url, wire=wire, model=model, engine=engine)


def apart(a: Endpoint, b: Endpoint) -> tuple[Endpoint, Endpoint]:
    """Both with names that differ."""
    if a.name and b.name and a.name != b.name:
        return a, b
    return tuple(
        msgspec.structs.replace(one, name=f"{one.name} ({side})" if one.name else side)
        for one, side in ((a, "A"), (b, "B"))
    )  # type: ignore[return-value]


async def answers(origin: Origin) -> bool:
    """Whether an endpoint that failed several times in a row is still there, or comes back within `GONE` seconds."""
    end = time.monotonic() + GONE
    while time.monotonic() < end:
        try:
            await get(origin, "/", GONE)
        except EngineFault:
            await asyncio.sleep(0.25)
        else:
            return True
    return False


async def _served(origin: Origin, wanted: Wanted) -> tuple[Wire, list[_Card]]:
    """The protocol to speak, and the models there."""
    refusal = ""
    for wire, path in ((Wire.OPENAI, "/v1/models"), (Wire.OLLAMA, "/api/tags")):
        if wanted.wire not in {None, wire}:
            continue
        try:
            answer = await get(origin, path, ASKED)
        except EngineFault as fault:
            raise type(fault)(
                f"Asking {origin.url}{path}: {fault.message}.", hint="Does an engine or a gateway answer there?"
            ) from None
        if answer.status == 200:
            return wire, _cards(answer)
        refusal = refusal or f"{path}: {answer.status} {reason_of(bytes(answer.body))}".rstrip()
    hint = f"Name the variable that holds its key with --key-env{wanted.side}." if "401" in refusal else ""
    raise EngineRefused(
        f"Asking {origin.url} which models it serves: {refusal}.",
        hint=hint or "Is that the base URL of something that speaks OpenAI or Ollama?",
    )


def _cards(answer: Collected) -> list[_Card]:
    try:
        cards = msgspec.json.decode(bytes(answer.body), type=_Cards)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
    return [card for card in cards.data or cards.models or () if card.id or card.name]


def _only(origin: Origin, served: list[str], side: str) -> str:
    if len(served) == 1:
        return served[0]
    if not served:
        raise ConfigError(f"Choosing a model: {origin.url} lists none.", hint=f"Name one with --model{side}.")
    more = ", …" if len(served) > NAMED else ""
    raise ConfigError(
        f"Choosing a model: {origin.url} serves {len(served)}: {', '.join(served[:NAMED])}{more}.",
        hint=f"Name one with --model{side}.",
    )


async def _engine(origin: Origin, cards: list[_Card]) -> tuple[str, str]:
    """Its name for people, and the same with a version; empty where it cannot be told."""
    try:
        ready = await get(origin, "/ready", ASKED)
        if b'"aliases"' in ready.body:
            return "Penstock", "Penstock"
        if ready.headers.get("server", "").startswith("llama.cpp"):
            return "llama.cpp", "llama.cpp"
        # Others answer /version too; vLLM owns the models that it lists.
        owner = any(card.owned_by == "vllm" for card in cards)
        label, path = ("vLLM", "/version") if owner else ("Ollama", "/api/version")
        version = _version_in(await get(origin, path, ASKED))
    except EngineFault:
        return "", ""
    return (label, f"{label} {version}") if version else ("", "")


def _version_in(answer: Collected) -> str:
    try:
        version = msgspec.json.decode(bytes(answer.body), type=_Version).version
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return one_line(version) if answer.status == 200 else ""
