"""ChatVLLM as a LangChain chat model: what code written against ChatOllama does and reads."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from tests.client.conftest import Ways
from tests.client.langchain.test_text import Heard, body
from tests.fakes.threads import in_thread

from penstock import client
from penstock.client.langchain import ChatOllamaClient, ChatVLLM
from penstock.errors import BrokenAnswer, Unsupported
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.ollama_shapes import OllamaModel
from penstock.faults.script import Script, ToolUse

HELLO = "hello wide world"
FORM = "ChatVLLM"


def made(engine: Engine | OllamaDouble, **more: Any) -> ChatVLLM:  # noqa: ANN401 - fields
    return ChatVLLM(**{"model": "m", "base_url": engine.url, "retry_delay": 0.01, "timeout": 20.0, **more})


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


class City(BaseModel):
    """A city."""

    name: str = Field(description="what it is called")


def summed(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


def test_the_library_offers_langchains_form_where_langchain_is() -> None:
    assert getattr(client, FORM) is ChatVLLM
    assert issubclass(ChatVLLM, BaseChatModel)


async def test_an_answer_with_its_metadata(ways: Ways, scripted_engine: Engine) -> None:
    message = await ways.ask(made(scripted_engine), [SystemMessage("be brief"), HumanMessage(HELLO)])
    assert isinstance(message, AIMessage)
    assert message.content == HELLO
    usage = message.usage_metadata
    assert usage is not None
    assert usage["output_tokens"] == 3
    assert usage["total_tokens"] == usage["input_tokens"] + 3
    shown = message.response_metadata
    assert (shown["model"], shown["model_provider"], shown["finish_reason"], shown["done_reason"]) == (
        "m", "vllm", "stop", "stop",
    )  # fmt: skip
    assert (message.id or "").startswith("lc_run--")
    assert [turn["role"] for turn in body(scripted_engine)["messages"]] == ["system", "user"]


async def test_a_stream_adds_up_to_the_whole_answer(ways: Ways, scripted_engine: Engine) -> None:
    chunks = await ways.stream(made(scripted_engine), HELLO)
    assert [chunk.content for chunk in chunks if chunk.content] == ["hello", " wide", " world"]
    whole = summed(chunks)
    assert whole.content == HELLO
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 3
    assert whole.response_metadata["finish_reason"] == "stop"
    assert whole.response_metadata["eval_duration"] >= 0
    assert chunks[-1].chunk_position == "last"


async def test_every_kind_of_message(ways: Ways, scripted_engine: Engine) -> None:
    """The engine gets OpenAI's turns, with the calls, their results and the pictures."""
    call = {"name": "weather", "args": {"city": "Oslo"}, "id": "c1"}
    history = [
        ("system", "s"),
        HumanMessage(["look", {"type": "image_url", "image_url": "iVBORw0KGgo="}]),
        HumanMessage([{"type": "text", "text": "and"}, {"type": "image", "base64": "AAAA", "mime_type": "image/webp"}]),
        AIMessage("", tool_calls=[call]),
        ToolMessage("rain", tool_call_id="c1", name="weather"),
        AIMessage(
            [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "wet"}, {"type": "tool_use", "id": "x"}]
        ),
        ChatMessage(role="developer", content="d"),
        "go on",
    ]
    await ways.ask(made(scripted_engine), history)
    sent = body(scripted_engine)["messages"]
    assert [turn["role"] for turn in sent] == [
        "system", "user", "user", "assistant", "tool", "assistant", "developer", "user",
    ]  # fmt: skip
    assert sent[1]["content"][1]["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="
    assert sent[2]["content"][1]["image_url"]["url"] == "data:image/webp;base64,AAAA"
    assert json.loads(sent[3]["tool_calls"][0]["function"]["arguments"]) == {"city": "Oslo"}
    assert (sent[4]["tool_call_id"], sent[4]["content"]) == ("c1", "rain")
    assert sent[5]["content"] == "wet"


async def test_content_that_no_engine_takes_is_an_error(ways: Ways, scripted_engine: Engine) -> None:
    with pytest.raises(ValueError, match="'audio'"):
        await ways.ask(made(scripted_engine), [HumanMessage([{"type": "audio", "base64": "AA"}])])
    assert not scripted_engine.requests


async def test_tools_whole_and_streamed(ways: Ways, scripted_engine: Engine) -> None:
    scripted_engine.script = Script(
        tools=(
            ToolUse(name="weather", arguments='{"city": "Oslo"}'),
            ToolUse(name="weather", arguments='{"city":"Rom"}'),
        )
    )
    llm = ways.made(made(scripted_engine))
    bound = llm.bind_tools([weather], parallel_tool_calls=True)
    message = await bound.ainvoke("weather?")
    assert [call["args"] for call in message.tool_calls] == [{"city": "Oslo"}, {"city": "Rom"}]
    assert len({call["id"] for call in message.tool_calls}) == 2
    assert message.response_metadata["finish_reason"] == "tool_calls"
    assert message.response_metadata["done_reason"] == "stop"
    whole = summed([chunk async for chunk in bound.astream("weather?")])
    assert [call["args"] for call in whole.tool_calls] == [{"city": "Oslo"}, {"city": "Rom"}]
    heard = Heard()
    listened = await bound.ainvoke("weather?", config={"callbacks": [heard]})
    assert [call["args"] for call in listened.tool_calls] == [{"city": "Oslo"}, {"city": "Rom"}]
    assert listened.usage_metadata == whole.usage_metadata
    assert body(scripted_engine)["parallel_tool_calls"] is True


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("weather", {"type": "function", "function": {"name": "weather"}}),
        ("any", "required"),
        (True, "required"),
        ("none", "none"),
        ({"type": "function", "function": {"name": "weather"}}, {"type": "function", "function": {"name": "weather"}}),
    ],
)
async def test_a_tool_can_be_forced_unlike_with_ollama(scripted_engine: Engine, choice: Any, sent: Any) -> None:  # noqa: ANN401
    llm = made(scripted_engine)
    await llm.bind_tools([weather], tool_choice=choice).ainvoke("weather?")
    assert body(scripted_engine)["tool_choice"] == sent
    await llm.aclose()


