"""Engines that are up and do not answer: asleep, without one of their models, or mute to a whole request."""

from __future__ import annotations

from tests.fakes.gateway import StartGateway
from tests.fakes.raw import Raw, once

from penstock.faults.condition import Gauges, Model, metrics
from penstock.faults.engine import Engine
from penstock.faults.script import Script
from penstock.gateway.probe import Load, vllm_load

BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def test_an_engine_says_that_it_sleeps() -> None:
    assert vllm_load(metrics(Gauges(), "m", 0, 0, 0, 0, asleep=True)).asleep is True
    assert vllm_load(metrics(Gauges(), "m", 0, 0, 0, 0, asleep=False)).asleep is False
    assert vllm_load(b"vllm:num_requests_running 3\n") == Load(running=3.0)


async def test_a_whole_answer_that_does_not_come_is_asked_of_another(gateway: StartGateway) -> None:
    """A request without a stream shows no first token, so it has a limit of its own."""
    async with Engine(["m"], script=Script(silent=True)) as first, Engine(["m"]) as second:
        targets = [{"backends": [name], "model": "m"} for name in ("first", "second")]
        running = await gateway(
            {
                "backends": {
                    "first": {"kind": "vllm", "url": first.url},
                    "second": {"kind": "vllm", "url": second.url},
                },
                "aliases": {"m": {"targets": targets, "whole": "300ms", "total": "20s"}},
            }
        )
        answer = await once(running.url, "/v1/chat/completions", BODY)
        assert answer.status == 200
        assert answer.header("x-penstock-fallback") == "timeout"
        await first.aborted(1)


async def test_a_lost_adapter_takes_nothing_else_with_it(gateway: StartGateway) -> None:
    async with Engine(["m", "lora"]) as first, Engine(["m", "lora"]) as second:
        running = await gateway(
            {
                "backends": {
                    "first": {"kind": "vllm", "url": first.url, "probe": "60s"},
                    "second": {"kind": "vllm", "url": second.url, "probe": "60s"},
                },
                "aliases": {
                    "m": {"targets": [{"backends": ["first"], "model": "m"}, {"backends": ["second"], "model": "m"}]},
                    "lora": {"targets": [{"backends": ["first", "second"], "model": "lora"}]},
                },
            }
        )
        first.models = {"m": Model("m")}
        for _ in range(4):
            answer = await once(running.url, "/v1/chat/completions", {**BODY, "model": "lora"})
            assert (answer.status, answer.header("x-penstock-backend")) == (200, "second")
        answer = await once(running.url, "/v1/chat/completions", BODY)
        assert (answer.status, answer.header("x-penstock-backend")) == (200, "first")


async def test_an_engine_too_busy_to_say_what_it_serves_ends_what_it_has_begun(gateway: StartGateway) -> None:
    """A look at it takes too long, so it counts as down; its connections are left alone, and nobody else is asked."""
    async with Engine(["m"], script=Script(count=8)) as first, Engine(["m"]) as second:
        running = await gateway(
            {
                "backends": {
                    "first": {"kind": "vllm", "url": first.url, "probe": "100ms"},
                    "second": {"kind": "vllm", "url": second.url, "probe": "60s"},
                },
                "aliases": {
                    "m": {"targets": [{"backends": [name], "model": "m"} for name in ("first", "second")]},
                },
            }
        )
        gate = first.hold(before=4)
        async with Raw(running.url) as streamed, Raw(running.url) as whole:
            streamed.ask("/v1/chat/completions", {**BODY, "stream": True})
            whole.ask("/v1/chat/completions", BODY)
            await streamed.until(b'"content":')
            await first.until(lambda: len(first.requests) == 2, "both requests")
            first.mute.add("/v1/models")
            await running.until("/stats", lambda page: page["backends"]["first"]["state"] == "down")
            gate.open()
            answers = [await one.answer() for one in (streamed, whole)]
        assert [(one.status, one.header("x-penstock-backend")) for one in answers] == [(200, "first")] * 2
        assert answers[0].events[-1] == b"data: [DONE]"
        assert b'"error"' not in answers[0].body
        assert not second.requests
