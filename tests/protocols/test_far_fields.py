"""Fields that reach beyond their request are seen however they are written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from penstock.protocols.far_fields import NAMES, far_fields

JSON = "application/json"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"model": "m", "messages": []}', ()),
        (b'{"model": "m", "priority": 0}', ("priority",)),
        (b'{"pri\\u006frity": 3}', ("priority",)),
        (b'{"priority": null}', ("priority",)),
        (b'{"priority": 3, "priority": null}', ("priority",)),
        (b'{"vllm_xargs": {"a": [1]}, "cache_salt": "x"}', ("cache_salt", "vllm_xargs")),
        (b'{"messages": [{"priority": 1, "content": "priority"}]}', ()),
        (b'{"Priority": 1}', ()),
        (b"[1]", ()),
        (b"{", ()),
        (b"\xff", ()),
        (b"", ()),
        (b"[" * 100_000, ()),
    ],
)
def test_what_stands_at_the_top_of_a_body(body: bytes, found: tuple[str, ...]) -> None:
    assert far_fields(body, JSON) == found


@given(
    some.dictionaries(some.sampled_from([*NAMES, "model", "n", "top_k"]), some.none() | some.integers() | some.text())
)
def test_any_body(body: dict[str, object]) -> None:
    expected = tuple(name for name in NAMES if name in body)
    assert far_fields(json.dumps(body).encode(), JSON) == expected


@pytest.mark.parametrize(
    "line",
    [
        b'content-disposition: form-data; name="priority"',
        b"Content-Disposition: form-data; name=priority",
        b"content-disposition: form-data;\r\n name=priority",
        b"content-disposition: form-data; name*=utf-8''pri%6frity",
    ],
)
def test_a_form(line: bytes) -> None:
    body = b"--b\r\n" + line + b"\r\n\r\n7\r\n--b--\r\n"
    assert far_fields(body, "multipart/form-data; boundary=b") == ("priority",)
    plain = body.replace(line, b'content-disposition: form-data; name="prompt"').replace(b"7", b"priority")
    assert far_fields(plain, "Multipart/form-data; boundary=b") == ()
