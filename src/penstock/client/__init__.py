"""The client library: vLLM where code expects `OllamaLLM` or `ChatOllama`, with Ollama, or a gateway, behind it.

    from penstock.client import VLLMClient
    llm = VLLMClient(model="meta-llama/Meta-Llama-3.1-8B-Instruct", temperature=0.0)
    llm.invoke("What is RAG?")

`VLLMClient` and `ChatVLLM` are LangChain's classes where langchain-core is installed, else the plain ones of
`penstock.client.plain`. Names are looked up when they are first used: importing this package costs nothing.

How the parts hang together, for whoever builds a form of their own over them:

- `arguments.asked(Ask(), {...})` turns what people pass (any spelling of an option) into an `Ask`; with a default `Ask`
  and the arguments of one call it gives the ask of that call. `arguments.engines(kind, model, url, ...)` makes `Engines`.
- `Engines.ask(ask) -> Answer`, `aask`, `stream(ask) -> Iterator[Piece]`, `astream`, `check()`, `acheck()`, `close()`,
  `aclose()`. Retries, deadline, fallback, log lines and counts happen inside; `engines.counts.now()` are the figures,
  `engines.answered` is the `Source` of the last answer (kind, model, fallback reason, gateway's backend).
- `Ask(messages=(Message(role, content, images, tool_calls, tool_call_id), ...))` goes to a chat route;
  `Ask(prompt=..., raw=False)` to the chat route as one user message (Ollama: `/api/generate`), with `raw=True` to
  `/v1/completions`. `tools` and `format` are OpenAI's and Ollama's forms.
- `Answer`: text, thinking, tool_calls (JSON text as arguments), finish, usage, `details` (the engine's whole object).
  `Piece`: the same for a part of a stream; the last ones carry finish and usage; tool calls come whole.
- Errors are those of penstock.errors and `failures.py`: `ModelNotServed`, `WrongPath`, `ConnectFailed` (also a
  ConnectionError), `TookTooLong` (also a TimeoutError), `BadRequest` for the caller's own mistakes.
"""

from __future__ import annotations

import importlib.util
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.client.answer import Answer as Answer
    from penstock.client.answer import Piece as Piece
    from penstock.client.ask import Message as Message
    from penstock.client.ask import ToolCall as ToolCall
    from penstock.client.factory import create_llm as create_llm
    from penstock.client.factory import get_llm_type as get_llm_type
    from penstock.client.factory import is_vllm_enabled as is_vllm_enabled
    from penstock.client.failures import ModelNotServed as ModelNotServed
    from penstock.client.place import Target as Target
    from penstock.client.plain import ChatOllamaClient as ChatOllamaClient
    from penstock.client.plain import ChatVLLM as ChatVLLM
    from penstock.client.plain import OllamaClient as OllamaClient
    from penstock.client.plain import VLLMClient as VLLMClient
    from penstock.client.settings import ClientConfig as ClientConfig
    from penstock.client.settings import LLMConfig as LLMConfig
    from penstock.client.settings import VLLMConfig as VLLMConfig
    from penstock.client.settings import load_config as load_config

_FORMS = ("VLLMClient", "ChatVLLM", "OllamaClient", "ChatOllamaClient")
"""Names that have a plain form and, in `penstock.client.langchain`, a LangChain one."""
_PLACES = {
    "Answer": "answer",
    "Piece": "answer",
    "Message": "ask",
    "ToolCall": "ask",
    "ModelNotServed": "failures",
    "Target": "place",
    "ClientConfig": "settings",
    "LLMConfig": "settings",
    "VLLMConfig": "settings",
    "load_config": "settings",
    "create_llm": "factory",
    "get_llm_type": "factory",
    "is_vllm_enabled": "factory",
}
__all__ = [  # noqa: PLE0604 - each is found by __getattr__
    *_FORMS,
    *_PLACES,
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name in _FORMS:
        module = import_module(f"penstock.client.{'langchain' if _langchain() else 'plain'}")
    elif name in _PLACES:
        module = import_module(f"penstock.client.{_PLACES[name]}")
    else:
        raise AttributeError(f"module 'penstock.client' has no attribute {name!r}")
    value = globals()[name] = getattr(module, name)
    return value


def _langchain() -> bool:
    """Whether the LangChain form is there, and what it builds on."""
    specs = [importlib.util.find_spec(name) for name in ("langchain_core", "penstock.client.langchain")]
    return all(spec is not None and spec.origin is not None for spec in specs)
