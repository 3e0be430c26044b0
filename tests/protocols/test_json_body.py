"""Every way in which a body can be wrong is a readable refusal."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import BadRequest
from penstock.protocols import json_body


class Head(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None


DECODER = msgspec.json.Decoder(Head)
KEYS = (b'"model"',)


def test_a_head_is_read_and_the_rest_ignored() -> None:
    head = json_body.decode(DECODER, '{"stream":true,"messages":[{"content":"é"}],"model":"m"}'.encode(), KEYS)
    assert (head.model, head.stream) == ("m", True)


@pytest.mark.parametrize(
    ("body", "said", "param"),
    [
        (b"", "the body is empty", None),
        (b"{", "Reading the request body", None),
        (b"\xef\xbb\xbf{}", "Reading the request body", None),
        (b'{"model":"m"} x', "Reading the request body", None),
        (b"[]", "Expected `object`, got `array`", None),
        (b"null", "Expected `object", None),
        (b'{"model":5}', "Expected `str | null`, got `int`", "model"),
        (b'{"stream":"yes"}', "Expected `bool | null`, got `str`", "stream"),
        (b'{"note":"\xff","model":"m"}', "not UTF-8 at byte 9", None),
        (b'{"model":"a","model":"b"}', "'model' appears twice", "model"),
        (b'{"model":"a","mod\\u0065l":"b"}', "'model' appears twice", "model"),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "Reading the request body", None),
    ],
)
def test_what_is_wrong_is_said(body: bytes, said: str, param: str | None) -> None:
    with pytest.raises(BadRequest) as error:
        json_body.decode(DECODER, body, KEYS)
    assert said in error.value.sentence()
    assert error.value.param == param


@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=100)
def test_any_bytes_are_a_head_or_a_refusal(body: bytes) -> None:
    try:
        head = json_body.decode(DECODER, body, KEYS)
    except BadRequest:
        return
    assert isinstance(head, Head)


def test_a_repeated_key_that_nobody_watches_is_the_engines_business() -> None:
    json_body.decode(DECODER, b'{"model":"m","x":1,"x":2}', KEYS)
    with pytest.raises(BadRequest, match="'x' appears twice"):
        json_body.refuse_repeated(b'{"model":"m","x":1,"x":2}', (b'"x"',))


def test_a_name_that_is_repeated_further_in_is_no_contradiction() -> None:
    assert json_body.decode(DECODER, b'{"model":"m","metadata":{"model":"n"}}', KEYS).model == "m"
