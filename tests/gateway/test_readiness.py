"""One word per alias, and the fallback's own temperature."""

from __future__ import annotations

import pytest
from tests.fakes.raw import once
from tests.gateway.fleets import Still, config, ollama, vllm

from penstock.config import Config, Fallback
from penstock.errors import Unreachable
from penstock.faults.ollama import OllamaDouble
from penstock.gateway import readiness
from penstock.gateway.backend import State
from penstock.gateway.breaker import TRIP
from penstock.gateway.readiness import Readiness

TWO = config({"gpu": vllm(), "spare": ollama()}, [(["gpu"], "m"), (["spare"], "other")])


def word(fleet: Still, settings: Config = TWO) -> Readiness:
    return readiness.of_alias(settings.aliases["a"], fleet).readiness


async def test_ready_while_its_first_target_can_answer() -> None:
    fleet = Still(TWO)
    fleet.up("gpu", "m")
    assert word(fleet) is Readiness.READY


async def test_degraded_while_only_a_fallback_can() -> None:
    fleet = Still(TWO)
    fleet.backends["gpu"].state = State.DOWN
    fleet.up("spare", "other")
    assert word(fleet) is Readiness.DEGRADED
    fleet.up("gpu", "something else")
    assert word(fleet) is Readiness.DEGRADED
    fleet.up("gpu", "m")
    for _ in range(TRIP):
        fleet.backends["gpu"].failed(Unreachable("gone"), 1e12)
    assert word(fleet) is Readiness.DEGRADED


@pytest.mark.parametrize(
    ("states", "wanted"),
    [
        ((State.STARTING, State.STARTING), Readiness.STARTING),
        ((State.STARTING, State.DOWN), Readiness.STARTING),
        ((State.DOWNLOADING, State.STARTING), Readiness.DOWNLOADING),
        ((State.DOWN, State.DOWN), Readiness.UNAVAILABLE),
        ((State.DEGRADED, State.DOWN), Readiness.UNAVAILABLE),
    ],
)
async def test_while_nothing_can_answer(states: tuple[State, State], wanted: Readiness) -> None:
    fleet = Still(TWO)
    for backend, state in zip(fleet.backends.values(), states, strict=True):
        backend.state = state
    assert word(fleet) is wanted


@pytest.mark.parametrize(
    ("fallback", "model", "wanted"),
    [
        ("any", "other", Readiness.DEGRADED),
        ("same-model", "m", Readiness.DEGRADED),
        ("same-model", "other", Readiness.UNAVAILABLE),
        ("never", "m", Readiness.UNAVAILABLE),
    ],
)
async def test_only_targets_that_policy_lets_answer_count(fallback: Fallback, model: str, wanted: Readiness) -> None:
    settings = config(TWO.backends, [(["gpu"], "m"), (["spare"], model)], fallback)
    fleet = Still(settings)
    fleet.backends["gpu"].state = State.DOWN
    fleet.up("spare", model)
    assert word(fleet, settings) is wanted


async def test_a_fallback_is_cold_warm_or_cannot_load() -> None:
    """X14: what the fallback would cost is probed and shown."""
    async with OllamaDouble(["llama3.2"]) as double:
        settings = config({"spare": ollama(double.url)}, [(["spare"], "llama3.2")])
        fleet = Still(settings)

        async def shown() -> str:
            await fleet.look()
            (target,) = readiness.of_alias(settings.aliases["a"], fleet).targets
            assert (target.backend, target.kind, target.state) == ("spare", "ollama", "ready")
            return target.model_state

        assert await shown() == "cold"
        fleet.backends["spare"].cannot_load["llama3.2"] = "requires more system memory"
        assert await shown() == "cannot load"
        await once(double.url, "/api/generate", {"model": "llama3.2"})
        assert await shown() == "warm"
        fleet.close()
