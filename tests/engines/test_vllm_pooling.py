"""A pooling vLLM, without the gateway: embeddings, scores and ranks of the model that the other server chats with."""

from __future__ import annotations

import base64
import math
import struct

from tests.engines.asking import Json, post
from tests.engines.servers import EMBED, GUIDE, VllmServer

EMBEDDINGS = "/v1/embeddings"


def embeddings(server: VllmServer, **fields: object) -> Json:
    answer = post(server.port, EMBEDDINGS, {"model": GUIDE, **fields})
    assert answer.status == 200
    return answer.json


def test_embeddings_of_one_text_and_of_several(vllm_pooling: VllmServer) -> None:
    one = embeddings(vllm_pooling, input="Hello")
    assert (one["object"], one["model"]) == ("list", EMBED)
    several = embeddings(vllm_pooling, input=["Hello", "there"])
    assert [entry["index"] for entry in several["data"]] == [0, 1]
    assert math.dist(several["data"][0]["embedding"], one["data"][0]["embedding"]) < 1e-4


def test_embeddings_have_length_one(vllm_pooling: VllmServer) -> None:
    vector = embeddings(vllm_pooling, input="Hello")["data"][0]["embedding"]
    assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-4)


def test_embeddings_in_base64_are_little_endian_floats(vllm_pooling: VllmServer) -> None:
    """What the official client asks for unless told otherwise."""
    numbers = embeddings(vllm_pooling, input="Hello")["data"][0]["embedding"]
    packed = base64.b64decode(embeddings(vllm_pooling, input="Hello", encoding_format="base64")["data"][0]["embedding"])
    assert math.dist(struct.unpack(f"<{len(numbers)}f", packed), numbers) < 1e-4


def test_embeddings_of_tokens(vllm_pooling: VllmServer) -> None:
    tokens = post(vllm_pooling.port, "/tokenize", {"model": GUIDE, "prompt": "Hello"}).json["tokens"]
    of_tokens = embeddings(vllm_pooling, input=[tokens])
    assert of_tokens["usage"]["prompt_tokens"] == len(tokens)
    assert (
        math.dist(of_tokens["data"][0]["embedding"], embeddings(vllm_pooling, input="Hello")["data"][0]["embedding"])
        < 1e-4
    )


def test_score_and_rerank(vllm_pooling: VllmServer) -> None:
    scored = post(vllm_pooling.port, "/score", {"model": GUIDE, "text_1": "Hello", "text_2": ["Hello", "there"]}).json
    scores = [entry["score"] for entry in scored["data"]]
    assert math.isclose(scores[0], 1, abs_tol=1e-4)
    assert scores[1] < scores[0]
    ranked = post(
        vllm_pooling.port, "/v1/rerank", {"model": GUIDE, "query": "Hello", "documents": ["there", "Hello"]}
    ).json
    assert [entry["index"] for entry in ranked["results"]] == [1, 0]
