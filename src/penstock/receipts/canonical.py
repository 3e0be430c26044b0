"""JSON in the one form of RFC 8785: members sorted, no spaces, numbers as ECMAScript writes them.

A digest needs one spelling. Objects are sorted by UTF-16 code units, as that RFC wants it. Nothing of receipts here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from penstock.errors import BadReceipt

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

EXACT = 2**53
"""Integers from here on are no exact doubles: the RFC knows doubles only."""
_DEPTH = 64
_PLAIN_FROM, _PLAIN_TO = -6, 21
"""Decimal exponents between which ECMAScript writes no exponent."""


def encode(value: Json) -> bytes:
    """The canonical bytes; raises `BadReceipt` for what JSON or a double cannot hold."""
    try:
        return _text(value, _DEPTH).encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadReceipt(f"Writing canonical JSON: a lone surrogate at character {error.start}.") from None


def _text(value: Json, depth: int) -> str:
    if depth == 0:
        raise BadReceipt(f"Writing canonical JSON: nested deeper than {_DEPTH}.")
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, Mapping):
        members = sorted(value.items(), key=lambda one: one[0].encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_text(name, 1)}:{_text(one, depth - 1)}" for name, one in members) + "}"
    return "[" + ",".join(_text(one, depth - 1) for one in value) + "]"


def number(value: float) -> str:
    """A number as ECMAScript's `ToString` writes it."""
    if isinstance(value, int):
        if abs(value) >= EXACT:
            raise BadReceipt(f"Writing canonical JSON: {value} is no exact double.")
        return str(value)
    if not math.isfinite(value):
        raise BadReceipt(f"Writing canonical JSON: JSON has no {value}.")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    # repr gives the shortest digits that read back as the same double, which is what ECMAScript asks for
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0") or "0"
    return sign + _laid_out(digits, point)


def _laid_out(digits: str, point: int) -> str:
    """Digits with the decimal point after the first `point` of them."""
    if _PLAIN_FROM < point <= _PLAIN_TO:
        if point <= 0:
            return "0." + "0" * -point + digits
        if len(digits) <= point:
            return digits + "0" * (point - len(digits))
        return f"{digits[:point]}.{digits[point:]}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{'+' if point > 0 else '-'}{abs(point - 1)}"
