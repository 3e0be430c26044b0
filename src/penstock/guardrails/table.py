"""Which answers there are, by the paths of their requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.guardrails.answers import Answer, Chat, OllamaLines
from penstock.guardrails.answers_messages import Messages
from penstock.guardrails.answers_responses import Responses
from penstock.guardrails.said import Said

ANSWERS: Mapping[str, Callable[[Said], Answer]] = {
    "/v1/chat/completions": Chat,
    "/v1/completions": Chat,
    "/v1/messages": Messages,
    "/v1/responses": Responses,
    "/api/chat": OllamaLines,
    "/api/generate": OllamaLines,
}
"""Every path that rules can be kept on."""
