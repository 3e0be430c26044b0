"""Ollama's own classes and ours do the same things side by side: one gateway, one engine, two protocols, one outcome (S1.1, X9)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_ollama import ChatOllama, OllamaLLM
from pydantic import BaseModel
from tests.client.langchain.test_text import Heard
from tests.fakes.gateway import Gateways
from tests.fakes.threads import in_thread

from penstock.client.langchain import ChatVLLM, VLLMClient
from penstock.faults.engine import Engine
from penstock.faults.script import Script, ToolUse

pytestmark = pytest.mark.asyncio(loop_scope="session")

OPTIONS: dict[str, Any] = {"temperature": 0.0, "top_k": 40, "top_p": 0.9, "num_predict": 50}
NOT_OF_VLLM = {"load_duration"}
NOT_OF_A_WHOLE_ANSWER = {"prompt_eval_duration", "eval_duration"}
"""Of Ollama's metadata, what nobody knows here: docs/reference/langchain.md."""


class City(BaseModel):
    """A city."""

    name: str


class Twins(NamedTuple):
    """The old class and the new one."""

    texts: tuple[Any, Any]
    chats: tuple[Any, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine() -> AsyncIterator[Engine]:
    async with Engine(["m"]) as engine:
        yield engine


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def twins(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Twins]:
    """One gateway for all of them: the outcome of a case does not depend on those before it."""
    gateways = Gateways(tmp_path_factory.mktemp("twins"), "hot")
    running = await gateways.start(
        {
            "backends": {"gpu": {"kind": "vllm", "url": engine.url}},
            "aliases": {"llama3.2": {"targets": [{"backends": ["gpu"], "model": "m"}]}},
        }
    )
    fields = {"model": "llama3.2", "base_url": running.url, **OPTIONS}
    twins = Twins((OllamaLLM(**fields), VLLMClient(**fields)), (ChatOllama(**fields), ChatVLLM(**fields)))
    yield twins
    for old, new in twins:
        old._client.close()
        await old._async_client.close()
        await new.aclose()
    await gateways.close()


@pytest.fixture
def scripted(engine: Engine) -> Iterator[Engine]:
    """The engine behind the gateway, for tests that tell it what to say."""
    yield engine
    engine.script = Script()


Case = Callable[[Any], Awaitable[object]]


async def same(pair: tuple[Any, Any], case: Case) -> object:
    """What the case comes to with either of them."""
    old, new = [await case(model) for model in pair]
    assert new == old
    return new


def shown(message: Any) -> dict[str, Any]:  # noqa: ANN401
    """Of a message, what must be the same: ids of calls and the run are made up by each."""
    assert isinstance(message, AIMessage)
    calls = [(call["name"], call["args"], call["type"]) for call in message.tool_calls]
    return {"content": message.content, "calls": calls, "usage": message.usage_metadata, "type": message.type}


def summed(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


TEXT_CASES: dict[str, Case] = {
    "ainvoke": lambda llm: llm.ainvoke("one two three"),
    "invoke": lambda llm: in_thread(lambda: llm.invoke("one two three")),
    "with messages": lambda llm: llm.ainvoke([SystemMessage("s"), HumanMessage("h")]),
    "astream": lambda llm: _listed(llm.astream("one two three")),
    "stream": lambda llm: in_thread(lambda: list(llm.stream("one two three"))),
    "abatch": lambda llm: llm.abatch(["a", "b c", "d"]),
    "batch": lambda llm: in_thread(lambda: llm.batch(["a", "b c", "d"])),
    "bind": lambda llm: llm.bind(stop=["two"]).ainvoke("one two three"),
    "stop": lambda llm: llm.ainvoke("one two three", stop=[" three"]),
    "options": lambda llm: llm.ainvoke("one two three", options={"num_predict": 2, "temperature": 0}),
    "chain": lambda llm: (ChatPromptTemplate.from_template("say {x}") | llm | StrOutputParser()).ainvoke({"x": "y"}),
    "retry": lambda llm: llm.with_retry(stop_after_attempt=1).ainvoke("again"),
}
CHAT_CASES: dict[str, Case] = {
    "ainvoke": lambda llm: _message(llm.ainvoke("one two three")),
    "invoke": lambda llm: in_thread(lambda: shown(llm.invoke("one two three"))),
    "with messages": lambda llm: _message(llm.ainvoke([("system", "s"), ("human", "h"), ("ai", "a"), ("human", "i")])),
    "astream": lambda llm: _streamed(llm.astream("one two three")),
    "abatch": lambda llm: _messages(llm.abatch(["a", "b c"])),
    "tool result": lambda llm: _message(llm.ainvoke(_conversation())),
    "chain": lambda llm: (ChatPromptTemplate.from_template("say {x}") | llm | StrOutputParser()).ainvoke({"x": "y"}),
}


@pytest.mark.parametrize("name", TEXT_CASES)
async def test_text(twins: Twins, name: str) -> None:
    assert await same(twins.texts, TEXT_CASES[name])


@pytest.mark.parametrize("name", CHAT_CASES)
async def test_messages(twins: Twins, name: str) -> None:
    assert await same(twins.chats, CHAT_CASES[name])


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_tools(twins: Twins, scripted: Engine, *, streamed: bool) -> None:
    scripted.script = Script(tools=(ToolUse(name="City", arguments='{"name": "Oslo"}'),))

    async def called(llm: Any) -> object:  # noqa: ANN401
        bound = llm.bind_tools([City])
        return await (_streamed(bound.astream("which?")) if streamed else _message(bound.ainvoke("which?")))

    found = await same(twins.chats, called)
    assert isinstance(found, dict)
    assert found["calls"] == [("City", {"name": "Oslo"}, "tool_call")]


@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
async def test_structured_output(twins: Twins, scripted: Engine, method: str) -> None:
    if method == "function_calling":
        scripted.script = Script(tools=(ToolUse(name="City", arguments='{"name": "Oslo"}'),))
    else:
        scripted.script = Script(tokens=('{"name": ', '"Oslo"}'))
    found = await same(twins.chats, lambda llm: llm.with_structured_output(City, method=method).ainvoke("which?"))
    assert found == City(name="Oslo")


async def test_what_the_engine_is_asked(twins: Twins, scripted: Engine) -> None:
    """Either way the engine gets the same request, but for the way of asking and a name or two for defaults."""
    for pair in twins:
        asked = []
        for llm in pair:
            await llm.ainvoke("one two three")
            asked.append(json.loads(scripted.requests[-1].body))
        old, new = asked
        assert new["messages"] == old["messages"]
        assert {name: new[name] for name in ("temperature", "top_k", "top_p", "max_tokens", "model")} == {
            name: old[name] for name in ("temperature", "top_k", "top_p", "max_tokens", "model")
        }


async def test_tokens_that_callbacks_hear(twins: Twins) -> None:
    for pair in twins:
        heard = []
        for llm in pair:
            listener = Heard()
            await llm.ainvoke("one two three", config={"callbacks": [listener]})
            heard.append([token for token in listener.tokens if token])
        assert heard[0] == heard[1] == ["one", " two", " three"]


async def test_metadata_have_every_name_that_ollamas_have(twins: Twins) -> None:
    old, new = twins.chats
    theirs, ours = summed(await _listed(old.astream("one two"))), summed(await _listed(new.astream("one two")))
    _named(theirs.response_metadata, ours.response_metadata, NOT_OF_VLLM)
    whole = await new.ainvoke("one two")
    _named(theirs.response_metadata, whole.response_metadata, NOT_OF_VLLM | NOT_OF_A_WHOLE_ANSWER)
    old, new = twins.texts
    generations = [(await llm.agenerate(["one two"])).generations[0][0] for llm in (old, new)]
    theirs_info, ours_info = (generation.generation_info for generation in generations)
    given = {name: value for name, value in theirs_info.items() if name not in {"response", "context"}}
    _named(given, ours_info, NOT_OF_VLLM | NOT_OF_A_WHOLE_ANSWER)


def _named(theirs: Mapping[str, Any], ours: Mapping[str, Any], missing: set[str]) -> None:
    told = {name for name, value in theirs.items() if value is not None}
    assert told - set(ours) <= missing
    for name in ("prompt_eval_count", "eval_count", "done", "done_reason"):
        assert ours[name] == theirs[name], name


def _conversation() -> list[Any]:
    call = {"name": "City", "args": {"name": "Oslo"}, "id": "c1", "type": "tool_call"}
    return [
        HumanMessage("which?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("rain", tool_call_id="c1", name="City"),
        HumanMessage("so?"),
    ]


async def _listed(stream: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in stream]


async def _message(asked: Awaitable[Any]) -> dict[str, Any]:
    return shown(await asked)


async def _messages(asked: Awaitable[list[Any]]) -> list[dict[str, Any]]:
    return [shown(message) for message in await asked]


async def _streamed(stream: AsyncIterator[Any]) -> dict[str, Any]:
    return shown(
        AIMessage(**summed(await _listed(stream)).model_dump(include={"content", "tool_calls", "usage_metadata"}))
    )
