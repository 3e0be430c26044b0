"""Plans of an alias on a route: made once, made anew when the fleet is another one."""

from __future__ import annotations

import io
import time

import pytest
from tests.gateway.fleets import Still, config, ollama, vllm

from penstock.config import Config
from penstock.errors import Unreachable
from penstock.faults.engine import Engine
from penstock.gateway.backend import State
from penstock.gateway.breaker import TRIP
from penstock.gateway.line import Line
from penstock.gateway.prefix import prompt
from penstock.gateway.record import Records
from penstock.gateway.sink import Sink
from penstock.gateway.ways import Ways
from penstock.protocols.table import ROUTES
from penstock.types import Operation

TWO = [(["gpu-0", "gpu-1"], "big"), (["spare"], "small")]
BACKENDS = {"gpu-0": vllm(), "gpu-1": vllm(), "spare": ollama()}


class Site:
    """A line over a still fleet."""

    def __init__(self, settings: Config) -> None:
        self.config = settings
        self.fleet = Still(settings)
        self.line = Line(settings, self.fleet, Records(lines=False, json=True, out=Sink(io.BytesIO())))

    def ways(self, path: str = "/v1/chat/completions", operation: Operation = Operation.CHAT) -> Ways:
        found = self.line.ways(ROUTES[path.encode()], "a", self.config.aliases["a"], operation)
        assert isinstance(found, Ways)
        return found

    def names(self, path: str = "/v1/chat/completions", operation: Operation = Operation.CHAT) -> list[str]:
        return [way.backend.name for way in self.ways(path, operation).order()]


@pytest.fixture
async def site() -> Site:
    one = Site(config(BACKENDS, TWO))
    one.fleet.up("gpu-0", "big")
    one.fleet.up("gpu-1", "big")
    one.fleet.up("spare", "small")
    return one


async def test_targets_in_order_and_the_least_busy_replica_first(site: Site) -> None:
    site.fleet.backends["gpu-0"].busy = 3
    assert site.names() == ["gpu-1", "gpu-0", "spare"]
    site.fleet.backends["gpu-1"].busy = 5
    assert site.names() == ["gpu-0", "gpu-1", "spare"]


async def test_a_plan_is_kept_while_nothing_changes(site: Site) -> None:
    assert site.ways() is site.ways()


async def test_a_plan_is_made_anew_when_the_fleet_changes(site: Site) -> None:
    before = site.ways()
    site.fleet.backends["gpu-0"].state = State.DOWN
    site.fleet.changed()
    assert site.ways() is not before
    assert site.names() == ["gpu-1", "spare", "gpu-0"]


async def test_a_new_configuration_makes_new_plans(site: Site) -> None:
    before = site.ways()
    site.line.adopt(site.config)
    assert site.ways() is not before


async def test_a_resting_backend_is_last_until_its_trial_is_due(site: Site) -> None:
    gpu = site.fleet.backends["gpu-0"]
    now = time.monotonic()
    for _ in range(TRIP):
        gpu.failed(Unreachable("gone"), now)
    assert site.names() == ["gpu-1", "spare", "gpu-0"]
    plan = site.ways()
    assert plan.fresh(now)
    assert not plan.fresh(gpu.breaker.until)
    trial = gpu.take(gpu.breaker.until)
    gpu.succeeded("big", trial)
    gpu.give(trial)
    assert not plan.fresh(now)
    assert site.names()[0] == "gpu-0"


async def test_a_backend_without_the_model_comes_last(site: Site) -> None:
    site.fleet.up("gpu-0", "other")
    assert site.names() == ["gpu-1", "spare", "gpu-0"]


async def test_only_backends_that_have_the_route_are_asked(site: Site) -> None:
    assert site.names("/tokenize", Operation.TOKENIZE) == ["gpu-0", "gpu-1"]
    assert "spare" in site.names("/api/chat")


async def test_pinned_operations_stay_with_their_model(site: Site) -> None:
    """X13"""
    assert site.names("/v1/embeddings", Operation.EMBEDDING) == ["gpu-0", "gpu-1"]


async def test_a_session_keeps_its_replica(site: Site) -> None:
    asked = [prompt("t", "a", f"s{number}", b"{}") for number in range(40)]
    owners = {site.ways().order(one)[0].backend.name for one in asked}
    assert owners == {"gpu-0", "gpu-1"}
    first = site.ways().order(asked[1])[0]
    assert all(site.ways().order(asked[1])[0] is first for _ in range(5))


async def test_routes_are_those_that_a_real_look_found() -> None:
    async with Engine(["big"]) as engine:
        site = Site(config({"gpu": vllm(engine.url)}, [(["gpu"], "big")]))
        await site.fleet.look()
        assert site.names() == ["gpu"]
        (way,) = site.ways().order()
        assert (way.to.model, way.to.window, way.rank) == ("big", 4096, 0)
        assert site.names("/v1/audio/speech", Operation.SPEECH) == []
        site.fleet.close()
