"""What holds for every test: how hypothesis searches, and the fixtures over the fakes."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings
from tests.engines_fixtures import guide_engine
from tests.fakes.fixtures import gateway, lane, ollama_double, openai_double, scripted_engine
from tests.guided import guided

__all__ = ["gateway", "guide_engine", "guided", "lane", "ollama_double", "openai_double", "scripted_engine"]

# No deadline: a machine that is busy with something else is no mistake of the code under test. Examples that fail are
# printed with the blob that repeats them. Where the outcome decides about a change, in CI, the examples are the same every
# time, so that the change is judged and not the draw; everywhere else they are new ones.
settings.register_profile(
    "penstock",
    deadline=None,
    print_blob=True,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("penstock")

# A shell without job control starts what it puts into the background with SIGINT ignored, nohup does so with SIGHUP, and
# processes that the tests start would inherit it and never hear a Ctrl-C. A signal with a handler is reset when they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
