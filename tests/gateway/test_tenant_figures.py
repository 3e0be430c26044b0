"""Tenants in the metrics: so many by name, and no counter ever falls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.metrics import Metrics
from penstock.gateway.tenant_figures import KEPT, TenantFigures
from penstock.types import Usage


def told(figures: TenantFigures, metrics: Metrics) -> dict[tuple[str, ...], float]:
    figures.tell(metrics)
    return dict(metrics.snapshot({}).counters["penstock_tenant_requests"])


def test_the_busiest_have_names() -> None:
    figures, metrics = TenantFigures(2), Metrics()
    for tenant, times in (("small", 1), ("large", 5), ("middle", 3), ("tiny", 1)):
        for _ in range(times):
            figures.ended(tenant, 200, Usage(2, 3))
    figures.ended("large", 429, None)
    found = told(figures, metrics)
    assert found[("large", "answered")] == 5
    assert found[("large", "refused")] == 1
    assert found[("middle", "answered")] == 3
    assert found[("other", "answered")] == 2
    assert {labels[0] for labels in found} == {"large", "middle", "other"}
    tokens = dict(metrics.snapshot({}).counters["penstock_tenant_tokens"])
    assert tokens[("large", "prompt")] == 10
    assert tokens[("other", "completion")] == 6


@pytest.mark.parametrize("named", [1, 3])
@given(st.lists(st.one_of(st.sampled_from("abcdef"), st.just("")), max_size=60))
def test_no_counter_falls_and_nothing_is_lost(named: int, steps: list[str]) -> None:
    """An empty step reads the figures."""
    figures, metrics = TenantFigures(named), Metrics()
    before: dict[tuple[str, ...], float] = {}
    for one in steps:
        if one:
            figures.ended(one, 200, None)
            continue
        now = told(figures, metrics)
        assert all(now[labels] >= value for labels, value in before.items())
        before = now
    found = told(figures, metrics)
    assert sum(found.values()) == sum(map(bool, steps))
    assert len({labels[0] for labels in found}) <= named + 1


def test_a_flood_of_tenants_has_a_bound() -> None:
    figures = TenantFigures(2)
    for number in range(KEPT + 500):
        figures.ended(f"t{number}", 200, None)
    found = told(figures, Metrics())
    assert sum(found.values()) == KEPT + 500
    assert len(found) == 6


def test_a_tenant_called_other_is_told_apart() -> None:
    figures = TenantFigures(2)
    figures.ended("other", 200, None)
    assert ("other (a tenant)", "answered") in told(figures, Metrics())
