"""Steps over a text that comes in pieces, and how several of them follow each other.

Every step gives the same for any cuts of the same text: it passes on what nothing that may still come can change, and
holds the rest. What a step did is noted in the verdicts, never the text that it did it to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from penstock.config_guardrails import Side
from penstock.errors import Filtered, Withheld

Verdict = tuple[str, str]

EFFORT = 10_000
"""Texts, finds and near finds that one request and its answer may have together: what a loop can look at in a moment."""
SLICE = 2048
"""Characters looked at together. RE2 is given what is looked at anew for every find."""


class Verdicts:
    """What the steps of one request did."""

    __slots__ = ("_counts", "_left", "_said")

    def __init__(self, said: Sequence[Verdict] = ()) -> None:
        self._said = tuple(said)
        self._counts: Counter[Verdict] = Counter()
        self._left = EFFORT

    def spend(self, side: Side) -> None:
        """One more look; `Filtered` or `Withheld` where there were too many."""
        self._left -= 1
        if self._left < 0:
            raise stopped("coverage", side, self, f"it has more than {EFFORT} places to look at")

    def note(self, step: str, verdict: str) -> None:
        """A step did something once more."""
        self._counts[step, verdict] += 1

    def all(self) -> tuple[Verdict, ...]:
        """All of them, each with how often it was so where that was more than once."""
        return (
            *self._said,
            *(
                (step, verdict if times == 1 else f"{verdict} {times}")
                for (step, verdict), times in self._counts.items()
            ),
        )


class Step(Protocol):
    """One step over one text."""

    def feed(self, text: str) -> str:
        """What may go on now; `Filtered` or `Withheld` where the text must not."""
        ...

    def end(self) -> str:
        """What was held back: nothing more comes."""
        ...


class Chain:
    """Steps one after the other."""

    __slots__ = ("_steps",)

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps

    def feed(self, text: str) -> str:
        """What comes out behind the last of them."""
        if len(text) > SLICE:
            return "".join([self.feed(text[at : at + SLICE]) for at in range(0, len(text), SLICE)])
        for step in self._steps:
            if not text:
                return ""
            text = step.feed(text)
        return text

    def end(self) -> str:
        """What they still held, through those behind."""
        text = ""
        for step in self._steps:
            text = (step.feed(text) if text else "") + step.end()
        return text


def stopped(step: str, side: Side, verdicts: Verdicts, why: str = "") -> Filtered | Withheld:
    """The refusal of a step, noted; it never holds the text."""
    verdicts.note(step, "refused")
    told = f"{step} ({why})" if why else step
    if side == "input":
        return Filtered(f"A guardrail of this model refuses the request: {told}.", hint="The operator sets them.")
    return Withheld(f"A guardrail of this model withholds the answer: {told}.", hint="The operator sets them.")
