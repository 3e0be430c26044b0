"""W4: Ollama's tags, and ids that nobody publishes, are no models for vLLM."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from penstock.model_names import TAGS
from penstock.rules.engine import engines
from penstock.rules.finding import Evidence, Finding
from penstock.rules.material import Material, Module
from penstock.rules.reading.python_code import keyword, literal, meaning
from penstock.rules.rule import Rule, finding

ALONE: Final = frozenset({"gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2"})
"""Ids without an organisation that the Hub still has."""
FAMILY: Final = re.compile(
    r"(?:llama-?[23](?:\.\d)?|codellama|mistral|mixtral|phi-?\d(?:\.\d)?|qwen\d?(?:\.\d)?|qwq|gemma\d?|gpt-oss|deepseek-\w+|zephyr)"
    r"(?:[-:][\w.-]+)?"
)
"""How Ollama names what it serves: a family, perhaps with a size."""
RENAMED: Final = re.compile(r"meta-llama/Llama-3-(\d+B(?:-Instruct)?)")
NOT_MADE: Final = {
    "meta-llama/Llama-3-1B": "meta-llama/Llama-3.2-1B",
    "meta-llama/Llama-3-3B": "meta-llama/Llama-3.2-3B",
}
CONSTRUCTORS: Final = ("LLM", "EngineArgs", "VLLMConfig")


def look(material: Material) -> Iterator[Finding]:
    for engine in engines(material):
        model = engine.launch.model if engine.launch else None
        if model and model.given.known:
            yield from _judged(model.value, model.at, *model.given.sources)
    for value in material.values:
        if value.path.rpartition(".")[2] in {"modelURL", "model_url", "modelUrl"} and "vllm" in value.at.file.lower():
            yield from _judged(value.text, value.at)
    for module in material.modules:
        for model_name, at in _named(module):
            yield from _judged(model_name, at)


def better(name: str) -> str | None:
    """What to serve instead; an empty text where only the kind of mistake is known, None where nothing is wrong."""
    if "/" not in name and name not in ALONE:
        tagged = name if ":" in name else f"{name}:"
        hub = next((hub for hub, tags in TAGS.items() if any(f"{tag}:".startswith(tagged) for tag in tags)), "")
        if hub or ":" in name or FAMILY.fullmatch(name):
            latest = name.removesuffix(":latest")
            return hub or next((hub for hub, tags in TAGS.items() if latest in tags), "")
        return None
    renamed = RENAMED.fullmatch(name)
    return NOT_MADE.get(name) or (f"meta-llama/Meta-Llama-3-{renamed[1]}" if renamed else None)


def _judged(name: str, *at: Evidence) -> Iterator[Finding]:
    instead = better(name)
    if instead is None:
        return
    tag = "/" not in name
    yield finding(
        "W4",
        f"`{name}` is {'an Ollama tag and no model id' if tag else 'no id on the Hugging Face Hub'}: vLLM cannot load it",
        f"serve {f'`{instead}`' if instead else 'a Hugging Face id (organisation/name) or a folder'}"
        f" and keep the name for clients with `--served-model-name {name}`",
        *at,
    )


def _named(module: Module) -> Iterator[tuple[str, Evidence]]:
    """Models that engines are made with, by keyword or as the first argument of `LLM`."""
    for call in module.calls:
        called = meaning(call.func, module.names)
        if called.startswith("penstock.") or not called.endswith(CONSTRUCTORS) or "vllm" not in called.lower():
            continue
        node = keyword(call, "model") or (call.args[0] if call.args and called.endswith("LLM") else None)
        model = literal(node)
        if node is not None and isinstance(model, str):
            yield model, module.at(node)


RULE = Rule(
    row="W4",
    title="an Ollama tag, or an id that nobody publishes, as vLLM's model",
    today="a Hugging Face id or a folder; `--served-model-name` for the names that clients use",
    reads="compose, Kubernetes, Dockerfile, shell, Python",
    look=look,
)
