"""A client that leaves a vLLM: the engine stops working on its request, streamed or not."""

from __future__ import annotations

import http.client
import json
import time

import pytest
from tests.engines.asking import chat, get
from tests.engines.servers import GUIDE, VllmServer

WITHIN = 20.0
# Long enough not to end by itself while the test looks.
TOKENS = 2000
LONG = chat("Hello", model=GUIDE, max_tokens=TOKENS, ignore_eos=True)


def metric(server: VllmServer, name: str) -> float:
    lines = get(server.port, "/metrics").body.decode().splitlines()
    return sum(float(line.split(" ")[-1]) for line in lines if line.startswith(f"{name}{{"))


def becomes(server: VllmServer, running: float) -> bool:
    """Whether the engine comes to work on so many requests in time."""
    deadline = time.monotonic() + WITHIN
    while metric(server, "vllm:num_requests_running") != running:
        if time.monotonic() > deadline:
            return False
    return True


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_ends_the_request(vllm_generate: VllmServer, stream: bool) -> None:  # noqa: FBT001 — a parameter of the request
    """It is dropped from the counters too: vLLM 0.32 counts it neither as finished nor under finished_reason="abort"."""
    made, finished = (
        metric(vllm_generate, "vllm:generation_tokens_total"),
        metric(vllm_generate, "vllm:request_success_total"),
    )
    connection = http.client.HTTPConnection("127.0.0.1", vllm_generate.port, timeout=WITHIN)
    body = json.dumps({**LONG, "stream": stream})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    assert becomes(vllm_generate, 1)
    connection.close()
    assert becomes(vllm_generate, 0)
    assert metric(vllm_generate, "vllm:generation_tokens_total") - made < TOKENS
    assert metric(vllm_generate, "vllm:request_success_total") == finished
