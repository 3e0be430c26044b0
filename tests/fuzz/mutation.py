"""New inputs from known ones, without looking at what they reach: for the run in CI, where atheris is not installed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

LARGEST = 4096
WORDS = (
    b"data: ", b"\n\n", b"\r\n", b"\r", b"\xef\xbb\xbf", b"\x00", b"\xff", b"\xed\xa0\x80", b"[DONE]", b"null", b"{}", b"[]", b"\\u0000",
    b"\\ud800", b'"', b"\\", b"1e999", b"NaN", b"-0", b"9" * 40, b'"model":', b'"error":', b'"usage":null', b'"choices":[]',
    b'"finish_reason":"stop"', b'"done":true', b"content-length: 1", b"transfer-encoding: chunked", b"[" * 600, b'{"a":' * 600,
)  # fmt: skip


def _flip(dice: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _remove(dice: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        at = dice.randrange(len(data))
        del data[at : at + dice.choice((1, 2, 8, 64))]


def _insert(dice: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = dice.randrange(len(data) + 1)
    data[at:at] = dice.choice(WORDS)


def _repeat(dice: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        at = dice.randrange(len(data))
        piece = data[at : at + dice.choice((1, 4, 30, 200))]
        data[at:at] = piece * dice.choice((1, 2, 9))


def _splice(dice: random.Random, data: bytearray, known: Sequence[bytes]) -> None:
    other = dice.choice(known)
    at, begin = dice.randrange(len(data) + 1), dice.randrange(len(other) + 1)
    data[at:] = other[begin:]


STEPS: tuple[Callable[[random.Random, bytearray, Sequence[bytes]], None], ...] = (
    _flip, _remove, _insert, _insert, _repeat, _splice,
)  # fmt: skip


def mutated(dice: random.Random, known: Sequence[bytes]) -> bytes:
    """One of the known inputs after one to six changes."""
    data = bytearray(dice.choice(known))
    for _ in range(dice.randrange(1, 7)):
        dice.choice(STEPS)(dice, data, known)
    return bytes(data[:LARGEST])
