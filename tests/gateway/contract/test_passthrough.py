"""What the client sends reaches the engine, and what the engine says reaches the client, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.fakes.raw import Raw
from tests.gateway.site import HELLO, SHARED, Site, chat

from penstock.faults.script import Script

pytestmark = SHARED

ODD_JSON = '{ "id":"x",\n "choices" : [ {"message":{"content":"\\u00e9 \U0001f3b1 \\ud83d\\ude00"},"n":1e400,"big":123456789012345678901} ] }'


async def test_json_answer_passes_byte_for_byte(site: Site) -> None:
    site.first.script = Script(body=ODD_JSON, content_type="application/json")
    answer = await site.chat()
    assert answer.status == 200
    assert answer.body == ODD_JSON.encode()
    assert answer.header("content-length") == str(len(ODD_JSON.encode()))


async def test_event_stream_passes_byte_for_byte(site: Site) -> None:
    events = [
        ": a comment\n\n",
        'data: {"choices":[{"index":0,"delta":{"content":"\u00e9\U0001f3b1"}}], "extra":[1,2]}\n\n',
        'data:{"choices":[{"index":0,"delta":{"content":"no space"}}]}\r\n\r\n',
        'id: 7\nevent: odd\ndata: {"choices":\ndata: [{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        "data: [DONE]\n\n",
    ]
    site.first.script = Script(body="".join(events), content_type="text/event-stream")
    answer = await site.chat(stream=True)
    assert answer.body.decode() == "".join(events)
    assert (answer.header("content-type") or "").startswith("text/event-stream")
    assert answer.complete


async def test_request_bytes_reach_the_engine_unchanged_but_for_the_model(site: Site) -> None:
    """S0.15: the smallest splice."""
    body = b'{ "messages" : [ {"role":"user", "content":"\xc3\xa9 \\u00e9"} ],\n "temperature":0.30000000000000004 , "model":"m" , "seed":9007199254740993 }'
    answer = await site.post("/v1/chat/completions", body)
    assert answer.status == 200
    assert site.first.requests[0].body == body.replace(b'"model":"m"', b'"model":"real-m"')


async def test_unknown_fields_reach_the_engine(site: Site) -> None:
    fields: dict[str, Any] = {
        "top_k": 3,
        "chat_template_kwargs": {"enable_thinking": False},
        "of_tomorrow": [{"deep": None}],
    }
    assert (await site.chat(**fields)).status == 200
    sent = json.loads(site.first.requests[0].body)
    assert {key: sent[key] for key in fields} == fields


async def test_injected_usage_is_removed_when_not_asked(site: Site) -> None:
    answer = await site.chat(stream=True)
    assert json.loads(site.first.requests[0].body)["stream_options"] == {"include_usage": True}
    assert b"usage" not in answer.body
    assert answer.events[-1] == b"data: [DONE]"


@pytest.mark.parametrize("options", [{"include_usage": False}, None, {}, {"continuous_usage_stats": False}])
async def test_usage_refused_or_left_open_is_not_shown(site: Site, options: dict[str, bool] | None) -> None:
    answer = await site.chat(stream=True, stream_options=options)
    assert answer.status == 200
    sent = json.loads(site.first.requests[0].body)["stream_options"]
    assert sent == {**(options or {}), "include_usage": True}
    assert b'"usage":{' not in answer.body


async def test_usage_asked_for_is_kept(site: Site) -> None:
    answer = await site.chat(stream=True, stream_options={"include_usage": True})
    last = json.loads(answer.events[-2].removeprefix(b"data: "))
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 4, "total_tokens": 7, "completion_tokens": 3}


async def test_usage_reaches_the_metrics_either_way(site: Site) -> None:
    await site.chat(stream=True)
    await site.chat()
    page = (await site.post("/metrics", None)).body.decode()
    rows = [row for row in page.splitlines() if "completion" in row and 'alias="m"' in row and not row.startswith("#")]
    assert rows


async def test_headers_of_every_answer(site: Site) -> None:
    for fields in ({}, {"stream": True}):
        answer = await site.chat("m2", **fields)
        assert answer.header("x-penstock-backend") == "first"
        assert answer.header("x-penstock-model") == "real-m"
        assert answer.header("x-penstock-fallback") is None
        assert answer.header("x-penstock-request-id")


async def test_a_request_id_is_taken_over_if_harmless(site: Site) -> None:
    answer = await site.chat("m", "x-request-id: mine-42")
    assert answer.header("x-penstock-request-id") == "mine-42"
    assert site.first.requests[0].header("x-request-id") == "mine-42"
    odd = await site.chat("m", "x-request-id: a b;c")
    assert odd.header("x-penstock-request-id") not in {None, "a b;c"}


async def test_traceparent_goes_on_and_comes_back(site: Site) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    answer = await site.chat("m", f"traceparent: 00-{trace}-00f067aa0ba902b7-01")
    assert trace in (answer.header("traceparent") or "")
    assert trace in (site.first.requests[0].header("traceparent") or "")


async def test_credentials_and_hop_headers_do_not_reach_the_engine(site: Site) -> None:
    await site.chat("m", "authorization: Bearer sk-secret", "cookie: a=b", "x-forwarded-for: 1.2.3.4", "te: trailers")
    names = {name for name, _ in site.first.requests[0].headers}
    assert not names & {"authorization", "cookie", "x-forwarded-for", "te", "connection"}


async def test_also_names_are_the_alias(site: Site) -> None:
    answer = await site.chat("Meta/Llama-3")
    assert answer.header("x-penstock-model") == "real-m"


OPERATIONS: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "a b c"},
    "/v1/embeddings": {"input": ["a", "b"]},
    "/v1/responses": {"input": "a b c"},
    "/v1/messages": {"messages": HELLO, "max_tokens": 9},
    "/v1/messages/count_tokens": {"messages": HELLO},
    "/tokenize": {"prompt": "a b c"},
    "/detokenize": {"tokens": [1, 2]},
    "/score": {"text_1": "a", "text_2": ["a", "b"]},
    "/v1/score": {"text_1": "a", "text_2": ["a", "b"]},
    "/rerank": {"query": "a", "documents": ["b", "a"]},
    "/v1/rerank": {"query": "a", "documents": ["b", "a"]},
    "/v2/rerank": {"query": "a", "documents": ["b", "a"]},
}


@pytest.mark.parametrize("path", OPERATIONS)
async def test_every_operation_reaches_its_route(site: Site, path: str) -> None:
    """S0.2: chat and scoring."""
    answer = await site.post(path, {"model": "m", **OPERATIONS[path]})
    assert answer.status == 200, answer.body
    seen = site.first.requests[0]
    assert seen.path == path
    assert json.loads(seen.body)["model"] == "real-m"
    assert answer.header("x-penstock-backend") == "first"


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/responses", "/v1/messages"])
async def test_every_stream_passes_to_its_end(site: Site, path: str) -> None:
    answer = await site.post(path, {"model": "m", "stream": True, **OPERATIONS[path]})
    assert answer.status == 200
    assert answer.complete
    ends = {"/v1/completions": b"[DONE]", "/v1/responses": b"response.completed", "/v1/messages": b"message_stop"}
    assert ends[path] in answer.events[-1]


async def test_a_form_with_sound_passes_with_the_backends_model(site: Site) -> None:
    sound = bytes(range(256)) * 20
    form = (
        b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n'
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + sound + b"\r\n--b--\r\n"
    )
    answer = await site.post("/v1/audio/transcriptions", form, "content-type: multipart/form-data; boundary=b")
    assert answer.status == 200, answer.body
    assert answer.json()["text"] == f"heard {len(sound)} bytes"
    assert b"real-m" in site.first.requests[0].body


async def test_nothing_of_ours_leaks_to_a_stranger(site: Site) -> None:
    """A strict OpenAI-compatible server refuses any field that OpenAI does not know."""
    for fields in ({}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}):
        assert (await site.chat("strict", **fields)).status == 200
    assert (await site.post("/v1/responses", {"model": "strict", "input": "a"})).status == 200


async def test_openai_in_ollama_out(site: Site) -> None:
    """S3.22: the safety net answers in the client's own protocol."""
    answer = await site.chat("via-ollama")
    assert answer.json()["choices"][0]["message"]["content"] == "hello wide world"
    assert answer.json()["usage"]["completion_tokens"] == 3
    assert site.ollama.requests[0].path == "/api/chat"
    stream = await site.chat("via-ollama", stream=True, stream_options={"include_usage": True})
    assert stream.events[-1] == b"data: [DONE]"
    assert json.loads(stream.events[-2].removeprefix(b"data: "))["usage"]["completion_tokens"] == 3


