"""Engines' answers as bytes, in every spelling an engine may choose, and a way to cut them anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st

from penstock.errors import Refusal
from penstock.protocols import table
from penstock.protocols.dialect import Call, Destination, Outgoing, Reader, Timing
from penstock.types import Kind

WALL = 1_700_000_000_123_456_789
"""2023-11-14T22:13:20.123456789Z."""

Json = dict[str, Any]
T = TypeVar("T")


class Ticks:
    """A clock that moves one millisecond each time it is read."""

    def __init__(self, start: int = 1_000_000_000) -> None:
        self.now = start

    def __call__(self) -> int:
        self.now += 1_000_000
        return self.now


def still() -> int:
    """A clock that stands, so that two runs give the same bytes."""
    return 5_000_000_000


def ask(path: str, body: Json | bytes) -> Call:
    """A request as its route decodes it."""
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return table.ROUTES[path.encode()].decode(data, "application/json")


def backend(kind: Kind = Kind.VLLM, **changes: object) -> Destination:
    """Where a request goes."""
    return msgspec.structs.replace(Destination(kind=kind, model="engine-model"), **changes)


def write(path: str, body: Json, to: Destination) -> tuple[Json, Outgoing]:
    """The request as the backend gets it, decoded and as it is."""
    outgoing = table.PAIRINGS[path, to.kind.wire].request(ask(path, body), to)
    return json.loads(outgoing.body), outgoing


def reader(path: str, body: Json, to: Destination, clock: Callable[[], int] = still) -> tuple[Reader, Timing]:
    """A reader for the answer, for a request that arrived at 1 s and was sent at 2 s."""
    timing = Timing(arrived=1_000_000_000, sent=2_000_000_000)
    return table.PAIRINGS[path, to.kind.wire].reader(ask(path, body), to, timing, clock), timing


def read_all(watcher: Reader, data: bytes, cuts: Sequence[int] = ()) -> bytes:
    """Feed the bytes cut at these places, to the end."""
    return b"".join([*(watcher.feed(part) for part in cut(data, cuts)), watcher.close()])


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """The bytes in pieces; no piece is lost, some may be empty."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def tried(act: Callable[[], T]) -> T | Refusal:
    """What comes of it, or the refusal; anything else that is raised fails the test."""
    try:
        return act()
    except Refusal as error:
        return error


CUTS = st.lists(st.integers(0, 1 << 16), max_size=40)


def lines(data: bytes) -> list[Json]:
    """What the official client makes of the bytes: every line is JSON, none is blank."""
    found = data.decode().split("\n")
    assert found.pop() == ""
    assert all(found)
    return [json.loads(line) for line in found]


def events(data: bytes) -> list[Json]:
    """What an OpenAI client makes of the bytes; the last event is `[DONE]`."""
    found = [event.removeprefix("data: ") for event in data.decode().split("\n\n")]
    assert found.pop() == ""
    assert found.pop() == "[DONE]"
    return [json.loads(event) for event in found]


# ---- what an engine may answer

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
ARGUMENTS = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT, max_size=4)


