"""A begun answer whose engine goes away, on real vLLM: what is joined is what would have come, byte for byte."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from models.guide.pairs import load_pairs
from tests.engines.asking import WEATHER, soon_over, without_blanks
from tests.engines.conftest import serving
from tests.engines.servers import GUIDE, LLAMA, Launch, VllmServer
from tests.fakes.gateway import Gateway, Gateways
from tests.fakes.raw import Answer, Raw, once
from tests.fakes.relay import Cut, Relay, Way

LONG = 64
"""Tokens of an answer that is cut after each of them."""
OFTEN = 5
"""Times a cut is tried where the engine alone does not always say the same."""
CHAT, COMPLETIONS, OLLAMA, GENERATE = "/v1/chat/completions", "/v1/completions", "/api/chat", "/api/generate"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Told:
    """What a client of either protocol was told."""

    text: str
    calls: tuple[tuple[str, str], ...]
    finish: str
    usage: tuple[int, int]
    heads: int
    """Different ids, `created` or models."""
    roles: int
    error: str = ""
    reasoning: str = ""

    @classmethod
    def of(cls, answer: Answer) -> Told:
        assert answer.status == 200, answer.body
        assert answer.complete
        ollama = (answer.header("content-type") or "").startswith("application/x-ndjson")
        return _lines(answer.body) if ollama else _events(answer.body)


def _lines(body: bytes) -> Told:
    lines = [json.loads(line) for line in body.splitlines()]
    error = "".join(line.get("error", "") for line in lines)
    texts = [line["message"]["content"] if "message" in line else line.get("response", "") for line in lines]
    last = lines[-1]
    assert error or last["done"]
    usage = (last.get("prompt_eval_count", 0), last.get("eval_count", 0))
    models = {line["model"] for line in lines if "model" in line}
    return Told("".join(texts), (), last.get("done_reason", ""), usage, len(models), 1, error)


def _events(body: bytes) -> Told:
    data = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event]
    events = [json.loads(one) for one in data if one != b"[DONE]"]
    error = "".join(one["error"]["message"] for one in events if "error" in one)
    told = [one for one in events if "error" not in one]
    assert error or data[-1] == b"[DONE]"
    assert not any(b'token_ids":[' in one for one in data)
    text, reasoning, roles, finish, usage = "", "", 0, [], (0, 0)
    calls: dict[int, list[str]] = {}
    for one in told:
        counts = one.get("usage")
        usage = (counts["prompt_tokens"], counts["completion_tokens"]) if counts else usage
        for choice in one["choices"]:
            delta = choice.get("delta", {})
            text += choice.get("text") or delta.get("content") or ""
            reasoning += delta.get("reasoning") or ""
            roles += "role" in delta
            finish += [choice["finish_reason"]] if choice["finish_reason"] else []
            for call in delta.get("tool_calls") or ():
                known = calls.setdefault(call["index"], ["", ""])
                known[0] += call["function"].get("name") or ""
                known[1] += call["function"].get("arguments") or ""
    assert error or len(finish) == 1
    heads = {(one["id"], one["created"], one["model"], one["object"]) for one in told}
    made = tuple((name, arguments) for name, arguments in calls.values())
    return Told(text, made, "".join(finish), usage, len(heads), roles, error, reasoning)


@dataclass
class Place:
    """Two relays in front of one engine, and a gateway whose alias each policy has."""

    gateway: Gateway
    cuts: deque[Cut]

    async def ask(self, path: str, body: dict[str, Any], model: str = "continue") -> Told:
        return Told.of(await once(self.gateway.url, path, {"model": model, **body}))

    async def cut(self, path: str, body: dict[str, Any], after: int, way: Way = "rst", model: str = "continue") -> Told:
        """The same, with the first engine gone after so many tokens."""
        cut = Cut(after, way)
        self.cuts.append(cut)
        told = await self.ask(path, body, model)
        assert cut.happened.is_set(), f"the answer ended before its token {after}"
        await self.well()
        return told

    async def well(self) -> None:
        """Let the engines answer as well, or the breakers would rightly keep others away from them."""
        await self.ask(CHAT, chat("Hello", 1))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(vllm_generate: VllmServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    await asyncio.to_thread(vllm_generate.start)  # a test that ran before may have ended it
    cuts: deque[Cut] = deque()
    async with AsyncExitStack() as stack:
        a, b = [await stack.enter_async_context(Relay(vllm_generate.url, cuts)) for _ in range(2)]
        gateways = Gateways(tmp_path_factory.mktemp("midstream"), "hot")
        stack.push_async_callback(gateways.close)
        target = {"backends": ["a", "b"], "model": LLAMA}
        gateway = await gateways.start(
            {
                "backends": {"a": {"kind": "vllm", "url": a.url}, "b": {"kind": "vllm", "url": b.url}},
                "aliases": {one: {"midstream": one, "targets": [target]} for one in ("continue", "restart", "error")},
                "limits": {"between_tokens": "2s"},
            }
        )
        await gateway.until("/ready", lambda page: page["status"] == "ready")
        yield Place(gateway, cuts)


@pytest.fixture(autouse=True)
def none_left(place: Place) -> Iterator[None]:
    yield
    place.cuts.clear()


def chat(content: str, tokens: int = LONG, **fields: object) -> dict[str, Any]:
    turns = [{"role": "user", "content": content}]
    options = {"temperature": 0, "max_tokens": tokens, "stream_options": {"include_usage": True}}
    return {"messages": turns, "stream": True, **options, **fields}


def prompted(prompt: str, tokens: int = LONG, **fields: object) -> dict[str, Any]:
    options = {"temperature": 0, "max_tokens": tokens, "stream_options": {"include_usage": True}}
    return {"prompt": prompt, "stream": True, **options, **fields}


def ollama(content: str, tokens: int = LONG) -> dict[str, Any]:
    turns = [{"role": "user", "content": content}]
    return {"messages": turns, "options": {"temperature": 0, "num_predict": tokens}}


STORY = "Write a long story about a drop of water."
ASKED = {
    CHAT: chat(STORY),
    COMPLETIONS: prompted("Once upon a time a drop of water", ignore_eos=True),
    OLLAMA: ollama(STORY),
    GENERATE: {"prompt": STORY, "options": {"temperature": 0, "num_predict": LONG}},
}


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, OLLAMA])
async def test_cut_after_every_token(place: Place, path: str) -> None:
    """Text, usage, finish, id, `created`, one role: as if nothing had happened, wherever the connection breaks."""
    whole = await place.ask(path, ASKED[path])
    assert (whole.usage[1], whole.finish, whole.heads, whole.error) == (LONG, "length", 1, "")
    for after in range(1, LONG):
        assert await place.cut(path, ASKED[path], after) == whole, f"cut after {after} tokens"


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, OLLAMA])
async def test_cut_inside_characters(place: Place, path: str) -> None:
    """Between the bytes of emoji, flags and a joined family: no half of one is sent, and none twice."""
    asked = {
        CHAT: chat("Show me some emoji."),
        COMPLETIONS: prompted("🌊🚰", tokens=24),
        OLLAMA: ollama("Show me some emoji."),
    }[path]
    whole = await place.ask(path, asked)
    assert not whole.text.isascii()
    for after in range(1, whole.usage[1]):
        assert await place.cut(path, asked, after) == whole, f"cut after {after} tokens"


async def test_forced_bytes(place: Place, guide: Path) -> None:
    """Characters of four bytes from four tokens, and an answer that ends inside one."""
    vocabulary = json.loads((guide / "tokenizer.json").read_text())["model"]["vocab"]
    # the byte-level alphabet writes the bytes F0 9F 92 A7 (a droplet) as these letters
    droplet = [vocabulary[letter] for letter in ("ð", "Ł", "Ĵ", "§")]
    for tokens in (23, 24):
        asked = prompted("Say", tokens, allowed_token_ids=droplet, ignore_eos=True, logit_bias={str(droplet[0]): 1.5})
        whole = await place.ask(COMPLETIONS, asked)
        for after in range(1, tokens):
            assert await place.cut(COMPLETIONS, asked, after) == whole, f"cut after {after} of {tokens} tokens"


async def test_many_answers(place: Place) -> None:
    """Twenty answers that the guide knows by heart, each to its own end, cut near its beginning, middle and end."""
    longest = sorted(load_pairs(), key=lambda pair: len(pair.answer), reverse=True)[4:24]
    for pair in longest:
        asked = chat(pair.question, 400)
        whole = await place.ask(CHAT, asked)
        assert whole.text == pair.answer
        assert whole.usage[1] >= LONG
        for after in (3, whole.usage[1] // 2, whole.usage[1] - 2):
            assert await place.cut(CHAT, asked, after) == whole, (pair.question, after)


@pytest.mark.parametrize("way", ["fin", "eos", "malformed", "error", "stall"])
async def test_every_way_to_break(place: Place, way: Way) -> None:
    """A close, an end without finish, an event that is none, an engine's own error, silence."""
    for path in (CHAT, OLLAMA, GENERATE):
        whole = await place.ask(path, ASKED[path])
        assert await place.cut(path, ASKED[path], 21, way) == whole, path