async def test_a_tool_loop(scripted_engine: Engine) -> None:
    """Question, call, result, answer: the second request holds all of the first exchange."""
    llm = made(scripted_engine)
    bound = llm.bind_tools([weather])
    scripted_engine.next.append(Script(tools=(ToolUse(name="weather", arguments='{"city": "Oslo"}'),)))
    history: list[Any] = [HumanMessage("weather?")]
    first = await bound.ainvoke(history)
    history += [first, *[await weather.ainvoke(call) for call in first.tool_calls]]
    assert (await bound.ainvoke(history)).content
    sent = body(scripted_engine)["messages"]
    assert sent[2] == {
        "role": "tool",
        "content": "rain in Oslo",
        "tool_call_id": first.tool_calls[0]["id"],
        "name": "weather",
    }
    await llm.aclose()


async def test_arguments_that_are_no_json_are_shown_as_such(ways: Ways, scripted_engine: Engine) -> None:
    scripted_engine.script = Script(tools=(ToolUse(name="weather", arguments='{"city": "Os'),))
    message = await ways.made(made(scripted_engine)).bind_tools([weather]).ainvoke("weather?")
    assert message.tool_calls == []
    assert message.invalid_tool_calls[0]["args"] == '{"city": "Os'


class Typed(TypedDict):
    """A city."""

    name: Annotated[str, ..., "what it is called"]


