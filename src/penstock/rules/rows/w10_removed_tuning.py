"""W10: blocks of 8 tokens, and a speculative model by its name alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from penstock.rules.engine import launches
from penstock.rules.finding import Evidence, Finding
from penstock.rules.material import Material, Module
from penstock.rules.reading.python_code import keyword, literal, meaning
from penstock.rules.rule import Rule, finding

STEP: Final = 16
"""FlashAttention takes blocks of a multiple of this many tokens."""
GONE: Final = ("--speculative-model", "--num-speculative-tokens", "--speculative-draft-tensor-parallel-size")


def look(material: Material) -> Iterator[Finding]:
    for launch in launches(material):
        size = launch.flag("--block-size")
        if size and size.value.isdigit():
            yield from _size(int(size.value), size.at)
        gone = [flag for name in GONE if (flag := launch.flag(name))]
        if gone:
            yield _speculative(f"`{gone[0].name}`", *(flag.at for flag in gone))
    for module in material.modules:
        for call in _engine_calls(module):
            size_node = keyword(call, "block_size")
            number = literal(size_node)
            if isinstance(number, int) and size_node:
                yield from _size(number, module.at(size_node))
            model = keyword(call, "speculative_model")
            if model is not None:
                yield _speculative("`speculative_model`", module.at(model))


def _size(size: int, at: Evidence) -> Iterator[Finding]:
    if size <= 0 or size % STEP:
        yield finding(
            "W10",
            f"a KV cache block of {size} tokens: FlashAttention takes multiples of {STEP} and the server does not start",
            "leave the block size out; memory is saved with a smaller --max-model-len or --max-num-seqs",
            at,
        )


def _speculative(what: str, *at: Evidence) -> Finding:
    return finding(
        "W10",
        f"{what} is gone: speculative decoding has one option with a JSON value",
        """--speculative-config '{"model": "…", "num_speculative_tokens": 5}'""",
        *at,
    )


def _engine_calls(module: Module) -> Iterator[ast.Call]:
    """Calls that make or configure a vLLM engine, other than through our own compatibility layer."""
    for call in module.calls:
        called = meaning(call.func, module.names)
        if "vllm" in called.lower() and not called.startswith("penstock."):
            yield call


RULE = Rule(
    row="W10",
    title="`block_size=8`, `speculative_model`",
    today="blocks are multiples of 16; `--speculative-config` takes JSON",
    reads="compose, Kubernetes, Dockerfile, shell, Python",
    look=look,
)
