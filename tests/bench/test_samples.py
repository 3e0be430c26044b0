from __future__ import annotations

import math
from dataclasses import replace

from bench.leaving import PHASES
from bench.peers import PEERS
from bench.report import SCENARIOS
from bench.rounds import Plan
from bench.samples import Sample, ratios, spread, values
from bench.targets import TARGETS, Target, Verdict, verdicts
from bench.traffic import TRAFFIC, added, samples, times


def _sample(peer: str, round_number: int, value: float | None, scenario: str = "request-32", fault: str = "") -> Sample:
    return Sample(scenario, peer, round_number, value, fault)


def test_a_ratio_is_formed_inside_its_round_alone() -> None:
    samples = [_sample("nginx", 0, 10), _sample("nginx", 1, 20), _sample("penstock", 0, 15), _sample("penstock", 1, 50)]
    assert ratios(samples, "request-32", "penstock", "nginx") == [1.5, 2.5]


def test_a_spoiled_sample_enters_no_ratio_and_no_median() -> None:
    samples = [
        _sample("nginx", 0, 10),
        _sample("penstock", 0, None, fault="3 answers wrong"),
        _sample("penstock", 1, 7),
    ]
    assert ratios(samples, "request-32", "penstock", "nginx") == []
    assert values(samples, "request-32", "penstock") == [7]


def test_a_client_whose_leaving_is_mostly_never_seen_has_a_median_of_never() -> None:
    seen = spread([0.2, math.inf, math.inf])
    assert seen is not None
    assert math.isinf(seen.median)
    assert Verdict(Target("leave-tokens", 50, "ms"), seen).word == "NOT MET: never"


def test_verdicts_compare_the_median_with_the_target() -> None:
    samples = [_sample("nginx", number, 10) for number in range(3)]
    samples += [_sample("penstock", number, value) for number, value in enumerate((15, 19, 40))]
    first = verdicts(samples)[0]
    assert (first.target.text, first.seen and first.seen.median, first.word) == ("≤ 2 × nginx", 1.9, "met")


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {one.word for one in verdicts([])} == {"not measured"}


NONE: dict[str, object] = {"latency_us": None, "first_chunk_us": None, "chunk_delay_us": None}
KINDS = {one.scenario.name: one for one in TRAFFIC}


def _slice(scenario: str, fault: str = "", **details: object) -> Sample:
    return Sample(scenario, "nginx", 0, None if fault else 1.0, fault, NONE | details)


def test_a_round_weighs_its_slices_by_their_work() -> None:
    work: list[dict[str, object]] = [{"cpu_ns": 1_000_000, "units": 100}, {"cpu_ns": 5_000_000, "units": 300}]
    (seen,) = samples(KINDS["request-1"], [replace(_slice("request-1"), details=NONE | one) for one in work])
    assert seen.value == 15


def test_one_bad_slice_spoils_its_round() -> None:
    good = _slice("request-1", cpu_ns=1, units=1)
    (seen,) = samples(KINDS["request-1"], [good, _slice("request-1", "2 answers failed")])
    assert (seen.value, seen.fault) == (None, "2 answers failed")


def test_paced_windows_tell_the_cost_and_the_way_of_a_chunk() -> None:
    slices = [_slice("chunk-paced", cpu_ns=9_000, units=1, chunk_delay_us={"p50": p50}) for p50 in (90.0, 100.0, 140.0)]
    cost, way = samples(KINDS["chunk-paced"], slices)
    assert [(one.scenario, one.value) for one in (cost, way)] == [("chunk-paced", 9.0), ("chunk-delay", 100.0)]


def test_what_a_proxy_adds_is_its_time_less_the_time_without_it() -> None:
    kind = KINDS["first-token-1"]

    def seen(first: float) -> list[Sample]:
        return samples(kind, [_slice("first-token-1", cpu_ns=1, units=1, first_chunk_us={"p50": first})])

    (with_it,) = added(seen(150.0), seen(30.0))
    assert with_it.value == 120.0
    assert with_it.details["with"] == 150.0


def test_cpu_time_of_the_engine_itself_is_no_figure() -> None:
    kind = KINDS["chunk-paced"]
    found = samples(kind, [_slice("chunk-paced", cpu_ns=9_000, units=1, chunk_delay_us={"p50": 9.0})])
    assert [one.scenario for one in times(kind, found)] == ["chunk-delay"]


def test_a_missed_target_says_by_how_much() -> None:
    assert Verdict(Target("request-32", 2.0, "", "nginx"), spread([3.0])).word == "NOT MET: 50% over"


def _plan(*names: str, scenarios: tuple[str, ...] = ()) -> Plan:
    return Plan(tuple(PEERS[name] for name in names), 5, 1.5, 0.5, 1, scenarios)


def test_a_slow_peer_has_fewer_rounds_and_one_with_a_purpose_only_that() -> None:
    plan = _plan("nginx", "litellm", "penstock 2 workers", scenarios=("request", "leave"))
    load, leave = [KINDS["request-32"].scenario], [PHASES[0].scenario]
    assert [plan.measures(PEERS["litellm"], load, number) for number in range(3)] == [True, True, False]
    assert plan.measures(PEERS["penstock 2 workers"], load, 4)
    assert not plan.measures(PEERS["penstock 2 workers"], leave, 0)
    assert [peer.name for peer in plan.subjects] == ["nginx", "litellm"]


def test_every_target_names_a_scenario_and_peers_that_exist() -> None:
    assert {one.scenario for one in TARGETS} <= {scenario.name for scenario in SCENARIOS}
    assert {one.peer for one in TARGETS} | {one.against for one in TARGETS if one.against} <= set(PEERS)