async def test_broken_twice(place: Place) -> None:
    """The second engine goes away as well; the third attempt ends it."""
    whole = await place.ask(CHAT, ASKED[CHAT])
    for first, second in itertools.product((1, 13, 40), (1, 2, 9)):
        place.cuts.extend([Cut(first), Cut(second)])
        assert await place.ask(CHAT, ASKED[CHAT]) == whole, (first, second)
        assert not place.cuts
        await place.well()
        await place.well()


async def test_restart(place: Place) -> None:
    """The same request once more: what was sent is left out."""
    for path in (CHAT, COMPLETIONS, OLLAMA):
        whole = await place.ask(path, ASKED[path], "restart")
        for after in (1, 2, 30, 63):
            assert await place.cut(path, ASKED[path], after, model="restart") == whole, (path, after)


async def test_stop_strings(place: Place) -> None:
    """One that spans the cut, one that does not come, one that is shown: vLLM holds back what one may begin with."""
    whole = await place.ask(CHAT, chat(STORY))
    word = whole.text[90:99]
    for fields in ({"stop": [word]}, {"stop": [word], "include_stop_str_in_output": True}, {"stop": ["no such words"]}):
        asked = chat(STORY, **fields)
        stopped = await place.ask(CHAT, asked)
        for after in range(1, stopped.usage[1], 3):
            assert await place.cut(CHAT, asked, after) == stopped, (fields, after)


