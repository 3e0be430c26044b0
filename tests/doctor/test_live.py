"""Running servers under the checks: the scripted engine with its faults, the real gateway, and a double for the rest."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import msgspec
import pytest
import trustme
from openai import DEFAULT_CONNECTION_LIMITS
from tests.doctor.double import Double, serving
from tests.fakes.gateway import StartGateway

from penstock.doctor.ask import Deadline
from penstock.doctor.checks import (
    admin_routes,
    chat_template,
    clock,
    context,
    keep_alive,
    keys,
    metric_names,
    model_name,
    path,
)
from penstock.doctor.live import CHECKS, LIMIT, examine
from penstock.doctor.result import Check, Result
from penstock.doctor.server import POOL_IDLE, Asked, Server, meet
from penstock.faults.condition import Gauges, Model
from penstock.faults.engine import Engine
from penstock.faults.script import Script

BRIEF = Asked(pool_idle=0.1)
"""Clients whose pools keep nothing: the wait for the idle close takes a second."""


def met(url: str, **asked: object) -> Server:
    return meet(url, msgspec.structs.replace(BRIEF, **asked), Deadline(LIMIT))


def looked(check: Check, url: str, **asked: object) -> Result:
    return check.look(met(url, **asked))


async def aside(check: Check, url: str, **asked: object) -> Result:
    """The same in a thread: the engine answers on this loop."""
    return await asyncio.to_thread(looked, check, url, **asked)


def states(results: list[Result]) -> dict[str, str]:
    return {result.check: result.state for result in results if result.state != "ok"}


async def test_nothing_is_wrong_with_a_good_engine(scripted_engine: Engine) -> None:
    """Its answers carry no Date, which is no finding."""
    told: list[str] = []
    results = await asyncio.to_thread(examine, scripted_engine.url, BRIEF, told.append)
    assert [result.check for result in results] == [check.name for check in CHECKS]
    assert states(results) == {"clock": "unknown"}
    assert all(result.tried and result.said for result in results)
    assert len(told) > len(CHECKS)


async def test_nothing_is_wrong_with_a_gateway(gateway: StartGateway, scripted_engine: Engine) -> None:
    backends = {"gpu": {"kind": "vllm", "url": scripted_engine.url}}
    aliases = {"llama3.2": {"targets": [{"backends": ["gpu"], "model": "m"}]}}
    running = await gateway({"backends": backends, "aliases": aliases})
    asked = msgspec.structs.replace(BRIEF, models=("llama3.2",))
    results = await asyncio.to_thread(examine, f"{running.url}/v1", asked, lambda _: None)
    assert {check: state for check, state in states(results).items() if check != "clock"} == {}
    assert [result.state for result in results if result.check in {"model-name", "chat-template"}] == ["ok", "ok"]


async def test_a_wrong_name_is_told_apart_from_a_wrong_path(scripted_engine: Engine) -> None:
    """W31: both are 404; the evidence shows both answers."""
    found = await aside(model_name.CHECK, scripted_engine.url, models=("m", "llama9"))
    assert found.state == "wrong"
    assert "`llama9` is not served" in found.said
    assert "no missing route" in found.said
    name, lost = (line.text for line in found.findings[0].evidence)
    assert "404" in name
    assert "does not exist" in name
    assert "404" in lost
    assert "Not Found" in lost


async def test_a_wrong_name_at_a_gateway(gateway: StartGateway, scripted_engine: Engine) -> None:
    """W31."""
    backends = {"gpu": {"kind": "vllm", "url": scripted_engine.url}}
    running = await gateway(
        {"backends": backends, "aliases": {"a": {"targets": [{"backends": ["gpu"], "model": "m"}]}}}
    )
    found = await aside(model_name.CHECK, running.url, models=("b",))
    assert [
        word
        for line in found.findings[0].evidence
        for word in ("model_not_found", "route_not_found")
        if word in line.text
    ]
    assert found.findings[0].mend.startswith("ask for `a`")


@pytest.mark.parametrize(
    ("given", "words"),
    [("/v1/v1", "/v1 stands twice"), ("/api/v2", "a wrong path"), ("/v1/chat/completions", "a wrong path")],
)
async def test_a_wrong_path(scripted_engine: Engine, given: str, words: str) -> None:
    """X2, W31: what the application would ask for, and where the API is."""
    found = await aside(path.CHECK, scripted_engine.url + given)
    assert found.state == "wrong"
    assert found.said.startswith(words)
    assert found.findings[0].mend == f"set the base URL to {scripted_engine.url}/v1"


@pytest.mark.parametrize("given", ["", "/", "/v1", "/v1/"])
async def test_a_right_path_in_every_spelling(scripted_engine: Engine, given: str) -> None:
    """X2."""
    assert (await aside(path.CHECK, scripted_engine.url + given)).state == "ok"


def test_an_api_behind_a_prefix() -> None:
    with serving(Double({("GET", "/llm/v1/models"): (200, {"data": [{"id": "a"}]})})) as double:
        assert looked(path.CHECK, f"{double.url}/llm").state == "ok"
        found = looked(path.CHECK, f"{double.url}/llm/v1/v1")
        assert found.findings[0].mend == f"set the base URL to {double.url}/llm/v1"


def test_a_server_of_something_else() -> None:
    with serving(Double({("GET", "/"): (200, b"<html>")})) as double:
        assert looked(path.CHECK, double.url).said == "nothing at this URL lists models: GET /v1/models answers 404"


async def test_a_model_without_a_chat_template(scripted_engine: Engine) -> None:
    """X6."""
    words = "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template"
    scripted_engine.script = Script(status=400, message=words)
    found = await aside(chat_template.CHECK, scripted_engine.url)
    assert (found.state, found.said) == ("wrong", "`m` has no chat template: every chat is refused")
    scripted_engine.script = Script(status=503)
    assert (await aside(chat_template.CHECK, scripted_engine.url)).state == "unknown"


async def test_a_context_that_is_too_short(scripted_engine: Engine) -> None:
    """S0.11, H4: the smallest of the documents' windows where nobody says what is needed."""
    scripted_engine.models["small"] = Model("small", 1024)
    found = await aside(context.CHECK, scripted_engine.url)
    assert (found.state, found.said) == ("wrong", "the context is too short: `small` has 1024 of 4096 tokens")
    assert (await aside(context.CHECK, scripted_engine.url, models=("m",))).state == "ok"
    assert (await aside(context.CHECK, scripted_engine.url, models=("m",), needs=8192)).state == "wrong"


