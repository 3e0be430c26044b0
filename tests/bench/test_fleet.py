"""The simulated fleet: what it counts is what it says, and the same every time."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from bench.fleet import compare, report
from bench.fleet.compare import FIGURES, Row, interval, verdicts
from bench.fleet.policies import OURS, POLICIES, Ours
from bench.fleet.replica import Engine, Replica
from bench.fleet.simulation import Outcome, Simulation
from bench.fleet.work import BLOCK, TOKEN, WORKLOADS, Ask, Flow, Talk, flows, read, text
from bench.machine import describe

ENGINE = Engine(step=0.01, read=0.001, write=0.0, budget=1000, blocks=100)


def asks(tokens: int, answer: int = 2, seed: int = 1) -> Flow:
    dice = random.Random(seed)
    talk = Talk()
    talk.say("user", text(dice, tokens - BLOCK // TOKEN))
    talk.ask(text(dice, answer), 0.0)
    return talk.flow(0.0)


def first(replica: Replica, ask: Ask, now: float) -> tuple[float, int]:
    """Seconds to its first token, and tokens found in the cache, in a replica that has nothing else to do."""
    assert replica.add(ask, now)
    while True:
        begun, over = replica.finish()
        for job in over:
            return job.first - job.arrived, job.cached
        assert begun or replica.run


def test_a_prompt_is_read_in_steps_and_found_the_next_time() -> None:
    replica = Replica(ENGINE)
    (ask,) = asks(1280).asks
    assert ask.tokens == 1280
    seconds, cached = first(replica, ask, 0.0)
    assert (round(seconds, 6), cached) == (0.01 + 1.0 + 0.01 + 0.28, 0)
    # the last token is always read, or there would be nothing to go on from
    seconds, cached = first(replica, ask, 10.0)
    assert (round(seconds, 6), cached) == (0.01 + 0.001, 1279)


def test_what_was_used_longest_ago_is_dropped_end_first() -> None:
    replica = Replica(ENGINE)
    one, two = (asks(960, seed=seed).asks[0] for seed in (1, 2))
    assert first(replica, one, 0.0)[1] == 0
    assert first(replica, two, 10.0)[1] == 0
    found = first(replica, one, 20.0)[1]
    assert 0 < found < 960
    assert found % BLOCK == 0


def test_a_prompt_that_does_not_fit_waits() -> None:
    replica = Replica(ENGINE)
    one, two = (asks(1200, answer=50, seed=seed).asks[0] for seed in (1, 2))
    assert replica.add(one, 0.0)
    replica.add(two, 0.0)
    replica.finish()
    assert (replica.running, len(replica.waiting)) == (1, 1)


def test_what_a_body_says_is_what_an_engine_reads() -> None:
    for name in WORKLOADS:
        for flow in islice(flows(name, 1), 3):
            for ask in flow.asks[:2]:
                spoken = read(ask.body)
                assert len(spoken) == ask.tokens * TOKEN
                assert ask.blocks == len(spoken) // (BLOCK * TOKEN) <= ask.after <= len(ask.chain)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_seed_makes_the_same_requests_every_time(name: str) -> None:
    one, again, other = (next(WORKLOADS[name](random.Random(f"{name} {seed}"))) for seed in (1, 1, 2))
    assert [ask.body for ask in one.asks] == [ask.body for ask in again.asks]
    assert [ask.body for ask in one.asks] != [ask.body for ask in other.asks]


def test_every_policy_serves_every_request_and_ours_finds_most() -> None:
    served = flows("agents", 3)[:6]
    outcomes = {name: Simulation(served, policy(1), Engine()).run() for name, policy in POLICIES.items()}
    assert len({one.requests for one in outcomes.values()}) == 1
    assert all(0 < one.hit_rate < 1 and one.imbalance >= 1 for one in outcomes.values())
    assert outcomes[OURS].hit_rate > outcomes["round robin"].hit_rate
    assert Simulation(served, POLICIES[OURS](1), Engine()).run() == outcomes[OURS]


def test_ours_holds_nothing_of_requests_that_are_over() -> None:
    policy = Ours(1)
    Simulation(flows("agents", 4)[:8], policy, Engine()).run()
    assert policy._trips == {}
    assert all(one.ahead == 0 for one in policy._sent.values())


def outcome(hits: float, seconds: float) -> Outcome:
    return Outcome(hits, seconds, 2 * seconds, 1.1, 1.1, 1.0, 0.5, 100)


def rows(ours: list[float], other: list[float]) -> list[Row]:
    return [
        Row("chat", seed, name, outcome(hits, 1 / hits))
        for name, values in ((OURS, ours), ("round robin", other))
        for seed, hits in enumerate(values)
    ]


def test_the_interval_is_students() -> None:
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3.0
    assert found.high - found.mean == pytest.approx(2.776 * (2.5**0.5) / 5**0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("ours", "word"),
    [([0.9, 0.91, 0.9], "best"), ([0.79, 0.83, 0.80], "no worse than the best"), ([0.5, 0.51, 0.5], "worse")],
)
def test_the_word_for_a_difference_follows_its_interval(ours: list[float], word: str) -> None:
    found = {one.figure.field: one for one in verdicts(rows(ours, [0.8, 0.81, 0.8]))}
    assert found["hit_rate"].word == found["first_p50"].word == word
    assert found["imbalance"].word == "no worse than the best"


def test_a_process_of_its_own_is_not_compared_by_simulated_seconds() -> None:
    theirs = [Row("chat", seed, "vllm-router cache_aware", outcome(0.99, 0.001)) for seed in range(3)]
    found = {one.figure.field: one.rival for one in verdicts(rows([0.9] * 3, [0.8] * 3) + theirs)}
    assert found == {
        "hit_rate": "vllm-router cache_aware",
        "first_p50": "round robin",
        "first_p95": "round robin",
        "imbalance": found["imbalance"],
    }


def test_results_hold_everything_needed_to_run_them_again() -> None:
    made = report.Report(describe(), {"penstock": "1"}, "make bench ARGS=fleet", rows([0.9, 0.8], [0.7, 0.6]))
    kept = report._as_dict(made)
    assert {"machine", "versions", "command", "engine", "fleet", "workloads", "verdicts", "rows"} == set(kept)
    assert kept["engine"] == {
        "step": 0.015,
        "read": 1e-4,
        "write": 2e-4,
        "budget": 2048,
        "blocks": 3072,
        "answers": 128,
    }
    assert "| penstock | 85.0" in report._markdown(made, [])
    assert "<svg" in report.plot(made, FIGURES[0])
    assert compare.Plan(5).steps == 5 * 5 * 8
