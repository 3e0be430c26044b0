"""Two answers to one question, with the verdict on them: what a shadow leaves behind, and what a report counts. Pure."""

from __future__ import annotations

import msgspec

from penstock.agreement.answer import Answer, Asked, answer_without_text, asked_without_text
from penstock.agreement.verdict import Verdict, judge


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One pair."""

    id: str
    """The request that both answered."""
    made: float
    """Unix time at which it was complete."""
    asked: Asked
    first: Answer
    second: Answer
    verdict: Verdict

    @property
    def kept_text(self) -> bool:
        """Whether the words are at hand; a pair of failures has none to keep."""
        return not (self.first.digest or self.second.digest)


def paired(id_: str, made: float, asked: Asked, first: Answer, second: Answer) -> Pair:
    """A pair, judged."""
    return Pair(id=id_, made=made, asked=asked, first=first, second=second, verdict=judge(asked, first, second))


def without_text(pair: Pair) -> Pair:
    """The same pair without a word of what was asked or said."""
    return msgspec.structs.replace(
        pair,
        asked=asked_without_text(pair.asked),
        first=answer_without_text(pair.first),
        second=answer_without_text(pair.second),
    )


_decoder = msgspec.json.Decoder(Pair)
_encode = msgspec.json.Encoder().encode


def dumped(pair: Pair) -> str:
    """The pair as one line of JSON."""
    return _encode(pair).decode()


def loaded(text: str | bytes) -> Pair:
    """The pair of such a line; raises `msgspec.ValidationError` for one that is none."""
    return _decoder.decode(text)
