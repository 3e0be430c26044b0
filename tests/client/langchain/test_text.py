"""VLLMClient as a LangChain LLM: what code written against OllamaLLM does and reads."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models import BaseLLM
from langchain_core.load import dumps, load
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import ConfigurableField
from pydantic import BaseModel, SecretStr, ValidationError
from tests.client.conftest import Ways
from tests.fakes.threads import in_thread

from penstock import client, environment
from penstock.client import plain
from penstock.client.failures import ConnectFailed, ModelNotServed
from penstock.client.langchain import OllamaClient, VLLMClient
from penstock.errors import BadRequest, BrokenAnswer, ConfigError, EngineRefused
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script

HELLO = "hello wide world"
FORM = "VLLMClient"


def body(engine: Engine | OllamaDouble, index: int = -1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(engine.requests[index].body)
    return found


def made(engine: Engine | OllamaDouble, **more: Any) -> VLLMClient:  # noqa: ANN401 - fields
    return VLLMClient(**{"model": "m", "base_url": engine.url, "retry_delay": 0.01, "timeout": 20.0, **more})


class Heard(BaseCallbackHandler):
    """Everything that LangChain tells about a run."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.runs: list[Any] = []
        self.ends: list[Any] = []
        self.errors: list[BaseException] = []

    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: Any, **_: Any) -> None:  # noqa: ANN401
        self.runs.append((run_id, prompts, serialized["name"]))

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:  # noqa: ANN401
        assert chunk is not None
        self.tokens.append(token)

    def on_llm_end(self, response: Any, **_: Any) -> None:  # noqa: ANN401
        self.ends.append(response)

    def on_llm_error(self, error: BaseException, **_: Any) -> None:  # noqa: ANN401
        self.errors.append(error)


def test_the_library_offers_langchains_form_where_langchain_is() -> None:
    """S1.5: the class that an application imports is a LangChain LLM."""
    assert getattr(client, FORM) is VLLMClient
    assert issubclass(VLLMClient, BaseLLM)
    assert not issubclass(OllamaClient, VLLMClient)


async def test_an_answer_and_every_option_that_was_really_sent(ways: Ways, scripted_engine: Engine) -> None:
    """S1.11: the documents' constructor and `invoke(prompt)`; X6: the chat route by default; W30: top_k is sent."""
    llm = made(scripted_engine, temperature=0.5, top_p=0.5, top_k=7, max_tokens=20, seed=3, repeat_penalty=1.5)
    assert await ways.ask(llm, HELLO) == HELLO
    assert scripted_engine.requests[-1].path == "/v1/chat/completions"
    sent = {"temperature": 0.5, "top_p": 0.5, "top_k": 7, "max_tokens": 20, "seed": 3, "repetition_penalty": 1.5}
    assert sent.items() <= body(scripted_engine).items()


async def test_ollamas_names_of_options(ways: Ways, scripted_engine: Engine) -> None:
    llm = made(scripted_engine, num_predict=5, num_ctx=4096, mirostat=1, keep_alive="5m", stop=["zzz"])
    await ways.ask(llm, HELLO)
    sent = body(scripted_engine)
    assert (sent["max_tokens"], sent["stop"]) == (5, ["zzz"])
    assert not {"num_ctx", "mirostat", "keep_alive", "num_predict", "options"} & set(sent)
    assert llm.engines.answered is not None
    assert set(llm.engines.answered.dropped) == {"num_ctx", "mirostat", "keep_alive"}


async def test_the_usual_options_and_those_of_one_call(ways: Ways, scripted_engine: Engine) -> None:
    llm = made(scripted_engine)
    await ways.ask(llm, HELLO, options={"num_predict": 9}, temperature=0.25, stop=["q"])
    sent = body(scripted_engine)
    assert (sent["temperature"], sent["top_p"], sent["top_k"]) == (0.25, 0.9, 40)
    assert (sent["max_tokens"], sent["stop"]) == (9, ["q"])


