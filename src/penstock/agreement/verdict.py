"""One pair of answers, judged: whether they agree by the measure that fits what was asked. Pure.

    tools     either answer calls a tool: the same calls with the same arguments, as values
    json      JSON was asked for: equal as values; what is no JSON, word for word
    vectors   embeddings: every vector points the same way
    text      anything else: equal word for word, white space aside

A pair is judged while both texts are at hand; the verdict can be kept where the texts may not be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from penstock.agreement.answer import Answer, Asked, even
from penstock.agreement.refusals import refused
from penstock.agreement.values import NO_VALUE, same_calls, same_value, value_of
from penstock.agreement.words import first_difference, shared, words

SAME_WAY = 0.999
"""Least cosine of two vectors that count as the same; half precision on one side stays above it."""

Outcome: TypeAlias = Literal["agreed", "differed", "first_failed", "second_failed", "both_failed"]
Measure: TypeAlias = Literal["text", "json", "tools", "vectors"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found; pairs of figures are the first engine's and the second's."""

    outcome: Outcome
    measure: Measure = "text"
    words: tuple[int, int] = (0, 0)
    first_difference: int | None = None
    """The first word that differs, counted from 0."""
    shared: float = 1.0
    """Words that both have in the same order, as a share of all."""
    valid: tuple[bool, bool] = (True, True)
    """Measures json and tools: whether it is JSON at all."""
    refused: tuple[bool, bool] = (False, False)
    cosine: float | None = None
    """The least of the pair's vectors."""


def judge(asked: Asked, first: Answer, second: Answer) -> Verdict:
    """The verdict on one pair."""
    if first.error or second.error:
        outcome: Outcome = "both_failed" if first.error and second.error else _failed(first)
        return Verdict(outcome=outcome, measure=_measure(asked, first, second))
    measure = _measure(asked, first, second)
    if measure == "vectors":
        return _vectors(first, second)
    one, other = words(first.text), words(second.text)
    valid, equal = (True, True), even(first.text) == even(second.text)
    if measure == "tools":
        valid = _parse_all(first), _parse_all(second)
        equal = same_calls(first.tools, second.tools)
    elif measure == "json":
        values = value_of(first.text), value_of(second.text)
        valid = values[0] is not NO_VALUE, values[1] is not NO_VALUE
        equal = same_value(*values) if all(valid) else equal
    return Verdict(
        outcome="agreed" if equal else "differed",
        measure=measure,
        words=(len(one), len(other)),
        first_difference=first_difference(one, other),
        shared=shared(one, other),
        valid=valid,
        refused=(refused(first), refused(second)),
    )


def _failed(first: Answer) -> Outcome:
    return "first_failed" if first.error else "second_failed"


def _measure(asked: Asked, first: Answer, second: Answer) -> Measure:
    if first.vectors or second.vectors:
        return "vectors"
    if first.tools or second.tools:
        return "tools"
    return "json" if asked.structured == "json" else "text"


def _parse_all(answer: Answer) -> bool:
    return all(value_of(call.arguments or "{}") is not NO_VALUE for call in answer.tools)


def _vectors(first: Answer, second: Answer) -> Verdict:
    cosine = 0.0
    if len(first.vectors) == len(second.vectors):
        cosine = min(
            (_cosine(one, other) for one, other in zip(first.vectors, second.vectors, strict=True)), default=1.0
        )
    return Verdict(outcome="agreed" if cosine >= SAME_WAY else "differed", measure="vectors", cosine=cosine)


def _cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """0 for vectors of different lengths: they come from different models."""
    if len(first) != len(second):
        return 0.0
    length = math.hypot(*first) * math.hypot(*second)
    if not math.isfinite(length) or not length:
        return 1.0 if first == second else 0.0
    return max(-1.0, min(1.0, sum(one * other for one, other in zip(first, second, strict=True)) / length))
