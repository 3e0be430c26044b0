"""`penstock canary` and `penstock rollback` against a running gateway: what they print, as text and as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.cli.console import Done, run
from tests.fakes.gateway import Gateway, StartGateway
from tests.gateway.canaries import config, many, talk, until

from penstock.faults.engine import Engine

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def engines() -> AsyncIterator[tuple[Engine, Engine]]:
    async with Engine(["m"]) as old, Engine(["m"]) as new:
        yield old, new


async def penstock(running: Gateway, *arguments: str) -> Done:
    """The command, for the gateway of this configuration."""
    return await asyncio.to_thread(run, running.config.parent, *arguments, "--config", str(running.config))


async def test_start_status_promote_rollback(gateway: StartGateway, engines: tuple[Engine, Engine]) -> None:
    """S3.25: the operator's whole way, there and back."""
    one = await gateway(config(*engines))
    words = (
        "--to",
        "new:m",
        "--step",
        "25, 50,100",
        "--every",
        "10m",
        "--max-error-rate",
        "1%",
        "--min-requests",
        "30",
    )
    began = await penstock(one, "canary", "start", "m", *words)
    assert began.code == 0
    assert began.out.startswith("m  canary to new:m: 25 % of all requests\n  step 1 of 3, held ")
    assert " of 600 s, 0 answers of at least 30\n" in began.out
    await many(one.url, 40)
    await until(one, lambda told: seen(told) == 40)
    shown = await penstock(one, "canary", "status", "m")
    lines = {line[:10].strip(): line.split() for line in shown.out.splitlines()}
    assert int(lines["canary"][1]) + int(lines["old path"][2]) == 40
    assert "canary start" in shown.out
    assert "uid " in shown.out
    rules = (await until(one, lambda _: True))["switched"][0]["canary"]["rules"]
    assert rules == {"max_error_rate": 0.01, "max_p95_ratio": 1.5, "min_requests": 30, "window": 300.0}
    promoted = await penstock(one, "canary", "promote", "m")
    assert promoted.out.splitlines() == [
        "m  promoted: new:m stands before what the file says",
        '  to keep it, put it first in penstock.yaml: {backends: [new], model: "m"}',
        "  to undo it: penstock rollback m",
    ]
    explained = (await penstock(one, "explain-config", "--json")).data
    assert explained["switched"]["m"]["override"]["model"] == "m"
    assert explained["notes"][-1].startswith("alias m: new:m was promoted and stands before these targets")
    assert (await penstock(one, "rollback", "m")).out == "m  goes where the file says: old:m\n"
    assert (await talk(one.url, 1)).header("x-penstock-backend") == "old"


def seen(told: Any) -> int:  # noqa: ANN401 - a document
    """Answers that both sides have had."""
    progress = told["switched"][0]["canary"]["progress"]
    return int(progress["canary"]["requests"] + progress["old"]["requests"])


async def test_stop_with_a_reason(gateway: StartGateway, engines: tuple[Engine, Engine]) -> None:
    one = await gateway(config(*engines))
    words = ("--service", "rag,notes", "--service", "ner", "--percent", "5%", "--json")
    began = (await penstock(one, "canary", "start", "m", "--to", "new:m", *words)).data["canary"]
    assert (began["services"], began["percent"]) == (["rag", "notes", "ner"], 5)
    explained = await penstock(one, "explain-config")
    assert "note: alias m: a canary to new:m runs, at 5 %" in explained.err
    stopped = await penstock(one, "canary", "stop", "m", "--reason", "[red]lunch", "--json")
    assert stopped.data == {"alias": "m", "file": ["old:m"], "override": None, "canary": None, "unwritten": False}
    shown = await penstock(one, "canary", "status")
    assert shown.out.startswith("Nothing is switched: every alias goes where the file says.\n")
    assert "[red]lunch" in shown.out


MISTAKES = [
    (("start", "m", "--to", "newer:m", "--percent", "5"), "'newer' is no backend; did you mean 'new'?", 1),
    (("start", "m", "--to", "new:m", "--percent", "many"), "--percent and --step many", 2),
    (("status", "x"), "'x' is no alias", 1),
]


async def test_mistakes_are_told_and_change_nothing(gateway: StartGateway, engines: tuple[Engine, Engine]) -> None:
    one = await gateway(config(*engines))
    for words, error, code in MISTAKES:
        done = await penstock(one, "canary", *words)
        assert (done.code, done.out) == (code, "")
        assert error in done.err
        assert "try: " in done.err


async def test_without_a_gateway_it_says_where_it_looked(tmp_path: Path) -> None:
    (tmp_path / "penstock.yaml").write_text(
        'backends: {a: {kind: vllm, url: "http://127.0.0.1:9"}}\naliases: {m: {targets: [{backends: [a], model: m}]}}\n'
    )
    done = await asyncio.to_thread(run, tmp_path, "rollback", "m")
    assert done.code == 1
    assert "Asking the gateway at its admin socket state/admin.sock: no such file or directory." in done.err
