"""What an answer says, kept to the rules: one step after the other for each of its texts, and its tool calls whole.

Shared by the answers of all protocols, which know where their texts stand. A text is known by a key: which choice, which
block, and what sort of text it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import msgspec

from penstock.errors import BrokenAnswer
from penstock.guardrails import walk
from penstock.guardrails.rules import Rules
from penstock.guardrails.text import Chain, Verdicts, stopped
from penstock.guardrails.walk import Json, Object

LARGEST_CALL = 256 * 1024
"""Characters that the arguments of one tool call may have."""
MOST = 256
"""Texts and tool calls of one answer."""
SECOND = frozenset(
    {"logprobs", "token_ids", "prompt_token_ids", "prompt_logprobs", "prompt_text", "context", "prompt_token_offsets"}
)
"""The answer once more in another form: left out."""
_NAMES = frozenset(
    {"id", "object", "model", "type", "role", "status", "finish_reason", "done_reason", "item_id", "created_at"}
)
"""Words of the protocols, not of the model."""


class Said:
    """One answer."""

    def __init__(self, rules: Rules, verdicts: Verdicts) -> None:
        self.rules = rules
        self.verdicts = verdicts
        self._texts: dict[Hashable, Chain] = {}

    def feed(self, key: Hashable, text: str, *, answer: bool) -> str:
        """What may go on of one text; `answer`: it is the answer itself, not a thought on the way to it."""
        chain = self._texts.get(key)
        if chain is None:
            if len(self._texts) >= MOST:
                raise stopped("coverage", "output", self.verdicts, f"it has more than {MOST} texts")
            chain = self._texts[key] = self._chain(answer=answer)
        return chain.feed(text)

    def end(self, key: Hashable, *, answer: bool) -> str:
        """The rest of it; where nothing was said, what the rules make of nothing."""
        chain = self._texts.pop(key, None) or self._chain(answer=answer)
        return chain.end()

    def whole(self, text: str, *, answer: bool = False) -> str:
        """One text that is there as a whole."""
        chain = self._chain(answer=answer)
        return chain.feed(text) + chain.end()

    def _chain(self, *, answer: bool) -> Chain:
        return self.rules.spoken(self.verdicts) if answer else self.rules.answered(self.verdicts)

    # ── tools ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def tool(self, name: str) -> None:
        """Whether it may be called."""
        if self.rules.tools is not None and name not in self.rules.tools:
            raise stopped(
                "tools", "output", self.verdicts, f"{name[:64]!r} may not be called" if name else "a call has no name"
            )

    def arguments(self, text: str) -> str:
        """What a tool is called with, as JSON text."""
        if len(text) > LARGEST_CALL:
            raise stopped("tools", "output", self.verdicts, f"a call has more than {LARGEST_CALL} characters")
        try:
            found: Json = msgspec.json.decode(text.encode("utf-8", "surrogatepass")) if text else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._called(text)
        if not text:
            return text
        clean = self.values(found)
        return text if clean == found else walk.encode(clean).decode()

    def values(self, value: Json) -> Json:
        """The same as values."""
        return self._changed(value, self._called, frozenset())

    def _called(self, text: str) -> str:
        chain = self.rules.called(self.verdicts)
        return chain.feed(text) + chain.end()

    # ── what no codec here knows ─────────────────────────────────────────────────────────────────────────────────────

    def others(self, value: Json) -> Json:
        """Every text in it by itself; what tells the answer a second time, and lists of numbers, are left out."""
        return self._changed(walk.without(value, SECOND), self.whole, _NAMES)

    def _changed(self, value: Json, change: Callable[[str], str], skip: frozenset[str]) -> Json:
        try:
            return walk.changed(value, change, skip)
        except ValueError as error:
            raise stopped("coverage", "output", self.verdicts, str(error)) from None


def read(data: bytes) -> Object:
    """One object of an answer."""
    try:
        return walk.read(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenAnswer(f"Reading the answer for its guardrails: {error}.") from None
