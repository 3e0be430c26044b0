"""Whether two JSON texts say the same: as values, not as letters. Pure.

The order of members and the spelling of a number (`1`, `1.0`) mean nothing in JSON; the order of a list does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from penstock.agreement.answer import ToolCall

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"

NO_VALUE = object()
"""What `value_of` gives for a text that is no JSON; `None` is what it gives for `null`."""


def value_of(text: str) -> object:
    """The value of a JSON text, or NO_VALUE."""
    try:
        return msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return NO_VALUE


def same_value(first: object, second: object) -> bool:
    """Whether two values are equal, however deep. Without recursion: engines nest what they like."""
    waiting = [(first, second)]
    while waiting:
        one, other = waiting.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            waiting += [(one[name], other[name]) for name in one]
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            waiting += zip(one, other, strict=True)
        elif isinstance(one, bool) != isinstance(other, bool) or one != other:
            # Python calls True and 1 equal; JSON does not.
            return False
    return True


def same_json(first: str, second: str) -> bool:
    """Whether both are JSON and say the same."""
    one, other = value_of(first), value_of(second)
    return one is not NO_VALUE and other is not NO_VALUE and same_value(one, other)


def same_calls(first: Sequence[ToolCall], second: Sequence[ToolCall]) -> bool:
    """Whether both want the same calls; calls made side by side have no order."""
    left = list(second)
    for call in first:
        found = next((one for one in left if _same_call(call, one)), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def _same_call(first: ToolCall, second: ToolCall) -> bool:
    if first.name != second.name:
        return False
    return first.arguments == second.arguments or same_json(first.arguments or "{}", second.arguments or "{}")