async def test_metrics_of_an_old_generation(scripted_engine: Engine) -> None:
    """W27, W6."""
    scripted_engine.gauges = Gauges(old=True)
    found = await aside(metric_names.CHECK, scripted_engine.url)
    assert found.state == "wrong"
    assert "vllm:gpu_cache_usage_perc or vllm:kv_cache_usage_perc" in found.findings[0].mend


def test_no_metrics_on_the_port_of_the_api() -> None:
    """W6."""
    with serving(Double()) as double:
        assert looked(metric_names.CHECK, double.url).said == "no metrics on the API's port: GET /metrics answers 404"


OPEN = ("/invocations", "/tokenize", "/collective_rpc", "/v1/load_lora_adapter")


def test_a_key_that_protects_little() -> None:
    """W32: what stands open is found without a key, without a body and without running anything."""
    double = Double(key="secret-of-the-engine")
    double.add(*OPEN)
    double.add("/metrics", method="GET")
    with serving(double):
        found = looked(admin_routes.CHECK, double.url, key=double.key)
        assert found.state == "wrong"
        assert "/collective_rpc would change the server" in found.said
        assert "/invocations, /tokenize would put the model to work" in found.said
        assert "load_lora_adapter" not in found.said
        assert "secret" not in str(found)
        probed = [asked for asked in double.asked if asked[1] in {*admin_routes.CHANGING, *admin_routes.ASKING}]
        assert {(method, key) for method, _, key in probed} == {("HEAD", False)}


def test_open_routes_where_only_this_machine_reaches_them() -> None:
    """W32, X16: by design without keys on loopback, wrong where other machines come."""
    double = Double()
    double.add(*OPEN)
    with serving(double):
        assert looked(admin_routes.CHECK, double.url).state == "ok"
        found = looked(admin_routes.CHECK, double.url, public=True)
        assert found.state == "wrong"
        assert "/collective_rpc, /v1/load_lora_adapter would change the server" in found.said


def test_no_open_routes() -> None:
    with serving(Double(key="k")) as double:
        assert looked(admin_routes.CHECK, double.url, key="k", public=True).state == "ok"


def test_keys() -> None:
    """X16."""
    with serving(Double()) as double:
        assert looked(keys.CHECK, double.url).state == "ok"
        assert looked(keys.CHECK, double.url, public=True).state == "wrong"
        double.key = "k"
        assert looked(keys.CHECK, double.url, public=True).state == "ok"
        assert looked(keys.CHECK, double.url, public=True, key="k").state == "ok"
        assert looked(path.CHECK, double.url).state == "unknown"
        assert looked(path.CHECK, double.url, key="k").state == "ok"