class Script(msgspec.Struct):
    """An answer, before anybody has spelled it."""

    reasoning: list[str] = []
    texts: list[str] = []
    calls: list[tuple[str, Json]] = []
    reason: str = "stop"
    prompt_tokens: int = 7
    completion_tokens: int = 9


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Any answer; an engine that calls tools says so as its reason."""
    calls = draw(st.lists(st.tuples(st.sampled_from(["get_weather", "s\u00fcche"]), ARGUMENTS), max_size=3))
    return Script(
        reasoning=draw(st.lists(TEXT, max_size=3)),
        texts=draw(st.lists(TEXT, max_size=4)),
        calls=calls,
        reason="tool_calls" if calls else draw(st.sampled_from(["stop", "length"])),
        prompt_tokens=draw(st.integers(0, 10**6)),
        completion_tokens=draw(st.integers(0, 10**6)),
    )


class Spelling(msgspec.Struct):
    """How an engine writes its events."""

    end: str = "\n"
    space: str = " "
    comments: bool = False
    ascii: bool = True
    reasoning: str = "reasoning"
    done: bool = True
    pieces: int = 1
    usage_with_finish: bool = False


SPELLINGS = st.builds(
    Spelling,
    end=st.sampled_from(["\n", "\r\n"]),
    space=st.sampled_from([" ", ""]),
    comments=st.booleans(),
    ascii=st.booleans(),
    reasoning=st.sampled_from(["reasoning", "reasoning_content"]),
    done=st.booleans(),
    pieces=st.integers(1, 5),
    usage_with_finish=st.booleans(),
)


def _sse(spelling: Spelling, payload: str) -> str:
    comment = f": keep-alive{spelling.end}{spelling.end}" if spelling.comments else ""
    return f"{comment}data:{spelling.space}{payload}{spelling.end}{spelling.end}"


def openai_events(script: Script, spelling: Spelling) -> list[bytes]:
    """`/v1/chat/completions`, streamed: one element for each event."""
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    deltas += [{spelling.reasoning: text} for text in script.reasoning]
    deltas += [{"content": text} for text in script.texts]
    for index, (name, arguments) in enumerate(script.calls):
        deltas += _call_deltas(index, name, json.dumps(arguments, indent=1), spelling.pieces)
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "engine-model"}
    chunks = [head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    usage = {
        "prompt_tokens": script.prompt_tokens,
        "completion_tokens": script.completion_tokens,
        "total_tokens": script.prompt_tokens + script.completion_tokens,
    }
    finish: Json = head | {"choices": [{"index": 0, "delta": {}, "finish_reason": script.reason}]}
    chunks += (
        [finish | {"usage": usage}] if spelling.usage_with_finish else [finish, head | {"choices": [], "usage": usage}]
    )
    payloads = [json.dumps(chunk, ensure_ascii=spelling.ascii) for chunk in chunks]
    payloads += ["[DONE]"] if spelling.done else []
    return [_sse(spelling, payload).encode() for payload in payloads]


def _call_deltas(index: int, name: str, arguments: str, pieces: int) -> list[Json]:
    size = max(len(arguments) // pieces, 1)
    parts = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    opening = {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ""}}
    return [{"tool_calls": [opening]}] + [
        {"tool_calls": [{"index": index, "function": {"arguments": part}}]} for part in parts
    ]


def openai_whole(script: Script, spelling: Spelling) -> bytes:
    """`/v1/chat/completions`, whole."""
    message: Json = {"role": "assistant", "content": "".join(script.texts) or None}
    message[spelling.reasoning] = "".join(script.reasoning) or None
    message["tool_calls"] = [
        {
            "id": f"call_{at}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments, indent=1)},
        }
        for at, (name, arguments) in enumerate(script.calls)
    ]
    usage = {"prompt_tokens": script.prompt_tokens, "completion_tokens": script.completion_tokens}
    choice = {"index": 0, "message": message, "finish_reason": script.reason}
    return json.dumps(
        {"model": "engine-model", "choices": [choice], "usage": usage}, ensure_ascii=spelling.ascii
    ).encode()


def ollama_lines(script: Script, spelling: Spelling) -> list[bytes]:
    """`/api/chat`, streamed: one element for each line."""
    head: Json = {"model": "engine-model", "created_at": "2023-08-04T19:22:45.499127Z"}
    said: list[Json] = [{"content": "", "thinking": text} for text in script.reasoning]
    said += [{"content": text} for text in script.texts]
    said += [
        {"content": "", "tool_calls": [{"function": {"index": at, "name": name, "arguments": arguments}}]}
        for at, (name, arguments) in enumerate(script.calls)
    ]
    rows = [head | {"message": {"role": "assistant"} | message, "done": False} for message in said]
    rows.append(head | {"message": {"role": "assistant", "content": ""}} | _ollama_end(script))
    return [(json.dumps(row, ensure_ascii=spelling.ascii) + spelling.end).encode() for row in rows]


def _ollama_end(script: Script) -> Json:
    return {
        "done": True,
        "done_reason": "length" if script.reason == "length" else "stop",
        "total_duration": 5,
        "prompt_eval_count": script.prompt_tokens,
        "eval_count": script.completion_tokens,
    }


def ollama_whole(script: Script, spelling: Spelling) -> bytes:
    """`/api/chat`, whole."""
    message: Json = {"role": "assistant", "content": "".join(script.texts)}
    if any(script.reasoning):
        message["thinking"] = "".join(script.reasoning)
    if script.calls:
        message["tool_calls"] = [{"function": {"name": name, "arguments": given}} for name, given in script.calls]
    head: Json = {"model": "engine-model", "created_at": "2023-08-04T19:22:45Z", "message": message}
    row = head | _ollama_end(script)
    return json.dumps(row, ensure_ascii=spelling.ascii).encode()
