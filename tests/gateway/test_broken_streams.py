"""docs/reference/broken-streams.md, row by row: what is set upon the gateway there ends as is written there."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.raw import Answer, Raw, once
from tests.gateway.site import HELLO, SHARED, Site, chat, running, site

from penstock.faults.script import Script

__all__ = ["running", "site"]
pytestmark = SHARED

PAGE = (Path(__file__).parents[2] / "docs/reference/broken-streams.md").read_text(encoding="utf-8")
TEXT = {"prompt": "hello wide world", "max_tokens": 9}
ASKS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HELLO},
    "/v1/completions": TEXT,
    "/v1/responses": {"input": "hello wide world"},
    "/v1/messages": {"messages": HELLO, "max_tokens": 9},
    "/api/chat": {"messages": HELLO},
    "/api/generate": TEXT,
}
BROKEN: dict[str, Script] = {
    "is killed: its connection is reset": Script(cut_after=2),
    "closes its connection in the middle of its body": Script(cut_after=2, cut="fin"),
    "ends its body without a finish": Script(cut_after=2, cut="eos"),
    "says that it gave the answer up (`finish_reason` `abort`)": Script(finish="abort"),
    "falls silent for `between_tokens`, its connection open": Script(stall_after=2),
    "sends an event that is not JSON": Script(malformed_after=2),
    "sends NULs where a field's name belongs": Script(malformed_after=2, malformed="nul"),
    "sends half of a character, in whatever member": Script(malformed_after=2, malformed="utf8"),
    "sends a line that is no field": Script(malformed_after=2, malformed="bare"),
    "sends a line of more than 8 MiB": Script(giant_after=2, giant=9 << 20),
    "sends an error, and `[DONE]` behind it": Script(error_after=2),
    'sends an error in vLLM\'s old shape, `{"object": "error"}`': Script(malformed_after=2, malformed="error"),
    "sends an error without `data:`": Script(malformed_after=2, malformed="bare-error"),
}
SLOW = {"falls silent for `between_tokens`, its connection open", "sends a line of more than 8 MiB"}
"""Asked for on two routes here; the scenarios of `make faults` ask on all."""
FORGIVEN: dict[str, Script] = {
    "ends its lines with CRLF": Script(line_end="crlf"),
    "ends its lines with CR": Script(line_end="cr"),
    "writes `data:` without a space": Script(habits=("no-space",)),
    "writes the JSON of an event over two `data` lines": Script(habits=("split-data",)),
    "writes other fields beside the data": Script(habits=("fields",)),
    "writes comments between events, with NULs in them": Script(habits=("comments",)),
    "begins with a byte order mark": Script(habits=("bom",)),
    "writes byte by byte, through characters": Script(write=1),
    "sends its end twice": Script(done="twice"),
    "goes on behind its end": Script(done="followed"),
    "closes the connection behind its end, in the middle of its body": Script(),
}
END = re.compile(rb"\r\n|\r|\n")


@pytest.fixture(scope="module")
def lane() -> str:
    """The codecs are the same on both; the contract suite shows that."""
    return "hot"


def table(after: str) -> list[list[str]]:
    """The rows of the first table behind a heading."""
    part = PAGE.partition(f"## {after}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


LOOKS = {row[0].strip("`"): row[1:] for row in table("How an error looks")}
ENDS = {row[0]: [cell.strip("`") for cell in row[1:]] for row in table("What ends in an error")}


async def test_the_tables_name_what_is_tried() -> None:
    assert list(LOOKS) == list(ASKS)
    assert list(ENDS) == list(BROKEN)
    assert [row[0] for row in table("What is forgiven")] == list(FORGIVEN)


async def broken(site: Site, model: str, path: str, script: Script) -> Answer:
    engine = site.ollama if model == "via-ollama" else site.first
    engine.script = script
    gate = engine.hold(before=1)
    async with Raw(site.url) as raw:
        raw.ask(path, {"model": model, "stream": True, **ASKS[path]})
        await raw.until(b"hello")
        gate.open()
        answer = await raw.answer()
    engine.gates.remove(gate)
    return answer


def check(path: str, answer: Answer, code: str) -> None:
    """The last event is the error of the table, and none of the ends that it rules out has come."""
    looks, never = LOOKS[path]
    assert answer.status == 200
    assert answer.complete
    last = answer.body.rstrip(b"\n").rpartition(b"\n" if path.startswith("/api/") else b"\n\n")[2]
    if "event: error" in looks:
        assert last.startswith(b"event: error\n")
        last = last.partition(b"\n")[2]
    error = json.loads(last.removeprefix(b"data: "))["error"]
    if path.startswith("/api/"):
        assert isinstance(error, str)
    else:
        wanted = {"type", "message"} if "event: error" in looks else {"message", "type", "param", "code"}
        assert error.keys() == wanted
        assert error.get("code", code) == code
    ends = [word for word in ("[DONE]", "response.completed", "message_stop", '"done":true') if word in never]
    assert ends
    for word in ends:
        assert word.encode() not in answer.body
    assert b'"finish_reason":"stop"' not in answer.body


@pytest.mark.parametrize("fault", BROKEN)
async def test_what_ends_in_an_error(site: Site, fault: str) -> None:
    code, reason, ollama = ENDS[fault]
    for model, expected in (("m2", reason), ("via-ollama", ollama)):
        asked = [path for path in ASKS if expected and not (path == "/v1/responses" and BROKEN[fault].finish)]
        if fault in SLOW:
            asked = [path for path in asked if path in {"/v1/chat/completions", "/api/chat"}]
        before = await counted(site, expected)
        for path in asked:
            check(path, await broken(site, model, path, BROKEN[fault]), code)
            await recover(site, model)
        if asked:
            assert await counted(site, expected) - before == len(asked)


async def test_the_record_of_a_broken_stream(site: Site) -> None:
    """With its status, its backend and the error's words; it is written a moment after the answer."""
    answer = await broken(site, "m2", "/v1/messages", Script(error_after=2, message="out of blocks"))
    request = answer.header("x-penstock-request-id")
    record = await recorded(site, str(request))
    assert (record["outcome"], record["status"], record["backend"]) == ("broken", 200, "first")
    assert "out of blocks" in record["error"]


