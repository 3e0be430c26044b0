"""Durations, sizes and shares as people write them: `500ms`, `1m30s`, `32MiB`, `10%`; and back again.

Pure text to number and number to text. A bare number is already in the tree's own unit: seconds, bytes, or parts of one.
"""

from __future__ import annotations

import re
from decimal import Decimal

DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
SIZES = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}

LONGEST = 10.0**9
"""Seconds, more than 30 years. Beyond, and beyond the size below, numbers are no longer exact to the last digit."""
LARGEST = 2**53

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|KB|MB|GB|KiB|MiB|GiB)")
_SHARE = re.compile(r"(\d+(?:\.\d+)?) ?%")


def seconds(value: float | str) -> float:
    """Seconds of `2s`, `1m30s`, `500ms` or a plain number; ValueError says what is expected."""
    if isinstance(value, str):
        if not _DURATION.fullmatch(value):
            raise ValueError("a duration such as 500ms, 2s, 10m or 1h")
        # Rounded to the nanosecond, so that 100ms + 200ms is 0.3 and not the nearest neighbour of it.
        value = round(sum(float(number) * DURATIONS[unit] for number, unit in _DURATION_PART.findall(value)), 9)
    if not abs(value) <= LONGEST:
        raise ValueError("a duration such as 500ms, 2s, 10m or 1h")
    return float(value)


def size(value: int | str) -> int:
    """Bytes of `32MiB`, `1.5GB` or a plain number; ValueError says what is expected."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    if not match:
        raise ValueError("a size such as 512KiB, 32MiB or 1GiB")
    exact = float(match[1]) * SIZES[match[2]]
    if exact > LARGEST or exact != int(exact):
        raise ValueError("a size that is a whole number of bytes")
    return int(exact)


def share(value: float | str) -> float:
    """From 0 to 1, of `10%`, `0.5%` or a plain number from 0 to 1; ValueError says what is expected."""
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and not match:
        raise ValueError("a share such as 10%, 0.5% or 0.1")
    # As decimals, so that 7% is 0.07 and not the nearest neighbour of it.
    found = float(Decimal(match[1]) / 100) if match else float(value)
    if not 0 <= found <= 1:
        raise ValueError("a share from 0% to 100%, or a number from 0 to 1")
    return found


def seconds_text(value: float) -> str:
    """The shortest spelling that `seconds` reads back as the same value."""
    for unit in ("h", "m", "s"):
        whole = value / DURATIONS[unit]
        if value and whole == int(whole):
            return f"{int(whole)}{unit}"
    for spelled in (f"{value * 1000:.6f}".rstrip("0").rstrip(".") + "ms", f"{value:.9f}".rstrip("0") + "s"):
        if seconds(spelled) == value:
            return spelled
    return str(value)


def size_text(value: int) -> str:
    """The shortest spelling that `size` reads back as the same value."""
    for unit in ("GiB", "MiB", "KiB"):
        if value and value % SIZES[unit] == 0:
            return f"{value // SIZES[unit]}{unit}"
    return f"{value}B"


def share_text(value: float) -> str:
    """The shortest spelling in percent that `share` reads back as the same value."""
    spelled = f"{Decimal(repr(float(value))) * 100:f}"
    return (spelled.rstrip("0").rstrip(".") if "." in spelled else spelled) + "%"
