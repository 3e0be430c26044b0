"""What a person sees in a real Open WebUI, over its Ollama connection and over its OpenAI connection to the gateway.

Open WebUI is as it comes: titles, tags and follow-up questions are generated, and its built-in tools are offered to the model. Only
the last test turns the settings that docs/howto/open-webui.md names.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from models.guide.pairs import load_pairs
from tests.openwebui.conftest import Site, visited

from penstock.faults.engine import Engine

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Each connection lists an alias by a name of its own, and asks for it on a path of its own.
CONNECTIONS = [
    pytest.param(":latest", "/api/chat", id="ollama"),
    pytest.param("", "/v1/chat/completions", id="openai"),
]
QUESTIONS = ("What can you do?", "Which protocols does Penstock speak?")
MOST_CHATS = 16
"""By then both replicas have been given one, but for one case in 32768."""


@pytest.mark.parametrize(("suffix", "path"), CONNECTIONS)
async def test_the_guide_answers_word_for_word(site: Site, suffix: str, path: str) -> None:
    answers = {pair.question: pair.answer for pair in load_pairs()}
    before = len(site.lines())
    await site.page.new_chat(f"guide{suffix}")
    for number, question in enumerate(QUESTIONS, start=1):
        await site.page.say(question)
        await site.page.shows(number, answers[question])
    await site.page.complete()
    await site.page.picture("open-webui-answers")
    await site.logged(before, path=path, alias="guide", backend="local", stream=True, status=200, finish="stop")
    # the chats, and whatever Open WebUI asks besides, were all answered
    assert {line["status"] for line in site.lines()[before:]} == {200}


@pytest.mark.parametrize(("suffix", "path"), CONNECTIONS)
async def test_an_answer_is_shown_while_it_is_made(site: Site, suffix: str, path: str) -> None:
    gates = [engine.hold(before=2) for engine in site.replicas.values()]
    before = len(site.lines())
    await site.page.new_chat(f"pair{suffix}")
    await site.page.say("one two three four")
    await site.page.shows(1, "one two")
    for gate in gates:
        gate.open()
    await site.page.shows(1, "one two three four")
    await site.logged(before, path=path, alias="pair", stream=True, status=200, finish="stop")


@pytest.mark.parametrize(("suffix", "path"), CONNECTIONS)
async def test_the_stop_button_ends_the_engines_work(site: Site, suffix: str, path: str) -> None:
    gates = [engine.hold(before=2) for engine in site.replicas.values()]
    before = len(site.lines())
    gone = {name: len(engine.aborts) for name, engine in site.replicas.items()}
    await site.page.new_chat(f"pair{suffix}")
    await site.page.say("one two three four")
    await site.page.shows(1, "one two")
    await site.page.stop()
    line = await site.logged(before, path=path, alias="pair", stream=True, outcome="client gone")
    assert line["status"] == 499
    backend = line["backend"]
    abort = await site.replicas[backend].aborted(gone[backend] + 1)
    assert abort.tokens == 2
    assert json.loads(abort.request.body)["stream"] is True
    for gate in gates:
        gate.open()
    await site.page.complete()
    # what was shown stays, and nothing follows it
    await site.page.shows(1, "one two")


async def test_every_request_carries_the_chats_id(site: Site) -> None:
    """What Open WebUI sends, seen by an engine it asks without a gateway."""
    await site.page.new_chat("straight")
    await site.page.say("who is asking")
    await site.page.shows(1, "who is asking")
    chat = await site.page.chat()
    asked = [request for request in site.straight.requests if b"who is asking" in request.body]
    assert {request.header("x-openwebui-chat-id") for request in asked} == {chat}


@pytest.mark.parametrize(("suffix", "path"), CONNECTIONS)
async def test_a_conversation_stays_with_the_replica_of_its_id(site: Site, suffix: str, path: str) -> None:
    """S4.16, X15: every request of a chat, those for title and tags too, goes to one replica."""
    seen: set[str] = set()
    for number in range(MOST_CHATS):
        word = f"chat{number}{suffix.strip(':')}"
        before = len(site.lines())
        await site.page.new_chat(f"pair{suffix}")
        for turn in (1, 2):
            text = f"{word} turn {turn}"
            await site.page.say(text)
            await site.page.shows(turn, text)
        await site.page.complete()
        asked = {
            name: [one for one in engine.requests if word.encode() + b" turn" in one.body]
            for name, engine in site.replicas.items()
        }
        (owner,) = [name for name, requests in asked.items() if requests]
        assert len(asked[owner]) > 2
        await site.logged(before, path=path, backend=owner, stream=True, status=200)
        seen.add(owner)
        if len(seen) == len(site.replicas):
            break
    assert seen == set(site.replicas)


async def test_the_settings_that_the_howto_names(tmp_path: Path) -> None:
    """One message is one request without tools, and the title comes from the task model."""
    settings = {
        "ENABLE_OLLAMA_API": "false",
        "ENABLE_TAGS_GENERATION": "false",
        "ENABLE_FOLLOW_UP_GENERATION": "false",
        "TASK_MODEL_EXTERNAL": "small",
        "DEFAULT_MODEL_METADATA": '{"capabilities": {"builtin_tools": false}}',
    }
    async with Engine(["large", "small"]) as engine, visited(engine.url, [engine.url], tmp_path, settings) as page:
        await page.new_chat("large")
        await page.say("nothing else")
        await page.shows(1, "nothing else")
        await engine.seen(2)
        await page.say("nothing more")
        await page.shows(2, "nothing more")
        await page.complete()
        asked = [json.loads(request.body) for request in engine.requests]
    chats = [body for body in asked if body["model"] == "large"]
    assert [body["messages"][-1]["content"] for body in chats] == ["nothing else", "nothing more"]
    assert [body for body in chats if "tools" in body] == []
    assert [body.get("stream", False) for body in asked if body["model"] == "small"] == [False]
