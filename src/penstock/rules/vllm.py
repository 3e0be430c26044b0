"""What today's vLLM takes, as the rules compare with it: 0.33, and what is the same in 0.32, which the tests run. Constants."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.33"
OLDEST: Final = (0, 11)
"""Releases before this one speak of other metrics, other flags and none of today's tool calling."""
PYTHON: Final = (3, 11)

SUBCOMMANDS: Final = frozenset(
    {
        "serve",
        "chat",
        "complete",
        "bench",
        "run-batch",
        "collect-env",
        "launch",
        "preload",
        "snapshot",
        "download-kernels",
    }
)
PORT: Final = "8000"
DEFAULT_MODEL: Final = "Qwen/Qwen3-0.6B"
"""What is served where nothing names a model."""
OFFICIAL: Final = "vllm/vllm-openai"
"""The image whose entrypoint is `vllm serve`."""
GUARDED: Final = ("/v1", "/v2", "/inference", "/cohere")
"""The paths that --api-key protects."""
UNGUARDED: Final = ("/invocations", "/tokenize", "/detokenize", "/metrics", "/pause", "/load", "/version")
"""Some of those that it does not."""
