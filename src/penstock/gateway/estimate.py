"""How many tokens a request may come to, before any engine has seen it. Pure, and asked only for callers with limits.

The prompt is judged by its bytes, the answer by what the client allows for it. Both err on the side of too many: what was
not used is given back when the engine has said what it counted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from penstock.types import Face, Operation

if TYPE_CHECKING:
    from penstock.protocols.dialect import Call

BYTES_PER_TOKEN = 2
"""Of a request's body, its JSON included; docs/reference/quotas.md says how it was measured."""
ANSWER = 4096
"""Tokens of an answer for which the client names no limit."""
MOST = 100_000_000
"""No request is taken for more, whatever it writes: sums stay numbers that every database holds exactly."""
UNCOUNTED = frozenset({Operation.TOKENIZE, Operation.DETOKENIZE, Operation.COUNT_TOKENS})
"""Asked of an engine without any work of its model."""
GENERATING = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.RESPONSES, Operation.MESSAGES})
_SPOKEN = frozenset({Operation.TRANSCRIPTION, Operation.TRANSLATION, Operation.SPEECH})


class _Options(msgspec.Struct, gc=False):
    num_predict: object = None


class _Head(msgspec.Struct, gc=False):
    max_tokens: object = None
    max_completion_tokens: object = None
    max_output_tokens: object = None
    n: object = None
    best_of: object = None
    prompt: msgspec.Raw = msgspec.Raw()
    options: msgspec.Raw = msgspec.Raw()


_TOKENS = b'_tokens"'
_HUGE, _DIGITS = 1e18, 19
_OLLAMA, _CHAT = Face.OLLAMA, Operation.CHAT
_head = msgspec.json.Decoder(_Head)
_options = msgspec.json.Decoder(_Options)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_PLAIN = re.compile(rb"\s*:\s*([0-9]{1,8})\s*[,}]")
"""What stands behind a name whose value is a number and nothing else."""


class Estimate(msgspec.Struct, frozen=True, gc=False):
    """Tokens that a request may come to."""

    prompt: int
    answer: int

    @property
    def total(self) -> int:
        """Both."""
        return self.prompt + self.answer


def of(call: Call, window: int | None = None) -> Estimate:
    """For one call; `window` is the most its model takes, prompt and answer together, where that is known."""
    operation = call.operation
    # The hash of a member of an Enum is made in Python: most requests are of the one that is asked about first.
    if operation is _CHAT and not call.idle:
        pass
    elif operation in UNCOUNTED or call.idle:
        return Estimate(0, 0)
    if operation in _SPOKEN:
        # The bytes of a recording say nothing of its tokens.
        return Estimate(0, ANSWER)
    prompt = min(len(call.body) // BYTES_PER_TOKEN + 1, MOST)
    if operation is not _CHAT and operation not in GENERATING:
        return Estimate(prompt, 0)
    answer, times = _asked(call)
    if window is not None and times == 1:
        # An engine refuses what passes its window: no request can come to more.
        prompt = min(prompt, window)
        answer = min(answer, window - prompt) if prompt < window else min(answer, ANSWER)
    return Estimate(prompt, answer if times == 1 else min(answer * times, MOST))


def _asked(call: Call) -> tuple[int, int]:
    """Tokens that the client allows for one answer, and how many answers it asks for."""
    body = call.body
    if (
        call.choices == 1
        and call.face is not _OLLAMA
        and b"\\u00" not in body
        and (call.operation is _CHAT or b'"best_of"' not in body)
    ):
        plain = _plain(body)
        if plain is not None:
            return plain, 1
    try:
        head = _head.decode(body)
        nested = bytes(head.options)
        options = _options.decode(nested) if nested[:1] == b"{" else _Options()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Decoded before for the same request, so only an oddity of a field that nobody counts by: its engine will say.
        return ANSWER, 1
    given = (head.max_completion_tokens, head.max_tokens, head.max_output_tokens, options.num_predict)
    named = [number for one in given if (number := _number(one)) > 0]
    times = max(_count(head.n), _count(head.best_of)) * _prompts(head.prompt)
    return (min(max(named), MOST) if named else ANSWER), min(max(times, 1), MOST)


def _plain(body: bytes) -> int | None:
    """The largest number behind a name that ends in `_tokens`, without decoding; None where one is no plain number.

    In a text its quotation marks would be escaped, so a match is a name. One of another object counts too: that errs upwards.
    """
    most = 0
    at = body.find(_TOKENS)
    while at >= 0:
        found = _PLAIN.match(body, at + 8)
        if found is None:
            return None
        number = int(found[1])
        most = max(most, number)
        at = body.find(_TOKENS, at + 8)
    return most or ANSWER


def _number(value: object) -> int:
    """As engines read one: they take `"10"` and `10.0` for 10."""
    if type(value) is int:
        return value
    if type(value) is float and abs(value) < _HUGE:
        return int(value)
    return int(value) if type(value) is str and len(value) < _DIGITS and value.isdecimal() else 0


def _count(value: object) -> int:
    return max(_number(value), 1)


def _prompts(raw: msgspec.Raw) -> int:
    """How many prompts a list of them holds; one of token ids is one."""
    data = bytes(raw)
    if data[:1] != b"[":
        return 1
    try:
        prompts = _list.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 1
    return len(prompts) if prompts and bytes(prompts[0])[:1] in {b'"', b"["} else 1
