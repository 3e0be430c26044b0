"""One client library in a process of its own: asks the engine so many times, and says how much CPU time that took.

    python -m bench.client_calls NAME PORT        NAME as in CLIENTS

Every line on stdin is `COUNT SCENARIO`; the answer is one line of JSON with the nanoseconds of CPU time, all threads, for all of
them together. The libraries do the same work: one prompt with the same options, the answer's text back, the same connection.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import NamedTuple

from bench.samples import Scenario

PROMPT = "bench(chunks={chunks}) {words}"
WORDS = "words of a question, " * 20
MODEL = "mock"
LIMIT = 30.0

CALL = Scenario("client-call", "One call, one answer of 1 KB, in a thread", "µs")
ASYNC = Scenario("client-async", "One call, one answer of 1 KB, on an event loop", "µs")
STREAM = Scenario("client-stream", "One streamed answer of 64 pieces, in a thread", "µs")
SCENARIOS = (CALL, ASYNC, STREAM)


class Calls(NamedTuple):
    """One library, ready to ask."""

    call: Callable[[str], object]
    acall: Callable[[str], Awaitable[object]]
    stream: Callable[[str], int]
    """Reads a streamed answer; the number of pieces with text."""


def _body(prompt: str, *, stream: bool = False) -> bytes:
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "temperature": 0.0, "stream": stream}
    return json.dumps(body).encode()


def _text(body: bytes) -> str:
    return str(json.loads(body)["choices"][0]["message"]["content"])


def httpx2(url: str) -> Calls:
    """The HTTP library alone: no types, no retries, no checks."""
    from httpx2 import AsyncClient, Client  # noqa: PLC0415

    client, later = Client(timeout=LIMIT), AsyncClient(timeout=LIMIT)
    path, headers = f"{url}/v1/chat/completions", {"content-type": "application/json"}

    async def acall(prompt: str) -> str:
        return _text((await later.post(path, content=_body(prompt), headers=headers)).content)

    def stream(prompt: str) -> int:
        with client.stream("POST", path, content=_body(prompt, stream=True), headers=headers) as answer:
            return sum('"content"' in line for line in answer.iter_lines())

    return Calls(lambda prompt: _text(client.post(path, content=_body(prompt), headers=headers).content), acall, stream)


def httpcore2(url: str) -> Calls:
    """Its transport alone."""
    from httpcore2 import AsyncConnectionPool, ConnectionPool  # noqa: PLC0415

    pool, later = ConnectionPool(), AsyncConnectionPool()
    path = f"{url}/v1/chat/completions"
    limits = {"timeout": {"connect": LIMIT, "read": LIMIT, "write": LIMIT, "pool": LIMIT}}

    def headers(body: bytes) -> list[tuple[bytes, bytes]]:
        length = str(len(body)).encode()
        return [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", length)]

    async def acall(prompt: str) -> str:
        body = _body(prompt)
        return _text(
            (await later.request("POST", path, headers=headers(body), content=body, extensions=limits)).content
        )

    def call(prompt: str) -> str:
        body = _body(prompt)
        return _text(pool.request("POST", path, headers=headers(body), content=body, extensions=limits).content)

    def stream(prompt: str) -> int:
        body = _body(prompt, stream=True)
        with pool.stream("POST", path, headers=headers(body), content=body, extensions=limits) as answer:
            return sum(part.count(b'"content"') for part in answer.iter_stream())

    return Calls(call, acall, stream)


def ollama(url: str) -> Calls:
    from ollama import AsyncClient, Client  # noqa: PLC0415 - one library per process

    client, later = Client(host=url, timeout=LIMIT), AsyncClient(host=url, timeout=LIMIT)
    options = {"temperature": 0.0, "top_p": 0.9, "top_k": 40}

    async def acall(prompt: str) -> str | None:
        answer = await later.chat(MODEL, [{"role": "user", "content": prompt}], options=options)
        return answer.message.content

    return Calls(
        lambda prompt: client.chat(MODEL, [{"role": "user", "content": prompt}], options=options).message.content,
        acall,
        lambda prompt: sum(
            bool(part.message.content)
            for part in client.chat(MODEL, [{"role": "user", "content": prompt}], options=options, stream=True)
        ),
    )


def openai(url: str) -> Calls:
    from openai import AsyncOpenAI, OpenAI  # noqa: PLC0415

    client = OpenAI(base_url=f"{url}/v1", api_key="x", timeout=LIMIT)
    later = AsyncOpenAI(base_url=f"{url}/v1", api_key="x", timeout=LIMIT)
    more = {"top_k": 40}

    async def acall(prompt: str) -> str | None:
        answer = await later.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": prompt}], temperature=0.0, top_p=0.9, extra_body=more
        )
        return answer.choices[0].message.content

    def call(prompt: str) -> str | None:
        answer = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": prompt}], temperature=0.0, top_p=0.9, extra_body=more
        )
        return answer.choices[0].message.content

    def stream(prompt: str) -> int:
        parts = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": prompt}],
            temperature=0.0,
            top_p=0.9,
            extra_body=more,
            stream=True,
            stream_options={"include_usage": True},
        )
        return sum(bool(part.choices and part.choices[0].delta.content) for part in parts)

    return Calls(call, acall, stream)


def langchain_openai(url: str) -> Calls:
    from langchain_openai import ChatOpenAI  # noqa: PLC0415
    from pydantic import SecretStr  # noqa: PLC0415

    model = ChatOpenAI(
        model=MODEL,
        base_url=f"{url}/v1",
        api_key=SecretStr("x"),
        temperature=0.0,
        top_p=0.9,
        extra_body={"top_k": 40},
        timeout=LIMIT,
        stream_usage=True,
    )
    return _runnable(model)


def langchain_ollama(url: str) -> Calls:
    from langchain_ollama import OllamaLLM  # noqa: PLC0415

    return _runnable(OllamaLLM(model=MODEL, base_url=url, temperature=0.0, top_p=0.9, top_k=40))


def langchain_ollama_chat(url: str) -> Calls:
    from langchain_ollama import ChatOllama  # noqa: PLC0415

    return _runnable(ChatOllama(model=MODEL, base_url=url, temperature=0.0, top_p=0.9, top_k=40))


def penstock_plain(url: str) -> Calls:
    from penstock.client.plain import VLLMClient  # noqa: PLC0415

    return _runnable(VLLMClient(MODEL, base_url=url))


def penstock_plain_ollama(url: str) -> Calls:
    from penstock.client.plain import OllamaClient  # noqa: PLC0415

    return _runnable(OllamaClient(MODEL, base_url=url, temperature=0.0, top_p=0.9, top_k=40))


def penstock_langchain(url: str) -> Calls:
    from penstock.client.langchain import VLLMClient  # noqa: PLC0415

    return _runnable(VLLMClient(model=MODEL, base_url=url))


def penstock_langchain_chat(url: str) -> Calls:
    from penstock.client.langchain import ChatVLLM  # noqa: PLC0415

    return _runnable(ChatVLLM(model=MODEL, base_url=url))


CLIENTS: dict[str, Callable[[str], Calls]] = {
    "httpcore2, bare": httpcore2,
    "httpx2, bare": httpx2,
    "ollama": ollama,
    "openai": openai,
    "langchain_ollama": langchain_ollama,
    "langchain_ollama chat": langchain_ollama_chat,
    "langchain_openai": langchain_openai,
    "penstock": penstock_plain,
    "penstock, Ollama's API": penstock_plain_ollama,
    "penstock in LangChain": penstock_langchain,
    "penstock in LangChain, chat": penstock_langchain_chat,
}
PACKAGES = (
    "ollama",
    "openai",
    "langchain-core",
    "langchain-ollama",
    "langchain-openai",
    "httpx",
    "httpcore2",
    "pydantic",
)


def versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def _runnable(model: object) -> Calls:
    """LangChain's surface, which ours has too."""

    def stream(prompt: str) -> int:
        pieces = model.stream(prompt)  # type: ignore[attr-defined]
        return sum(bool(piece if isinstance(piece, str) else piece.content) for piece in pieces)

    return Calls(model.invoke, model.ainvoke, stream)  # type: ignore[attr-defined]


def serve(name: str, port: int) -> None:
    """Answer orders until stdin ends."""
    calls = CLIENTS[name](f"http://127.0.0.1:{port}")
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            count, scenario = int(line.split()[0]), line.split()[1]
            gc.collect()
            spent = _spent(calls, scenario, count, runner)
            sys.stdout.write(json.dumps({"ns": spent}) + "\n")
            sys.stdout.flush()


def _spent(calls: Calls, scenario: str, count: int, runner: asyncio.Runner) -> int:
    prompt = PROMPT.format(chunks=64 if scenario == STREAM.name else 1, words=WORDS)
    if scenario == ASYNC.name:
        return runner.run(_several(calls, prompt, count))
    begin = time.process_time_ns()
    for _ in range(count):
        if scenario == STREAM.name:
            pieces = calls.stream(prompt)
            if pieces != 64:
                raise SystemExit(f"a stream of 64 pieces had {pieces}")
        else:
            calls.call(prompt)
    return time.process_time_ns() - begin


async def _several(calls: Calls, prompt: str, count: int) -> int:
    begin = time.process_time_ns()
    for _ in range(count):
        await calls.acall(prompt)
    return time.process_time_ns() - begin


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
