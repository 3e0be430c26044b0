"""Guardrails through the real gateway: both faces, every route that they cover, streamed and whole."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.fakes.gateway import Gateway, Gateways, StartGateway
from tests.fakes.raw import Answer, once

from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script, ToolUse

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEAK = ("See ", "![p](", "htt", "ps://ev", "il.example/x", "?q=SE", "CRET) or ", "https://good.exam", "ple/a, ja", "ne@corp.ex", "ample.", " Bye")  # fmt: skip
CLEAN = "See ![p]([link removed]) or https://good.example/a, [redacted: email]. Bye"
FORBIDDEN = ("SECRET", "evil.example", "jane@")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


@dataclass
class House:
    """One gateway for all of these, and the engines behind it."""

    gateway: Gateway
    engine: Engine
    ollama: OllamaDouble

    @property
    def url(self) -> str:
        return self.gateway.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("guardrails")
    gateways = Gateways(folder, "hot")
    async with Engine(["m"]) as engine, OllamaDouble(["llama3.2"]) as double:
        yield House(await gateways.start(config(folder, engine, double)), engine, double)
        await gateways.close()


@pytest.fixture
def house(running: House) -> House:
    """As if it had just been started."""
    running.engine.script = running.ollama.script = Script()
    running.engine.requests.clear()
    return running


def config(folder: Path, engine: Engine, double: OllamaDouble) -> dict[str, object]:
    (folder / "system.md").write_text("You are the house's voice.\n")
    (folder / "template.md").write_text("<question>{{prompt}}</question>")
    (folder / "schema.json").write_text(json.dumps(SCHEMA))
    find = ["email", "api_key", "card"]
    bomb = {"weapons": "(?i)how to build a bomb"}
    rules: dict[str, object] = {
        "clean": {"redact": {"find": find}, "links": {"hosts": ["good.example"]}, "max_context": 2000},
        "bound": {
            "system": {"file": str(folder / "system.md"), "version": "7"},
            "template": {"file": str(folder / "template.md"), "version": "t2"},
        },
        "strict": {"redact": {"find": find, "action": "refuse"}, "topics": {"patterns": bomb}},
        "tools": {"tools": ["lookup"]},
        "shaped": {"answer_schema": {"file": str(folder / "schema.json")}},
        "whole": {"answer_schema": {"file": str(folder / "schema.json"), "streamed": "refuse"}},
    }
    targets = [{"backends": ["first"], "model": "m"}]
    aliases: dict[str, object] = {name: {"targets": targets, "guardrails": one} for name, one in rules.items()}
    aliases["plain"] = {"targets": targets}
    aliases["safe"] = {"targets": [{"backends": ["second"], "model": "llama3.2"}], "guardrails": rules["clean"]}
    return {
        "backends": {
            "first": {"kind": "vllm", "url": engine.url, "probe": "100ms"},
            "second": {"kind": "ollama", "url": double.url, "probe": "100ms"},
        },
        "aliases": aliases,
    }


ROUTES = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/api/chat", "/api/generate"]


def asked(path: str, model: str, text: str, *, stream: bool, **more: object) -> dict[str, object]:
    body: dict[str, object] = {"model": model, "stream": stream, **more}
    if path in {"/v1/completions", "/api/generate"}:
        return body | {"prompt": text}
    if path == "/v1/responses":
        return body | {"input": text}
    return body | {"messages": [{"role": "user", "content": text}], "max_tokens": 100}


def said(answer: Answer, path: str) -> str:
    """The text of an answer as its client puts it together."""
    if path.startswith("/api/"):
        lines = [json.loads(line) for line in answer.body.splitlines()]
        return "".join(line.get("response") or line.get("message", {}).get("content") or "" for line in lines)
    if answer.body.startswith((b"data:", b"event:")):
        return "".join(piece(event) for event in documents(answer))
    return piece(answer.json())


def documents(answer: Answer) -> list[dict[str, Any]]:
    datas = [line[6:] for event in answer.events for line in event.splitlines() if line.startswith(b"data: ")]
    return [json.loads(data) for data in datas if data != b"[DONE]"]


def piece(found: dict[str, Any]) -> str:
    if found.get("type") == "response.output_text.delta":
        return str(found["delta"])
    if found.get("type") == "content_block_delta":
        return str(found["delta"].get("text", ""))
    if found.get("object") == "response":
        return "".join(part["text"] for item in found["output"] for part in item.get("content", []))
    if found.get("type") == "message":
        return "".join(block["text"] for block in found["content"])
    return "".join(
        one.get("text") or (one.get("delta") or one.get("message") or {}).get("content") or ""
        for one in found.get("choices", [])
    )


@pytest.mark.parametrize("stream", [True, False])
async def test_what_goes_out_is_clean_on_every_route(house: House, *, stream: bool) -> None:
    """S4.25: links and details cut through the middle by the pieces of a stream, on both faces."""
    house.engine.script = Script(tokens=LEAK)
    for path in ROUTES:
        answer = await once(house.url, path, asked(path, "clean", "hi", stream=stream))
        assert answer.status == 200, (path, answer.body)
        assert answer.complete
        assert not any(word.encode() in answer.body for word in FORBIDDEN), (path, answer.body)
        assert said(answer, path) == CLEAN, path
        assert answer.header("x-penstock-guardrails") == "on"
        plain = await once(house.url, path, asked(path, "plain", "hi", stream=stream))
        assert said(plain, path) == "".join(LEAK), path
        assert plain.header("x-penstock-guardrails") is None


@pytest.mark.parametrize("stream", [True, False])
async def test_answers_of_ollama_are_held_to_the_same(house: House, *, stream: bool) -> None:
    house.ollama.script = Script(tokens=LEAK)
    for path in ("/v1/chat/completions", "/v1/completions", "/api/chat", "/api/generate"):
        answer = await once(house.url, path, asked(path, "safe", "hi", stream=stream))
        assert answer.status == 200, (path, answer.body)
        assert said(answer, path) == CLEAN, path


async def test_what_goes_in_is_clean_on_every_route(house: House) -> None:
    for path in ROUTES:
        answer = await once(house.url, path, asked(path, "clean", "Mail jane@corp.example please", stream=False))
        assert answer.status == 200
        body = house.engine.requests[-1].body
        assert b"jane@" not in body, path
        assert b"Mail [redacted: email] please" in body
    escaped = rb'{"model":"clean","messages":[{"role":"user","content":"Mail jane\u0040corp.example please"}]}'
    assert (await once(house.url, "/v1/chat/completions", escaped, method="POST")).status == 200
    assert b"corp.example" not in house.engine.requests[-1].body


async def test_a_refusal_is_an_error_in_the_clients_protocol(house: House) -> None:
    before = len(house.engine.requests)
    for path in ROUTES:
        refused = await once(house.url, path, asked(path, "strict", "Tell me how to build a bomb", stream=True))
        assert refused.status == 400
        assert "topic weapons" in refused.error
        assert "bomb" not in refused.error
    found = await once(house.url, ROUTES[0], asked(ROUTES[0], "strict", "my card is 4111 1111 1111 1111", stream=False))
    assert found.json()["error"]["code"] == "content_filter"
    assert b"4111" not in found.body
    assert len(house.engine.requests) == before
    figures = (await once(house.url, "/metrics", None)).body
    assert b'penstock_guardrails_total{alias="strict",step="topic weapons",verdict="refused"} 6.0' in figures


async def test_an_answer_that_must_stop_ends_in_an_explicit_error(house: House) -> None:
    """A begun stream says so and nothing more; a whole answer is not given; the engine need not go on."""
    house.engine.script = Script(tokens=("Here ", "it is: ", "4111 1111 ", "1111 1111; ", "and ", "more"))
    for path in ROUTES:
        broken = await once(house.url, path, asked(path, "strict", "hi", stream=True))
        assert broken.status == 200
        assert broken.complete
        assert b"4111" not in broken.body
        assert b"more" not in broken.body
        assert b"withholds the answer: card" in broken.body.rstrip().splitlines()[-1], (path, broken.body)
        refused = await once(house.url, path, asked(path, "strict", "hi", stream=False))
        assert refused.status == 422
        assert "card" in refused.error
        assert b"4111" not in refused.body
    assert (await once(house.url, ROUTES[0], asked(ROUTES[0], "strict", "hi", stream=False))).json()["error"]["code"] == "answer_withheld"  # fmt: skip


async def test_the_operators_texts_come_first_and_their_versions_are_told(house: House) -> None:
    """S0.23: bound to the alias, told in a header."""
    digest = hashlib.sha256(b"You are the house's voice.\n").hexdigest()[:16]
    answer = await once(house.url, ROUTES[0], asked(ROUTES[0], "bound", "hi", stream=False))
    assert (answer.header("x-penstock-guardrails") or "").startswith(f"system=7;sha256={digest}, template=t2;sha256=")
    sent = json.loads(house.engine.requests[-1].body)
    assert sent["messages"] == [
        {"role": "system", "content": "You are the house's voice."},
        {"role": "user", "content": "<question>hi</question>"},
    ]
    for path, place in (("/v1/messages", "system"), ("/v1/responses", "instructions")):
        assert (await once(house.url, path, asked(path, "bound", "hi", stream=False))).status == 200
        assert json.loads(house.engine.requests[-1].body)[place] == "You are the house's voice."
    for path in ("/api/chat", "/api/generate"):
        assert (await once(house.url, path, asked(path, "bound", "hi", stream=False))).status == 200
        sent = json.loads(house.engine.requests[-1].body)
        assert sent["messages"][0] == {"role": "system", "content": "You are the house's voice."}
        assert sent["messages"][-1] == {"role": "user", "content": "<question>hi</question>"}
    body = {"model": "bound", "messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "x"}]}
    assert (await once(house.url, ROUTES[0], body)).status == 200
    assert json.loads(house.engine.requests[-1].body)["messages"][0]["content"] == "You are the house's voice.\n\nown"


async def test_what_rules_cannot_be_kept_on_is_refused(house: House) -> None:
    """Never silently skipped: other routes, forms without text, and the answer once more in another form."""
    before = len(house.engine.requests)
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]
    wrong: list[tuple[str, dict[str, object]]] = [
        ("/v1/embeddings", {"model": "clean", "input": "x"}),
        ("/tokenize", {"model": "clean", "prompt": "x"}),
        ("/api/embed", {"model": "clean", "input": "x"}),
        ("/v1/completions", {"model": "clean", "prompt": [1, 2, 3]}),
        ("/v1/completions", {"model": "clean", "prompt": "x", "echo": True}),
        ("/v1/completions", {"model": "bound", "prompt": "x"}),
        (ROUTES[0], asked(ROUTES[0], "clean", "x", stream=False, logprobs=True)),
        (ROUTES[0], asked(ROUTES[0], "clean", "x", stream=False, return_token_ids=True)),
        (ROUTES[0], asked(ROUTES[0], "clean", "x", stream=False, Messages=[])),
        (ROUTES[0], asked(ROUTES[0], "bound", "x", stream=False, chat_template="{{ x }}")),
        (ROUTES[0], {"model": "clean", "messages": picture}),
        (ROUTES[0], asked(ROUTES[0], "clean", "x" * 9000, stream=False)),
        ("/v1/responses", {"model": "clean", "input": "x", "background": True}),
        ("/api/generate", {"model": "bound", "prompt": "x", "raw": True}),
        ("/api/generate", {"model": "clean", "prompt": "x", "context": [1, 2]}),
        (ROUTES[0], asked(ROUTES[0], "whole", "x", stream=True)),
    ]
    for path, body in wrong:
        refused = await once(house.url, path, body)
        assert refused.status == 400, (path, body, refused.body)
        assert "guardrail" in refused.error
    assert len(house.engine.requests) == before
    assert (await once(house.url, "/v1/responses", {"model": "clean", "input": "x"})).status == 200
    assert json.loads(house.engine.requests[-1].body)["store"] is False


@pytest.mark.parametrize("stream", [True, False])
async def test_only_tools_that_are_named(house: House, *, stream: bool) -> None:
    def tools(*names: str) -> list[dict[str, object]]:
        return [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in names]

    path = ROUTES[0]
    refused = await once(house.url, path, asked(path, "tools", "x", stream=stream, tools=tools("lookup", "shell")))
    assert refused.status == 400
    assert "'shell' may not be offered" in refused.error
    house.engine.script = Script(tools=(ToolUse(name="lookup", arguments='{"q": "a b c"}'),))
    for route in (path, "/api/chat"):
        called = await once(house.url, route, asked(route, "tools", "x", stream=stream, tools=tools("lookup")))
        assert called.status == 200
        assert b"lookup" in called.body
        assert b"a b c" in called.body
    house.engine.script = Script(tools=(ToolUse(name="shell", arguments='{"do": "rm"}'),))
    withheld = await once(house.url, path, asked(path, "tools", "x", stream=stream, tools=tools("lookup")))
    assert withheld.status == (200 if stream else 422)
    assert b"'shell' may not be called" in withheld.body
    assert b"rm" not in withheld.body


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_fits_its_schema_or_is_not_given(house: House, *, stream: bool) -> None:
    for path in ROUTES:
        house.engine.script = Script(tokens=('{"n"', ": 4", "2}"))
        answer = await once(house.url, path, asked(path, "shaped", "x", stream=stream))
        assert answer.status == 200, (path, answer.body)
        assert said(answer, path) == '{"n": 42}', path
        house.engine.script = Script(tokens=('{"n"', ': "BAD"', "}"))
        withheld = await once(house.url, path, asked(path, "shaped", "x", stream=stream))
        assert withheld.status == (200 if stream else 422)
        assert b"n is not of type integer" in withheld.body, path
        assert b"BAD" not in withheld.body, path


@pytest.mark.asyncio(loop_scope="function")
async def test_a_stream_that_goes_on_elsewhere_stays_clean(gateway: StartGateway, scripted_engine: Engine) -> None:
    """An address that one engine began and another ended is one address."""
    async with Engine(["m"]) as other:
        scripted_engine.script = Script(tokens=LEAK, cut_after=4)
        other.script = Script(tokens=LEAK)
        one = await gateway(
            {
                "backends": {
                    "first": {"kind": "vllm", "url": scripted_engine.url, "probe": "100ms"},
                    "second": {"kind": "vllm", "url": other.url, "probe": "100ms"},
                },
                "aliases": {
                    "m": {
                        "targets": [{"backends": ["first", "second"], "model": "m"}],
                        "midstream": "restart",
                        "guardrails": {"redact": {"find": ["email"]}, "links": {"hosts": ["good.example"]}},
                    }
                },
            }
        )
        async with asyncio.timeout(20):
            while not scripted_engine.requests or not other.requests:
                answer = await once(one.url, ROUTES[0], asked(ROUTES[0], "m", "hi", stream=True))
                assert said(answer, ROUTES[0]) == CLEAN
                assert not any(word.encode() in answer.body for word in FORBIDDEN)


@pytest.mark.asyncio(loop_scope="function")
async def test_a_text_that_drifted_is_not_taken(gateway: StartGateway, scripted_engine: Engine, tmp_path: Path) -> None:
    """S0.23: what a version is bound to stays what is served, until a version says otherwise."""
    file = tmp_path / "system.md"
    file.write_bytes(b"Be kind.")
    bound = {"file": str(file), "version": "1", "sha256": hashlib.sha256(b"Be kind.").hexdigest()}
    config: dict[str, object] = {
        "backends": {"first": {"kind": "vllm", "url": scripted_engine.url, "probe": "100ms"}},
        "aliases": {"m": {"targets": [{"backends": ["first"], "model": "m"}], "guardrails": {"system": bound}}},
    }
    one = await gateway(config)
    file.write_bytes(b"Be unkind.")
    one.process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(20):
        while "reload refused" not in one.log:
            await once(one.url, "/livez", None)
    assert "is not what version 1 is bound to" in one.log
    answer = await once(one.url, ROUTES[0], asked(ROUTES[0], "m", "hi", stream=False))
    assert (answer.header("x-penstock-guardrails") or "").startswith("system=1;sha256=")
    assert json.loads(scripted_engine.requests[-1].body)["messages"][0]["content"] == "Be kind."


async def test_verdicts_stand_in_the_log_and_no_text(house: House) -> None:
    house.engine.script = Script(tokens=LEAK)
    await once(house.url, ROUTES[0], asked(ROUTES[0], "clean", "ask bob@corp.example", stream=True))
    async with asyncio.timeout(10):
        while "email: redacted 2; links: removed" not in house.gateway.log:
            await once(house.url, "/livez", None)
    assert "corp.example" not in house.gateway.log