async def test_sampling(place: Place) -> None:
    """Penalties on what was generated and a seed begin anew: the exact answer by asking again, or an error; never a mix."""
    exact = ({"presence_penalty": 0.5}, {"frequency_penalty": 0.5}, {"bad_words": ["river"]}, {"min_tokens": 50})
    for fields in (*exact, {"repetition_penalty": 1.2}, {"temperature": 0.8, "seed": 7}, {"logprobs": True}):
        asked = chat(STORY, **fields)
        whole = await place.ask(CHAT, asked)
        assert await place.cut(CHAT, asked, 17) == whole, fields
    sampled = await place.cut(CHAT, chat(STORY, temperature=1.0), 17)
    assert (sampled.usage[1], sampled.heads, sampled.error) == (LONG, 1, "") or sampled.finish == "stop"
    broken = await place.cut(CHAT, chat(STORY, temperature=1.0, presence_penalty=0.5), 17)
    assert "`presence_penalty` cannot be gone on with" in broken.error


async def test_json_mode(place: Place, guide: Path) -> None:
    """The grammar of constrained output would begin anew in the middle: the whole is asked again and compared."""
    question = "Answer as JSON: describe every word of Penstock."
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}
    forms = ({"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    for form in forms:
        asked = chat(question, response_format=form, logit_bias=without_blanks(guide))
        whole = await place.ask(CHAT, asked)
        assert whole.text.startswith("{")
        for after in range(1, whole.usage[1], 5):
            assert await place.cut(CHAT, asked, after) == whole, after


async def test_tool_calls(place: Place, guide: Path) -> None:
    """Inside the arguments, whose raw text vLLM's parser eats: name and arguments once, one id, one finish."""
    choice = {"type": "function", "function": {"name": "get_weather"}}
    fields: dict[str, Any] = {"tools": [WEATHER], "tool_choice": choice, "logit_bias": soon_over(guide)}
    asked = chat("What is the weather?", **fields)
    whole = await place.ask(CHAT, asked)
    (call,) = whole.calls
    assert json.loads(call[1])["unit"] in {"celsius", "fahrenheit"}
    for after in range(1, whole.usage[1]):
        assert await place.cut(CHAT, asked, after) == whole, after


async def test_what_the_figures_say(place: Place) -> None:
    """The metric and the record say that another engine went on; with `error` the stream still ends in one."""
    told = await place.cut(CHAT, ASKED[CHAT], 5, model="error")
    assert "went away in the middle" in told.error
    page = (await once(place.gateway.url, "/metrics")).body.decode()
    joined = [line for line in page.splitlines() if line.startswith("penstock_midstream_total")]
    assert any('alias="continue"' in line and 'how="tokens"' in line and 'outcome="joined"' in line for line in joined)
    records = [json.loads(line) for line in place.gateway.log.splitlines()]
    assert any(one["event"] == "request" and one.get("midstream") == "tokens" for one in records)


@pytest.fixture(scope="module")
def vllm_second(
    guide: Path, vllm_generate: VllmServer, alive: list[VllmServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VllmServer]:
    for server in alive:
        if server is not vllm_generate:
            server.stop()
    grammars = '{"backend": "xgrammar", "disable_any_whitespace": true, "enable_in_reasoning": true}'
    launch = Launch(guide, (LLAMA, GUIDE), ("--reasoning-parser", "granite", "--structured-outputs-config", grammars))
    yield from serving(VllmServer(launch, tmp_path_factory.mktemp("vllm-second")), alive)


THINKS, ANSWERS = "Here is my thought process:", " Here is my response:"


def bare(told: Told) -> Told:
    """Without what this parser lets through of its marks: that hangs on how tokens come together, which a busy machine decides."""
    before = next(mark for at in range(len(THINKS) + 1) if told.reasoning.startswith(mark := THINKS[at:]))
    behind = next(mark for at in range(len(ANSWERS), -1, -1) if told.reasoning.endswith(mark := ANSWERS[:at]))
    return replace(told, reasoning=told.reasoning.removeprefix(before).removesuffix(behind))


async def test_reasoning(vllm_to_kill: VllmServer, vllm_second: VllmServer, tmp_path: Path) -> None:
    """A parser of vLLM's own that works on text and keeps some of it back: exact by asking again, or an error; never a mix."""
    del vllm_to_kill  # asked for so that this runs when no test needs a third server any more
    # the guide does not think: a grammar lets it say what a thinking Granite says
    words = r"( [a-z]{3,6}){4}\."
    said = THINKS + words + ANSWERS + words
    asked = chat("Think.", 200, structured_outputs={"regex": said})
    async with AsyncExitStack() as stack:
        cuts: deque[Cut] = deque()
        a, b = [await stack.enter_async_context(Relay(vllm_second.url, cuts)) for _ in range(2)]
        gateways = Gateways(tmp_path, "hot")
        stack.push_async_callback(gateways.close)
        backends = {"a": {"kind": "vllm", "url": a.url}, "b": {"kind": "vllm", "url": b.url}}
        target = {"backends": ["a", "b"], "model": LLAMA}
        alias = {"midstream": "continue", "targets": [target]}
        gateway = await gateways.start({"backends": backends, "aliases": {"continue": alias}})
        await gateway.until("/ready", lambda page: page["status"] == "ready")
        own = Place(gateway, cuts)
        whole = bare(await own.ask(CHAT, asked))
        assert whole.reasoning
        assert whole.text
        for after in range(12, whole.usage[1] - 1, 3):
            for _ in range(OFTEN):
                told = await own.cut(CHAT, asked, after)
                if not told.error:
                    break
                # tokens came together in two ways: that is said, and nothing of the second engine's is sent
                assert "It said something else" in told.error
                assert whole.text.startswith(told.text)
            assert bare(told) == whole, after
        sampled = {**asked, "temperature": 1.0}
        assert "Nobody went on" in (await own.cut(CHAT, sampled, whole.usage[1] // 2)).error


async def test_killed(vllm_to_kill: VllmServer, vllm_second: VllmServer, tmp_path: Path) -> None:
    """SIGKILL while three streams are at three places: each is gone on with by the other server, to the same last byte."""
    longest = sorted(load_pairs(), key=lambda pair: len(pair.answer), reverse=True)[:3]
    async with AsyncExitStack() as stack:
        gateways = Gateways(tmp_path, "hot")
        stack.push_async_callback(gateways.close)
        late = await stack.enter_async_context(Relay(vllm_second.url, deque()))
        late.open = False
        backends = {"a": vllm_to_kill.url, "b": late.url}
        gateway = await gateways.start(
            {
                "backends": {name: {"kind": "vllm", "url": url, "probe": "60s"} for name, url in backends.items()},
                "aliases": {
                    "m": {"midstream": "continue", "targets": [{"backends": ["a", "b"], "model": LLAMA}]},
                },
            }
        )
        await gateway.until("/ready", lambda page: page["status"] in {"ready", "degraded"})
        asked = [{"model": "m", **chat(pair.question, 400)} for pair in longest]
        whole = [Told.of(await once(gateway.url, CHAT, body)) for body in asked]
        assert [one.text for one in whole] == [pair.answer for pair in longest]
        streams = [await stack.enter_async_context(Raw(gateway.url)) for _ in asked]
        for stream, body, part in zip(streams, asked, (30, 20, 10), strict=True):
            stream.ask(CHAT, body)
            await stream.times(b'"content":"', part)
        # no probe has seen it yet: that it can be asked shows when it is asked
        late.open = True
        await asyncio.to_thread(vllm_to_kill.kill)
        for stream, expected in zip(streams, whole, strict=True):
            assert Told.of(await stream.answer()) == expected
        page = (await once(gateway.url, "/metrics")).body.decode()
        assert 'penstock_midstream_total{alias="m",how="tokens",outcome="joined"} 3.0' in page
