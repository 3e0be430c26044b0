"""The head of a multipart form (audio routes): which model it names, and how to name another.

The file itself is never copied or looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from penstock.errors import BadRequest

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_TRUE = frozenset({b"true", b"1"})


class Field(msgspec.Struct, frozen=True):
    """One small text field: its value and where it stands in the body."""

    value: bytes
    start: int
    end: int


def fields(body: bytes, content_type: str) -> dict[str, Field]:
    """All fields that are not files, by name; `BadRequest` when the form cannot be read."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        msg = f"Reading the request: {content_type or 'no content type'} where multipart/form-data is expected."
        raise BadRequest(msg, hint="Send the audio as a form with the fields `file` and `model`.")
    collector = _Collector(body)
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        msg = f"Reading the multipart form: {error}."
        raise BadRequest(msg) from None
    return collector.found


def replaced(body: bytes, field: Field, value: bytes) -> bytes:
    """The form with one field's value changed."""
    return body[: field.start] + value + body[field.end :]


def truthy(field: Field | None) -> bool:
    """Whether a form field says yes."""
    return field is not None and field.value.strip().lower() in _TRUE


class _Collector:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self.found: dict[str, Field] = {}
        self._header = b""
        self._value = b""
        self._name = ""
        self._is_file = False
        self._start = self._end = -1

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_part_data": self._on_data,
            "on_part_end": self._on_end,
        }

    def _begin(self) -> None:
        self._header = self._value = b""
        self._name, self._is_file, self._start, self._end = "", False, -1, -1

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            self._is_file = b"filename" in options
        self._header = self._value = b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        # A run of CR or LF inside a part comes from the parser's own look-behind buffer: no place in the body.
        if data is self._body:
            self._start = start if self._start < 0 else self._start
            self._end = end

    def _on_end(self) -> None:
        if self._name and not self._is_file and self._start >= 0:
            if self._name in self.found:
                msg = f"Reading the multipart form: the field {self._name!r} appears twice."
                raise BadRequest(msg, param=self._name)
            self.found[self._name] = Field(self._body[self._start : self._end], self._start, self._end)
