"""Plain HTTP to a running engine: no client library, so that every byte on the wire is the engine's."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 -- whatever the engine says
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The JSON of every server-sent event but the last, which has to be [DONE]."""
        lines = [line.removeprefix("data: ") for line in self.body.decode().split("\n") if line.startswith("data: ")]
        assert lines.pop() == "[DONE]"
        return [json.loads(line) for line in lines]


def ask(port: int, path: str, body: object = None, **headers: str) -> Answer:
    """POST where there is a body, else GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        payload = None if body is None else json.dumps(body).encode()
        given = {"Content-Type": "application/json"} | headers
        connection.request("GET" if payload is None else "POST", path, payload, given)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def chat(port: int, question: str, **fields: object) -> Answer:
    """One question at temperature 0."""
    messages = [{"role": "user", "content": question}]
    return ask(port, "/v1/chat/completions", {"model": "guide", "messages": messages, "temperature": 0} | fields)