@pytest.mark.parametrize(
    "schema",
    [
        City,
        Typed,
        City.model_json_schema(),
        {"name": "City", "description": "A city.", "parameters": City.model_json_schema()},
    ],
    ids=["pydantic", "typed", "schema", "function"],
)
async def test_structured_output(scripted_engine: Engine, schema: Any) -> None:  # noqa: ANN401
    llm = made(scripted_engine)
    scripted_engine.script = Script(tokens=('{"name":', ' "Oslo"}'))
    expected = City(name="Oslo") if schema is City else {"name": "Oslo"}
    for method in ("json_schema", "json_mode"):
        assert await llm.with_structured_output(schema, method=method).ainvoke("where?") == expected
    sent = body(scripted_engine, 0)["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["schema"]["required"] == ["name"]
    scripted_engine.script = Script(tools=(ToolUse(name="City", arguments='{"name": "Oslo"}'),))
    if schema is not Typed:
        assert await llm.with_structured_output(schema, method="function_calling").ainvoke("where?") == expected
        assert body(scripted_engine)["tool_choice"]["function"]["name"] == "City"
        assert body(scripted_engine)["tools"][0]["function"]["strict"] is True
    await llm.aclose()


async def test_structured_output_that_does_not_fit(ways: Ways, scripted_engine: Engine) -> None:
    scripted_engine.script = Script(tokens=("no json",))
    llm = ways.made(made(scripted_engine))
    raw = await llm.with_structured_output(City, include_raw=True).ainvoke("where?")
    assert (raw["raw"].content, raw["parsed"]) == ("no json", None)
    assert raw["parsing_error"] is not None
    for wrong, told in (({"method": "magic"}, "Unrecognized method"), ({"more": 1}, "unsupported arguments")):
        with pytest.raises(ValueError, match=told):
            llm.with_structured_output(City, **wrong)


async def test_openais_response_format_is_understood(ways: Ways, scripted_engine: Engine) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": City.model_json_schema()}}
    scripted_engine.script = Script(tokens=('{"name": "Oslo"}',))
    await ways.ask(made(scripted_engine), "where?", response_format=wanted)
    assert body(scripted_engine)["response_format"]["json_schema"]["schema"] == City.model_json_schema()
    with pytest.warns(UserWarning, match="is left out"):
        await ways.ask(made(scripted_engine), "where?", response_format={"type": "poem"})


async def test_log_probabilities(ways: Ways, scripted_engine: Engine) -> None:
    llm = made(scripted_engine, logprobs=True, top_logprobs=2)
    message = await ways.ask(llm, HELLO)
    assert [entry["token"] for entry in message.response_metadata["logprobs"]] == ["hello", " wide", " world"]
    whole = summed(await ways.stream(llm, HELLO))
    assert [entry["token"] for entry in whole.response_metadata["logprobs"]] == ["hello", " wide", " world"]
    assert (body(scripted_engine)["logprobs"], body(scripted_engine)["top_logprobs"]) == (True, 2)
    await ways.ask(llm, HELLO, logprobs=False)
    assert "logprobs" not in body(scripted_engine)
    llm.top_logprobs = 3
    await ways.ask(llm, HELLO)
    assert body(scripted_engine)["top_logprobs"] == 3
    with pytest.warns(UserWarning, match="Setting `logprobs=True`"):
        assert ChatVLLM(model="m", top_logprobs=1).logprobs is True
    with pytest.raises(ValueError, match="explicitly `False`"):
        ChatVLLM(model="m", top_logprobs=1, logprobs=False)


async def test_thoughts(ways: Ways, scripted_engine: Engine) -> None:
    scripted_engine.script = Script(reasoning=("let", " me"), tokens=("yes",))
    llm = made(scripted_engine, reasoning=True)
    message = await ways.ask(llm, "well?")
    assert (message.content, message.additional_kwargs["reasoning_content"]) == ("yes", "let me")
    whole = summed(await ways.stream(llm, "well?"))
    assert whole.additional_kwargs["reasoning_content"] == "let me"
    assert "reasoning_content" not in (await ways.ask(llm, "well?", reasoning=False)).additional_kwargs
    await ways.ask(llm, "well?", reasoning="high")
    assert body(scripted_engine)["reasoning_effort"] == "high"


async def test_callbacks_hear_each_token_also_of_invoke(ways: Ways, scripted_engine: Engine) -> None:
    heard = Heard()
    message = await ways.ask(made(scripted_engine), HELLO, config={"callbacks": [heard]})
    assert (message.content, "".join(heard.tokens)) == (HELLO, HELLO)
    assert message.usage_metadata["output_tokens"] == 3
    assert heard.ends[0].generations[0][0].message.usage_metadata == message.usage_metadata


async def test_a_stream_that_breaks_off_is_an_error(ways: Ways, scripted_engine: Engine) -> None:
    scripted_engine.script = Script(cut_after=2, cut="eos")
    with pytest.raises(BrokenAnswer):
        await ways.stream(made(scripted_engine), HELLO)


async def test_the_other_engine_answers(ways: Ways, ollama_double: OllamaDouble, scripted_engine: Engine) -> None:
    """S1.4, S3.22: per request, with the tools and the history in Ollama's own words."""
    scripted_engine.script = Script(status=500)
    llm = ways.made(
        made(scripted_engine, fallback=ollama_double.url, fallback_model="llama3.2", retry_attempts=1, num_gpu=1)
    )
    ollama_double.script = Script(tools=(ToolUse(name="weather", arguments='{"city": "Oslo"}'),))
    message = await llm.bind_tools([weather], tool_choice="any").ainvoke([HumanMessage("weather?")])
    assert message.tool_calls[0]["args"] == {"city": "Oslo"}
    assert message.response_metadata["model_provider"] == "ollama"
    assert message.response_metadata["dropped"] == ["tool_choice"]
    assert body(ollama_double)["options"]["num_gpu"] == 1


async def test_ollama_itself(ways: Ways) -> None:
    thinker = OllamaModel(name="llama3.2:latest", capabilities=("completion", "tools", "thinking"))
    async with OllamaDouble([thinker]) as ollama:
        llm = ChatOllamaClient(model="llama3.2", base_url=ollama.url, reasoning=True)
        whole = summed(await ways.stream(llm, HELLO))
        assert whole.content == HELLO
        assert whole.additional_kwargs["reasoning_content"]
        assert whole.response_metadata["model_provider"] == "ollama"
        assert whole.response_metadata["eval_duration"] > 0
        assert whole.usage_metadata is not None
        assert body(ollama)["think"] is True


async def test_the_engine_counts_tokens(scripted_engine: Engine) -> None:
    """S0.11, H4: by its own tokenizer, with the chat template and the tools."""
    llm = made(scripted_engine)

    def counted() -> tuple[int, int, int, int]:
        one: list[BaseMessage] = [HumanMessage("a b")]
        more: list[BaseMessage] = [*one, AIMessage("c"), HumanMessage("d e f")]
        return (
            llm.get_num_tokens("hello wide world"),
            len(llm.get_token_ids("hello wide world")),
            llm.get_num_tokens_from_messages(one),
            llm.get_num_tokens_from_messages(more),
        )

    text, ids, one, more = await in_thread(counted)
    assert text == ids == 3
    assert 2 <= one < more
    kept = await llm.afit([("system", "s"), ("human", "old " * 5000), ("ai", "a"), ("human", "new")], reserve=10)
    assert kept == [("system", "s"), ("human", "new")]
    await llm.aclose()


async def test_ollama_counts_no_tokens_and_says_so(ollama_double: OllamaDouble) -> None:
    llm = ChatOllamaClient(model="llama3.2", base_url=ollama_double.url, custom_get_token_ids=None)
    with pytest.raises(Unsupported, match="cannot count"):
        llm.get_num_tokens("x")
    own = ChatOllamaClient(
        model="llama3.2", base_url=ollama_double.url, custom_get_token_ids=lambda text: [1] * len(text)
    )
    assert own.get_num_tokens("abc") == 3


async def test_a_call_takes_back_what_the_client_was_made_with(ways: Ways, scripted_engine: Engine) -> None:
    llm = made(scripted_engine, format="json", reasoning=True)
    await ways.ask(llm, HELLO, format=None, reasoning=None)
    assert not {"response_format", "chat_template_kwargs"} & set(body(scripted_engine))
    await ways.ask(llm, HELLO)
    assert {"response_format", "chat_template_kwargs"} <= set(body(scripted_engine))
