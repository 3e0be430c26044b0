"""OpenAI's vectors told as Ollama's."""

from __future__ import annotations

import json
import math

import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocols.ollama_wire import CUTS, Json, backend, read_all, reader

from penstock.errors import BrokenAnswer, EngineRefused, EngineTimeout
from penstock.types import Usage

EMBED: Json = {"model": "m", "input": ["a", "b"]}


def told(data: bytes, body: Json = EMBED, path: str = "/api/embed", cuts: tuple[int, ...] = ()) -> bytes:
    return read_all(reader(path, body, backend())[0], data, cuts)


def answer(*vectors: object, **more: object) -> bytes:
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    return json.dumps({"object": "list", "model": "e", "data": data, "usage": {"prompt_tokens": 5}} | more).encode()


@given(st.lists(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=4), min_size=2, max_size=2), CUTS)
def test_numbers_pass_as_they_are(vectors: list[list[float]], cuts: list[int]) -> None:
    watcher, timing = reader("/api/embed", EMBED, backend())
    found = ollama.EmbedResponse.model_validate_json(read_all(watcher, answer(*vectors), cuts))
    assert [list(vector) for vector in found.embeddings] == vectors
    assert (found.model, found.prompt_eval_count) == ("engine-model", 5)
    assert found.total_duration is not None
    assert found.load_duration == 1_000_000_000
    assert (watcher.usage, watcher.finished, watcher.content, watcher.model) == (Usage(5, 0), True, True, "e")
    assert timing.first


def test_the_order_is_the_texts() -> None:
    """X13: a vector under another text's name would be silently wrong."""
    data = b'{"data":[{"index":1,"embedding":[2.50]},{"index":0,"embedding":[1e-3]}]}'
    assert b'"embeddings":[[1e-3],[2.50]]' in told(data)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"{}",
        answer([1.0]),
        answer([1.0], [2.0], [3.0]),
        answer([1.0], "AAAA"),
        answer([1.0], ["x"]),
        answer([1.0], None),
        b'{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}',
        b'{"data":[{"index":0,"embedding":[1]},{"index":2,"embedding":[1]}]}',
    ],
)
def test_a_vector_too_few_or_too_many_is_broken(data: bytes) -> None:
    """S1.35, X13."""
    with pytest.raises(BrokenAnswer):
        told(data)


def test_an_error_is_the_engines() -> None:
    with pytest.raises(EngineRefused, match="too long"):
        told(b'{"error":{"message":"too long"}}')


def test_dimensions_cut_and_scale() -> None:
    found = json.loads(told(answer([3.0, 4.0, 12.0], [0.0, 0.0, 1.0]), EMBED | {"dimensions": 2}))["embeddings"]
    assert found[0] == pytest.approx([0.6, 0.8])
    assert found[1] == [0.0, 0.0]
    assert math.fsum(number * number for number in found[0]) == pytest.approx(1.0)
    assert json.loads(told(answer([3.0], [4.0]), EMBED | {"dimensions": 2}))["embeddings"] == [[3.0], [4.0]]


def test_the_older_route() -> None:
    data = answer([0.5, -0.25])
    found = ollama.EmbeddingsResponse.model_validate_json(told(data, {"model": "m", "prompt": "a"}, "/api/embeddings"))
    assert list(found.embedding) == [0.5, -0.25]
    with pytest.raises(BrokenAnswer):
        told(answer([1.0], [2.0]), {"model": "m", "prompt": "a"}, "/api/embeddings")


def test_a_fault_is_an_ollama_error() -> None:
    for path, body in (("/api/embed", EMBED), ("/api/embeddings", {"model": "m", "prompt": "a"})):
        watcher, _ = reader(path, body, backend())
        assert json.loads(watcher.fault(EngineTimeout("late"))) == {"error": "late"}
        assert watcher.content_type == "application/json; charset=utf-8"
