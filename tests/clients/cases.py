"""The operations of the matrix: what a client is made to do, and what must be true of what it then shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from tests.clients.clients import Client, Drawer, Outcome, perform
from tests.clients.columns import ALIAS, EMBED_ALIAS, Column, Truth
from tests.clients.outcome import Ask, Json, Refused, Said
from tests.clients.table import Cell, Table
from tests.engines.asking import WEATHER, without_blanks

QUESTION = "Which routes of Ollama are served?"
PROMPT = f"<|user|>{QUESTION}<|end|><|assistant|>"
CALL = 'call get_weather {"unit": "celsius"}'
RESULT = "21 degrees"
FORCED = "round trip, call forced"
ROOT = Path(__file__).parents[2]
TEXTS = ("one engine process", "a mapping of names to targets")
LONG = "word " * 5000
SCHEMA: Json = {
    "title": "state",
    "description": "The state of a server.",
    "type": "object",
    "properties": {"status": {"type": "string", "enum": ["healthy", "degraded"]}, "port": {"type": "integer"}},
    "required": ["status", "port"],
    "additionalProperties": False,
}


async def check(cell: Cell, table: Table, column: Column, drawer: Drawer) -> None:
    """Perform one cell and hold it against the table and the engine."""
    outcome = await _perform(cell, table, drawer.client(cell.client, column.url))
    result = table.results[cell.result]
    if result.status != 200:
        expected = table.clients[cell.client].errors[result.status]
        assert outcome == Refused(status=result.status, message=result.message, error=expected)
        return
    assert not isinstance(outcome, Refused), outcome
    judge = {
        "tools round trip": _judge_tools,
        "JSON schema": _judge_schema,
        "embeddings": _judge_vectors,
    }.get(cell.operation, _judge_answer)
    await judge(cell, table, column, outcome)


async def _perform(cell: Cell, table: Table, client: Client) -> Outcome:
    ask = Ask(model=ALIAS, text=QUESTION)
    openai = table.clients[cell.client].protocol == "OpenAI"
    forced = cell.result == FORCED
    verb, arguments, named = {
        "chat": ("chat", (ask,), {}),
        "generate": ("generate", (Ask(model=ALIAS, text=PROMPT if openai else QUESTION),), {}),
        "stream": ("stream", (ask,), {}),
        "tools round trip": (
            "tools",
            (Ask(model=ALIAS, text=CALL, limit=96, extra=_tight() if forced else {}), WEATHER, RESULT),
            {"forced": forced},
        ),
        "JSON schema": ("schema", (ask, SCHEMA), {}),
        "embeddings": ("embed", (EMBED_ALIAS, TEXTS), {}),
        "unknown model": ("chat", (Ask(model="nobody", text=QUESTION),), {}),
        "wrong type": ("chat", (Ask(model=ALIAS, text=QUESTION, temperature="hot"),), {}),
        "context too long": ("chat", (Ask(model=ALIAS, text=LONG, limit=4),), {}),
    }[cell.operation]
    return await perform(client, verb, *arguments, **named)


def _tight() -> Json:
    """Keeps a small model from filling the arguments of a forced call with blanks, which JSON allows between its parts."""
    return {"logit_bias": without_blanks(ROOT / "models/guide/hf")}


async def _judge_answer(cell: Cell, table: Table, column: Column, outcome: Outcome) -> None:
    assert isinstance(outcome, Said)
    truth = await _truth(cell, table, column)
    _judge(cell, table, outcome)
    assert outcome.text == truth.text
    assert outcome.text
    if cell.operation == "stream":
        assert 1 < outcome.pieces <= truth.completion_tokens
    _judge_counts(outcome, truth)
    assert outcome.finish == ("length" if cell.operation == "context too long" else "stop")


async def _judge_schema(cell: Cell, table: Table, column: Column, outcome: Outcome) -> None:
    assert isinstance(outcome, Said)
    ask = Ask(model="", text=QUESTION)
    truth = await column.truth("schema", lambda: column.direct.chat(ask, schema=SCHEMA))
    _judge(cell, table, outcome)
    assert outcome.text == truth.text
    value = json.loads(outcome.text)
    jsonschema.validate(value, SCHEMA)
    if outcome.parsed is not None:
        assert outcome.parsed == value
    _judge_counts(outcome, truth)


async def _judge_tools(cell: Cell, table: Table, column: Column, outcome: Outcome) -> None:
    assert isinstance(outcome, tuple)
    first, second = outcome
    for said in outcome:
        _judge(cell, table, said)
    if cell.result == "no call":
        truth = await column.truth(
            "tools", lambda: column.direct.chat(Ask(model="", text=CALL, limit=96), tool=WEATHER)
        )
        assert (first.calls, first.text) == ((), truth.text)
        _judge_counts(first, truth)
        return
    (call,) = first.calls
    assert call.name == "get_weather"
    jsonschema.validate(call.arguments, WEATHER["function"]["parameters"])
    assert second.calls == ()
    if table.clients[cell.client].protocol == "OpenAI":
        assert call.id
        # vLLM ends a call that was forced by name as OpenAI does
        assert first.finish == ("stop" if cell.result == FORCED else "tool_calls")
    else:
        assert first.finish == "stop"
    if column.journal is not None:
        # the doubles call what they are told to call, and repeat the question once they have the result
        assert (call.arguments, second.text, second.finish) == ({"unit": "celsius"}, CALL, "stop")
        _judge_history(json.loads(column.journal.requests[-1].body)["messages"])


def _judge_history(turns: list[Json]) -> None:
    """The engine can tell which call a result belongs to, whatever the client's protocol says about it."""
    asked, called, returned = turns
    (call,) = called["tool_calls"]
    assert (asked["role"], called["role"], returned["role"]) == ("user", "assistant", "tool")
    assert returned["content"] == RESULT
    if isinstance(call["function"]["arguments"], str):
        assert call["id"]
        assert returned["tool_call_id"] == call["id"]
        assert json.loads(call["function"]["arguments"]) == {"unit": "celsius"}
    else:
        # LangChain sends neither a name nor an id to Ollama, which goes by the order
        assert returned.get("tool_name") in {call["function"]["name"], None}
        assert call["function"]["arguments"] == {"unit": "celsius"}