async def test_a_raw_prompt_goes_without_a_template(ways: Ways, scripted_engine: Engine) -> None:
    """S1.10, X6: `raw=True`, at the call or at the client, asks /v1/completions."""
    assert await ways.ask(made(scripted_engine), HELLO, raw=True) == HELLO
    assert await ways.ask(made(scripted_engine, raw=True), HELLO) == HELLO
    assert [request.path for request in scripted_engine.requests] == ["/v1/completions"] * 2
    assert body(scripted_engine)["prompt"] == HELLO


async def test_a_stream_is_text_in_pieces(ways: Ways, scripted_engine: Engine) -> None:
    """S3.3."""
    pieces = await ways.stream(made(scripted_engine), HELLO)
    assert "".join(pieces) == HELLO
    assert len([piece for piece in pieces if piece]) == 3


async def test_the_first_token_does_not_wait_for_the_second(scripted_engine: Engine) -> None:
    """S3.3: tokens as they are generated."""
    llm = made(scripted_engine)
    gate = scripted_engine.hold(before=1)
    stream = llm.astream(HELLO)
    assert await anext(stream) == "hello"
    gate.open()
    assert "".join([piece async for piece in stream]) == " wide world"
    await llm.aclose()


async def test_async_calls_start_no_thread(scripted_engine: Engine) -> None:
    """S1.12: real async: a hundred calls wait for their answers in one thread."""
    llm = made(scripted_engine)
    before = threading.active_count()
    gate = scripted_engine.hold(before=0)
    calls = [asyncio.ensure_future(llm.ainvoke(f"call {number}")) for number in range(100)]
    await scripted_engine.until(lambda: scripted_engine.running == 100, "a hundred requests at once")
    assert threading.active_count() == before
    gate.open()
    assert await asyncio.gather(*calls) == [f"call {number}" for number in range(100)]
    await llm.aclose()


async def test_to_thread_as_the_document_calls_it(scripted_engine: Engine) -> None:
    """S1.12, S1.31: `await asyncio.to_thread(llm.invoke, prompt)` goes on working."""
    llm = made(scripted_engine)
    assert await asyncio.to_thread(llm.invoke, HELLO) == HELLO
    await llm.aclose()


@pytest.mark.parametrize("way", ["batch", "abatch"])
async def test_a_batch_runs_together_and_fails_apart(scripted_engine: Engine, way: str) -> None:
    llm = made(scripted_engine, retry_attempts=1)
    inputs: list[Any] = ["one", "two", "three"]

    async def batch(**more: Any) -> list[Any]:  # noqa: ANN401
        if way == "abatch":
            return await llm.abatch(inputs, **more)
        return await in_thread(lambda: llm.batch(inputs, **more))

    gate = scripted_engine.hold(before=0)
    running = asyncio.ensure_future(batch())
    await scripted_engine.until(lambda: scripted_engine.running == 3, "three requests at once")
    gate.open()
    assert await running == inputs
    scripted_engine.gates.clear()
    scripted_engine.next.append(Script(status=500))
    answers = await batch(return_exceptions=True, config={"max_concurrency": 1})
    assert answers[1:] == ["two", "three"]
    assert isinstance(answers[0], Exception)
    await llm.aclose()


async def test_generations_tell_under_ollamas_names_and_openais(scripted_engine: Engine) -> None:
    llm = made(scripted_engine)
    result = await llm.agenerate(["one two", "three"])
    assert [generation[0].text for generation in result.generations] == ["one two", "three"]
    info = result.generations[0][0].generation_info
    assert info is not None
    assert (info["model"], info["model_name"], info["model_provider"]) == ("m", "m", "vllm")
    assert (info["done"], info["done_reason"], info["finish_reason"]) == (True, "stop", "stop")
    assert info["eval_count"] == 2
    assert info["total_duration"] > 0
    assert info["created_at"].endswith("Z")
    assert result.llm_output is not None
    assert result.llm_output["token_usage"]["completion_tokens"] == 3
    same = await in_thread(lambda: llm.generate(["one two", "three"]))
    assert [one[0].text for one in same.generations] == ["one two", "three"]
    assert [run.run_id for run in result.run or []] != [run.run_id for run in same.run or []]
    await llm.aclose()


