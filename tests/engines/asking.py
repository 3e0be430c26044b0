"""Asking an engine on the wire with the standard library alone: what these tests see is what was sent, with no client in between."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WITHIN = 60.0
Json = dict[str, Any]

# In `strict` a tool's arguments follow its schema; with one property of two values, any model fills them in.
WEATHER: Json = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather here.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
            "required": ["unit"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        return dict(json.loads(self.body))

    @property
    def data(self) -> list[str]:
        """The payload of each `data:` line of an event stream."""
        return [line[6:].decode() for line in self.body.split(b"\n") if line.startswith(b"data: ")]

    @property
    def chunks(self) -> list[Json]:
        """The payloads before the `[DONE]` that has to end the stream."""
        *chunks, last = self.data
        assert last == "[DONE]"
        return [json.loads(chunk) for chunk in chunks]


def get(port: int, path: str) -> Answer:
    return ask(port, "GET", path, None)


def post(port: int, path: str, body: Json | bytes) -> Answer:
    return ask(port, "POST", path, body if isinstance(body, bytes) else json.dumps(body).encode())


def ask(port: int, method: str, path: str, body: bytes | None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body is not None else {})
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def chat(content: str, **fields: object) -> Json:
    """A greedy chat request of one message; a field given as None is left out."""
    body: Json = {"messages": [{"role": "user", "content": content}], "max_tokens": 8, "temperature": 0, **fields}
    return {name: value for name, value in body.items() if value is not None}


def without_blanks(guide: Path) -> Json:
    """The `logit_bias` that keeps a small model from filling a constrained answer with blanks, which JSON allows between its parts."""
    vocabulary = json.loads((guide / "tokenizer.json").read_text())["model"]["vocab"]
    # a byte-level tokenizer writes space, newline, tab and return as these letters
    return {str(number): -100 for token, number in vocabulary.items() if not token.strip("ĠĊĉč")}


def soon_over(guide: Path) -> Json:
    """The same, and an answer ends as soon as its grammar allows: a small model would go on with one call after another."""
    added = json.loads((guide / "tokenizer.json").read_text())["added_tokens"]
    return without_blanks(guide) | {str(token["id"]): 100 for token in added if token["content"] == "<|end|>"}
