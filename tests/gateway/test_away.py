"""Engines that are up and do not answer: asleep, without one of their models, or mute to a whole request."""

from __future__ import annotations

from tests.fakes.gateway import StartGateway
from tests.fakes.raw import once

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