async def test_callbacks_hear_each_token_also_of_invoke(ways: Ways, scripted_engine: Engine) -> None:
    """As with OllamaLLM; a call that nobody listens to is not streamed."""
    heard = Heard()
    llm, run = made(scripted_engine), uuid4()
    config = {"callbacks": [heard], "run_id": run}
    assert await ways.ask(llm, HELLO, config=config) == HELLO
    assert heard.tokens == ["hello", " wide", " world", ""]
    assert heard.runs == [(run, [HELLO], "VLLMClient")]
    assert heard.ends[0].generations[0][0].generation_info["eval_count"] == 3
    assert body(scripted_engine)["stream"] is True
    await ways.ask(llm, HELLO)
    assert "stream" not in body(scripted_engine)


async def test_async_callbacks(scripted_engine: Engine) -> None:
    class Later(AsyncCallbackHandler):
        tokens: list[str]

        async def on_llm_new_token(self, token: Any, **_: Any) -> None:  # noqa: ANN401
            self.tokens.append(token)

    class Silent(AsyncCallbackHandler):
        """Wants no tokens."""

    later = Later()
    later.tokens = []
    llm = made(scripted_engine)
    await llm.ainvoke(HELLO, config={"callbacks": [Silent()]})
    assert "stream" not in body(scripted_engine)
    await llm.ainvoke(HELLO, config={"callbacks": [later]})
    assert "".join(later.tokens) == HELLO
    await llm.aclose()


async def test_a_run_that_breaks_off_says_so(ways: Ways, scripted_engine: Engine) -> None:
    heard = Heard()
    scripted_engine.script = Script(cut_after=2)
    with pytest.raises(BrokenAnswer):
        await ways.stream(made(scripted_engine), HELLO, config={"callbacks": [heard]})
    assert heard.tokens == ["hello", " wide"]
    assert isinstance(heard.errors[0], BrokenAnswer)
    assert len(scripted_engine.requests) == 1


async def test_in_a_chain(scripted_engine: Engine) -> None:
    llm = made(scripted_engine)
    chain = PromptTemplate.from_template("say {what}") | llm.bind(stop=["never"]) | StrOutputParser()
    assert await chain.ainvoke({"what": "it"}) == "say it"
    assert body(scripted_engine)["stop"] == ["never"]
    assert await in_thread(lambda: llm.invoke([HumanMessage("hi")])) == "Human: hi"
    events = [event["event"] async for event in llm.astream_events("a b", version="v2")]
    assert events.count("on_llm_stream") == 3
    await llm.aclose()


async def test_structured_output(ways: Ways, scripted_engine: Engine) -> None:
    class City(BaseModel):
        name: str

    scripted_engine.script = Script(tokens=('{"name": ', '"Oslo"}'))
    llm = ways.made(made(scripted_engine))
    found = await llm.with_structured_output(City).ainvoke("where?")
    assert found == City(name="Oslo")
    sent = body(scripted_engine)["response_format"]
    assert sent["json_schema"]["schema"] == City.model_json_schema()
    raw = await llm.with_structured_output(City, method="json_mode", include_raw=True).ainvoke("where?")
    assert (raw["raw"], raw["parsed"], raw["parsing_error"]) == ('{"name": "Oslo"}', City(name="Oslo"), None)
    assert body(scripted_engine)["response_format"] == {"type": "json_object"}
    with pytest.raises(ValueError, match="use ChatVLLM"):
        llm.with_structured_output(City, method="function_calling")


