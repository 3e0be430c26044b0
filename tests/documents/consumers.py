"""What stands around the model in the first document's application: code that was written for OllamaLLM and is not changed.

`adaptive_retrieval.py`, `conversation_memory.py` and `example_generator.py` are named there as working unchanged; these
are such modules in small, with the habits that the document tells of: `llm.invoke`, `asyncio.to_thread`, `except Exception`.
Nothing here knows which class the model is of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate


class Model(Protocol):
    """As much of OllamaLLM as these modules use."""

    def invoke(self, input: Any) -> str: ...  # noqa: A002, ANN401 - LangChain's name


class AdaptiveRetrieval:
    """Rewrites a question before it is searched for; the question itself is good enough when that fails."""

    def __init__(self, llm: Model) -> None:
        self.llm = llm
        self.failed: list[Exception] = []

    async def rewritten(self, question: str) -> str:
        try:
            answer = await asyncio.wait_for(asyncio.to_thread(self.llm.invoke, question), timeout=30)
        except Exception as error:  # noqa: BLE001 - the application's own habit is what is shown
            self.failed.append(error)
            return question
        return answer.strip()


class ConversationMemory:
    """Keeps the last turns and a summary of those before."""

    def __init__(self, llm: Model, keep: int = 2) -> None:
        self.llm, self.keep = llm, keep
        self.turns: list[str] = []
        self.summary = ""

    def add(self, turn: str) -> None:
        self.turns.append(turn)
        if len(self.turns) > self.keep:
            self.summary = self.llm.invoke(f"{self.summary} {self.turns.pop(0)}".strip())


class ExampleGenerator:
    """Questions for a document, each from a prompt template in a chain."""

    def __init__(self, llm: Any) -> None:  # noqa: ANN401
        prompt = ChatPromptTemplate.from_messages([("system", "Write one question."), ("human", "{text}")])
        self.chain = prompt | llm | StrOutputParser()

    def examples(self, texts: Sequence[str]) -> list[str]:
        return list(self.chain.batch([{"text": text} for text in texts]))


async def all_of(llm: Any) -> list[object]:  # noqa: ANN401
    """What the three modules come to with this model."""
    retrieval = AdaptiveRetrieval(llm)
    memory = ConversationMemory(llm)
    rewritten = await retrieval.rewritten("What is an alias?")
    for turn in ("one", "two", "three"):
        await asyncio.to_thread(memory.add, turn)
    examples = await asyncio.to_thread(ExampleGenerator(llm).examples, ["What is a target?", "What is a backend?"])
    return [rewritten, memory.summary, memory.turns, examples, [type(error) for error in retrieval.failed]]
