"""The caller's trace goes on under a new parent, or not at all."""

from __future__ import annotations

import re

import pytest

from penstock.gateway.trace import continued

TRACE, PARENT = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"


@pytest.mark.parametrize("flags", [b"00", b"01"])
def test_the_trace_goes_on_with_this_hop_as_parent(flags: bytes) -> None:
    one = continued(b"00-" + TRACE + b"-" + PARENT + b"-" + flags)
    found = re.fullmatch(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", one)
    assert found is not None
    assert found[1] == TRACE
    assert found[2] != PARENT
    assert found[3] == flags
    assert continued(b"00-" + TRACE + b"-" + PARENT + b"-" + flags) != one


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert continued(b"01-" + TRACE + b"-" + PARENT + b"-01-more").startswith(b"00-" + TRACE)


@pytest.mark.parametrize(
    "value",
    [
        None, b"", b"garbage", b"ff-" + TRACE + b"-" + PARENT + b"-01", b"00-" + b"0" * 32 + b"-" + PARENT + b"-01",
        b"00-" + TRACE + b"-" + b"0" * 16 + b"-01", b"00-" + TRACE.upper() + b"-" + PARENT + b"-01",
        b"00-" + TRACE[1:] + b"-" + PARENT + b"-01", b"00-" + TRACE + b"-" + PARENT,
        b"00-" + TRACE + b"-" + PARENT + b"-01\r\nx: y",
    ],
)  # fmt: skip
def test_a_malformed_trace_is_not_passed_on(value: bytes | None) -> None:
    assert continued(value) == b""
