"""The bytes of two answers made into a pair, and kept: the work that a shadow leaves for a thread. No loop in here.

What of an answer cannot be read is an error of that side, never an exception of ours. Texts are kept only where the
configuration says so, and then up to a length that a row of a database should have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from penstock.agreement.answer import Answer, Asked, ToolCall, digest
from penstock.agreement.pair import Pair, dumped, paired, without_text
from penstock.errors import BrokenAnswer
from penstock.protocols.heard import Heard, hear
from penstock.protocols.repeatable import Wish
from penstock.types import Usage

if TYPE_CHECKING:
    from penstock.state.store import Store

KEPT_TEXT = 64 * 1024
"""Characters of a prompt or an answer that are kept."""


class Side(msgspec.Struct, kw_only=True):
    """What came of one of the two engines."""

    body: bytes = b""
    """As a client of the same face got it, or would have."""
    status: int = 200
    error: str = ""
    backend: str = ""
    model: str = ""
    usage: Usage | None = None
    seconds: float = 0.0
    first_token: float = 0.0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a pair is made of."""

    id: str
    alias: str
    tenant: str
    made: float
    path: str
    stream: bool
    wish: Wish
    first: Side
    second: Side


def pair_of(seen: Seen) -> Pair:
    """The pair, judged on the whole of both answers."""
    wish = seen.wish
    asked = Asked(
        path=seen.path,
        stream=seen.stream,
        structured="json" if wish.json else "tools" if wish.tools else "",
        greedy=wish.greedy,
        prompt=wish.prompt,
        digest=digest(wish.prompt),
    )
    return paired(seen.id, seen.made, asked, _answer(seen, seen.first), _answer(seen, seen.second))


def keep(seen: Seen, *, text: bool, most: int, store: Callable[[], Store]) -> str:
    """Make the pair and write it; the outcome of its verdict. Raises ConfigError where the state cannot be written."""
    from penstock.state.pairs import Pairs, Row  # noqa: PLC0415 - 12 MB that gateways without a shadow never need

    pair = pair_of(seen)
    kept = _cut(pair) if text else without_text(pair)
    Pairs(store()).keep(Row(seen.alias, seen.tenant, seen.made, dumped(kept)), most)
    return pair.verdict.outcome


def _answer(seen: Seen, side: Side) -> Answer:
    heard, error = Heard(), side.error
    if not error:
        try:
            heard = hear(seen.path, side.body, stream=seen.stream)
        except BrokenAnswer as broken:
            error = broken.message
    usage = side.usage or Usage()
    return Answer(
        text=heard.text,
        refusal=heard.refusal,
        tools=tuple(ToolCall(name, arguments) for name, arguments in heard.calls),
        vectors=heard.vectors,
        finish=heard.finish,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        seconds=side.seconds,
        first_token=side.first_token,
        status=side.status,
        error=error[:500],
        backend=side.backend,
        model=side.model,
    )


def _cut(pair: Pair) -> Pair:
    """As much text as a row holds; vectors are judged already and would be the most of it."""
    replace = msgspec.structs.replace
    return replace(
        pair,
        asked=replace(pair.asked, prompt=pair.asked.prompt[:KEPT_TEXT]),
        first=replace(pair.first, text=pair.first.text[:KEPT_TEXT], vectors=()),
        second=replace(pair.second, text=pair.second.text[:KEPT_TEXT], vectors=()),
    )
