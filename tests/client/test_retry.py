"""The policy of attempts, by itself."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.client.failures import ConnectFailed, ModelNotServed, TookTooLong, WrongPath
from penstock.client.retry import MOST_PAUSE, Policy, pause, retry_after
from penstock.errors import BrokenAnswer, EngineFault, EngineRefused, RateLimited

POLICY = Policy(attempts=3, delay=1.0)


@given(attempt=st.integers(1, 6), delay=st.floats(0, 100), left=st.floats(0, 200), spare=st.booleans())
def test_exponential_jittered_and_inside_the_deadline(attempt: int, delay: float, left: float, spare: bool) -> None:  # noqa: FBT001
    """S1.13, S1.14: doubled each time, between half and whole of it, never past what is left, never too often."""
    wait = pause(Policy(attempts=4, delay=delay), EngineRefused("500"), attempt, left, spare=spare)
    if attempt >= 4:
        assert wait is None
    elif wait is None:
        assert delay * 2 ** (attempt - 1) >= left
    else:
        assert delay * 2 ** (attempt - 1) / 2 <= wait <= delay * 2 ** (attempt - 1)
        assert wait < left


@pytest.mark.parametrize("fault", [ModelNotServed("m", "u", []), WrongPath("404"), TookTooLong("late")])
def test_what_no_further_attempt_mends(fault: EngineFault) -> None:
    assert pause(POLICY, fault, 1, 60, spare=False) is None


def test_with_a_spare_nobody_waits_for_an_engine_that_is_gone() -> None:
    """X5: a connect error falls back at once."""
    assert pause(POLICY, ConnectFailed("refused"), 1, 60, spare=True) is None
    assert pause(POLICY, ConnectFailed("refused"), 1, 60, spare=False) is not None
    assert pause(POLICY, RateLimited("429"), 1, 60, spare=True) is None
    assert pause(POLICY, BrokenAnswer("cut"), 1, 60, spare=True) is not None


def test_the_engine_says_when() -> None:
    assert pause(POLICY, RateLimited("429", retry_after=7), 1, 60, spare=False) == 7
    assert pause(POLICY, RateLimited("429", retry_after=7), 1, 60, spare=True) is None
    assert pause(POLICY, RateLimited("429", retry_after=1), 1, 60, spare=True) == 1
    assert pause(POLICY, RateLimited("429", retry_after=7), 1, 5, spare=False) is None
    assert pause(POLICY, EngineRefused("503", retry_after=int(MOST_PAUSE) + 1), 1, 600, spare=False) is None


@pytest.mark.parametrize(("value", "seconds"), [(b"7", 7), (b" 0 ", 0), (b"soon", None), (None, None), (b"-1", None)])
def test_reading_retry_after(value: bytes | None, seconds: int | None) -> None:
    assert retry_after(value) == seconds


def test_a_date_in_retry_after() -> None:
    assert retry_after(formatdate(time.time() + 3600, usegmt=True).encode()) in range(3590, 3603)
    assert retry_after(b"Wed, 21 Oct 2015 07:28:00 GMT") == 0
