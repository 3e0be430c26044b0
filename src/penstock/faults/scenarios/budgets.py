"""Rows 25 and 36: who races for what is left of a budget, in the workers of one gateway and in two that share a state.

What is held against the limit is what the engines were asked to do, by their own count, and not what a gateway believes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from penstock.faults.gateways import eventually, free_port
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import Script
from penstock.faults.seen import Asking, Outcome, Seen, request
from penstock.faults.site import Site
from penstock.state.store import Store

LIMIT = 6000
"""Tokens of the day."""
ANSWER = 40
CLIENTS = 64
ENOUGH = 3
"""Refusals after which a client believes that the budget is spent."""
SLOTS = 5
_FILL = 40.0
"""Seconds for slots of a gateway that is gone to be lent to another one."""
_HEADERS = {"authorization": "Bearer sk-racer"}
_BODY = {"model": "m", "messages": [{"role": "user", "content": "a question"}], "max_tokens": ANSWER, "stream": False}
_ESTIMATE = len(json.dumps(_BODY)) // 2 + 1 + ANSWER
_WAYS = "/v1/chat/completions"
_OWN = frozenset({Need.PROCESS, Need.PENSTOCK})


def limited(limits: dict[str, int], state: str, **more: object) -> dict[str, Any]:
    """The changes that give one caller limits, in a shared state."""
    digest = hashlib.sha256(b"sk-racer").hexdigest()
    return {
        "state": state,
        "listen": [f"127.0.0.1:{free_port()}"],
        "callers": {"racer": {"tenant": "red", "key_sha256": digest, "limits": limits}},
        # Engines are held while slots are lent and lost: no limit of time shall come between.
        "limits": {"total": "90s", "first_token": "90s", "whole": "90s"},
        **more,
    }


@dataclass(slots=True)
class Tally:
    """What all clients together were told."""

    answers: int = 0
    tokens: int = 0
    refused: int = 0
    lost: int = 0
    """Connections that a kill cut off."""
    strange: list[str] = field(default_factory=list)

    def add(self, seen: Seen) -> None:
        """One request of one client."""
        if seen.outcome is Outcome.ANSWERED:
            self.answers += 1
            self.tokens += int(seen.usage["prompt_tokens"]) + int(seen.usage["completion_tokens"])
        elif seen.status == 429:
            self.refused += 1
        elif seen.status in {0, 503}:
            self.lost += 1
        else:
            self.strange.append(str(seen))


async def once(url: str) -> Seen:
    """One request of the racer."""
    return await Asking(url, request(_WAYS, _BODY, _HEADERS), stream=False, face="openai").start().seen(90.0)


async def client(sites: Sequence[Site], tally: Tally, chance: random.Random) -> None:
    """Ask any of the gateways until the budget seems to be spent."""
    refused = 0
    while refused < ENOUGH:
        seen = await once(chance.choice(sites).url)
        tally.add(seen)
        refused += seen.status == 429
        if seen.outcome is not Outcome.ANSWERED:
            await asyncio.sleep(0.02)  # who was cut off finds nobody for a moment


async def taken(state: str) -> float:
    """What the state counts as spent of the day."""

    def read() -> float:
        with Store(state) as store, store.begin("Reading what is taken") as connection:
            found = connection.execute(text("SELECT SUM(taken) FROM budgets WHERE kind = 'tokens_per_day'")).scalar()
        return float(found or 0.0)

    return await asyncio.to_thread(read)


def within(site: Site, tally: Tally) -> int:
    """What the engines were asked to do is within the limit; so many tokens that was."""
    if tally.strange or not tally.answers:
        raise Failed(
            f"answers and refusals by the budget alone were expected, seen {tally.answers} and {tally.strange[:3]}"
        )
    each = tally.tokens // tally.answers
    done = (len(site.a.requests) + len(site.b.requests)) * each
    if done > LIMIT or tally.tokens > LIMIT:
        raise Failed(
            f"at most {LIMIT} tokens were expected, the engines were asked for {done}, clients got {tally.tokens}"
        )
    return done


async def race(site: Site) -> None:
    """64 clients of one key at four workers: its budget is spent to the token and never passed; what was held comes back."""
    state = f"sqlite:///{site.folder / 'state.db'}"
    site.a.script = Script(count=ANSWER)
    tally = Tally()
    async with site.penstock(limited({"tokens_per_day": LIMIT}, state, workers=4)) as one:
        await _all_ask([one], tally, seed=25)
        within(site, tally)
    await _exact(state, tally)
    # Nobody holds anything any more: the rest is spent as well, but for less than one request.
    async with site.penstock(limited({"tokens_per_day": LIMIT}, state)) as alone:
        while (seen := await once(alone.url)).outcome is Outcome.ANSWERED:
            tally.add(seen)
    tally.add(seen)
    done = within(site, tally)
    if LIMIT - done >= _ESTIMATE:
        raise Failed(f"all but {_ESTIMATE} tokens to be spent was expected, seen {done} of {LIMIT}")
    site.notes.append(f"{done} of {LIMIT} tokens in {tally.answers} answers, {tally.refused} refusals")


async def _all_ask(sites: Sequence[Site], tally: Tally, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same ways in every run
    await asyncio.gather(*(client(sites, tally, chance) for _ in range(CLIENTS)))


async def _exact(state: str, tally: Tally) -> None:
    if (spent := await taken(state)) != tally.tokens:
        raise Failed(f"the {tally.tokens} tokens that clients were told to be charged was expected, seen {spent:g}")


async def two_gateways(site: Site) -> None:
    """64 clients at two gateways on one state: together they spend what is there, to the token, and no more."""
    await shared(site, f"sqlite:///{site.folder / 'state.db'}", kills=0)


async def two_gateways_killed(site: Site) -> None:
    """The same while one or the other is killed: never over the limit, and a kill costs no more than what was held."""
    await shared(site, f"sqlite:///{site.folder / 'state.db'}", kills=6)


async def shared(site: Site, state: str, *, kills: int) -> None:
    """Two gateways on one state, whichever database that is in."""
    site.a.script = site.b.script = Script(count=ANSWER, gap=0.001 if kills else 0.0)
    async with _two(site, state, {"tokens_per_day": LIMIT}) as both:
        tally = Tally()
        killing = asyncio.create_task(_kill(both, kills))
        await _all_ask(both, tally, seed=36)
        await killing
        done = within(site, tally)
        for one in both:
            await one.own.stop()
            one.own.checked = False
        spent = await taken(state)
        if not kills:
            await _exact(state, tally)
        # Held by a process: a stock, what its requests reserved, and as much again that had come back of others.
        most = kills * (LIMIT // 50 + 2 * CLIENTS * _ESTIMATE)
        if not tally.tokens <= spent <= min(LIMIT, tally.tokens + most):
            raise Failed(f"from {tally.tokens} to {most} more tokens to be charged was expected, seen {spent:g}")
        site.notes.append(
            f"{kills} kills: {tally.tokens} tokens in {tally.answers} answers, {done} asked of engines, {spent:g} charged of {LIMIT}"
        )


@contextlib.asynccontextmanager
async def _two(site: Site, state: str, limits: dict[str, int]) -> AsyncIterator[list[Site]]:
    async with site.penstock(limited(limits, state)) as one, site.penstock(limited(limits, state)) as other:
        yield [one, other]


async def _kill(both: Sequence[Site], kills: int) -> None:
    chance = random.Random(kills)  # noqa: S311 - the same moments in every run
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0.05, 0.4))
        victim = chance.choice(both)
        await victim.own.kill()
        await victim.own.start()
        await victim.own.ready()


async def slots(site: Site) -> None:
    """Five at the same time, at two gateways: never a sixth; those of a gateway that was killed come back, without it."""
    state = f"sqlite:///{site.folder / 'state.db'}"
    gate = site.a.hold(before=0)
    async with _two(site, state, {"concurrent": SLOTS}) as both:
        asked = [(one, asyncio.create_task(once(one.url))) for one in both * (2 * SLOTS)]
        await site.a.until(lambda: site.a.running == SLOTS, "as many requests as there are slots")
        await eventually(lambda: sum(task.done() for _, task in asked) == 3 * SLOTS, "a refusal for all others")
        refused = [task.result() for _, task in asked if task.done()]
        if any(seen.status != 429 for seen in refused) or len(site.a.requests) != SLOTS:
            raise Failed(f"{SLOTS} requests at the engine and 429 for others were expected, seen {refused[:3]}")
        running = [(one, task) for one, task in asked if not task.done()]
        victim = running[0][0]
        other = next(one for one in both if one is not victim)
        lost = sum(one is victim for one, _ in running)
        victim.own.checked = False
        await victim.own.kill()
        await site.a.until(lambda: site.a.running == SLOTS - lost, "the end of what the killed one had begun")
        more = await _fill(site, other, SLOTS)
        gate.open()
        answers = [await task for task in (*(task for one, task in running if one is other), *more)]
        _whole(answers, SLOTS)
        site.notes.append(f"{lost} slots of the killed gateway came back")


async def lost_lease(site: Site) -> None:
    """A gateway stands still for longer than its slots are lent, another takes them: awake, it starts nothing on what it lost."""
    state = f"sqlite:///{site.folder / 'state.db'}"
    gate = site.a.hold(before=0)
    async with _two(site, state, {"concurrent": SLOTS}) as both:
        first = [asyncio.create_task(once(both[0].url)) for _ in range(SLOTS)]
        await site.a.until(lambda: site.a.running == SLOTS, "all slots in use")
        both[0].own.signal(signal.SIGSTOP)
        # What stands still cannot say that it goes on: its slots are lent to the other one.
        second = await _fill(site, both[1], 2 * SLOTS)
        both[0].own.signal(signal.SIGCONT)
        refused = await once(both[0].url)
        if refused.status != 429 or site.a.running > 2 * SLOTS:
            raise Failed(f"a refusal by the one that stood still was expected, seen {refused}")
        gate.open()
        _whole([await task for task in (*first, *second)], 2 * SLOTS)


async def _fill(site: Site, one: Site, running: int) -> list[asyncio.Task[Seen]]:
    """Ask one gateway again and again, until so many requests are at the engine."""
    tasks: list[asyncio.Task[Seen]] = []
    try:
        async with asyncio.timeout(_FILL):
            while site.a.running < running:
                tasks.append(asyncio.create_task(once(one.url)))
                await asyncio.wait([tasks[-1]], timeout=0.4)
                if site.a.running > running:
                    raise Failed(f"never more than {running} requests were expected, seen {site.a.running}")
    except TimeoutError:
        ends = [str(task.result()) for task in tasks if task.done()]
        raise Failed(
            f"{running} requests at the engine were expected, seen {site.a.running}; refused: {ends[-2:]}"
        ) from None
    return tasks


def _whole(answers: Sequence[Seen], least: int) -> None:
    """So many whole answers at least; who found no slot in time was refused, and nothing else."""
    whole = sum(seen.outcome is Outcome.ANSWERED for seen in answers)
    if whole < least or any(seen.outcome is not Outcome.ANSWERED and seen.status != 429 for seen in answers):
        raise Failed(f"{least} whole answers were expected, seen {whole}: {[str(one) for one in answers][:4]}")


SCENARIOS = (
    Scenario(25, "quota-race", race, _OWN, own=True, limit=120.0),
    Scenario(36, "one-budget", two_gateways, _OWN, own=True, limit=120.0),
    Scenario(36, "killed", two_gateways_killed, _OWN, own=True, limit=180.0),
    Scenario(36, "slots", slots, _OWN, own=True, limit=120.0),
    Scenario(36, "lost-lease", lost_lease, _OWN, own=True, limit=120.0),
)
