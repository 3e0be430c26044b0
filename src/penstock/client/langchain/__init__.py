"""The clients as LangChain's own classes: `VLLMClient` is a BaseLLM, `ChatVLLM` a BaseChatModel. Extra `penstock[langchain]`."""

from __future__ import annotations

from penstock.client.langchain.chat import ChatOllamaClient, ChatVLLM
from penstock.client.langchain.text import OllamaClient, VLLMClient

__all__ = ["ChatOllamaClient", "ChatVLLM", "OllamaClient", "VLLMClient"]
