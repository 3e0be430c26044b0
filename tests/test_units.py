"""Durations, sizes and shares: every spelling people use, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.units import seconds, seconds_text, share, share_text, size, size_text


@pytest.mark.parametrize(
    ("text", "value"),
    [("2s", 2), ("500ms", 0.5), ("10m", 600), ("1h", 3600), ("1m30s", 90), ("0.5s", 0.5), (3, 3), (0.25, 0.25)],
)
def test_durations(text: str | float, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "2", "2x", "s", "-1s", "1 s", "2s!", "1e3s", float("inf"), float("nan")])
def test_what_is_no_duration(text: str | float) -> None:
    with pytest.raises(ValueError, match="a duration such as"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("32MiB", 33554432), ("64KiB", 65536), ("1.5GB", 1_500_000_000), ("7B", 7), ("1 MB", 10**6), (9, 9)],
)
def test_sizes(text: str | int, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "32", "32mib", "MiB", "-1B", "1.5B"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="a size"):
        size(text)


@given(st.floats(min_value=1e-6, max_value=1e9, allow_nan=False))
def test_every_duration_reads_back(value: float) -> None:
    text = seconds_text(value)
    assert (float(text) if text[-1].isdigit() else seconds(text)) == value


@given(st.integers(min_value=1, max_value=2**50))
def test_every_size_reads_back(value: int) -> None:
    assert size(size_text(value)) == value


@pytest.mark.parametrize(
    ("text", "value"), [("10%", 0.1), ("7%", 0.07), ("0.5 %", 0.005), ("100%", 1), ("0%", 0), (0.25, 0.25), (1, 1)]
)
def test_shares(text: str | float, value: float) -> None:
    assert share(text) == value


@pytest.mark.parametrize("text", ["", "10", "%", "-1%", "101%", "ten%", 10, -0.1, 1.01, float("nan"), float("inf")])
def test_what_is_no_share(text: str | float) -> None:
    with pytest.raises(ValueError, match="a share"):
        share(text)


@given(st.floats(min_value=0, max_value=1, allow_nan=False))
def test_every_share_reads_back(value: float) -> None:
    assert share_text(value).endswith("%")
    assert share(share_text(value)) == value


@pytest.mark.parametrize(("value", "text"), [(0, "0%"), (1, "100%"), (0.1, "10%"), (0.005, "0.5%"), (0.07, "7%")])
def test_shares_as_people_write_them(value: float, text: str) -> None:
    assert share_text(value) == text


def test_a_number_too_large_for_any_use_is_refused_in_words() -> None:
    for read, text in (
        (seconds, "9" * 400 + "s"),
        (size, "9" * 400 + "GiB"),
        (seconds, "300000h"),
        (size, "9000000000GiB"),
    ):
        with pytest.raises(ValueError, match=r"a duration|a size"):
            read(text)


def test_a_duration_that_milliseconds_cannot_say_is_said_in_seconds() -> None:
    value = seconds("500400m400ms")
    assert seconds(seconds_text(value)) == value
