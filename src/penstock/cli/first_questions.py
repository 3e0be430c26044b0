"""The two questions that `penstock up` asks: one as a client of OpenAI, one as a client of Ollama.

They are ordinary requests over the socket, so an answer shows that the whole line works and nothing else.
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from penstock.cli.talk import Answer, Gateway, refused
from penstock.config import GUIDE
from penstock.errors import BrokenAnswer

QUESTIONS: Final = {True: ("What can you do?", "Which protocols does Penstock speak?")}
"""Two of those that the bundled model has learned the answers to."""
COMMON: Final = ("Say hello in one short sentence.", "Name one colour, in one word.")
LONGEST: Final = 64
"""Tokens of an answer: enough to see one, little enough for a slow machine."""


class Asked(NamedTuple):
    """One question, its answer, and what the answer's head and usage say."""

    api: str
    question: str
    answer: str
    backend: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float


def ask_both(gateway: Gateway, model: str) -> list[Asked]:
    """Both questions, one after the other."""
    first, second = QUESTIONS.get(model == GUIDE, COMMON)
    return [ask_openai(gateway, model, first), ask_ollama(gateway, model, second)]


def ask_openai(gateway: Gateway, model: str, question: str) -> Asked:
    """POST /v1/chat/completions."""
    messages = [{"role": "user", "content": question}]
    body = {"model": model, "messages": messages, "max_tokens": LONGEST, "temperature": 0}
    answer, seconds = _post(gateway, "/v1/chat/completions", body)
    choices = answer.data.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    message = first.get("message") if isinstance(first, dict) else {}
    usage = _mapping(answer.data.get("usage"))
    return _asked("OpenAI", question, _mapping(message), answer, (usage, "prompt_tokens", "completion_tokens"), seconds)


def ask_ollama(gateway: Gateway, model: str, question: str) -> Asked:
    """POST /api/chat."""
    messages = [{"role": "user", "content": question}]
    options = {"num_predict": LONGEST, "temperature": 0}
    body = {"model": model, "messages": messages, "stream": False, "options": options}
    answer, seconds = _post(gateway, "/api/chat", body)
    message = _mapping(answer.data.get("message"))
    return _asked("Ollama", question, message, answer, (answer.data, "prompt_eval_count", "eval_count"), seconds)


def _post(gateway: Gateway, path: str, body: object) -> tuple[Answer, float]:
    began = time.monotonic()
    answer = gateway.post(path, body)
    if answer.status != 200:
        raise refused(answer, f"POST {gateway.url}{path}")
    return answer, time.monotonic() - began


def _asked(
    api: str,
    question: str,
    message: dict[str, object],
    answer: Answer,
    usage: tuple[dict[str, object], str, str],
    seconds: float,
) -> Asked:
    text = message.get("content") or message.get("reasoning_content") or message.get("thinking")
    counts, prompt, completion = usage
    if not isinstance(text, str) or not text:
        raise BrokenAnswer(f"Asking through the {api} API: the answer holds no text.", hint="See the gateway's log.")
    return Asked(
        api=api,
        question=question,
        answer=text.strip(),
        backend=answer.headers.get("x-penstock-backend", ""),
        model=answer.headers.get("x-penstock-model", ""),
        prompt_tokens=_count(counts.get(prompt)),
        completion_tokens=_count(counts.get(completion)),
        seconds=round(seconds, 3),
    )


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
