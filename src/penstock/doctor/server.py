"""Who answers at a URL: which sort of server, which models, whether it asks for a key. Learnt once, before the checks."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from penstock.doctor.ask import Answer, Deadline, Line, Silent
from penstock.gateway.discover import OUR_HEADER
from penstock.rules.finding import Evidence, evidence

POOL_IDLE: Final = 5.0
"""Seconds for which httpx, and with it the openai library, keeps an idle connection unless told otherwise."""
NEEDS: Final = 4096
"""Tokens that the smallest of the documents' windows has (S2.10, S3.5)."""
ENGINES: Final = frozenset({"vllm", "openai"})


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a person told about the clients of this server."""

    models: tuple[str, ...] = ()
    """Names that the application asks for."""
    needs: int | None = None
    """Tokens that its prompts and answers need together."""
    key: str = ""
    ours: bool = False
    """The key is one of a Penstock's: no other server is shown it."""
    public: bool = False
    """Judge the server as one that other machines reach, whatever its address looks like from here."""
    pool_idle: float = POOL_IDLE
    """Seconds that the clients' pools keep an idle connection."""


class Place(NamedTuple):
    """A URL to examine and what its clients want of it."""

    url: str
    asked: Asked


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One server as it was found."""

    url: str
    """As it was given."""
    line: Line
    asked: Asked
    kind: str = ""
    """penstock, vllm, ollama, openai (anything that lists models so), http; empty: nobody answers."""
    silence: str = ""
    """Why nobody does."""
    base: str = ""
    """The path in front of /v1 under which it serves."""
    listing: Answer | None = None
    """The answer to the list of models under that base."""
    given: Answer | None = None
    """The same at the path that the given URL leads an application to."""
    given_path: str = ""
    guarded: bool = False
    """Without a key it does not list its models."""
    windows: dict[str, int | None] = {}
    """Model -> context length in tokens, where it is told."""
    version: str = ""
    exposed: bool = False
    """Whether other machines can reach this address."""

    @property
    def key(self) -> str:
        return self.asked.key

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(self.windows)

    def seen(self, what: str) -> Evidence:
        """Something that this server said, as evidence."""
        return evidence(self.url, 0, what)


def meet(url: str, asked: Asked, deadline: Deadline) -> Server:
    """Ask the few questions that every check builds on."""
    line = Line(url, deadline)
    path = urlsplit(url).path.rstrip("/")
    expected = (path if path.endswith("/v1") else f"{path}/v1") + "/models"
    server = Server(url=url, line=line, asked=asked, given_path=expected, exposed=asked.public or _exposed(line))
    try:
        given = line.ask("GET", expected, key="" if asked.ours else asked.key)
        if asked.ours and asked.key and OUR_HEADER in given.headers:
            given = line.ask("GET", expected, key=asked.key)
        elif asked.ours:
            asked = msgspec.structs.replace(asked, key="")
    except Silent as reason:
        return msgspec.structs.replace(server, silence=str(reason))
    listing, base = given, expected.removesuffix("/v1/models")
    for other in _bases(path):
        if _lists(listing) or listing.status in {401, 403}:
            break
        found = _quiet(line, f"{other}/v1/models", asked.key)
        if found and (_lists(found) or found.status in {401, 403}):
            listing, base = found, other
    return msgspec.structs.replace(
        server,
        asked=asked,
        kind=_kind(line, listing),
        listing=listing,
        base=base,
        given=given,
        guarded=_guarded(line, f"{base}/v1/models", listing, asked.key),
        windows=_windows(listing),
        version=_version(line),
    )


def _bases(path: str) -> list[str]:
    """Where the API may be instead: at the root, or under a beginning of the path."""
    parts = [part for part in path.split("/") if part]
    found = ["/".join(["", *parts[:count]]) for count in range(len(parts))]
    return [base for base in found if not base.endswith("/v1")]


def _quiet(line: Line, path: str, key: str = "") -> Answer | None:
    try:
        return line.ask("GET", path, key=key)
    except Silent:
        return None


def _lists(answer: Answer) -> bool:
    return answer.status == 200 and isinstance(answer.data.get("data"), list)


def _kind(line: Line, listing: Answer) -> str:
    if OUR_HEADER in listing.headers:
        return "penstock"
    if b'"owned_by":"vllm"' in listing.body.replace(b" ", b""):
        return "vllm"
    metrics = _quiet(line, "/metrics")
    if metrics and b"\nvllm:" in metrics.body:
        return "vllm"
    root = _quiet(line, "/")
    if root and root.body.startswith(b"Ollama is running"):
        return "ollama"
    return "openai" if _lists(listing) else "http"


def _guarded(line: Line, path: str, listing: Answer, key: str) -> bool:
    """Whether the list is refused without a key."""
    without = _quiet(line, path) if key else listing
    return without is not None and without.status in {401, 403}


def _windows(listing: Answer) -> dict[str, int | None]:
    cards = listing.data.get("data")
    found: dict[str, int | None] = {}
    for card in cards if isinstance(cards, list) else ():
        if isinstance(card, dict) and isinstance(card.get("id"), str):
            window = card.get("max_model_len") or card.get("context_length")
            found[card["id"]] = window if isinstance(window, int) else None
    return found


def _version(line: Line) -> str:
    answer = _quiet(line, "/version")
    version = answer.data.get("version") if answer and answer.status == 200 else None
    return version if isinstance(version, str) else ""


def _exposed(line: Line) -> bool:
    """Whether any address of the host is one that other machines reach; a name that cannot be resolved is."""
    host = line.parts.hostname or ""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, line.parts.port or 80, type=socket.SOCK_STREAM)}
    except OSError:
        return True
    return not all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in found)
