"""Token counts as the OpenAI family spells them."""

from __future__ import annotations

import msgspec

from penstock.types import Usage


class Counts(msgspec.Struct, gc=False):
    """`usage` of chat and completions (prompt/completion) or of responses and messages (input/output)."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    def usage(self) -> Usage:
        """The same in our words."""
        return Usage(self.prompt_tokens or self.input_tokens or 0, self.completion_tokens or self.output_tokens or 0)
