"""`penstock faults`: what it tells of a gateway that is none, and of what cannot be asked of it."""

from __future__ import annotations

import sys
from typing import Any

from tests.cli.console import Done
from tests.cli.inside import inside
from tests.fakes.gateway import StartGateway

from penstock.faults.catalogue import built, collect
from penstock.faults.gateways import free_port

# An engine in the gateway's place: it answers well, whatever happens to A and B.
DEAF = f"{sys.executable} -P -m penstock.faults.engine --model m --port {{port}}"


def row(done: Done, number: int) -> Any:  # noqa: ANN401 - a document
    return next(one for one in done.data["rows"] if one["row"] == number)


async def test_a_gateway_that_does_not_ask_its_upstreams_does_not_pass() -> None:
    """Failures are told as failures, and what cannot be asked of this gateway is not applicable."""
    done = await inside("faults", "--launch", DEAF, "--row", "1", "--json", "--only", "re")
    assert done.code == 1
    told = {one["name"]: one["state"] for one in row(done, 1)["scenarios"]}
    assert told["refused"] == "failed"
    assert row(done, 1)["state"] == "failed"
    assert (done.data["failed"], done.data["passed"]) == (1, 0)


async def test_what_needs_penstock_is_not_applicable_to_others() -> None:
    done = await inside("faults", "--launch", DEAF, "--row", "5", "--only", "per-alias", "--json")
    assert done.code == 0
    assert row(done, 5)["state"] == "not applicable"
    assert "configuration" in row(done, 5)["scenarios"][0]["reason"]
    assert (done.data["passed"], done.data["not_applicable"]) == (0, 1)


async def test_penstock_itself_passes_and_the_table_says_what_is_built() -> None:
    done = await inside("faults", "--row", "3", "--only", "idle")
    assert done.code == 0, done.err
    assert f"/{built(collect())[1]:g} built" in done.out
    assert "1 passed, 0 failed, 0 not applicable, 0 not built" in done.out


async def test_a_gateway_that_runs_is_told_its_upstreams(gateway: StartGateway) -> None:
    a, b = free_port(), free_port()
    targets = [{"backends": [name], "model": "m"} for name in ("a", "b")]
    backends = {name: {"kind": "vllm", "url": f"http://127.0.0.1:{port}"} for name, port in (("a", a), ("b", b))}
    running = await gateway({"backends": backends, "aliases": {"m": {"targets": targets}}})
    done = await inside(
        "faults", "--against", running.url, "--ports", f"{a},{b}", "--row", "3", "--only", "idle", "--json"
    )
    assert f"http://127.0.0.1:{a}/v1" in done.err
    assert (done.code, row(done, 3)["state"]) == (0, "passed")


async def test_options_that_exclude_each_other_are_refused() -> None:
    assert (await inside("faults", "--launch", "x", "--against", "http://127.0.0.1:1")).code == 2
    assert (await inside("faults", "--keep")).code == 2
    assert (await inside("faults", "--ports", "1")).code == 2


async def test_a_row_that_cannot_be_run_is_told_why() -> None:
    later = await inside("faults", "--row", "35")
    assert later.code == 2
    assert "Not built yet: row 35 (adapters" in later.err
    none = await inside("faults", "--row", "99")
    assert none.code == 2
    assert "Rows go from 1 to 36" in none.err