async def test_the_other_engine_answers_in_its_own_words(
    ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """S1.4: the fallback hears every option, those too that vLLM has no word for, and its metadata come through."""
    scripted_engine.script = Script(status=503)
    llm = made(
        scripted_engine,
        fallback=ollama_double.url,
        fallback_model="llama3.2",
        num_ctx=512,
        retry_attempts=1,
        mirostat=1,
    )
    assert await ways.ask(llm, HELLO) == HELLO
    assert {"num_ctx": 512, "mirostat": 1, "temperature": 0.0}.items() <= body(ollama_double)["options"].items()
    result = await llm.agenerate([HELLO])
    info = result.generations[0][0].generation_info
    assert info is not None
    assert (info["model_provider"], info["model"], info["fallback"]) == ("ollama", "llama3.2", "5xx")
    assert info["eval_duration"] > 0
    assert "response" not in info


async def test_ollama_itself(ways: Ways, ollama_double: OllamaDouble) -> None:
    llm = OllamaClient(model="llama3.2", base_url=ollama_double.url, num_predict=2, keep_alive="1m", retry_delay=0.01)
    assert await ways.ask(llm, HELLO) == "hello wide"
    sent = body(ollama_double)
    assert ollama_double.requests[-1].path == "/api/generate"
    assert (sent["options"], sent["keep_alive"]) == ({"num_predict": 2}, "1m")


async def test_thoughts(ways: Ways, scripted_engine: Engine) -> None:
    scripted_engine.script = Script(reasoning=("let", " me"), tokens=("yes",))
    llm = ways.made(made(scripted_engine, reasoning=True))
    generation = (await llm.agenerate(["well?"])).generations[0][0]
    assert (generation.text, generation.generation_info["thinking"]) == ("yes", "let me")
    assert body(scripted_engine)["chat_template_kwargs"] == {"enable_thinking": True}
    heard = Heard()
    generation = (await llm.agenerate(["well?"], callbacks=[heard])).generations[0][0]
    assert generation.generation_info["thinking"] == "let me"
    hidden = (await llm.agenerate(["well?"], reasoning=False)).generations[0][0]
    assert "thinking" not in hidden.generation_info


async def test_a_field_that_is_set_later_counts_from_the_next_call(ways: Ways, scripted_engine: Engine) -> None:
    llm = made(scripted_engine)
    llm.temperature = 0.75
    await ways.ask(llm, HELLO)
    assert body(scripted_engine)["temperature"] == 0.75
    await ways.ask(llm.model_copy(update={"num_predict": 2}), HELLO)
    assert body(scripted_engine)["max_tokens"] == 2


@pytest.mark.filterwarnings("ignore:The function `load` is in beta")
def test_serialized_without_its_secret() -> None:
    llm = VLLMClient(model="m", base_url="http://127.0.0.1:9", api_key=SecretStr("sk-very-secret"), top_k=3)
    text = dumps(llm)
    worn = VLLMClient(model="m", client_kwargs={"headers": {"Authorization": "Bearer sk-very-secret"}})
    assert "very-secret" not in dumps(worn) + repr(worn) + str(worn) + str(worn.model_dump())
    assert "very-secret" not in text + repr(llm) + str(llm) + str(llm.model_dump())
    again = load(
        json.loads(text),
        allowed_objects=[VLLMClient],
        secrets_map={"OPENAI_API_KEY": "sk-very-secret"},
        valid_namespaces=["penstock"],
    )
    assert (type(again), again.top_k) == (VLLMClient, 3)
    assert again.api_key.get_secret_value() == "sk-very-secret"


@pytest.mark.parametrize(
    "fields",
    [
        {"validate_model_on_init": True, "base_url": "http://127.0.0.1:9", "retry_attempts": 1},
        {"client_kwargs": {"headers": {"Authorization": "Bearer sk-very-secret"}, "proxy": "http://p"}},
        {"client_kwargs": {"headers": {"authorization": "Basic sk-very-secret"}}},
    ],
)
def test_errors_show_no_secret(fields: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, ConfigError)) as raised:
        VLLMClient(model="m", api_key=SecretStr("sk-very-secret"), **fields)
    assert "very-secret" not in f"{raised.value}{raised.value!r}"


