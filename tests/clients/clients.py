"""The clients of the matrix by name, and how one of them is made to do one thing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tests.clients.curl_clients import CurlOllama, CurlOpenAI
from tests.clients.langchain_clients import LangchainOllama, LangchainOpenAI
from tests.clients.ollama_clients import OllamaAsync, OllamaSync
from tests.clients.openai_clients import OpenAIAsync, OpenAISync
from tests.clients.outcome import Refused, Said
from tests.fakes.threads import in_thread

Client = (
    OpenAISync | OpenAIAsync | OllamaSync | OllamaAsync | LangchainOpenAI | LangchainOllama | CurlOpenAI | CurlOllama
)

CLIENTS: dict[str, Callable[[str], Client]] = {
    "openai": OpenAISync,
    "openai async": OpenAIAsync,
    "langchain_openai": LangchainOpenAI,
    "curl, OpenAI": CurlOpenAI,
    "ollama": OllamaSync,
    "ollama async": OllamaAsync,
    "langchain_ollama": LangchainOllama,
    "curl, Ollama": CurlOllama,
}


class Drawer:
    """Clients made once for each gateway, as an application does it, and closed at the end."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], Client] = {}

    def client(self, name: str, url: str) -> Client:
        if (name, url) not in self._made:
            self._made[name, url] = CLIENTS[name](url)
        return self._made[name, url]

    async def close(self) -> None:
        for client in self._made.values():
            closing = client.close()
            if closing is not None:
                await closing


Outcome = Said | tuple[Said, Said] | Refused


async def perform(client: Client, verb: str, *arguments: Any, **named: Any) -> Outcome:  # noqa: ANN401 - the verb's own
    """What came of it; blocking clients run beside the event loop that serves them."""
    act = getattr(client, verb)
    try:
        if inspect.iscoroutinefunction(act):
            outcome: Outcome = await act(*arguments, **named)
        else:
            outcome = await in_thread(lambda: act(*arguments, **named))
    except client.error as error:
        return client.refused(error)
    return outcome
