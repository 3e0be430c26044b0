"""What a backend says of itself: its models, its routes, its load. One function per kind, one GET at a time.

Everything learnt here is a `Sighting`; what it means for routing is backend.py's business.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from penstock.errors import BrokenAnswer, EngineFault, EngineRefused, EngineTimeout
from penstock.gateway.upstream import Listener, Origin
from penstock.types import Kind

T = TypeVar("T")

LIMIT = 4 * 1024 * 1024
"""Bytes of a probe's answer that are read."""
_OK = 200


class Model(msgspec.Struct, frozen=True):
    """One model a backend offers, as far as it tells."""

    id: str
    window: int | None = None
    capabilities: tuple[str, ...] = ()
    family: str = ""
    parameters: str = ""
    parameter_count: int | None = None
    quantization: str = ""
    embedding_length: int | None = None
    size: int = 0
    digest: str = ""
    warm: bool = True
    parent: str | None = None


class Load(msgspec.Struct, frozen=True):
    """The engine's own gauges."""

    running: float = 0.0
    waiting: float = 0.0
    kv_use: float | None = None
    room: int | None = None
    """Tokens that its cache holds."""
    read: float | None = None
    """Prompt tokens since it began: fewer than before, and it began anew."""
    asleep: bool | None = None
    """Whether its weights are put away; None where it does not say."""


class Sighting(msgspec.Struct, frozen=True):
    """What one round of probing saw."""

    models: Mapping[str, Model]
    load: Load = Load()
    routes: frozenset[str] | None = None
    """Paths the backend serves; None where it does not say."""
    version: str = ""


METRICS_LIMIT = 1024 * 1024
"""Bytes of a page of figures that are searched: a hundred times what a vLLM with a hundred adapters shows."""
METRICS_TIMEOUT = 0.5
"""Seconds for it: an engine whose figures hang is still asked what it serves, as often as ever."""
_SANE = 1e15
"""No engine counts further than this; what says so is garbled."""


async def get(origin: Origin, path: str, headers: bytes, timeout: float) -> bytes:
    """The body of a 200 answer; an `EngineFault` says why there is none."""
    return await _asked(origin, "GET", path, headers, b"", timeout)


async def post(origin: Origin, path: str, headers: bytes, body: bytes, timeout: float) -> bytes:
    """The same for a small JSON POST."""
    framing = b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
    return await _asked(origin, "POST", path, headers + framing, body, timeout)


async def _asked(origin: Origin, method: str, path: str, headers: bytes, body: bytes, timeout: float) -> bytes:
    listener = _Answer(asyncio.get_running_loop().create_future())
    head = f"{method} {origin.prefix}{path} HTTP/1.1\r\nhost: {origin.authority}\r\naccept: */*\r\n".encode()
    ask = origin.ask
    if origin.doubted:
        # Asked is whoever is new here, and no request may go out on this connection before the answer has been read.
        head += b"connection: close\r\n"
        ask = origin.ask_anew
    exchange = ask(head + headers + b"\r\n" + body, listener)
    try:
        async with asyncio.timeout(timeout):
            return await listener.future
    except TimeoutError:
        raise EngineTimeout(f"no answer to {path} within {timeout:g} s").at(origin.url) from None
    finally:
        exchange.abort()


class _Answer(Listener):
    def __init__(self, future: asyncio.Future[bytes]) -> None:
        self.future = future
        self._status = 0
        self._body = bytearray()

    def answered(self, status: int, headers: dict[bytes, bytes]) -> None:
        del headers
        self._status = status

    def received(self, data: bytes) -> None:
        if len(self._body) <= LIMIT:
            self._body += data

    def complete(self) -> None:
        if self.future.done():
            return
        if self._status != _OK:
            self.future.set_exception(EngineRefused(f"it answered {self._status}"))
        elif len(self._body) > LIMIT:
            self.future.set_exception(BrokenAnswer(f"its answer passes {LIMIT} bytes"))
        else:
            self.future.set_result(bytes(self._body))

    def lost(self, fault: EngineFault) -> None:
        if not self.future.done():
            self.future.set_exception(fault)


class _Meta(msgspec.Struct):
    n_ctx_train: int | None = None
    n_ctx: int | None = None
    n_embd: int | None = None
    n_params: int | None = None
    size: int | None = None


