"""The OpenAPI file against the code that serves it and, request by generated request, against a running gateway."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, settings
from schemathesis.config import (
    ChecksConfig,
    CoveragePhaseConfig,
    GenerationConfig,
    NotAServerErrorConfig,
    PhasesConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance
from starlette.routing import Route
from tests.fakes.gateway import Gateways

from penstock.faults.engine import Engine
from penstock.gateway import app
from penstock.gateway.admin_keys import Keys
from penstock.gateway.fleet import Fleet
from penstock.gateway.line import Line
from penstock.gateway.peers import Peers
from penstock.gateway.record import Records
from penstock.sources import load

SPEC = Path(__file__).parents[2] / "specs" / "gateway-openapi.yaml"
EXAMPLES = 20
"""Requests generated for each operation."""
EXPECTED = ("2XX", "4XX", 501, 502, 503)
"""No other 5xx: nobody can, the engine did not do its part, not now. Limits (504) are out of reach here."""

NOT_OURS = [positive_data_acceptance, negative_data_rejection, ignored_auth]
"""Whether a body is acceptable, the engine behind the gateway decides; and this one has no callers."""

DOCUMENT: dict[str, Any] = yaml.safe_load(SPEC.read_text(encoding="utf-8"))


def test_every_route_stands_in_the_file_and_nothing_else() -> None:
    loaded = load(None, {})
    line = Line(loaded.config, Fleet(loaded.config), Records(lines=False, json=True))
    enveloped: Any = app.build(line, Peers("", 0, 1), Keys.__new__(Keys))
    served: dict[str, set[str]] = {}
    for route in enveloped._app.routes:
        assert isinstance(route, Route)
        path = route.path.replace(":path}", "}")
        served.setdefault(path, set()).update(method.lower() for method in route.methods or ())
    documented = {path: set(item) for path, item in DOCUMENT["paths"].items()}
    assert documented.keys() == served.keys()
    refused = {path.replace(":path}", "}") for path in app.NOT_SERVED}
    for path, methods in documented.items():
        assert methods <= served[path], path
        # a GET route answers HEAD too; of a route that only refuses, the method its clients use is documented
        assert path in refused or served[path] - methods <= {"head"}, path


def _configured() -> SchemathesisConfig:
    """Every check of a single answer, nothing random from run to run."""
    checks = ChecksConfig(
        not_a_server_error=NotAServerErrorConfig(expected_statuses=EXPECTED),
    )
    project = ProjectConfig(
        checks=checks,
        generation=GenerationConfig(max_examples=EXAMPLES, deterministic=True, with_security_parameters=False),
        phases=PhasesConfig(coverage=CoveragePhaseConfig(enabled=False)),
    )
    return SchemathesisConfig(seed=1, projects=ProjectsConfig(default=project))


schema = schemathesis.openapi.from_dict(DOCUMENT, config=_configured())


@schema.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:  # noqa: ANN401 - whatever was generated
    """Every second request names a model that is served; the others stay as they are, mostly unknown."""
    del context
    if isinstance(body, dict) and isinstance(body.get("model"), str) and len(body["model"]) % 2 == 0:
        return {**body, "model": "m"}
    return body


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """Connections that are closed in the end."""
    with requests.Session() as session:
        yield session


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway in front of a scripted engine; its event loop runs in a thread, because schemathesis blocks."""
    started, done = threading.Event(), threading.Event()
    urls: list[str] = []

    async def run() -> None:
        gateways = Gateways(tmp_path_factory.mktemp("openapi"), "hot")
        async with Engine(["m"]) as engine:
            try:
                gateway = await gateways.start(
                    {
                        "backends": {"one": {"kind": "vllm", "url": engine.url, "probe": "100ms"}},
                        "aliases": {"m": {"targets": [{"backends": ["one"], "model": "m"}]}},
                    }
                )
                urls.append(gateway.url)
                started.set()
                await asyncio.to_thread(done.wait)
            finally:
                started.set()
                await gateways.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="openapi site")
    thread.start()
    try:
        assert started.wait(30)
        yield urls[0]
    finally:
        done.set()
        thread.join(30)


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_documented(case: schemathesis.Case[Any], served: str, session: requests.Session) -> None:
    """Status, content type, headers and shape of every answer; S2.20 among them."""
    case.call_and_validate(base_url=served, session=session, excluded_checks=NOT_OURS, timeout=10)
