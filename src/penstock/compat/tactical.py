"""The names of Tactical RAG's `vllm_client.py`, `llm_factory.py` and `config.py` (S1.5, S1.6, S1.9).

from vllm_client import VLLMClient          becomes    from penstock.compat.tactical import VLLMClient
from llm_factory import create_llm          becomes    from penstock.compat.tactical import create_llm
from config import load_config, VLLMConfig  becomes    from penstock.compat.tactical import load_config, VLLMConfig
"""

from __future__ import annotations

from penstock.client import OllamaClient as OllamaLLM
from penstock.client import VLLMClient, VLLMConfig, create_llm, get_llm_type, is_vllm_enabled, load_config

__all__ = [
    "OllamaLLM",
    "VLLMClient",
    "VLLMConfig",
    "create_llm",
    "get_llm_type",
    "is_vllm_enabled",
    "load_config",
]
