"""Trimming a conversation to the engine's own window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.conftest import Ways

from penstock.client.ask import Message
from penstock.client.plain import ChatOllamaClient, ChatVLLM
from penstock.client.window import exchanges, kept
from penstock.errors import BadRequest, Unsupported
from penstock.faults.condition import Model
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble

WORDS = "one two three four five six seven eight nine ten"
TALK = [
    ("system", "be brief"),
    *[turn for number in range(6) for turn in (("user", f"question {number} {WORDS}"), ("assistant", WORDS))],
    ("user", "the last question"),
]


@pytest.mark.parametrize("window", [60, 90, 120, 500])
async def test_the_oldest_exchanges_go(ways: Ways, window: int) -> None:
    """S0.11, H4: what is kept fits, by the engine's own count, and one exchange more would not."""
    async with Engine([Model("m", window)]) as engine:
        client = ChatVLLM("m", base_url=engine.url)
        fitting = await ways.fit(client, TALK, reserve=20)
        assert fitting[0] == TALK[0]
        assert fitting[-1] == TALK[-1]
        answer = await ways.ask(client, fitting, max_tokens=20)
        assert answer.usage.prompt_tokens + 20 <= window
        older = TALK[: len(TALK) - len(fitting) + 1]
        if len(fitting) < len(TALK):
            longer = [fitting[0], *older[-2:], *fitting[1:]]
            assert (await ways.ask(client, longer)).usage.prompt_tokens + 20 > window
        else:
            assert len(engine.probes) + len(engine.requests) == 2


async def test_what_must_stay_does_not_fit(ways: Ways) -> None:
    async with Engine([Model("m", 30)]) as engine:
        with pytest.raises(BadRequest, match="20 are reserved") as caught:
            await ways.fit(ChatVLLM("m", base_url=engine.url), [("user", WORDS + WORDS)], reserve=20)
        assert "Shorten the last question by" in caught.value.hint


async def test_ollama_cannot_count(ways: Ways, ollama_double: OllamaDouble) -> None:
    """H4: an engine without a tokenizer to ask says so, and takes a function of the caller's; never a guess."""
    client = ChatOllamaClient("llama3.2", base_url=ollama_double.url)
    with pytest.raises(Unsupported, match=r"Ollama at .* cannot count the tokens"):
        await ways.fit(client, TALK)
    fitting = await ways.fit(
        client, TALK, reserve=10, window=60, count=lambda turns: sum(len(turn.content.split()) for turn in turns)
    )
    assert fitting == [TALK[0], *TALK[-5:]]


async def test_a_gateway_in_front_of_ollama(ways: Ways, scripted_engine: Engine) -> None:
    """A 404 or 501 for the route is no missing model."""
    client = ChatVLLM("m", base_url=f"{scripted_engine.url}/elsewhere")
    with pytest.raises(Unsupported, match="404 for the path"):
        await ways.fit(client, TALK)


ROLES = st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), max_size=12)


@given(ROLES, st.integers(0, 12))
def test_a_result_never_stays_without_its_question(roles: list[str], dropped: int) -> None:
    """Exchanges go whole: what is left begins with what the system says or with a question."""
    messages = [Message(role, str(index)) for index, role in enumerate(roles)]
    left = kept(messages, dropped)
    assert [index for index, role in enumerate(roles) if role == "system"] == [
        index for index in left if roles[index] == "system"
    ]
    others = [roles[index] for index in left if roles[index] != "system"]
    if dropped and "user" in roles and exchanges(messages):
        assert others[0] == "user"
    if "user" in roles:
        last = max(index for index, role in enumerate(roles) if role == "user")
        assert left[-(len(roles) - last) :] == list(range(last, len(roles)))
