"""Greedy answers asked in every way: of the engine itself, and through the gateway over both protocols, streamed and whole.

What is compared is the text and the number of tokens of each answer, and the tokens themselves where the engine tells them
(vLLM, over OpenAI's API). Every way asks the same 200 questions.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from models.guide.pairs import Pair, load_pairs
from tests.fakes.raw import Answer, Raw

QUESTIONS = 200
LONGEST = 400
"""Characters of the longest answer asked for: every kind of answer is there, and the whole stays quick."""
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Greedy:
    """One answer."""

    text: str
    tokens: int
    finish: str
    ids: tuple[int, ...] = field(default=(), compare=False)
    """The tokens, where they are told."""

    def same(self, other: Greedy) -> bool:
        """Whether nothing that both tell differs."""
        return self == other and (not self.ids or not other.ids or self.ids == other.ids)


@dataclass(frozen=True, slots=True)
class Way:
    """A way to ask: where, with which body, and how to read the answer."""

    path: str
    body: Callable[[str, str], Json]
    read: Callable[[Answer], Greedy]


def pairs() -> list[Pair]:
    """The questions: evenly from the whole file, so that every group is there."""
    found = [pair for pair in load_pairs() if len(pair.answer) <= LONGEST]
    return [found[index * len(found) // QUESTIONS] for index in range(QUESTIONS)]


async def ask_all(url: str, model: str, way: Way, at_once: int) -> list[Greedy]:
    """The answers in the order of the questions."""
    questions = [pair.question for pair in pairs()]
    answers: dict[int, Greedy] = {}
    waiting = iter(enumerate(questions))

    async def work() -> None:
        async with Raw(url) as raw:
            for number, question in waiting:
                raw.ask(way.path, way.body(model, question))
                answer = await raw.answer()
                assert answer.status == 200, answer.body
                answers[number] = way.read(answer)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
    return [answers[number] for number in range(len(questions))]


async def compare(gateway: str, alias: str, engine: str, model: str, at_once: int) -> list[Greedy]:
    """Fails with every answer that differs; returns the engine's own."""
    own = await ask_all(engine, model, WAYS["OpenAI"], at_once)
    for name, way in WAYS.items():
        said = await ask_all(gateway, alias, way, at_once)
        wrong = [(pair.question, a, b) for pair, a, b in zip(pairs(), own, said, strict=True) if not a.same(b)]
        assert not wrong, f"{name}: {len(wrong)} of {QUESTIONS} answers differ, the first {wrong[0]}"
    return own


def exact(answers: list[Greedy]) -> float:
    """The share that is word for word what the guide was taught."""
    return sum(a.text == pair.answer for a, pair in zip(answers, pairs(), strict=True)) / len(answers)


def _openai(model: str, question: str) -> Json:
    turns = [{"role": "user", "content": question}]
    return {"model": model, "messages": turns, "temperature": 0, "max_tokens": 512, "return_token_ids": True}


def _openai_streamed(model: str, question: str) -> Json:
    return {**_openai(model, question), "stream": True, "stream_options": {"include_usage": True}}


def _ollama(model: str, question: str) -> Json:
    return {**_ollama_streamed(model, question), "stream": False}


def _ollama_streamed(model: str, question: str) -> Json:
    turns = [{"role": "user", "content": question}]
    return {"model": model, "messages": turns, "options": {"temperature": 0, "num_predict": 512}}


def _read_openai(answer: Answer) -> Greedy:
    body = answer.json()
    choice = body["choices"][0]
    return Greedy(
        choice["message"]["content"] or "",
        body["usage"]["completion_tokens"],
        choice["finish_reason"],
        tuple(choice.get("token_ids") or ()),
    )


def _read_openai_stream(answer: Answer) -> Greedy:
    *events, done = [event.removeprefix(b"data: ") for event in answer.events]
    assert done == b"[DONE]"
    chunks = [json.loads(event) for event in events]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return Greedy(
        "".join(choice["delta"].get("content") or "" for choice in choices),
        next(chunk["usage"]["completion_tokens"] for chunk in chunks if chunk.get("usage")),
        next(choice["finish_reason"] for choice in choices if choice["finish_reason"]),
        tuple(token for choice in choices for token in choice.get("token_ids") or ()),
    )


def _read_ollama(answer: Answer) -> Greedy:
    body = answer.json()
    return Greedy(body["message"]["content"], body["eval_count"], body["done_reason"])


def _read_ollama_stream(answer: Answer) -> Greedy:
    lines = [json.loads(line) for line in answer.body.splitlines()]
    text = "".join(line["message"]["content"] for line in lines)
    return Greedy(text, lines[-1]["eval_count"], lines[-1]["done_reason"])


WAYS = {
    "OpenAI": Way("/v1/chat/completions", _openai, _read_openai),
    "OpenAI, streamed": Way("/v1/chat/completions", _openai_streamed, _read_openai_stream),
    "Ollama": Way("/api/chat", _ollama, _read_ollama),
    "Ollama, streamed": Way("/api/chat", _ollama_streamed, _read_ollama_stream),
}
