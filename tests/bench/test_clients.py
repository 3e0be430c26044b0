"""The table of client libraries: who is held against whom, and what is said of the targets."""

from __future__ import annotations

from bench.client_calls import CALL, CLIENTS, STREAM, versions
from bench.clients import AGAINST, TARGETS, Plan, Report
from bench.samples import Sample

from bench import clients, machine


def report(ours: float, theirs: float) -> Report:
    samples = [
        Sample(scenario.name, name, number, value)
        for scenario in (CALL, STREAM)
        for number in range(3)
        for name, value in (("penstock", ours), ("ollama", theirs), ("openai", 2 * theirs))
    ]
    return Report(machine.describe(), versions(), Plan(3, 10, 1, (CALL, STREAM)), samples)


def test_everybody_named_is_measured() -> None:
    assert set(AGAINST) <= set(CLIENTS)
    assert {other for others in AGAINST.values() for other in others} <= set(CLIENTS)
    assert all(other in AGAINST[name] for name, other in TARGETS)


def test_a_target_is_met_or_not() -> None:
    page = clients._markdown(report(100.0, 100.0))
    assert "1.00 [1.00-1.00] × ollama (at most 1.1: yes); 0.50 [0.50-0.50] × openai (at most 1: yes)" in page
    assert "1.20 [1.20-1.20] × ollama (at most 1.1: NO)" in clients._markdown(report(120.0, 100.0))
    assert page.count("at most") == 2, "only the plain call has targets"