async def recorded(site: Site, request: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            lines = [line for line in site.gateway.log.splitlines() if f'"request":"{request}"' in line]
            if lines:
                return dict(json.loads(lines[-1]))
            await asyncio.sleep(0.02)


async def recover(site: Site, model: str) -> None:
    """No breaker shall rest an engine that the next fault is for."""
    (site.ollama if model == "via-ollama" else site.first).script = Script()
    for _ in range(2):
        assert (await site.chat(model)).status == 200


async def counted(site: Site, reason: str) -> float:
    page = (await site.post("/metrics", None)).body.decode()
    rows = [line for line in page.splitlines() if line.startswith("penstock_streams_broken_total{")]
    return sum(float(row.rpartition(" ")[2]) for row in rows if f'reason="{reason}"' in row)


@pytest.mark.parametrize("oddity", FORGIVEN)
async def test_what_is_forgiven(site: Site, oddity: str) -> None:
    for path, ask in ASKS.items():
        site.first.script = Script()
        plain = await site.post(path, {"model": "m2", "stream": True, **ask})
        site.first.script = FORGIVEN[oddity]
        if oddity.startswith("closes"):
            site.first.script = Script(raw=_verbatim(await _own(site, path, ask)), close=True)
        odd = await site.post(path, {"model": "m2", "stream": True, **ask})
        assert odd.complete
        assert said(path, odd) == said(path, plain), path
    assert not site.second.requests


async def _own(site: Site, path: str, ask: dict[str, Any]) -> bytes:
    """What the engine itself streams, asked without the gateway."""
    if path.startswith("/api/"):
        path, ask = "/v1/chat/completions", chat("real-m", stream_options={"include_usage": True})
    return (await once(site.first.url, path, {**ask, "model": "real-m", "stream": True})).body


def _verbatim(body: bytes) -> str:
    """A body that promises more than it brings."""
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return f"{head}{len(body):x}\r\n{body.decode('latin-1')}\r\n"


def said(path: str, answer: Answer) -> list[object]:
    """The events without what differs from answer to answer."""
    texts = [line.removeprefix(b"data:").strip() for line in END.split(answer.body.removeprefix(b"\xef\xbb\xbf"))]
    found = b"".join(text for text in texts if text and not text.startswith((b":", b"event", b"retry")))
    told: list[object] = []
    decoder = json.JSONDecoder()
    text = found.decode().replace("[DONE]", '"done"')
    while text:
        value, end = decoder.raw_decode(text)
        told.append(value)
        text = text[end:]
    return [_plain(one) for one in told] if path else told


def _plain(event: object) -> object:
    """Without ids, times, durations."""
    if not isinstance(event, dict):
        return event
    left_out = {"id", "created", "created_at", "item_id", "message", "response", "item", "total_duration"}
    left_out |= {"load_duration", "prompt_eval_duration", "eval_duration"}
    return {name: value for name, value in event.items() if name not in left_out}
