"""Options: every spelling arrives, in each engine's words, and nothing is dropped silently."""

from __future__ import annotations

import json

import pytest
from tests.client.conftest import Ways

from penstock.client.arguments import asked
from penstock.client.ask import Ask, Options
from penstock.client.options import SPELLINGS, changed, said
from penstock.client.plain import ChatOllamaClient, ChatVLLM, OllamaClient, VLLMClient
from penstock.errors import BadRequest, ConfigError
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.types import Kind

EVERY = {
    "temperature": 0.5, "top_p": 0.8, "top_k": 7, "min_p": 0.1, "max_tokens": 20, "seed": 3, "stop": ["x"],
    "presence_penalty": 0.1, "frequency_penalty": 0.2, "repeat_penalty": 1.1,
}  # fmt: skip
OLLAMAS = {
    "typical_p": 0.9, "repeat_last_n": 5, "mirostat": 1, "mirostat_eta": 0.2, "mirostat_tau": 4.0, "tfs_z": 1.0,
    "num_ctx": 128, "num_gpu": 1, "num_thread": 2, "num_keep": 1, "num_batch": 8,
}  # fmt: skip


async def test_vllm_gets_every_option(ways: Ways, scripted_engine: Engine) -> None:
    """W30: top_k and all the others are really sent."""
    await ways.ask(VLLMClient("m", base_url=scripted_engine.url, **EVERY), "hello")  # type: ignore[arg-type]
    body = json.loads(scripted_engine.requests[0].body)
    expected = {**EVERY, "repetition_penalty": 1.1, "model": "m", "messages": [{"role": "user", "content": "hello"}]}
    del expected["repeat_penalty"]
    assert body == expected


async def test_the_documents_defaults(ways: Ways, scripted_engine: Engine) -> None:
    """S1.11, S1.19: temperature 0, top_p 0.9 and top_k 40 where nothing else is said."""
    await ways.ask(VLLMClient("m", base_url=scripted_engine.url), "hello")
    body = json.loads(scripted_engine.requests[0].body)
    assert (body["temperature"], body["top_p"], body["top_k"]) == (0.0, 0.9, 40)


async def test_ollama_gets_its_own_options(ways: Ways, ollama_double: OllamaDouble) -> None:
    """Ollama is asked in its own protocol, so that num_ctx and its kin survive."""
    client = OllamaClient("llama3.2", base_url=ollama_double.url, keep_alive="5m", **EVERY, **OLLAMAS)  # type: ignore[arg-type]
    await ways.ask(client, "hello")
    request = ollama_double.requests[0]
    body = json.loads(request.body)
    assert request.path == "/api/generate"
    expected = {**EVERY, **OLLAMAS, "num_predict": 20}
    del expected["max_tokens"]
    assert body["options"] == expected
    assert (body["prompt"], body["keep_alive"], body["stream"]) == ("hello", "5m", False)


async def test_raw(ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble) -> None:
    """X6, S1.10: `raw=True` sends the prompt as it is; without it the model's chat template is applied."""
    client = VLLMClient("m", base_url=scripted_engine.url)
    assert await ways.ask(client, "hello there", raw=True) == "hello there"
    request = scripted_engine.requests[0]
    assert request.path == "/v1/completions"
    body = json.loads(request.body)
    assert (body["prompt"], body["max_tokens"]) == ("hello there", 512)
    assert await ways.stream(VLLMClient("m", base_url=scripted_engine.url, raw=True), "a b") == ["a", " b"]
    await ways.ask(OllamaClient("llama3.2", base_url=ollama_double.url), "hello", raw=True)
    assert json.loads(ollama_double.requests[0].body)["raw"] is True


async def test_options_of_one_call(ways: Ways, scripted_engine: Engine) -> None:
    """A call's own arguments go before the client's, in Ollama's form too, and do not stay."""
    client = VLLMClient("m", base_url=scripted_engine.url, temperature=0.1)
    await ways.ask(client, "hello", temperature=0.9, stop=["x"], options={"num_predict": 5})
    await ways.ask(client, "hello")
    first, second = (json.loads(one.body) for one in scripted_engine.requests)
    assert (first["temperature"], first["stop"], first["max_tokens"]) == (0.9, ["x"], 5)
    assert (second["temperature"], "stop" in second, "max_tokens" in second) == (0.1, False, False)


