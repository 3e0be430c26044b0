"""How vLLM says no, without the gateway: status, words and shape of each refusal that the gateway recognises or passes on."""

from __future__ import annotations

import pytest
from tests.engines.asking import Json, chat, get, post
from tests.engines.servers import EMBED, GUIDE, LLAMA, VllmServer

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
CONTEXT = 2048
TOO_LONG = "a " * (2 * CONTEXT)


def refusal(server: VllmServer, path: str, body: Json | bytes) -> tuple[int, Json]:
    """The status, and the error after a look at its shape."""
    answer = post(server.port, path, body)
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == {"error"}
    error: Json = answer.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == answer.status
    return answer.status, error


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_unknown_model(vllm_generate: VllmServer, path: str) -> None:
    status, error = refusal(vllm_generate, path, {"model": "nope", "messages": [], "prompt": "Hello"})
    assert status == 404
    assert error["message"] == f"The model `nope` does not exist. Valid aliases: {LLAMA}, {GUIDE}."
    assert (error["type"], error["param"]) == ("NotFoundError", "model")


def test_unknown_model_of_a_pooling_server(vllm_pooling: VllmServer) -> None:
    """Here the names are not listed, and `param` is null."""
    status, error = refusal(vllm_pooling, EMBEDDINGS, {"model": "nope", "input": "Hello"})
    assert (status, error["message"], error["param"]) == (404, "The model `nope` does not exist.", None)


def test_a_route_that_this_server_lacks(vllm_generate: VllmServer, vllm_pooling: VllmServer) -> None:
    """Not in the shape of OpenAI's errors, and told from an unknown model only by that."""
    for server, path in ((vllm_generate, EMBEDDINGS), (vllm_pooling, CHAT), (vllm_generate, "/v1/nothing")):
        answer = post(server.port, path, chat("Hello", model=GUIDE))
        assert (answer.status, answer.json) == (404, {"detail": "Not Found"})
    wrong_method = get(vllm_generate.port, CHAT)
    assert (wrong_method.status, wrong_method.json) == (405, {"detail": "Method Not Allowed"})


@pytest.mark.parametrize("stream", [False, True])
def test_context_too_long(vllm_generate: VllmServer, stream: bool) -> None:  # noqa: FBT001 — a parameter of the request
    status, error = refusal(vllm_generate, CHAT, chat(TOO_LONG, model=GUIDE, stream=stream))
    assert (status, error["type"], error["param"]) == (400, "BadRequestError", "input_tokens")
    assert error["message"].startswith(
        f"This model's maximum context length is {CONTEXT} tokens. However, your prompt contains at least "
    )


def test_context_too_long_for_completions_and_embeddings(vllm_generate: VllmServer, vllm_pooling: VllmServer) -> None:
    for server, path, field in ((vllm_generate, COMPLETIONS, "prompt"), (vllm_pooling, EMBEDDINGS, "input")):
        status, error = refusal(server, path, {"model": GUIDE, field: TOO_LONG})
        assert (status, error["param"]) == (400, "input_tokens")


def test_more_tokens_asked_for_than_the_context_holds(vllm_generate: VllmServer) -> None:
    status, error = refusal(vllm_generate, CHAT, chat("Hello", model=GUIDE, max_tokens=CONTEXT + 1))
    assert (status, error["param"]) == (400, "max_tokens")
    assert error["message"].startswith(f"max_tokens={CONTEXT + 1} cannot be greater than max_model_len={CONTEXT}.")


def test_a_limit_that_only_does_not_fit_beside_the_prompt_is_cut(vllm_generate: VllmServer) -> None:
    assert post(vllm_generate.port, CHAT, chat("Hello", model=GUIDE, max_tokens=CONTEXT)).status == 200


@pytest.mark.parametrize(
    ("body", "param", "kind"),
    [
        (chat("Hello", temperature="warm"), "body.temperature", "float_parsing"),
        (chat("Hello", model=5), "body.model", "string_type"),
        ({"messages": "Hello"}, "body.messages", "list_type"),
        ({"model": GUIDE}, "body.messages", "missing"),
        (b"[1]", "body", "model_attributes_type"),
        (b'{"model": ', "body.10", "json_invalid"),
    ],
    ids=["temperature", "model", "messages", "nothing", "list", "json"],
)
def test_wrong_types(vllm_generate: VllmServer, body: Json | bytes, param: str, kind: str) -> None:
    """Status 400, where FastAPI alone would say 422; `type` is in two words here and in one where vLLM itself refuses."""
    status, error = refusal(vllm_generate, CHAT, body)
    assert (status, error["type"], error["param"]) == (400, "Bad Request", param)
    assert f"'type': '{kind}'" in error["message"]


def test_values_out_of_range(vllm_generate: VllmServer) -> None:
    status, error = refusal(vllm_generate, CHAT, chat("Hello", model=GUIDE, temperature=-1))
    assert (status, error["type"], error["param"]) == (400, "BadRequestError", "temperature")


def test_an_empty_cache_salt_is_refused(vllm_generate: VllmServer) -> None:
    status, error = refusal(vllm_generate, CHAT, chat("Hello", model=GUIDE, cache_salt=""))
    assert (status, error["param"]) == (400, "cache_salt")


def test_embeddings_keep_their_size(vllm_pooling: VllmServer) -> None:
    status, error = refusal(vllm_pooling, EMBEDDINGS, {"model": GUIDE, "input": "Hello", "dimensions": 8})
    assert status == 400
    assert error["message"].startswith(f"Model '{EMBED}' does not support Matryoshka embeddings")
