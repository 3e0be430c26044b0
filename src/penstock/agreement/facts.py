"""Golden facts: prompts with words that a right answer must have. From JSON lines; pure.

    {"prompt": "When did Apollo 11 land?", "facts": ["1969", "July"]}

A fact is there when it stands in the answer, upper and lower case and white space aside. Prompts are found by what they
say, white space aside, so a file works for pairs that kept no text of their own question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from penstock.agreement.answer import Answer, digest, even
from penstock.errors import ConfigError

Facts: TypeAlias = Mapping[str, tuple[str, ...]]
"""Facts by the digest of their prompt."""


class _Golden(msgspec.Struct):
    prompt: str
    facts: list[str] = []


_golden = msgspec.json.Decoder(_Golden)


def facts_of(lines: Iterable[str], name: str) -> dict[str, tuple[str, ...]]:
    """The facts of a file's lines; a line without facts is a prompt that asks for none. ConfigError names a bad line."""
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            golden = _golden.decode(line)
        except msgspec.DecodeError as error:
            msg = f"Reading golden facts, {name}:{number}: {error}."
            raise ConfigError(msg, hint='A line is {"prompt": "…", "facts": ["…", "…"]}.') from None
        facts = tuple(even(fact) for fact in golden.facts)
        if "" in facts:
            msg = f"Reading golden facts, {name}:{number}: a fact is empty, which every answer would have."
            raise ConfigError(msg, hint="Name the words that a right answer must have.")
        if facts:
            found[digest(golden.prompt)] = facts
    return found


def missing(facts: Sequence[str], answer: Answer) -> tuple[str, ...]:
    """The facts that are not in the answer."""
    said = even(answer.text).casefold()
    return tuple(fact for fact in facts if fact.casefold() not in said)
