"""Five workloads of public shape: who asks what, how long, and when again. All parameters stand here, and a seed makes the rest.

A text is made of random letters, four bytes for a token, so that what a router can see of it is exactly what an engine's
prefix cache sees. A body is the JSON that an OpenAI client sends. What an engine reads is its messages with their roles,
which is hashed in blocks, each with everything before it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import xxhash

BLOCK = 16
"""Tokens of a block of the cache."""
TOKEN = 4
"""Bytes of a token."""
TENANT = "bench"
MODEL = "m"


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """One request."""

    body: bytes
    session: str | None
    chain: list[int]
    """Hashes of the blocks of everything that the conversation will be, each with all before it."""
    blocks: int
    """Of them those that are full with the prompt."""
    after: int
    """Of them those that are full with the prompt and its answer."""
    tokens: int
    """Of the prompt."""
    answer: int
    """Tokens of the answer."""
    pause: float
    """Seconds between the answer before it and this request; for the first of a flow 0."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Requests of one client, each after the answer to the one before."""

    begin: float
    asks: tuple[Ask, ...]


class Talk:
    """A conversation that grows: its messages as JSON, and the blocks that an engine makes of it."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self._text = bytearray()
        self._chain: list[int] = []
        self._asks: list[tuple[bytes, str | None, int, int, int, int, float]] = []

    def begun_again(self) -> Talk:
        """Another conversation that begins with all of this one."""
        other = Talk()
        other._messages += self._messages
        other._text += self._text
        other._chain += self._chain
        return other

    def say(self, role: str, text: str) -> None:
        self._messages.append(b'{"role":"%b","content":"%b"}' % (role.encode(), text.encode()))
        self._text += _spoken(role, text)
        size = BLOCK * TOKEN
        for begin in range(len(self._chain) * size, len(self._text) - size + 1, size):
            last = self._chain[-1] if self._chain else 0
            self._chain.append(xxhash.xxh3_64_intdigest(bytes(self._text[begin : begin + size]), last))

    def ask(self, answer: str, pause: float, session: str | None = None) -> None:
        """A request for everything said so far; its answer is said then."""
        tokens = len(answer) // TOKEN
        body = b'{"model":"%b","messages":[%b],"stream":true,"max_tokens":%d}' % (
            MODEL.encode(), b",".join(self._messages), tokens,
        )  # fmt: skip
        blocks, read = len(self._chain), len(self._text) // TOKEN
        self.say("assistant", answer)
        self._asks.append((body, session, blocks, len(self._chain), read, max(1, tokens), pause))

    def flow(self, begin: float) -> Flow:
        return Flow(begin, tuple(
            Ask(body, session, self._chain, blocks, after, tokens, answer, pause)
            for body, session, blocks, after, tokens, answer, pause in self._asks
        ))  # fmt: skip


def text(dice: random.Random, tokens: float) -> str:
    """So many tokens, at least one."""
    return dice.randbytes(max(1, round(tokens)) * TOKEN // 2).hex()


def around(dice: random.Random, mean: float, spread: float, most: float) -> float:
    """Log-normal with this mean; `spread` is the standard deviation of its logarithm."""
    return min(most, mean * dice.lognormvariate(-spread * spread / 2, spread))


def arrivals(dice: random.Random, rate: float, seconds: float) -> Iterator[float]:
    """A Poisson process."""
    now = dice.expovariate(rate)
    while now < seconds:
        yield now
        now += dice.expovariate(rate)


def zipf(count: int, power: float) -> list[float]:
    return [1 / (rank + 1) ** power for rank in range(count)]


def chat(dice: random.Random) -> Iterator[Flow]:
    """Conversations: 5.75 turns in the mean, 161 tokens asked and 338 answered, pauses of reading and typing.

    The means are those published for ShareGPT. A third of the conversations come with one of six system prompts; half
    say which conversation they are.
    """
    systems = [text(dice, around(dice, 400, 0.5, 1500)) for _ in range(6)]
    for number, begin in enumerate(arrivals(dice, 3.0, 80.0)):
        talk = Talk()
        if dice.random() < 1 / 3:
            talk.say("system", dice.choice(systems))
        session = f"chat-{number}" if dice.random() < 0.5 else None
        turns = 1 if dice.random() < 0.27 else 1 + min(39, int(dice.expovariate(1 / 7.0)) + 1)
        for turn in range(turns):
            talk.say("user", text(dice, around(dice, 161, 1.2, 3000)))
            talk.ask(text(dice, around(dice, 338, 0.9, 1500)), around(dice, 20, 0.9, 120) if turn else 0.0, session)
        yield talk.flow(begin)


def shared(dice: random.Random) -> Iterator[Flow]:
    """Applications with long system prompts: 40 of them, 3000 tokens in the mean, used by Zipf's law; one short question each."""
    talks = []
    for _ in range(40):
        talk = Talk()
        talk.say("system", text(dice, around(dice, 3000, 0.6, 12_000)))
        talks.append(talk)
    weights = zipf(len(talks), 0.9)
    for begin in arrivals(dice, 16.0, 45.0):
        talk = dice.choices(talks, weights)[0].begun_again()
        talk.say("user", text(dice, around(dice, 80, 0.8, 600)))
        talk.ask(text(dice, around(dice, 150, 0.8, 800)), 0.0)
        yield talk.flow(begin)


