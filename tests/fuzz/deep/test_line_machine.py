"""A long run of the machine over the line."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from tests.gateway.line_machine import Machine

pytestmark = pytest.mark.timeout(300)

TestLine = Machine.TestCase
TestLine.settings = settings(
    max_examples=600, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