async def _judge_vectors(cell: Cell, table: Table, column: Column, outcome: Outcome) -> None:
    assert isinstance(outcome, Said)
    truth = await column.truth("embed", lambda: column.direct.embed(TEXTS))
    _judge(cell, table, outcome)
    assert len(outcome.vectors) == len(TEXTS)
    for vector, own in zip(outcome.vectors, truth.vectors, strict=True):
        # base64, which the openai library asks for, carries 32-bit numbers
        assert vector == pytest.approx(own, rel=1e-6, abs=1e-6)
    assert outcome.vectors[0] != outcome.vectors[1]
    if outcome.prompt_tokens is not None:
        assert outcome.prompt_tokens == truth.prompt_tokens


async def _truth(cell: Cell, table: Table, column: Column) -> Truth:
    """The engine's own answer to what this client asked."""
    direct, openai = column.direct, table.clients[cell.client].protocol == "OpenAI"
    if cell.operation == "generate" and openai:
        return await column.truth("completion", lambda: direct.complete(Ask(model="", text=PROMPT)))
    if cell.operation == "generate":
        return await column.truth("generate", lambda: direct.generate(Ask(model="", text=QUESTION)))
    if cell.operation == "context too long":
        return await column.truth("long", lambda: direct.chat(Ask(model="", text=LONG, limit=4)))
    return await column.truth("chat", lambda: direct.chat(Ask(model="", text=QUESTION)))


def _judge(cell: Cell, table: Table, said: Said) -> None:
    """What holds for every answer: the client shows all it can, and it says who answered."""
    client, backend = table.clients[cell.client], table.backends[cell.backend]
    embedding = cell.operation == "embeddings"
    shown: dict[str, Any] = {
        name: value for name, value in msgspec.structs.asdict(_Shown.of(said)).items() if value is not None
    }
    assert set(shown) == client.shows - client.hides.get(cell.operation, frozenset())
    if said.model is not None:
        assert said.model == (backend.embed_model if embedding else backend.model)
    if said.backend is not None:
        assert said.backend == (backend.embed_name if embedding else backend.name)
    if said.durations is not None:
        _judge_durations(cell, table, said.durations)


def _judge_durations(cell: Cell, table: Table, durations: dict[str, int]) -> None:
    """Nobody can tell how long the prompt took when the answer came at once from an engine that does not say it."""
    names = {"total_duration", "load_duration"}
    if cell.operation != "embeddings":
        names.add("eval_duration")
        streamed = cell.operation == "stream" or table.clients[cell.client].streams
        if streamed or table.backends[cell.backend].timings:
            names.add("prompt_eval_duration")
    assert set(durations) == names
    for duration in durations.values():
        assert type(duration) is int
        assert duration > 0
    assert sum(durations.values()) - durations["total_duration"] <= durations["total_duration"]


class _Shown(msgspec.Struct):
    """The fields that a client may show or hide."""

    model: str | None
    finish: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    durations: dict[str, int] | None
    id: str | None
    backend: str | None

    @classmethod
    def of(cls, said: Said) -> _Shown:
        return cls(**{name: getattr(said, name) for name in cls.__struct_fields__})


def _judge_counts(said: Said, truth: Truth) -> None:
    if said.prompt_tokens is not None:
        assert (said.prompt_tokens, said.completion_tokens) == (truth.prompt_tokens, truth.completion_tokens)
