"""Two texts word by word: where they first differ, and how much of them is the same.

Engines cut text into tokens of their own, which another engine, or a gateway, does not know. A token here is a word or
a punctuation mark, so that a text counts the same whoever wrote it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

READ = 64 * 1024
"""Characters of a text in which words are counted: what is longer is no answer that anybody reads."""
LONGEST = 4000
"""Words of a text that are compared; what comes after them counts for its length alone."""

_WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """The tokens of a text; white space is none."""
    return _WORD.findall(text[:READ])


def first_difference(first: Sequence[str], second: Sequence[str]) -> int | None:
    """The place of the first word that is not the same, counted from 0; None where all are."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return None if len(first) == len(second) else min(len(first), len(second))


def shared(first: Sequence[str], second: Sequence[str]) -> float:
    """The share of words that both have in the same order, from 0 to 1; 1 for two empty texts."""
    first, second = first[:LONGEST], second[:LONGEST]
    total = len(first) + len(second)
    return 2 * _in_order(first, second) / total if total else 1.0


def _in_order(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence, a row of the table in the bits of one number (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    row = everything = (1 << len(first)) - 1
    for word in second:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & everything
    return len(first) - row.bit_count()