def test_a_cache_tells_two_clients_apart() -> None:
    """H11: what an answer depends on is part of the key."""
    one, two = (VLLMClient(model=name, base_url="http://127.0.0.1:9") for name in ("a", "b"))
    assert one.asdict() != two.asdict()
    assert one.asdict()["temperature"] == 0.0


@pytest.mark.parametrize(
    ("fields", "error", "told"),
    [
        ({"base_url": "http://a:1", "host": "http://b:1"}, ConfigError, "base_url='http://a:1' and host='http://b:1'"),
        ({"num_predict": 1, "max_tokens": 2}, ConfigError, "two spellings of one option"),
        ({"base_url": "http://a:1/v1/v1"}, ConfigError, "could be meant in two ways"),
        ({"base_url": "http://user:word@a:1"}, ConfigError, "without user or password"),
        ({"temperature": "warm"}, ValidationError, "temperature"),
        ({"client_kwargs": {"proxy": "http://p"}}, ValidationError, "'proxy' is an argument of httpx"),
        ({"client_kwargs": {"headers": {"x-team": "a"}}}, ConfigError, "cannot be sent"),
        ({"sync_client_kwargs": {"timeout": 1}, "async_client_kwargs": {"timeout": 2}}, ConfigError, "differ"),
    ],
)
def test_fields_that_cannot_be_used(fields: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error) as raised:
        VLLMClient(model="m", **fields)
    said = raised.value.sentence() if isinstance(raised.value, ConfigError) else str(raised.value)
    assert told in said
    assert "word@" not in said


