"""A short run of the machine; `make deep` has a long one."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from tests.gateway.line_machine import Machine

TestLine = Machine.TestCase
TestLine.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
