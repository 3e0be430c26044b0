"""What one model is called where: Hugging Face's id, which vLLM asks for, and Ollama's tags (X12, W4).

A short list of the families that the documents name. It is only asked when the environment's names describe two engines
and one model name; a penstock.yaml says both names itself.
"""

from __future__ import annotations

TAGS: dict[str, tuple[str, ...]] = {
    "meta-llama/Meta-Llama-3.1-8B-Instruct": ("llama3.1:8b", "llama3.1"),
    "meta-llama/Llama-3.1-8B-Instruct": ("llama3.1:8b", "llama3.1"),
    "meta-llama/Llama-3.1-70B-Instruct": ("llama3.1:70b",),
    "meta-llama/Meta-Llama-3-8B-Instruct": ("llama3:8b", "llama3"),
    "meta-llama/Llama-3.2-1B-Instruct": ("llama3.2:1b",),
    "meta-llama/Llama-3.2-3B-Instruct": ("llama3.2:3b", "llama3.2"),
    "meta-llama/Llama-3.3-70B-Instruct": ("llama3.3:70b", "llama3.3"),
    "mistralai/Mistral-7B-Instruct-v0.3": ("mistral:7b", "mistral"),
    "HuggingFaceH4/zephyr-7b-beta": ("zephyr:7b", "zephyr"),
    "codellama/CodeLlama-7b-Instruct-hf": ("codellama:7b-instruct", "codellama:7b", "codellama"),
    "microsoft/Phi-3.5-mini-instruct": ("phi3.5:3.8b", "phi3.5"),
    "openai/gpt-oss-20b": ("gpt-oss:20b", "gpt-oss"),
    "openai/gpt-oss-120b": ("gpt-oss:120b",),
    "Qwen/QwQ-32B": ("qwq:32b", "qwq"),
    "Qwen/Qwen2.5-7B-Instruct": ("qwen2.5:7b", "qwen2.5"),
}
"""Hugging Face id -> Ollama tags of the same model; the first is the exact one."""


def tag_of(model: str) -> str | None:
    """What to ask an Ollama server for, to get `model`; None where that is not known.

    A name without an organisation is taken for an Ollama tag already.
    """
    if model in TAGS:
        return TAGS[model][0]
    return None if "/" in model else model


def other_names(model: str) -> tuple[str, ...]:
    """Every further name that clients may know this model by."""
    names = list(TAGS.get(model, ()))
    for hub, tags in TAGS.items():
        if model in tags:
            names += [hub, *tags]
    return tuple(dict.fromkeys(name for name in names if name != model))
