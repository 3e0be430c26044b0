"""Ollama's options in each engine's words; what cannot be said is named."""

from __future__ import annotations

import pytest
from tests.protocols.ollama_wire import Json, backend, write

from penstock.types import Kind

EVERY = {
    "num_keep": 5, "seed": 42, "num_predict": 100, "top_k": 20, "top_p": 0.5, "min_p": 0.1, "typical_p": 0.7,
    "repeat_last_n": 33, "temperature": 0.2, "repeat_penalty": 1.2, "presence_penalty": 1.5, "frequency_penalty": 0.5,
    "mirostat": 1, "mirostat_tau": 0.8, "mirostat_eta": 0.6, "penalize_newline": True, "stop": ["\n", "user:"],
    "numa": False, "num_ctx": 1024, "num_batch": 2, "num_gpu": 1, "main_gpu": 0, "use_mmap": True, "num_thread": 8,
    "tfs_z": 0.5,
}  # fmt: skip
"""All that Ollama's own documentation shows in one request, and the one that went away."""
RUNNER = {"penalize_newline", "numa", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "tfs_z"}
NOT_SAMPLING = {"model", "messages", "stream", "stream_options"}


def sampled(options: Json | None, kind: Kind, **to: object) -> tuple[Json, set[str]]:
    """The sampling part of the request, and what was dropped."""
    body: Json = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "options": options}
    written, outgoing = write("/api/chat", body, backend(kind, **to))
    return {name: value for name, value in written.items() if name not in NOT_SAMPLING}, set(outgoing.dropped)


COMMON = {
    "max_tokens": 100, "temperature": 0.2, "top_p": 0.5, "presence_penalty": 1.5, "frequency_penalty": 0.5, "seed": 42,
    "stop": ["\n", "user:"],
}  # fmt: skip


def test_vllm() -> None:
    said, dropped = sampled(EVERY, Kind.VLLM, window=4096)
    assert said == COMMON | {"top_k": 20, "min_p": 0.1, "repetition_penalty": 1.2}
    assert dropped == RUNNER | {"num_keep", "typical_p", "repeat_last_n", "mirostat", "mirostat_tau", "mirostat_eta"}


def test_llama_cpp_takes_nearly_all_of_them() -> None:
    said, dropped = sampled(EVERY, Kind.EMBEDDED, window=4096)
    assert said == COMMON | {
        "top_k": 20, "min_p": 0.1, "repeat_penalty": 1.2, "typical_p": 0.7, "repeat_last_n": 33, "mirostat": 1,
        "mirostat_tau": 0.8, "mirostat_eta": 0.6, "n_keep": 5,
    }  # fmt: skip
    assert dropped == RUNNER


def test_any_openai_server_is_told_what_openai_knows() -> None:
    said, dropped = sampled(EVERY, Kind.OPENAI, window=4096)
    assert said == COMMON
    assert dropped == RUNNER | {
        "num_keep", "top_k", "min_p", "typical_p", "repeat_last_n", "repeat_penalty", "mirostat", "mirostat_tau",
        "mirostat_eta",
    }  # fmt: skip


def test_ollamas_defaults_where_the_client_gave_none() -> None:
    assert sampled(None, Kind.VLLM) == (
        {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repetition_penalty": 1.0},
        set(),
    )
    assert sampled({}, Kind.EMBEDDED)[0] == {
        "temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repeat_penalty": 1.0,
    }  # fmt: skip
    assert sampled(None, Kind.OPENAI) == ({"temperature": 0.8, "top_p": 0.9}, set())
    assert sampled({"temperature": 0, "top_k": None}, Kind.VLLM)[0]["temperature"] == 0


@pytest.mark.parametrize("kind", [Kind.VLLM, Kind.EMBEDDED, Kind.OPENAI])
def test_the_engines_own_defaults_when_so_configured(kind: Kind) -> None:
    assert sampled({"seed": 7}, kind, ollama_defaults=False) == ({"seed": 7}, set())


@pytest.mark.parametrize("value", [-1, -2, 0])
def test_no_limit_is_said_by_silence(value: int) -> None:
    assert "max_tokens" not in sampled({"num_predict": value}, Kind.VLLM)[0]


def test_one_token_is_a_limit() -> None:
    assert sampled({"num_predict": 1}, Kind.VLLM)[0]["max_tokens"] == 1
    assert "max_tokens" not in sampled({"num_predict": 0.5}, Kind.VLLM)[0]


def test_a_limit_beyond_the_window_is_the_window() -> None:
    """Ollama stops where the context ends; vLLM would refuse the request."""
    assert sampled({"num_predict": 9000}, Kind.VLLM, window=4096)[0]["max_tokens"] == 4096
    assert sampled({"num_predict": 90}, Kind.VLLM, window=4096)[0]["max_tokens"] == 90


def test_a_seed_of_minus_one_is_the_engines_choice() -> None:
    assert sampled({"seed": -1}, Kind.VLLM, ollama_defaults=False) == ({}, set())
    assert sampled({"seed": 0}, Kind.VLLM, ollama_defaults=False) == ({"seed": 0}, set())


def test_go_takes_a_float_for_an_integer() -> None:
    said, _ = sampled({"top_k": 40.0, "num_predict": 12.0, "seed": 3.0}, Kind.VLLM, ollama_defaults=False)
    assert said == {"top_k": 40, "max_tokens": 12, "seed": 3}
    assert all(isinstance(value, int) for value in said.values())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"top_k": 0}, {"top_k": 0}),
        ({"top_k": -1}, {"top_k": 0}),
        ({"top_p": 0}, {"top_p": 1e-6}),
        ({"top_p": 1.5}, {"top_p": 1.0}),
    ],
)
def test_values_that_vllm_would_refuse_keep_their_meaning(given: Json, said: Json) -> None:
    assert sampled(given, Kind.VLLM, ollama_defaults=False)[0] == said


@pytest.mark.parametrize(("window", "dropped"), [(8192, set()), (8191, {"num_ctx"}), (None, {"num_ctx"})])
def test_a_context_that_fits_the_window_is_honoured(window: int | None, dropped: set[str]) -> None:
    assert sampled({"num_ctx": 8192}, Kind.VLLM, ollama_defaults=False, window=window) == ({}, dropped)


def test_names_we_never_heard_of_are_named_and_nulls_are_not() -> None:
    """langchain_ollama strips nulls, others do not."""
    options = {"num_gpu": None, "warp": 9, "temperature": None}
    assert sampled(options, Kind.VLLM, ollama_defaults=False) == ({}, {"warp"})
