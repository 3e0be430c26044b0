"""One place that turns a request body into a typed head, and every way it can be wrong into a readable refusal.

msgspec skips what the head does not name, so a 100 KB prompt costs a scan and no objects. UTF-8 is checked whole:
skipped strings are not.
"""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from penstock.errors import BadRequest
from penstock.protocols.splice import ambiguous, spans

T = TypeVar("T")

_PATH = re.compile(r"at `\$\.?([^`]*)`")


def decode(decoder: msgspec.json.Decoder[T], body: bytes, keys: tuple[bytes, ...]) -> T:
    """The head of a JSON request; `keys` are the quoted names whose repetition would be a contradiction."""
    if not body:
        msg = "Reading the request: the body is empty."
        raise BadRequest(msg, hint="Send a JSON object.")
    try:
        head = decoder.decode(body)
        if not body.isascii():
            body.decode()
    except msgspec.ValidationError as error:
        found = _PATH.search(str(error))
        param = (found.group(1) or None) if found else None
        msg = f"Reading the request body: {error}."
        raise BadRequest(msg, param=param) from None
    except msgspec.DecodeError as error:
        msg = f"Reading the request body: {error}."
        raise BadRequest(msg, hint="Send one well-formed JSON object.") from None
    except UnicodeDecodeError as error:
        msg = f"Reading the request body: not UTF-8 at byte {error.start}."
        raise BadRequest(msg, hint="JSON is UTF-8.") from None
    except RecursionError:
        msg = "Reading the request body: it is nested too deeply."
        raise BadRequest(msg) from None
    if ambiguous(body, keys):
        spans(body)
    return head


def refuse_repeated(body: bytes, keys: tuple[bytes, ...]) -> None:
    """`BadRequest` where one of these top-level keys, quoted, stands there twice."""
    if ambiguous(body, keys):
        spans(body)
