"""Files of answers: one JSON object a line, written by whoever asked an engine, paired here. Pure.

    {"id": "7", "prompt": "…", "text": "…", "finish": "stop", "completion_tokens": 41, "seconds": 0.52}

Every field of an `Answer` may stand in a line, and what was asked: `id`, `prompt`, `json` (JSON was asked for), `greedy`
(sampling was off). Other keys are let be. Two files are paired by `id`, and by prompt where a line has none; where one
stands several times, first with first and second with second.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

import msgspec

from penstock.agreement.answer import Answer, Asked, digest
from penstock.agreement.pair import Pair, paired
from penstock.errors import ConfigError


class Line(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """One answer together with its question."""

    id: str = ""
    prompt: str = ""
    json: bool = False
    greedy: bool = False


_line = msgspec.json.Decoder(Line)
_encode = msgspec.json.Encoder().encode


def written(line: Line) -> str:
    """The line as it stands in a file, without its end."""
    return _encode(line).decode()


def lines_of(lines: Iterable[str], name: str) -> list[Line]:
    """The answers of a file; ConfigError names a bad line."""
    found = []
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            line = _line.decode(text)
        except msgspec.DecodeError as error:
            msg = f"Reading answers, {name}:{number}: {error}."
            raise ConfigError(msg, hint='A line is {"id": "…", "prompt": "…", "text": "…"}.') from None
        if not line.id and not line.prompt:
            msg = f"Reading answers, {name}:{number}: it has neither id nor prompt, so no other answer belongs to it."
            raise ConfigError(msg, hint="Give both files the same ids.")
        found.append(line)
    return found


def pairs_of(first: Sequence[Line], second: Sequence[Line]) -> tuple[list[Pair], int]:
    """Pairs in the order of the first file, and how many lines of both found no partner."""
    waiting: defaultdict[str, deque[Line]] = defaultdict(deque)
    for line in second:
        waiting[_key(line)].append(line)
    pairs = [_pair(line, partners.popleft()) for line in first if (partners := waiting[_key(line)])]
    return pairs, len(first) + len(second) - 2 * len(pairs)


def _key(line: Line) -> str:
    return f"id {line.id}" if line.id else f"prompt {digest(line.prompt)}"


def _pair(first: Line, second: Line) -> Pair:
    asked = Asked(
        prompt=first.prompt,
        digest=digest(first.prompt),
        structured="json" if first.json else "",
        greedy=first.greedy,
    )
    return paired(first.id, 0.0, asked, _answer(first), _answer(second))


def _answer(line: Line) -> Answer:
    return Answer(**{name: getattr(line, name) for name in Answer.__struct_fields__})