class _Card(msgspec.Struct):
    id: str
    max_model_len: int | None = None
    context_length: int | None = None
    parent: str | None = None
    meta: _Meta | None = None


class _Cards(msgspec.Struct):
    data: list[_Card] = []


class _Paths(msgspec.Struct):
    paths: dict[str, msgspec.Raw] = {}


class _Version(msgspec.Struct):
    version: str = ""


def _decode(body: bytes, shape: type[Any], what: str) -> Any:  # noqa: ANN401 - msgspec's own type variable
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"Reading {what}: {error}"
        raise BrokenAnswer(msg) from None


async def _openai(origin: Origin, headers: bytes, timeout: float, known: Sighting | None) -> Sighting:
    del known
    cards = _decode(await get(origin, "/v1/models", headers, timeout), _Cards, "/v1/models")
    return Sighting({card.id: _model(card) for card in cards.data})


def _model(card: _Card) -> Model:
    meta = card.meta or _Meta()
    return Model(
        id=card.id,
        window=card.max_model_len or card.context_length or meta.n_ctx or meta.n_ctx_train,
        parameter_count=meta.n_params,
        embedding_length=meta.n_embd,
        size=meta.size or 0,
        parent=card.parent,
    )


async def _vllm(origin: Origin, headers: bytes, timeout: float, known: Sighting | None) -> Sighting:
    seen = await _openai(origin, headers, timeout, known)
    routes, version = (known.routes, known.version) if known else (None, "")
    if routes is None:
        routes = await _optional(_routes(origin, headers, timeout))
        version = await _optional(_vllm_version(origin, headers, timeout)) or ""
    load = await _optional(_vllm_load(origin, headers, timeout)) or Load()
    if load.asleep is None and routes is not None and "/is_sleeping" in routes:
        # Without figures, only an engine that can be sent to sleep has the route.
        asleep = await _optional(_vllm_sleeping(origin, headers, timeout))
        load = msgspec.structs.replace(load, asleep=asleep)
    return msgspec.structs.replace(seen, load=load, routes=routes, version=version)


async def _optional(question: Awaitable[T]) -> T | None:
    """What a backend may or may not tell."""
    try:
        return await question
    except EngineFault:
        return None


async def _routes(origin: Origin, headers: bytes, timeout: float) -> frozenset[str]:
    found = _decode(await get(origin, "/openapi.json", headers, timeout), _Paths, "/openapi.json")
    return frozenset(found.paths)


async def _vllm_version(origin: Origin, headers: bytes, timeout: float) -> str:
    return str(_decode(await get(origin, "/version", headers, timeout), _Version, "/version").version)


class _Sleeping(msgspec.Struct):
    is_sleeping: bool = False


async def _vllm_sleeping(origin: Origin, headers: bytes, timeout: float) -> bool:
    answer = await get(origin, "/is_sleeping", headers, timeout)
    return bool(_decode(answer, _Sleeping, "/is_sleeping").is_sleeping)


_AWAKE = re.compile(
    rb'^vllm:engine_sleep_state\{[^}\n]{0,4096}sleep_state="awake"[^}\n]{0,4096}\} ([01])', re.MULTILINE
)
_WANTED = frozenset(
    {
        b"num_requests_running",
        b"num_requests_waiting",
        b"kv_cache_usage_perc",
        b"gpu_cache_usage_perc",
        b"prompt_tokens_total",
    }
)
_GAUGE = re.compile(
    rb"^vllm:([a-z_]{1,40})(?:\{[^}\n]{0,4096}\})? ([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)$", re.MULTILINE
)

_ROOM = re.compile(rb"^vllm:cache_config_info\{[^\n]{0,8192}?\bkv_cache_size_tokens=\"([0-9]{1,12})\"", re.MULTILINE)


async def _vllm_load(origin: Origin, headers: bytes, timeout: float) -> Load:
    page = await get(origin, "/metrics", headers, min(timeout, METRICS_TIMEOUT))
    if len(page) > METRICS_LIMIT:
        raise BrokenAnswer(f"its figures pass {METRICS_LIMIT} bytes")
    return vllm_load(page)


