"""Forms: the model is read and renamed, the file is not touched."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocols.ollama_wire import tried

from penstock.errors import BadRequest
from penstock.protocols import multipart

TYPE = "multipart/form-data; boundary=XX"


def part(name: str, value: bytes, filename: str = "") -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    return f'--XX\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--XX--\r\n"


def test_a_boundary_that_is_too_long_is_a_bad_request() -> None:
    with pytest.raises(BadRequest, match="Boundary length"):
        multipart.fields(form(part("model", b"m")), "multipart/form-data; boundary=" + "X" * 300)


SOUND = st.binary(max_size=60) | st.lists(st.sampled_from([b"\r", b"\n", b"--XX", b"\r\n--X", b"-", b"a"])).map(
    b"".join
)


@given(SOUND, st.text("abc-/:.é", min_size=1, max_size=8), st.booleans())
@settings(max_examples=100)
def test_the_model_is_found_and_renamed_beside_any_file(sound: bytes, model: str, first: bool) -> None:  # noqa: FBT001 - drawn
    if b"\r\n--XX" in b"\r\n" + sound:
        return  # that would be a boundary
    file, named = part("file", sound, "a.wav"), part("model", model.encode())
    body = form(file, named) if first else form(named, file)
    found = multipart.fields(body, TYPE)
    assert found.keys() == {"model"}
    assert found["model"].value == model.encode()
    assert multipart.replaced(body, found["model"], b"other") == body.replace(named, part("model", b"other"))


def test_fields_by_name() -> None:
    found = multipart.fields(form(part("model", b"m"), part("stream", b"True"), part("language", b"en")), TYPE)
    assert {name: field.value for name, field in found.items()} == {"model": b"m", "stream": b"True", "language": b"en"}
    assert multipart.truthy(found["stream"])
    assert not multipart.truthy(found["language"])
    assert not multipart.truthy(None)


def test_a_file_named_model_is_no_model() -> None:
    assert multipart.fields(form(part("model", b"m", "model.bin")), TYPE) == {}


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"{}", "application/json", "multipart/form-data is expected"),
        (b"", "", "no content type"),
        (b"", "multipart/form-data", "multipart/form-data is expected"),
        (b"garbage", TYPE, "Reading the multipart form"),
        (form(part("model", b"a"), part("model", b"b")), TYPE, "'model' appears twice"),
    ],
)
def test_what_is_wrong_is_said(body: bytes, kind: str, said: str) -> None:
    with pytest.raises(BadRequest, match="Reading the") as error:
        multipart.fields(body, kind)
    assert said in error.value.message


@given(
    st.binary(max_size=80) | st.lists(st.sampled_from([b"--XX", b"\r\n", b":", b"a", b"--"]), max_size=12).map(b"".join)
)
@settings(max_examples=80)
def test_any_bytes_are_a_form_or_a_refusal(body: bytes) -> None:
    found = tried(lambda: multipart.fields(body, TYPE))
    assert isinstance(found, dict) or found.sentence().startswith("Reading the multipart form")
