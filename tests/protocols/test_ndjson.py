"""Lines out of any chunking."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocols.ollama_wire import CUTS, cut

from penstock.errors import BrokenAnswer
from penstock.protocols import ndjson


def split(parts: list[bytes]) -> list[bytes]:
    splitter = ndjson.Splitter()
    found = [line for part in parts for line in splitter.feed(part)]
    rest = splitter.rest()
    return [*found, rest] if rest else found


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"))), st.sampled_from(["\n", "\r\n"]), CUTS
)
def test_any_chunking_gives_the_same_lines(texts: list[str], end: str, cuts: list[int]) -> None:
    data = "".join(text + end for text in texts).encode()
    wanted = [text.encode() for text in texts if text.encode().strip()]
    assert [line.strip() for line in split(cut(data, cuts))] == [line.strip() for line in wanted]


def test_a_multibyte_character_may_be_cut() -> None:
    data = '{"a":"é€😀"}\n'.encode()
    for at in range(len(data)):
        assert split([data[:at], data[at:]]) == [data[:-1]]


def test_blank_lines_are_dropped() -> None:
    assert split([b'\n\r\n  \n{"a":1}\n\n{"b":2}\r\n\n']) == [b'{"a":1}', b'{"b":2}']


def test_the_last_line_may_lack_its_end() -> None:
    splitter = ndjson.Splitter()
    assert splitter.feed(b'{"a":1}\n{"b"') == [b'{"a":1}']
    assert splitter.feed(b":2}") == []
    assert splitter.rest() == b'{"b":2}'


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_bound_holds_whatever_the_chunking(end: bytes) -> None:
    fits = b"x" * ndjson.LIMIT
    assert ndjson.Splitter().feed(fits + end) == [fits]
    splitter = ndjson.Splitter()
    assert [line for part in (fits, end[:1], end[1:]) for line in splitter.feed(part)] == [fits]
    for parts in ([fits + b"x" + end], [fits, b"x" + end], [fits + b"x", b"y"], [b"{}\n" + fits + b"xy"]):
        with pytest.raises(BrokenAnswer, match="passed"):
            split(parts)
