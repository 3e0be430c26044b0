"""The LangChain form against a real vLLM: every way of asking says what vLLM itself says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import pytest
import pytest_asyncio
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel, Field
from tests.engines.asking import WEATHER, chat, post
from tests.engines.servers import GUIDE, LLAMA, VllmServer

from penstock.client.failures import ModelNotServed
from penstock.client.langchain import ChatVLLM, VLLMClient
from penstock.errors import BadRequest

QUESTION = "What is an alias?"
LIMIT = 24
ROOM = 128
"""Tokens for a tool call: this model has one for each few letters."""


class Weather(BaseModel):
    """The weather here."""

    unit: Literal["celsius", "fahrenheit"]


@pytest_asyncio.fixture
async def text(vllm_generate: VllmServer) -> AsyncIterator[VLLMClient]:
    """As the document constructs it."""
    llm = VLLMClient(model=LLAMA, base_url=vllm_generate.url, temperature=0.0, max_tokens=LIMIT)
    yield llm
    await llm.aclose()


@pytest_asyncio.fixture
async def chats(vllm_generate: VllmServer) -> AsyncIterator[ChatVLLM]:
    llm = ChatVLLM(model=GUIDE, base_url=vllm_generate.url, max_tokens=LIMIT)
    yield llm
    await llm.aclose()


@pytest.fixture
def said(vllm_generate: VllmServer) -> str:
    """What vLLM answers without any client."""
    body = chat(QUESTION, model=GUIDE, max_tokens=LIMIT, temperature=0)
    answer = post(vllm_generate.port, "/v1/chat/completions", body)
    return str(answer.json["choices"][0]["message"]["content"])


async def test_every_way_of_asking_gives_vllms_answer(text: VLLMClient, said: str) -> None:
    """S1.11, S1.12, X6: whole and streamed, in threads and not, alone and together."""
    assert said
    assert await asyncio.to_thread(text.invoke, QUESTION) == said
    assert await text.ainvoke(QUESTION) == said
    pieces = [piece async for piece in text.astream(QUESTION)]
    assert "".join(pieces) == said
    assert len([piece for piece in pieces if piece]) > 1
    assert await text.abatch([QUESTION] * 3) == [said] * 3
    assert "".join(await asyncio.to_thread(lambda: list(text.stream(QUESTION)))) == said


async def test_a_raw_prompt_goes_to_completions(text: VLLMClient, vllm_generate: VllmServer) -> None:
    """S1.10."""
    body = {"model": GUIDE, "prompt": QUESTION, "max_tokens": LIMIT, "temperature": 0, "top_k": 40, "top_p": 0.9}
    plain = post(vllm_generate.port, "/v1/completions", body).json["choices"][0]["text"]
    assert await text.ainvoke(QUESTION, raw=True) == plain


async def test_messages_with_their_metadata(chats: ChatVLLM, said: str, vllm_generate: VllmServer) -> None:
    message = await chats.ainvoke([HumanMessage(QUESTION)])
    assert message.content == said
    whole: Any = None
    async for chunk in chats.astream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert whole.content == said
    assert whole.usage_metadata == message.usage_metadata
    usage = post(vllm_generate.port, "/v1/chat/completions", chat(QUESTION, model=GUIDE, max_tokens=LIMIT)).json[
        "usage"
    ]
    assert message.usage_metadata is not None
    assert message.usage_metadata["input_tokens"] == usage["prompt_tokens"]
    assert message.response_metadata["model_name"] == LLAMA
    assert message.response_metadata["model_provider"] == "vllm"
    assert whole.response_metadata["finish_reason"] == message.response_metadata["finish_reason"]


async def test_an_answer_in_a_schema(chats: ChatVLLM, text: VLLMClient) -> None:
    """The engine's own grammar holds it: a model that knows nothing of weather answers in the schema."""
    for llm in (chats, text):
        found = await llm.with_structured_output(Weather).ainvoke("Which unit?")
        assert isinstance(found, Weather)


async def test_a_forced_tool(chats: ChatVLLM) -> None:
    """S4.19: `tool_choice` is honoured, whole and streamed, and the call can be answered."""
    bound = chats.bind_tools([WEATHER], tool_choice="get_weather").bind(max_tokens=ROOM)
    message = await bound.ainvoke("The weather?")
    assert isinstance(message, AIMessage)
    assert message.tool_calls, message
    assert message.tool_calls[0]["name"] == "get_weather"
    assert message.tool_calls[0]["args"]["unit"] in {"celsius", "fahrenheit"}
    whole: Any = None
    async for chunk in bound.astream("The weather?"):
        whole = chunk if whole is None else whole + chunk
    assert [call["args"] for call in whole.tool_calls] == [call["args"] for call in message.tool_calls]


class Named(BaseModel):
    """With a description that goes into the schema."""

    unit: Annotated[Literal["celsius", "fahrenheit"], Field(description="of temperature")]


async def test_a_schema_by_a_tool_call(chats: ChatVLLM) -> None:
    chats.max_tokens = ROOM
    found = await chats.with_structured_output(Named, method="function_calling").ainvoke("Which unit?")
    assert isinstance(found, Named)


async def test_log_probabilities(chats: ChatVLLM) -> None:
    message = await chats.ainvoke("Hello", logprobs=True, top_logprobs=2, max_tokens=3)
    entries = message.response_metadata["logprobs"]
    assert len(entries) == 3
    assert all(len(entry["top_logprobs"]) == 2 for entry in entries)


async def test_the_engine_counts(chats: ChatVLLM, vllm_generate: VllmServer) -> None:
    """S0.11, H4."""
    body = {"model": GUIDE, "prompt": QUESTION, "add_special_tokens": False}
    tokens = post(vllm_generate.port, "/tokenize", body).json["tokens"]
    assert await asyncio.to_thread(chats.get_token_ids, QUESTION) == tokens
    message = await chats.ainvoke(QUESTION)
    assert message.usage_metadata is not None
    counted = await asyncio.to_thread(chats.get_num_tokens_from_messages, [HumanMessage(QUESTION)])
    assert counted == message.usage_metadata["input_tokens"]


async def test_stop_and_limit_are_kept(text: VLLMClient, said: str) -> None:
    word = said.split()[2]
    assert await text.ainvoke(QUESTION, stop=[word]) == said[: said.index(word)]
    result = await text.agenerate([QUESTION], num_predict=2)
    info = result.generations[0][0].generation_info
    assert info is not None
    assert (info["eval_count"], info["done_reason"]) == (2, "length")


async def test_what_vllm_refuses(vllm_generate: VllmServer, chats: ChatVLLM) -> None:
    """W31: a wrong model name is told with what is served; the caller's own mistakes are not tried again."""
    other = ChatVLLM(model="meta-llama/other", base_url=vllm_generate.url)
    with pytest.raises(ModelNotServed, match=LLAMA):
        await other.ainvoke("Hello")
    await other.aclose()
    with pytest.raises(BadRequest):
        await chats.ainvoke("word " * 20000)


async def test_options_that_vllm_has_no_word_for_are_named(text: VLLMClient) -> None:
    result = await text.agenerate(["Hello"], options={"num_ctx": 512, "mirostat": 1, "num_predict": 2})
    info = result.generations[0][0].generation_info
    assert info is not None
    assert set(info["dropped"]) == {"num_ctx", "mirostat"}
