"""The curl program against both protocols, with the requests that people paste. It checks nothing: it does and shows."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.clients.outcome import Ask, Json, Refused, Said, ToolUse

WITHIN = 30


@dataclass(frozen=True, slots=True)
class Page:
    """What curl printed."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever was answered
        return json.loads(self.body)


class CurlRefused(Exception):
    """An answer with an error status."""

    def __init__(self, page: Page) -> None:
        super().__init__(page.body)
        self.page = page


def curl(url: str, body: Json) -> Page:
    """One POST; raises CurlRefused for an error status."""
    command = ["curl", "-sS", "-i", "-N", "--max-time", str(WITHIN), "-H", "Content-Type: application/json", "-d", "@-"]
    done = subprocess.run([*command, url], input=json.dumps(body).encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    head, _, rest = done.stdout.partition(b"\r\n\r\n")
    while b" 100 " in head.splitlines()[0]:
        head, _, rest = rest.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    page = Page(int(first.split()[1]), headers, rest.decode())
    if page.status != 200:
        raise CurlRefused(page)
    return page


class CurlOpenAI:
    """curl speaking OpenAI."""

    error = CurlRefused

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1"

    def close(self) -> None:
        """Every curl has ended by itself."""

    def _body(self, ask: Ask, **fields: object) -> Json:
        turns = [{"role": "user", "content": ask.text}]
        plain = {"model": ask.model, "temperature": ask.temperature, "max_tokens": ask.limit}
        return {"messages": turns, **plain, **fields}

    def _post(self, body: Json) -> tuple[Page, Said]:
        page = curl(f"{self._url}/chat/completions", body)
        return page, self._said(page)

    def chat(self, ask: Ask) -> Said:
        return self._post(self._body(ask))[1]

    def generate(self, ask: Ask) -> Said:
        body = {"model": ask.model, "prompt": ask.text, "temperature": ask.temperature, "max_tokens": ask.limit}
        return self._said(curl(f"{self._url}/completions", body))

    def stream(self, ask: Ask) -> Said:
        page = curl(
            f"{self._url}/chat/completions", self._body(ask, stream=True, stream_options={"include_usage": True})
        )
        *events, done, end = page.body.split("\n\n")
        assert (done, end) == ("data: [DONE]", ""), page.body
        chunks = [json.loads(event.removeprefix("data: ")) for event in events]
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        pieces = [choice["delta"]["content"] for choice in choices if choice["delta"].get("content")]
        usage = next(chunk["usage"] for chunk in chunks if chunk.get("usage"))
        (model,) = {chunk["model"] for chunk in chunks}
        (identity,) = {chunk["id"] for chunk in chunks}
        return Said(
            text="".join(pieces),
            pieces=len(pieces),
            model=model,
            finish=next(choice["finish_reason"] for choice in choices if choice["finish_reason"]),
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
            id=identity,
            backend=page.headers.get("x-penstock-backend"),
        )

    def tools(self, ask: Ask, tool: Json, result: str, *, forced: bool) -> tuple[Said, Said]:
        choice = {"type": "function", "function": {"name": tool["function"]["name"]}}
        body = self._body(ask, tools=[tool], **ask.extra)
        page, first = self._post({**body, "tool_choice": choice} if forced else body)
        message = page.json["choices"][0]["message"]
        results = [{"role": "tool", "tool_call_id": call.id, "content": result} for call in first.calls]
        return first, self._post({**body, "messages": [*body["messages"], message, *results]})[1]

    def schema(self, ask: Ask, schema: Json) -> Said:
        form = {"type": "json_schema", "json_schema": {"name": schema["title"], "schema": schema}}
        return self._post(self._body(ask, response_format=form))[1]

    def embed(self, model: str, texts: Sequence[str]) -> Said:
        page = curl(f"{self._url}/embeddings", {"model": model, "input": list(texts)})
        answer = page.json
        return Said(
            vectors=tuple(tuple(row["embedding"]) for row in answer["data"]),
            model=answer["model"],
            prompt_tokens=answer["usage"]["prompt_tokens"],
            backend=page.headers.get("x-penstock-backend"),
        )

    def refused(self, error: Exception) -> Refused:
        assert isinstance(error, CurlRefused)
        told = error.page.json["error"]
        assert told["type"]
        return Refused(status=error.page.status, message=told["message"], error="error")

    def _said(self, page: Page) -> Said:
        answer = page.json
        choice = answer["choices"][0]
        message = choice.get("message", {})
        calls = [(call["function"], call["id"]) for call in message.get("tool_calls") or ()]
        return Said(
            text=choice.get("text") or message.get("content") or "",
            calls=tuple(ToolUse(call["name"], json.loads(call["arguments"]), identity) for call, identity in calls),
            model=answer["model"],
            finish=choice["finish_reason"],
            prompt_tokens=answer["usage"]["prompt_tokens"],
            completion_tokens=answer["usage"]["completion_tokens"],
            id=answer["id"],
            backend=page.headers.get("x-penstock-backend"),
        )


class CurlOllama:
    """curl speaking Ollama."""

    error = CurlRefused

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api"

    def close(self) -> None:
        """Every curl has ended by itself."""

    def _body(self, ask: Ask, **fields: object) -> Json:
        turns = [{"role": "user", "content": ask.text}]
        options = {"temperature": ask.temperature, "num_predict": ask.limit}
        return {"model": ask.model, "messages": turns, "options": options, "stream": False, **fields}

    def chat(self, ask: Ask) -> Said:
        return self._said(curl(f"{self._url}/chat", self._body(ask)))

    def generate(self, ask: Ask) -> Said:
        options = {"temperature": ask.temperature, "num_predict": ask.limit}
        body = {"model": ask.model, "prompt": ask.text, "options": options, "stream": False}
        return self._said(curl(f"{self._url}/generate", body))

    def stream(self, ask: Ask) -> Said:
        body = self._body(ask)
        del body["stream"]  # a stream is what Ollama gives to who does not say
        page = curl(f"{self._url}/chat", body)
        *lines, end = page.body.split("\n")
        assert end == ""
        chunks = [json.loads(line) for line in lines]
        pieces = [chunk["message"]["content"] for chunk in chunks if chunk["message"]["content"]]
        (model,) = {chunk["model"] for chunk in chunks}
        last = chunks[-1]
        return Said(
            text="".join(pieces),
            pieces=len(pieces),
            model=model,
            finish=last["done_reason"],
            prompt_tokens=last["prompt_eval_count"],
            completion_tokens=last["eval_count"],
            durations=_durations(last),
            backend=page.headers.get("x-penstock-backend"),
        )

    def tools(self, ask: Ask, tool: Json, result: str, *, forced: bool) -> tuple[Said, Said]:
        assert not forced, "Ollama's protocol cannot force a call"
        body = self._body(ask, tools=[tool])
        page = curl(f"{self._url}/chat", body)
        first = self._said(page)
        results = [{"role": "tool", "tool_name": call.name, "content": result} for call in first.calls]
        turns = [*body["messages"], page.json["message"], *results]
        return first, self._said(curl(f"{self._url}/chat", {**body, "messages": turns}))

    def schema(self, ask: Ask, schema: Json) -> Said:
        return self._said(curl(f"{self._url}/chat", self._body(ask, format=schema)))

    def embed(self, model: str, texts: Sequence[str]) -> Said:
        page = curl(f"{self._url}/embed", {"model": model, "input": list(texts)})
        answer = page.json
        return Said(
            vectors=tuple(tuple(vector) for vector in answer["embeddings"]),
            model=answer["model"],
            prompt_tokens=answer["prompt_eval_count"],
            durations=_durations(answer),
            backend=page.headers.get("x-penstock-backend"),
        )

    def refused(self, error: Exception) -> Refused:
        assert isinstance(error, CurlRefused)
        told = error.page.json
        assert set(told) == {"error"}
        return Refused(status=error.page.status, message=told["error"], error="error")

    def _said(self, page: Page) -> Said:
        answer = page.json
        message = answer.get("message", {})
        calls = [(call["function"], call.get("id")) for call in message.get("tool_calls") or ()]
        return Said(
            text=answer.get("response") or message.get("content") or "",
            calls=tuple(ToolUse(call["name"], call["arguments"], identity) for call, identity in calls),
            model=answer["model"],
            finish=answer["done_reason"],
            prompt_tokens=answer["prompt_eval_count"],
            completion_tokens=answer["eval_count"],
            durations=_durations(answer),
            backend=page.headers.get("x-penstock-backend"),
        )


def _durations(answer: Json) -> dict[str, int]:
    return {name: value for name, value in answer.items() if name.endswith("_duration")}