def test_a_key_of_ours_is_shown_to_a_penstock_alone() -> None:
    """X16: a caller's key never reaches an engine."""
    with (
        serving(Double(key="k")) as engine,
        serving(Double(key="k", headers={"x-penstock-request-id": "r"})) as gateway,
    ):
        assert looked(path.CHECK, engine.url, key="k", ours=True).state == "unknown"
        assert looked(path.CHECK, gateway.url, key="k", ours=True).state == "ok"
        assert not any(key for _, _, key in engine.asked)
        assert any(key for _, _, key in gateway.asked)


def test_an_idle_connection_that_the_server_closes_first() -> None:
    """S1.15: measured, not taken from anywhere."""
    with serving(Double(idle=0.3)) as double:
        found = looked(keep_alive.CHECK, double.url, pool_idle=4.0)
        assert found.state == "wrong"
        assert "closed by the server after" in found.findings[0].evidence[0].text


async def test_an_idle_connection_that_the_server_keeps(scripted_engine: Engine) -> None:
    """S1.15."""
    assert (await aside(keep_alive.CHECK, scripted_engine.url)).said.startswith("still open after 1.1 s")


@pytest.mark.parametrize(
    ("headers", "state"),
    [({"connection": "close"}, "ok"), ({"keep-alive": "timeout=5"}, "wrong"), ({"keep-alive": "timeout=75"}, "ok")],
)
def test_a_server_that_says_how_long_it_keeps_connections(headers: dict[str, str], state: str) -> None:
    """S1.15: nobody waits for what is told."""
    with serving(Double(headers=headers)) as double:
        assert looked(keep_alive.CHECK, double.url, pool_idle=5.0).state == state


@pytest.mark.parametrize(("ahead", "direction"), [(-3600, "behind"), (7200, "ahead of")])
def test_a_clock_that_is_wrong(ahead: float, direction: str) -> None:
    with serving(Double(ahead=ahead)) as double:
        found = looked(clock.CHECK, double.url)
    told = re.search(r"its clock is (\d+) s ([a-z ]+) this machine's", found.said)
    assert found.state == "wrong"
    assert told
    assert told[2] == direction
    # the header has whole seconds
    assert abs(int(told[1]) - abs(ahead)) <= 1


def test_a_clock_that_is_right() -> None:
    with serving(Double()) as double:
        assert looked(clock.CHECK, double.url).state == "ok"


def test_what_is_compared_with_is_what_the_libraries_keep() -> None:
    """S1.15: httpx, and openai over it."""
    assert httpx.Limits().keepalive_expiry == DEFAULT_CONNECTION_LIMITS.keepalive_expiry == POOL_IDLE


def test_a_date_that_is_none() -> None:
    server = met("http://127.0.0.1:9")
    assert clock.CHECK.look(server).state == "unknown"


@contextmanager
def raw(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A listener that does what it is told with its connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                held.append(connection)
                answer(connection)

        held: list[socket.socket] = []
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in held:
                connection.close()
    thread.join()


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    (result,) = examine(f"http://127.0.0.1:{port}", BRIEF, lambda _: None)
    assert (result.check, result.said) == ("reach", "nobody answers: connection refused")


def test_somebody_who_never_answers() -> None:
    """Every wait has a limit, and so has the whole."""
    with raw(lambda _: None) as url:
        (result,) = examine(url, BRIEF, lambda _: None, limit=0.3)
    assert result.said == "nobody answers: no answer in time"


def test_somebody_who_speaks_no_http() -> None:
    with raw(lambda connection: connection.sendall(b"220 ready\r\n")) as url:
        (result,) = examine(url, BRIEF, lambda _: None, limit=2.0)
    assert result.said.startswith("nobody answers: what it says is no HTTP")


def test_time_that_runs_out_half_way() -> None:
    """What was found is told; the rest is unknown, not wrong."""
    double = Double(hangs=frozenset({"/metrics", "/v1/chat/completions", "/tokenize", "/invocations"}))
    with serving(double):
        results = examine(double.url, BRIEF, lambda _: None, limit=1.0)
        double.done.set()
    found = {result.check: result.state for result in results}
    assert found["path"] == "ok"
    assert found["chat-template"] == found["metric-names"] == "unknown"
    assert not any(result.findings for result in results)


def test_a_certificate_that_is_not_trusted() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with serving(Double(tls=context)) as double:
        (result,) = examine(double.url, BRIEF, lambda _: None)
    assert result.said.startswith("nobody answers: its certificate is not trusted")
