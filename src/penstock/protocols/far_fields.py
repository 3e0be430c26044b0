"""Request fields that reach beyond the request that has them: into others' turns, caches, memory, or the engine itself.

Engines take them from whoever asks. A gateway with several callers lets only those send them whose key says so. Pure.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import msgspec

NAMES = (
    "cache_salt",
    "chat_template",
    "ec_transfer_params",
    "kv_transfer_params",
    "logits_processors",
    "media_io_kwargs",
    "mm_processor_kwargs",
    "priority",
    "request_id",
    "vllm_xargs",
)
"""`priority`: others' turns · `cache_salt`: another tenant's cache · `kv_transfer_params`, `ec_transfer_params`: other
engines · `chat_template`, `logits_processors`, `vllm_xargs`: code and plug-ins · the others: memory and names."""

_ABSENT = msgspec.Raw()
_Far = msgspec.defstruct("_Far", [(name, msgspec.Raw, _ABSENT) for name in NAMES], gc=False)
_far = msgspec.json.Decoder(_Far)
_NOTHING = _Far()
_PART = re.compile(rb"(?i)^content-disposition:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)", re.MULTILINE)


def far_fields(body: bytes, content_type: str) -> tuple[str, ...]:
    """Those of `NAMES` that a request body has at its top, null or not, however the name is spelled."""
    if content_type[:10].lower() == "multipart/":
        return _of_form(body)
    try:
        found = _far.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()  # no JSON object: the decoder of its route says so, and nothing is sent on
    if found == _NOTHING:
        return ()
    return tuple(name for name in NAMES if getattr(found, name) != _ABSENT)


def _of_form(body: bytes) -> tuple[str, ...]:
    """A form is not taken apart for this: a name in the head of any part counts, percent-encoded or not."""
    heads = b" ".join(_PART.findall(body))
    if not heads:
        return ()
    words = heads + b" " + unquote_to_bytes(heads)
    return tuple(
        name for name in NAMES if re.search(rb"(?<![a-zA-Z0-9_])" + name.encode() + rb"(?![a-zA-Z0-9_])", words)
    )
