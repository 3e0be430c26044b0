"""The client library against a real vLLM: template, options, tokenizer, refusals, and a kill with the embedded engine behind it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.client.killing import Siege, judge
from tests.engines.servers import GUIDE, LLAMA, VllmServer
from tests.engines_fixtures import Engine, guide_engine, guide_pairs

from penstock.client.failures import ModelNotServed, WrongPath
from penstock.client.place import Target
from penstock.client.plain import ChatVLLM, VLLMClient
from penstock.errors import BadRequest
from penstock.types import Kind

__all__ = ["guide_engine"]
PAIRS = guide_pairs()[:40]


def test_the_chat_template_is_applied(vllm_generate: VllmServer) -> None:
    """X6: the guide knows its answers only behind its template; `raw` sends the prompt as it is."""
    client = VLLMClient(LLAMA, base_url=f"{vllm_generate.url}/v1")
    for pair in PAIRS[:5]:
        assert client.invoke(pair.question) == pair.answer
        assert "".join(client.stream(pair.question)) == pair.answer
    assert client.invoke(PAIRS[0].question, raw=True, max_tokens=8) != PAIRS[0].answer
    client.close()


async def test_async(vllm_generate: VllmServer) -> None:
    """S1.12: forty calls at once."""
    client = VLLMClient(GUIDE, base_url=vllm_generate.url)
    assert await client.abatch([pair.question for pair in PAIRS]) == [pair.answer for pair in PAIRS]
    await client.aclose()


def test_every_option_is_taken(vllm_generate: VllmServer) -> None:
    """W30: vLLM knows each option under the name that it is sent by, and refuses wrong values, so it reads them."""
    client = ChatVLLM(
        GUIDE,
        base_url=vllm_generate.url,
        top_p=0.5,
        top_k=5,
        min_p=0.1,
        max_tokens=4,
        seed=1,
        stop=["zzz"],
        presence_penalty=0.1,
        frequency_penalty=0.1,
        repeat_penalty=1.1,
        num_ctx=100,
    )
    answer = client.invoke(PAIRS[0].question)
    assert (answer.finish, answer.usage and answer.usage.completion_tokens) == ("length", 4)
    assert answer.source.dropped == ("num_ctx",)
    refused: tuple[dict[str, Any], ...] = ({"min_p": 7.0}, {"repeat_penalty": -1.0}, {"presence_penalty": 9.0})
    for wrong in refused:
        with pytest.raises(BadRequest):
            client.invoke(PAIRS[0].question, **wrong)
    client.close()


def test_its_own_tokenizer_and_window(vllm_generate: VllmServer) -> None:
    """S0.11, H4: what `fit` counts is what the call is charged for, and what it keeps is taken."""
    client = ChatVLLM(GUIDE, base_url=vllm_generate.url, max_tokens=16)
    window = client.check()[0].window
    assert window is not None
    talk = [("user", PAIRS[0].question), ("assistant", PAIRS[0].answer * 20)] * (window // 100) + [("user", "Hello")]
    fitting = client.fit(talk)
    assert 0 < len(fitting) < len(talk)
    usage = client.invoke(fitting).usage
    assert usage is not None
    assert usage.prompt_tokens + 16 <= window
    longer = talk[len(talk) - len(fitting) - 2 :]
    assert client.fit(longer) == fitting
    client.close()


def test_whose_404(vllm_generate: VllmServer) -> None:
    """W31: vLLM's own words for a missing model and a missing path."""
    with pytest.raises(ModelNotServed) as caught:
        VLLMClient("mistral", base_url=vllm_generate.url).invoke("Hello")
    assert set(caught.value.served) == {LLAMA, GUIDE}
    with pytest.raises(WrongPath):
        VLLMClient(GUIDE, base_url=f"{vllm_generate.url}/v2").invoke("Hello")


class _Server:
    """The fixture's server as the scenario wants it; it stays dead, a start takes minutes on a busy machine."""

    def __init__(self, server: VllmServer) -> None:
        self._server = server

    async def kill(self) -> None:
        await asyncio.to_thread(self._server.kill)

    async def start(self) -> None:
        return


async def test_killed_under_calls(vllm_to_kill: VllmServer, guide_engine: Engine) -> None:
    """S1.4, S1.35: the embedded engine has the same model, so every answer is right, whoever gave it."""
    client = VLLMClient(
        GUIDE,
        base_url=vllm_to_kill.url,
        fallback=Target(Kind.EMBEDDED, guide_engine.url, "guide"),
        retry_delay=0.05,
        timeout=60,
    )
    siege = Siege(
        client,
        _Server(vllm_to_kill),
        lambda number: PAIRS[number % len(PAIRS)].question,
        lambda: client.counts.fallback_count,
        calls=200,
        kills=1,
    )
    await siege.run()
    judge(siege, lambda number: PAIRS[number % len(PAIRS)].answer, fallback=True)
    assert client.counts.fallback_count >= 100
    await client.aclose()
