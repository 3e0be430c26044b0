"""Percentiles and summaries against numpy and against values counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bench_verbs.made import sample

from penstock.bench.figures import quantile, spread, summary


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.floats(0, 1))
def test_percentiles_are_numpys(values: list[float], share: float) -> None:
    assert quantile(sorted(values), share) == pytest.approx(float(np.quantile(values, share)), abs=1e-6)


def test_nothing_has_no_spread() -> None:
    assert spread([]) is None


def test_a_summary_by_hand() -> None:
    """S3.18: latency, rate, tokens: from what was measured and from the engine's counts."""
    found = summary([sample(0, 1.0), sample(1, 3.0), sample(2, 9.0, fault="timeout")], 10.0)
    assert (found.requests, found.answered, found.faults, found.example) == (3, 2, {"timeout": 1}, "said so")
    assert found.total is not None
    assert found.total.mean == pytest.approx(2.0)
    assert found.total.p50 == pytest.approx(2.0)
    assert found.total.p95 == pytest.approx(2.9)
    assert found.first_token is not None
    assert found.first_token.p50 == pytest.approx(0.2)
    assert found.requests_per_minute == pytest.approx(12)
    assert found.completion_tokens == 22
    assert found.tokens_per_second == pytest.approx(2.2)
    assert found.per_token is not None
    assert found.per_token.mean == pytest.approx((0.09 + 0.27) / 2)
    assert found.between_tokens is not None
    assert found.between_tokens.count == 20


def test_tokens_are_not_guessed() -> None:
    found = summary([sample(0, 1.0), sample(1, 1.0, tokens=None)], 2.0)
    assert found.completion_tokens is None
    assert found.tokens_per_second is None
    assert found.requests_per_minute == pytest.approx(60)
