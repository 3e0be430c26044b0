"""RFC 8785: its own vectors, and that a receipt's fast spelling is the same one."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import BadReceipt
from penstock.receipts import canonical, receipt
from penstock.receipts.receipt import Receipt, Step, Timings, Tool, Usage, Verdict

NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}
"""Appendix B, by the bits of the double."""


@pytest.mark.parametrize("bits", NUMBERS)
def test_numbers_of_the_rfc(bits: str) -> None:
    assert canonical.number(struct.unpack(">d", bytes.fromhex(bits))[0]) == NUMBERS[bits]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, {"a": "\ud800"}])
def test_what_json_cannot_hold_is_refused(value: canonical.Json) -> None:
    with pytest.raises(BadReceipt):
        canonical.encode(value)


def test_the_example_of_the_rfc() -> None:
    given_ = (
        '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],'
        '"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/","literals":[null,true,false]}'
    )
    assert canonical.encode(json.loads(given_)).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_members_are_sorted_by_utf16() -> None:
    names = ["€", "\r", "\ufb33", "1", "\U0001f600", "\x80", "ö"]
    written = json.loads(
        canonical.encode(dict.fromkeys(names, 0)), object_pairs_hook=lambda pairs: [name for name, _ in pairs]
    )
    assert written == ["\r", "1", "\x80", "ö", "€", "\U0001f600", "\ufb33"]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBER = st.integers(0, 2**53 - 1)
RECEIPTS = st.builds(
    Receipt,
    adapter=st.none() | TEXT,
    alias=TEXT,
    answer=st.none() | TEXT,
    attempts=NUMBER,
    backend=TEXT,
    caller=TEXT,
    digest=st.none() | TEXT,
    error=st.none() | TEXT,
    fallback=st.lists(st.builds(Step, TEXT, TEXT), max_size=2).map(tuple),
    finish=TEXT,
    id=TEXT,
    key=TEXT,
    model=TEXT,
    outcome=TEXT,
    path=TEXT,
    prompt=st.none() | TEXT,
    status=NUMBER,
    stream=st.booleans(),
    target=st.integers(-1, 9),
    tenant=TEXT,
    time=TEXT,
    timings=st.builds(Timings, st.none() | NUMBER, NUMBER, st.none() | NUMBER, st.none() | NUMBER),
    tools=st.lists(st.builds(Tool, TEXT, TEXT), max_size=2).map(tuple),
    usage=st.none() | st.builds(Usage, NUMBER, NUMBER),
    verdicts=st.lists(st.builds(Verdict, TEXT, TEXT), max_size=2).map(tuple),
)


@given(RECEIPTS)
def test_a_receipt_is_written_in_its_canonical_form(one: Receipt) -> None:
    data = receipt.canonical(one)
    assert data == canonical.encode(json.loads(data))
    assert receipt.read(data) == one


@given(RECEIPTS)
def test_another_spelling_is_refused(one: Receipt) -> None:
    data = receipt.canonical(one)
    for other in (
        data.replace(b'"v":1', b'"v": 1'),
        data.replace(b'"v":1', b'"v":2'),
        data + b" ",
        data[:-1] + b',"x":1}',
    ):
        if other != data:
            with pytest.raises(BadReceipt):
                receipt.read(other)
