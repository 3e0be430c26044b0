"""What is served, as the lists of both protocols tell it: every alias under every name it answers to."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from penstock.config import Alias
from penstock.gateway.auth import check_scope, may_use
from penstock.gateway.backend import Backend, State
from penstock.gateway.line import Line
from penstock.gateway.probe import Model
from penstock.protocols.ollama_catalogue import Listed
from penstock.types import Caller, Face, Kind

_encode = msgspec.json.Encoder().encode


class _Card(msgspec.Struct):
    id: str
    created: int
    root: str
    parent: str | None
    max_model_len: int | None
    object: str = "model"
    owned_by: str = "penstock"


class _Cards(msgspec.Struct):
    data: list[_Card]
    object: str = "list"


def openai_list(line: Line, caller: Caller) -> bytes:
    """The body of GET /v1/models."""
    return _encode(_Cards([_card(line, name, alias) for alias, name in _names(line, caller)]))


def openai_model(line: Line, caller: Caller, name: str) -> bytes:
    """The body of GET /v1/models/{name}; `UnknownAlias` where it is not served."""
    return _encode(_card(line, name, _found(line, caller, name, Face.OPENAI)))


def listed(line: Line, caller: Caller) -> list[Listed]:
    """Every name for /api/tags."""
    return [_listed(line, name, alias) for alias, name in _names(line, caller)]


def listed_one(line: Line, caller: Caller, name: str) -> Listed:
    """One name for /api/show."""
    return _listed(line, name, _found(line, caller, name, Face.OLLAMA))


def running(line: Line, caller: Caller) -> list[Listed]:
    """The names a request would find warm, for /api/ps."""
    aliases = line.names.aliases.items()
    return [_listed(line, alias, alias) for alias, one in aliases if may_use(caller, alias) and _warm(line, one)]


def _found(line: Line, caller: Caller, name: str, face: Face) -> str:
    alias = line.names.find(name, face, caller)
    check_scope(caller, alias)
    return alias


def _names(line: Line, caller: Caller) -> Iterator[tuple[str, str]]:
    for alias, one in line.names.aliases.items():
        if may_use(caller, alias):
            yield from ((alias, name) for name in (alias, *one.also))


def _best(line: Line, alias: Alias) -> tuple[Backend, str, Model | None]:
    """The backend whose facts describe the alias: the first that is ready, else the first."""
    pairs = [(one, target.model) for target in alias.targets for one in line.fleet.of(target.backends)]
    backend, model = next(((one, model) for one, model in pairs if one.model(model) is not None), pairs[0])
    return backend, model, backend.model(model)


def _warm(line: Line, alias: Alias) -> bool:
    backend, model, _ = _best(line, alias)
    return backend.state is State.READY and backend.temperature(model) == "warm"


def _card(line: Line, name: str, alias: str) -> _Card:
    _, model, found = _best(line, line.names.aliases[alias])
    return _Card(
        id=name,
        created=int(line.started),
        root=model,
        parent=found.parent if found is not None else None,
        max_model_len=found.window if found is not None else None,
    )


def _listed(line: Line, name: str, alias: str) -> Listed:
    backend, model, found = _best(line, line.names.aliases[alias])
    facts = found or Model(model)
    return Listed(
        name=name,
        model=model,
        kind=backend.kind,
        context_length=facts.window,
        embedding_length=facts.embedding_length,
        parameter_count=facts.parameter_count,
        capabilities=_capabilities(backend, facts),
        family=facts.family,
        quantization=facts.quantization,
        size=facts.size,
        digest=facts.digest,
        modified=int(line.started * 1e9),
    )


def _capabilities(backend: Backend, facts: Model) -> tuple[str, ...]:
    """What the backend says of the model; else what its routes allow to say."""
    if facts.capabilities:
        return facts.capabilities
    chats = backend.serves("/v1/chat/completions")
    embeds = backend.serves("/v1/embeddings")
    if backend.kind is Kind.VLLM and backend.sighting.routes is not None:
        return (("completion", "tools") if chats else ()) + (("embedding",) if embeds else ())
    return ("completion", "embedding") if backend.kind is Kind.EMBEDDED else ("completion",)
