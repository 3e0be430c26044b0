"""Who is new at an address is looked at before a request goes there: real engines, a real fleet that nobody probes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from tests.gateway.fleets import Still, config, ollama, vllm
from tests.gateway.peer import Told

from penstock.config import Backend
from penstock.errors import EngineFault, EngineTimeout, NotLoaded, Unreachable
from penstock.faults.condition import Model
from penstock.faults.engine import Engine
from penstock.faults.injectors.listeners import black_hole
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script
from penstock.gateway.backend import State
from penstock.gateway.fleet import Fleet
from penstock.gateway.upstream import Origin

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
STREAM = BODY[:-1] + b',"stream":true}'


class Asks(Told):
    """A request that relies on the model `m`."""

    def __init__(self, model: str = "m") -> None:
        super().__init__()
        self.model = model

    def wants(self) -> str:
        return self.model

    @property
    def status(self) -> int:
        return self.heads[0][0] if self.heads else 0


async def ask(fleet: Fleet, model: str = "m", body: bytes = BODY) -> Asks:
    """One request to the only backend, from its first byte to its end."""
    (backend,) = fleet.backends.values()
    assert backend.origin is not None
    head = backend.origin.post_line("/v1/chat/completions") + b"content-type: application/json\r\ncontent-length: "
    told = Asks(model)
    backend.origin.ask(head + str(len(body)).encode() + b"\r\n\r\n" + body, told)
    await told.end()
    return told


def models_asked(engine: Engine) -> int:
    return sum(probe.path == "/v1/models" for probe in engine.probes)


async def restarted(engine: Engine, *models: str) -> None:
    """Its process ends; another one gets its port."""
    await engine.stop()
    engine.models = {model: Model(model) for model in models}
    await engine.start()


@pytest_asyncio.fixture
async def engine() -> AsyncIterator[Engine]:
    async with Engine(["m"]) as one:
        yield one


@pytest_asyncio.fixture
async def fleet(engine: Engine) -> AsyncIterator[Still]:
    one = Still(config({"gpu": vllm(engine.url)}, [(["gpu"], "m")]))
    await one.look()
    yield one
    one.close()


async def test_connections_that_stay_open_are_not_asked_about(fleet: Still, engine: Engine) -> None:
    before = models_asked(engine)
    for _ in range(3):
        assert (await ask(fleet)).status == 200
    assert models_asked(engine) == before


async def test_another_model_gets_no_request(fleet: Still, engine: Engine) -> None:
    assert (await ask(fleet)).status == 200
    await restarted(engine, "other")
    told = await ask(fleet)
    assert isinstance(told.fault, NotLoaded)
    assert len(engine.requests) == 1
    backend = fleet.backends["gpu"]
    assert backend.gone("m")
    assert not backend.breaker.calm
    assert not backend.gone("never-seen")
    await restarted(engine, "m")
    await fleet.look()
    assert not backend.gone("m")
    assert (await ask(fleet)).status == 200


async def test_the_same_model_is_asked_after_one_look(fleet: Still, engine: Engine) -> None:
    assert (await ask(fleet)).status == 200
    await restarted(engine, "m")
    before = models_asked(engine)
    answers = await asyncio.gather(*(ask(fleet) for _ in range(10)))
    assert [told.status for told in answers] == [200] * 10
    assert models_asked(engine) == before + 1


async def test_nobody_there_is_said_and_asked_again_the_next_time(fleet: Still, engine: Engine) -> None:
    assert (await ask(fleet)).status == 200
    await engine.stop()
    assert isinstance((await ask(fleet)).fault, Unreachable)
    await engine.start()
    assert (await ask(fleet)).status == 200


async def test_a_request_that_leaves_takes_the_look_from_nobody(fleet: Still, engine: Engine) -> None:
    await restarted(engine, "m")
    await engine.stop()
    engine.mute.add("/v1/models")
    await engine.start()
    (backend,) = fleet.backends.values()
    assert backend.origin is not None
    backend.origin.doubt()
    leaves, stays = Asks(), asyncio.create_task(ask(fleet))
    exchange = backend.origin.ask(b"", leaves)
    await engine.until(lambda: models_asked(engine) > 0, "a look")
    exchange.abort()
    assert isinstance((await stays).fault, EngineFault)


async def test_a_look_that_takes_too_long_ends_no_request(fleet: Still, engine: Engine) -> None:
    """A busy engine may be slow to say what it serves: what it answers meanwhile is its answer, to the last byte."""
    (backend,) = fleet.backends.values()
    engine.script = Script(count=8)
    gate = engine.hold(before=4)
    answers = [asyncio.create_task(ask(fleet, body=STREAM)) for _ in range(2)]
    await gate.reached()
    engine.mute.add("/v1/models")
    await fleet.look()
    assert (backend.state, backend.reason) == (State.DOWN, "no answer to /v1/models within 2 s")
    assert backend.origin is not None
    backend.origin.doubt()
    refused = await ask(fleet)
    assert isinstance(refused.fault, EngineTimeout)
    gate.open()
    assert all(
        told.fault is None and told.body.endswith(b"data: [DONE]\n\n") for told in await asyncio.gather(*answers)
    )
    engine.mute.clear()
    await fleet.look()
    assert backend.state is State.READY


async def test_an_engine_that_never_told_its_models_is_believed(engine: Engine) -> None:
    """Some endpoints answer requests and have no list."""
    engine.pages["/v1/models"] = b"no list"
    one = Still(config({"gpu": vllm(engine.url)}, [(["gpu"], "m")]))
    (backend,) = one.backends.values()
    assert backend.origin is not None
    for wrong in (b"no list", None):
        engine.pages["/v1/models"] = b"no list"
        if wrong is None:
            del engine.pages["/v1/models"]
            engine.flavour = msgspec.structs.replace(engine.flavour, condition=frozenset())
        backend.origin.doubt()
        assert (await ask(one)).status == 200
    one.close()


async def test_the_same_over_ollama() -> None:
    """There a name without a tag is one with `:latest`."""
    async with OllamaDouble(["llama3.2"]) as double:
        one = Still(config({"spare": ollama(double.url)}, [(["spare"], "llama3.2")]))
        await one.look()
        backend = one.backends["spare"]
        assert not backend.gone("llama3.2")
        double.models.clear()
        await one.look()
        assert backend.gone("llama3.2")
        assert backend.gone("llama3.2:latest")
        one.close()


async def test_connections_to_addresses_that_a_name_has_lost_are_dropped(engine: Engine) -> None:
    origin = Origin(f"http://localhost:{engine.port}", connect_timeout=5.0)
    one = Still(config({"gpu": Backend(kind=vllm().kind, url=engine.url)}, [(["gpu"], "m")]))
    one.backends["gpu"].origin = origin
    await one.look()
    assert origin.prune(frozenset({"127.0.0.1", "::1"})) == 0
    assert origin.prune(frozenset({"10.0.0.1"})) >= 1
    assert origin.prune(frozenset({"10.0.0.1"})) == 0
    assert not origin.doubted
    origin.close()
    one.close()


async def test_a_request_waits_for_a_connection_as_long_as_its_alias_may(engine: Engine) -> None:
    """The pool is the backend's, the patience the alias'."""
    await engine.stop()
    origin = Origin(engine.url, connect_timeout=60.0)
    with black_hole(engine.port), pytest.raises(Unreachable, match=r"no connection within 0\.05 s"):
        await origin.connect(0.05)
    assert origin.doubted