def vllm_load(metrics: bytes) -> Load:
    """Queue and cache gauges of either generation of vLLM's metric names, summed over its engines."""
    found: dict[bytes, list[float]] = {}
    for name, text in _GAUGE.findall(metrics):
        if name in _WANTED and (value := float(text)) <= _SANE:
            found.setdefault(name, []).append(value)
    awake = _AWAKE.findall(metrics)
    use = found.get(b"kv_cache_usage_perc") or found.get(b"gpu_cache_usage_perc")
    return Load(
        running=sum(found.get(b"num_requests_running", ())),
        waiting=sum(found.get(b"num_requests_waiting", ())),
        kv_use=max(use) if use else None,
        asleep=b"0" in awake if awake else None,
        room=min(map(int, _ROOM.findall(metrics)), default=None),
        read=sum(found[b"prompt_tokens_total"]) if b"prompt_tokens_total" in found else None,
    )


class _Details(msgspec.Struct):
    family: str = ""
    parameter_size: str = ""
    quantization_level: str = ""


class _Tag(msgspec.Struct):
    name: str
    size: int = 0
    digest: str = ""
    details: _Details = msgspec.field(default_factory=_Details)


class _Tags(msgspec.Struct):
    models: list[_Tag] = []


class _Running(msgspec.Struct):
    name: str = ""
    context_length: int | None = None


class _Ps(msgspec.Struct):
    models: list[_Running] = []


class _Show(msgspec.Struct):
    model_info: dict[str, msgspec.Raw] = {}
    capabilities: list[str] = []


async def _ollama(origin: Origin, headers: bytes, timeout: float, known: Sighting | None) -> Sighting:
    tags = _decode(await get(origin, "/api/tags", headers, timeout), _Tags, "/api/tags")
    ps = _decode(await get(origin, "/api/ps", headers, timeout), _Ps, "/api/ps")
    warm = {one.name: one for one in ps.models}
    models: dict[str, Model] = {}
    for tag in tags.models:
        before = known.models.get(tag.name) if known else None
        if before is None or before.digest != tag.digest:
            before = await _show(origin, tag, headers, timeout)
        models[tag.name] = msgspec.structs.replace(before, warm=tag.name in warm)
    version = known.version if known else ""
    if not version:
        version = str(_decode(await get(origin, "/api/version", headers, timeout), _Version, "/api/version").version)
    return Sighting(models, version=version)


async def _ollama_tags(origin: Origin, headers: bytes, timeout: float, known: Sighting | None) -> Sighting:
    """Which models there are, and of those that were there before what was known."""
    tags = _decode(await get(origin, "/api/tags", headers, timeout), _Tags, "/api/tags")
    before = known.models if known else {}
    return Sighting({tag.name: before.get(tag.name) or Model(tag.name, digest=tag.digest) for tag in tags.models})


async def _show(origin: Origin, tag: _Tag, headers: bytes, timeout: float) -> Model:
    question = msgspec.json.encode({"model": tag.name})
    answer = await _optional(post(origin, "/api/show", headers, question, timeout))
    show = _decode(answer, _Show, "/api/show") if answer else _Show()
    return Model(
        id=tag.name,
        window=_number(show, ".context_length"),
        capabilities=tuple(show.capabilities),
        family=tag.details.family,
        parameters=tag.details.parameter_size,
        parameter_count=_number(show, "general.parameter_count"),
        quantization=tag.details.quantization_level,
        embedding_length=_number(show, ".embedding_length"),
        size=tag.size,
        digest=tag.digest,
    )


def _number(show: _Show, suffix: str) -> int | None:
    for key, raw in show.model_info.items():
        if key.endswith(suffix):
            try:
                return msgspec.json.decode(raw, type=int)
            except msgspec.ValidationError:
                return None
    return None


Probe = Callable[[Origin, bytes, float, Sighting | None], Awaitable[Sighting]]

GLANCES: dict[Kind, Probe] = {
    Kind.VLLM: _openai, Kind.OPENAI: _openai, Kind.EMBEDDED: _openai, Kind.OLLAMA: _ollama_tags,
}  # fmt: skip
"""One question alone: which models are there?"""
PROBES: dict[Kind, Probe] = {Kind.VLLM: _vllm, Kind.OPENAI: _openai, Kind.EMBEDDED: _openai, Kind.OLLAMA: _ollama}