@pytest.mark.parametrize("form", [VLLMClient, plain.VLLMClient])
def test_without_a_url_the_environment_says_where(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    """S1.21, S0.13, S0.14: as OllamaLLM reads OLLAMA_HOST; a key goes only to the URL of its own family."""
    for name in environment.NAMES:
        monkeypatch.delenv(name, raising=False)
    assert form(model="m").engines.first.url == "http://vllm-server:8000"
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("VLLM_HOST", "http://127.0.0.1:9")
    place = form(model="m").engines.first
    assert place.url == "http://127.0.0.1:9"
    assert all(name != b"Authorization" for name, _ in place.get("/").headers)
    monkeypatch.delenv("VLLM_HOST")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:7/v1")
    place = form(model="m").engines.first
    assert (b"Authorization", b"Bearer k") in place.get("/").headers
    assert form(model="m", base_url="http://127.0.0.1:6").engines.first.url == "http://127.0.0.1:6"


def test_an_unknown_field_is_told() -> None:
    with pytest.warns(UserWarning, match="'temprature' is not known, did you mean temperature"):
        VLLMClient(model="m", temprature=1)  # type: ignore[call-arg]


async def test_an_unknown_argument_is_told(ways: Ways, scripted_engine: Engine) -> None:
    with pytest.raises(TypeError, match="temprature"):
        await ways.ask(made(scripted_engine), HELLO, temprature=1)
    with pytest.raises(ValueError, match="`stop` found in both"):
        await ways.ask(made(scripted_engine, stop=["a"]), HELLO, stop=["b"])


async def test_httpx_arguments_that_mean_something(ways: Ways, scripted_engine: Engine) -> None:
    llm = made(scripted_engine, client_kwargs={"headers": {"Authorization": "Bearer k1"}, "timeout": 11})
    await ways.ask(llm, HELLO)
    assert scripted_engine.requests[-1].header("authorization") == "Bearer k1"
    assert llm.engines.policy.timeout == 11


async def test_validated_on_init(scripted_engine: Engine) -> None:
    """W31: a ValueError, as from OllamaLLM, that names what is served."""
    await in_thread(lambda: made(scripted_engine, validate_model_on_init=True).close())
    with pytest.raises(ValueError, match=r"does not serve the model 'x'; it serves m"):
        await in_thread(lambda: made(scripted_engine, model="x", validate_model_on_init=True))


async def test_failures_are_those_that_other_clients_code_catches(ways: Ways, scripted_engine: Engine) -> None:
    with pytest.raises(ModelNotServed, match="it serves m"):
        await ways.ask(made(scripted_engine, model="other"), HELLO)
    with pytest.raises(BadRequest, match="max_tokens"):
        await ways.ask(made(scripted_engine), HELLO, extra_body={"max_tokens": "many"})
    await scripted_engine.stop()
    with pytest.raises(ConnectionError) as refused:
        await ways.ask(made(scripted_engine), HELLO)
    assert isinstance(refused.value, ConnectFailed)


async def test_images_go_with_a_prompt(ways: Ways, scripted_engine: Engine) -> None:
    await ways.ask(made(scripted_engine), HELLO, images=["iVBORw0KGgo="])
    parts = body(scripted_engine)["messages"][0]["content"]
    assert parts[1]["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_reader_that_leaves_ends_the_engines_work(scripted_engine: Engine, way: str) -> None:
    """H6."""
    llm = made(scripted_engine)
    gate = scripted_engine.hold(before=2)
    if way == "astream":
        later = llm.astream(HELLO)
        assert await anext(later) == "hello"
        await later.aclose()  # type: ignore[attr-defined]
    else:

        def first() -> str:
            stream = llm.stream(HELLO)
            token = next(stream)
            stream.close()  # type: ignore[attr-defined]
            return token

        assert await in_thread(first) == "hello"
    await scripted_engine.until(lambda: len(scripted_engine.aborts) == 1, "the engine sees the reader leave")
    gate.open()
    await llm.aclose()


async def test_one_client_serves_many_threads(scripted_engine: Engine) -> None:
    """Each thread gets its own answers."""
    llm = made(scripted_engine)

    def asked(thread: int) -> list[str]:
        return [llm.invoke(f"thread {thread} call {number}") for number in range(10)]

    answers = await asyncio.gather(*(asyncio.to_thread(asked, thread) for thread in range(16)))
    assert answers == [[f"thread {thread} call {number}" for number in range(10)] for thread in range(16)]
    await llm.aclose()


@pytest.mark.parametrize("way", ["generate", "agenerate"])
async def test_several_prompts_are_asked_together(scripted_engine: Engine, way: str) -> None:
    llm = made(scripted_engine, retry_attempts=1)

    async def generate() -> list[str]:
        prompts = ["one", "two", "three"]
        if way == "agenerate":
            result = await llm.agenerate(prompts)
        else:
            result = await in_thread(lambda: llm.generate(prompts))
        return [generations[0].text for generations in result.generations]

    gate = scripted_engine.hold(before=0)
    running = asyncio.ensure_future(generate())
    await scripted_engine.until(lambda: scripted_engine.running == 3, "three requests at once")
    gate.open()
    assert await running == ["one", "two", "three"]
    scripted_engine.gates.clear()
    scripted_engine.next.append(Script(status=500))
    with pytest.raises(EngineRefused, match="500"):
        await generate()
    await llm.aclose()


async def test_fields_chosen_at_the_call(scripted_engine: Engine) -> None:
    """LangChain's `configurable_fields`: another client for each choice, whose connections close with it."""
    llm = made(scripted_engine)
    chosen = llm.configurable_fields(temperature=ConfigurableField(id="warmth"))
    assert await chosen.with_config(configurable={"warmth": 0.25}).ainvoke(HELLO) == HELLO
    assert body(scripted_engine)["temperature"] == 0.25
    assert await chosen.ainvoke(HELLO) == HELLO
    assert body(scripted_engine)["temperature"] == 0.0
    await llm.aclose()


async def test_langchains_cache(scripted_engine: Engine) -> None:
    """H11: what was asked of one model is not the answer of another."""
    cache = InMemoryCache()
    warm, cold = (made(scripted_engine, cache=cache, temperature=temperature) for temperature in (0.5, 0.0))
    for llm in (warm, cold, warm, cold):
        assert await llm.ainvoke(HELLO) == HELLO
    assert len(scripted_engine.requests) == 2
    await warm.aclose()
    await cold.aclose()
