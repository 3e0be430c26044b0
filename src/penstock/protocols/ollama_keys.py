"""Keys that Go reads as others: its JSON decoder ignores case, so to Ollama `Model` after `model` is the model.

A request that says one thing to us and another to the backend would walk around the alias it asked for and around
every rule about its messages. Real clients never do it; it is refused, whatever the backend.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from penstock.errors import BadRequest
from penstock.protocols import splice

_ODD = re.compile(rb'"(?=[^"]{0,130}[A-Z\x80-\xff\\])[^"]{1,130}"\s*:')
"""A key that is not plain lower case; bounded, because a long prompt is searched too. Our longest name, each letter
spelled as an escape, fits."""
_messages = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def check(body: bytes, names: frozenset[str], of_messages: frozenset[str] = frozenset()) -> None:
    """Refuse a well-formed object with a key that folds to one of ours without being it."""
    if _ODD.search(body) is None:
        return
    found = splice.spans(body)
    _refuse_folded(found, names)
    at = found.get("messages")
    if at is None or not of_messages:
        return
    try:
        messages = _messages.decode(body[at.value : at.end])
    except msgspec.ValidationError:
        return
    for message in messages:
        _refuse_folded(message, of_messages)


def _refuse_folded(keys: Iterable[str], names: frozenset[str]) -> None:
    for key in keys:
        meant = key.casefold()
        if meant in names and key not in names:
            msg = f"Reading the request body: the key {key!r} is {meant!r} to Ollama and nothing to others."
            raise BadRequest(msg, hint="Write it in lower case.", param=key)