async def test_what_an_engine_has_no_word_for_is_named(ways: Ways, scripted_engine: Engine) -> None:
    client = ChatVLLM("m", base_url=scripted_engine.url, num_ctx=128, mirostat=1, keep_alive=5)
    answer = await ways.ask(client, "hello")
    assert answer.source.dropped == ("mirostat", "num_ctx", "keep_alive")


async def test_format_tools_and_thinking(ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble) -> None:
    """The rarer members, in each protocol's words."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    answer = await ways.ask(ChatVLLM("m", base_url=scripted_engine.url), "hello", format=schema)
    assert json.loads(answer.text) == {"a": 1}
    body = json.loads(scripted_engine.requests[0].body)
    assert body["response_format"]["json_schema"]["schema"] == schema
    await ways.ask(ChatVLLM("m", base_url=scripted_engine.url), "hello", tools=[tool], reasoning=False, format="json")
    body = json.loads(scripted_engine.requests[1].body)
    assert body["tools"] == [tool]
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["response_format"] == {"type": "json_object"}
    client = ChatOllamaClient("llama3.2", base_url=ollama_double.url)
    await ways.ask(client, "hello", tools=[tool], format=schema, extra_body={"truncate": True})
    body = json.loads(ollama_double.requests[0].body)
    assert (body["tools"], body["format"], body["truncate"]) == ([tool], schema, True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"temprature": 1}, "did you mean 'temperature'"),
        ({"options": {"num_predic": 1}}, "did you mean 'num_predict'"),
    ],
)
def test_an_unknown_argument_names_the_nearest(given: dict[str, object], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        asked(Ask(), given)


def test_two_spellings_that_disagree_are_both_named() -> None:
    with pytest.raises(ConfigError, match="max_tokens=5 and num_predict=6"):
        changed(Options(), {"max_tokens": 5, "num_predict": 6})
    assert changed(Options(), {"max_tokens": 5, "num_predict": 5}).max_tokens == 5


@pytest.mark.parametrize("value", ["hot", float("nan"), float("inf"), [1]])
def test_an_option_of_a_wrong_type_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        changed(Options(), {"temperature": value})


async def test_what_has_no_json_is_told(ways: Ways, scripted_engine: Engine) -> None:
    client = VLLMClient("m", base_url=scripted_engine.url)
    with pytest.raises(BadRequest, match="half a character"):
        await ways.ask(client, "half a \ud83d rocket")
    with pytest.raises(BadRequest, match="nothing that JSON knows"):
        await ways.ask(client, "hello", extra_body={"a": object()})
    assert not scripted_engine.requests


@pytest.mark.parametrize("key", ["a\r\nx-script: {}", "schlüssel", " a", "a\x00"])
def test_a_key_is_one_line(key: str) -> None:
    with pytest.raises(ConfigError, match="api_key") as caught:
        VLLMClient("m", base_url="http://127.0.0.1:9", api_key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("spelling", sorted(SPELLINGS))
def test_every_option_is_said_or_named(kind: Kind, spelling: str) -> None:
    """For each kind of engine: either a word of its own, or the name among what was dropped."""
    options = changed(Options(), {spelling: ["x"] if spelling == "stop" else 1})
    words, dropped = said(options, kind)
    assert len(words) + len(dropped) == 1


def test_ollamas_ways_of_saying_nothing() -> None:
    """-1 tokens, seed -1, top_k 0: what they mean to Ollama is what other engines do."""
    options = changed(Options(), {"num_predict": -1, "seed": -1, "top_k": -1, "top_p": 0.0})
    assert said(options, Kind.VLLM).words == {"top_k": 0, "top_p": 1e-6}
    assert said(options, Kind.OLLAMA).words == {"num_predict": -1, "seed": -1, "top_k": -1, "top_p": 0.0}
