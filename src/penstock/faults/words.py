"""The scripted engine's tokenizer and its sense of schemas: pure functions, so that every count can be checked by hand."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_ITEMS = 64
"""Entries of a made-up list, whatever the schema asks for."""
_TOKEN = re.compile(r"\s*\S+|\s+")
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")

_PLAIN: dict[str, object] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "null": None}


def split(text: str) -> list[str]:
    """The tokens of a text; joining them gives it back."""
    return _TOKEN.findall(text)


def told(tokens: Iterable[str], before: bytes = b"") -> list[str]:
    """What each token lets an engine send: nothing as long as a character is incomplete, as vLLM's detokenizer has it.

    `<0xE2>` is a token of one byte. `before` is what stands before the first token; where that ends inside a character,
    vLLM begins its text with all of it, and so does this.
    """
    texts = []
    pending = before if _incomplete(before) else b""
    for token in tokens:
        byte = _BYTE.fullmatch(token)
        pending += bytes.fromhex(byte[1]) if byte else token.encode("utf-8", "surrogatepass")
        done = not _incomplete(pending)
        texts.append(pending.decode("utf-8", "replace") if done else "")
        pending = b"" if done else pending
    return texts


def spelled(tokens: Iterable[str]) -> bytes:
    """The bytes of tokens."""
    found = ((token, _BYTE.fullmatch(token)) for token in tokens)
    return b"".join(bytes.fromhex(byte[1]) if byte else token.encode("utf-8", "surrogatepass") for token, byte in found)


def _incomplete(text: bytes) -> bool:
    return text.decode("utf-8", "replace").endswith("\N{REPLACEMENT CHARACTER}")


def token_id(token: str) -> int:
    """The id of a token: a function of its text alone."""
    return zlib.crc32(token.encode("utf-8", "surrogatepass")) & 0x7FFFFFFF


class Vocabulary:
    """Remembers the tokens it has given ids to, so that ids can be turned back; bounded by forgetting the oldest."""

    def __init__(self, limit: int = 100_000) -> None:
        self._texts: dict[int, str] = {}
        self._limit = limit

    def encode(self, tokens: Iterable[str]) -> list[int]:
        ids = []
        for token in tokens:
            number = token_id(token)
            self._texts[number] = token
            ids.append(number)
            if len(self._texts) > self._limit:
                del self._texts[next(iter(self._texts))]
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self._texts.get(number, "\N{REPLACEMENT CHARACTER}") for number in ids)


def sample(schema: object, depth: int = 0) -> object:
    """The smallest plain value that satisfies a JSON schema's types, enums, required and items."""
    if not isinstance(schema, Mapping) or depth > 16:
        return {}
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return sample(schema[key][0], depth + 1)
    given = [schema[key] for key in ("const", "default") if key in schema] + list(schema.get("enum", ()))[:1]
    return given[0] if given else _of_type(schema, depth)


def _of_type(schema: Mapping[str, Any], depth: int) -> object:
    kind = schema.get("type")
    if isinstance(kind, Sequence) and not isinstance(kind, str):
        kind = kind[0] if kind else "object"
    if kind == "array":
        return [sample(schema.get("items", {}), depth + 1)] * max(1, min(int(schema.get("minItems", 1)), _ITEMS))
    if kind in _PLAIN:
        return schema.get("minimum", _PLAIN[kind])
    properties = schema.get("properties", {})
    return {name: sample(properties[name], depth + 1) for name in properties}


def vector(text: str, size: int) -> list[float]:
    """An embedding that is a function of the text: equal texts are equal, different texts are not."""
    seeds = [
        hashlib.blake2b(f"{place}:{text}".encode("utf-8", "surrogatepass"), digest_size=4) for place in range(size)
    ]
    return [round(int.from_bytes(seed.digest()) / 0xFFFFFFFF * 2 - 1, 6) for seed in seeds]