async def test_ollama_in_vllm_out(site: Site) -> None:
    whole = await site.post("/api/chat", chat(stream=False))
    assert whole.json()["message"]["content"] == "hello wide world"
    assert (whole.json()["done_reason"], whole.json()["eval_count"]) == ("stop", 3)
    stream = await site.post("/api/chat", chat())
    lines = [json.loads(line) for line in stream.body.splitlines()]
    assert stream.header("content-type") == "application/x-ndjson"
    assert "".join(line["message"]["content"] for line in lines) == "hello wide world"
    assert [line["done"] for line in lines][-1] is True
    assert site.first.requests[0].path == "/v1/chat/completions"


async def test_ollama_in_ollama_out_keeps_its_bytes(site: Site) -> None:
    body = b'{"model": "via-ollama", "prompt": "a b", "stream": false, "options": {"top_k": 7, "mirostat": 1}}'
    assert (await site.post("/api/generate", body)).json()["response"] == "a b"
    sent = json.loads(site.ollama.requests[0].body)
    assert sent["options"] == {"top_k": 7, "mirostat": 1}
    assert sent["model"] == "llama3.2"


async def test_a_model_of_many_bytes(site: Site) -> None:
    """Bodies that arrive in many segments, just under the limit."""
    async with Raw(site.url) as raw:
        body = json.dumps(chat(padding="x" * 60_000)).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n"
        raw.send(head.encode())
        for start in range(0, len(body), 7000):
            raw.send(body[start : start + 7000])
        assert (await raw.answer()).status == 200
    assert len(site.first.requests[0].body) == len(body) + len("real-")


@pytest.mark.parametrize("key", ["model", "stream_options"])
async def test_a_key_of_the_same_name_inside_something_else_is_left_alone(site: Site, key: str) -> None:
    body = {"messages": HELLO, "metadata": {key: "the client's own"}, "stream": key == "stream_options"}
    assert (await site.post("/v1/chat/completions", body)).status == 200
    sent = json.loads(site.first.requests[0].body)
    assert sent["metadata"] == {key: "the client's own"}
    assert sent["model"] == "real-m"


async def test_an_escaped_key_is_the_key(site: Site) -> None:
    assert (await site.post("/v1/chat/completions", b'{"mod\\u0065l": "m", "messages": []}')).status == 200
    assert json.loads(site.first.requests[0].body) == {"model": "real-m", "messages": []}
