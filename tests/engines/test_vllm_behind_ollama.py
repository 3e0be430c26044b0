"""What the Ollama codecs write for vLLM, taken by a real vLLM, and its answers read back. No gateway in between."""

from __future__ import annotations

import json

import ollama
import pytest
from tests.engines.asking import WEATHER, Json, post
from tests.engines.servers import GUIDE, VllmServer
from tests.protocols.ollama_wire import Ticks, ask, backend, cut
from tests.protocols.test_ollama_options import EVERY

from penstock.protocols import table
from penstock.protocols.dialect import Timing
from penstock.types import Kind

CONTEXT = 2048
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY: Json = {"temperature": 0, "num_predict": 20}
SCHEMA: Json = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def through(server: VllmServer, path: str, window: int | None = CONTEXT, **fields: object) -> list[Json]:
    """The lines an Ollama client gets."""
    call, to = ask(path, {"model": "m"} | fields), backend(Kind.VLLM, model=GUIDE, window=window)
    pairing = table.PAIRINGS[path, to.kind.wire]
    outgoing = pairing.request(call, to)
    clock = Ticks()
    timing = Timing(arrived=clock(), sent=clock())
    answer = post(server.port, outgoing.path, outgoing.body)
    assert answer.status == 200, answer.body
    reader = pairing.reader(call, to, timing, clock)
    out = b"".join(reader.feed(part) for part in cut(answer.body, range(0, 1 << 14, 11))) + reader.close()
    assert reader.usage is not None
    assert reader.usage.prompt_tokens > 0
    return [json.loads(line) for line in out.splitlines()]


def test_streamed_and_whole_say_the_same(vllm_generate: VllmServer) -> None:
    """S1.1."""
    streamed = [
        ollama.ChatResponse.model_validate(line)
        for line in through(vllm_generate, "/api/chat", messages=QUESTION, options=GREEDY)
    ]
    [line] = through(vllm_generate, "/api/chat", messages=QUESTION, options=GREEDY, stream=False)
    whole = ollama.ChatResponse.model_validate(line)
    assert "".join(answer.message.content or "" for answer in streamed) == whole.message.content
    assert whole.message.content
    assert streamed[-1].eval_count == whole.eval_count
    assert streamed[-1].done_reason == whole.done_reason == "stop"


@pytest.mark.parametrize("think", [None, True, False, "low", "max"])
def test_every_option_is_taken(vllm_generate: VllmServer, think: object) -> None:
    options = EVERY | {"num_predict": 4}
    answer = through(
        vllm_generate, "/api/chat", messages=QUESTION, options=options, think=think, logprobs=True, top_logprobs=2
    )
    assert answer[-1]["done"]
    assert any(len(line["logprobs"][0]["top_logprobs"]) == 2 for line in answer if "logprobs" in line)


def test_a_history_with_tools(vllm_generate: VllmServer) -> None:
    """S4.5."""
    call = {
        "role": "assistant",
        "content": "",
        "thinking": "hm",
        "tool_calls": [{"function": {"name": "get_weather", "arguments": {"unit": "celsius"}}}],
    }
    history = [*QUESTION, call, {"role": "tool", "tool_name": "get_weather", "content": "sun"}]
    assert through(vllm_generate, "/api/chat", messages=history, tools=[WEATHER], options=GREEDY)[-1]["done"]


def test_a_schema_holds_the_answer(vllm_generate: VllmServer) -> None:
    for path, fields in (("/api/chat", {"messages": QUESTION}), ("/api/generate", {"prompt": "a", "raw": True})):
        [answer] = through(
            vllm_generate, path, format=SCHEMA, options={"temperature": 0, "num_predict": 60}, stream=False, **fields
        )
        text = answer["message"]["content"] if "message" in answer else answer["response"]
        assert text.startswith("{")


@pytest.mark.parametrize("window", [CONTEXT, None])
def test_raw_without_a_limit_is_not_cut_at_sixteen_tokens(vllm_generate: VllmServer, window: int | None) -> None:
    """Silence and null mean 16 to vLLM on this route; a limit of the whole window is cut to what the prompt leaves."""
    options = {"temperature": 1, "seed": 1, "top_k": 0, "top_p": 1}
    [answer] = through(
        vllm_generate, "/api/generate", window, prompt="What is", raw=True, stream=False, options=options
    )
    assert answer["eval_count"] > 16 or answer["done_reason"] == "stop"


def test_a_limit_beyond_the_window(vllm_generate: VllmServer) -> None:
    assert through(vllm_generate, "/api/chat", messages=QUESTION, options={"temperature": 0, "num_predict": 10**6})[-1][
        "done"
    ]


def test_vectors(vllm_pooling: VllmServer) -> None:
    """A text too long is cut, as Ollama cuts it."""
    [answer] = through(vllm_pooling, "/api/embed", input=["a", "word " * 3000], dimensions=4)
    found = ollama.EmbedResponse.model_validate(answer)
    assert [len(vector) for vector in found.embeddings] == [4, 4]
