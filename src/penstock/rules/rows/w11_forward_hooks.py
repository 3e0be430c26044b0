"""W11: hooks on the model's modules do not reach a model that lives in another process."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from penstock.rules.finding import Evidence, Finding
from penstock.rules.material import Material, Module
from penstock.rules.rule import Rule, finding

HOOKS: Final = frozenset({"register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"})
UNREACHED: Final = frozenset({"model_executor", "driver_worker", "model_runner"})


def look(material: Material) -> Iterator[Finding]:
    for module in material.modules:
        if not any(name.partition(".")[0] == "vllm" for name in module.names.values()):
            continue
        at = list(_hooks(module))
        if at:
            yield finding(
                "W11",
                "hooks on the modules of vLLM's model: the weights live in worker processes, `model_executor` is not reachable, compiled graphs"
                " skip Python hooks, and q, k and v are one module `qkv_proj`, so that `q_proj` never matches",
                "load through vLLM's own LoRA (--enable-lora), or change the worker with a vllm.general_plugins entry point; apply_model and"
                " collective_rpc reach the workers",
                *at,
                *_imports(module),
            )


def _hooks(module: Module) -> Iterator[Evidence]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr in HOOKS | UNREACHED:
            yield module.at(node)


def _imports(module: Module) -> Iterator[Evidence]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and any(one.name == "AsyncLLMEngine" for one in node.names):
            yield module.at(node)


RULE = Rule(
    row="W11",
    title="forward hooks on vLLM's model",
    today="`AsyncLLMEngine` is another name of V1's `AsyncLLM`; the model is reached by `apply_model`, `collective_rpc` and plugins",
    reads="Python",
    look=look,
)
