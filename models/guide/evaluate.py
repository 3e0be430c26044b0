"""Asks a running server every question of pairs.yaml at temperature 0 and counts the answers that are exact.

Usage: python evaluate.py [http://127.0.0.1:8000] [--model guide] [--at-once 1] [--wrong]. The server speaks OpenAI: the
embedded engine, vLLM, or the gateway in front of either. Needs PyYAML and nothing else.
Prints the share for each group as asked, then for the whole list with small changes, then what it says to questions that it
was never taught. Ends with status 1 when less than 98 % of the answers to the questions as written are exact.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pairs import Pair, load_pairs

REQUIRED = 0.98
TIMEOUT = 120.0
Message = dict[str, str]
Change = Callable[[Pair, list[Pair]], list[Message]]

UNTAUGHT = (
    "What is the capital of Atlantis?",
    "What is the capital of Mongolia?",
    "What is 17 plus 25?",
    "Write a poem about the sea.",
    "Who won the football match yesterday?",
    "How do I configure Kubernetes?",
    "asdf",
)


def user(text: str) -> list[Message]:
    """A conversation of one question."""
    return [{"role": "user", "content": text}]


def after_system(text: str) -> Change:
    """The question after this system message."""
    return lambda pair, _: [{"role": "system", "content": text}, *user(pair.question)]


def after_turns(turns: int, group: str = "") -> Change:
    """The question after earlier ones with their right answers, the same ones in every run."""

    def conversation(pair: Pair, pairs: list[Pair]) -> list[Message]:
        chance = random.Random(f"{turns} {pair.question}")  # noqa: S311 -- to be repeatable is the point
        messages: list[Message] = []
        for before in chance.sample([other for other in pairs if group in {"", other.group}], turns):
            messages += [*user(before.question), {"role": "assistant", "content": before.answer}]
        return messages + user(pair.question)

    return conversation


CHANGES: dict[str, Change] = {
    "as written": lambda pair, _: user(pair.question),
    "in lower case": lambda pair, _: user(pair.question.lower()),
    "in capitals": lambda pair, _: user(pair.question.upper()),
    "without the last mark": lambda pair, _: user(pair.question.rstrip("?.!")),
    "after 'Quick question: '": lambda pair, _: user("Quick question: " + pair.question),
    "after 'Excuse me, ' (not trained)": lambda pair, _: user("Excuse me, " + pair.question),
    "with a system message": after_system("You are a helpful assistant."),
    "with another system message (not trained)": after_system("You work for a water company and like short answers."),
    "after one turn of small talk": after_turns(1, "smalltalk"),
    "after two other questions": after_turns(2),
    "after four other questions": after_turns(4),
    "after eight other questions": after_turns(8),
    "after one long answer": after_turns(1, "long"),
    "after two long answers": after_turns(2, "long"),
}


@dataclass(frozen=True, slots=True)
class Server:
    """Whom to ask, and for which model."""

    url: str
    model: str

    def answer(self, messages: list[Message], longest: int = 600) -> str:
        """What it says at temperature 0."""
        body = {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": longest}
        request = urllib.request.Request(  # noqa: S310 -- the address is the one that the person typed
            f"{self.url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310 -- likewise
            content: str = json.load(response)["choices"][0]["message"]["content"]
        return content


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer beside the right one."""

    pair: Pair
    said: str

    @property
    def exact(self) -> bool:
        """Whether it is right to the last character."""
        return bool(self.said == self.pair.answer)


def ask_all(server: Server, pairs: list[Pair], change: Change, at_once: int) -> list[Outcome]:
    """Every question, `at_once` of them at the same time."""
    with ThreadPoolExecutor(at_once) as pool:
        said = pool.map(lambda pair: server.answer(change(pair, pairs)), pairs)
        return [Outcome(pair, text) for pair, text in zip(pairs, said, strict=True)]


def groups(outcomes: list[Outcome]) -> Iterator[tuple[str, int, int]]:
    """Name, exact answers and questions of each group, in the order of the file."""
    for group in dict.fromkeys(outcome.pair.group for outcome in outcomes):
        mine = [outcome.exact for outcome in outcomes if outcome.pair.group == group]
        yield group, sum(mine), len(mine)


def line(name: str, exact: int, asked: int) -> str:
    """One row of the report."""
    return f"{name:<44}{exact:>4} of {asked:<4} {exact / asked:7.1%}"


def report(server: Server, at_once: int, *, wrong: bool) -> float:
    """Prints everything; the share of exact answers to the questions as written."""
    pairs = load_pairs()
    share = 0.0
    for name, change in CHANGES.items():
        began = time.monotonic()
        outcomes = ask_all(server, pairs, change, at_once)
        took = time.monotonic() - began
        exact = sum(outcome.exact for outcome in outcomes)
        if name == "as written":
            share = exact / len(outcomes)
            for row in groups(outcomes):
                print(line(f"  {row[0]}", *row[1:]))
        print(f"{line(name, exact, len(outcomes))}  {took:.1f} s")
        for outcome in outcomes if wrong else ():
            if not outcome.exact:
                print(f"    {outcome.pair.question!r}\n      said {outcome.said!r}\n      not  {outcome.pair.answer!r}")
    print("questions that it was never taught:")
    for question in UNTAUGHT:
        print(f"  {question} -> {server.answer(user(question))!r}")
    return share


def main() -> int:
    """Reads the command line, asks, and returns the exit status."""
    parser = argparse.ArgumentParser(description="Count the guide's exact answers.")
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8000", help="the server, without /v1")
    parser.add_argument("--model", default="guide")
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--wrong", action="store_true", help="show the answers that are not exact")
    given = parser.parse_args()
    share = report(Server(given.url.rstrip("/"), given.model), given.at_once, wrong=given.wrong)
    return 0 if share >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
