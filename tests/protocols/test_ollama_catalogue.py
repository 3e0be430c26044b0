"""What Ollama's clients ask about models, read with the official client's own types."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocols import ollama_catalogue
from penstock.protocols.ollama_catalogue import Listed
from penstock.types import Kind

LLAMA = Listed(
    name="llama3.1",
    model="meta-llama/Meta-Llama-3.1-8B-Instruct",
    kind=Kind.VLLM,
    context_length=131072,
    embedding_length=4096,
    parameter_count=8_030_261_248,
    capabilities=("completion", "tools"),
    family="llama",
    quantization="BF16",
    size=16_060_556_376,
    digest="ab" * 32,
    modified=1_700_000_000_500_000_000,
)
BARE = Listed(name="x", model="x", kind=Kind.OPENAI)


def test_tags() -> None:
    """S1.1: langchain_ollama wants `model` to be the name or begin with `name:`."""
    answer = ollama.ListResponse.model_validate_json(ollama_catalogue.tags([LLAMA, BARE]))
    first, second = answer.models
    assert (first.model, second.model) == ("llama3.1:latest", "x:latest")
    assert first.modified_at == datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC)
    assert first.size == 16_060_556_376
    assert first.digest == "ab" * 32
    assert first.details is not None
    assert (first.details.parameter_size, first.details.quantization_level, first.details.families) == (
        "8.0B",
        "BF16",
        ["llama"],
    )
    row = json.loads(ollama_catalogue.tags([LLAMA]))["models"][0]
    assert row["name"] == row["model"]
    assert row["capabilities"] == ["completion", "tools"]
    assert row["details"]["context_length"] == 131072
    assert second.digest is not None
    assert len(second.digest) == 64


def test_show() -> None:
    answer = ollama.ShowResponse.model_validate_json(ollama_catalogue.show(LLAMA))
    assert answer.modelinfo is not None
    assert answer.modelinfo["general.architecture"] == "llama"
    assert answer.modelinfo["llama.context_length"] == 131072
    assert answer.modelinfo["llama.embedding_length"] == 4096
    assert answer.modelinfo["general.parameter_count"] == 8_030_261_248
    assert answer.capabilities == ["completion", "tools"]
    assert answer.modelfile is not None
    assert "FROM meta-llama/Meta-Llama-3.1-8B-Instruct" in answer.modelfile


def test_ps() -> None:
    answer = ollama.ProcessResponse.model_validate_json(ollama_catalogue.ps([LLAMA, BARE]))
    loaded = answer.models[0]
    assert (loaded.name, loaded.model, loaded.context_length) == ("llama3.1:latest", "llama3.1:latest", 131072)
    assert loaded.size == loaded.size_vram == 16_060_556_376
    assert loaded.expires_at is not None
    assert loaded.expires_at.year > 2300


def test_version() -> None:
    assert json.loads(ollama_catalogue.version("0.12.3")) == {"version": "0.12.3"}


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""),
        (0, ""),
        (12, "12"),
        (1_500, "2K"),
        (2_760_000, "2.76M"),
        (3_000_000, "3M"),
        (8_000_000_000, "8B"),
        (70_553_706_496, "70.6B"),
    ],
)
def test_parameters_are_counted_as_ollama_counts_them(count: int | None, text: str) -> None:
    assert ollama_catalogue.parameter_size(count) == text


@given(
    st.builds(
        Listed,
        name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
        model=st.text(st.characters(codec="utf-8"), max_size=8),
        kind=st.sampled_from(list(Kind)),
        context_length=st.none() | st.integers(1, 10**7),
        embedding_length=st.none() | st.integers(1, 10**5),
        parameter_count=st.none() | st.integers(0, 10**13),
        capabilities=st.lists(st.sampled_from(["completion", "tools", "embedding"])).map(tuple),
        family=st.text(st.characters(codec="utf-8"), max_size=4),
        size=st.integers(0, 10**13),
        modified=st.integers(0, 4 * 10**18),
    )
)
def test_whatever_is_known_the_official_client_can_read_it(model: Listed) -> None:
    """`model_info` is never absent: the official client has no default for it."""
    assert ollama.ListResponse.model_validate_json(ollama_catalogue.tags([model])).models[0].digest
    assert ollama.ShowResponse.model_validate_json(ollama_catalogue.show(model)).modelinfo
    assert ollama.ProcessResponse.model_validate_json(ollama_catalogue.ps([model])).models[0].expires_at


def test_digests_tell_models_apart_and_stay() -> None:
    other = Listed(name="x", model="y", kind=Kind.OPENAI)
    assert ollama_catalogue.digest(BARE) != ollama_catalogue.digest(other)
    assert ollama_catalogue.digest(BARE) == ollama_catalogue.digest(Listed(name="other", model="x", kind=Kind.OPENAI))
