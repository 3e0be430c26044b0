"""A request as each protocol spells it. Pure: a prompt and a few options in, a path and bytes out."""

from __future__ import annotations

import msgspec

from penstock.bench.workload import Prompt
from penstock.types import Wire


class Wish(msgspec.Struct, frozen=True):
    """What is asked of every answer."""

    max_tokens: int = 128
    temperature: float = 0.0
    ignore_eos: bool = False
    """Go on to `max_tokens` even where the model would end; vLLM and llama.cpp have the word, Ollama does not."""


PATHS = {Wire.OPENAI: "/v1/chat/completions", Wire.OLLAMA: "/api/chat"}


def request_body(wire: Wire, model: str, prompt: Prompt, wish: Wish) -> bytes:
    """A streamed chat, with the token counts asked for where they are not told anyway."""
    body: dict[str, object] = {"model": model, "messages": prompt.messages, "stream": True}
    if wire is Wire.OLLAMA:
        body["options"] = {"temperature": wish.temperature, "num_predict": wish.max_tokens}
    else:
        body |= {
            "temperature": wish.temperature,
            "max_tokens": wish.max_tokens,
            "stream_options": {"include_usage": True},
        }
        if wish.ignore_eos:
            body["ignore_eos"] = True
    return msgspec.json.encode(body)
