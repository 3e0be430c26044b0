from __future__ import annotations

import math

from bench.samples import Sample, ratios, spread, values
from bench.targets import Target, Verdict, verdicts
from bench.traffic import sample


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
    assert Verdict(Target("leave-tokens", 50, "ms"), seen).word == "NOT MET"


def test_verdicts_compare_the_median_with_the_target() -> None:
    samples = [_sample("nginx", number, 10) for number in range(3)]
    samples += [_sample("penstock", number, value) for number, value in enumerate((15, 19, 40))]
    first = verdicts(samples)[0]
    assert (first.target.text, first.seen and first.seen.median, first.word) == ("≤ 2 × nginx", 1.9, "met")


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {one.word for one in verdicts([])} == {"not measured"}


def test_a_round_weighs_its_slices_by_their_work() -> None:
    none: dict[str, object] = {"latency_us": None, "first_chunk_us": None, "chunk_delay_us": None}
    work: list[dict[str, object]] = [{"cpu_ns": 1_000_000, "units": 100}, {"cpu_ns": 5_000_000, "units": 300}]
    slices = [Sample("request-1", "nginx", 0, 1.0, details=none | one) for one in work]
    assert sample(slices).value == 15


def test_one_bad_slice_spoils_its_round() -> None:
    good = Sample("request-1", "nginx", 0, 1.0, details={"cpu_ns": 1, "units": 1})
    assert sample([good, Sample("request-1", "nginx", 0, None, "2 answers failed")]).fault == "2 answers failed"
