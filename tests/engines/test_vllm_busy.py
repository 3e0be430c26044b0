"""A vLLM that stands still for longer than a look at it may take, as a busy machine can make it."""

from __future__ import annotations

from tests.engines.asking import Answer, chat
from tests.engines.servers import LLAMA, VllmServer
from tests.fakes.gateway import StartGateway
from tests.fakes.raw import Raw, once

CHAT = "/v1/chat/completions"


async def test_what_has_begun_ends_as_if_nothing_had_happened(vllm_generate: VllmServer, gateway: StartGateway) -> None:
    """The backend counts as down meanwhile; its connections are left alone, and the answer is the one that it always gives."""
    running = await gateway(
        {
            "backends": {"gpu": {"kind": "vllm", "url": vllm_generate.url, "probe": "100ms"}},
            "aliases": {"m": {"targets": [{"backends": ["gpu"], "model": LLAMA}]}},
        }
    )
    await running.until("/ready", lambda page: page["status"] == "ready")
    asked = chat("Write a long story about a drop of water.", model="m", max_tokens=200, ignore_eos=True)
    expected = (await once(running.url, CHAT, asked)).json()["choices"][0]["message"]["content"]
    async with Raw(running.url) as streamed, Raw(running.url) as whole:
        streamed.ask(CHAT, {**asked, "stream": True})
        whole.ask(CHAT, asked)
        await streamed.times(b'"content":"', 5)
        with vllm_generate.standing_still():
            await running.until("/stats", lambda page: page["backends"]["gpu"]["state"] == "down")
            assert b"[DONE]" not in streamed.received
        answers = [await one.answer() for one in (streamed, whole)]
    assert [(one.status, one.complete) for one in answers] == [(200, True)] * 2
    events = Answer(200, {}, answers[0].body).chunks
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in events) == expected
    assert answers[1].json()["choices"][0]["message"]["content"] == expected
    await running.until("/ready", lambda page: page["status"] == "ready")
