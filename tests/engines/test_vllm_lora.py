"""Adapters that vLLM loads while it runs, and that a request without an adapter is computed without one."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.engines.asking import Json, chat, get, post
from tests.engines.servers import GUIDE, LLAMA, VllmServer

ADAPTER = "tilted"
RANK = 8
TOGETHER = 8
QUESTIONS = ("What is Penstock?", "What is a backend?", "What is a receipt?", "What is an alias?")


@pytest.fixture(scope="module")
def adapter(guide: Path, vllm_lora: VllmServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An adapter that changes every answer, loaded into the only slot there is."""
    folder = write_adapter(guide, tmp_path_factory.mktemp("adapter"))
    loaded = post(vllm_lora.port, "/v1/load_lora_adapter", {"lora_name": ADAPTER, "lora_path": str(folder)})
    assert loaded.status == 200, loaded.body
    return ADAPTER


def write_adapter(guide: Path, folder: Path) -> Path:
    """Seeded random weights on the query projections, in the files that PEFT writes."""
    shape = json.loads((guide / "config.json").read_text())
    width, heads = shape["hidden_size"], shape["num_attention_heads"] * shape["head_dim"]
    chance = np.random.default_rng(1)
    tensors = {}
    for layer in range(shape["num_hidden_layers"]):
        place = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{place}.lora_A.weight"] = chance.normal(0, 1, (RANK, width)).astype(np.float32)
        tensors[f"{place}.lora_B.weight"] = chance.normal(0, 1, (heads, RANK)).astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": RANK,
        "target_modules": ["q_proj"],
    }
    (folder / "adapter_config.json").write_text(
        json.dumps({**described, "bias": "none", "base_model_name_or_path": GUIDE})
    )
    return folder


def answer(server: VllmServer, model: str, question: str) -> str:
    reply = post(server.port, "/v1/chat/completions", chat(question, model=model, max_tokens=24))
    assert reply.status == 200, reply.body
    return str(reply.json["choices"][0]["message"]["content"])


def test_a_loaded_adapter_is_listed_with_its_parent(vllm_lora: VllmServer, adapter: str) -> None:
    entries: list[Json] = get(vllm_lora.port, "/v1/models").json["data"]
    assert {entry["id"]: entry["parent"] for entry in entries} == {LLAMA: None, GUIDE: None, adapter: LLAMA}


def test_an_adapter_answers_under_its_own_name(vllm_lora: VllmServer, adapter: str) -> None:
    assert post(vllm_lora.port, "/v1/chat/completions", chat("Hello", model=adapter)).json["model"] == adapter


def test_the_base_model_beside_an_adapter_answers_as_if_alone(vllm_lora: VllmServer, adapter: str) -> None:
    """The repair in engine/versions: with it left out (VLLM_PLUGINS=none) this test fails."""
    alone = {question: answer(vllm_lora, GUIDE, question) for question in QUESTIONS}
    tilted = {question: answer(vllm_lora, adapter, question) for question in QUESTIONS}
    assert all(alone[question] != tilted[question] for question in QUESTIONS)
    asked = [(model, question) for question in QUESTIONS * (TOGETHER // len(QUESTIONS)) for model in (GUIDE, adapter)]
    with ThreadPoolExecutor(len(asked)) as threads:
        together = list(threads.map(lambda one: answer(vllm_lora, *one), asked))
    assert [text for (model, _), text in zip(asked, together, strict=True) if model == GUIDE] == [
        alone[question] for model, question in asked if model == GUIDE
    ]


def test_the_same_adapter_is_not_loaded_twice(vllm_lora: VllmServer, adapter: str) -> None:
    again = post(vllm_lora.port, "/v1/load_lora_adapter", {"lora_name": adapter, "lora_path": "/nowhere"})
    assert again.status == 400
    assert "has already been loaded" in again.json["error"]["message"]


def test_an_adapter_that_is_not_there(vllm_lora: VllmServer) -> None:
    missing = post(vllm_lora.port, "/v1/load_lora_adapter", {"lora_name": "absent", "lora_path": "/nowhere"})
    assert missing.status == 404


def test_an_unloaded_adapter_is_unknown(vllm_lora: VllmServer, guide: Path, tmp_path: Path) -> None:
    body = {"lora_name": "passing", "lora_path": str(write_adapter(guide, tmp_path))}
    assert post(vllm_lora.port, "/v1/load_lora_adapter", body).status == 200
    assert post(vllm_lora.port, "/v1/unload_lora_adapter", {"lora_name": "passing"}).status == 200
    assert post(vllm_lora.port, "/v1/chat/completions", chat("Hello", model="passing")).status == 404
