"""Embeddings, scores, ranks and token lists in vLLM's shapes. Pure."""

from __future__ import annotations

import base64
import struct
import time
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import msgspec

from penstock.faults.asked import Body, need, text_of
from penstock.faults.refused import Refused, wrong_type
from penstock.faults.reply import Reply
from penstock.faults.words import Vocabulary, split, vector

Shape = dict[str, object]
_LARGEST = 4096
"""Numbers in a vector, at most."""


def _texts(value: object, vocabulary: Vocabulary) -> list[str]:
    """One text or several, given as text or as token ids."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value and all(isinstance(item, int) for item in value):
        return [vocabulary.decode(value)]
    if isinstance(value, list):
        return [item if isinstance(item, str) else vocabulary.decode(_ids(item)) for item in value]
    raise wrong_type("input", "string_type", "Input should be a valid string", value)


def _ids(item: object) -> list[int]:
    if not isinstance(item, list):
        raise wrong_type("input", "list_type", "Input should be a valid list", item)
    return item


def _reply(shape: Shape, tokens: int = 1) -> Reply:
    return Reply(tokens=tokens, whole=msgspec.json.encode(shape))


def embeddings(body: Body, number: int, vocabulary: Vocabulary, size: int) -> Reply:
    need(body, "input")
    texts = _texts(body["input"], vocabulary)
    count = sum(len(split(text)) for text in texts)
    wanted = body.get("dimensions") or size
    if not 0 < wanted <= _LARGEST:
        raise Refused(
            400, f"dimensions must be greater than 0 and at most {_LARGEST}, got {wanted}.", param="dimensions"
        )
    size = wanted
    vectors: list[Any] = [vector(text, size) for text in texts]
    if body.get("encoding_format") == "base64":
        vectors = [base64.b64encode(struct.pack(f"<{size}f", *values)).decode() for values in vectors]
    return _reply(
        {
            "id": f"embd-{number:08x}",
            "object": "list",
            "created": int(time.time()),
            "model": body.get("model", ""),
            "data": [
                {"index": place, "object": "embedding", "embedding": values} for place, values in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": count, "total_tokens": count, "completion_tokens": 0},
        }
    )


def _likeness(one: str, other: str) -> float:
    """Share of common words: checkable by eye."""
    first, second = set(one.lower().split()), set(other.lower().split())
    return len(first & second) / len(first | second) if first | second else 0.0


def score(body: Body, number: int) -> Reply:
    one = body.get("text_1", body.get("queries"))
    other = body.get("text_2", body.get("documents"))
    if one is None or other is None:
        need(body, "text_1", "text_2")
    firsts = [one] if isinstance(one, str) else list(one or ())
    seconds = [other] if isinstance(other, str) else list(other or ())
    if len(firsts) == 1:
        firsts *= len(seconds)
    if len(firsts) != len(seconds):
        raise Refused(400, "Input lengths must be either 1:1, 1:N or N:N")
    count = sum(len(split(text)) for text in firsts + seconds)
    return _reply(
        {
            "id": f"score-{number:08x}",
            "object": "list",
            "created": int(time.time()),
            "model": body.get("model", ""),
            "data": [
                {"index": place, "object": "score", "score": _likeness(*pair)}
                for place, pair in enumerate(zip(firsts, seconds, strict=True))
            ],
            "usage": {"prompt_tokens": count, "total_tokens": count, "completion_tokens": 0},
        }
    )


def rerank(body: Body, number: int) -> Reply:
    need(body, "query", "documents")
    query, documents = body["query"], body["documents"]
    if body.get("top_n", 0) < 0:
        raise wrong_type("top_n", "greater_than_equal", "Input should be greater than or equal to 0", body["top_n"])
    ranked = sorted(enumerate(documents), key=lambda pair: -_likeness(query, pair[1]))
    count = sum(len(split(text)) for text in [query, *documents])
    return _reply(
        {
            "id": f"rerank-{number:08x}",
            "model": body.get("model", ""),
            "usage": {"prompt_tokens": count, "total_tokens": count},
            "results": [
                {
                    "index": place,
                    "document": {"text": text, "multi_modal": None},
                    "relevance_score": _likeness(query, text),
                }
                for place, text in ranked[: body.get("top_n") or None]
            ],
        }
    )


def tokenize(body: Body, vocabulary: Vocabulary, window: int) -> Reply:
    if "messages" in body:
        text = "\n".join(f"{turn.get('role')}: {text_of(turn.get('content'))}" for turn in body["messages"])
    else:
        need(body, "prompt")
        text = body["prompt"]
    tokens = split(text)
    names = tokens if body.get("return_token_strs") else None
    ids = vocabulary.encode(tokens)
    return _reply({"count": len(tokens), "max_model_len": window, "tokens": ids, "token_strs": names}, 0)


def detokenize(body: Body, vocabulary: Vocabulary) -> Reply:
    need(body, "tokens")
    return _reply({"prompt": vocabulary.decode(body["tokens"])}, 0)


def count_tokens(body: Body) -> Reply:
    need(body, "messages")
    text = "\n".join([text_of(body.get("system")), *(text_of(turn.get("content")) for turn in body["messages"])])
    return _reply({"input_tokens": len(split(text)), "context_management": None}, 0)


def form(raw: bytes, content_type: str) -> dict[str, bytes]:
    """The fields of a multipart body; a file's content is its value."""
    head = f"content-type: {content_type}\r\n\r\n".encode("latin-1")
    parsed = BytesParser(policy=HTTP).parsebytes(head + raw)
    if not parsed.is_multipart():
        raise Refused(400, "There was an error parsing the body", kind="Bad Request")
    fields: dict[str, bytes] = {}
    for part in parsed.iter_parts():  # type: ignore[attr-defined, unused-ignore]
        name = part.get_param("name", header="content-disposition")
        value = part.get_payload(decode=True)
        fields[str(name)] = value if isinstance(value, bytes) else b""
    return fields


def transcription(fields: dict[str, bytes]) -> Reply:
    """Says how many bytes of sound it heard: enough to see that every byte arrived."""
    if "file" not in fields:
        raise Refused(400, "1 validation error:\n  {'type': 'missing', 'loc': 'body.file'}", kind="Bad Request")
    words = f"heard {len(fields['file'])} bytes"
    if fields.get("response_format") == b"text":
        return Reply(tokens=3, whole=words.encode(), whole_type="text/plain; charset=utf-8")
    return _reply({"text": words, "usage": {"type": "duration", "seconds": 1}}, 3)
