"""Ollama's vectors told as OpenAI's."""

from __future__ import annotations

import base64
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse
from tests.protocols.ollama_wire import CUTS, Json, backend, read_all, reader

from penstock.errors import BrokenAnswer, EngineRefused, EngineTimeout
from penstock.types import Kind, Usage

BODY: Json = {"model": "m", "input": ["a", "b"]}
VECTORS = st.lists(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=5), min_size=2, max_size=2)


def told(data: bytes, **more: object) -> bytes:
    return read_all(reader("/v1/embeddings", BODY | more, backend(Kind.OLLAMA))[0], data)


@given(VECTORS, CUTS)
def test_numbers_pass_as_they_are(vectors: list[list[float]], cuts: list[int]) -> None:
    watcher, timing = reader("/v1/embeddings", BODY, backend(Kind.OLLAMA))
    data = json.dumps({"model": "e", "embeddings": vectors, "prompt_eval_count": 4}).encode()
    answer = CreateEmbeddingResponse.model_validate_json(read_all(watcher, data, cuts))
    assert [item.embedding for item in answer.data] == vectors
    assert [item.index for item in answer.data] == [0, 1]
    assert (answer.model, answer.object) == ("engine-model", "list")
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (4, 4)
    assert (watcher.usage, watcher.finished, watcher.content, watcher.model) == (Usage(4, 0), True, True, "e")
    assert timing.first


@given(VECTORS)
def test_base64_is_what_openais_client_unpacks(vectors: list[list[float]]) -> None:
    """The official client asks for base64 by itself and reads little-endian floats."""
    data = json.dumps({"embeddings": vectors}).encode()
    answer = json.loads(told(data, encoding_format="base64"))
    for item, vector in zip(answer["data"], vectors, strict=True):
        raw = base64.b64decode(item["embedding"], validate=True)
        assert list(struct.unpack(f"<{len(vector)}f", raw)) == vector


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{}",
        b'{"embeddings":[[1]]}',
        b'{"embeddings":[[1],[2],[3]]}',
        b'{"embeddings":[[1],["x"]]}',
        b'{"embeddings":[[1],null]}',
    ],
)
def test_a_vector_too_few_or_too_many_is_broken(data: bytes) -> None:
    """S1.35, X13."""
    with pytest.raises(BrokenAnswer):
        told(data)


def test_errors() -> None:
    with pytest.raises(EngineRefused, match="exceeds the context length"):
        told(b'{"error":"the input length exceeds the context length"}')
    watcher, _ = reader("/v1/embeddings", BODY, backend(Kind.OLLAMA))
    assert json.loads(watcher.fault(EngineTimeout("late")))["error"]["message"] == "late"