def documents(dice: random.Random) -> Iterator[Flow]:
    """Long documents, 12,000 tokens in the mean, with five questions each: some at once, others one after the other."""
    for begin in arrivals(dice, 0.55, 220.0):
        document = Talk()
        document.say("user", text(dice, around(dice, 12_000, 0.5, 40_000)))
        at = begin
        for _ in range(1 + min(14, int(dice.expovariate(1 / 4.0)))):
            talk = document.begun_again()
            talk.say("user", text(dice, around(dice, 40, 0.6, 300)))
            talk.ask(text(dice, around(dice, 200, 0.7, 1000)), 0.0)
            yield talk.flow(at)
            at += 0.05 if dice.random() < 0.3 else around(dice, 15, 0.8, 90)


def agents(dice: random.Random) -> Iterator[Flow]:
    """Agents with tools: three kinds with 2500 tokens of tools each, tasks started in bursts, a context that grows by every call."""
    kinds = [text(dice, around(dice, 2500, 0.3, 6000)) for _ in range(3)]
    for begin in arrivals(dice, 0.17, 120.0):
        kind, task = dice.choice(kinds), text(dice, around(dice, 600, 0.6, 3000))
        for member in range(1 + min(7, int(dice.expovariate(1 / 2.5)))):
            talk = Talk()
            talk.say("system", kind)
            talk.say("user", task)
            talk.say("user", text(dice, 30))
            for call in range(3 + min(37, int(dice.expovariate(1 / 9.0)))):
                talk.ask(text(dice, around(dice, 90, 0.6, 500)), around(dice, 1.5, 1.0, 20) if call else 0.0)
                talk.say("tool", text(dice, around(dice, 450, 1.0, 4000)))
            yield talk.flow(begin + 0.1 * member)


def hot(dice: random.Random) -> Iterator[Flow]:
    """An adversarial hot key: one beginning of 6000 tokens gets half of all requests, in gusts; the others share nothing."""
    talk = Talk()
    talk.say("system", text(dice, 6000))
    gusts = [(begin, dice.uniform(3, 12)) for begin in arrivals(dice, 0.1, 40.0)]
    for begin in arrivals(dice, 32.0, 40.0):
        if any(gust <= begin < gust + seconds for gust, seconds in gusts) or dice.random() < 0.15:
            one = talk.begun_again()
            one.say("user", text(dice, around(dice, 60, 0.6, 400)))
        elif dice.random() < 0.25:
            one = Talk()
            one.say("user", text(dice, around(dice, 1500, 0.6, 6000)))
        else:
            continue
        one.ask(text(dice, around(dice, 120, 0.7, 700)), 0.0)
        yield one.flow(begin)


Workload = Callable[[random.Random], Iterator[Flow]]

WORKLOADS: dict[str, Workload] = {
    "chat": chat,
    "shared-prompt": shared,
    "long-documents": documents,
    "agents": agents,
    "hot-key": hot,
}


def flows(name: str, seed: int) -> list[Flow]:
    """A workload by its seed: the same on every machine."""
    return list(WORKLOADS[name](random.Random(f"{name} {seed}")))  # noqa: S311 - the same every time is what is wanted


class _Message(msgspec.Struct):
    role: str
    content: str


class _Body(msgspec.Struct):
    messages: list[_Message]


def read(body: bytes) -> bytes:
    """What an engine reads of a body: as many tokens as it has four bytes."""
    messages = msgspec.json.decode(body, type=_Body).messages
    return b"".join(_spoken(one.role, one.content) for one in messages)


def _spoken(role: str, text: str) -> bytes:
    return f"<|{role}|>".ljust(BLOCK, "\n").encode() + text.encode()
